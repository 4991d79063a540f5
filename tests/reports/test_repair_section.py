"""The section on repairs says what the record says, and shows a difference only where its interval does."""

from __future__ import annotations

from arm_records import BASE, PROVENANCE, model
from reading import read, value

from assay.records import ArmOutcome, MatrixRepair, Measured, Repair, RepairCurve, RepairPoint, Source
from assay.records.repair import ARMS
from assay.reports import report
from assay.reports.arms import arms
from assay.reports.repair_section import repair_views


def _point(arm: str, keep: float, loss: float) -> RepairPoint:
    less = None if arm == "repair" else -0.02
    ends = None if arm == "repair" else (-0.03, -0.01) if arm == "random" else (-0.05, 0.01)
    one = Measured(value=3.5, change=loss, change_interval=(loss - 0.01, loss + 0.01), repair_less=less)
    return RepairPoint(
        arm=arm,  # type: ignore[arg-type]
        keep=keep,
        multiplier=0.9 if arm == "shrink" else None,
        relative_norm=0.02,
        loss=one.model_copy(update={"repair_less_interval": ends}),
        accuracy=None,
    )


def record(curve: bool = True) -> Repair:
    points = tuple(_point(arm, keep, -0.1 * (1 - keep)) for arm in ARMS for keep in (0.0, 0.5))
    matrix = MatrixRepair(
        name="model.layers.0.self_attn.q_proj.weight",
        role="self_attn.q_proj",
        layer=0,
        shape=(8, 8),
        scaled=2,
        before=2,
        after=0,
        after_undecided=0,
        returned=0,
        rank_before=4,
        rank_after=6,
        update_norm=1.0,
        repaired_norm=0.7,
        edit_norm=0.6,
        error=1e-8,
    )
    return Repair(
        provenance=PROVENANCE,
        base=BASE,
        tuned=model("lora"),
        out=model("repaired"),
        kind_of_update="adapter",
        keep=0.0,
        which="all",
        rank=None,
        k=10,
        eps=0.5,
        side="left",
        analysed=28,
        matrices=(matrix,),
        count=2,
        undecided=0,
        relative_norm=0.03,
        arms=tuple(
            ArmOutcome(arm=arm, relative_norm=0.02, edit_norm=0.6, count=int(arm != "repair"), undecided=0)
            for arm in ARMS
        ),
        curve=RepairCurve(text=Source(name="prose.jsonl"), tokens=100, points=points) if curve else None,
        notes=("A note on the repair.",),
        seconds=1.0,
    )


def test_the_page_has_the_records_numbers() -> None:
    given = record()
    tree = read(report([given]).html)
    (section,) = (one for one in tree.all("section") if one.attributes.get("id") == "repair")
    outcomes, every = section.all("table")
    rows = [row.all("th", "td") for row in outcomes.all("tbody")[0].all("tr")]
    assert [value(row[1]) for row in rows] == [outcome.count for outcome in given.arms]
    assert [value(row[3]) for row in rows] == [outcome.relative_norm for outcome in given.arms]
    assert given.curve is not None
    points = [row.all("th", "td") for row in every.all("tbody")[0].all("tr")]
    assert [value(row[4]) for row in points] == [point.loss.change for point in given.curve.points if point.loss]
    assert "A note on the repair." in section.text
    assert len(section.all("svg")) == 1


def test_a_difference_is_shown_only_where_its_interval_is_on_one_side() -> None:
    (view,) = repair_views(arms([record()]))
    said = {words.split(" less ")[1].split(":")[0]: words for words in view.words if " less " in words}
    assert said["uniform shrink"].endswith("no difference shown.")
    assert said["random directions"].endswith("a difference is shown.")
    assert len(said) == 3


def test_a_repair_without_a_curve_has_no_chart() -> None:
    (view,) = repair_views(arms([record(curve=False)]))
    assert view.pictures == ()
    assert view.by_keep == ()
    assert '<section id="repair">' in report([record(curve=False)]).html
