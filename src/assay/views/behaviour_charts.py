"""The charts of behaviour: accuracies, differences and losses, each with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from assay.records import Diversity, Forgetting, Interval, TaskScore
from assay.views.arms import Arm
from assay.views.blocks import Chart
from assay.views.formats import points, points_range, share, signed, signed_range
from assay.views.palette import BASE, FONT, INK, MATCHED, SIGNED, alt, finish, look

# More documents than this are a cloud in which none can be told from another.
DOCUMENTS = 400
ROW = 44


def accuracy(name: str, scored: Sequence[tuple[Arm, TaskScore]]) -> Chart:
    """Share of right answers of the base and of every arm, with Wilson's intervals."""
    first = scored[0][1]
    rows: list[dict[str, Any]] = []
    if first.base_accuracy is not None and first.base_interval is not None:
        rows.append(_row("base", first.base_accuracy, first.base_interval, MATCHED, "circle"))
    rows += [_row(arm.name, task.tuned_accuracy, task.tuned_interval, *look(arm.number)) for arm, task in scored]
    for row in rows:
        row["text"] = share(row["value"])
    said = "; ".join(f"{row['name']} {row['text']}, {share(row['low'])} to {share(row['high'])}" for row in rows)
    return Chart(
        f"{name}-accuracy",
        "Right answers",
        f"Share of right answers with 95% intervals. {said}. A constant reply: {share(first.majority)}.",
        lambda: _intervals(rows, "share of right answers", first.majority, ".0%"),
        f"Lines: 95% Wilson intervals. Dashed: a constant reply, {share(first.majority)}.",
    )


def differences(name: str, scored: Sequence[tuple[Arm, TaskScore]]) -> Chart | None:
    """Every arm's accuracy minus the base's, paired by example; None where no base could answer."""
    rows = []
    for arm, task in scored:
        if task.difference is not None and task.difference_interval is not None:
            low, high = task.difference_interval
            row = _row(arm.name, 100 * task.difference, (100 * low, 100 * high), *look(arm.number))
            rows.append(row | {"text": points(task.difference), "said": points_range(task.difference_interval)})
    if not rows:
        return None
    said = "; ".join(f"{row['name']} {row['text']}, {row['said']}" for row in rows)
    return Chart(
        f"{name}-difference",
        "Against the base",
        f"Accuracy minus the base's, in percentage points, with 95% intervals. {said}.",
        lambda: _intervals(rows, "percentage points above the base"),
        "Paired by example; lines: 95% bootstrap intervals. One that crosses zero shows no difference.",
    )


def forgetting(name: str, scored: Sequence[tuple[Arm, Forgetting]]) -> Chart:
    """Every arm's loss on text minus the base's."""
    rows, said = _against_base([(arm, lost.mean, lost.interval) for arm, lost in scored])
    return Chart(
        f"{name}-forgetting",
        "Forgetting",
        f"Loss on the text minus the base's, in nats a token, with 95% intervals. {said}.",
        lambda: _intervals(rows, "nats a token above the base"),
        "Lines: 95% bootstrap intervals over documents. One that crosses zero shows no difference.",
    )


def variety(name: str, scored: Sequence[tuple[Arm, Diversity]]) -> Chart:
    """Every arm's number of different replies to a prompt minus the base's."""
    rows, said = _against_base([(arm, found.difference, found.interval) for arm, found in scored])
    return Chart(
        f"{name}-difference",
        "Against the base",
        f"Different replies to a prompt minus the base's, with 95% intervals. {said}.",
        lambda: _intervals(rows, "different replies more than the base"),
        "Lines: 95% bootstrap intervals over prompts. One that crosses zero shows no difference.",
    )


def _against_base(found: Sequence[tuple[Arm, float, Interval]]) -> tuple[list[dict[str, Any]], str]:
    """A row for every arm's difference to the base, and all of them in words."""
    rows = [_row(arm.name, mean, interval, *look(arm.number)) | {"text": signed(mean)} for arm, mean, interval in found]
    return rows, "; ".join(f"{arm.name} {signed(mean)}, {signed_range(interval)}" for arm, mean, interval in found)


def documents(name: str, scored: Sequence[tuple[Arm, Forgetting]]) -> Chart:
    """Difference of the losses, document by document."""
    rows: list[dict[str, Any]] = []
    for arm, lost in scored:
        colour, shape = look(arm.number)
        each = [(one.tuned - one.base) / one.tokens for one in lost.documents if one.tokens]
        each = [value for value in each if math.isfinite(value)]
        rows += [{"name": arm.name, "value": value, "colour": colour, "shape": shape} for value in each[:DOCUMENTS]]
    worse = "; ".join(
        f"{arm.name} is worse on {sum(one.tuned > one.base for one in lost.documents)} of {len(lost.documents)}"
        for arm, lost in scored
    )
    aside = "" if all(len(lost.documents) <= DOCUMENTS for _, lost in scored) else f" The first {DOCUMENTS} are drawn."
    return Chart(
        f"{name}-documents",
        "Document by document",
        f"Each document's mean difference from the base. {worse}.",
        lambda: _ticks(rows, [arm.name for arm, _ in scored]),
        f"{worse}.{aside}",
    )


def _ticks(rows: list[dict[str, Any]], names: Sequence[str]) -> Any:
    """A tick for every document, a row an arm."""
    x = alt.X("value:Q", title="nats a token above the base", axis=_axis())
    ticks = alt.Chart(alt.Data(values=rows)).mark_tick(thickness=1.6, size=20, opacity=0.65)
    drawn = ticks.encode(x, _names(names), color=alt.Color("colour:N", scale=None))
    return finish(_reference(0.0) + drawn, ROW * len(names) + 46)


def _row(name: str, value: float, interval: tuple[float, float], colour: str, shape: str) -> dict[str, Any]:
    low, high = interval
    return {"name": name, "value": value, "low": low, "high": high, "colour": colour, "shape": shape}


def _intervals(rows: list[dict[str, Any]], title: str, reference: float = 0.0, number_format: str = "") -> Any:
    """A mark and its interval for every row, with the number over the mark and a dashed line to compare with."""
    x = alt.X("value:Q", title=title, scale=alt.Scale(zero=False, nice=True), axis=_axis(number_format))
    y = _names([row["name"] for row in rows])
    finite = [row for row in rows if all(math.isfinite(row[end]) for end in ("value", "low", "high"))]
    base = alt.Chart(alt.Data(values=finite))
    colour = alt.Color("colour:N", scale=None)
    whisker = base.mark_rule(strokeWidth=2).encode(alt.X("low:Q", title=title), y, alt.X2("high:Q"), color=colour)
    marks = base.mark_point(filled=True, size=80, opacity=1)
    dots = marks.encode(x, y, color=colour, shape=alt.Shape("shape:N", scale=None))
    text = base.mark_text(dy=-12, font=FONT, fontSize=11, color=INK).encode(x, y, text=alt.Text("text:N"))
    return finish(_reference(reference) + whisker + dots + text, ROW * len(rows) + 46)


def _reference(value: float) -> Any:
    """A dashed upright line."""
    rule = alt.Chart(alt.Data(values=[{"at": value}])).mark_rule(strokeDash=[4, 3], color=BASE, strokeWidth=1.5)
    return rule.encode(alt.X("at:Q"))


def _names(names: Sequence[str]) -> Any:
    """The rows' names, at the left."""
    axis = alt.Axis(ticks=False, domain=False, labelLimit=96, labelPadding=8)
    return alt.Y("name:N", sort=list(names), title=None, axis=axis)


def _axis(number_format: str = "") -> Any:
    """The axis of a share with its format, or of a difference without one."""
    label = {"format": number_format} if number_format else {"labelExpr": SIGNED}
    return alt.Axis(tickCount=5, grid=True, **label)
