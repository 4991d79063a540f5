"""Claims on what is learned: by LoRA and full tuning, over ranks, scales and methods, and at which rate."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from assay.records.study import Tuned

from .differences import NAMES, Which, arm, called, gradient, learned, paired, ratio, setting
from .kept import Kept, model_of
from .on_weights import STUDY
from .verdict import ABOVE, BELOW, Claim, Estimate, Find, Finding, not_run, several

METHODS, RANKS = "methods/methods-minilm", "methods/rslora"
TENFOLD = "tenfold"
# Studies in which rates are tuned, and the ranks of LoRA of which each is asked.
TUNED = {STUDY: (1, 8, 64, 384), METHODS: (8,), TENFOLD: (1, 8, 64)}
LL, RSLORA, WITHOUT_REGRET = "arXiv 2405.09673", "arXiv 2312.03732", "LoRA Without Regret"
LORA = "arXiv 2106.09685"
FARTHEST = 64  # times the lowest rank: over fewer, that a rate stays says little of ranks
HALF_STEP = math.sqrt(math.sqrt(10.0))  # a quarter of a decade: what a grid of half decades leaves open to either side
FULL: Which = ("full", None, None)


def scores(one: Which, other: Which, studies: Sequence[str]) -> Find:
    """The score of one arm less another's, task by task."""

    def find(kept: Kept) -> Sequence[Finding]:
        found = []
        for name in studies:
            runs = kept.done(name)
            for task in dict.fromkeys(run.task for run in runs):
                ours, theirs = (arm(runs, *which, task=task) for which in (one, other))
                less = paired(ours, theirs, learned)
                if less is not None:
                    what = f"{setting(ours, model_of(ours.values()))}: {called(one)} less {called(other)}"
                    found.append(Finding(what, name, less))
        return found

    return find


def slopes(method: str) -> Find:
    """The power of the rank by which a method's gradient goes: least squares over ranks, seeds together."""

    def find(kept: Kept) -> Sequence[Finding]:
        from scipy import stats

        runs = [one for one in kept.done(RANKS) if one.method == method]
        ranks = sorted({int(one.done.arm["method.rank"] or 0) for one in runs})
        if len(ranks) < 3:
            return []
        norms = [gradient([one for one in runs if one.done.arm["method.rank"] == rank]) for rank in ranks]
        fit = stats.linregress([math.log(rank) for rank in ranks], [math.log(norm) for norm in norms])
        half = float(fit.stderr * stats.t.ppf(0.975, len(ranks) - 2))
        found = Estimate(float(fit.slope), (fit.slope - half, fit.slope + half), f"{len(ranks)} ranks, t of the slope")
        what = (
            f"{setting(arm(runs, method), model_of(runs))}, ranks {ranks[0]} to {ranks[-1]}, one rate: {NAMES[method]}"
        )
        return [Finding(what, RANKS, found)]

    return find


def tuned(kept: Kept, name: str, task: str, method: str, rank: int | None = None) -> Tuned | None:
    """How the rate of full tuning, or of LoRA with alpha = 2r, was chosen; None where it is not."""
    study = kept.study(name)
    for one in () if study is None else study.tuned:
        settings = one.arm
        twice = rank is None or settings.get("method.alpha") == 2 * rank
        if (one.task, one.method, settings.get("method.rank")) == (task, method, rank) and twice and one.lr is not None:
            return one
    return None


def tasks(kept: Kept, name: str) -> list[str]:
    """The tasks of a study on which rates were tuned."""
    study = kept.study(name)
    return list(dict.fromkeys(one.task for one in (study.tuned if study else ())))


def tenfold(kept: Kept) -> Sequence[Finding]:
    """The tuned rate of LoRA over that of full tuning: geometric means over ranks, a task of a study each.

    The ranks of a task share full tuning's rate, so that tasks are the units.
    """
    means, each, read = list[float](), list[str](), list[str]()
    for name, ranks in TUNED.items():
        for task in tasks(kept, name):
            base = tuned(kept, name, task, "full")
            own = {rank: tuned(kept, name, task, "lora", rank) for rank in ranks}
            rates = {rank: one.lr for rank, one in own.items() if one is not None and one.lr}
            if base is None or base.lr is None or not rates:
                continue
            means.append(statistics.geometric_mean(rates.values()) / base.lr)
            listed = ", ".join(f"{rate:.2g} (r {rank})" for rank, rate in rates.items())
            each.append(f"{task}, {base.steps} steps: {listed} and {base.lr:.2g}")
            read.append(name)
    if not means:
        return []
    found = ratio(means, "tasks in a study, ranks averaged")
    what = "all-MiniLM-L6-v2, LoRA (alpha = 2r) over full, rates of a half-decade grid"
    return [Finding(what, ", ".join(dict.fromkeys(read)), found, "; ".join(each))]


def rate_over_ranks(kept: Kept) -> Sequence[Finding]:
    """The tuned rate at the highest rank over that at the lowest, task by task; the grid is all that bounds it."""
    return [one for name in (STUDY, TENFOLD) for task in tasks(kept, name) if (one := _over_ranks(kept, name, task))]


def _over_ranks(kept: Kept, name: str, task: str) -> Finding | None:
    """The same on one task; None where the ranks are near each other."""
    of_rank = {rank: one for rank in TUNED[name] if (one := tuned(kept, name, task, "lora", rank))}
    rates = {rank: one.lr for rank, one in of_rank.items() if one.lr}
    least, most = min(rates, default=0), max(rates, default=0)
    if most < FARTHEST * max(least, 1):
        return None
    value = rates[most] / rates[least]
    ends = (value / HALF_STEP**2, value * HALF_STEP**2)
    found = Estimate(value, ends, "the grid: a quarter of a decade to either side of each rate; one seed")
    each = "; ".join(f"r {rank}: {rate:.2g}" for rank, rate in rates.items())
    what = f"all-MiniLM-L6-v2, {task}, LoRA (alpha = 2r): r {most} over r {least}"
    return Finding(what, name, found, f"rates: {each}")


def parameters(kept: Kept) -> Sequence[Finding]:
    """Spearman's correlation of parameters with scores over the methods of a study."""
    from scipy import stats

    found = []
    runs = [one for one in kept.done(METHODS) if one.scores is not None and one.scores.task is not None]
    for task in dict.fromkeys(one.task for one in runs):
        by_method: dict[str, list[tuple[int, float]]] = {}
        for one in runs:
            if one.task == task and one.scores and one.scores.task:
                pair = one.done.trained.parameters, one.scores.task.tuned_accuracy
                by_method.setdefault(one.method, []).append(pair)
        points = [(pairs[0][0], statistics.fmean(score for _, score in pairs)) for pairs in by_method.values()]
        if len(points) < 4:
            continue
        rho = float(stats.spearmanr(*zip(*points, strict=True)).statistic)
        # Fisher's z with Bonett and Wright's variance (2000) for Spearman's correlation, (1 + rho^2 / 2) / (n - 3).
        half = statistics.NormalDist().inv_cdf(0.975) * math.sqrt((1 + rho**2 / 2) / (len(points) - 3))
        ends = (math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half)) if abs(rho) < 1 else None
        seeds = sorted({one.seed for one in runs})
        over = f"{len(points)} methods, Fisher's z; scores are means of {len(seeds)} seeds"
        what = setting(arm(runs, runs[0].method, task=task), model_of(runs))
        found.append(Finding(f"{what}: trainable parameters and score", METHODS, Estimate(rho, ends, over)))
    return found


R8: Which = ("lora", 8, 16.0)
CLAIMS = (
    Claim(
        "LoRA learns less than full fine-tuning",
        LL,
        "HumanEval, code, epoch 4: .338 to .498 against .470; GSM8K: .580 (r 16), .625 (r 256) against .642",
        BELOW,
        "points",
        "plans/rank-and-scale-minilm.toml, plans/methods-minilm.toml",
        several(
            scores(("lora", 1, 2.0), FULL, (STUDY,)),
            scores(R8, FULL, (STUDY, METHODS)),
            scores(("lora", 384, 768.0), FULL, (STUDY,)),
        ),
    ),
    Claim(
        "On classification LoRA scores as full tuning does: within a point",
        "arXiv 2410.21228v3, Table 2",
        "MNLI, SST-2, QQP: .8704 .9472 .9093 (r 8), .8719 .9472 .9061 (r 64) against .8745 .9438 .9152",
        (-0.01, 0.01),
        "points",
        "plans/rank-and-scale-minilm.toml, plans/methods-minilm.toml",
        several(scores(R8, FULL, (STUDY, METHODS)), scores(("lora", 64, 128.0), FULL, (STUDY,))),
    ),
    Claim(
        "Code and mathematics: what LoRA misses gets smaller with rank, up to r 256",
        LL,
        "HumanEval .358 (r 16) and .498 (r 256); GSM8K .580 and .625",
        ABOVE,
        "points",
        "no plan: no model here writes code or solves problems",
        not_run,
    ),
    Claim(
        "Too high a rank can hurt",
        LL,
        "HumanEval of r 256: .498 at epoch 4, .437 at epoch 8",
        BELOW,
        "points",
        "plans/rank-and-scale-minilm.toml",
        several(
            scores(("lora", 384, 768.0), R8, (STUDY,)),
            scores(("lora", 384, 768.0), ("lora", 64, 128.0), (STUDY,)),
            scores(("rslora", 256, 16.0), ("rslora", 64, 16.0), (RANKS,)),
        ),
    ),
    Claim(
        "With a fixed alpha LoRA's gradient falls with the rank, by the power -0.5",
        RSLORA,
        "scale alpha / r: unstable",
        (-0.6, -0.4),
        "power of the rank",
        "plans/rslora.toml",
        slopes("lora"),
    ),
    Claim(
        "rsLoRA's gradient keeps its norm over ranks: a power within 0.1 of none",
        RSLORA,
        "scale alpha / sqrt(r): stable",
        (-0.1, 0.1),
        "power of the rank",
        "plans/rslora.toml",
        slopes("rslora"),
    ),
    Claim(
        "High rank needs rsLoRA's scale: with it, and alpha and rate fixed, more is learned at high rank",
        RSLORA,
        "perplexity falls with rank under rsLoRA alone",
        ABOVE,
        "points",
        "plans/rslora.toml",
        several(
            scores(("rslora", 256, 16.0), ("lora", 256, 16.0), (RANKS,)),
            scores(("rslora", 256, 16.0), ("rslora", 4, 16.0), (RANKS,)),
        ),
    ),
    Claim(
        "The same where every arm has its own tuned rate",
        "asked beside arXiv 2312.03732",
        "none",
        ABOVE,
        "points",
        "plans/rank-and-scale-minilm.toml",
        several(*(scores(("rslora", rank, 16.0), ("lora", rank, 8.0), (STUDY,)) for rank in (64, 384))),
    ),
    Claim(
        "The best rate of LoRA is about ten times full tuning's: within a quarter of a decade",
        f"{LL}; {WITHOUT_REGRET}",
        "10x; fit 9.8",
        (10 / HALF_STEP, 10 * HALF_STEP),
        "times",
        "plans/rank-and-scale-minilm.toml, plans/methods-minilm.toml, plans/tenfold-minilm.toml",
        tenfold,
    ),
    Claim(
        "The best rate hardly depends on the rank: less than tenfold over all ranks",
        WITHOUT_REGRET,
        "nearly independent",
        (0.1, 10.0),
        "times",
        "plans/rank-and-scale-minilm.toml, plans/tenfold-minilm.toml",
        rate_over_ranks,
    ),
    Claim(
        "LoRA learns more than BitFit",
        f"{LORA}, Tables 2 and 4",
        "GLUE 87.2 against 85.2; GPT-3 MNLI 91.7 against 91.0",
        ABOVE,
        "points",
        "plans/methods-minilm.toml",
        scores(R8, ("bitfit", None, None), (METHODS,)),
    ),
    Claim(
        "LoRA learns more than prefixes",
        f"{LORA}, Table 4",
        "GPT-3 MNLI 91.7 against 88.6 (embeddings) and 89.5 (layers)",
        ABOVE,
        "points",
        "plans/methods-minilm.toml",
        several(*(scores(R8, (name, None, None), (METHODS,)) for name in ("prefix-embedding", "prefix-layer"))),
    ),
    Claim(
        "BitFit learns less than full fine-tuning",
        f"{LORA}, Table 2",
        "GLUE 85.2 against 86.4",
        BELOW,
        "points",
        "plans/methods-minilm.toml",
        scores(("bitfit", None, None), FULL, (METHODS,)),
    ),
    Claim(
        "Over methods, more trainable parameters go with a better score",
        f"asked beside {LORA}, Fig. 2",
        "not of every method",
        ABOVE,
        "Spearman",
        "plans/methods-minilm.toml",
        parameters,
    ),
)
