"""Replies of a language model to prompts, drawn in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Drawing:
    """How replies are drawn.

    Attributes:
        tokens: most tokens of a reply.
        temperature: what logits are divided by.
        pad: the token to pad with; ends: those that end a reply.
    """

    tokens: int
    temperature: float
    pad: int
    ends: tuple[int, ...]


def draw(model: Any, prompts: Sequence[Ids], how: Drawing) -> list[Ids]:
    """One reply to every prompt, each up to and with the token that ends it, from torch's generator.

    The model is put into evaluation for it, and back.
    """
    from transformers import GenerationConfig

    width, device = max(map(len, prompts)), next(iter(model.parameters())).device
    gaps = [width - len(ids) for ids in prompts]
    inputs = torch.tensor([[*(how.pad,) * gap, *ids] for ids, gap in zip(prompts, gaps, strict=True)], device=device)
    mask = torch.tensor([[*(0,) * gap, *(1,) * (width - gap)] for gap in gaps], device=device)
    settings = GenerationConfig(
        max_new_tokens=how.tokens,
        do_sample=True,
        temperature=how.temperature,
        top_k=0,
        top_p=1.0,
        pad_token_id=how.pad,
        eos_token_id=list(how.ends),
    )
    was_training = model.training
    model.eval()
    with torch.no_grad():
        drawn = model.generate(input_ids=inputs, attention_mask=mask, generation_config=settings)[:, width:].tolist()
    model.train(was_training)
    return [_until_end(tuple(reply), how.ends) for reply in drawn]


def _until_end(reply: Ids, ends: tuple[int, ...]) -> Ids:
    found = [place for place, token in enumerate(reply) if token in ends]
    return reply[: found[0] + 1] if found else reply


def reply_log_probabilities(model: Any, prompts: Sequence[Ids], replies: Sequence[Ids], how: Drawing) -> torch.Tensor:
    """Log-probability of every reply, nats: `sum_t log P(a_t | prompt, a_<t)` over its tokens, shape (replies,).

    Probabilities are those that replies are drawn from: of logits divided by the temperature.
    """
    device = next(iter(model.parameters())).device
    whole = [(*prompt, *reply) for prompt, reply in zip(prompts, replies, strict=True)]
    width = max(map(len, whole))
    inputs = torch.tensor([[*ids, *(how.pad,) * (width - len(ids))] for ids in whole], device=device)
    mask = torch.tensor([[*(1,) * len(ids), *(0,) * (width - len(ids))] for ids in whole], device=device)
    first = min(map(len, prompts)) - 1
    logits = model(input_ids=inputs, attention_mask=mask, logits_to_keep=width - first).logits[:, :-1]
    spoken = torch.log_softmax(logits.float() / how.temperature, dim=-1)
    each = spoken.gather(-1, inputs[:, first + 1 :].unsqueeze(-1)).squeeze(-1)
    places = torch.arange(first + 1, width, device=device)
    starts = torch.tensor([len(prompt) for prompt in prompts], device=device).unsqueeze(1)
    stops = torch.tensor([len(ids) for ids in whole], device=device).unsqueeze(1)
    summed: torch.Tensor = (each * ((places >= starts) & (places < stops))).sum(dim=1)
    return summed
