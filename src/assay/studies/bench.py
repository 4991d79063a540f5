"""Every task of a sequence in tokens: a head is fitted for each to a frozen body, and tested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from assay.behaviour.batches import Ids
from assay.data.examples import order, text_ids
from assay.data.tables import rows
from assay.errors import InputError, SourceError
from assay.records.continual import Cell
from assay.studies.heads import accuracies_of_heads, as_bits, features, fit_head
from assay.studies.sequence_plan import Head, SequenceTask

_HEAD_SEED = 0  # the rows that heads learn from are drawn once, for every arm and seed


@dataclass(frozen=True)
class Task:
    """A task of the plan with paths that can be opened from here."""

    settings: SequenceTask
    data: Path
    test: Path


def files_of(task: SequenceTask, start: Path) -> Task:
    """A task of the plan, whose paths are relative to `start`.

    Raises:
        SourceError: a file that is not there.
    """
    found = Task(task, start / task.data.path, start / task.test)
    for file in (found.data, found.test):
        if not file.is_file():
            raise SourceError("there is no such file", wanted="data as JSON Lines", where=str(file))
    return found


@dataclass(frozen=True)
class _Exam:
    """A task in tokens: what its head learns from, and what it is tested on."""

    name: str
    classes: int
    seen: tuple[Ids, ...]
    seen_truth: tuple[int, ...]
    asked: tuple[Ids, ...]
    asked_truth: tuple[int, ...]


@dataclass(frozen=True)
class Bench:
    """Every task of the sequence, ready to be tested on any body."""

    exams: tuple[_Exam, ...]
    head: Head
    device: str
    is_decoder: bool

    @classmethod
    def of(cls, tasks: Sequence[Task], tokenizer: Any, head: Head, device: str, is_decoder: bool) -> Bench:
        """Read and tokenise every task once."""
        return cls(tuple(_exam(task, tokenizer, head) for task in tasks), head, device, is_decoder)

    def test(self, body: Any) -> tuple[Cell, ...]:
        """Fit a head for every task on a frozen body, and test it."""
        found = []
        for exam in self.exams:
            seen, asked = (features(body, texts, self.is_decoder) for texts in (exam.seen, exam.asked))
            learned = (seen, exam.seen_truth, exam.classes, self.head.penalty)
            right = fit_head(*learned).choose(asked) == np.array(exam.asked_truth)
            heads = tuple(accuracies_of_heads(*learned, (asked, exam.asked_truth)))
            cell = Cell(
                task=exam.name, examples=len(right), right=int(right.sum()), correct=as_bits(right), heads=heads
            )
            found.append(cell)
        return tuple(found)


def _exam(task: Task, tokenizer: Any, head: Head) -> _Exam:
    columns, longest = (task.settings.data.text, task.settings.data.label), task.settings.data.max_length
    seen, asked = (rows(file, *columns) for file in (task.data, task.test))
    labels = sorted({row[columns[1]] for row in seen})
    if unknown := sorted({row[columns[1]] for row in asked} - set(labels)):
        raise InputError(
            f"the training data has no label {unknown[0]!r}",
            wanted=f"labels among {', '.join(map(repr, labels))}",
            where=task.test.name,
        )
    drawn = [seen[i] for i in order(len(seen), min(head.rows, len(seen)), _HEAD_SEED)]
    texts, truths = [], []
    for part in (drawn, asked):
        texts.append(tuple(text_ids(tokenizer, row[columns[0]], longest) for row in part))
        truths.append(tuple(labels.index(row[columns[1]]) for row in part))
    return _Exam(task.settings.name, len(labels), texts[0], truths[0], texts[1], truths[1])
