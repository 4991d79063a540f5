"""The tokens that end a reply: the tokenizer's, and those that the model names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def ends_of(model: Any, of_tokenizer: Sequence[int]) -> tuple[int, ...]:
    """Every token that ends a reply of a model, each once: a chat model names the end of a turn beside that of a text.

    Args:
        model: a causal language model with its `generation_config`.
        of_tokenizer: the tokenizer's own ends.
    """
    named = model.generation_config.eos_token_id
    named = [named] if isinstance(named, int) else named or []
    return tuple(dict.fromkeys([*of_tokenizer, *named]))


def without_end(reply: Sequence[int], ends: Sequence[int]) -> tuple[int, ...]:
    """The tokens before the first that ends the reply."""
    place = next((place for place, token in enumerate(reply) if token in ends), len(reply))
    return tuple(reply[:place])
