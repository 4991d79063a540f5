"""Records find their arm by the digest of the tuned model's files, and by nothing that could be another model's."""

from __future__ import annotations

import random

import pytest

from arm_records import BASE, dial, model, run, scores, task_score
from assay.records import Audit, Dial, Run, Scores
from assay.views.arms import arms, conditions_that_differ
from audit_records import audit


def tuned(name: str, digest: str | None = None):
    record = audit(1, tuned=name)
    return record.model_copy(update={"base": BASE, "tuned": (model(name).model_copy(update={"digest": digest}),)})


@pytest.fixture(scope="module")
def records():
    return [
        record
        for name, method in (("a", "full"), ("b", "lora"))
        for record in (run(name, method), scores(name, task_score(200)), tuned(name, model(name).digest), dial(name))
    ]


@pytest.mark.parametrize("seed", range(5))
def test_one_digest_is_one_arm_in_any_order(records, seed):
    shuffled = random.Random(seed).sample(records, len(records))
    found = arms(shuffled)
    assert sorted(arm.name for arm in found) == ["a", "b"]
    assert [arm.number for arm in found] == [1, 2]
    for arm in found:
        assert [len(arm.of(kind)) for kind in (Run, Scores, Audit, Dial)] == [1, 1, 1, 1]
        assert {arm.of(Run)[0].weights_digest} == {arm.of(Scores)[0].tuned.digest, arm.of(Dial)[0].tuned.digest}


def test_a_record_given_twice_is_there_once(records):
    assert [len(arm.records) for arm in arms(records + records)] == [4, 4]


def test_a_name_alone_joins_one_arm_and_never_guesses_between_two():
    nameless = tuned("lora")
    assert len(arms([scores("lora", task_score(200)), nameless])) == 1
    other = scores("lora", task_score(180))
    other = other.model_copy(update={"tuned": other.tuned.model_copy(update={"digest": "xxh3-128:another"})})
    found = arms([scores("lora", task_score(200)), other, nameless])
    assert [arm.name for arm in found] == ["lora (1)", "lora (2)", "lora (3)"]
    assert found[2].records == [nameless]


def test_equal_names_with_other_bytes_are_two_arms():
    assert len(arms([tuned("lora", "x:1"), tuned("lora", "x:2")])) == 2


def test_equal_bytes_under_other_settings_are_two_arms():
    def under(settings):
        record = scores("lora")
        return record.model_copy(update={"tuned": record.tuned.model_copy(update={"settings": settings})})

    assert len(arms([under("alpha 8"), under(None), run("lora")])) == 1
    found = arms([under("alpha 8"), under("alpha 16"), under("alpha 8")])
    assert [arm.name for arm in found] == ["lora (1)", "lora (2)"]
    assert len(arms([under("alpha 8"), under("alpha 16"), run("lora")])) == 3  # whose run it was is not known


def test_a_run_alone_is_called_by_its_method():
    assert [arm.name for arm in arms([run("a", "lora")])] == ["lora"]


def test_differing_conditions_are_named():
    found = arms([run("a"), run("b", **{"training.steps": 80, "seed": 1})])
    assert {name: list(values.values()) for name, values in conditions_that_differ(found).items()} == {
        "training.steps": [40, 80],
        "seed": [0, 1],
    }
    assert conditions_that_differ(arms([run("a"), run("b", "lora")])) == {}
