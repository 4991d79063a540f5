"""Choice of the stored checkpoint to keep, for every arm of which paired scores of its durations decide it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from assay.errors import MismatchError
from assay.records import Scores, Source
from assay.records.advice import Counsel
from assay.records.called import told_apart
from assay.records.cautions import ruined
from assay.records.conditions import pool_key
from assay.records.study import Beside
from assay.studies.arms import Trained, Units
from assay.studies.folders import Filed, filed
from assay.studies.verdicts import BySeed, Measure, besides, undominated

_SOURCE = "paired scores of its stored checkpoints, Holm-corrected"


def checkpoints_of(study: str | Path, base: Source) -> tuple[list[Counsel], int]:
    """Advice on which checkpoint to keep: one piece for every arm of which one checkpoint alone is not outdone.

    A checkpoint is outdone where another one is shown to be better, in score or in forgetting, and is by the other of
    the two not behind by as much as is worth naming; `studies.verdicts.undominated`. Where two or more are left, as
    when one scores higher and another forgets less, nothing is said of the arm. Ruined checkpoints are left out.

    Args:
        study: its folder, with runs that were scored at several durations (`save_at`).
        base: that the runs must have begun from.

    Returns:
        The advice, and the number of arms that it could have been about.

    Raises:
        SourceError: a folder without runs.
        MismatchError: runs of another base.
    """
    arms = [(arm, durations) for arm in _arms(filed([study]), base, str(study)) if len(durations := _by_steps(arm)) > 1]
    names = told_apart([(arm[0].run.method, dict(arm[0].run.arm)) for arm, _ in arms])
    found = (_counsel(name, durations) for name, (_, durations) in zip(names, arms, strict=True))
    return [one for one in found if one is not None], len(arms)


def _arms(runs: Sequence[Filed], base: Source, where: str) -> Iterator[list[Filed]]:
    """The runs of every arm on one task and for one duration, one a seed."""
    groups: dict[str, list[Filed]] = {}
    for one in runs:
        if one.run.base.digest != base.digest:
            raise MismatchError(
                f"the runs began from {one.run.base.name}, another base than {base.name}",
                wanted="runs of this base: what they show holds for theirs",
                where=where,
            )
        key = repr((one.run.method, sorted(one.run.arm.items()), pool_key(one.run.conditions)))
        groups.setdefault(key, []).append(one)
    yield from groups.values()


def _by_steps(arm: Sequence[Filed]) -> dict[int, dict[int, Trained]]:
    """By duration and seed, what every seed has scores of that are not a ruined model's."""
    found: dict[int, dict[int, Trained]] = {}
    for one in arm:
        for steps, scores in one.durations():
            if scores is not None and not _ruined(scores):
                trained = Trained("", one.run.method, one.run.arm, steps, one.seed, one.run, scores, None)
                found.setdefault(steps, {})[one.seed] = trained
    return {steps: seeds for steps, seeds in sorted(found.items()) if len(seeds) == len(arm)}


def _ruined(scores: Scores) -> bool:
    return bool(ruined(scores.forgetting, scores.task))


def _counsel(arm: str, durations: dict[int, dict[int, Trained]]) -> Counsel | None:
    """The advice on one arm; None where no checkpoint is shown to be the one to keep."""
    compared: dict[Measure, dict[tuple[str, str], Beside]] = {}
    measures: tuple[tuple[Measure, str], ...] = (("learning", "learned"), ("keeping", "lost"))
    for what, name in measures:
        measured = {str(steps): _units(seeds, name) for steps, seeds in durations.items()}
        if all(len(units) == len(durations[int(steps)]) for steps, units in measured.items()):
            compared[what] = besides(what, measured)
    left = undominated(list(compared), list(compared.values()))
    if len(left) != 1:
        return None
    best, others = left[0], [str(steps) for steps in durations if str(steps) != left[0]]
    found = {other: [(what, beside[best, other]) for what, beside in compared.items()] for other in others}
    shown = sum(any(one.shown for _, one in parts) for parts in found.values())
    seeds = len(next(iter(durations.values())))
    return Counsel(
        topic="checkpoint",
        says=f"Of {arm} keep the checkpoint after {best} steps, not that after {' or '.join(others)}.",
        evidence="; ".join(f"beside {other}: {', '.join(map(_words, parts))}" for other, parts in found.items()),
        source=_SOURCE,
        sure=f"shown beside {shown} of {len(others)}, {seeds} seed{'' if seeds == 1 else 's'}",
    )


def _units(seeds: dict[int, Trained], name: str) -> BySeed:
    units: dict[int, Units | None] = {seed: getattr(one, name)() for seed, one in seeds.items()}
    return {seed: found for seed, found in units.items() if found is not None}


def _words(given: tuple[Measure, Beside]) -> str:
    """A difference in words, with its interval and whether it is shown."""
    what, one = given
    scale, unit = (100, "points of score") if what == "learning" else (1, "nats a token kept")
    ends = "" if one.interval is None else f" ({scale * one.interval[0]:+.3g} to {scale * one.interval[1]:+.3g})"
    return f"{scale * one.difference:+.3g} {unit}{ends}{'' if one.shown else ', not shown'}"
