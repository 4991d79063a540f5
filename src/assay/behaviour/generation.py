"""What a model writes after a prompt: greedy, or sampled with a seed; nothing that it writes is ever run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from assay.behaviour.batches import Ids, padded
from assay.models.ends import ends_of, without_end


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
    """Continuations of prompts, up to `max_tokens` tokens or the first that ends a reply, which is left out.

    Args:
        model: a causal language model in evaluation mode. Of its own settings for generation the end tokens alone are
            used: a policy was trained with them.
        prompts: tokens; shorter ones are padded on the left, told by the attention mask.
        max_tokens: longest continuation.
        stop: tokens that end it, beside those that the model names.
        sampling: None for the likeliest token every time.
    """
    from transformers import GenerationConfig

    inputs = padded(prompts, model, left=True)
    pad = model.config.pad_token_id or 0
    drawn = {"do_sample": True, "temperature": sampling.temperature, "top_k": 0, "top_p": 1.0} if sampling else {}
    own, ends = model.generation_config, ends_of(model, stop)
    model.generation_config = GenerationConfig(
        max_new_tokens=max_tokens, eos_token_id=list(ends) or None, pad_token_id=pad, **drawn
    )
    try:
        with torch.inference_mode(), torch.random.fork_rng():
            if sampling is not None:
                torch.manual_seed(sampling.seed)
            written = model.generate(**inputs)
    finally:
        model.generation_config = own
    return [without_end(row[inputs["input_ids"].shape[1] :].tolist(), ends) for row in written]


def stops_of(tokenizer: Any) -> tuple[int, ...]:
    """The tokens that end a text."""
    return () if tokenizer.eos_token_id is None else (int(tokenizer.eos_token_id),)
