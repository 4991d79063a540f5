"""Rows to learn from and rows to be tested on, parted by a seed."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from assay.data.kinds import AnyData
from assay.data.tables import Reference, name_of, raw_rows
from assay.errors import InputError

SHARE, MOST, FEWEST = 10, 300, 2  # one row of ten is tested on, at most 300; a score needs two
FEW_ANSWERS = 20  # different answers up to which a test asks which of them is the likeliest


def is_testable(data: AnyData, reference: Reference) -> bool:
    """True if rows like those that are learned can be scored by right and wrong: classes, preferences, few answers."""
    if data.kind == "prompt-answer":
        answers = {json.dumps(row.get(data.answer), default=str) for _, row in raw_rows(reference)}
        return 1 < len(answers) <= FEW_ANSWERS
    return data.kind in ("classification", "pairs", "thumbs")


def part_rows(reference: Reference, data: AnyData, seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows to learn from and to be tested on; rows that ask the same go into one part, and the test has all answers.

    Args:
        reference: the data; data: how they are read.
        seed: of the draw.

    Raises:
        SourceError: the data cannot be read.
        InputError: so few different rows that none would be left for a test.
    """
    found = [row for _, row in raw_rows(reference)]
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in found:
        groups.setdefault(_asked(data, row), []).append(row)
    count = min(MOST, len(found) // SHARE)
    if count < FEWEST or len(groups) <= count:
        raise InputError(
            f"{len(found)} rows, {len(groups)} of them different, leave none to be tested on",
            wanted=f"at least {FEWEST * SHARE}: one of {SHARE} is held out",
            remedy="give a test of your own: --task TEST",
            where=name_of(reference),
        )
    drawn = random.Random(seed).sample(sorted(groups), len(groups))
    answers = Counter(_answer(data, groups[key][0]) for key in drawn)
    first: dict[str, str] = {}  # one of every answer, where another is left to learn from: a test of one says nothing
    for key in drawn:
        if answers[answer := _answer(data, groups[key][0])] > 1:
            first.setdefault(answer, key)
    tested: list[dict[str, Any]] = []
    chosen = set[str]()
    for key in dict.fromkeys([*first.values(), *drawn]):
        if len(tested) >= count:
            break
        tested += groups[key]
        chosen.add(key)
    return [row for row in found if _asked(data, row) not in chosen], tested


def lines_of(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as JSON Lines."""
    return "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)


def _answer(data: AnyData, row: dict[str, Any]) -> str:
    """The right answer of a row; empty where rows are preferences."""
    word = {"prompt-answer": "answer", "classification": "label", "thumbs": "label"}.get(data.kind)
    return "" if word is None else json.dumps(row.get(getattr(data, word)), default=str)


def _asked(data: AnyData, row: dict[str, Any]) -> str:
    """The question of a row, without its answer."""
    word = {"prompt-answer": "prompt", "classification": "text", "thumbs": "reply"}.get(data.kind)
    column = None if word is None else getattr(data, word)
    return json.dumps(row if column is None else row.get(column), sort_keys=True, default=str)
