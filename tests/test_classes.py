"""Classifiers that were not trained here: whose classes are whose, and what no head can be asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import accuracy_score
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
)

from assay.behaviour.scoring import score
from assay.errors import InputError, MismatchError, ValuesError
from assay.training.run import train
from models_in_miniature import WORDS, bert, letters, lines, llama, tokenizer
from tiny import rewrite, tensors

SIZES: dict[str, Any] = {
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "initializer_range": 0.3,
}


def classifier(folder: Path, names: list[str] | int) -> Path:
    """An encoder with a random head, whose classes have names or are only so many."""
    torch.manual_seed(0)
    told = {"num_labels": names} if isinstance(names, int) else {"id2label": dict(enumerate(names))}
    config = BertConfig(max_position_embeddings=32, pad_token_id=0, **SIZES, **told)
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def labelled(path: Path, labels: list[str]) -> Path:
    return lines(path, [{"text": letters(2, 9, seed), "label": labels[seed % len(labels)]} for seed in range(48)])


def own_accuracy(folder: Path, path: Path) -> float:
    """By transformers, a text at a time, and scikit-learn."""
    import json

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    rows = [json.loads(line) for line in path.read_text(encoding="utf8").splitlines()]
    chosen = []
    for row in rows:
        with torch.no_grad():
            ids = torch.tensor([tokenizer()(row["text"]).input_ids])
            chosen.append(int(model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.argmax()))
    names = model.config.id2label
    truth = [row["label"].removeprefix("LABEL_") for row in rows]
    return float(accuracy_score(truth, [names[choice].removeprefix("LABEL_") for choice in chosen]))


def test_classes_without_names_are_the_heads_positions(tmp_path: Path) -> None:
    head = classifier(tmp_path / "head", 12)  # sorted as text, 10 and 11 would come before 2
    for labels in ([str(i) for i in range(12)], ["0", "2", "11"]):
        path = labelled(tmp_path / f"{len(labels)}.jsonl", labels)
        learned = score(head, head, task=path).task
        assert learned is not None
        assert learned.answers == tuple(str(i) for i in range(12))
        assert learned.tuned_accuracy == learned.base_accuracy == own_accuracy(head, path)
    with pytest.raises(InputError, match="never saw 'k'"):
        score(head, head, task=labelled(tmp_path / "named.jsonl", ["k", "z"]))


def test_two_heads_of_other_classes_are_not_paired(tmp_path: Path) -> None:
    path = labelled(tmp_path / "rows.jsonl", ["k", "z"])
    one, other = classifier(tmp_path / "one", ["k", "z"]), classifier(tmp_path / "other", ["z", "k"])
    with pytest.raises(MismatchError, match="k, z and z, k"):
        score(one, other, task=path)
    # Told alike, one is right where the other is not.
    learned = score(one, one, task=path).task
    assert learned is not None
    assert learned.tuned_accuracy == own_accuracy(one, path)
    unnamed = score(classifier(tmp_path / "unnamed", 2), one, task=path).task
    assert unnamed is not None
    assert unnamed.base_accuracy == learned.tuned_accuracy


SPEC = """
base = "head"
[data]
kind = "classification"
path = "rows.jsonl"
max_length = 16
[training]
steps = 2
batch_size = 4
save_at = [1]
[method]
name = "lora"
rank = 2
lr = 1e-9
"""


@pytest.mark.parametrize(
    ("head", "labels"),
    [
        (12, [str(i) for i in range(12)]),  # sorted as text, 10 and 11 would come before 2
        (["z", "k"], ["k", "z"]),  # the head's own order, not that of the data
        ([str(i) for i in range(12)], ["0", "2", "11"]),  # a head that knows more than the data have
    ],
)
def test_a_stored_head_keeps_its_classes_where_it_learns_more(
    head: list[str] | int, labels: list[str], tmp_path: Path
) -> None:
    base, path = classifier(tmp_path / "head", head), labelled(tmp_path / "rows.jsonl", labels)
    (tmp_path / "spec.toml").write_text(SPEC, encoding="utf8")
    record = train(tmp_path / "spec.toml", tmp_path / "tuned")
    assert record.labels == (tuple(head) if isinstance(head, list) else tuple(labels))
    # At a rate of next to nothing the tuned model, and its snapshot, answer as the base does.
    for place in (tmp_path / "tuned", tmp_path / "tuned/steps/1"):
        learned = score(base, place, task=path).task
        assert learned is not None
        assert learned.tuned_accuracy == learned.base_accuracy == own_accuracy(base, path)


def test_a_head_of_other_classes_is_not_named_anew(tmp_path: Path) -> None:
    classifier(tmp_path / "head", ["bad", "good"])
    labelled(tmp_path / "rows.jsonl", ["k", "z"])
    (tmp_path / "spec.toml").write_text(SPEC, encoding="utf8")
    with pytest.raises(MismatchError, match="the stored head has the classes bad, good, and the data k, z"):
        train(tmp_path / "spec.toml", tmp_path / "tuned")


def test_an_adapter_from_elsewhere_is_asked_by_position(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    bert(tmp_path / "base")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=3)
    get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"])).save_pretrained(
        tmp_path / "adapter"
    )
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    assert score(base, adapter, task=labelled(tmp_path / "three.jsonl", ["0", "1", "2"])).task is not None
    with pytest.raises(InputError, match="classes have no names"):
        score(base, adapter, task=labelled(tmp_path / "named.jsonl", ["k", "z", "w"]))
    with pytest.raises(MismatchError, match="tensors do not fit"):
        score(base, adapter, task=labelled(tmp_path / "two.jsonl", ["0", "1"]))


def test_a_decoder_without_padding_takes_a_text_at_a_time(tmp_path: Path) -> None:
    names = {0: "k", 1: "z"}
    torch.manual_seed(0)
    config = LlamaConfig(num_key_value_heads=1, bos_token_id=1, eos_token_id=0, id2label=names, **SIZES)
    LlamaForSequenceClassification(config).save_pretrained(tmp_path / "head")
    tokenizer().save_pretrained(tmp_path / "head")
    path = labelled(tmp_path / "rows.jsonl", ["k", "z"])
    learned = score(tmp_path / "head", tmp_path / "head", task=path).task
    assert learned is not None
    assert learned.tuned_accuracy == own_accuracy(tmp_path / "head", path)


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    base, tuned = llama(tmp_path / "base"), llama(tmp_path / "tuned")
    name = next(name for name in tensors(tuned) if "q_proj" in name)
    rewrite(tuned, {name: torch.full_like(tensors(tuned)[name], torch.nan)})
    rows: list[dict[str, str]] = [{"prompt": letters(2, 9, seed), "answer": ("yes", "no")[seed % 2]} for seed in (0, 1)]
    with pytest.raises(ValuesError, match="NaN"):
        score(base, tuned, task=lines(tmp_path / "task.jsonl", rows))


def test_a_language_model_has_no_classes(tmp_path: Path) -> None:
    base = llama(tmp_path / "base")
    with pytest.raises(MismatchError, match="no trained classification head"):
        score(base, base, task=labelled(tmp_path / "rows.jsonl", ["k", "z"]))
