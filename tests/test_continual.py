"""Continual learning: the sequence's bookkeeping, the heads against scikit-learn's, and what the plan refuses."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from transformers import AutoModel
from typer.testing import CliRunner

import assay
from assay.cli import app
from assay.engines.engine import AbstractEngine, Capacity, Ended, Item
from assay.engines.local import LocalEngine
from assay.errors import InputError, SettingError, StoppedError
from assay.records import Continual, Sequence
from assay.records.continual import Cell, Stage, average_accuracy, average_interval, backward_transfer
from assay.studies import continual as module
from assay.studies.continual import continual
from assay.studies.heads import as_bits, features, fit_head
from assay.studies.home import locked
from models_in_miniature import WORDS, bert, letters, lines, llama, masked_bert, masking_tokenizer

PLAN = """
kind = "continual"
base = "base"
seeds = {seeds}
training = {{ steps = {steps}, batch_size = 4 }}
head = {{ rows = 24, penalty = 1.0 }}
{tasks}
{arms}
"""
TASK = """[[tasks]]
name = "{name}"
data = {{ kind = "classification", path = "{file}.jsonl", max_length = 16 }}
test = "{file}.test.jsonl"
"""
FULL = '[[arms]]\nmethod = "full"\nrate = { policy = "fixed", lr = 1e-2 }\n'
LORA = '[[arms]]\nmethod = "lora"\nrank = [4]\nrate = { policy = "alpha*lr", product = 8e-2 }\n'


@pytest.fixture
def place(tmp_path: Path) -> Path:
    bert(tmp_path / "base")
    for name, letter in (("first", "a"), ("second", "m"), ("third", "t")):
        for part, seed, count in (("", 1, 40), (".test", 2, 20)):
            texts = [letters(3, 8, seed * 1000 + i) for i in range(count)]
            rows = [{"text": text, "label": "yes" if letter in text.split() else "no"} for text in texts]
            rows[0]["label"], rows[1]["label"] = "yes", "no"
            lines(tmp_path / f"{name}{part}.jsonl", rows)
    return tmp_path


def plan(place: Path, arms: str = FULL, names: tuple[str, ...] = ("first", "second"), **settings: Any) -> Path:
    tasks = "".join(TASK.format(name=name, file=name) for name in names)
    path = place / "plan.toml"
    chosen = {"seeds": [0], "steps": 4, **settings}
    path.write_text(PLAN.format(tasks=chosen.pop("tasks", tasks), arms=arms, **chosen), encoding="utf8")
    return path


def test_the_head_is_scikit_learns_logistic_regression() -> None:
    generator = np.random.default_rng(0)
    x, classes = generator.normal(size=(60, 5)) * [1, 2, 3, 4, 0], generator.integers(0, 3, 60)
    spread = np.where(x.std(axis=0) > 0, x.std(axis=0), 1)
    oracle = LogisticRegression(C=1 / 3.0, tol=1e-8, max_iter=5_000).fit((x - x.mean(axis=0)) / spread, classes)
    head = fit_head(x, classes.tolist(), 3, penalty=3.0)
    assert np.allclose(head.weights, oracle.coef_.T, atol=1e-4)
    other = generator.normal(size=(200, 5))
    assert (head.choose(other) == oracle.predict((other - x.mean(axis=0)) / spread)).all()


def test_features_are_the_bodys_own_whatever_the_padding(place: Path) -> None:
    body = AutoModel.from_pretrained(place / "base").eval()
    texts = [(4, 5, 6), (7, 8, 9, 10, 11), (3,)]
    found = features(body, texts)
    for ids, row in zip(texts, found, strict=True):
        with torch.no_grad():
            alone = body(torch.tensor([ids])).last_hidden_state[0, 0]
        assert np.allclose(row, alone.numpy(), atol=1e-5)


def test_a_sequence_fills_the_matrix_against_the_original_base(place: Path) -> None:
    path = plan(place, FULL + LORA, ("first", "second", "third"))
    record = continual(path)
    assert not record.failed
    assert [one.name for one in record.sequences] == ["full", "lora r4"]
    for sequence in record.sequences:
        assert [stage.task for stage in sequence.stages] == ["first", "second", "third"]
        assert all(tuple(test.task for test in stage.tests) == record.tasks for stage in sequence.stages)
        # The last body beside the original base, whatever lies between.
        folder = next(
            file.parent
            for file in (place / "studies/plan").glob("*/continual.json")
            if Continual.read(file).sequences[0] == sequence
        )
        audited = assay.audit(place / "base", folder / "body-3", cache=False)
        assert sequence.stages[-1].count == audited.count
        assert sequence.stages[-1].relative_norm == audited.relative_norm
        assert sorted(file.name for file in folder.iterdir()) == ["body-3", "continual.json"]
    full = record.sequences[0].stages
    assert full[0].relative_norm < full[2].relative_norm
    assert Continual.read(place / "studies/plan/continual.json") == record
    assert str(place) not in (place / "studies/plan/continual.json").read_text()
    assert continual(path) == record


def test_a_merged_body_is_the_tuned_models_own(place: Path) -> None:
    """The rank that the body's change has is the adapter's, and a second stage adds another."""
    continual(plan(place, '[[arms]]\nmethod = "lora"\nrank = 1\nrate = { policy = "fixed", lr = 5e-2 }\n'))
    body = next((place / "studies/plan").glob("*/body-2"))
    base, tuned = (AutoModel.from_pretrained(folder) for folder in (place / "base", body))
    name = "encoder.layer.0.attention.self.query.weight"
    change = tuned.get_parameter(name).detach() - base.get_parameter(name).detach()
    values = torch.linalg.svdvals(change.double())
    assert values[1] > 1e-3 * values[0]
    assert values[2] < 1e-5 * values[0]


def test_what_is_stopped_goes_on_and_ends_the_same(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = plan(place, LORA, ("first", "second", "third"))
    whole = continual(path, place / "whole")
    true_audit, calls = module.audit, []

    def stops(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return true_audit(*args, **kwargs)

    monkeypatch.setattr(module, "audit", stops)
    with pytest.raises(KeyboardInterrupt):
        continual(path, place / "stopped")
    assert len(continual(path, place / "stopped", dry_run=True).sequences[0].stages) == 1
    resumed = continual(path, place / "stopped")
    assert len(calls) == 1 + 1 + 2

    assert untimed(resumed) == untimed(whole)


def test_a_sequence_whose_time_is_up_has_no_error_and_goes_on(place: Path) -> None:
    path = plan(place, LORA, ("first",))
    for engine in (None, lambda folder: LocalEngine()):
        with pytest.raises(StoppedError, match="the time is up"):
            continual(path, place / "stopped", max_hours=1e-9, engine=engine)
        left = continual(path, place / "stopped", dry_run=True).sequences[0]
        assert not left.stages
        assert not left.error
    assert len(continual(path, place / "stopped").sequences[0].stages) == 1


def untimed(record: Continual) -> list[Any]:
    return [stage.model_dump(exclude={"seconds"}) for one in record.sequences for stage in one.stages]


def test_sequences_in_processes_of_their_own_are_those_of_one(place: Path) -> None:
    wrong = '[[arms]]\nmethod = "loha"\noptions = { rr = 3 }\nrate = { policy = "fixed", lr = 1e-2 }\n'
    path = plan(place, FULL + LORA + wrong)
    here = continual(path, place / "here")
    called = CliRunner().invoke(app, ["study", str(path), "-o", str(place / "there"), "--workers", "2"])
    assert called.exit_code == 3, called.output
    there = Continual.read(place / "there/continual.json")
    assert untimed(here) == untimed(there)
    assert [one.error for one in here.sequences] == [one.error for one in there.sequences]
    assert there.sequences[2].error


def test_a_sequence_whose_files_lie_elsewhere_is_the_same(place: Path) -> None:
    """As on a node without the study's folder: it reads and writes there alone."""
    engine = Elsewhere(place.parent / "elsewhere")
    path = plan(place, LORA)
    here = continual(path, place / "here")
    there = continual(path, place / "there", engine=lambda home: engine)
    assert untimed(here) == untimed(there)


class Elsewhere(AbstractEngine):
    """Does an item here, with its files in another folder; what is written there is brought back."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ended = folder, list[Ended]()

    def submit(self, item: Item) -> None:
        assert item.outputs is not None
        self.folder.mkdir()
        places = {path: self.folder / path.name for path in item.inputs}
        for path, there in places.items():
            (shutil.copytree if path.is_dir() else shutil.copy)(path, there)
        out = places[item.outputs] = self.folder / "out" / item.key
        hidden = {path: path.rename(path.with_name(f"{path.name}.hidden")) for path in item.inputs}
        value = item.function(item.argument.at(places))
        for path, kept in hidden.items():
            kept.rename(path)
        shutil.copytree(out, item.outputs, dirs_exist_ok=True)
        self.ended.append(Ended(item.key, value))

    def wait(self) -> Ended:
        return self.ended.pop()

    def capacity(self) -> Capacity:
        return Capacity(1)

    def close(self) -> None:
        """Nothing is left behind."""


def test_an_error_ends_its_sequence_alone(place: Path) -> None:
    wrong = '[[arms]]\nmethod = "loha"\noptions = { rr = 3 }\nrate = { policy = "fixed", lr = 1e-2 }\n'
    record = continual(plan(place, wrong + FULL))
    assert "SettingError" in record.sequences[0].error
    assert record.failed == record.sequences[:1]
    assert record.finished(record.sequences[1])
    assert record.matrix(record.sequences[:1]) == [[None, None], [None, None]]


def test_an_error_of_others_ends_its_sequence_alone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true_train = module.train

    def breaks(spec: Any, *args: Any, **settings: Any) -> Any:
        if spec.seed == 0:
            raise RuntimeError(f"no room for {place}/base")
        return true_train(spec, *args, **settings)

    monkeypatch.setattr(module, "train", breaks)
    path = plan(place, seeds=[0, 1])
    broken, done = continual(path).sequences
    assert broken.error == "RuntimeError: no room for base"
    assert "in breaks" in next((place / "studies/plan").glob("*/log.txt")).read_text()
    assert len(done.stages) == 2
    monkeypatch.undo()
    assert not continual(path).failed


def test_errors_keep_their_remedy(place: Path) -> None:
    path = plan(place)
    path.write_text(path.read_text().replace("max_length = 16", "max_length = 400"))
    with pytest.raises(SettingError, match="texts of 400 tokens"):
        continual(path, dry_run=True)
    (failed,) = continual(path).failed
    assert "Remedy: set data.max_length to 32 or less" in failed.error


def test_a_record_that_is_not_whole_is_made_again(place: Path) -> None:
    path = plan(place, seeds=[0, 1])
    whole = continual(path)
    for record in (place / "studies/plan").rglob("continual.json"):
        record.write_text(record.read_text()[:-100])
    assert [one.stages for one in continual(path, dry_run=True).sequences] == [(), ()]
    again = continual(path)
    assert [[stage.tests for stage in one.stages] for one in again.sequences] == [
        [stage.tests for stage in one.stages] for one in whole.sequences
    ]


def cells(*rows: str) -> tuple[Cell, ...]:
    """Cells from what is right, one digit an example."""
    return tuple(
        Cell(task=str(i), examples=len(row), right=row.count("1"), correct=as_bits(np.array([c == "1" for c in row])))
        for i, row in enumerate(rows)
    )


def stage(task: str, *rows: str) -> Stage:
    nothing = {"count": 0, "undecided": 0, "directions": 0, "energy_share": None, "relative_norm": None}
    return Stage(task=task, tests=cells(*rows), losses=(), seconds=0.0, **nothing)


def test_a_base_with_another_tokenizer_is_tested_anew(place: Path) -> None:
    before = continual(plan(place), place / "study")
    file = place / "base" / "tokenizer.json"
    file.write_text(file.read_text().replace('"a":', '"#":').replace('"b":', '"a":').replace('"#":', '"b":'))
    after = continual(plan(place), place / "study")
    fresh = continual(plan(place), place / "fresh")
    assert after.start == fresh.start
    assert after.sequences[0].stages[0].losses == fresh.sequences[0].stages[0].losses
    assert after.sequences[0].stages[0].losses != before.sequences[0].stages[0].losses


def test_average_and_backward_transfer_by_hand() -> None:
    stages = (
        stage("0", "1110", "0000", "0000"),
        stage("1", "0110", "1100", "0000"),
        stage("2", "0100", "1111", "1010"),
    )
    sequence = Sequence(method="full", arm={}, rate="fixed", seed=0, stages=stages)
    assert average_accuracy(sequence) == pytest.approx((0.25 + 1 + 0.5) / 3)
    mean, (low, high) = backward_transfer(sequence)
    assert mean == pytest.approx(((0.25 - 0.75) + (1 - 0.5)) / 2)
    # Two paired differences of four examples each, with standard deviation 1/2.
    half = 1.959964 * (2 * 0.25 / 4) ** 0.5 / 2
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=1e-6)
    assert backward_transfer(sequence.model_copy(update={"stages": stages[:1]})) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tasks": ""}, "'tasks' is missing"),
        ({"tasks": "tasks = []"}, "the plan has no tasks"),
        ({"names": ("first", "first")}, "two tasks have the name 'first'"),
        ({"arms": ""}, "'arms' is missing"),
        ({"seeds": []}, "the plan has no seeds"),
        ({"arms": '[[arms]]\nmethod = "prefix-layer"\nrate = { policy = "fixed", lr = 1e-2 }\n'}, "changes no weight"),
        ({"steps": 0}, "'training.steps' is 0"),
        ({"arms": '[[arms]]\nmethod = "full"\nrate = { policy = "tune", lr = 1e-3 }\n'}, "cannot be tuned"),
    ],
)
def test_wrong_sequences_are_said(place: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError) as caught:
        continual(plan(place, **change), dry_run=True)
    assert said in str(caught.value)


def test_a_sequence_that_is_asked_for_twice_is_there_once(place: Path) -> None:
    record = continual(plan(place, FULL + FULL, seeds=[0, 1, 0]), dry_run=True)
    assert [one.seed for one in record.sequences] == [0, 1]


def test_a_base_with_a_head_is_refused(place: Path) -> None:
    shutil.rmtree(place / "base")
    bert(place / "base", headed=True)
    with pytest.raises(SettingError, match="is a classifier"):
        continual(plan(place))
    assert not (place / "studies").exists()


def test_a_causal_base_is_read_at_its_last_token(place: Path) -> None:
    shutil.rmtree(place / "base")
    llama(place / "base")
    body = AutoModel.from_pretrained(place / "base").eval()
    texts = [(4, 5, 6), (7, 8, 9, 10, 11), (3,)]
    for ids, row in zip(texts, features(body, texts, last=True), strict=True):
        with torch.no_grad():
            alone = body(torch.tensor([ids])).last_hidden_state[0, -1]
        assert np.allclose(row, alone.numpy(), atol=1e-5)
    record = continual(plan(place, LORA))
    assert not record.failed
    assert all(record.finished(sequence) for sequence in record.sequences)
    assert all(stage.relative_norm > 0 for sequence in record.sequences for stage in sequence.stages)


def test_a_trained_pooler_does_not_travel_to_the_next_task(place: Path) -> None:
    """The pooler belongs to the head: every stage begins with the base's own."""
    continual(plan(place))
    base, body = (
        AutoModel.from_pretrained(folder) for folder in (place / "base", *place.glob("studies/plan/*/body-2"))
    )
    for one, other in zip(base.pooler.parameters(), body.pooler.parameters(), strict=True):
        assert torch.equal(one, other)
    query = "encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(base.get_parameter(query), body.get_parameter(query))


def test_heads_of_other_rows_widen_the_intervals_by_hand() -> None:
    def drawn(cell: Cell, heads: tuple[float, ...]) -> Cell:
        return cell.model_copy(update={"heads": heads})

    first, last = stage("0", "1110", "0000"), stage("1", "0110", "1100")
    bare = Sequence(method="full", arm={}, rate="fixed", seed=0, stages=(first, last))
    of_first, of_last = ((0.7, 0.8, 0.6), (0.0, 0.0, 0.0)), ((0.5, 0.4, 0.6), (0.5, 0.3, 0.4))
    stages = [
        one.model_copy(update={"tests": tuple(map(drawn, one.tests, heads))})
        for one, heads in ((first, of_first), (last, of_last))
    ]
    known = bare.model_copy(update={"stages": tuple(stages)})
    moved = np.array(of_last[0]) - np.array(of_first[0])
    for found, before, spread in (
        (backward_transfer(known), backward_transfer(bare), moved),
        ((0, average_interval(known)), (0, average_interval(bare)), np.mean(of_last, axis=0)),
    ):
        half, narrower = ((ends[1] - ends[0]) / 2 for _, ends in (found, before))
        assert half**2 - narrower**2 == pytest.approx(1.959964**2 * np.var(spread, ddof=1), rel=1e-5)


def test_an_encoder_with_its_language_head_is_taken_for_its_body(place: Path) -> None:
    shutil.rmtree(place / "base")
    masked_bert(place / "base")
    record = continual(plan(place, FULL + LORA))
    assert not record.failed
    assert all(record.finished(sequence) for sequence in record.sequences)
    assert all(sequence.stages[-1].relative_norm > 0 for sequence in record.sequences)  # type: ignore[operator]
    # Its language head is not in the way: the same body without one comes to the same.
    alone = AutoModel.from_pretrained(place / "base", add_pooling_layer=False)
    shutil.rmtree(place / "base")
    alone.save_pretrained(place / "base")
    masking_tokenizer().save_pretrained(place / "base")
    again = continual(plan(place, FULL + LORA), place / "again")
    for one, other in zip(record.sequences, again.sequences, strict=True):
        assert [stage.tests for stage in one.stages] == [stage.tests for stage in other.stages]
        assert [stage.relative_norm for stage in one.stages] == [stage.relative_norm for stage in other.stages]


def test_two_sequences_do_not_write_to_one_folder(place: Path) -> None:
    path = plan(place)
    with locked(place / "studies/plan"), pytest.raises(SettingError, match="another study is writing"):
        continual(path)
    assert continual(path, dry_run=True).sequences[0].stages == ()


def test_a_test_of_unknown_labels_is_refused(place: Path) -> None:
    lines(place / "second.test.jsonl", [{"text": WORDS[5], "label": "perhaps"}])
    for dry_run in (True, False):
        with pytest.raises(InputError, match="no label 'perhaps'"):
            continual(plan(place), dry_run=dry_run)


def test_the_command_knows_a_sequence_by_its_kind(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = plan(place, FULL + LORA)
    continual(path)
    result = CliRunner().invoke(app, ["study", str(path)])
    assert result.exit_code == 0
    words = capsys.readouterr().out + result.output
    for expected in ("full", "lora r4", "Backward transfer", "nothing", "4 of 4 stages done"):
        assert expected in words
    result = CliRunner().invoke(app, ["study", str(plan(place, FULL, seeds=[0, 7])), "--dry-run"])
    assert "not run" in capsys.readouterr().out + result.output
