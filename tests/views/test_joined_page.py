"""A page of several kinds of record says what the records say, in both directions."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import pytest

from arm_records import BASE, dial, entries, forgetting, model, run, scores, task_score
from assay.records import Difference, Reading, Source
from assay.render.html import Page, report
from assay.render.pictures import svg
from assay.views import document
from assay.views.learned import task_views
from assay.views.lost import loss_views
from assay.views.run import losses
from audit_records import audit
from reading import Element, read, value


def audited(name: str, **options):
    record = audit(2, k=4, base=BASE.name, tuned=name, roles=4, **options)
    return record.model_copy(update={"base": BASE, "tuned": (model(name),)})


@pytest.fixture(scope="module")
def records():
    return [
        run("full"),
        scores("full", task_score(240), forgetting(0.05)),
        audited("full", strange=0),
        dial("full", norm=0.002, lost=0.05),
        run("lora", "lora", 2_442_240),
        scores("lora", task_score(243), forgetting(0.6)),
        audited("lora", strange=0.9, seed=3),
        dial("lora", norm=0.005, lost=0.6),
    ]


@pytest.fixture(scope="module")
def page(records) -> Page:
    return report(records)


@pytest.fixture(scope="module")
def tree(page) -> Element:
    return read(page.html)


def section(tree: Element, name: str) -> Element:
    (found,) = (e for e in tree.all("section") if e.attributes.get("id") == name)
    return found


def values(rows: list[list[Element]]) -> list[list[float | None]]:
    return [[value(cell) for cell in row[1:]] for row in rows]


def test_the_page_answers_in_its_order(tree):
    assert [e.attributes["id"] for e in tree.all("section")] == [
        "learned",
        "lost",
        "inside",
        "dial",
        "run",
        "audit-1",
        "audit-2",
    ]
    answers = next(e for e in tree.all("div") if e.attributes.get("class") == "answers of-3")
    assert [e.text for e in answers.all("h2")] == [
        "Did both learn it?",
        "What was lost?",
        "How do they differ inside?",
    ]
    assert [e.text for e in answers.all("p")][:2] == ["Yes, both", "Both lost prose, lora more"]


def test_nothing_is_fetched_and_nothing_runs(tree, page):
    assert not {e.tag for e in tree.all()} & {"script", "link", "img", "image", "iframe", "object", "embed", "use"}
    for element in tree.all():
        for name, text in element.attributes.items():
            assert not name.startswith("on")
            assert name not in ("src", "srcset", "action", "data", "poster", "style")
            if name.endswith("href"):
                assert text.startswith("#")
    assert "http" not in page.html


def test_identifiers_are_unique_and_links_lead_somewhere(tree, page):
    identifiers = [e.attributes["id"] for e in tree.all() if "id" in e.attributes]
    assert len(identifiers) == len(set(identifiers))
    assert {a.attributes["href"][1:] for a in tree.all("a")} <= set(identifiers)
    assert set(re.findall(r"url\(#([^)]*)\)", page.html)) <= set(identifiers)
    assert len({picture.name for picture in page.pictures}) == len(page.pictures)


def test_headings_leave_no_level_out(tree):
    levels = [int(e.tag[1]) for e in tree.all("h1", "h2", "h3", "h4")]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_every_chart_is_valid_and_drawn(page):
    for picture in page.pictures:
        picture.chart.to_dict()  # checked against Vega-Lite's schema
        assert picture.alt
        assert svg(picture) in page.html


def test_accuracies_are_the_records(records, tree):
    base, *rows = section(tree, "learned").table("McNemar p")
    tasks = [records[1].task, records[5].task]
    assert value(base[1]) == tasks[0].base_accuracy
    for row, task in zip(rows, tasks, strict=True):
        assert value(row[1]) == task.tuned_accuracy
        assert value(row[3]) == task.difference
        assert [float(e.attributes["value"]) for e in row[5].all("data")] == [task.only_base, task.only_tuned]
        assert value(row[6]) == task.p_value
    assert f"300 examples of {tasks[0].task.name}" in section(tree, "learned").text


def test_losses_are_the_records(records, tree):
    base, *rows = section(tree, "lost").table("Bits a byte")
    lost = [records[1].forgetting, records[5].forgetting]
    assert [value(base[1]), value(base[5])] == [lost[0].base_loss, lost[0].base_bits_per_byte]
    expected = [[f.tuned_loss, f.mean, None, f.document_mean, f.tuned_bits_per_byte] for f in lost]
    assert values(rows) == expected
    assert "4,560 tokens (19,200 bytes) in 24 documents" in section(tree, "lost").text


def test_audits_stand_side_by_side(records, tree):
    (table, *_) = section(tree, "inside").all("table")
    titles = [cell.text for cell in table.all("thead")[0].all("th")]
    rows = [row.all("th", "td") for row in table.all("tbody")[0].all("tr")]
    assert [row[0].text for row in rows] == ["full", "lora"]
    for row, record in zip(rows, (records[2], records[6]), strict=True):
        found = {title: value(cell) for title, cell in zip(titles, row, strict=True)}
        assert found["Intruders"] == record.count
        assert found["Energy share"] == record.energy_share
        assert found["Relative norm"] == record.relative_norm
        assert found["Effective rank"] is not None


def test_maps_of_one_kind_share_their_colours(page):
    maps = [[p for p in page.pictures if p.name.startswith(f"audit-{n}") and p.name.endswith("-map")] for n in (1, 2)]
    assert [picture.title for picture in maps[0]] == [picture.title for picture in maps[1]] != []
    for ours, theirs in zip(*maps, strict=True):
        domains = [re.findall(r"'domain': \[0, [^\]]*\]", str(p.chart.to_dict())) for p in (ours, theirs)]
        assert domains[0] == domains[1] != []


def test_costs_and_conditions_are_the_records(records, tree):
    table, shared = section(tree, "run").all("table")
    rows = {row.all("th")[0].text: row.all("td") for row in table.all("tr")}
    one, other = records[0], records[4]
    assert [value(cell) for cell in rows["Trainable parameters"]] == [106_168_320, 2_442_240]
    assert [value(cell) for cell in rows["Peak memory above start"]] == [r.cost.peak_bytes for r in (one, other)]
    assert [value(cell) for cell in rows["Median step, s"]] == [2.91, 2.91]
    assert [cell.text for cell in rows["method.rank"]] == ["–", "8"]
    for name, held in one.conditions.items():
        assert name in shared.text
        assert str(held) in shared.text
    assert f"the pair keys are equal ({one.pair_key})" in section(tree, "run").text
    assert "Not comparable" not in tree.text


@pytest.mark.parametrize(
    ("right", "base", "majority", "state", "said"),
    [
        (240, 150, 0.52, "learned", "a learned it: 80.0% right"),
        (153, 150, 0.52, "no difference shown", "No difference shown between a and its base"),
        (100, 150, 0.52, "worse", "a does worse than its base"),
        (200, 150, 0.7, "no better than a constant reply", "not shown to beat a constant reply"),
        (240, None, 0.52, "learned", "The base has no head for this task"),
        (160, None, 0.52, "not comparable", "not shown to be more than a constant reply (52.0%)"),
    ],
)
def test_what_is_said_of_a_task_follows_from_the_intervals(right, base, majority, state, said):
    (view,) = task_views(entries([scores("a", task_score(right, base, majority=majority))]))
    assert view.rows[0].state == state
    assert said in view.rows[0].words
    assert ("learned it" in view.rows[0].words) == (state == "learned" and base is not None)


@pytest.mark.parametrize(
    ("mean", "spread", "state", "said"),
    [
        (0.1, 0.01, "loss", "a predicts it worse than its base: +0."),
        (-0.1, 0.01, "gain", "a predicts it better than its base: −0."),
        (0.001, 0.5, "no difference shown", "No difference shown between a and its base"),
    ],
)
def test_what_is_said_of_a_loss_follows_from_its_interval(mean, spread, state, said):
    (view,) = loss_views(entries([scores("a", None, forgetting(mean, spread))]))
    assert view.rows[0].state == state
    assert said in view.rows[0].words


def test_arms_are_compared_on_the_same_examples_and_documents():
    apart = [scores("a", task_score(240), forgetting(0.6)), scores("b", task_score(180), forgetting(0.05))]
    text = read(report(apart).html).text
    assert "b less a: −20.0 (" in text
    assert "b less a: −0.550 (" in text
    assert "No two arms are shown to differ." not in text
    close = [scores("a", task_score(240), forgetting(0.6)), scores("b", task_score(241), forgetting(0.6))]
    text = read(report(close).html).text
    assert "b less a" not in text
    assert text.count("No two arms are shown to differ.") >= 2


def test_arms_asked_other_questions_are_not_compared():
    first, second = scores("a", task_score(240)), scores("b", task_score(180))
    other = second.task.model_copy(update={"task": Source(name="other.jsonl")})
    views = task_views(entries([first, second.model_copy(update={"task": other})]))
    assert [len(view.rows) for view in views] == [1, 1]


def test_runs_under_other_conditions_are_not_comparable():
    text = read(report([run("a"), run("b", "lora", **{"training.steps": 80})]).html).text
    assert "Not comparable: the runs differ in training.steps (full: 40, lora: 80)" in text
    assert "the pair keys are equal" not in text


def test_records_of_other_bases_are_not_comparable():
    other = dial("a").model_copy(update={"base": Source(name="x", digest="xxh3-128:x")})
    assert "Not comparable: the records of a name different bases" in read(report([run("a"), other]).html).text


@pytest.mark.parametrize(
    ("record", "shown"),
    [
        (run("a"), {"run"}),
        (dial("a"), {"dial"}),
        (scores("a", task_score(200)), {"learned"}),
        (scores("a", None, forgetting(0.1)), {"lost"}),
        (dial("a", at=(0.0,)), {"dial"}),
    ],
    ids=["run", "dial", "task", "text", "dial at zero"],
)
def test_one_record_alone_becomes_a_page(record, shown):
    tree = read(report(record).html)
    assert {e.attributes["id"] for e in tree.all("section")} == shown
    assert len(tree.all("h1")) == 1
    assert "NaN" not in tree.text


def test_four_arms_and_one_without_a_record_of_a_kind():
    given = [scores(name, task_score(150 + 37 * place)) for place, name in enumerate("abcde")]
    tree = read(report([*given, run("a")]).html)
    assert "Did they all learn it?" in tree.text
    assert "a: no difference shown; b, c, d and e: yes" in tree.text
    assert "Not in these records: what was lost on text" in tree.text


def test_every_task_and_text_is_answered_whatever_comes_first():
    """Of one task learned and another made worse, neither stands for both; nor does one base of two."""
    good, bad = scores("a", task_score(240), forgetting(0.1)), scores("b", task_score(60), forgetting(-0.1))
    other, prose = Source(name="sums.jsonl", digest="5"), Source(name="poems.jsonl", digest="6")
    task, lost = (
        part.model_copy(update=update)
        for part, update in ((bad.task, {"task": other}), (bad.forgetting, {"text": prose}))
    )
    given = [good, bad.model_copy(update={"task": task, "forgetting": lost})]
    for records in (given, given[::-1]):
        learned, lost = (section.answer for section in document(records).answers)
        assert document(records).answers[0].title == "Were the tasks learned?"
        assert "headlines.test.jsonl, base smollm2-135m: a: yes; b: not scored" in learned.words
        assert "sums.jsonl, base smollm2-135m: b: worse than the base; a: not scored" in learned.words
        assert "sums.jsonl, base smollm2-135m: b 20.0% right (15.9% to 24.9%)" in learned.details
        assert "prose.jsonl, base smollm2-135m: a: worse at prose; b: not scored" in lost.words
        assert "poems.jsonl, base smollm2-135m: b: better at prose; a: not scored" in lost.words


def test_an_arm_that_was_not_scored_has_not_learned():
    (learned,) = document([scores("a", task_score(240)), run("b")]).answers
    assert learned.title == "Did both learn it?"
    assert learned.answer.words == "a: yes; full: not scored"


def test_what_is_not_finite_is_said_and_not_drawn():
    broken, lost = dial("a"), forgetting(0.1)
    nowhere = Reading(value=math.inf, from_base=Difference(mean=math.inf, interval=(math.inf, math.inf)))
    points = tuple(p.model_copy(update={"loss": nowhere}) for p in broken.points[:1])
    documents = tuple(one.model_copy(update={"tuned": math.nan}) for one in lost.documents)
    worse = {"mean": math.nan, "interval": (math.nan, math.nan), "tuned_loss": math.nan, "documents": documents}
    given = [
        run("a").model_copy(update={"losses": (8.0, 9.0, math.nan)}),
        broken.model_copy(update={"points": (*points, *broken.points[1:])}),
        scores("a", None, lost.model_copy(update=worse)),
        scores("b", None, lost),
    ]
    text = read(report(given).html).text
    assert "a has no finite loss on it, so nothing can be said: not a number" in text
    assert "a: no finite loss; b: worse at prose" in text
    assert "∞" in text


def test_the_page_claims_no_cause(tree):
    assert not re.search(r"\b(caus|because|due to|led to|leads to|forgot)", tree.text)


def test_text_of_a_record_is_never_markup():
    nasty = "<script>alert('x')</script>&amp;\"q\"' {{ 7 * 7 }} 模型.é"
    named = Source(name=nasty, digest=nasty)
    scored = scores("a", task_score(200), forgetting(0.1))
    given = [
        run("a").model_copy(
            update={"weights_digest": nasty, "arm": {nasty: nasty}, "conditions": {nasty: nasty}, "notes": (nasty,)}
        ),
        scored.model_copy(
            update={
                "tuned": named,
                "base": named,
                "task": scored.task.model_copy(update={"task": named}),
                "forgetting": scored.forgetting.model_copy(update={"text": named}),
            }
        ),
        dial("a").model_copy(update={"tuned": named, "text": named}),
        run("b"),
    ]
    tree = read(report(given).html)
    assert not tree.all("script")
    assert tree.text.count(nasty) >= 15


def test_loss_curve_draws_every_step(records):
    spec = losses(entries([records[0], records[4]])).chart.to_dict()
    rows = spec["data"]["values"]
    drawn = {(row["arm"], row["step"]): row["loss"] for row in rows}
    assert drawn == {(r.method, s): loss for r in (records[0], records[4]) for s, loss in enumerate(r.losses, start=1)}


def test_every_arm_is_pictured_on_one_matrix(records, tree: Element) -> None:
    """The one with most intruders in all arms together, though each arm's own worst is another."""
    inside = section(tree, "inside")
    (about,) = re.findall(r"every arm has, (\S+) has most intruders", inside.text)
    audits = [record for record in records if record.kind == "audit"]
    totals = {
        matrix.name: sum(other.count for one in audits for other in one.matrices if other.name == matrix.name)
        for matrix in audits[0].matrices
    }
    assert totals[about] == max(totals.values())
    assert inside.text.count(f"{about}. A dark diagonal") == len(audits)
