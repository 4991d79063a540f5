"""The view of dials and repairs says what the records say; records of version 1 are read and never called a shrink."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from arm_records import dial, model
from assay.errors import RecordError
from assay.records import AtEqualScore, Dial, DialPoint, Difference, Reading, Repair, load
from assay.render.html import report
from assay.render.markdown import markdown
from reading import read, value

ROOT = Path(__file__).parents[2]
KEPT = sorted((ROOT / "docs" / "records" / "repair").glob("*.json"))
OLD = [path for path in KEPT if json.loads(path.read_text(encoding="utf8"))["schema_version"] == 1]


def text(*records: Dial | Repair) -> str:
    return read(report(list(records)).html).text


def test_every_point_of_a_dial_is_there_and_labelled() -> None:
    records = [dial("full", norm=0.002, lost=0.05), dial("lora", norm=0.005, lost=0.6)]
    tree = read(report(records).html)
    points = [point for one in records for point in one.points]
    for row, point in zip(tree.table("Status"), points, strict=True):
        said = {True: "as tuned", False: "extrapolated, not trained"}[point.x == 1]
        said = "on the way back, not trained" if point.x < 1 else said
        assert row[5].text == ("control, not trained" if point.path == "random-update" else said)
        found = [point.relative_norm, point.energy, point.count, point.loss.value, point.forgetting]
        assert [value(row[i]) for i in (2, 3, 4, 6, 7)] == found
    assert "every other point is extrapolated, not trained" in tree.text
    assert "Intervals on prose.jsonl rest on 12 documents, fewer than 50." in tree.text


def test_at_equal_size_a_difference_is_shown_only_where_size_cannot_make_it() -> None:
    assert "No difference shown at equal size" in text(dial("a", norm=0.004, lost=0.1), dial("b", norm=0.003, lost=0.1))
    said = text(dial("a", norm=0.004, lost=0.001), dial("b", norm=0.003, lost=2.0))
    assert "b loses more, at a size no larger" in said
    assert "a loses less, at a size no smaller" in said
    assert "at the size of" not in text(dial("a", norm=0.004), dial("b", norm=4.0))


def test_the_random_control_is_told_in_both_directions() -> None:
    assert "do not overlap: the tuned update loses more" in text(dial("a", lost=0.1))
    assert "do not overlap: the tuned update loses less" in text(dial("a", lost=-0.1))
    assert "overlap: no difference shown" in text(dial("a", lost=0.002))
    assert "no point at ×1" in text(dial("a", at=(2.0,)))
    assert "no point at ×1" in text(dial("a", at=(0.0,)))


def by_intruders() -> Dial:
    """A dial with one point beside the way back, and a shrink that made the update larger."""
    less = Difference(mean=-0.2, interval=(-0.3, -0.1))
    points = (
        DialPoint(path="intruders", x=0.0, energy=1.1, loss=Reading(value=3.2, from_tuned=less)),
        DialPoint(path="equal-update", x=0.0, factor=1.05, loss=Reading(value=3.6, path_less=less)),
    )
    beside = AtEqualScore(
        path="intruders",
        x=0.0,
        score=0.8,
        size=0.7,
        size_score=0.8,
        reached=1.0,
        loss=Difference(mean=0.01, interval=(-0.1, 0.1)),
        verdict="can't tell",
        why="the interval holds zero",
    )
    update = {"by": "intruders", "points": points, "at_equal_score": (beside,), "notes": ("A note.",)}
    return dial("lora").model_copy(update=update)


def test_an_amplified_update_is_never_called_a_shrink() -> None:
    said = text(by_intruders())
    assert "equal norm (x 1.05: larger than the tuned update, no way back)" in said
    assert "Nothing follows from a repair that beats it" in said
    assert "can’t tell" in said
    assert "A note." in said
    assert "shrink" not in said.replace("shrinking", "")


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.stem)
def test_a_repair_of_version_1_is_read_with_every_number(path: Path) -> None:
    given, found = json.loads(path.read_text()), load(path)
    assert isinstance(found, Repair)
    assert found.dial is not None
    names = {"repair": "intruders", "random": "random-directions", "neighbour": "pretrained-neighbours"}
    for point in given["curve"]["points"]:
        ours = found.dial.at(names.get(point["arm"], "equal-update"), point["keep"])
        assert (ours.relative_norm, ours.factor) == (point["relative_norm"], point["multiplier"])
        for mine, theirs in ((ours.loss, point["loss"]), (ours.accuracy, point["accuracy"])):
            if theirs is None:
                assert mine is None
                continue
            assert mine.value == theirs["value"]
            assert (mine.from_tuned.mean, list(mine.from_tuned.interval)) == (
                theirs["change"],
                theirs["change_interval"],
            )
            assert (mine.path_less and mine.path_less.mean) == theirs["repair_less"]
    for arm in given["arms"]:
        ours = found.at(names.get(arm["arm"], "equal-update"))
        assert (ours.count, ours.undecided, ours.edit_norm) == (arm["count"], arm["undecided"], arm["edit_norm"])
    assert found.dial.at("size", 1).forgetting == given["curve"]["forgetting"]
    assert Repair.model_validate_json(found.to_json()) == found
    said = markdown(found)
    assert "Not read beside the way back" in said or found.dial.text is None
    assert ("larger than the tuned update, no way back" in said) == ("smollm2" in path.stem)


def test_a_dial_of_version_1_is_read_with_every_number() -> None:
    path = Path(__file__).parent / "records" / "dial.version-1.json"
    given, found = json.loads(path.read_text()), load(path)
    assert isinstance(found, Dial)
    assert given["schema_version"] == 1
    for before, after in zip(given["points"], found.points, strict=True):
        assert after.path == {"trained": "size", "random": "random-update"}[before["update"]]
        assert after.x == before["multiplier"]
        assert (after.loss.value, after.forgetting) == (before["loss"], before["forgetting"])
        assert list(after.loss.from_base.interval) == before["interval"]
    assert "as tuned" in text(found)


def test_what_is_not_read_any_more_says_what_makes_it_again(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text(json.dumps({"kind": "truncation", "schema_version": 1}))
    with pytest.raises(RecordError, match="assay dial --by rank"):
        load(tmp_path / "old.json")
    (tmp_path / "torn.json").write_text(json.dumps({"kind": "dial", "schema_version": 1, "points": [{}]}))
    with pytest.raises(RecordError, match="earlier version"):
        load(tmp_path / "torn.json")


def test_a_page_names_its_tuned_model() -> None:
    assert by_intruders().tuned_models == (model("lora"),)
