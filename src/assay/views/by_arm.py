"""A study's result by arm: one table a task, and in words which arm to take, or from which it cannot be told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from assay.records import Study
from assay.records.cautions import marked_in_short
from assay.records.study import ArmResult, Beside, Verdict
from assay.views import cells
from assay.views.blocks import STUDY, Answer, Block, Column, Items, Note, Section, Table, table
from assay.views.choices import by_which, difference, spread
from assay.views.formats import MISSING, listed, number, plural, share, size

_OVER_DOCUMENTS = "of one seed, forgetting has the 95 % interval over documents"
_FOR = {"learning": "For learning", "keeping": "For keeping what the base knew", "cost": "For cost"}


def by_arm(record: Study, number_of_record: int) -> Iterator[Section]:
    """The result of a study by arm; nothing of one that has none."""
    if not record.arms:
        return
    said = verdicts_in_words(record)
    blocks: list[Block] = [Items(tuple(said))] if said else []
    tasks = tuple(dict.fromkeys(arm.task for arm in record.arms))
    for task in tasks:
        blocks.append(_table([arm for arm in record.arms if arm.task == task], task if len(tasks) > 1 else ""))
    marked = [f"{arm.name} on {arm.task}: {mark}." for arm in record.arms for mark in arm.marks]
    blocks += [Items(tuple(marked))] if marked else []
    blocks.append(Note(_how_to_read(record)))
    answer = Answer(_in_short(record), tuple(said), "Which arm to take?") if said else None
    yield Section(f"{record.plan}: by arm", f"arms-{number_of_record}", tuple(blocks), STUDY, answer)


def _in_short(record: Study) -> str:
    """The arms alone, by what they are taken for; more than one where they cannot be told apart."""
    if not record.verdicts:
        return "None"
    several = len({verdict.task for verdict in record.verdicts}) > 1
    said = "; ".join(
        f"{f'{verdict.task}, ' if several else ''}{_FOR[verdict.what].lower()}: "
        + " or ".join([verdict.best, *(one.arm for one in verdict.untold)])
        for verdict in record.verdicts
    )
    return said if several else f"{said[0].upper()}{said[1:]}"


def verdicts_in_words(record: Study) -> list[str]:
    """A sentence or two for everything that arms are compared for, by one rule: shown above all others, or not told."""
    if not record.verdicts and len(record.arms) > 1:
        return ["No arm can be taken: none has a number that says something of tuning."]
    several = len({verdict.task for verdict in record.verdicts}) > 1
    untested = record.arms and all(arm.score is None for arm in record.arms)
    return [
        *(
            [f"{_FOR['learning']}: no arm has a score. A test is named by `--task`, or by `task` in a plan."]
            if untested
            else []
        ),
        *(
            f"{f'{verdict.task}. ' if several else ''}{_FOR[verdict.what]}{_words(record, verdict)}"
            for verdict in record.verdicts
        ),
    ]


def _words(record: Study, verdict: Verdict) -> str:
    """Words that follow on what a verdict is for."""
    best = next(
        arm for arm in record.arms if (arm.name, arm.task, arm.steps) == (verdict.best, verdict.task, verdict.steps)
    )
    shown = [one.arm for one in verdict.beside if one.shown]
    above = "shown to be cheaper than" if verdict.what == "cost" else "shown to be better than"
    if not verdict.beside:
        said = f": {best.name} alone can be judged, {_value(best, verdict)}."
    elif verdict.untold:
        parts = [f"{one.arm} ({_until(one, verdict)})" for one in verdict.untold]
        said = f": can't tell {best.name} from {listed(parts)}. {best.name} has {_value(best, verdict)}."
        said += f" It is {above} {listed(shown)}." if shown else ""
    else:
        said = f", take {best.name}: {_value(best, verdict)}, {above} {listed(shown)}."
    if verdict.what == "cost":
        slower = [f"{one.arm} takes {share(one.difference)} longer" for one in verdict.beside if one.shown]
        said += f" A step of {listed(slower)}." if slower else ""
    elif {one.seeds for one in verdict.beside} == {1}:
        said += " It rests on one seed: what another would show is not known."
    said += f" Beware of {best.name}: {'; '.join(best.marks)}." if best.marks else ""
    return said + (f" Left out: {'; '.join(verdict.left_out)}." if verdict.left_out else "")


def _until(one: Beside, verdict: Verdict) -> str:
    """Difference of an arm from the best one, and the seeds that would show it."""
    if verdict.what == "cost":
        return one.why
    off = difference(one, verdict)
    if one.why:
        return f"{off}; {one.why}" if one.seeds else one.why
    if one.seeds == 1:
        return f"{off}; more seeds are needed"
    if one.more_seeds is None:
        return f"{off}; by the spread of {one.seeds} seeds not even a hundred more would"
    more = plural(one.more_seeds, "more seed")
    return f"{off}; {more} would, by the spread of {one.seeds} seeds"


def _value(arm: ArmResult, verdict: Verdict) -> str:
    """The number by which an arm is the best."""
    if verdict.what == "cost":
        peak = "" if arm.peak_bytes is None else f", {size(arm.peak_bytes)} at its peak"
        return f"{number(arm.step_seconds)} s a step, {plural(arm.parameters, 'trainable parameter')}{peak}"
    return by_which(arm, verdict)


def _table(arms: Sequence[ArmResult], title: str) -> Table:
    """Table with a row an arm."""
    measure = next((arm.measure for arm in arms if arm.measure), "score")
    rows: list[Sequence[cells.Given]] = [
        (
            cells.Cell(arm.name, rest=marked_in_short(arm.marks)),
            cells.number(arm.lr),
            cells.text_number(", ".join(map(str, arm.seeds))),
            spread(arm.score, cells.share, cells.share_estimate),
            spread(arm.forgetting, cells.signed, cells.change),
            _intruders(arm.intruders),
            cells.number(arm.relative_norm),
            arm.parameters,
            cells.number(arm.step_seconds),
            cells.size(arm.peak_bytes),
            cells.size(arm.stored_bytes),
            cells.text_number(str(arm.steps)),
        )
        for arm in arms
    ]
    columns: list[str | Column] = ["Arm", "Rate", "Seeds", measure.capitalize(), "Forgetting, nats", "Intruders"]
    columns += [Column("||dW|| / ||W0||", detail=True), Column("Trainable", detail=True), "Step, s", "Peak memory"]
    return table([*columns, Column("Stored", detail=True), Column("Steps", detail=True)], rows, title=title)


def _intruders(ends: tuple[int, int] | None) -> cells.Cell:
    """Fewest and most intruders."""
    if ends is None:
        return cells.text_number(MISSING)
    low, high = ends
    text = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return cells.Cell(text, float(low), "number", hot=high > 0)


def _how_to_read(record: Study) -> str:
    """Note on the units of the intervals, and the rule by which an arm is taken."""
    over = {found.over for arm in record.arms for found in (arm.score, arm.forgetting) if found is not None}
    said = {
        "examples": "of one seed, scores have the 95 % interval over examples",
        "documents": "forgetting that over documents" if "examples" in over else _OVER_DOCUMENTS,
        "nothing": "of two seeds, both values are shown",
        "seeds": "of three seeds or more, the mean has its t interval over seeds",
    }
    parts = [words for key, words in said.items() if key in over]
    read = f"{'; '.join(parts).capitalize()}. " if parts else ""
    return (
        f"{read}An arm is taken where its difference from every other, paired within a seed, stays after Holm's "
        "correction for all pairs; a step is cheaper where every seed's is, and by a tenth. Times are of the "
        "machine as it was: runs at once share it. Memory is above the start."
    )
