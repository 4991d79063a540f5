from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from assay.data.examples import IGNORED, Example, collate, order
from assay.data.kinds import Classification, PromptAnswer, Text
from assay.data.tables import rows
from assay.errors import InputError, SourceError
from assay.training.resuming import batch_hash
from models_in_miniature import lines, tokenizer

TOKENIZER = tokenizer()


def ids(text: str) -> tuple[int, ...]:
    return tuple(TOKENIZER(text).input_ids)


def test_the_loss_is_on_the_answer_and_its_end(tmp_path: Path) -> None:
    path = lines(tmp_path / "rows.jsonl", [{"prompt": "a b c", "answer": "yes"}])
    example = PromptAnswer(kind="prompt-answer", path="", max_length=8).load(path, TOKENIZER).examples[0]
    assert example.input_ids == ids("a b c yes <end>")
    assert example.labels == (IGNORED, IGNORED, IGNORED, *ids("yes <end>"))


def test_too_long_a_prompt_loses_its_beginning_and_is_counted(tmp_path: Path) -> None:
    path = lines(tmp_path / "rows.jsonl", [{"prompt": "a b c d", "answer": "yes"}, {"prompt": "a", "answer": "no"}])
    loaded = PromptAnswer(kind="prompt-answer", path="", max_length=4).load(path, TOKENIZER)
    assert loaded.examples[0].input_ids == ids("c d yes <end>")
    assert (loaded.truncated, loaded.dropped_tokens) == (1, 2)


@pytest.mark.parametrize("row", [{"prompt": " ", "answer": " "}, {"prompt": " ", "answer": "yes"}])
def test_a_row_without_a_token_to_learn_is_refused_with_its_line(tmp_path: Path, row: dict[str, str]) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a", "answer": "yes"}\n\n' + json.dumps(row), encoding="utf8")
    without_end = tokenizer()
    without_end.eos_token = None
    with pytest.raises(InputError, match=r"rows.jsonl, line 3: has no token to learn"):
        PromptAnswer(kind="prompt-answer", path="", max_length=2).load(path, without_end)


def test_text_is_packed_with_ends_between_documents(tmp_path: Path) -> None:
    path = lines(tmp_path / "rows.jsonl", [{"text": "a b c"}, {"text": "d e"}, {"text": "f g"}])
    loaded = Text(kind="text", path="", max_length=4).load(path, TOKENIZER)
    assert [example.input_ids for example in loaded.examples] == [ids("a b c <end>"), ids("d e <end> f")]
    assert loaded.dropped_tokens == 2
    assert all(example.labels == example.input_ids for example in loaded.examples)


def test_less_text_than_a_block_is_refused(tmp_path: Path) -> None:
    path = lines(tmp_path / "rows.jsonl", [{"text": "a b"}])
    with pytest.raises(InputError, match="less than one block"):
        Text(kind="text", path="", max_length=8).load(path, TOKENIZER)


def test_classes_are_the_labels_sorted(tmp_path: Path) -> None:
    path = lines(tmp_path / "rows.jsonl", [{"text": "a b c", "label": "z"}, {"text": "d", "label": "k"}])
    loaded = Classification(kind="classification", path="", max_length=2).load(path, TOKENIZER)
    assert loaded.labels == ("k", "z")
    assert [example.labels for example in loaded.examples] == [1, 0]
    assert (loaded.truncated, loaded.dropped_tokens) == (1, 1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no rows"),
        ("[1]\n", "is a JSON list"),
        ("{\n", "is not JSON"),
        ('{"prompt": "a"}\n', "no column 'answer'"),
        ('{"prompt": "a", "answer": ""}\n', "holds ''"),
        ('{"prompt": "a", "answer": null}\n', "holds None"),
        ('{"prompt": "a", "answer": "b \\ud800"}\n', r"line 1: column 'answer' holds '\\ud800', half of a character"),
        ('{"prompt": "a", "answer": ' + 5000 * "7" + "}\n", "line 1: holds a number of thousands of digits"),
        ('{"prompt": ' + 100_000 * "[" + "\n", "line 1: .* lists inside of lists"),
    ],
)
def test_rows_that_cannot_be_used_are_said_with_their_line(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(content, encoding="utf8")
    with pytest.raises(InputError, match=said):
        PromptAnswer(kind="prompt-answer", path="", max_length=8).load(path, TOKENIZER)


def test_a_text_may_hold_any_separator_of_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a\u2028b\u0085c"}\r\n{"text": "d"}\n', encoding="utf8")
    assert [row["text"] for row in rows(path, "text")] == ["a\u2028b\u0085c", "d"]


def test_a_missing_file_and_a_single_class_are_said(tmp_path: Path) -> None:
    data = Classification(kind="classification", path="", max_length=8)
    with pytest.raises(SourceError):
        data.load(tmp_path / "absent.jsonl", TOKENIZER)
    with pytest.raises(InputError, match="two classes"):
        data.load(lines(tmp_path / "rows.jsonl", [{"text": "a", "label": "k"}] * 2), TOKENIZER)


def test_a_text_without_a_token_is_refused_with_its_line(tmp_path: Path) -> None:
    path = lines(tmp_path / "rows.jsonl", [{"text": "a", "label": "k"}, {"text": "  ", "label": "z"}])
    with pytest.raises(InputError, match=r"rows\.jsonl, line 2: has a text without a token"):
        Classification(kind="classification", path="", max_length=8).load(path, TOKENIZER)


@given(st.integers(1, 30), st.integers(1, 100), st.integers(0, 5))
def test_every_pass_sees_every_example_once(count: int, wanted: int, seed: int) -> None:
    positions = order(count, wanted, seed)
    assert len(positions) == wanted
    for start in range(0, wanted - count + 1, count):
        assert sorted(positions[start : start + count]) == list(range(count))
    assert positions == order(count, wanted, seed)


def test_the_seed_changes_the_order() -> None:
    assert order(50, 50, 0) != order(50, 50, 1)


def test_padding_is_told_by_the_mask_not_by_the_token() -> None:
    batch = collate([Example((5, 0), (5, 0)), Example((6, 7, 0), (IGNORED, 7, 0))], pad_id=0)
    assert batch["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    # The end of text, which is also the padding token, stays a target; padding is none.
    assert batch["labels"].tolist() == [[5, 0, IGNORED], [IGNORED, 7, 0]]


def test_a_batch_hash_sees_every_part() -> None:
    batch = collate([Example((5, 6), (5, 6))], pad_id=0)
    for name in batch:
        other = {**batch, name: batch[name] + 1}
        assert batch_hash(other) != batch_hash(batch)
    assert batch_hash({**batch, "labels": batch["labels"].to(torch.int32)}) != batch_hash(batch)
