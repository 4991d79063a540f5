"""PEFT's wrappers around a model of transformers."""

from __future__ import annotations

from typing import Any


def inner_model(model: Any) -> Any:
    """The model of transformers inside of PEFT's, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def is_prompt_learning(model: Any) -> bool:
    """True if learned embeddings, or keys and values, stand before a text."""
    return bool(getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False))
