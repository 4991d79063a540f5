"""Cautions on a record's numbers: few units, a constant reply, a ruined model; derived once, for every view."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator

from assay.records.record import Record
from assay.records.run import Run
from assay.records.scores import Forgetting, Scores, TaskScore

# Units below which intervals are said to be too narrow. Of 300 synthetic texts, normal or skewed, the 95 % bootstrap
# interval held the mean in 89 to 91 % at 20 documents, in 85 to 88 % at 10, 79 to 83 % at 5 and 47 to 49 % at 2.
FEW = 50
WORSE = 0.1  # nats above the loss of its trial by which a longer run, or one of another seed, is worse: seeds differ so
_LAST = 10  # steps over which a run's training loss is averaged
NO_BETTER_THAN_UNIFORM = "it predicts text no better than a uniform guess"
NO_FINITE_LOSS = "its loss on text is not finite"
ONE_REPLY = "it gives one and the same reply to every example"
_LEVEL = "not shown above a constant reply"
_WORSE_THAN_TRIAL = "ended worse than its trial"
_NO_NUMBER = "ended as no number"


def few_units(count: int, units: str) -> str:
    """The caution on an interval over few units; empty where they are enough.

    Example:
        >>> few_units(50, "documents"), few_units(24, "documents")
        ('', 'The intervals rest on 24 documents, fewer than 50: they are too narrow.')
    """
    return "" if count >= FEW else f"The intervals rest on {count} {units}, fewer than {FEW}: they are too narrow."


def ruined_on_text(base_loss: float, loss: float, vocabulary: int | None) -> str:
    """Reason why a tuned model is ruined by its loss on text; empty where it is not, or cannot be judged.

    Args:
        base_loss, loss: of the base and of the tuned model, nats a token; a base that guesses has nothing to ruin.
        vocabulary: tokens that they tell apart: `ln vocabulary` is the loss of a uniform guess over them.

    Example:
        >>> ruined_on_text(3.1, 19.3, 49152), ruined_on_text(3.1, 3.4, 49152), ruined_on_text(11.2, 19.3, 49152)
        ('it predicts text no better than a uniform guess', '', '')
    """
    return "" if _guesses(base_loss, vocabulary) else _guesses(loss, vocabulary)


def _guesses(loss: float, vocabulary: int | None) -> str:
    """Words for a model that is no better than a uniform guess; empty where it is better, or that is not known."""
    if not math.isfinite(loss):
        return NO_FINITE_LOSS
    return NO_BETTER_THAN_UNIFORM if vocabulary is not None and loss >= math.log(vocabulary) else ""


def replies_alike(task: TaskScore) -> bool:
    """True if the tuned model gives one reply to every example where several are right, and its base did not."""
    base = set(task.base_choices or ())
    return len(set(task.tuned_choices)) == 1 < len(set(task.truth)) and len(base) != 1


def ruined(forgetting: Forgetting | None, task: TaskScore | None) -> str:
    """Reason why a tuned model is ruined: worse at text than a uniform guess, or one reply to everything; else empty.

    What is found of such a model says what it is like past use, not what tuning costs.
    """
    found = ""
    if forgetting is not None:
        found = ruined_on_text(forgetting.base_loss, forgetting.tuned_loss, forgetting.vocabulary)
    return found or (ONE_REPLY if task is not None and replies_alike(task) else "")


def not_above_constant(task: TaskScore) -> str:
    """Words for a tuned model that is not shown above a constant reply; empty where it is."""
    if task.tuned_interval[0] > task.majority:
        return ""
    return f"{_LEVEL} ({task.tuned_accuracy:.3f} right, and {task.majority:.3f})"


def in_short(scored: Iterable[Scores]) -> str:
    """The caution beside a model's name in every table: ruined, or not above a constant reply; empty for neither."""
    known = list(scored)
    if any(ruined(scores.forgetting, scores.task) for scores in known):
        return "ruined"
    level = any(scores.task is not None and not_above_constant(scores.task) for scores in known)
    return _LEVEL if level else ""


def marked_in_short(marks: Iterable[str]) -> str:
    """The caution beside an arm's name: the gravest of its marks, of whichever of its seeds; empty without any.

    Example:
        >>> marked_in_short(["it gives one and the same reply to every example (seed 1)"]), marked_in_short([])
        ('ruined', '')
    """
    said = " ".join(marks)
    if any(reason in said for reason in (NO_BETTER_THAN_UNIFORM, NO_FINITE_LOSS, ONE_REPLY)):
        return "ruined"
    return next((short for short in (_NO_NUMBER, _LEVEL, _WORSE_THAN_TRIAL) if short in said), "")


def marks(run: Run | None, scores: Scores | None, trial_loss: float | None) -> tuple[str, ...]:
    """Marks that belong beside every number of a run, one clause each.

    Args:
        run: its record; scores: its scores; None where there are none.
        trial_loss: validation loss of the trial by which its rate was chosen; None where it was not tuned.
    """
    found = [_worse_than_trial(run, trial_loss)] if run is not None and trial_loss is not None else []
    if scores is not None:
        found.append(ruined(scores.forgetting, scores.task))
        found.append("" if scores.task is None else not_above_constant(scores.task))
    return tuple(mark for mark in found if mark)


def _worse_than_trial(run: Run, trial_loss: float) -> str:
    """Words for a training loss that ended above the trial's validation loss by more than seeds and batches differ."""
    last = run.losses[-_LAST:]
    if run.objective == "policy" or len(last) < 2:
        return ""
    if not all(map(math.isfinite, last)):  # of which no deviation can be taken
        return f"its training loss {_NO_NUMBER}"
    mean, error = statistics.fmean(last), statistics.stdev(last) / math.sqrt(len(last))
    if not mean - 2 * error > trial_loss + WORSE:
        return ""
    return f"it {_WORSE_THAN_TRIAL} (training loss {mean:.3f}, and {trial_loss:.3f})"


def cautions(record: Record) -> tuple[str, ...]:
    """Cautions of a record, for every view: few units, a ruined model, one not shown above a constant reply."""
    found = [few_units(count, units) for count, units in units_of(record)]
    if isinstance(record, Scores):
        why = ruined(record.forgetting, record.task)
        found.append(f"The tuned model is ruined: {why}." if why else "")
        level = "" if why or record.task is None else not_above_constant(record.task)
        found.append(f"The tuned model is {level}." if level else "")
    return tuple(caution for caution in dict.fromkeys(found) if caution)


def units_of(record: Record) -> Iterator[tuple[int, str]]:
    """The units that a record's intervals are over, and their number."""
    if isinstance(record, Scores):
        yield from _units_of_scores(record)
        return
    for part in (record, getattr(record, "curve", None)):
        for name in ("documents", "examples"):
            count = getattr(part, name, None)
            if isinstance(count, int) and not isinstance(count, bool):
                yield count, name


def _units_of_scores(scores: Scores) -> Iterator[tuple[int, str]]:
    if scores.forgetting is not None:
        yield len(scores.forgetting.documents), "documents"
    if scores.task is not None:
        yield scores.task.examples, "examples"
    if scores.reward is not None:
        yield scores.reward.examples, "judged texts"
    if scores.diversity is not None:
        yield len(scores.diversity.each), "prompts"
    if scores.wins is not None:
        yield scores.wins.examples, "judged prompts"
    if scores.harness:
        yield min(len(one.base_values) for one in scores.harness), "documents of the harness"
