"""Data as people have them: TRL's columns, CSV and Parquet, chats by a model's own template."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from assay.behaviour.preferences import read_preferences
from assay.behaviour.tasks.task import Asking
from assay.data.columns import called, kind_by_columns, resolved, unread
from assay.data.examples import IGNORED, Loaded
from assay.data.kinds import Chat, Pairs, PromptAnswer, Thumbs
from assay.data.tables import raw_rows, rows
from assay.errors import InputError, SettingError, SourceError
from assay.training.spec import read_spec
from models_in_miniature import lines, tokenizer

TURNS = "{% for m in messages %}{{ m['role'][0] }} {{ m['content'] }} <end> {% endfor %}"
ASKING = TURNS + "{% if add_generation_prompt %}a {% endif %}"
MARKED = (
    "{% for m in messages %}{{ m['role'][0] }} {% if m['role'] == 'assistant' %}{% generation %}"
    "{{ m['content'] }} <end>{% endgeneration %} {% else %}{{ m['content'] }} <end> {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}a {% endif %}"
)
# What Qwen3's does: what the assistant said before the last question is written differently.
SHORTENED = (
    "{% for m in messages %}{{ m['role'][0] }} {% if not loop.last and m['role'] == 'assistant' %}z {% endif %}"
    "{{ m['content'] }} <end> {% endfor %}{% if add_generation_prompt %}a {% endif %}"
)
CHAT = [
    {"role": "user", "content": "b c"},
    {"role": "assistant", "content": "yes d"},
    {"role": "user", "content": "e"},
    {"role": "assistant", "content": "no"},
]


def speaking(template: str | None = ASKING) -> Any:
    made = tokenizer()
    made.chat_template = template
    return made


def said(loaded: Loaded, made: Any) -> list[tuple[str, str]]:
    """The texts, and what is learned of them."""
    return [
        (made.decode(one.input_ids), made.decode([label for label in one.labels if label != IGNORED]))
        for one in loaded.examples
    ]


@pytest.mark.parametrize("template", [ASKING, MARKED])
def test_the_loss_of_a_chat_is_on_the_assistants_turns_and_their_ends(tmp_path: Path, template: str) -> None:
    path, made = lines(tmp_path / "chats.jsonl", [{"messages": CHAT}]), speaking(template)
    loaded = Chat(kind="chat", path="", max_length=32).load(path, made)
    assert said(loaded, made) == [("u b c <end> a yes d <end> u e <end> a no <end>", "yes d <end> no <end>")]


def test_too_long_a_chat_loses_its_beginning(tmp_path: Path) -> None:
    path, made = lines(tmp_path / "chats.jsonl", [{"messages": CHAT}]), speaking()
    loaded = Chat(kind="chat", path="", max_length=6).load(path, made)
    assert said(loaded, made) == [("u e <end> a no <end>", "no <end>")]
    assert (loaded.truncated, loaded.dropped_tokens) == (1, 8)


def test_a_template_that_does_not_write_turn_after_turn_is_refused(tmp_path: Path) -> None:
    path = lines(tmp_path / "chats.jsonl", [{"messages": CHAT}])
    with pytest.raises(InputError, match=r"chats.jsonl, line 1: .* turn after turn"):
        Chat(kind="chat", path="", max_length=32).load(path, speaking(SHORTENED))


def test_chats_need_a_template_and_messages_their_parts(tmp_path: Path) -> None:
    data = Chat(kind="chat", path="", max_length=32)
    with pytest.raises(SettingError, match="no chat template"):
        data.load(lines(tmp_path / "chats.jsonl", [{"messages": CHAT}]), speaking(None))
    for cell in ("a", [], [{"role": "user"}], [{"role": "user", "content": None}], 3):
        with pytest.raises(InputError, match=r"line 1: column 'messages' holds no messages"):
            data.load(lines(tmp_path / "odd.jsonl", [{"messages": cell}]), speaking())
    with pytest.raises(InputError, match="has no token to learn"):
        data.load(lines(tmp_path / "asked.jsonl", [{"messages": CHAT[:1]}]), speaking())


def test_of_several_templates_the_default_is_the_models(tmp_path: Path) -> None:
    data, path = Chat(kind="chat", path="", max_length=32), lines(tmp_path / "chats.jsonl", [{"messages": CHAT}])
    several = speaking()
    several.chat_template = {"default": ASKING, "tools": "{{ messages }}"}
    assert data.load(path, several).examples == data.load(path, speaking()).examples
    several.chat_template = {"tools": ASKING}
    with pytest.raises(SettingError, match="no chat template"):
        data.load(path, several)


def test_a_conversational_prompt_is_not_learned(tmp_path: Path) -> None:
    path = lines(tmp_path / "rows.jsonl", [{"prompt": CHAT[:3], "completion": CHAT[3:]}])
    data = resolved(PromptAnswer(kind="prompt-answer", path="", max_length=32), path)
    for template in (ASKING, MARKED):
        made = speaking(template)
        assert said(data.load(path, made), made)[0][1] == "no <end>"


def test_trls_completion_is_the_answer(tmp_path: Path) -> None:
    path, made = lines(tmp_path / "rows.jsonl", [{"prompt": "b c", "completion": "yes"}]), speaking(None)
    data = resolved(PromptAnswer(kind="prompt-answer", path="", max_length=8), path)
    assert said(data.load(path, made), made) == [("b c yes <end>", "yes <end>")]
    assert rows(called(path, {}), "prompt", "answer") == [{"prompt": "b c", "answer": "yes"}]


def test_a_prompt_beside_two_replies_is_put_before_both_in_training_and_in_scores(tmp_path: Path) -> None:
    made = speaking(None)
    asked = [{"prompt": "a b ", "chosen": "c", "rejected": "d"}, {"prompt": "e ", "chosen": "f g", "rejected": "h"}]
    path = lines(tmp_path / "pairs.jsonl", asked)
    whole = lines(
        tmp_path / "whole.jsonl",
        [{side: row["prompt"] + row[side] for side in ("chosen", "rejected")} for row in asked],
    )
    data = Pairs(kind="pairs", path="", max_length=16)
    assert resolved(data, path).load(path, made).examples == data.load(whole, made).examples
    scored = read_preferences(path, Asking(made, window=16))
    assert scored is not None
    assert scored == read_preferences(whole, Asking(made, window=16))
    assert resolved(data.model_copy(update={"prompt": ""}), path).load(path, made).examples[0].tokens == 2


def test_conversational_preferences_are_whole_chats(tmp_path: Path) -> None:
    made = speaking()
    explicit = {"prompt": CHAT[:1], "chosen": CHAT[1:2], "rejected": CHAT[3:]}
    implicit = {"chosen": CHAT[:2], "rejected": [CHAT[0], CHAT[3]]}
    found = []
    for row in (explicit, implicit):
        path = lines(tmp_path / "pairs.jsonl", [row])
        data = resolved(Pairs(kind="pairs", path="", max_length=32), path)
        found.append(
            [made.decode(side) for pair in data.load(path, made).examples for side in (pair.chosen, pair.rejected)]
        )
    assert found[0] == found[1] == ["u b c <end> a yes d <end>", "u b c <end> a no <end>"]


def test_prompts_that_the_texts_have_already_are_refused(tmp_path: Path) -> None:
    path = lines(tmp_path / "pairs.jsonl", [{"prompt": "a", "chosen": "a b", "rejected": "a c"}])
    with pytest.raises(InputError, match=r"begins with its 'prompt' already.*data.prompt"):
        resolved(Pairs(kind="pairs", path="", max_length=8), path).load(path, speaking(None))


def test_thumbs_of_trl_have_prompt_and_completion(tmp_path: Path) -> None:
    rated = [{"prompt": "a ", "completion": "b", "label": True}, {"prompt": "a ", "completion": "c", "label": False}]
    path, made = lines(tmp_path / "rated.jsonl", rated), speaking(None)
    assert kind_by_columns(path, {}) == "thumbs"
    loaded = resolved(Thumbs(kind="thumbs", path="", max_length=8), path).load(path, made)
    assert [(made.decode(one.input_ids), one.labels) for one in loaded.examples] == [("a b", 1), ("a c", 0)]


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"messages": CHAT}, "chat"),
        ({"prompt": "a", "completion": "b"}, "prompt-answer"),
        ({"question": "a", "answer": "b"}, "prompt-answer"),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "pairs"),
        ({"text": "a", "label": "k"}, "classification"),
        ({"text": "a"}, "text"),
        ({"prompt": "a"}, "prompts"),
    ],
)
def test_the_columns_tell_the_kind(tmp_path: Path, row: dict[str, Any], kind: str) -> None:
    path = lines(tmp_path / "rows.jsonl", [row])
    assert kind_by_columns(path, {}) == kind
    spec = tmp_path / "spec.toml"
    spec.write_text(
        'base = "b"\n[data]\npath = "rows.jsonl"\nmax_length = 8\n[training]\nsteps = 1\nbatch_size = 1\n'
        + ('[policy]\nreward = "r"\n' if kind == "prompts" else "")
        + '[method]\nname = "lora"\nlr = 1e-3\n',
        encoding="utf8",
    )
    assert read_spec(spec).data.kind == kind


def test_columns_of_no_kind_are_named_once(tmp_path: Path) -> None:
    path = lines(tmp_path / "rows.jsonl", [{"instruction": "a", "output": "b"}])
    with pytest.raises(InputError, match=r"no kind of data has the columns instruction, output.*data.prompt"):
        kind_by_columns(path, {})
    assert kind_by_columns(path, {"prompt": "instruction", "answer": "output"}) == "prompt-answer"


def test_columns_that_look_meant_are_named(tmp_path: Path) -> None:
    path = lines(tmp_path / "rows.jsonl", [{"prompt": "a", "answer": "b", "system": "c", "id": "7"}])
    assert unread(PromptAnswer(kind="prompt-answer", path="", max_length=8), path) == ("system",)


def test_a_csv_a_parquet_file_and_json_lines_give_the_same_rows(tmp_path: Path) -> None:
    wanted = [{"prompt": 'a, "b"\nc', "answer": "yes"}, {"prompt": "d\u2028e", "answer": "no"}]
    with (tmp_path / "rows.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, ["prompt", "answer"])
        writer.writeheader()
        writer.writerows(wanted)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(wanted), tmp_path / "rows.parquet")
    lines(tmp_path / "rows.jsonl", wanted)
    for name in ("rows.csv", "rows.parquet", "rows.jsonl"):
        assert rows(tmp_path / name, "prompt", "answer") == wanted


def test_messages_in_a_csv_are_json(tmp_path: Path) -> None:
    with (tmp_path / "chats.csv").open("w", encoding="utf8", newline="") as file:
        csv.writer(file).writerows([["messages"], [json.dumps(CHAT)]])
    made = speaking()
    assert said(Chat(kind="chat", path="", max_length=32).load(tmp_path / "chats.csv", made), made)[0][1] == (
        "yes d <end> no <end>"
    )


def test_a_conversational_prompt_in_a_csv_is_a_chat(tmp_path: Path) -> None:
    row = {"prompt": CHAT[:1], "completion": CHAT[1:2]}
    with (tmp_path / "rows.csv").open("w", encoding="utf8", newline="") as file:
        csv.writer(file).writerows([list(row), [json.dumps(cell) for cell in row.values()]])
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n", encoding="utf8")
    assert raw_rows(tmp_path / "rows.csv")[0][1] == raw_rows(tmp_path / "rows.jsonl")[0][1] == row


def test_json_lines_may_begin_with_a_mark(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n', encoding="utf-8-sig")
    assert raw_rows(tmp_path / "rows.jsonl") == [("rows.jsonl, line 1", {"text": "a"})]


def test_a_chat_that_begins_with_the_assistant_is_refused_for_that(tmp_path: Path) -> None:
    lines(tmp_path / "chats.jsonl", [{"messages": CHAT[1:]}])
    with pytest.raises(InputError, match="begins with the assistant"):
        Chat(kind="chat", path="", max_length=32).load(tmp_path / "chats.jsonl", speaking())


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("prompt,answer\na,b,c\n", r"rows.csv, line 2: has 3 cells. Wanted: 2"),
        ("prompt,prompt\na,b\n", r"rows.csv: the first line has prompt"),
        ("prompt,\na,b\n", "an empty name"),
        ("prompt,answer\n", "no rows"),
        ("", "no rows"),
        ('prompt,answer\n"a,b\n', "cannot be read"),
        ("prompt,answer\na,\n", r"line 2: column 'answer' holds ''"),
    ],
)
def test_a_csv_that_cannot_be_used_is_one_error(tmp_path: Path, content: str, fault: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(content, encoding="utf8")
    with pytest.raises((InputError, SourceError), match=fault):
        rows(path, "prompt", "answer")


def test_a_file_that_is_no_parquet_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_text("a", encoding="utf8")
    with pytest.raises(SourceError, match="cannot be read"):
        rows(path, "text")


def test_columns_have_the_names_that_are_given(tmp_path: Path) -> None:
    path = lines(tmp_path / "rows.jsonl", [{"source": "a b", "target": "c"}])
    table = called(path, {"prompt": "source", "answer": "target"})
    assert rows(table, "prompt", "answer") == [{"prompt": "a b", "answer": "c"}]
    with pytest.raises(SettingError, match="did you mean 'answer'"):
        called(path, {"answr": "target"})
