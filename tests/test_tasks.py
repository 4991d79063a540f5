"""Kinds of task: multiple choice, generated answers, samples, and what is refused or said of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from assay.behaviour.diversity import read_prompts
from assay.behaviour.scoring import score
from assay.behaviour.tasks import TASKS, Asking, answer_likelihoods, choose, kind_of_task, read_task
from assay.behaviour.tasks.exact_match import found_answer
from assay.errors import InputError, SettingError, SourceError
from assay.models.generation import Drawing, texts
from assay.models.loading import find, load
from assay.records import Scores
from assay.records.scores import NO_ANSWER, UNLISTED
from assay.settings import Batches, Generation
from models_in_miniature import letters, lines, llama, tokenizer

TOKENIZER = tokenizer()


@pytest.fixture
def choices(tmp_path: Path) -> Path:
    rows: list[dict[str, Any]] = []
    for seed in range(16):
        given = [letters(1, 1, seed), f"{letters(2, 4, seed + 50)} yes"]
        rows.append({"question": letters(2, 9, seed), "choices": given, "answer": seed % 2 if seed < 8 else given[1]})
    return lines(tmp_path / "choices.jsonl", rows)


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    return lines(
        tmp_path / "questions.jsonl",
        [{"question": letters(1, 9, seed), "answer": letters(1, 1, seed % 3)} for seed in range(9)],
    )


def test_choices_are_the_likeliest_whole_and_by_the_character(tmp_path: Path, choices: Path) -> None:
    model = load(find(llama(tmp_path / "base")), "causal-lm")
    whole = read_task(choices, TOKENIZER)
    by_length = read_task(choices, TOKENIZER, how="multiple-choice-by-length")
    found = answer_likelihoods(model, whole, batch_tokens=40)
    rows = [json.loads(line) for line in choices.read_text().splitlines()]
    for row, values in zip(rows, found, strict=True):
        for text, value in zip(row["choices"], values, strict=True):
            prompt, reply = (TOKENIZER(part, add_special_tokens=False).input_ids for part in (row["question"], text))
            ids = torch.tensor([prompt + reply])
            targets = ids.clone()
            targets[0, : len(prompt)] = -100
            with torch.no_grad():
                own = -float(model(input_ids=ids, labels=targets).loss) * len(reply)
            assert value == pytest.approx(own, abs=1e-4)
    assert choose(model, whole) == tuple(int(np.argmax(values)) for values in found)
    by_hand = [
        int(np.argmax([value / len(text) for text, value in zip(row["choices"], values, strict=True)]))
        for row, values in zip(rows, found, strict=True)
    ]
    assert choose(model, by_length) == tuple(by_hand) != choose(model, whole)
    assert whole.truth == tuple(seed % 2 if seed < 8 else 1 for seed in range(16))
    scored = score(tmp_path / "base", tmp_path / "base", task=choices).task
    assert scored is not None
    assert (scored.how, scored.answers, scored.examples) == ("multiple choice", (), 16)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "a", "answer": 0}, "'choices' holds None. Wanted: a list"),
        ({"prompt": "a", "choices": "bc", "answer": 0}, "'choices' holds 'bc'. Wanted: a list"),
        ({"prompt": "a", "choices": ["b"], "answer": 0}, "'choices' holds 1 text.* Wanted: two"),
        ({"prompt": "a", "choices": [1, 2], "answer": 0}, "'choices' holds 1. Wanted: texts"),
        ({"prompt": "a", "choices": ["b", 1, None], "answer": 0}, "'choices' holds 1. Wanted: texts"),
        ({"prompt": "a", "choices": ["b", ""], "answer": 0}, "'choices' holds ''. Wanted: texts"),
        ({"prompt": "a", "choices": ["b", "c"], "answer": 2}, "'answer' holds 2"),
        ({"prompt": "a", "choices": ["b", "c"], "answer": "d"}, "'answer' holds 'd'"),
    ],
)
def test_choices_that_cannot_be_chosen_are_refused(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=f"odd.jsonl, line 1: {said}"):
        read_task(lines(tmp_path / "odd.jsonl", [row, row]), TOKENIZER, how="multiple-choice")


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"prompt": "a", "choices": ["b", "  "], "answer": 0}, "one of the choices"),
        ({"prompt": "  ", "choices": ["b", "c"], "answer": 0}, "the prompt"),
        ({"prompt": "a", "answer": "  "}, "the answer"),
        ({"prompt": "  ", "answer": "no"}, "the prompt"),
        ({"question": "  ", "answer": "no"}, "the prompt"),
        ({"text": "  ", "label": "1"}, "the text"),
    ],
)
def test_what_has_no_token_is_refused_where_it_stands(tmp_path: Path, row: dict[str, Any], what: str) -> None:
    first = {"question": "a", "prompt": "b", "choices": ["c", "d"], "answer": "c", "text": "e", "label": "0"}
    path = lines(tmp_path / "blank.jsonl", [{name: first[name] for name in row}, row])
    with pytest.raises(InputError, match=f"blank.jsonl, line 2: {what} has no token"):
        read_task(path, TOKENIZER)


def greedy(model: Any, prompt: list[int], count: int) -> list[int]:
    """One token after the other, each the likeliest."""
    ids = list(prompt)
    for _ in range(count):
        with torch.no_grad():
            token = int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
        if token == TOKENIZER.eos_token_id:
            break
        ids.append(token)
    return ids[len(prompt) :]


def test_greedy_replies_are_those_of_one_token_after_the_other(tmp_path: Path) -> None:
    model = load(find(llama(tmp_path / "base")), "causal-lm")
    prompts = [tuple(TOKENIZER(letters(1, 9, seed)).input_ids) for seed in range(8)]
    found = texts(model, prompts, Drawing(7, (TOKENIZER.eos_token_id,)))
    assert [list(ids) for ids in found] == [greedy(model, list(prompt), 7) for prompt in prompts]
    assert any(len(ids) < 7 for ids in found) or len(set(found)) > 1


def test_a_reply_ends_where_the_model_says_too(tmp_path: Path) -> None:
    """At the tokens at which a policy's replies ended in training, which the model names beside the tokenizer's."""
    model = load(find(llama(tmp_path / "base")), "causal-lm")
    prompts = [tuple(TOKENIZER(letters(1, 9, seed)).input_ids) for seed in range(8)]
    whole = texts(model, prompts, Drawing(7, (TOKENIZER.eos_token_id,)))
    end = max(whole, key=len)[2]
    model.generation_config.eos_token_id = [end]
    found = texts(model, prompts, Drawing(7, (TOKENIZER.eos_token_id,)))
    assert found == [ids[: ids.index(end)] if end in ids else ids for ids in whole]
    assert found != whole
    assert model.generation_config.eos_token_id == [end]


def test_samples_follow_the_models_distribution_and_their_seed(tmp_path: Path) -> None:
    model = load(find(llama(tmp_path / "base")), "causal-lm")
    prompt = tuple(TOKENIZER("a b c").input_ids)
    before = torch.random.get_rng_state()
    one, two, other = (texts(model, [prompt] * 400, Drawing(1, (), temperature=2.0, seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert one == two != other
    with torch.no_grad():
        share = torch.softmax(model(input_ids=torch.tensor([prompt])).logits[0, -1] / 2.0, dim=-1)
    likeliest = int(share.argmax())
    drawn = sum(ids[:1] == (likeliest,) for ids in one + other) / 800  # an end is drawn too, and left out
    assert drawn == pytest.approx(float(share[likeliest]), abs=5 * (0.25 / 800) ** 0.5)


def test_replies_are_right_if_they_are_exactly_the_answer(tmp_path: Path, questions: Path) -> None:
    base = llama(tmp_path / "base")
    model = load(find(base), "causal-lm")
    task = kind_of_task(questions).read(questions, Asking(TOKENIZER, max_tokens=1))
    said = [TOKENIZER.decode(greedy(model, list(prompt), 1), skip_special_tokens=True) for prompt in task.prompts]
    positions = {answer: position for position, answer in enumerate(task.answers)}
    expected = [positions.get(text, UNLISTED) if text else NO_ANSWER for text in said]
    assert choose(model, task) == tuple(expected)
    scored = score(base, base, task=questions, generation=Generation(max_tokens=1)).task
    assert scored is not None
    assert scored.base_choices == tuple(expected)
    assert (scored.how, scored.max_tokens) == ("exact match", 1)
    assert scored.base_unanswered == expected.count(NO_ANSWER)
    with pytest.raises(SettingError, match="room for a prompt"):
        score(base, base, task=questions, generation=Generation(max_tokens=64))


def test_numbers_after_the_mark_of_gsm8k() -> None:
    for text, answer in {
        "So 5.\n#### 18": "18",
        "#### $1,080.": "1080",
        "####-3": "-3",
        "#### 2.5 litres\n#### 7": "2.5",
        "The answer is 18": None,
        "#### many": None,
        "####": None,
    }.items():
        assert found_answer(text, marked=True) == answer


@given(st.integers(-10_000_000, 10_000_000))
def test_a_number_is_found_however_it_is_written(number: int) -> None:
    assert (
        found_answer(f"#### {number:,}", marked=True) == found_answer(f"x\n####{number}.", marked=True) == str(number)
    )


def test_marked_answers_make_all_replies_be_read_by_the_mark(tmp_path: Path) -> None:
    path = lines(tmp_path / "gsm.jsonl", [{"question": "a", "answer": f"b\n#### {n}"} for n in (3, 4, 3)])
    base = llama(tmp_path / "base")
    scores = score(base, base, task=path, generation=Generation(max_tokens=3))
    assert scores.task is not None
    assert scores.task.answers == ("3", "4")
    assert scores.task.base_unanswered == 3
    assert any("3 of the base's 3 replies hold no answer" in note for note in scores.notes)


def test_prompts_are_put_into_the_chat_template_or_refused(tmp_path: Path, questions: Path) -> None:
    base = llama(tmp_path / "base")
    with pytest.raises(SettingError, match="no chat template"):
        score(base, base, task=questions, generation=Generation(max_tokens=2, chat=True))
    chatty = tokenizer()
    chatty.chat_template = (
        "{% for m in messages %}yes {{ m.content }} {% endfor %}{% if add_generation_prompt %}no{% endif %}"
    )
    asked = kind_of_task(questions).read(questions, Asking(chatty, max_tokens=2, chat=True))
    first = json.loads(questions.read_text().splitlines()[0])["question"]
    assert chatty.decode(asked.prompts[0]) == f"yes {first} no"
    chatty.save_pretrained(base)
    scored = score(base, base, task=questions, generation=Generation(max_tokens=2, chat=True)).task
    assert scored is not None
    assert scored.chat


def test_different_replies_are_counted_and_split_by_what_is_right(tmp_path: Path, questions: Path) -> None:
    base, tuned = llama(tmp_path / "base"), llama(tmp_path / "tuned", seed=1)
    scores = score(base, tuned, prompts=questions, generation=Generation(6, 1.5, 1), batches=Batches(tokens=16))
    found = scores.diversity
    assert found is not None
    prompts = read_prompts(questions, Asking(TOKENIZER, max_tokens=1), 6, 1.5)
    asked = prompts.asked(16, seed=0)
    for folder, side in ((base, "base"), (tuned, "tuned")):
        given = asked.answers(load(find(folder), "causal-lm"))
        for number, each in enumerate(found.each):
            one = getattr(each, side)
            said = [TOKENIZER.decode(ids, skip_special_tokens=True) for ids in given[6 * number : 6 * number + 6]]
            passed = [text for text in said if text == prompts.right[number]]
            assert (one.unique, one.passed) == (len(set(said)), len(passed))
            assert one.unique == one.unique_passed + one.unique_failed
    assert found.difference == pytest.approx(found.tuned_unique - found.base_unique)
    assert found.interval[0] <= found.difference <= found.interval[1]
    assert found.base_passed == sum(each.base.passed or 0 for each in found.each) / 54
    scores.save(tmp_path / "scores.json")
    assert Scores.read(tmp_path / "scores.json") == scores
    again = score(base, tuned, prompts=questions, generation=Generation(6, 1.5, 1), batches=Batches(tokens=16))
    assert again.diversity == found


def test_prompts_without_answers_are_counted_alone(tmp_path: Path) -> None:
    base = llama(tmp_path / "base")
    path = lines(tmp_path / "prompts.jsonl", [{"prompt": "a b"}, {"prompt": "c"}])
    found = score(base, base, prompts=path, generation=Generation(3, max_tokens=2)).diversity
    assert found is not None
    assert (found.base_passed, found.each[0].base.unique_passed) == (None, None)
    assert (found.difference, found.interval) == (0.0, (0.0, 0.0))
    with pytest.raises(SettingError, match="two or more"):
        score(base, base, prompts=path, generation=Generation(1))
    with pytest.raises(SettingError, match="above 0"):
        score(base, base, prompts=path, generation=Generation(temperature=0))
    with pytest.raises(InputError, match="one prompt"):
        score(base, base, prompts=lines(tmp_path / "one.jsonl", [{"prompt": "a"}]))


def test_a_data_set_is_read_as_the_hub_names_it(
    tmp_path: Path, questions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here from a folder of that name: the library reads both the same way."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets.disable_progress_bars()
    (tmp_path / "org/name").mkdir(parents=True)
    (tmp_path / "org/name/test.jsonl").write_bytes(questions.read_bytes())
    base = llama(tmp_path / "base")
    from_hub = score(base, base, task="org/name:test", generation=Generation(max_tokens=1)).task
    from_file = score(base, base, task=questions, generation=Generation(max_tokens=1)).task
    assert from_hub is not None
    assert from_file is not None
    assert from_hub.task.name == "org/name:test"
    assert from_hub.base_choices == from_file.base_choices
    for missing in ("org/other:test", "org/name:nothing", "org/name"):
        with pytest.raises(SourceError):
            score(base, base, task=missing)


def test_a_base_that_cannot_do_it_is_said(tmp_path: Path) -> None:
    base = llama(tmp_path / "base")
    task = lines(tmp_path / "t.jsonl", [{"prompt": letters(2, 9, s), "answer": ("yes", "no")[s % 2]} for s in range(8)])
    text = lines(tmp_path / "p.jsonl", [{"text": letters(5, 9, seed)} for seed in range(4)])
    notes = score(base, base, task=task, text=text).notes
    assert any("constant reply" in note for note in notes)
    assert any("uniform guess" in note for note in notes)  # random words are all that a random model is as bad at


def test_there_is_one_list_of_kinds(choices: Path, questions: Path) -> None:
    assert kind_of_task(choices) is TASKS["multiple-choice"]
    assert kind_of_task(questions) is TASKS["exact-match"]
    assert all(name == kind.how.replace(" ", "-") for name, kind in TASKS.items())
    with pytest.raises(SettingError, match=r"no kind of task 'guess'.*exact-match"):
        kind_of_task(questions, "guess")
