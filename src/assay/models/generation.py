"""Replies of a language model, for scores and policies: greedy, or drawn with a seed; nothing in them is ever run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from assay.models.ends import ends_of, without_end

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Drawing:
    """Sampling of replies. Of a model's own settings for generation the end tokens alone are used.

    Attributes:
        tokens: most tokens of a reply.
        ends: tokens that end one, beside those that the model names.
        pad: the token to pad with, the model's own unless given; attention masks tell padding, not the token.
        temperature: what logits are divided by, of the whole distribution; None for the likeliest token every time.
        seed: of the draws; None to draw from torch's own generator.
    """

    tokens: int
    ends: tuple[int, ...]
    pad: int | None = None
    temperature: float | None = None
    seed: int | None = None


def stops_of(tokenizer: Any) -> tuple[int, ...]:
    """The token that ends a text."""
    return () if tokenizer.eos_token_id is None else (int(tokenizer.eos_token_id),)


def draw(model: Any, prompts: Sequence[Ids], how: Drawing) -> list[Ids]:
    """One reply to every prompt, in one batch, each up to and with the token that ends it.

    The model is put into evaluation for it, and back.
    """
    from transformers import GenerationConfig

    width, device = max(map(len, prompts)), next(iter(model.parameters())).device
    gaps, pad = [width - len(ids) for ids in prompts], _padding(model, how)
    inputs = torch.tensor([[*(pad,) * gap, *ids] for gap, ids in zip(gaps, prompts, strict=True)], device=device)
    mask = torch.tensor([[*(0,) * gap, *(1,) * (width - gap)] for gap in gaps], device=device)
    sampled = how.temperature is not None
    drawn = {"do_sample": True, "temperature": how.temperature, "top_k": 0, "top_p": 1.0} if sampled else {}
    own, was_training, ends = model.generation_config, model.training, ends_of(model, how.ends)
    model.generation_config = GenerationConfig(
        max_new_tokens=how.tokens, pad_token_id=pad, eos_token_id=list(ends) or None, **drawn
    )
    model.eval()
    try:
        with torch.no_grad(), nullcontext() if how.seed is None else torch.random.fork_rng():
            if how.seed is not None:
                torch.manual_seed(how.seed)
            written = model.generate(input_ids=inputs, attention_mask=mask)[:, width:].tolist()
    finally:
        model.generation_config = own
        model.train(was_training)
    return [tuple(reply[: len(without_end(reply, ends)) + 1]) for reply in written]


def _padding(model: Any, how: Drawing) -> int:
    return how.pad if how.pad is not None else model.config.pad_token_id or 0


def texts(model: Any, prompts: Sequence[Ids], how: Drawing) -> list[Ids]:
    """The replies of `draw` without the tokens that end them."""
    ends = ends_of(model, how.ends)
    return [without_end(reply, ends) for reply in draw(model, prompts, how)]


def log_probabilities(model: Any, prompts: Sequence[Ids], replies: Sequence[Ids], how: Drawing) -> torch.Tensor:
    """Log-probability of every reply, nats: `sum_t log P(a_t | prompt, a_<t)` over its tokens, shape (replies,).

    Probabilities are those that replies are drawn from: of logits divided by the temperature.
    """
    device = next(iter(model.parameters())).device
    whole = [(*prompt, *reply) for prompt, reply in zip(prompts, replies, strict=True)]
    width, pad = max(map(len, whole)), _padding(model, how)
    inputs = torch.tensor([[*ids, *(pad,) * (width - len(ids))] for ids in whole], device=device)
    mask = torch.tensor([[*(1,) * len(ids), *(0,) * (width - len(ids))] for ids in whole], device=device)
    first = min(map(len, prompts)) - 1
    logits = model(input_ids=inputs, attention_mask=mask, logits_to_keep=width - first).logits[:, :-1]
    spoken = torch.log_softmax(logits.float() / (how.temperature or 1.0), dim=-1)
    each = spoken.gather(-1, inputs[:, first + 1 :].unsqueeze(-1)).squeeze(-1)
    places = torch.arange(first + 1, width, device=device)
    starts = torch.tensor([len(prompt) for prompt in prompts], device=device).unsqueeze(1)
    stops = torch.tensor([len(ids) for ids in whole], device=device).unsqueeze(1)
    summed: torch.Tensor = (each * ((places >= starts) & (places < stops))).sum(dim=1)
    return summed
