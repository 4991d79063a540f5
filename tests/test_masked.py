"""The pseudo-loss of masked models, and text under the head of a classifier's base."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from assay.behaviour.masked import MaskedDocument, masked_reading, read_masked_documents
from assay.behaviour.scoring import score
from assay.errors import InputError, MismatchError
from assay.models.loading import find, load, positions_of
from assay.settings import Batches, Generation
from assay.training.run import train
from models_in_miniature import bert, letters, lines, llama, masked_bert, masking_tokenizer, other_family

TOKENIZER = masking_tokenizer()


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return lines(tmp_path / "prose.jsonl", [{"text": letters(3, 12, seed)} for seed in range(6)])


def naive(model, ids: list[int]) -> float:
    """Every token between the marks masked in turn, one run each."""
    total = 0.0
    for place in range(1, len(ids) - 1):
        masked = torch.tensor([[*ids[:place], TOKENIZER.mask_token_id, *ids[place + 1 :]]])
        with torch.no_grad():
            total -= float(torch.log_softmax(model(input_ids=masked).logits[0, place], dim=-1)[ids[place]])
    return total


def test_pseudo_losses_equal_a_naive_loop_at_any_size_of_batch(tmp_path: Path, text: Path) -> None:
    model = load(find(masked_bert(tmp_path / "base")), "masked-lm")
    documents = read_masked_documents(text, TOKENIZER)
    for batch_tokens in (1, 60, 5_000):
        reading = masked_reading(documents, TOKENIZER.mask_token_id, 32, batch_tokens)
        nats = reading.nats(reading.asked.answers(model))
        for document, found in zip(documents, nats, strict=True):
            assert found == pytest.approx(naive(model, [*document.before, *document.ids, *document.after]), abs=1e-4)


def test_the_words_of_a_masked_document_are_all_scored(text: Path) -> None:
    documents = read_masked_documents(text, TOKENIZER)
    for seed, document in enumerate(documents):
        words = letters(3, 12, seed)
        assert document.ids == tuple(TOKENIZER(words, add_special_tokens=False).input_ids)
        assert (document.tokens, document.bytes, document.unscored) == (len(words.split()), len(words), 0)
        assert (document.before, document.after) == ((1,), (0,))


@given(st.integers(2, 60), st.integers(3, 20))
def test_windows_hold_every_token_once_and_none_is_much_shorter(length: int, window: int) -> None:
    document = MaskedDocument(tuple(range(10, 10 + length)), 1, (1,), (0,))
    windows, places = document.windows(window), document.places(window)
    masked = [ids[place] for ids, each in zip(windows, places, strict=True) for place in each]
    assert masked == list(document.ids)
    assert max(map(len, windows)) <= window
    assert max(map(len, windows)) - min(map(len, windows)) <= 1


def test_a_long_document_is_scored_in_the_windows_that_the_model_takes(tmp_path: Path) -> None:
    base = masked_bert(tmp_path / "base", positions=8)
    path = lines(tmp_path / "long.jsonl", [{"text": letters(20, 20, seed)} for seed in range(2)])
    lost = score(base, base, text=path).forgetting
    assert lost is not None
    assert (lost.how, lost.window, lost.divided, lost.windows) == ("pseudo-loss", 8, 2, 8)
    assert (lost.tokens, lost.unscored_tokens) == (40, 0)
    model = load(find(base), "masked-lm")
    document = read_masked_documents(path, TOKENIZER)[0]
    by_hand = sum(naive(model, list(ids)) for ids in document.windows(8))
    assert lost.documents[0].base == pytest.approx(by_hand, abs=1e-4)
    assert lost.base_bits_per_byte == pytest.approx(lost.base_loss * lost.tokens / lost.bytes / math.log(2))


def test_answers_in_other_windows_are_not_taken_over(tmp_path: Path) -> None:
    base = masked_bert(tmp_path / "base", positions=32)
    path = lines(tmp_path / "long.jsonl", [{"text": letters(24, 24, seed)} for seed in range(3)])
    asked = {"text": path, "keep": tmp_path / "answers"}
    wide, narrow = (score(base, base, **asked, batches=Batches(window, 4)).forgetting for window in (26, 10))
    fresh = score(base, base, text=path, batches=Batches(10, 4)).forgetting
    assert wide is not None
    assert narrow is not None
    assert fresh is not None
    assert narrow.base_loss == pytest.approx(fresh.base_loss, abs=1e-6)
    assert abs(narrow.base_loss - wide.base_loss) > 1e-4


SPEC = """
base = "base"
[data]
kind = "classification"
path = "rows.jsonl"
max_length = 16
[training]
steps = 6
batch_size = 4
[method]
lr = 1e-2
"""


@pytest.mark.parametrize("method", ['name = "full"', 'name = "lora"\nrank = 2', 'name = "bitfit"'])
def test_a_classifiers_body_is_read_under_its_bases_own_head(tmp_path: Path, text: Path, method: str) -> None:
    base = masked_bert(tmp_path / "base")
    lines(tmp_path / "rows.jsonl", [{"text": letters(2, 9, seed), "label": "zk"[seed % 2]} for seed in range(12)])
    (tmp_path / "spec.toml").write_text(SPEC + method + "\n", encoding="utf8")
    train(tmp_path / "spec.toml")
    tuned = tmp_path / "runs/spec"
    scores = score(base, tuned, text=text)
    assert scores.forgetting is not None
    assert any("under its base's own head" in note for note in scores.notes)
    # The oracle: the body taken out of the classifier by hand, beneath the head of the base.
    model = load(find(base), "masked-lm")
    classifier = load(find(tuned), "sequence-classification", ("k", "z"))
    if hasattr(classifier, "merge_and_unload"):
        classifier = classifier.merge_and_unload()
    changed = {name: value for name, value in classifier.bert.state_dict().items() if not name.startswith("pooler")}
    before = model.bert.encoder.layer[0].output.dense.bias.clone()
    model.bert.load_state_dict(changed)
    moved = model.bert.encoder.layer[0].output.dense.bias - before
    assert bool(moved.any()) == ("bitfit" in method)
    for document, found in zip(read_masked_documents(text, TOKENIZER), scores.forgetting.documents, strict=True):
        assert found.tuned == pytest.approx(naive(model, [1, *document.ids, 0]), abs=1e-3)
        assert found.tuned != pytest.approx(found.base, abs=1e-6)


def test_what_has_no_language_head_is_refused(tmp_path: Path, text: Path) -> None:
    base = masked_bert(tmp_path / "base")
    other = bert(tmp_path / "other", headed=True, tokens=len(TOKENIZER))
    masking_tokenizer().save_pretrained(other)
    with pytest.raises(MismatchError, match="classifies"):
        score(other, base, text=text)
    wider = bert(tmp_path / "wider", headed=True, tokens=len(TOKENIZER) + 1)
    masking_tokenizer().save_pretrained(wider)
    with pytest.raises(MismatchError, match="not the base's"):
        score(base, wider, text=text)
    lines(tmp_path / "rows.jsonl", [{"text": letters(2, 9, seed), "label": "zk"[seed % 2]} for seed in range(12)])
    prefix = SPEC.replace("max_length = 16", "max_length = 12") + 'name = "prefix-embedding"\ntokens = 2\n'
    (tmp_path / "spec.toml").write_text(prefix, encoding="utf8")
    train(tmp_path / "spec.toml")
    with pytest.raises(MismatchError, match="prefix"):
        score(base, tmp_path / "runs/spec", text=text)


def test_a_masked_model_writes_nothing(tmp_path: Path, text: Path) -> None:
    base = masked_bert(tmp_path / "base")
    asks = [{"prompt": letters(2, 5, seed), "answer": ("yes", "no")[seed % 2]} for seed in range(4)]
    for asked in ({"task": lines(tmp_path / "t.jsonl", asks)}, {"prompts": lines(tmp_path / "p.jsonl", asks)}):
        with pytest.raises(MismatchError, match="is a masked-lm"):
            score(base, base, **asked, generation=Generation(2, max_tokens=2))


def test_a_tokenizer_without_a_mask_is_refused(tmp_path: Path, text: Path) -> None:
    base = masked_bert(tmp_path / "base")
    bert(tmp_path / "plain")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (base / name).write_bytes((tmp_path / "plain" / name).read_bytes())
    with pytest.raises(InputError, match="no mask token"):
        score(base, base, text=text)


def test_positions_of_roberta_begin_after_the_padding(tmp_path: Path) -> None:
    assert positions_of(find(other_family(tmp_path / "roberta", "roberta"))) == 64 - 0 - 1
    assert positions_of(find(llama(tmp_path / "llama"))) == 64


def test_an_adapter_on_a_masked_model_reads_with_its_base(tmp_path: Path, text: Path) -> None:
    from peft import LoraConfig, get_peft_model

    base = masked_bert(tmp_path / "base")
    adapted = get_peft_model(load(find(base), "masked-lm"), LoraConfig(r=2, target_modules=["query", "dense"]))
    for name, value in adapted.named_parameters():
        if "lora_B" in name:
            value.data += 0.1
    adapted.save_pretrained(tmp_path / "adapter")
    lost = score(base, tmp_path / "adapter", text=text).forgetting
    assert lost is not None
    merged = adapted.merge_and_unload().eval()
    document = read_masked_documents(text, TOKENIZER)[0]
    assert lost.documents[0].tuned == pytest.approx(naive(merged, [1, *document.ids, 0]), abs=1e-3)
    assert np.sign(lost.mean) != 0
