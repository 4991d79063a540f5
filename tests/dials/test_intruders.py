"""By intruders: every control is equal in what its name says, in the weights of the loaded model too."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from assay.behaviour.scoring import score
from assay.dials.engine import Engine
from assay.dials.matrices import Looking, analyse, audit_points, controls_of
from assay.dials.paths import Point, left_of
from assay.dials.run import dial, read_asked
from assay.errors import SettingError
from assay.measures.matrix import Question
from assay.measures.repair import energy_outside
from assay.models.loading import find_pair
from assay.settings import Batches
from assay.weights.pairing import pair
from models_in_miniature import letters, lines, llama, tokenizer

KEEP = 0.4
CONTROLS = ("random-directions", "pretrained-neighbours", "equal-removal", "equal-update")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder, an adapter with intruders, a merged copy of it, and what to ask of them."""
    place = tmp_path_factory.mktemp("intruders")
    llama(place / "base")
    model = AutoModelForCausalLM.from_pretrained(place / "base")
    torch.manual_seed(2)
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"))
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.data = 0.6 * torch.randn_like(parameter)
    adapted.save_pretrained(place / "adapter")
    adapted.merge_and_unload().save_pretrained(place / "merged")
    tokenizer().save_pretrained(place / "merged")
    lines(place / "rows.jsonl", [{"prompt": letters(2, 9, i), "answer": ("yes", "no")[i % 2]} for i in range(20)])
    lines(place / "text.jsonl", [{"text": letters(12, 20, seed)} for seed in range(6)])
    return place


def looking(side: str = "left", **question: object) -> Looking:
    return Looking("intruders", Question(side=side, seed=4, **question), "all", torch.device("cpu"), None)  # type: ignore[arg-type]


def quiet(_: str) -> None:
    """Tell nobody."""


@pytest.mark.parametrize("tuned", ["adapter", "merged"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_every_control_is_equal_in_what_its_name_says(place: Path, tuned: str, side: str) -> None:
    pairs = pair(place / "base", place / tuned).pairs
    matrices = analyse(pairs, looking(side), quiet)
    assert any(matrix.intruders is not None for matrix in matrices)
    keep = {"left": KEEP, "right": 0.9}[side]  # the right intruders hold most of the update: little can be matched
    points, notes = controls_of("intruders", [keep], matrices)
    assert not notes
    assert {point.path for point in points} == set(CONTROLS)

    def squares(point: Point) -> tuple[list[float], list[float]]:
        """Of what is left and of the edit, matrix by matrix."""
        left, edit = [], []
        for matrix in matrices:
            update = matrix.entry.load(torch.float64, torch.device("cpu")).update
            now = left_of(matrix, update, point).dense().double()
            left.append(float(now.norm() ** 2))
            edit.append(float((now - update.dense()).norm() ** 2))
        return left, edit

    own_left, own_edit = squares(Point("intruders", keep))
    whole = [matrix.update_norm**2 for matrix in matrices]
    for point in points:
        left, edit = squares(point)
        if point.path in ("random-directions", "pretrained-neighbours"):
            assert edit == pytest.approx(own_edit, rel=1e-6)
        else:
            assert sum(left) == pytest.approx(sum(own_left), rel=1e-6)
            assert point.factor is not None
            assert point.factor < 1
        if point.path == "random-directions":
            assert sum(left) > sum(own_left)
    assert sum(own_left) < sum(whole)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("tuned", ["adapter", "merged"])
def test_an_equal_removal_leaves_the_intruders_part_alone(place: Path, tuned: str, side: str) -> None:
    for matrix in analyse(pair(place / "base", place / tuned).pairs, looking(side), quiet):
        update = matrix.entry.load(torch.float64, torch.device("cpu")).update
        left = left_of(matrix, update, Point("equal-removal", KEEP, 0.3)).dense()
        if matrix.intruders is None:
            assert torch.allclose(left, 0.3 * update.dense(), atol=1e-7)
            continue
        basis = matrix.intruders.U if side == "left" else matrix.intruders.V
        inside, before = (basis.T @ (one if side == "left" else one.T) for one in (left, update.dense()))
        assert torch.allclose(inside, before, atol=1e-7)
        outside = float(left.norm() ** 2 - inside.norm() ** 2)
        assert outside == pytest.approx(0.09 * energy_outside(update, matrix.intruders, side), rel=1e-6)  # type: ignore[arg-type]


def test_a_path_that_adds_energy_has_no_shrink(place: Path) -> None:
    """Half of every intruder taken from an update that is small beside the base's own part along them."""
    pairs = pair(place / "base", place / "adapter").pairs
    matrices = analyse(pairs, looking(), quiet)
    scaled = [m for m in matrices if m.intruders is not None]
    grown = next(m for m in scaled if m.intruders is not None)
    # The edit of a matrix whose update is nearly nothing adds what it takes out of the base.
    tiny_update = type(grown)(
        grown.entry,
        grown.side,
        grown.seed,
        grown.base_norm,
        grown.update_norm,
        1,
        0,
        {
            "intruders": type(grown.intruders)(grown.intruders.U, 10 * grown.intruders.sigma, -grown.intruders.V)  # type: ignore[union-attr]
        },
    )
    points, notes = controls_of("intruders", [KEEP], [tiny_update])
    assert {point.path for point in points} == {"random-directions", "pretrained-neighbours"}
    assert any("makes the update larger" in note for note in notes)


@pytest.mark.parametrize("tuned", ["adapter", "merged"])
def test_the_loaded_model_is_of_the_size_that_is_said(place: Path, tuned: str) -> None:
    """The weights of the loaded model are read back at each point, and their norms taken."""
    home, where = find_pair(place / "base", place / tuned)
    found = pair(place / "base", place / tuned)
    matrices = analyse(found.pairs, looking(), quiet)
    asked = read_asked(home, where, place / "text.jsonl", None, Batches(64, 256))
    assert asked is not None
    engine = Engine.of(home, where, asked, found.pairs, quiet, whole=True)
    weights, by_name = engine.weights, {matrix.entry.name: matrix for matrix in matrices}
    names = [name for name, entry in weights.pairs.items() if entry is not None]

    def norm(other: dict[str, torch.Tensor]) -> float:
        here = dict(weights.model.named_parameters())
        return sum(float((here[name] - other[name]).detach().double().norm() ** 2) for name in names) ** 0.5

    points = [Point("intruders", KEEP), *controls_of("intruders", [KEEP], matrices)[0], Point("size", 0.5)]
    tallies = audit_points(matrices, points, looking(), quiet)
    for point in points:
        assert engine._set(point, by_name)
        assert norm(weights.base) == pytest.approx(tallies[point].squares["left"] ** 0.5, rel=1e-5)
        assert norm(weights.tuned) == pytest.approx(tallies[point].squares["edit"] ** 0.5, rel=1e-5)
    for point in (Point("intruders", 1.0), Point("size", 1.0), Point("equal-removal", 1.0, 1.0)):
        assert not engine._set(point, by_name)  # bit for bit the tuned model
        assert norm(weights.tuned) == 0.0
    engine._set(Point("size", 0.0), by_name)
    assert norm(weights.base) == 0.0


def test_counts_by_certificate_are_the_dense_solvers(place: Path) -> None:
    pairs = pair(place / "base", place / "adapter").pairs
    counts = []
    for solver in ("certified", "exact"):
        how = looking(solver=solver)
        matrices = analyse(pairs, how, quiet)
        points = [Point("intruders", x) for x in (0.0, 0.5, 1.0)]
        points += [Point("size", 0.5), *controls_of("intruders", [0.5], matrices)[0]]
        tallies = audit_points(matrices, points, how, quiet)
        counts.append([(tally.count, tally.undecided, tally.directions) for tally in tallies.values()])
    assert counts[0] == counts[1]
    assert any(count for count, _, _ in counts[0])


def test_a_point_has_its_interval_and_the_way_back_its_ends(place: Path) -> None:
    text, task = place / "text.jsonl", place / "rows.jsonl"
    found = dial(place / "base", place / "adapter", text, task, by="intruders", at=(0.0, 1.0))
    scored = score(place / "base", place / "adapter", text=text, task=task)
    start, *_, end = found.curve("size")
    assert (start.x, end.x) == (0, 1)
    assert start.accuracy.value == found.base_accuracy == scored.task.base_accuracy
    assert start.loss.value == pytest.approx(found.base_loss, abs=1e-6)
    assert end.loss.value == found.tuned_loss == pytest.approx(scored.forgetting.tuned_loss, abs=1e-5)
    assert end.accuracy.value == scored.task.tuned_accuracy
    assert end.accuracy.interval == scored.task.tuned_interval
    for path in ("intruders", *CONTROLS):
        assert found.at(path, 1.0).loss.value == found.tuned_loss
        assert found.at(path, 1.0).edit_norm == 0.0
    zero = found.at("intruders", 0.0)
    for control in CONTROLS[:2]:
        one = found.at(control, 0.0)
        assert one.loss.path_less.mean == pytest.approx(zero.loss.value - one.loss.value)
        assert one.edit_norm == pytest.approx(zero.edit_norm, rel=1e-5)
    assert {(one.path, one.x) for one in found.at_equal_score} == {
        (point.path, point.x) for point in found.points if point.path != "size"
    }
    assert (found.documents, found.examples) == (6, 20)


@pytest.mark.parametrize("settings", [{"at": 2.0}, {"at": ()}, {"at": (float("nan"),)}, {"by": "sideways"}])
def test_settings_without_meaning(place: Path, settings: dict[str, object]) -> None:
    with pytest.raises(SettingError):
        dial(place / "base", place / "adapter", **{"by": "intruders", **settings})  # type: ignore[arg-type]
