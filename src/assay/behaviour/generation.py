"""What a model writes after a prompt: greedy, or sampled with a seed; nothing that it writes is ever run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from assay.behaviour.batches import Ids, padded


@dataclass(frozen=True)
class Sampling:
    """How several replies to one prompt are drawn: from the whole distribution, divided by a temperature."""

    temperature: float
    seed: int


def replies(
    model: Any,
    prompts: Sequence[Ids],
    max_tokens: int,
    stop: Sequence[int],
    sampling: Sampling | None = None,
) -> list[Ids]:
    """Continuations of prompts, up to `max_tokens` tokens or the first token of `stop`, which is left out.

    Args:
        model: a causal language model in evaluation mode. Of its own settings for generation none is used.
        prompts: tokens; shorter ones are padded on the left, told by the attention mask.
        max_tokens: longest continuation.
        stop: tokens that end it.
        sampling: None for the likeliest token every time.
    """
    from transformers import GenerationConfig

    inputs = padded(prompts, model, left=True)
    pad = model.config.pad_token_id or 0
    drawn = {"do_sample": True, "temperature": sampling.temperature, "top_k": 0, "top_p": 1.0} if sampling else {}
    own = model.generation_config
    model.generation_config = GenerationConfig(
        max_new_tokens=max_tokens, eos_token_id=list(stop) or None, pad_token_id=pad, **drawn
    )
    try:
        with torch.inference_mode(), torch.random.fork_rng():
            if sampling is not None:
                torch.manual_seed(sampling.seed)
            written = model.generate(**inputs)
    finally:
        model.generation_config = own
    return [_until(row[inputs["input_ids"].shape[1] :].tolist(), stop) for row in written]


def _until(ids: Sequence[int], stop: Sequence[int]) -> Ids:
    """Tokens before the first that ends the text."""
    ends = next((place for place, token in enumerate(ids) if token in stop), len(ids))
    return tuple(ids[:ends])


def stops_of(tokenizer: Any) -> tuple[int, ...]:
    """The tokens that end a text."""
    return () if tokenizer.eos_token_id is None else (int(tokenizer.eos_token_id),)
