"""Objectives of training, and the kinds of data each is learned from."""

from __future__ import annotations

from assay.data.kinds import AnyData
from assay.records.run import Objective

_LEARNED: dict[str, Objective] = {
    "prompt-answer": "causal-lm",
    "chat": "causal-lm",
    "text": "causal-lm",
    "classification": "sequence-classification",
    "pairs": "reward",
    "thumbs": "reward",
    "prompts": "policy",
}
_OBJECTIVES: dict[Objective, str] = {
    "causal-lm": "The next token, of answers to prompts or of packed text.",
    "sequence-classification": "The class of a text, by a new head.",
    "reward": "A score, from pairs (Bradley-Terry) or thumbs (logistic loss).",
    "policy": "Replies that a reward model or a function rewards, near to the reference.",
}


def describe_objectives() -> list[tuple[str, str, str]]:
    """Every objective by name, with its kinds of data and a sentence.

    Example:
        >>> describe_objectives()[2]
        ('reward', 'pairs, thumbs', 'A score, from pairs (Bradley-Terry) or thumbs (logistic loss).')
    """
    return [
        (name, ", ".join(kind for kind, learned in _LEARNED.items() if learned == name), text)
        for name, text in _OBJECTIVES.items()
    ]


def objective_of(data: AnyData) -> Objective:
    """The objective that a model learns from data of this kind."""
    return _LEARNED[data.kind]
