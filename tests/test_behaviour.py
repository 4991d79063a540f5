from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from scipy import stats
from sklearn.metrics import accuracy_score
from tokenizers import Tokenizer, decoders, models
from tokenizers.pre_tokenizers import ByteLevel
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast
from typer.testing import CliRunner

from assay.behaviour.batches import by_length
from assay.behaviour.forgetting import Document, document_losses, read_documents
from assay.behaviour.intervals import mcnemar, proportion, weighted_mean
from assay.behaviour.scoring import score
from assay.behaviour.tasks import answer_likelihoods, choose, read_task
from assay.cli import app
from assay.errors import AdapterError, InputError, MismatchError, SettingError, ValuesError
from assay.models.loading import find, load
from assay.records import Scores
from assay.records.cautions import cautions
from assay.settings import Batches, Generation, HarnessTasks
from assay.training.run import train
from models_in_miniature import WORDS, bert, letters, lines, llama, tokenizer, with_other_tokens
from tiny import rewrite, tensors

TOKENIZER = tokenizer()


@pytest.fixture
def text(tmp_path: Path) -> Path:
    rows = [{"text": letters(3, 25, seed) + (" <end> a" if seed % 3 == 0 else "")} for seed in range(12)]
    return lines(tmp_path / "prose.jsonl", rows)


@pytest.fixture
def task(tmp_path: Path) -> Path:
    answers = ("yes", "no", "a b", "a")
    return lines(
        tmp_path / "task.jsonl", [{"prompt": letters(2, 9, seed), "answer": answers[seed % 4]} for seed in range(24)]
    )


def test_losses_equal_the_models_own(tmp_path: Path, text: Path) -> None:
    model = load(find(llama(tmp_path / "base")), "causal-lm")
    documents = read_documents(text, TOKENIZER)
    nats = document_losses(model, documents, batch_tokens=64)
    for document, found in zip(documents, nats, strict=True):
        ids = torch.tensor([document.ids])
        with torch.no_grad():
            own = float(model(input_ids=ids, labels=ids).loss)
        assert found / document.tokens == pytest.approx(own, abs=1e-4)


def test_the_size_of_a_batch_changes_nothing(tmp_path: Path, text: Path) -> None:
    model = load(find(llama(tmp_path / "base")), "causal-lm")
    documents = read_documents(text, TOKENIZER)
    one, other = (document_losses(model, documents, batch_tokens=size) for size in (1, 10_000))
    assert np.abs(one - other).max() < 1e-4


def test_long_documents_are_scored_in_windows_every_token_once(tmp_path: Path) -> None:
    model = load(find(llama(tmp_path / "base")), "causal-lm")
    ids = TOKENIZER(letters(23, 23)).input_ids
    document = Document(tuple(ids), 1)
    pieces = document.windows(8)
    assert [ids[0], *(token for piece in pieces for token in piece[1:])] == ids
    assert max(len(piece) for piece in pieces) == 8
    by_hand = 0.0
    for start in range(0, 22, 7):
        piece = torch.tensor([ids[start : start + 8]])
        with torch.no_grad():
            by_hand += float(model(input_ids=piece, labels=piece).loss) * (piece.shape[1] - 1)
    assert float(document_losses(model, [document], window=8)[0]) == pytest.approx(by_hand, abs=1e-4)


@given(st.integers(2, 40), st.integers(2, 12))
def test_windows_cover_every_token_for_any_length(length: int, window: int) -> None:
    ids = tuple(range(length))
    pieces = Document(ids, 1).windows(window)
    assert [ids[0], *(token for piece in pieces for token in piece[1:])] == list(ids)
    assert all(2 <= len(piece) <= window for piece in pieces)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=30), st.integers(1, 60))
def test_batches_hold_every_sequence_once_within_their_size(lengths: list[int], size: int) -> None:
    sequences = [(0,) * length for length in lengths]
    batches = list(by_length(sequences, size))
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= size


def test_bytes_leave_out_the_token_that_nothing_predicts(tmp_path: Path) -> None:
    path = lines(tmp_path / "prose.jsonl", [{"text": "no b c"}, {"text": "a b"}, {"text": "a"}])
    documents = read_documents(path, TOKENIZER)
    assert [(document.tokens, document.bytes) for document in documents] == [(2, 4), (1, 2)]


def test_the_first_token_may_be_a_part_of_a_character(tmp_path: Path) -> None:
    """A token a byte: of a character of two bytes one is predicted."""
    inner = Tokenizer(models.BPE(vocab={sign: i for i, sign in enumerate(ByteLevel.alphabet())}, merges=[]))
    inner.pre_tokenizer, inner.decoder = ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    path = lines(tmp_path / "prose.jsonl", [{"text": text} for text in ("é", "ab", "日本")])
    documents = read_documents(path, PreTrainedTokenizerFast(tokenizer_object=inner))
    assert [(document.tokens, document.bytes) for document in documents] == [(1, 1), (1, 1), (5, 5)]


def test_forgetting_is_the_token_weighted_difference(tmp_path: Path, text: Path) -> None:
    base, tuned = llama(tmp_path / "base"), llama(tmp_path / "tuned", seed=1)
    lost = score(base, tuned, text=text).forgetting
    assert lost is not None
    total = sum(document.tokens for document in lost.documents)
    assert lost.tokens == total
    assert lost.mean == pytest.approx(sum(d.tuned - d.base for d in lost.documents) / total)
    assert lost.mean == pytest.approx(lost.tuned_loss - lost.base_loss)
    assert lost.interval[0] < lost.mean < lost.interval[1]
    assert lost.base_bits_per_byte == pytest.approx(lost.base_loss * lost.tokens / lost.bytes / math.log(2))
    assert lost.unscored_tokens == len(lost.documents) == 12
    assert score(tuned, base, text=text).forgetting.mean == pytest.approx(-lost.mean)  # type: ignore[union-attr]


def test_a_model_beside_itself_forgets_nothing_and_learns_nothing(tmp_path: Path, text: Path, task: Path) -> None:
    base = llama(tmp_path / "base")
    scores = score(base, base, text=text, task=task)
    assert scores.forgetting is not None
    assert scores.task is not None
    assert (scores.forgetting.mean, scores.forgetting.interval) == (0.0, (0.0, 0.0))
    assert (scores.task.difference, scores.task.difference_interval, scores.task.p_value) == (0.0, (0.0, 0.0), 1.0)


def test_likelihoods_of_answers_equal_the_models_own(tmp_path: Path, task: Path) -> None:
    model = load(find(llama(tmp_path / "base")), "causal-lm")
    asked = read_task(task, TOKENIZER)
    found = answer_likelihoods(model, asked, batch_tokens=40)
    assert asked.answers == ("a", "a b", "no", "yes")
    for example in range(0, 24, 5):
        for answer, reply in enumerate(asked.replies[example]):
            ids = torch.tensor([[*asked.prompts[example], *reply]])
            targets = ids.clone()
            targets[0, : len(asked.prompts[example])] = -100
            with torch.no_grad():
                own = -float(model(input_ids=ids, labels=targets).loss) * len(reply)
            assert found[example][answer] == pytest.approx(own, abs=1e-4)


def test_accuracy_equals_a_direct_count_and_is_paired(tmp_path: Path, task: Path) -> None:
    base, tuned = llama(tmp_path / "base"), llama(tmp_path / "tuned", seed=1)
    learned = score(base, tuned, task=task).task
    assert learned is not None
    asked = read_task(task, TOKENIZER)
    rights = []
    for folder, found in ((base, learned.base_choices), (tuned, learned.tuned_choices)):
        choices = choose(load(find(folder), "causal-lm"), asked, batch_tokens=1)
        assert choices == found
        rights.append([choice == truth for choice, truth in zip(choices, asked.truth, strict=True)])
    assert learned.base_accuracy == accuracy_score(asked.truth, learned.base_choices)
    assert learned.tuned_accuracy == accuracy_score(asked.truth, learned.tuned_choices)
    assert learned.only_base == sum(one and not other for one, other in zip(*rights, strict=True))
    assert learned.only_tuned == sum(other and not one for one, other in zip(*rights, strict=True))
    assert learned.difference == pytest.approx(learned.tuned_accuracy - learned.base_accuracy)
    assert learned.majority == 6 / 24


def test_prompts_longer_than_the_window_are_cut_and_counted(tmp_path: Path, task: Path) -> None:
    asked = read_task(task, TOKENIZER, window=6)
    whole = read_task(task, TOKENIZER)
    assert max(len(prompt) for prompt in asked.prompts) == 4
    assert asked.truncated == sum(len(prompt) > 4 for prompt in whole.prompts) > 0
    assert all(one == other[-4:] for one, other in zip(asked.prompts, whole.prompts, strict=True))


def test_an_adapter_names_its_base_and_scores_as_it_was_trained(tmp_path: Path, text: Path, task: Path) -> None:
    llama(tmp_path / "base")
    (tmp_path / "lora.toml").write_text(
        'base = "base"\n[data]\nkind = "prompt-answer"\npath = "task.jsonl"\nmax_length = 16\n'
        '[training]\nsteps = 5\nbatch_size = 4\n[method]\nname = "lora"\nrank = 2\nlr = 1e-2\n',
        encoding="utf8",
    )
    train(tmp_path / "lora.toml")
    scores = score(None, tmp_path / "runs/lora", text=text, task=task)
    assert scores.base.name == "base"
    assert scores.forgetting is not None
    assert scores.forgetting.mean != 0
    merged = load(find(tmp_path / "runs/lora"), "causal-lm").merge_and_unload()
    nats = document_losses(merged.eval(), read_documents(text, TOKENIZER))
    assert nats == pytest.approx([document.tuned for document in scores.forgetting.documents], abs=1e-3)
    scores.save(tmp_path / "scores.json")
    llama(tmp_path / "other", seed=5)
    with pytest.raises(MismatchError, match="not the base that it was trained on"):
        score(tmp_path / "other", tmp_path / "runs/lora", text=text)
    elsewhere = score(tmp_path / "other", tmp_path / "runs/lora", text=text, other_base=True).forgetting
    assert elsewhere is not None
    assert all(other.tuned != own for other, own in zip(elsewhere.documents, nats, strict=True))
    assert Scores.read(tmp_path / "scores.json") == scores
    assert str(tmp_path) not in (tmp_path / "scores.json").read_text(encoding="utf8")


def test_a_score_is_the_same_twice(tmp_path: Path, text: Path, task: Path) -> None:
    base, tuned = llama(tmp_path / "base"), llama(tmp_path / "tuned", seed=1)
    one, other = (score(base, tuned, text=text, task=task).model_dump(exclude={"seconds"}) for _ in range(2))
    assert one == other


@pytest.mark.parametrize("method", ['name = "full"', 'name = "lora"\nrank = 2'])
def test_a_classification_head_is_scored(tmp_path: Path, method: str) -> None:
    bert(tmp_path / "base")
    rows = [
        {"text": ("a b " if seed % 2 else "c d ") + letters(1, 4, seed), "label": "zk"[seed % 2]} for seed in range(40)
    ]
    path = lines(tmp_path / "rows.jsonl", rows)
    (tmp_path / "spec.toml").write_text(
        'base = "base"\n[data]\nkind = "classification"\npath = "rows.jsonl"\nmax_length = 16\n'
        f"[training]\nsteps = 30\nbatch_size = 8\n[method]\nlr = 1e-2\n{method}\n",
        encoding="utf8",
    )
    train(tmp_path / "spec.toml")
    scores = score(tmp_path / "base", tmp_path / "runs/spec", task=path)
    assert scores.task is not None
    assert scores.task.answers == ("k", "z")
    assert scores.task.tuned_accuracy > 0.9
    assert scores.task.base_accuracy is None
    assert scores.notes == ("The base has no head for the task: no pair.",)
    with pytest.raises(InputError, match="never saw 'm'"):
        score(
            tmp_path / "base",
            tmp_path / "runs/spec",
            task=lines(tmp_path / "odd.jsonl", [{"text": "a", "label": "m"}] * 2),
        )
    with pytest.raises(MismatchError, match="classifies"):
        score(tmp_path / "runs/spec", tmp_path / "runs/spec", text=lines(tmp_path / "t.jsonl", [{"text": "a b"}] * 2))


def test_other_tokens_are_refused(tmp_path: Path, text: Path) -> None:
    base = llama(tmp_path / "base")
    tuned = with_other_tokens(base)
    with pytest.raises(MismatchError, match="different tokens"):
        score(base, tuned, text=text)


def test_nothing_to_score_and_too_little_text_are_said(tmp_path: Path) -> None:
    base = llama(tmp_path / "base")
    with pytest.raises(SettingError, match="nothing to score"):
        score(base, base)
    with pytest.raises(InputError, match="at least two"):
        score(base, base, text=lines(tmp_path / "one.jsonl", [{"text": "a b"}]))
    with pytest.raises(InputError, match="no rows"):
        score(base, base, text=lines(tmp_path / "none.jsonl", []))
    for setting, made in (
        ("window", lambda: Batches(window=0)),
        ("batch_tokens", lambda: Batches(tokens=0)),
        ("max_tokens", lambda: Generation(max_tokens=0)),
        ("limit", lambda: HarnessTasks(["hellaswag"], limit=0)),
    ):
        with pytest.raises(SettingError, match=f"{setting} is 0"):
            made()
    with pytest.raises(InputError, match="at least two different answers"):
        score(base, base, task=lines(tmp_path / "same.jsonl", [{"prompt": "a", "answer": "no"}] * 2))
    with pytest.raises(InputError, match="of a reward model chosen and rejected, or reply and label"):
        score(base, base, task=lines(tmp_path / "other.jsonl", [{"question": "a"}]))


def test_documents_longer_than_the_model_are_divided(tmp_path: Path) -> None:
    base = llama(tmp_path / "base", positions=8)
    path = lines(tmp_path / "long.jsonl", [{"text": letters(20, 20, seed)} for seed in range(2)])
    lost = score(base, base, text=path).forgetting
    assert lost is not None
    assert (lost.window, lost.divided, lost.windows, lost.tokens) == (8, 2, 6, 38)


def test_the_bootstrap_covers_at_its_nominal_rate() -> None:
    generator = np.random.default_rng(0)
    trials, covered = 200, 0
    for trial in range(trials):
        weights = generator.integers(50, 500, 60).astype(float)
        totals = weights * generator.gamma(2.0, 0.05, 60)  # skewed, mean 0.1
        low, high = weighted_mean(totals, weights, seed=trial)[1]
        covered += low <= 0.1 <= high
    # 95 % of 200 trials, less the bootstrap's own shortfall at 60 documents; 1 in 1,000 would give fewer than 180.
    assert 180 <= covered <= 199


def test_totals_and_weights_are_resampled_together() -> None:
    generator = np.random.default_rng(0)
    weights = generator.integers(1, 1_000, 40).astype(float)  # spread far more than the means
    low, high = weighted_mean(weights * generator.normal(1.0, 0.001, 40), weights, seed=0)[1]
    assert high - low < 0.002


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=2, max_size=40))
def test_the_interval_of_a_difference_is_finite_and_ordered(gains: list[float]) -> None:
    mean, (low, high) = weighted_mean(np.array(gains), np.ones(len(gains)), seed=0)
    assert -1 <= low <= mean <= high <= 1


@given(st.integers(0, 40), st.integers(1, 40))
def test_wilson_by_its_own_formula(right: int, more: int) -> None:
    count = right + more
    z, share = stats.norm.ppf(0.975), right / count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    assert proportion(right, count) == pytest.approx((middle - half, middle + half), abs=1e-9)


@given(st.integers(0, 15), st.integers(0, 15))
def test_mcnemar_by_counting_coins(one: int, other: int) -> None:
    flips = one + other
    tail = sum(math.comb(flips, i) for i in range(min(one, other) + 1)) / 2**flips
    assert mcnemar(one, other) == pytest.approx(min(1.0, 2 * tail))


def test_the_miniature_vocabulary_is_what_the_tests_assume() -> None:
    assert WORDS[TOKENIZER.pad_token_id] == WORDS[TOKENIZER.eos_token_id] == "<end>"


def test_few_documents_and_those_left_out_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, tuned = llama(tmp_path / "base"), llama(tmp_path / "tuned", seed=1)
    few = [{"text": letters(3, 9, seed)} for seed in range(5)]
    record = score(base, tuned, text=lines(tmp_path / "few.jsonl", [*few, {"text": "a"}]))
    assert "1 document(s) of fewer than two tokens are left out." in record.notes
    # Beside what is said of two random models: that neither predicts better than a uniform guess.
    assert "The intervals rest on 5 documents, fewer than 50: they are too narrow." in cautions(record)
    assert record.forgetting.vocabulary == len(WORDS)
    enough = score(base, tuned, text=lines(tmp_path / "enough.jsonl", few * 10))
    assert not any("narrow" in note or "left out" in note for note in (*enough.notes, *cautions(enough)))
    # The claim itself, on normal data: at 5 far from its level, at 20 near it.
    monkeypatch.setattr("assay.behaviour.intervals.RESAMPLES", 999)
    generator, held = np.random.default_rng(0), {}
    for count in (5, 20):
        intervals = [weighted_mean(generator.normal(0, 1, count), np.ones(count), seed)[1] for seed in range(300)]
        held[count] = sum(low <= 0 <= high for low, high in intervals) / 300
    assert held[5] < 0.87 < held[20]


def _rank_two(folder: Path, base: Path, **options: Any) -> Path:
    """A LoRA on the base's attention, with factors that are not zero."""
    torch.manual_seed(0)
    adapted = get_peft_model(
        LlamaForCausalLM.from_pretrained(base),
        LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False, **options),
    )
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    adapted.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            lambda found: {name.replace("lora_", "lola_"): value for name, value in found.items()},
            "no place for .*lola_",
        ),
        (
            lambda found: {name: value for name, value in found.items() if "layers.1.self_attn" not in name},
            "no tensor for .*rs.1",
        ),
        (
            lambda found: found | {name.replace("rs.1", "rs.7"): value + 0 for name, value in found.items()},
            "no place for .*layers.7",
        ),
        (lambda found: {name: value for name, value in found.items() if "norm" not in name}, "no tensor for .*norm"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused_by_its_first_tensor(
    tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], named: str
) -> None:
    base = llama(tmp_path / "base")
    adapter = _rank_two(tmp_path / "adapter", base, modules_to_save=["norm"])
    load(find(adapter), "causal-lm")
    save_file(change(tensors(adapter)), adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MismatchError, match=named):
        load(find(adapter), "causal-lm")


@pytest.mark.parametrize(
    "options",
    [
        {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
        {"trainable_token_indices": [1, 2]},
        {"bias": "all"},
        {"use_dora": True},
        {"target_parameters": ["mlp.up_proj.weight"]},
    ],
)
def test_what_peft_stores_beside_the_factors_fits(tmp_path: Path, options: dict[str, Any]) -> None:
    adapter = _rank_two(tmp_path / "adapter", llama(tmp_path / "base"), **options)
    held = load(find(adapter), "causal-lm").state_dict().values()
    for name, value in tensors(adapter).items():
        assert any(value.shape == other.shape and torch.equal(value, other) for other in held), name


def test_an_adapter_of_a_method_that_peft_lacks_is_refused(tmp_path: Path) -> None:
    adapter = _rank_two(tmp_path / "adapter", llama(tmp_path / "base"))
    told = adapter / "adapter_config.json"
    told.write_text(told.read_text().replace('"LORA"', '"FOO"'))
    with pytest.raises(AdapterError, match="peft_type is 'FOO'"):
        load(find(adapter), "causal-lm")


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("asked", ["text", "task", "questions", "prompts", "judged"])
def test_a_model_whose_output_overflows_has_no_score(
    tmp_path: Path, text: Path, task: Path, asked: str, adapted: bool
) -> None:
    base = llama(tmp_path / "base")
    broken = _rank_two(tmp_path / "broken", base) if adapted else llama(tmp_path / "broken")
    (file,) = broken.glob("*.safetensors")
    large = {name: value * 1e25 for name, value in tensors(broken).items() if any(x in name for x in ("_proj", "lora"))}
    rewrite(broken, large, file.name)
    questions = lines(tmp_path / "q.jsonl", [{"question": letters(1, 5, seed), "answer": "a"} for seed in range(3)])
    given: dict[str, Any] = {
        "text": {"text": text},
        "task": {"task": task},
        "questions": {"task": questions},
        "prompts": {"prompts": questions},
        "judged": {"prompts": questions, "judge": "assay.models.rewards:exact_number"},
    }[asked]
    for pair in ((base, broken), (broken, base)):
        with pytest.raises(ValuesError, match=r"broken: the model's output is NaN or infinite .*number \d"):
            score(*pair, generation=Generation(2, max_tokens=2), **given)


def test_what_is_cut_to_the_window_is_said(tmp_path: Path) -> None:
    base = llama(tmp_path / "base")
    asks = [{"prompt": letters(size, size, size), "answer": answer} for size, answer in ((90, "yes"), (9, "no"))]
    path = lines(tmp_path / "asks.jsonl", asks)
    notes = score(base, base, task=path).notes
    assert (
        "1 of the examples of the task are cut to the window: prompts lose their beginning, texts their end." in notes
    )
    for judge in (None, "assay.models.rewards:exact_number"):
        notes = score(base, base, prompts=path, generation=Generation(2, max_tokens=2), judge=judge).notes
        assert any(note.startswith("1 of the prompts are cut to the window") for note in notes)
    short = lines(path, [asks[1], {"prompt": "a", "answer": "yes"}])
    assert not any("cut" in note for note in score(base, base, task=short).notes)


def test_differences_that_are_all_equal_are_said(tmp_path: Path, text: Path) -> None:
    base, tuned = llama(tmp_path / "base"), llama(tmp_path / "tuned", seed=1)
    same = lines(tmp_path / "same.jsonl", [{"text": "a b c"}] * 30)
    said = "The difference is the same on all documents: its interval is a point and tells of no spread."
    assert said in score(base, tuned, text=same).notes
    assert said not in score(base, tuned, text=text).notes


_BROKEN: dict[str, Callable[[Path], object]] = {
    "cannot be read as JSON": lambda base: (base / "config.json").write_text("{"),
    "there is no such file": lambda base: (base / "config.json").unlink(),
    "the tokenizer cannot be read": lambda base: (base / "tokenizer.json").write_text("{"),
    "not a readable safetensors file": lambda base: (base / "model.safetensors").write_bytes(
        (base / "model.safetensors").read_bytes()[:-99]
    ),
    "the (tokenizer|model) cannot be read": lambda base: _configure(base, "model_type", "no-such-model"),
    "the weights are quantised": lambda base: _configure(base, "quantization_config", {"quant_method": "gptq"}),
    "the model cannot be read": lambda base: _configure(base, "hidden_size", 12),
}


def _configure(folder: Path, name: str, value: object) -> None:
    told = folder / "config.json"
    told.write_text(json.dumps(json.loads(told.read_text()) | {name: value}))


@pytest.mark.parametrize("said", _BROKEN)
def test_a_broken_base_is_one_error(tmp_path: Path, text: Path, said: str) -> None:
    base = llama(tmp_path / "base")
    adapter = _rank_two(tmp_path / "adapter", base)
    _BROKEN[said](base)
    for pair in ((base, base), (None, adapter)):
        with pytest.raises(InputError, match=said):
            score(*pair, text=text)


def test_numbers_that_mean_nothing_are_refused(tmp_path: Path, text: Path) -> None:
    base = llama(tmp_path / "base")
    with pytest.raises(SettingError, match="seed is -1"):
        score(base, base, text=text, seed=-1)
    for value in (math.inf, math.nan):
        with pytest.raises(SettingError, match=f"temperature is {value}"):
            Generation(temperature=value)


@pytest.mark.parametrize("judge", ["math:sqrt", "os:system"])
def test_a_judge_that_raises_is_named(tmp_path: Path, judge: str) -> None:
    base = llama(tmp_path / "base")
    prompts = lines(tmp_path / "prompts.jsonl", [{"prompt": "a"}, {"prompt": "b"}])
    with pytest.raises(InputError, match=f"{judge}: the reward raised TypeError"):
        score(base, base, prompts=prompts, judge=judge, generation=Generation(max_tokens=2))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"how": "exact-match"}, "how belongs to a task"),
        ({"generation": Generation(chat=True)}, "chat belongs to a task or prompts"),
        ({"judge": "math:sqrt"}, "judge belongs to prompts"),
    ],
)
def test_a_setting_of_what_is_not_scored_is_refused(
    tmp_path: Path, text: Path, given: dict[str, Any], said: str
) -> None:
    base = llama(tmp_path / "base")
    with pytest.raises(SettingError, match=said):
        score(base, base, text=text, **given)


@pytest.mark.parametrize("without", [{"limit": 3}, {"code": ["metrics.py"]}])
def test_a_setting_of_no_task_of_the_harness_is_refused(without: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match="belongs to a task of the harness"):
        HarnessTasks(**without)


def test_the_command_names_what_it_lacks_before_it_scores(
    tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = str(llama(tmp_path / "base"))
    alone = CliRunner().invoke(app, ["score", base, "--text", str(text)])
    assert (alone.exit_code, alone.stderr.count("\n")) == (2, 1)
    assert "base: is a whole model, which names no base. Wanted: a base and a tuned model" in alone.stderr
    monkeypatch.setattr("assay.behaviour.scoring.score", None)  # nothing may be asked
    folder = CliRunner().invoke(app, ["score", base, base, "--text", str(text), "-o", str(tmp_path)])
    assert folder.exit_code == 2
    assert "is a folder. Wanted: a file for the record" in folder.stderr
