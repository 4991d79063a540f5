"""Tables of reward models and policies: what they learned, what it cost, and what it did to the weights."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence

from assay.records.called import called
from assay.records.cautions import cautions
from assay.records.run import Cost
from assay.render import markdown
from assay.views import cells, formats, table

from .differences import median
from .kept import TAUGHT, Kept, KeptRun
from .on_weights import effective_rank, energy_rank
from .verdict import NOT_RUN

LAST = 10  # steps over which a policy's reward and divergence are averaged
ARMS = ("full", "lora r=16", "lora r=1")
Say = Callable[[KeptRun], str]

ABOUT = """\
## RLHF with LoRA, beside full tuning

The plans are `plans/rlhf-*.toml`. PERL (arXiv 2403.10704) has PaLM 2 of several sizes, trained to convergence on
accelerators, and published no code. Here SmolLM2-135M-**Instruct**, whose weights were widened from 4 bits, learned for
60 steps in float32, LoRA on the attention's projections as in PERL. No text of the pairs is shown or kept.

- Reward models, 2 seeds: 60 steps of 2 pairs, cut to 48 tokens, from 360 short pairs of the harmless set of hh-rlhf;
  accuracy on 179 pairs that are held out. PERL uses the whole set.
- Policies: 60 steps of 2 prompts with 4 replies each, RLOO, beta .05. Replies are cut to 16 tokens (harmless; reward:
  the r = 16, seed 0 reward model; judge: a reward model from 181 other pairs) and to 4 (one-digit sums, right or
  wrong): a CPU forbids the 128 that people use.
"""
REWARDS = """\
Peak memory and speed are of the training run, in shares and multiples of full tuning's; medians of seeds. A learned
reward is that of LoRA of rank 16, seed 0: unless it judges better than a coin, what a policy learned from it is no
evidence on RLHF.
"""
WINS = """\
A win rate counts the prompts at which the held-out judge rewards the policy's reply more than the reference's, equal
ones half.
"""
WEIGHTS = """\
Intruders are of the ten leading left directions of every changed matrix (eps .5). Ranks are of the update, medians over
the changed matrices; they do not depend on its size. A reward model's prose is predicted by its body under the base's
output layer. Whether RL forgets less than supervised tuning at equal norm, or at equal score: *can't tell*. The updates
differ in both; the way back from each model to its base (`assay dial`) would tell.
"""


def sections(kept: Kept) -> Iterator[str]:
    """Every table, with what is said of it."""
    studies = {name: kept.done(name) for name in TAUGHT}
    yield ABOUT
    yield "### Reward models\n"
    yield rewards(studies["rlhf/reward"])
    yield REWARDS
    for name in ("rlhf/harmless", "rlhf/sums"):
        yield f"### {TAUGHT[name][0].upper()}{TAUGHT[name][1:]}\n"
        yield policies(studies[name])
    yield WINS
    few = {said for runs in studies.values() for one in runs if one.scores for said in cautions(one.scores)}
    yield "".join(f"- {words}\n" for words in sorted(few))
    yield "### What it did to the weights\n"
    yield audited(studies)
    yield WEIGHTS


def arm_of(one: KeptRun) -> str:
    """How the tables name it."""
    return called(one.method, one.done.arm)


def each(runs: Sequence[KeptRun], arm: str, say: Say) -> str:
    """What is said of the seeds of an arm."""
    found = sorted((one for one in runs if arm_of(one) == arm), key=lambda one: one.seed)
    return "; ".join(say(one) for one in found) if found else NOT_RUN


def cost(runs: Sequence[KeptRun], arm: str) -> tuple[str, str]:
    """Peak memory in per cent of full tuning's, and speed as a multiple of it; medians over seeds."""
    full, own = ([one.done.cost for one in runs if arm_of(one) == name] for name in ("full", arm))
    if not own:
        return NOT_RUN, NOT_RUN
    step, steps = (statistics.median(cost.step_seconds for cost in costs) if costs else None for costs in (own, full))
    peak, peaks = median_peak(own), median_peak(full)
    part = f"{100 * peak / peaks:.0f} %, " if peak and peaks else ""
    speed = f"{steps / step:.2f}x, " if step and steps else ""
    return f"{part}{formats.size(None if peak is None else round(peak))}", f"{speed}{step:.1f} s a step"


def median_peak(costs: Sequence[Cost]) -> float | None:
    """Most memory above the start, median over seeds; None where it was not measured."""
    peaks = [cost.peak_bytes for cost in costs if cost.peak_bytes]
    return statistics.median(peaks) if peaks else None


def rewards(runs: Sequence[KeptRun]) -> str:
    """The table of the reward models."""

    def judged(one: KeptRun) -> str:
        found = one.scores and one.scores.reward
        return cells.share_estimate(found.accuracy, found.interval).plain if found else NOT_RUN

    def margin(one: KeptRun) -> str:
        found = one.scores and one.scores.reward
        return f"{found.margin:+.3f}" if found else NOT_RUN

    def calibrated(one: KeptRun) -> str:
        found = one.scores and one.scores.reward
        return f"{found.log_loss:.3f}, {found.calibration_error:.3f}" if found else NOT_RUN

    def parameters(one: KeptRun) -> str:
        return f"{one.done.trained.parameters:,}"

    rows = [
        [
            arm,
            *(each(runs, arm, say) for say in (judged, margin, calibrated)),
            *cost(runs, arm),
            each(runs, arm, parameters).partition("; ")[0],
        ]
        for arm in ARMS
    ]
    columns = ["arm", "accuracy (95 %), each seed", "margin", "log loss, calibration error", "peak memory", "speed"]
    return markdown.table(table([*columns, "parameters"], rows)) + "\n"


def policies(runs: Sequence[KeptRun]) -> str:
    """The table of the policies."""

    def won(one: KeptRun) -> str:
        found = one.scores and one.scores.wins
        if not found:
            return NOT_RUN
        return f"{cells.share_estimate(found.rate, found.interval).plain}, n {found.examples}, ties {found.ties}"

    def judged(one: KeptRun) -> str:
        found = one.scores and one.scores.wins
        return f"{found.base_reward:.3f} to {found.tuned_reward:.3f}" if found else NOT_RUN

    def rewarded(one: KeptRun) -> str:
        values = one.done.measured["reward"]
        return f"{statistics.fmean(values[:LAST]):.3f} to {statistics.fmean(values[-LAST:]):.3f}"

    def diverged(one: KeptRun) -> str:
        return f"{statistics.fmean(one.done.measured['kl'][-LAST:]):.4f}"

    def collapsed(one: KeptRun) -> str:
        found = one.done.policy
        return NOT_RUN if found is None else "no" if found.collapsed is None else f"from step {found.collapsed}"

    def reference(one: KeptRun) -> str:
        found = one.done.policy
        if found is None:
            return NOT_RUN
        size = f", {formats.size(found.reference_bytes)}" if found.reference_bytes else ""
        state = {True: ", unchanged", False: ", CHANGED", None: ""}[found.reference_unchanged]
        return f"{found.reference}{size}{state}"

    rows = [
        [
            arm,
            *(each(runs, arm, say) for say in (rewarded, diverged, judged, won, collapsed)),
            *cost(runs, arm),
            each(runs, arm, reference),
        ]
        for arm in ARMS
    ]
    columns = ["arm", f"mean reward, first and last {LAST} steps", "KL, nats a token", "held-out reward, base to tuned"]
    columns += ["win rate (95 %)", "collapse", "peak memory", "speed", "reference"]
    return markdown.table(table(columns, rows)) + "\n"


def audited(studies: dict[str, list[KeptRun]]) -> str:
    """The table of the audits, with what was learned and forgotten."""
    rows = [
        weights(TAUGHT[name], one)
        for name, runs in studies.items()
        for one in sorted(runs, key=lambda one: (ARMS.index(arm_of(one)), one.seed))
    ]
    columns = ["what", "arm", "seed", "relative norm", "intruders", "effective rank", "stable rank", "90 % rank"]
    columns += ["energy share", "held-out reward, base to tuned", "forgetting on prose, nats a token (95 %)"]
    return markdown.table(table(columns, rows)) + "\n"


def weights(what: str, one: KeptRun) -> list[cells.Given]:
    """One run: its update, its held-out reward and what it forgot."""
    found = one.audit
    lost, wins = (one.scores.forgetting, one.scores.wins) if one.scores else (None, None)
    row: list[cells.Given] = [what, arm_of(one), one.seed]
    if found is None:
        row += [NOT_RUN] * 6
    else:
        directions = sum(len(matrix.directions) for matrix in found.matrices)
        row += [cells.number(found.relative_norm), cells.text_number(f"{found.count} of {directions:,}")]
        stable = median(found, lambda matrix: matrix.stable_rank)
        row += [cells.number(value) for value in (median(found, effective_rank), stable, median(found, energy_rank))]
        row.append(cells.share(found.energy_share))
    row.append(f"{wins.base_reward:.3f} to {wins.tuned_reward:.3f}" if wins else "")
    row.append(cells.change(lost.mean, lost.interval) if lost else NOT_RUN)
    return row
