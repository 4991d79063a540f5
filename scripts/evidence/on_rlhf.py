"""Claims on reward models and policies with LoRA, and on what LoRA costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from assay.records import Run
from assay.views import formats

from .differences import Arm, arm, learned, paired, ratio, setting
from .kept import TAUGHT, Kept, model_of
from .on_learning import METHODS
from .verdict import Claim, Find, Finding

PERL = "arXiv 2403.10704v2"
REWARD, POLICIES = ("rlhf/reward",), ("rlhf/harmless", "rlhf/sums")
Cost = Callable[[Run], float | None]


def peak(run: Run) -> float | None:
    """Most memory above the start."""
    return run.cost.peak_bytes


def speed(run: Run) -> float | None:
    """Steps a second, by the median step."""
    return 1 / run.cost.step_seconds


def costs(studies: Sequence[str], ranks: Sequence[int], cost: Cost) -> Find:
    """What LoRA costs over what full tuning costs, over all pairs of runs of one task and seed."""

    def find(kept: Kept) -> Sequence[Finding]:
        values, each, first = list[float](), list[str](), None
        for name in studies:
            runs = kept.done(name)
            for task in dict.fromkeys(one.task for one in runs):
                full = arm(runs, "full", task=task)
                for rank in ranks:
                    found = _ratios(arm(runs, "lora", rank, task=task), full, cost)
                    values += found
                    each += [f"{TAUGHT.get(name, task)} r {rank}: {formats.number(value)}" for value in found]
                first = first or next(iter(full.values()), None)
        if first is None or not values:
            return []
        units = "pairs of runs of one seed, which share full tuning's"
        what = f"{model_of([first])}, {first.trained.steps} steps: LoRA over full"
        return [Finding(what, ", ".join(studies), ratio(values, units), "; ".join(each))]

    return find


def _ratios(one: Arm, other: Arm, cost: Cost) -> list[float]:
    pairs = [(cost(one[seed].done), cost(other[seed].done)) for seed in sorted(one.keys() & other.keys())]
    return [ours / theirs for ours, theirs in pairs if ours and theirs]


def judged(rank: int, other: int | None, studies: Sequence[str]) -> Find:
    """The score of LoRA of a rank less that of another, or of full tuning."""

    def find(kept: Kept) -> Sequence[Finding]:
        found = []
        for name in studies:
            runs = kept.done(name)
            one = arm(runs, "lora", rank)
            theirs = arm(runs, "full") if other is None else arm(runs, "lora", other)
            less = paired(one, theirs, learned)
            if less is not None:
                rival = "full" if other is None else f"r {other}"
                what = f"{setting(one, model_of(one.values()), TAUGHT[name])}: LoRA r {rank} less {rival}"
                found.append(Finding(what, name, less, _coin(kept, name)))
        return found

    return find


def _coin(kept: Kept, name: str) -> str:
    """What weakens a comparison of rewards: reward models that are not shown to judge."""
    if name == "rlhf/sums":
        return "The reward is verified"
    scored = [one.scores.reward for one in kept.done("rlhf/reward") if one.scores and one.scores.reward]
    none = sum(one.interval[0] <= 0.5 for one in scored)
    return f"{none} of {len(scored)} reward models are not shown above a coin"


CLAIMS = (
    Claim(
        "A reward model with LoRA takes less memory than full tuning",
        PERL,
        "43 to 74 %",
        (0.0, 1.0),
        "times",
        "plans/rlhf-reward.toml",
        costs(REWARD, (16, 1), peak),
    ),
    Claim(
        "A reward model with LoRA trains faster",
        PERL,
        "1.15x to 1.9x",
        (1.0, float("inf")),
        "times",
        "plans/rlhf-reward.toml",
        costs(REWARD, (16, 1), speed),
    ),
    Claim(
        "A reward model with LoRA judges at least as well",
        PERL,
        "harmless pairs: 78.7 against 76.6",
        (-0.01, 1.0),
        "points",
        "plans/rlhf-reward.toml",
        judged(16, None, REWARD),
    ),
    Claim(
        "A policy with LoRA takes less memory than full tuning",
        PERL,
        "74 to 80 %",
        (0.0, 1.0),
        "times",
        "plans/rlhf-harmless.toml, plans/rlhf-sums.toml",
        costs(POLICIES, (16, 1), peak),
    ),
    Claim(
        "A policy with LoRA trains faster",
        PERL,
        "1.05x to 1.3x",
        (1.0, float("inf")),
        "times",
        "plans/rlhf-harmless.toml, plans/rlhf-sums.toml",
        costs(POLICIES, (16, 1), speed),
    ),
    Claim(
        "A policy with LoRA is as good as with full tuning: within five points of the win rate",
        PERL,
        "the same",
        (-0.05, 0.05),
        "points",
        "plans/rlhf-harmless.toml, plans/rlhf-sums.toml",
        judged(16, None, POLICIES),
    ),
    Claim(
        "Rank 1 is enough for reinforcement learning: within five points of rank 16",
        "LoRA Without Regret",
        "r 1 learns as full tuning does",
        (-0.05, 0.05),
        "points",
        "plans/rlhf-sums.toml",
        judged(1, 16, POLICIES),
    ),
    Claim(
        "LoRA takes less memory than full tuning in a classifier of 23 million parameters too",
        "arXiv 2106.09685",
        "350 GB against 1.2 TB for GPT-3",
        (0.0, 1.0),
        "times",
        "plans/methods-minilm.toml",
        costs((METHODS,), (8,), peak),
    ),
)
