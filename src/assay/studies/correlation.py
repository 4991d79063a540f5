"""Correlation over a sweep: what every run forgot, against what an audit found in its weights."""

from __future__ import annotations

import bisect
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from assay.errors import InputError, MismatchError
from assay.records import Audit, Correlation, Forgetting, Interval, Provenance, Source, TaskScore, as_given
from assay.records.cautions import ruined, ruined_on_text
from assay.records.correlation import MEASURES, Coefficient, Measure, SweptRun
from assay.settings import check_seed
from assay.studies.folders import Filed, filed, place_of

Floats = npt.NDArray[np.float64]
RESAMPLES = 9_999
FEWEST = 3  # two runs correlate perfectly, whatever they are
_FEWEST_FOR_AN_INTERVAL = 5
_FEWEST_BESIDE = 5  # runs that hold a measure apart from the norm: what fewer say, one arm says
_UNDEFINED = 0.05  # share of resamples without spread above which an interval would be one of the lucky resamples
_ALWAYS = ("count", "energy_share", "relative_norm", "effective_rank")  # measured by the first audits already
_PACKAGES = ("numpy", "scipy")


def correlate(studies: str | Path | Sequence[str | Path], seed: int = 0) -> Correlation:
    """Spearman's correlation of forgetting with every measure of the weights: `assay.records.correlation.MEASURES`.

    Over the runs of one or several studies that were audited and scored on a text. A run whose model is ruined (worse
    at text than a uniform guess, or one reply to everything) is marked, and left out of all but the last coefficients.
    The interval is that of a bootstrap over arms: runs of one arm share seeds, data and schedule. For all but the norm
    there is the partial correlation at equal relative norm, `(r_xy - r_xz r_yz) / sqrt((1 - r_xz^2)(1 - r_yz^2))`, z
    the norm; it is not identified where the measure rises, or falls, with the norm but for fewer than 5 runs.

    Args:
        studies: the folder of a study, or several of one base, text and question. The record of an earlier correlation
            stands for the runs that it lists, whose folders may be gone; a run in both is taken from its folder.
        seed: of the bootstrap.

    Raises:
        SourceError: a folder without runs.
        SettingError: the seed is not a whole number of zero or more.
        InputError: fewer than 3 runs that are audited and scored on a text.
        MismatchError: the runs differ in base, text, or the audit's question.

    Example:
        >>> assay.correlate("studies/sweep").overall[0].rho  # doctest: +SKIP
        0.83

    Source: arXiv 2410.21228v3, section 5, which finds .97 for the count over such a sweep of RoBERTa.
    """
    check_seed(seed)
    given = [studies] if isinstance(studies, str | Path) else list(studies)
    records = [path for path in given if Path(path).is_file()]
    folders = [path for path in given if path not in records]
    every = filed(folders) if folders else []
    found = {one.run.key: one for path in records for one in _of_record(Correlation.read(path))}
    here = [one for one in map(_of_folder, every) if one is not None]
    found |= {one.run.key: one for one in here}
    if len(found) < FEWEST:
        raise InputError(
            f"{len(found)} of {len(found) + len(every) - len(here)} runs are audited and scored on a text",
            wanted=f"at least {FEWEST}: fewer say nothing",
            where=", ".join(str(path) for path in given),
        )
    measured = sorted(
        found.values(), key=lambda one: place_of(one.run.method, one.run.arm, one.run.steps, one.run.seed)
    )
    for name, values in (
        ("base", {one.base.identity for one in measured}),
        ("text", {one.text.identity for one in measured}),
        ("audit's question", {str((one.k, one.eps, one.side)) for one in measured}),
    ):
        if len(values) > 1:
            raise MismatchError(f"the runs have {len(values)} of: {name}", wanted="one, so that they can be compared")
    first = measured[0]
    base_loss, documents, vocabulary = (
        next((value for one in measured if (value := getattr(one, name)) is not None), None)
        for name in ("base_loss", "documents", "vocabulary")
    )
    runs = tuple(_marked(one.run, base_loss, vocabulary) for one in measured)
    settings = {"studies": len(folders), "earlier records": len(records)}
    return Correlation(
        provenance=Provenance.of(_PACKAGES, as_given(settings), seed),
        base=first.base,
        text=first.text,
        task=first.task,
        k=first.k,
        eps=first.eps,
        side=first.side,
        runs=runs,
        coefficients=tuple(coefficients(runs, seed)),
        base_loss=base_loss,
        documents=documents,
        vocabulary=vocabulary,
        resamples=RESAMPLES,
        seed=seed,
        left_out=len(every) - len(here),
    )


@dataclass(frozen=True)
class _Measured:
    """A run with what all runs of a sweep must share."""

    base: Source
    text: Source
    task: Source | None
    k: int
    eps: tuple[float, ...]
    side: str
    base_loss: float | None
    documents: int | None
    vocabulary: int | None
    run: SweptRun


def _marked(run: SweptRun, base_loss: float | None, vocabulary: int | None) -> SweptRun:
    """A run, marked by its loss where that is known only now."""
    if run.ruined or base_loss is None:
        return run
    return run.model_copy(update={"ruined": ruined_on_text(base_loss, base_loss + run.forgetting, vocabulary)})


def _of_record(earlier: Correlation) -> list[_Measured]:
    """The runs of an earlier correlation."""
    shared = (earlier.base, earlier.text, earlier.task, earlier.k, earlier.eps, earlier.side)
    return [_Measured(*shared, earlier.base_loss, earlier.documents, earlier.vocabulary, run) for run in earlier.runs]


def _of_folder(one: Filed) -> _Measured | None:
    """A run in its folder; None if it was not audited, or not scored on a text."""
    audit, scores = one.audit, one.scores
    if audit is None or scores is None or scores.forgetting is None:
        return None
    lost, task = scores.forgetting, scores.task
    asked = (audit.k, audit.eps, audit.side, lost.base_loss, len(lost.documents), lost.vocabulary)
    return _Measured(one.run.base, lost.text, task.task if task else None, *asked, _swept(one, audit, lost, task))


def _swept(one: Filed, audit: Audit, lost: Forgetting, task: TaskScore | None) -> SweptRun:
    changed = [matrix for matrix in audit.matrices if matrix.update_norm > 0]
    ranks = [matrix.effective_rank for matrix in changed if matrix.effective_rank is not None]
    return SweptRun(
        key=one.folder.name,
        method=one.run.method,
        arm=dict(one.run.arm),
        steps=one.steps,
        seed=one.seed,
        accuracy=task.tuned_accuracy if task is not None else None,
        accuracy_interval=task.tuned_interval if task is not None else None,
        forgetting=lost.mean,
        interval=lost.interval,
        count=audit.count,
        undecided=audit.undecided,
        energy_share=audit.energy_share,
        relative_norm=audit.relative_norm,
        effective_rank=statistics.median(ranks) if ranks else None,
        divergence=lost.divergence.mean if lost.divergence is not None else None,
        task_divergence=task.divergence.mean if task is not None and task.divergence is not None else None,
        activation_drift=lost.activation_drift.drift if lost.activation_drift is not None else None,
        task_activation_drift=task.activation_drift.drift if task is not None and task.activation_drift else None,
        ruined=ruined(lost, task),
        **{name: total.value for name, total in audit.totals.items() if name in MEASURES},
    )


def coefficients(runs: Sequence[SweptRun], seed: int) -> Iterator[Coefficient]:
    """The correlations over the sound runs, of every method with enough of them, and over all; see `correlate`."""
    sound = [run for run in runs if not run.ruined]
    methods = list(dict.fromkeys(run.method for run in sound))
    groups = {"all": sound}
    if len(methods) > 1:
        groups |= {name: [run for run in sound if run.method == name] for name in methods}
    if len(sound) < len(runs):
        groups["ruined too"] = list(runs)
    for among, group in groups.items():
        if len(group) >= FEWEST:
            yield from (_coefficient(among, group, measure, seed) for measure in MEASURES if _measured(group, measure))


def _measured(group: Sequence[SweptRun], measure: Measure) -> bool:
    """True if any of the runs has it; those that every audit has are said to be missing where they are."""
    return measure in _ALWAYS or any(getattr(run, measure) is not None for run in group)


def _coefficient(among: str, group: Sequence[SweptRun], measure: Measure, seed: int) -> Coefficient:
    """One correlation, with the partial one at equal norm."""
    complete = [run for run in group if getattr(run, measure) is not None and run.relative_norm is not None]
    columns = [[run.forgetting for run in complete], [getattr(run, measure) for run in complete]]
    values = np.array([*columns, [run.relative_norm for run in complete]], dtype=float)
    arms = list(dict.fromkeys(map(_arm, complete)))
    found = Coefficient(
        among=among,
        measure=measure,
        runs=len(complete),
        arms=len(arms),
        rho=None,
        interval=None,
        given_norm=None,
        given_norm_interval=None,
        why=_why_none(values, len(complete)),
    )
    if found.why:
        return found
    rho, given = (float(one[0]) for one in _both(values, np.ones((1, len(complete)))))
    intervals: list[Interval | None] = [None, None]
    if len(arms) >= _FEWEST_FOR_AN_INTERVAL:
        drawn = np.random.default_rng(seed).multinomial(len(arms), np.full(len(arms), 1 / len(arms)), RESAMPLES)
        weights = drawn[:, [arms.index(_arm(run)) for run in complete]].astype(float)
        intervals = [_interval(one) for one in _both(values, weights)]
    found = found.model_copy(update={"rho": rho, "interval": intervals[0]})
    if measure == "relative_norm":
        return found
    if (few := beside(values[1], values[2])) < _FEWEST_BESIDE:
        but = f"but for {few} of {len(complete)} runs " if few else ""
        said = f"{but}it only rises, or falls, with the norm"
        return found.model_copy(update={"unidentified": said})
    if not np.isfinite(given):
        return found
    return found.model_copy(update={"given_norm": given, "given_norm_interval": intervals[1]})


def _arm(run: SweptRun) -> str:
    """The arm of a run: runs of one arm differ in duration and seed alone."""
    return f"{run.method} {sorted(run.arm.items())}"


def _why_none(values: Floats, count: int) -> str:
    """Reason why forgetting, a measure and the norm, (3, runs), have no correlation; empty where they have one."""
    if count < FEWEST:
        return f"{count} runs have it"
    if np.ptp(values[1]) == 0:
        return f"it is {values[1, 0]:g} in every run"
    return "forgetting is the same in every run" if np.ptp(values[0]) == 0 else ""


def beside(measure: Floats, norm: Floats) -> int:
    """The fewest runs without which a measure would rise with the norm throughout, or fall: what sets the two apart.

    The number of runs less the longest part of them, by norm, that does not fall (or does not rise).

    Example:
        >>> norms = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
        >>> beside(np.array([0.0, 0.0, 0.0, 7.0, 6.0]), norms), beside(np.array([0.0, 5.0, 0.0, 6.0, 0.0]), norms)
        (1, 2)
    """
    return len(norm) - max(_longest_rising(sign * measure, norm) for sign in (1, -1))


def _longest_rising(measure: Floats, norm: Floats) -> int:
    """Length of the longest subsequence, by norm, that does not fall; patience sorting."""
    tops: list[float] = []
    for value in measure[np.lexsort((measure, norm))].tolist():
        place = bisect.bisect_right(tops, value)
        tops[place : place + 1] = [value]
    return len(tops)


def _both(values: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Spearman's correlation of the first with the second, plain and at equal third, with runs repeated.

    Args:
        values: (3, runs).
        weights: how often every run is there, resample by resample; (draws, runs).

    Returns:
        Two of (draws,). The mid-rank of a run among repeated ones is `sum_j w_j ([x_j < x_i] + [x_j = x_i] / 2)` but
        for a constant.
    """
    below = (values[:, None, :] < values[:, :, None]) + 0.5 * (values[:, None, :] == values[:, :, None])
    ranks = np.einsum("dj,vij->vdi", weights, below)
    ranks -= ((ranks * weights).sum(axis=-1) / weights.sum(axis=-1))[..., None]
    with np.errstate(invalid="ignore", divide="ignore"):  # no spread: not a number, which the caller counts
        ranks /= np.sqrt((weights * ranks**2).sum(axis=-1))[..., None]
        xy, xz, yz = ((weights * ranks[i] * ranks[j]).sum(axis=-1) for i, j in ((0, 1), (0, 2), (1, 2)))
        rest = (1 - xz**2) * (1 - yz**2)
        return xy, (xy - xz * yz) / np.sqrt(np.where(rest > 1e-12, rest, np.nan))


def _interval(found: Floats) -> Interval | None:
    """The middle 95 % of the resamples; None if too many of them have no value."""
    known = found[np.isfinite(found)]
    if len(known) < (1 - _UNDEFINED) * len(found):
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)
