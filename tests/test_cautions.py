"""What weakens a record's numbers: few units, a ruined model, a constant reply, a run worse than its trial."""

from __future__ import annotations

import math

import numpy as np
import pytest

from arm_records import dial, forgetting, run, scores, task_score
from assay.records import Audit, Scores
from assay.records.cautions import ONE_REPLY, cautions, marked_in_short, marks, ruined, ruined_on_text
from assay.render.markdown import markdown
from assay.views.arms import arms
from audit_records import audit

FEW = "The intervals rest on 24 documents, fewer than 50: they are too narrow."


def test_a_model_is_ruined_by_its_text_or_by_one_reply() -> None:
    assert ruined_on_text(1.0, math.log(100), 100)
    assert not ruined_on_text(1.0, math.log(100) - 1e-9, 100)
    assert not ruined_on_text(math.log(100), 9.0, 100)  # the base was no better
    assert ruined_on_text(1.0, math.nan, None) == "its loss on text is not finite"
    known = forgetting(16.0).model_copy(update={"vocabulary": 49152})
    assert ruined(known, None) == "it predicts text no better than a uniform guess"
    assert ruined(known.model_copy(update={"vocabulary": None}), None) == ""
    assert ruined(known.model_copy(update={"base_loss": 20.0}), None) == ""  # its base was no better
    task = task_score(200)
    mixed = task.model_copy(update={"truth": (1, 0) * 150})
    alike = mixed.model_copy(update={"tuned_choices": (0,) * 300})
    assert ruined(None, alike) == "it gives one and the same reply to every example"
    # One right answer is no constant reply, and a base that gives one was not ruined by tuning.
    assert ruined(None, task.model_copy(update={"tuned_choices": (1,) * 300})) == ""
    assert ruined(None, alike.model_copy(update={"base_choices": (0,) * 300})) == ""


def test_every_view_says_what_weakens_a_record() -> None:
    lost = forgetting(16.0).model_copy(update={"vocabulary": 49152})
    record = scores("full", task_score(240), lost)
    said = ("The tuned model is ruined: it predicts text no better than a uniform guess.", FEW)
    assert set(cautions(record)) == set(said)
    shown = markdown([record, scores("lora", task_score(240), forgetting(0.1))])
    for words in said:
        assert shown.count(words) == 1
    assert cautions(scores("full", task_score(240), forgetting(0.1, documents=50))) == ()
    turned = dial("full")
    object.__setattr__(turned, "documents", 12)  # as a dial of today has it
    assert any("12 documents" in caution for caution in cautions(turned))


@pytest.mark.parametrize(
    ("right", "nats", "words"),
    [(240, 16.0, "ruined"), (160, 0.1, "not shown above a constant reply"), (240, 0.1, "")],
)
def test_the_caution_stands_beside_the_name_in_every_table(right: int, nats: float, words: str) -> None:
    lost = forgetting(nats).model_copy(update={"vocabulary": 49152})
    records = [scores("full", task_score(240), forgetting(0.1)), scores("lora", task_score(right), lost)]
    records = [one for record in records for one in (record, audited(one_of=record))]
    found = {arm.name: arm for arm in arms(records)}
    assert (found["full"].key.rest, found["lora"].key.rest) == ("", words)
    first = [row.split("|")[1].strip() for row in markdown(records).splitlines() if row.startswith("| ")]
    named = [cell for cell in first if cell.split(" ")[0].strip("[]") == "lora" or cell.startswith("[lora")]
    assert len(named) >= 3  # what was learned, what was lost, what changed inside
    assert all(cell.endswith(words) if words else cell.split(" ", 1)[-1] == cell for cell in named), named


def audited(one_of: Scores) -> Audit:
    """An audit of the model that was scored."""
    record = audit(2, k=4, base=one_of.base.name, tuned=one_of.tuned.name, roles=2)
    return record.model_copy(update={"base": one_of.base, "tuned": (one_of.tuned,)})


def test_a_run_is_marked_that_ended_worse_than_its_trial_or_not_above_a_constant_reply() -> None:
    ended = run("full").model_copy(update={"losses": (0.9,) * 30 + (1.7, 1.8) * 5})
    assert marks(ended, None, None) == ()
    assert marks(ended, None, 1.7) == ()
    assert marks(ended, None, 0.998) == ("it ended worse than its trial (training loss 1.750, and 0.998)",)
    scored = scores("full", task_score(160))
    assert marks(None, scored, None) == ("not shown above a constant reply (0.533 right, and 0.520)",)
    found = (*marks(ended, None, 0.998), *marks(None, scored, None))
    assert marked_in_short(found[:1]) == "ended worse than its trial"
    lost = ended.model_copy(update={"losses": (0.9,) * 30 + (math.nan,) * 10})
    assert marked_in_short(marks(lost, None, 0.998)) == "ended as no number"
    assert marked_in_short(found) == "not shown above a constant reply"
    assert marked_in_short([*found, f"{ONE_REPLY} (seed 1)"]) == "ruined"


@pytest.mark.parametrize("answers", [2, 4])
def test_flips_of_those_who_guess_are_what_is_said_of_guessing(answers: int) -> None:
    """Two models that know the same 40 % and guess the rest anew, 400 times."""
    generator, n = np.random.default_rng(0), 300
    right = 0.4 + 0.6 / answers
    task = task_score(round(right * n), base_right=round(right * n)).model_copy(
        update={"answers": tuple(map(str, range(answers)))}
    )
    knows = np.arange(n) < 0.4 * n
    ones, others = (knows | (generator.integers(0, answers, (400, n)) == 0) for _ in range(2))
    lost = (ones & ~others).sum(axis=1)
    assert task.guessed_flips == pytest.approx(lost.mean(), abs=4 * lost.std() / 20 + 0.5)
    assert task_score(200, base_right=None).guessed_flips is None
    assert task.model_copy(update={"how": "exact match"}).guessed_flips == 0
