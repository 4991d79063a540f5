"""A dial: the tuned model along a path, beside controls named by what is equal and the way back to the base."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

from assay.records import Dial, DialPoint, Difference, Interval, Reading
from assay.records.dial import CONTROLS
from assay.views import cells, formats
from assay.views.arms import Arm
from assay.views.blocks import DIAL, Alert, Block, Charts, Column, Items, Paragraph, Section, table
from assay.views.cells import Cell
from assay.views.dial_charts import dial_charts
from assay.views.made import how_made
from assay.views.paired import overlap
from assay.views.registry import Entry, view

# Intervals that rest on fewer documents or examples than this are said to.
FEW = 50
TITLES = {
    "size": "What does the update do at other sizes?",
    "rank": "What do the first directions of the update do alone?",
    "noise": "What do the directions of the update above its noise do alone?",
    "intruders": "What do the intruders do?",
}
_ABOUT = {
    "size": (
        "Everything that was tuned, times x: ×1 is the tuned model, ×0 the base, between them lies the way back to the "
        "base; every other point is extrapolated, not trained. The control is a random update of equal rank and norm."
    ),
    "rank": (
        "The first singular directions of every matrix’s update alone; what is no matrix stays as it was tuned. The "
        "control shrinks the whole update to the same norm."
    ),
    "noise": (
        "The singular directions of every matrix’s update above x times the optimal hard threshold for noise of "
        "unknown size; what is no matrix, and a matrix without noise, stays as it was tuned. The control shrinks the "
        "whole update to the same norm."
    ),
    "intruders": (
        "Every intruder times what is kept. Controls of equal edit change random or neighbouring pretrained directions "
        "by the same norm, and add energy to the update; equal removal and equal update take out of it the energy that "
        "the repair takes out, outside of the intruders or of all of it."
    ),
}


@dataclass(frozen=True)
class _Row:
    """One arm's dial by size."""

    arm: Arm
    dial: Dial

    @property
    def words(self) -> str:
        """The tuned update beside the random one, at the size to which it was trained."""
        point, control = self.dial.at("size", 1), self.dial.at("random-update", 1)
        if point is None or control is None:
            return f"{self.arm.name}: this dial has no point at ×1, so it does not show the update as it was tuned."
        first = (
            f"{self.arm.name} as tuned (relative norm {formats.number(point.relative_norm)}): "
            f"{_found(point, self.dial)}. A random update of equal rank and norm: {_found(control, self.dial)}."
        )
        ours, theirs = _lost(point), _lost(control)
        if ours is None or theirs is None:
            return first
        if overlap(ours, theirs):
            return f"{first} The intervals of forgetting overlap: no difference shown."
        more = "more" if ours[0] > theirs[1] else "less"
        return f"{first} The intervals of forgetting do not overlap: the tuned update loses {more} than the random one."


@view(Dial)
def dial(entries: Sequence[Entry[Dial]]) -> Iterator[Section]:
    """Dials by size of one question together, side by side; of another path a section each."""
    groups: dict[str, list[Entry[Dial]]] = {}
    for entry in entries:
        one = entry.record
        asked = (one.base, one.text, one.tokens, one.task, one.matrices, one.directions, one.k, one.eps, one.side)
        alone = "" if one.by == "size" else entry.number
        groups.setdefault(repr((one.by, *asked, alone)), []).append(entry)
    for number, group in enumerate(groups.values(), start=1):
        yield _section(group, number, several=len(groups) > 1)


def _section(group: Sequence[Entry[Dial]], number: int, several: bool) -> Section:
    first = group[0].record
    anchor = "dial" if number == 1 else f"dial-{number}"
    title = TITLES[first.by]
    if several:
        title = f"{title.rstrip('?')}: {formats.listed([entry.arm.name for entry in group])}?"
    curves = [(entry.arm, entry.record) for entry in group]
    return Section(title, anchor, tuple(dial_blocks(f"dial-{number}", curves)), DIAL)


def dial_blocks(name: str, curves: Sequence[tuple[Arm, Dial]], made: bool = True) -> Iterator[Block]:
    """Blocks on dials of one path.

    Args:
        name: what the files of its charts begin with.
        curves: the arms and their dials.
        made: whether to end with how the records were made.
    """
    first = curves[0][1]
    if first.by == "size":
        rows = [_Row(arm, one) for arm, one in curves]
        yield Items((*(row.words for row in rows), *_matched(rows)))
    yield Paragraph(f"{_ABOUT[first.by]} {_asked(first)}", aside=True)
    for arm, one in curves:
        yield from _comparisons(arm, one)
    if charts := dial_charts(name, curves):
        yield Charts(charts)
    yield _table(curves)
    notes = [note for _, one in curves for note in (*few_units(one), *one.notes)]
    if notes:
        yield Items(tuple(dict.fromkeys(notes)))
    if made:
        for _, one in curves:
            yield how_made(one)


def _asked(one: Dial) -> str:
    """Facts on the matrices and the questions."""
    of = f"{one.matrices:,} of {formats.plural(one.of_matrices, 'matrix', 'matrices')} audited"
    said = [f"{of}, k {one.k}, eps {one.eps:g}, {one.side} side"]
    if one.text is not None and one.tokens is not None:
        said.append(f"loss on {one.tokens:,} tokens of {one.text.name}")
    if one.task is not None and one.examples is not None:
        said.append(f"accuracy on {one.examples:,} examples of {one.task.name}")
    return f"{'; '.join(said)}."


def few_units(one: Dial) -> list[str]:
    """Remark on the documents and examples that the intervals rest on."""
    said = []
    for asked, count, what in ((one.text, one.documents, "document"), (one.task, one.examples, "example")):
        if asked is not None and count is None:
            said.append(f"How many {what}s of {asked.name} the intervals rest on is not in this record.")
        elif asked is not None and count is not None and count < FEW:
            said.append(f"Intervals on {asked.name} rest on {formats.plural(count, what)}, fewer than {FEW}.")
    return said


def _comparisons(arm: Arm, one: Dial) -> Iterator[Block]:
    """The points beside the way back at equal task score, and what a budget allows."""
    if one.verdict is not None:
        yield Paragraph(f"{arm.name}, budget {one.budget}: {one.verdict}.")
    if one.rewind is not None:
        back = one.rewind
        yield Paragraph(
            f"{arm.name}, the smallest size on the way back within the budget: ×{formats.number(back.x)} "
            f"({formats.number(back.interval[0])} to {formats.number(back.interval[1])}), score {back.score:.3f}, loss "
            f"{formats.signed(back.loss.mean)} ({formats.signed_range(back.loss.interval)}) against the tuned model."
        )
    if one.at_equal_score:
        yield table(
            [
                "At equal task score",
                Column("×"),
                "Score",
                "Way back at",
                Column("Its score", detail=True),
                "Loss less the way back’s",
                "Verdict",
                Column("Why", detail=True),
            ],
            [
                [
                    point.name,
                    cells.text_number(f"{point.x:g}"),
                    cells.value(beside.score, "{:.3f}".format),
                    cells.number(beside.size),
                    cells.value(beside.size_score, "{:.3f}".format),
                    cells.change(beside.loss.mean, beside.loss.interval),
                    beside.verdict.replace("'", "’"),
                    beside.why,
                ]
                for point in one.points
                if (beside := one.beside_way_back(point)) is not None
            ],
        )
    elif one.by == "intruders" and one.text is not None:
        yield Paragraph("Not read beside the way back to the base at equal task score.")
    if any(point.factor is not None and point.factor > 1 for point in one.points):
        yield Alert(
            "“Equal norm” multiplies the tuned update by more than 1: it is larger than the update that was tuned, and "
            "no way back. Nothing follows from a repair that beats it."
        )


def _table(curves: Sequence[tuple[Arm, Dial]]) -> Block:
    """Every point, with what the records have of it."""
    several = len(curves) > 1
    points = [(arm, one, point) for arm, one in curves for point in one.points]
    has_loss = any(point.loss for *_, point in points)
    has_base = any(point.loss and point.loss.from_base for *_, point in points)
    has_task = any(point.accuracy for *_, point in points)
    columns: list[Column | str] = ["Point", "×", "Relative norm", Column("Update’s energy", detail=True), "Intruders"]
    columns += [Column("Status", detail=True)]
    columns += ["Loss"] * has_loss + ["Above the base"] * has_base + ["Less the tuned"] * has_loss
    columns += ["Accuracy", "Less the tuned, points"] if has_task else []
    columns += [Column("The path less this, loss", detail=True)] if has_loss else []
    columns += [Column("The path less this, points", detail=True)] if has_task else []
    return table(
        columns, [_cells(arm, one, point, several, (has_loss, has_base, has_task)) for arm, one, point in points]
    )


def _cells(arm: Arm, one: Dial, point: DialPoint, several: bool, has: tuple[bool, bool, bool]) -> list[Cell]:
    """One point's row; `has`: whether there is a loss, one of the base, an accuracy."""
    has_loss, has_base, has_task = has
    name = f"{arm.name}, {point.name}" if several else point.name
    found = [
        cells.words(name),
        cells.text_number(f"{point.x:g}"),
        cells.number(point.relative_norm),
        cells.share(point.energy),
        cells.whole(point.count, hot=True),
        cells.words(status(one, point)),
    ]
    loss, accuracy = point.loss or _NOTHING, point.accuracy or _NOTHING
    found += [cells.number(None if loss is _NOTHING else loss.value)] * has_loss
    found += [_change(loss.from_base)] * has_base + [_change(loss.from_tuned)] * has_loss
    if has_task:
        value = None if accuracy is _NOTHING else accuracy.value
        found += [cells.estimate(value, accuracy.interval, "{:.3f}".format, _range), _moved(accuracy.from_tuned)]
    return found + [_change(loss.path_less)] * has_loss + [_moved(accuracy.path_less)] * has_task


_NOTHING = Reading(value=0.0)  # stands in where nothing was read, and is never written


def _change(given: Difference | None) -> Cell:
    return cells.change(given.mean, given.interval) if given else cells.change(None, None)


def _moved(given: Difference | None) -> Cell:
    return cells.points_estimate(given.mean, given.interval) if given else cells.points_estimate(None, None)


def _range(ends: Interval) -> str:
    return f"{ends[0]:.3f} to {ends[1]:.3f}"


def status(one: Dial, point: DialPoint) -> str:
    """Relation of a point to the tuned model."""
    if point.path in CONTROLS[one.by]:
        return "control, not trained"
    if point.path == "size":
        return "as tuned" if point.x == 1 else "without the update" if point.x == 0 else _between(point.x)
    return "not trained"


def _between(x: float) -> str:
    return "on the way back, not trained" if x < 1 else "extrapolated, not trained"


def _lost(point: DialPoint) -> Interval | None:
    """The interval of a point's forgetting."""
    return point.loss.from_base.interval if point.loss and point.loss.from_base else None


def _found(point: DialPoint, one: Dial) -> str:
    """The findings at one point."""
    said = []
    if point.count is not None and one.directions is not None:
        count = f"{point.count:,} of" if point.count else "none of the"
        verb = "is an intruder" if point.count < 2 else "are intruders"
        open_ones = f", {point.undecided:,} undecided" if point.undecided else ""
        said.append(f"{count} {one.directions:,} directions {verb}{open_ones}")
        said.append(f"{formats.share(point.energy_share)} of the energy in intruders")
    words = ", ".join(said)
    if (ends := _lost(point)) is not None and point.forgetting is not None:
        words += f"; forgetting {formats.signed(point.forgetting)} ({formats.signed_range(ends)})"
    if point.accuracy is not None and point.accuracy.interval is not None:
        words += f"; accuracy {point.accuracy.value:.3f} ({_range(point.accuracy.interval)})"
    return words


def _matched(rows: Sequence[_Row]) -> Iterator[str]:
    """A few sentences for every arm as tuned whose size lies within another arm's dial.

    A difference is shown where size cannot make it: where the other loses more at a smaller size already, or less at a
    larger one still.
    """
    for one, other in permutations(rows, 2):
        tuned = one.dial.at("size", 1)
        points = [point for point in other.dial.curve("size") if point.relative_norm]
        if tuned is None or tuned.relative_norm is None or _lost(tuned) is None:
            continue
        below = [point for point in points if (point.relative_norm or 0) <= tuned.relative_norm]
        above = [point for point in points if (point.relative_norm or 0) >= tuned.relative_norm]
        if below and above:
            yield _between_points(one.arm.name, tuned, other, below[-1], above[0])


def _between_points(name: str, tuned: DialPoint, other: _Row, below: DialPoint, above: DialPoint) -> str:
    """One arm as it was tuned, between two points of another."""
    theirs, ends = other.arm.name, [_lost(point) or (0.0, 0.0) for point in (tuned, below, above)]
    said = "; ".join(
        f"{theirs} at ×{point.x:g} ({status(other.dial, point)}; relative norm {formats.number(point.relative_norm)}) "
        f"{formats.signed(point.forgetting or 0.0)} ({formats.signed_range(_lost(point) or (0.0, 0.0))})"
        for point in dict.fromkeys((below, above))
    )
    first = (
        f"Forgetting at the size of {name} as tuned (relative norm {formats.number(tuned.relative_norm)}): {name} "
        f"{formats.signed(tuned.forgetting or 0.0)} ({formats.signed_range(ends[0])}); {said}."
    )
    if ends[1][0] > ends[0][1]:
        return f"{first} {theirs} loses more, at a size no larger."
    if ends[2][1] < ends[0][0]:
        return f"{first} {theirs} loses less, at a size no smaller."
    return f"{first} No difference shown at equal size."
