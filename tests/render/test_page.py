"""The page says what the record says, and holds everything it shows."""

from __future__ import annotations

import html
import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest

from assay.errors import RecordError
from assay.records import Coverage, Record, Setting, Source
from assay.render.html import Page, report
from assay.views.audit_words import differences
from assay.views.formats import number
from audit_records import audit
from reading import Element, read, value


@pytest.fixture(scope="module")
def record():
    return audit(4, eps=(0.5, 0.3, 0.7), side="both", chance=True, strange=0.5)


@pytest.fixture(scope="module")
def page(record) -> Page:
    return report(record)


@pytest.fixture(scope="module")
def tree(page) -> Element:
    return read(page.html)


def test_nothing_is_fetched_and_nothing_runs(tree, page):
    elements = tree.all()
    assert not {e.tag for e in elements} & {
        "script",
        "link",
        "img",
        "image",
        "iframe",
        "object",
        "embed",
        "base",
        "use",
    }
    for element in elements:
        for name, text in element.attributes.items():
            assert not name.startswith("on")
            assert name not in ("src", "srcset", "action", "data", "poster", "style")
            if name.endswith("href"):
                assert text.startswith("#")
    (style,) = tree.all("style")
    assert "@import" not in style.text
    assert "url(" not in style.text
    assert "http" not in page.html


def test_identifiers_are_unique_and_found(page, tree):
    identifiers = [e.attributes["id"] for e in tree.all() if "id" in e.attributes]
    assert len(identifiers) == len(set(identifiers)) >= 4  # the section, and the gradients of four charts
    assert set(re.findall(r"url\(#([^)]*)\)", page.html)) <= set(identifiers)


def test_the_same_record_gives_the_same_page(record, page):
    assert report(record).html == page.html


def test_every_matrix_is_in_the_table_with_the_records_numbers(record, tree):
    tables = [t for t in tree.all("table") if "By chance: median, 95%" in t.text]
    rows = [row.all("th", "td") for row in tables[1].all("tbody")[0].all("tr")]
    assert len(rows) == len(record.matrices) == 28
    for row, matrix in zip(rows, record.matrices, strict=True):
        name, role, layer, shape, count, undecided, energy, norm, rank, past, _, least = row
        assert (name.text, role.text, layer.text) == (matrix.name, matrix.role, str(matrix.layer))
        assert shape.text == f"{matrix.shape[0]} × {matrix.shape[1]}"
        assert [value(cell) for cell in (count, undecided, energy, norm, rank)] == [
            matrix.count,
            matrix.undecided,
            matrix.energy_share,
            matrix.relative_norm,
            matrix.effective_rank,
        ]
        assert value(least) == min(one.cosine_bounds[1] for one in matrix.on("left"))
        assert past.text == (
            "–" if matrix.critical_multiplier is None else f"×{number(1 / matrix.critical_multiplier)}"
        )


def test_the_headline_has_the_records_figures(record, tree):
    (figures,) = (e for e in tree.all("dl") if e.attributes.get("class") == "figures")
    assert [value(e) for e in figures.all("dd") if "big" in e.attributes["class"]] == [
        record.count,
        record.undecided,
        record.energy_share,
        record.relative_norm,
    ]
    (lead,) = (e for e in tree.all("p") if e.attributes.get("class") == "lead")
    assert f"{record.count} of the 280 leading directions are intruders" in lead.text
    assert f"between {record.count} and {record.count + record.undecided}" in lead.text


def test_roles_add_up_to_the_whole(record, tree):
    *roles, everything = tree.table("Stable rank")
    assert [row[0].text for row in roles] == ["query", "key", "value", "output", "gate", "up", "down"]
    for column in (1, 2, 3, 4):
        assert sum(value(row[column]) for row in roles) == value(everything[column])
    assert value(everything[5]) == record.energy_share


def test_directions_of_the_worst_matrix_show_their_bounds(record, tree):
    worst = record.worst(1)[0]
    rows = tree.table("Decided by")
    expected = [*worst.on("left"), *worst.on("right")]
    assert [row[0].text for row in rows] == [str(d.position) for d in expected]
    assert [row[5].text for row in rows] == [d.verdict for d in expected]
    for row, direction in zip(rows, expected, strict=True):
        ends = [float(end) for end in row[4].text.split(" to ")]
        assert ends[0] <= direction.cosine_bounds[0] <= direction.cosine_bounds[1] <= ends[-1]
        assert ends[-1] - ends[0] <= direction.cosine_bounds[1] - direction.cosine_bounds[0] + 2e-4


def test_counts_for_every_eps_are_the_records(record, tree):
    rows = {row[0].text: [value(cell) for cell in row[1:]] for row in tree.table("eps")}
    assert list(rows) == ["0.3", "0.5", "0.7"]
    assert rows["0.5"] == [record.count, record.undecided]
    assert rows["0.3"] == [sum(m.counts["0.3"][i] for m in record.matrices) for i in (0, 1)]


def test_coverage_lists_every_tensor_and_open_ones_first(record):
    open_one = Coverage(status="skipped", files="both", reason="three axes", matters=True)
    given = record.model_copy(update={"coverage": {**record.coverage, "experts.weight": open_one}})
    tree = read(report(given).html)
    rows = tree.table("Tensor")
    assert {row[0].text for row in rows} == set(given.coverage)
    assert [cell.text for cell in rows[0]] == ["experts.weight", "skipped", "both", "three axes"]
    assert "1 tensor of the model’s body could not be analysed" in tree.text


def test_provenance_and_notes_are_there(record, tree):
    for note in record.notes:
        assert note in tree.text
    for name, version in record.provenance.versions.items():
        assert f"{name} {version}" in tree.text
    assert "[0.5, 0.3, 0.7] (given)" in tree.text
    assert record.base.digest in tree.text


def test_text_of_a_record_is_never_markup(record):
    nasty = "<script>alert('x')</script>&amp;\"q\"' {{ 7 * 7 }} 模型.é"
    matrix = record.matrices[0].model_copy(update={"name": nasty, "role": nasty, "count": 99})
    given = record.model_copy(
        update={
            "matrices": (matrix, *record.matrices[1:]),
            "coverage": {nasty: Coverage(status="skipped", files="base", reason=nasty, matters=True)},
            "notes": (nasty,),
            "tuned": (Source(name=nasty, revision=nasty, digest=nasty),),
            "model_type": nasty,
            "provenance": record.provenance.model_copy(
                update={"settings": {nasty: Setting(value=nasty, origin="given")}}
            ),
        }
    )
    tree = read(report(given).html)
    assert not tree.all("script")
    assert tree.text.count(nasty) >= 9
    assert "49" not in tree.table("Tensor")[0][0].text


def test_a_random_direction_is_spoken_of_only_where_it_counts():
    assert "A random direction counts as an intruder too at this eps" in report(audit(1, roles=2)).html
    low = report(audit(1, roles=2, eps=(0.1,))).html  # the shortest vectors have 192 numbers: about .23
    assert "A random direction counts" not in low
    assert "not even chance would count there" in low


def test_chance_level_is_counted_from_the_record(record, tree):
    above = sum(m.count > m.chance.percentile_95 for m in record.matrices)
    assert f"Chance level: {above} of 28 matrices" in tree.text
    assert "no chance level" not in tree.text
    assert "no chance level" in report(audit(1, roles=2)).html


def test_both_sides_are_told(record, tree):
    right = sum(d.verdict == "intruder" for m in record.matrices for d in m.on("right"))
    assert f"On the right side (inputs): {right} of 280 directions are intruders" in tree.text


def test_the_page_claims_no_cause(record):
    none = record.model_copy(update={"matrices": (), "kind_of_update": "none"})
    for given in (audit(1, roles=3, chance=True, side="both"), audit(1, roles=2, strange=0), [none, none]):
        assert not re.search(r"\b(caus|because|due to|led to|leads to|forg[eo]t)", read(report(given).html).text)


def test_a_method_that_changes_no_matrix_is_not_applicable(record):
    none = record.model_copy(update={"matrices": (), "kind_of_update": "none"})
    page = report(none)
    text = read(page.html).text
    assert "Not applicable: this way of tuning changes no weight matrix" in text
    assert "are intruders" not in text
    assert page.pictures == ()


def test_no_matrix_at_all_is_not_reported_as_no_intruder(record):
    text = read(report(record.model_copy(update={"matrices": ()})).html).text
    assert "No matrix was analysed" in text
    assert "None of the" not in text


def test_a_zero_update_says_so(record):
    zero = [
        m.model_copy(update={"relative_norm": 0.0, "count": 0, "undecided": 0}) for m in audit(2, strange=0).matrices
    ]
    text = read(report(record.model_copy(update={"matrices": tuple(zero)})).html).text
    assert "The update is zero: all 14 analysed matrices are the same in both models." in text


def test_change_within_rounding_is_pointed_out():
    given = audit(1)
    first = given.matrices[0].model_copy(update={"relative_norm": 1e-4, "rounding_floor": 2e-4})
    text = read(report(given.model_copy(update={"matrices": (first, *given.matrices[1:])})).html).text
    assert "1 matrix changes by no more than rounding alone can do" in text


def test_several_audits_are_compared_first(record):
    other = audit(4, seed=3, strange=0.05, eps=(0.5,))
    other = other.model_copy(update={"tuned": (Source(name="full", digest="another"),)})
    none = record.model_copy(update={"matrices": (), "kind_of_update": "none"})
    page = report([record, other, none])
    tree = read(page.html)
    rows = tree.table("Not looked at")
    assert [row[0].text for row in rows] == ["smollm2-sql-lora-r8", "smollm2-sql-lora-r8", "full"]
    assert [value(row[2]) for row in (rows[0], rows[2])] == [record.count, other.count]
    assert rows[1][1].text == "not applicable"
    assert {a.attributes["href"] for a in tree.all("a")} == {"#inside", "#audit-1", "#audit-2", "#audit-3"}
    assert [s.attributes["id"] for s in tree.all("section")] == ["inside", "audit-1", "audit-2", "audit-3"]
    assert "These audits differ" not in tree.text
    assert page.html.count("<h1") == 1
    assert len({picture.name for picture in page.pictures}) == len(page.pictures)


def test_audits_of_different_questions_are_not_ranked(record):
    assert differences([record, audit(4, k=5)]) == ["k"]
    assert differences([record, audit(3, base="other", eps=(0.4,))]) == ["base", "eps", "set of matrices"]
    assert "These audits differ in their k" in read(report([audit(1, roles=2), audit(1, roles=2, k=5)]).html).text


def test_headings_leave_no_level_out(tree):
    levels = [int(e.tag[1]) for e in tree.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_saved_page_and_charts_are_whole(page, tmp_path):
    saved = page.save(tmp_path / "deep" / "page.html")
    assert saved.read_text(encoding="utf8") == page.html
    charts = page.save_charts(tmp_path / "charts")
    assert sorted(path.name for path in charts) == sorted(p.name for p in (tmp_path / "charts").iterdir())
    assert len(charts) == 2 * len(page.pictures)
    for path in charts:
        if path.suffix == ".svg":
            assert ElementTree.fromstring(path.read_text()).tag.endswith("svg")
        else:
            assert path.read_bytes().startswith(b"\x89PNG\r\n")


def test_a_page_that_cannot_be_written_leaves_nothing(page, tmp_path):
    (tmp_path / "page.html").mkdir()
    with pytest.raises(OSError, match=r"page\.html"):
        page.save(tmp_path / "page.html")
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_notebook_shows_the_page_in_a_frame(page):
    frame = page._repr_html_()
    shown = read(frame).all("iframe")[0]
    assert shown.attributes["srcdoc"] == page.html
    assert "allow" not in shown.attributes["sandbox"]
    assert html.escape(page.html) in frame


def test_a_notebook_or_a_prompt_shows_a_record_in_a_line(record):
    assert f"base={record.base.name!r}" in repr(record)
    assert f"count={record.count}" in repr(record)
    assert "matrices" not in repr(record)
    assert str(record) == repr(record)


def test_records_without_a_section_are_refused(record):
    class Other(Record):
        KIND = "other"

    other = Other(kind="other", schema_version=1, provenance=record.provenance)
    with pytest.raises(RecordError, match="no view of a record of kind 'other'"):
        report([record, other])
    with pytest.raises(RecordError, match="no record"):
        report([])


def test_a_real_models_page_is_small():
    large = audit(30, k=20, side="both", chance=True, eps=(0.3, 0.5), prefix="model.language_model.decoder.layers")
    assert len(report(large).html.encode()) < 1_000_000
