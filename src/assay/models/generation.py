"""Replies of a language model, for scores and policies: greedy, or drawn with a seed; nothing in them is ever run."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from assay.models.ends import ends_of, without_end
from assay.models.wrapped import inner_model, is_prompt_learning

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
    """One reply to every prompt, each up to and with the token that ends it.

    The model is put into evaluation for it, and back. Prompts that stand several times in a row are read once.
    """
    from transformers import GenerationConfig

    sampled, pad = how.temperature is not None, _padding(model, how)
    drawn = {"do_sample": True, "temperature": how.temperature, "top_k": 0, "top_p": 1.0} if sampled else {}
    was_training, ends = model.training, ends_of(model, how.ends)
    # PEFT hands its own model's settings on to the base, but with learned embeddings to the part of it without a head.
    settled = {model, inner_model(model)}
    own = {one: one.generation_config for one in settled}
    for one in settled:
        one.generation_config = GenerationConfig(
            max_new_tokens=how.tokens, pad_token_id=pad, eos_token_id=list(ends) or None, **drawn
        )
    model.eval()
    replies: list[Ids] = [()] * len(prompts)
    try:
        with torch.no_grad(), nullcontext() if how.seed is None else torch.random.fork_rng():
            if how.seed is not None:
                torch.manual_seed(how.seed)
            for batch in _batches(model, prompts):
                for position, reply in zip(batch, _written(model, [prompts[i] for i in batch], pad), strict=True):
                    replies[position] = tuple(reply[: len(without_end(reply, ends)) + 1])
    finally:
        for one, settings in own.items():
            one.generation_config = settings
        model.train(was_training)
    return replies


def _batches(model: Any, prompts: Sequence[Ids]) -> list[list[int]]:
    """Positions of prompts that are answered at once: all, but of one length where something learned stands before.

    PEFT drops the positions that tell padding there, so that the padding would part what is learned from the text.
    """
    if not is_prompt_learning(model):
        return [list(range(len(prompts)))]
    return [[i for i, ids in enumerate(prompts) if len(ids) == length] for length in sorted({*map(len, prompts)})]


def _written(model: Any, prompts: Sequence[Ids], pad: int) -> list[list[int]]:
    """Tokens that a model writes after prompts, in one batch."""
    width, device = max(map(len, prompts)), next(iter(model.parameters())).device
    gaps = [width - len(ids) for ids in prompts]
    inputs = torch.tensor([[*(pad,) * gap, *ids] for gap, ids in zip(gaps, prompts, strict=True)], device=device)
    mask = torch.tensor([[*(0,) * gap, *(1,) * (width - gap)] for gap in gaps], device=device)
    read = _read_once(model, inputs, mask, _times_in_a_row(prompts), pad)
    with warnings.catch_warnings():
        # PEFT says so of what is learned, at every token; without padding there is nothing that they would tell.
        warnings.filterwarnings("ignore", "Position ids are not supported", UserWarning)
        written: list[list[int]] = model.generate(input_ids=inputs, attention_mask=mask, **read)[:, width:].tolist()
    return written


def _times_in_a_row(prompts: Sequence[Ids]) -> int:
    """Number of times that every prompt stands in a row; 1 where they differ in it."""
    times = {len(list(same)) for _, same in itertools.groupby(prompts)}
    return times.pop() if len(times) == 1 else 1


def _read_once(model: Any, inputs: torch.Tensor, mask: torch.Tensor, times: int, pad: int) -> dict[str, Any]:
    """Keys and values of prompts but for their last tokens, which go to every reply; none where that cannot be.

    Of fifty samples of a prompt of a hundred tokens, reading it is most of the work.
    """
    from transformers import DynamicCache, GenerationConfig
    from transformers.cache_utils import DynamicLayer

    # What is learned is put before whatever `generate` is given, and would be before the last token too.
    if times == 1 or is_prompt_learning(model) or not bool(mask[:, :-1].any(dim=1).all()):
        return {}
    one = GenerationConfig(max_new_tokens=1, pad_token_id=pad, return_dict_in_generate=True)
    asked = {"input_ids": inputs[::times, :-1], "attention_mask": mask[::times, :-1]}
    cache = getattr(model.generate(**asked, generation_config=one), "past_key_values", None)
    # Other caches, of layers that have a state in place of keys, cannot be parted from the token after them.
    if not isinstance(cache, DynamicCache) or not all(isinstance(layer, DynamicLayer) for layer in cache.layers):
        return {}
    cache.batch_repeat_interleave(times)
    return {"past_key_values": cache}


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
