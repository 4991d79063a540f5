"""Correlation over a sweep: what every run forgot, against what an audit found in its weights."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from assay.errors import InputError, MismatchError
from assay.records import Audit, Correlation, Forgetting, Interval, Provenance, Source, TaskScore, as_given
from assay.records.correlation import MEASURES, Coefficient, Measure, SweptRun
from assay.settings import check_seed
from assay.studies.folders import Filed, filed, place_of

Floats = npt.NDArray[np.float64]
RESAMPLES = 9_999
FEWEST = 3  # two runs correlate perfectly, whatever they are
_FEWEST_FOR_AN_INTERVAL = 5
_UNDEFINED = 0.05  # share of resamples without spread above which an interval would be one of the lucky resamples
_PACKAGES = ("numpy", "scipy")


def correlate(studies: str | Path | Sequence[str | Path], seed: int = 0) -> Correlation:
    """Spearman's correlation of forgetting with intruder count, energy share, relative norm and effective rank.

    Over the runs of one or several studies that were audited and scored on a text. With a bootstrap interval, runs
    resampled, and for all but the norm the partial correlation at equal relative norm:
    `(r_xy - r_xz r_yz) / sqrt((1 - r_xz^2)(1 - r_yz^2))`, z the norm.

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
        ("base", {str(one.base) for one in measured}),
        ("text", {str(one.text) for one in measured}),
        ("audit's question", {str((one.k, one.eps, one.side)) for one in measured}),
    ):
        if len(values) > 1:
            raise MismatchError(f"the runs have {len(values)} of: {name}", wanted="one, so that they can be compared")
    runs, first = tuple(one.run for one in measured), measured[0]
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
    run: SweptRun


def _of_record(earlier: Correlation) -> list[_Measured]:
    """The runs of an earlier correlation."""
    shared = (earlier.base, earlier.text, earlier.task, earlier.k, earlier.eps, earlier.side)
    return [_Measured(*shared, run) for run in earlier.runs]


def _of_folder(one: Filed) -> _Measured | None:
    """A run in its folder; None if it was not audited, or not scored on a text."""
    audit, scores = one.audit, one.scores
    if audit is None or scores is None or scores.forgetting is None:
        return None
    lost, task = scores.forgetting, scores.task
    asked = (audit.k, audit.eps, audit.side)
    return _Measured(one.run.base, lost.text, task.task if task else None, *asked, _swept(one, audit, lost, task))


def _swept(one: Filed, audit: Audit, lost: Forgetting, task: TaskScore | None) -> SweptRun:
    ranks = [matrix.effective_rank for matrix in audit.matrices if matrix.effective_rank is not None]
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
    )


def coefficients(runs: Sequence[SweptRun], seed: int) -> Iterator[Coefficient]:
    """The correlations over all runs, then of every method with enough of them; see `correlate`."""
    methods = list(dict.fromkeys(run.method for run in runs))
    groups = {"all": list(runs)}
    if len(methods) > 1:
        groups |= {name: [run for run in runs if run.method == name] for name in methods}
    for among, group in groups.items():
        if len(group) >= FEWEST:
            yield from (_coefficient(among, group, measure, seed) for measure in MEASURES)


def _coefficient(among: str, group: Sequence[SweptRun], measure: Measure, seed: int) -> Coefficient:
    """One correlation, with the partial one at equal norm."""
    complete = [run for run in group if getattr(run, measure) is not None and run.relative_norm is not None]
    columns = [[run.forgetting for run in complete], [getattr(run, measure) for run in complete]]
    values = np.array([*columns, [run.relative_norm for run in complete]], dtype=float)
    why = ""
    if len(complete) < FEWEST:
        why = f"{len(complete)} runs have it"
    elif np.ptp(values[1]) == 0:
        why = f"it is {values[1, 0]:g} in every run"
    elif np.ptp(values[0]) == 0:
        why = "forgetting is the same in every run"
    rho, given = None, None
    intervals: list[Interval | None] = [None, None]
    if not why:
        rho, given = (float(found[0]) for found in _both(values[:, None]))
        draws = np.random.default_rng(seed).integers(0, len(complete), (RESAMPLES, len(complete)))
        if len(complete) >= _FEWEST_FOR_AN_INTERVAL:
            intervals = [_interval(found) for found in _both(values[:, draws])]
    partial = given is not None and np.isfinite(given) and measure != "relative_norm"
    return Coefficient(
        among=among,
        measure=measure,
        runs=len(complete),
        rho=rho,
        interval=intervals[0],
        given_norm=given if partial else None,
        given_norm_interval=intervals[1] if partial else None,
        why=why,
    )


def _both(values: Floats) -> tuple[Floats, Floats]:
    """Spearman's correlation of the first with the second, plain and at equal third; (3, draws, runs) to (draws,)."""
    from scipy import stats

    ranks = stats.rankdata(values, axis=-1)
    ranks = ranks - ranks.mean(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):  # no spread: not a number, which the caller counts
        ranks = ranks / np.sqrt((ranks**2).sum(axis=-1, keepdims=True))
        xy, xz, yz = ((ranks[i] * ranks[j]).sum(axis=-1) for i, j in ((0, 1), (0, 2), (1, 2)))
        rest = (1 - xz**2) * (1 - yz**2)
        return xy, (xy - xz * yz) / np.sqrt(np.where(rest > 1e-12, rest, np.nan))


def _interval(found: Floats) -> Interval | None:
    """The middle 95 % of the resamples; None if too many of them have no value."""
    known = found[np.isfinite(found)]
    if len(known) < (1 - _UNDEFINED) * len(found):
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)
