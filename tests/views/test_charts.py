"""The charts draw the record's values."""

from __future__ import annotations

import html

import pytest

from assay.render.pictures import svg
from assay.views.arms import Arm
from assay.views.audit_charts import MAP_ROLES, counts_against_eps, layer_maps, similarity, spectrum
from assay.views.summary import Summary
from audit_records import audit


@pytest.fixture(scope="module")
def summary() -> Summary:
    return Summary(audit(4, eps=(0.5, 0.2, 0.9), strange=0.5), 1, Arm("tuned", 1))


def drawn(picture) -> list[dict]:
    """Every row of data in a chart."""
    found: list[dict] = []

    def walk(part):
        if isinstance(part, dict):
            found.extend(part.get("values", []) if "values" in part and "domain" not in part else [])
            for value in part.values():
                walk(value)
        elif isinstance(part, list):
            for value in part:
                walk(value)

    walk([part.get("data", {}) for part in _views(picture.chart.to_dict())])
    return [row for row in found if isinstance(row, dict)]


def _views(spec: dict) -> list[dict]:
    return [spec, *(view for layer in spec.get("layer", []) for view in _views(layer))]


def test_maps_have_one_cell_for_each_matrix(summary):
    count, energy, norm = layer_maps(summary)
    for picture, field in ((count, "count"), (energy, "energy_share"), (norm, "relative_norm")):
        cells = {(row["layer"], row["role"]): row["value"] for row in drawn(picture)}
        assert set(cells) == {(str(m.layer), m.role) for m in summary.audit.matrices}
        for matrix in summary.audit.matrices:
            assert cells[str(matrix.layer), matrix.role] == pytest.approx(getattr(matrix, field), rel=1e-12)


def test_experts_share_a_cell_and_matrices_outside_of_layers_have_a_row(summary):
    one, two, *rest = summary.audit.matrices
    twins = (one, two.model_copy(update={"layer": one.layer, "role": one.role}))
    outside = rest[-1].model_copy(update={"layer": None, "role": "head"})
    pictures = layer_maps(
        Summary(summary.audit.model_copy(update={"matrices": (*twins, *rest[:-1], outside)}), 1, Arm("tuned", 1))
    )
    cells = {(row["layer"], row["role"]): row["value"] for row in drawn(pictures[0])}
    assert cells[str(one.layer), one.role] == one.count + two.count
    assert cells["none", "head"] == outside.count
    assert "share a cell" in pictures[0].caption


def test_too_many_roles_are_cut_and_said(summary):
    many = [summary.audit.matrices[0].model_copy(update={"role": f"expert {n}", "count": n}) for n in range(40)]
    picture = layer_maps(Summary(summary.audit.model_copy(update={"matrices": tuple(many)}), 1, Arm("tuned", 1)))[0]
    assert {row["role"] for row in drawn(picture)} == {f"expert {n}" for n in range(40 - MAP_ROLES, 40)}
    assert f"Only the {MAP_ROLES} roles with most intruders of 40" in picture.caption


def test_spectrum_marks_every_verdict(summary):
    matrix = summary.worst[0]
    rows = drawn(spectrum(summary, matrix, 1))
    tuned = [(row["position"], row["sigma"], row["verdict"]) for row in rows if row["verdict"] != "base"]
    assert tuned == [(d.position, d.sigma, d.verdict) for d in matrix.directions]
    assert {(row["position"], row["sigma"]) for row in rows if row["verdict"] == "base"} == set(
        enumerate(matrix.sigma_base, start=1)
    )


def test_similarity_is_rows_base_and_columns_tuned(summary):
    matrix = summary.worst[0].model_copy(update={"similarity": ((0.9, 0.1), (0.2, 0.3), (0.0, 0.4))})
    cells = {(row["base"], row["tuned"]): row["value"] for row in drawn(similarity(summary, matrix)) if "base" in row}
    assert cells == {(1, 1): 0.9, (1, 2): 0.1, (2, 1): 0.2, (2, 2): 0.3, (3, 1): 0.0, (3, 2): 0.4}
    assert similarity(summary, matrix.model_copy(update={"similarity": ()})) is None


def test_the_similarity_marks_the_side_that_it_is_of(summary):
    right = summary.audit.model_copy(update={"side": "right"})
    matrix = summary.worst[0]
    ours = [d.model_copy(update={"side": "right", "verdict": "intruder"}) for d in matrix.directions[:1]]
    others = [d.model_copy(update={"side": "left", "verdict": "intruder"}) for d in matrix.directions]
    both = matrix.model_copy(update={"directions": (*ours, *others), "similarity": ((0.9, 0.1), (0.2, 0.3))})
    picture = similarity(Summary(right, 1, Arm("tuned", 1)), both)
    marked = [row["tuned"] for row in drawn(picture) if "base" not in row and "tuned" in row]
    assert marked == [ours[0].position]
    assert "leading right directions" in picture.alt


def test_curve_passes_through_the_records_counts(summary):
    picture = counts_against_eps(summary)
    rows = drawn(picture)
    curve = {row["eps"]: (row["least"], row["most"]) for row in rows if "least" in row}
    asked = {row["eps"]: row["count"] for row in rows if "count" in row}
    assert sorted(asked) == [0.2, 0.5, 0.9]
    for eps in asked:
        count = sum(m.counts[f"{eps:g}"][0] for m in summary.audit.matrices)
        undecided = sum(m.counts[f"{eps:g}"][1] for m in summary.audit.matrices)
        assert asked[eps] == count
        assert curve[eps] == (count, count + undecided)
    assert curve[0.0] == (0, 0)


def test_without_intruders_there_is_no_map_of_them(summary):
    quiet = summary.audit.model_copy(
        update={"matrices": tuple(m.model_copy(update={"count": 0}) for m in summary.audit.matrices)}
    )
    assert [picture.title for picture in layer_maps(Summary(quiet, 1, Arm("tuned", 1)))] == ["Relative norm"]


def test_labels_are_drawn_as_they_are(summary):
    role = 'id="1.23456789" xmlns="q"'
    matrix = summary.audit.matrices[0].model_copy(update={"role": role})
    picture = layer_maps(Summary(summary.audit.model_copy(update={"matrices": (matrix,)}), 1, Arm("tuned", 1)))[-1]
    shown = html.unescape(svg(picture))
    assert f">{role[:8]}" in shown  # the rest is cut where the label has no room
