"""What a page shows of scores beyond one task and one text: variety, tasks of lm-eval, pseudo-losses, notes."""

from __future__ import annotations

import json
import re

import pytest

from arm_records import diversity, entries, forgetting, harness_score, scores, task_score
from assay.errors import RecordError
from assay.records import load
from assay.records.scores import NO_ANSWER
from assay.render.html import report
from assay.views.harness import verdict as verdict_on
from assay.views.learned import HOW
from assay.views.lost import loss_views
from assay.views.variety import variety_groups
from reading import Element, read


def section(tree: Element, name: str) -> Element:
    return next(part for part in tree.all("section") if part.attributes.get("id") == name)


def test_variety_says_which_side_its_interval_shows() -> None:
    records = [scores(name, diversity=diversity(shift)) for name, shift in (("less", -9), ("same", 0), ("more", 9))]
    (rows,) = variety_groups(entries(records))
    assert [row.words.split(" than")[0] for row in rows] == [
        "less gives fewer different replies to a prompt",
        "No difference in variety shown between same and its base: 40.0 of 50 against the base’s 40.0: 0 "
        "(−0.400 to +0.400).",
        "more gives more different replies to a prompt",
    ]
    page = report(records)
    part = section(read(page.html), "variety")
    rows = part.table("Different replies")
    assert [cell.text for cell in rows[0]] == ["base", "40.0", "–", "–", "12.0%", "5.00, 35.0"]
    assert rows[1][-1].text == "5.00, 26.0"
    assert "Nothing that a model wrote was run" in part.text
    assert "variety-1-difference" in [picture.name for picture in page.pictures]


def test_unchecked_replies_have_no_right_and_wrong() -> None:
    part = section(read(report(scores("arm", diversity=diversity(3, checked=False))).html), "variety")
    assert [row[-1].text for row in part.table("Different replies")] == ["–", "–"]


@pytest.mark.parametrize(
    ("gained", "higher", "verdict"),
    [(20, True, "better"), (20, False, "worse"), (0, True, "no difference shown")],
)
def test_metrics_of_the_harness_are_read_in_their_own_direction(gained: int, higher: bool, verdict: str) -> None:
    record = scores("arm", harness=(harness_score("acc", gained, higher),))
    assert verdict_on(record.harness[0]) == verdict
    row = section(read(report(record).html), "harness").table("Metric")[0]
    assert (row[1].text, row[3].text, row[4].text, row[-1].text) == ("hellaswag", "100", "0.500", verdict)


def test_several_metrics_are_counted_for_the_reader() -> None:
    one, other = harness_score("acc", 20), harness_score("acc_norm", 3)
    assert "metrics were looked at" not in section(read(report(scores("a", harness=(one,))).html), "harness").text
    page = report([scores("a", harness=(one, other)), scores("b", harness=(one,))])
    assert "2 metrics were looked at" in section(read(page.html), "harness").text
    assert len(section(read(page.html), "harness").table("Metric")) == 3


def test_every_kind_of_task_is_named_on_the_page() -> None:
    for how, words in HOW.items():
        replies = {"max_tokens": 64, "chat": True} if how == "exact match" else {}
        task = task_score(200).model_copy(update={"how": how, **replies})
        assert words in section(read(report(scores("arm", task)).html), "learned").text


def test_replies_without_an_answer_are_counted() -> None:
    task = task_score(200)
    silent = (*(NO_ANSWER,) * 7, *task.tuned_choices[7:])
    task = task.model_copy(update={"how": "exact match", "max_tokens": 64, "tuned_choices": silent})
    text = section(read(report(scores("arm", task)).html), "learned").text
    assert "at most 64 tokens; replies without any answer: arm 7 and the base 0" in text


def test_pseudo_losses_stand_apart_from_cross_entropies() -> None:
    causal, masked = forgetting(0.1), forgetting(0.1).model_copy(update={"how": "pseudo-loss"})
    records = [scores("one", lost=causal), scores("other", lost=masked)]
    assert len(loss_views(entries(records))) == 2
    text = section(read(report(records).html), "lost").text
    assert "each token is masked in turn" in text
    assert "the first token of each document is not scored" in text


def test_notes_on_scores_are_on_the_page() -> None:
    tree = read(report(scores("arm", task_score(200), notes=("The base is <silent>.",))).html)
    assert any(item.text == "arm: The base is <silent>." for item in tree.all("li"))


@pytest.mark.parametrize(
    ("part", "changes", "named"),
    [
        ("task", {"tuned_accuracy": 7.0}, "tuned_accuracy"),
        ("task", {"tuned_accuracy": 0.7}, "tuned_accuracy is 0.7, that of the choices 0.8"),
        ("task", {"base_interval": [-0.1, 0.5]}, "base_interval"),
        ("forgetting", {"mean": -0.5}, "mean is -0.5, that of the documents 0.1"),
        ("forgetting", {"tuned_loss": float("nan")}, "tuned_loss is nan, that of the documents 3.5"),
        ("forgetting", {"tokens": 5}, "tokens is 5, those of the documents 4560"),
        ("forgetting", {"documents": "nan"}, "tuned_loss is 3.5, that of the documents nan"),
    ],
)
def test_scores_that_contradict_themselves_are_no_record(tmp_path, part, changes, named):
    path = scores("a", task_score(240), forgetting(0.1)).save(tmp_path / "scores.json")
    data = json.loads(path.read_text())
    if changes == {"documents": "nan"}:
        data[part]["documents"][0]["tuned"] = float("nan")
    else:
        data[part] |= changes
    path.write_text(json.dumps(data))
    with pytest.raises(RecordError, match=re.escape(named)):
        load(path)


def test_a_model_without_a_finite_loss_still_has_a_record(tmp_path):
    """What diverged is told on the page; only a mean that is not that of its documents is refused."""
    lost, nan = forgetting(0.1), float("nan")
    documents = tuple(one.model_copy(update={"tuned": nan}) for one in lost.documents)
    broken = {"mean": nan, "interval": (nan, nan), "document_mean": nan, "tuned_loss": nan, "documents": documents}
    path = scores("a", None, lost.model_copy(update=broken)).save(tmp_path / "scores.json")
    assert "no finite loss" in report(load(path)).html
