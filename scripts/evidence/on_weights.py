"""Claims on what fine-tuning does to the weights: intruders, ranks and the size of updates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from assay.behaviour.intervals import proportion
from assay.records import Audit
from assay.records.audit import MatrixAudit
from assay.records.continual import average_accuracy, average_interval
from assay.views import formats

from .differences import (
    Arm,
    apart,
    arm,
    audits,
    counts,
    joined,
    learned,
    median,
    of_logarithms,
    paired,
    ratio,
    ratios,
    setting,
    unequal,
)
from .kept import TAUGHT, Kept, model_of
from .verdict import ABOVE, BELOW, Claim, Estimate, Find, Finding, not_run, written

STUDY = "rank-and-scale"
V3 = "arXiv 2410.21228v3"
Measure = Callable[[MatrixAudit], float | None]


def effective_rank(matrix: MatrixAudit) -> float | None:
    """Of the update of a matrix."""
    return matrix.effective_rank


def energy_rank(matrix: MatrixAudit) -> float | None:
    """Directions that hold 90 % of the energy of a matrix's update."""
    return matrix.energy_rank


def relative_norm(matrix: MatrixAudit) -> float | None:
    """The size of a matrix's update beside the matrix."""
    return matrix.relative_norm


def lora(kept: Kept, rank: int, alpha: float) -> Arm:
    """LoRA of a rank and an alpha in the study of ranks and scales."""
    return arm(kept.done(STUDY), "lora", rank, alpha)


def full(kept: Kept) -> Arm:
    """Full fine-tuning in the study of ranks and scales."""
    return arm(kept.done(STUDY), "full")


def beside(kept: Kept, one: Arm, other: Arm, what: str, equal: bool) -> list[Finding]:
    """Intruders of one arm less another's, with their scores.

    Args:
        equal: whether the claim is of arms that score the same.
    """
    found = counts(one, other)
    if found is None:
        return []
    score = paired(one, other, learned)
    each = "; ".join(f"{ours.count} and {theirs.count}" for _, ours, theirs in audits(one, other))
    what = f"{setting(one, model_of(one.values()))}: {what}"
    return [Finding(what, STUDY, found, f"each seed: {each}. {_score(score)}", unequal(score) if equal else "")]


def _score(score: Estimate | None) -> str:
    """The difference of two scores in words."""
    return "Scores: not run" if score is None else f"Score: {written(score, 'points')}"


def in_a_row(kept: Kept, name: str, other: str, equal: bool) -> list[Finding]:
    """Intruders of one arm less another's after tasks in a row, of the first seed, as shares of all directions."""
    record = kept.continual
    ends = {
        sequence.name: sequence
        for sequence in (record.sequences if record else ())
        if record and sequence.seed == 0 and record.finished(sequence)
    }
    if record is None or name not in ends or other not in ends:
        return []
    last = [ends[which].stages[-1] for which in (name, other)]
    directions = last[0].directions
    shares = [(one.count / directions, proportion(one.count, directions)) for one in last]
    less = apart(shares[0], shares[1], f"{directions} directions, seed 0, Wilson's")
    low, high = less.interval or (math.nan, math.nan)
    found = Estimate(directions * less.value, (directions * low, directions * high), less.over)
    scores = [(average_accuracy(ends[which]), average_interval(ends[which])) for which in (name, other)]
    score = apart(scores[0], scores[1], "examples")
    aside = f"{last[0].count} and {last[1].count}. {_score(score)}. Rates were not tuned"
    what = f"all-MiniLM-L6-v2, {len(record.tasks)} tasks in a row: {name} less {other}".replace("lora r", "LoRA r ")
    return [Finding(what, "continual", found, aside, unequal(score) if equal else "")]


def lora_and_full(kept: Kept) -> Sequence[Finding]:
    """LoRA of low rank less full, alpha = 2r."""
    return in_a_row(kept, "lora r1", "full", equal=True) + [
        found
        for rank in (1, 8)
        for found in beside(kept, lora(kept, rank, 2.0 * rank), full(kept), f"LoRA r {rank} less full", equal=True)
    ]


def fewer_with_rank(kept: Kept) -> Sequence[Finding]:
    """LoRA of high rank less rank one, alpha = 2r."""
    return in_a_row(kept, "lora r8", "lora r1", equal=False) + [
        found
        for rank in (64, 384)
        for found in beside(
            kept, lora(kept, rank, 2.0 * rank), lora(kept, 1, 2.0), f"LoRA r {rank} less r 1", equal=False
        )
    ]


def fixed_alpha(kept: Kept) -> Sequence[Finding]:
    """LoRA with alpha = 8 less full, up to full rank."""
    return [
        found
        for rank in (64, 384)
        for found in beside(kept, lora(kept, rank, 8.0), full(kept), f"LoRA r {rank}, alpha 8, less full", equal=False)
    ]


def scale_at_high_rank(kept: Kept) -> Sequence[Finding]:
    """Intruders of LoRA with alpha = 8 less those of rsLoRA, at equal rank."""
    return [
        found
        for rank in (64, 384)
        for found in beside(
            kept,
            lora(kept, rank, 8.0),
            arm(kept.done(STUDY), "rslora", rank),
            f"LoRA r {rank}, alpha 8, less rsLoRA r {rank}, alpha 16",
            equal=False,
        )
    ]


def compared(measure: Measure, rank: int, alpha: float, what: str) -> Find:
    """Full tuning's measure over that of an arm of LoRA, matrix by matrix."""

    def find(kept: Kept) -> Sequence[Finding]:
        return _ratio(measure, full(kept), lora(kept, rank, alpha), what)

    return find


def _ratio(measure: Measure, one: Arm, other: Arm, what: str) -> list[Finding]:
    found = of_logarithms(joined(ratios(one, other, measure)))
    if found is None:
        return []
    each = "; ".join(_medians(measure, ours, theirs) for _, ours, theirs in audits(one, other))
    aside = f"geometric mean over matrices; medians, each seed: {each}"
    return [Finding(f"{setting(one, model_of(one.values()))}: {what}", STUDY, found, aside)]


def _medians(measure: Measure, ours: Audit, theirs: Audit) -> str:
    return f"{formats.number(median(ours, measure))} and {formats.number(median(theirs, measure))}"


def energy_ranks(kept: Kept) -> Sequence[Finding]:
    """Full tuning's 90 % rank over LoRA's: classifiers, and models that learned from pairs and rewards."""
    found = _of_rlhf(kept, energy_rank, ("full", None), ("lora", 16), "full over LoRA r 16")
    return [*compared(energy_rank, 8, 16.0, "full over LoRA r 8")(kept), *found]


def norms(kept: Kept) -> Sequence[Finding]:
    """The size of LoRA's update over that of full tuning's."""
    found = [
        found
        for rank in (1, 8, 64)
        for found in _ratio(relative_norm, lora(kept, rank, 2.0 * rank), full(kept), f"LoRA r {rank} over full")
    ]
    return found + _of_rlhf(kept, relative_norm, ("lora", 16), ("full", None), "LoRA r 16 over full")


def _of_rlhf(
    kept: Kept, measure: Measure, one: tuple[str, int | None], other: tuple[str, int | None], what: str
) -> list[Finding]:
    """The ratio of a measure of two arms over all pairs of runs that learned from prompts, pairs and rewards."""
    pairs, each = list[float](), list[str]()
    for name in TAUGHT:
        ours, theirs = (arm(kept.done(name), *which) for which in (one, other))
        pairs += [math.exp(seed.value) for seed in ratios(ours, theirs, measure)]
        each += [_medians(measure, *both) for _, *both in audits(ours, theirs)]
    if not pairs:
        return []
    what = f"SmolLM2-135M-Instruct, reward models, policies and supervised, 60 steps: {what}"
    aside = f"geometric mean over matrices; medians, each pair: {'; '.join(each)}"
    return [Finding(what, "rlhf", ratio(pairs, "pairs of runs of four tasks"), aside)]


def foreseen(kept: Kept) -> Sequence[Finding]:
    """The share of planted updates whose critical strength is foreseen within a factor of two."""
    known = [row["observed"] / row["estimate"] for row in kept.thresholds if row["observed"] and row["estimate"]]
    if not known:
        return []
    near = sum(0.5 <= one <= 2 for one in known)
    found = Estimate(near / len(known), proportion(near, len(known)), f"{len(known)} cases, Wilson")
    what = "random updates of bases with seven kinds of planted spectra, no trained model"
    return [Finding(what, "benchmarks/records/threshold.json", found)]


CLAIMS = (
    Claim(
        "LoRA leaves intruder dimensions and full fine-tuning none, at equal score",
        f"{V3}, Fig. 4",
        "many for r up to 16; full about 0",
        ABOVE,
        "intruders",
        "plans/rank-and-scale-minilm.toml",
        lora_and_full,
    ),
    Claim(
        "With alpha = 2r intruders get fewer with rank",
        f"{V3}, Fig. 4",
        "none or very few at r 64",
        BELOW,
        "intruders",
        "plans/rank-and-scale-minilm.toml",
        fewer_with_rank,
    ),
    Claim(
        "With alpha = 8 they are there at every rank, large ones too",
        V3,
        "at every rank",
        ABOVE,
        "intruders",
        "plans/rank-and-scale-minilm.toml",
        fixed_alpha,
    ),
    Claim(
        "At high rank LoRA needs rsLoRA's scale: with a fixed alpha it leaves more intruders",
        f"{V3}; arXiv 2312.03732",
        "at every rank with alpha = 8",
        ABOVE,
        "intruders",
        "plans/rank-and-scale-minilm.toml",
        scale_at_high_rank,
    ),
    Claim(
        "LLaMA2-7B has intruders up to r 256 and none at r 2048",
        V3,
        "up to r 256, none at 2048",
        BELOW,
        "intruders",
        "no plan: too large",
        not_run,
    ),
    Claim(
        "The effective rank of full tuning's update is far above LoRA's, even of full rank: at least twice, alpha = 2r",
        f"{V3}, App. H",
        "over 400 against over 100",
        (2.0, math.inf),
        "times",
        "plans/rank-and-scale-minilm.toml",
        compared(effective_rank, 384, 768.0, "full over LoRA r 384, alpha 2r"),
    ),
    Claim(
        "The same with alpha = 8: at least four times",
        f"{V3}, App. H",
        "over 400 against under 50",
        (4.0, math.inf),
        "times",
        "plans/rank-and-scale-minilm.toml",
        compared(effective_rank, 384, 8.0, "full over LoRA r 384, alpha 8"),
    ),
    Claim(
        "90 % of full tuning's update takes 10 to 100 times LoRA's rank",
        "arXiv 2405.09673",
        "over 1500 of 4096 against r",
        (10.0, 100.0),
        "times",
        "plans/rank-and-scale-minilm.toml, plans/rlhf-reward.toml",
        energy_ranks,
    ),
    Claim(
        "LoRA's update is larger than full tuning's",
        f"{V3}, its review",
        "about 16x",
        (1.0, math.inf),
        "times",
        "plans/rank-and-scale-minilm.toml",
        norms,
    ),
    Claim(
        "When an update becomes an intruder is foreseen within a factor of two, in 82 % of layers or more",
        "arXiv 2607.23711",
        "82 % of 9,840 layer scans",
        (0.82, 1.0 + 1e-9),
        "share",
        "benchmarks/threshold.py",
        foreseen,
    ),
)
