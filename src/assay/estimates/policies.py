"""Needs of a policy beside its own weights: the batch of its loss, its value model, and the models that stay frozen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from assay.data.examples import Loaded
from assay.estimates.activations import kept_of
from assay.estimates.fits import sizes_of
from assay.models.loading import Place, base_of, find
from assay.models.rewards import is_function, located
from assay.training.spec import PolicySettings, Spec
from assay.weights.libraries import read_config

_FLOAT = 4  # bytes of a float32 number: a policy learns in no other
# TRL (1.16, kernels/chunked_logprob.py) never holds all logits of RLOO: it makes tiles of so many tokens and words, one
# at a time. Without Triton seven copies of a tile, and a quarter of one for a mask, are there beside it at the most.
_TOKENS, _WORDS, _TILES_WITHOUT_TRITON = 4096, 32_768, 8.25
Build = Callable[[Place, int], Any]  # a model without storage: of a folder, with so many classes; 0 for a language head


class Beside(NamedTuple):
    """Bytes of the models beside a policy.

    Attributes:
        frozen: the copy of the base that is its reference, and the reward model.
        value: REINFORCE's value model: its weights; gradients, optimizer: of what learns in it.
        kept: what autograd keeps of the value model until the backward pass.
        passing: the loss's gradients, where they are not those of whole logits.
        learns: numbers of the value model that learn.
    """

    frozen: int = 0
    value: int = 0
    gradients: int = 0
    optimizer: int = 0
    kept: int = 0
    passing: int = 0
    learns: int = 0


def loss_batch(settings: PolicySettings, loaded: Loaded, width: int, prompts: int) -> dict[str, Any]:
    """Batch of a policy's loss, where every reply is as long as it may be.

    RLOO keeps no logits; REINFORCE keeps those from the end of the shortest prompt on.

    Args:
        settings: of the policy; loaded: its prompts.
        width: tokens of the longest prompt; prompts: of a step.
    """
    whole = torch.zeros(prompts * settings.replies, width + settings.reply_tokens, dtype=torch.long, device="meta")
    if settings.algorithm == "rloo":
        return {"input_ids": whole}
    spoken = width - min(len(prompt.input_ids) for prompt in loaded.examples) + settings.reply_tokens + 1
    return {"input_ids": whole, "labels": whole[:, -spoken:], "logits_to_keep": spoken}


def value_model(spec: Spec, place: Place, build: Build) -> Any:
    """REINFORCE's value model, prepared as the policy is; None of any other run.

    Args:
        spec: of the run; place: its base.
        build: makes a model without storage.
    """
    if spec.policy is None or spec.policy.algorithm != "reinforce":
        return None
    return spec.method.prepare(build(place, 1)).train()


def learning(model: Any) -> int:
    """Numbers of a model that learn."""
    return sum(tensor.numel() for tensor in model.parameters() if tensor.requires_grad)


def beside(spec: Spec, place: Place, start: Path, shape: tuple[int, int], build: Build, with_triton: bool) -> Beside:
    """The models beside a policy; none of any other objective.

    Args:
        spec: of the run; place: its base.
        start: the folder to which the reward is relative.
        shape: tokens of the longest prompt, and the token to pad with.
        build: makes a model without storage.
        with_triton: whether TRL has it, as on CUDA.

    Raises:
        SourceError, CheckpointError: the reward model cannot be found.
    """
    settings = spec.policy
    if settings is None:
        return Beside()
    frozen = 0
    if settings.beta and not spec.method.keeps_base:
        frozen += _FLOAT * _numbers(build(place, 0))
    reward = located(settings.reward, start)
    if not is_function(reward):
        judge = find(reward)
        frozen += _FLOAT * _numbers(build(base_of(judge) if judge.is_adapter else judge, 1))
    width, pad = shape
    value = value_model(spec, place, build)
    if value is None:
        counted = settings.reply_tokens if with_triton else width + settings.reply_tokens - 1
        tokens = min(spec.training.part * settings.replies * counted, _TOKENS)
        tile = _FLOAT * tokens * min(int(read_config(place.folder).get_text_config().vocab_size), _WORDS)
        return Beside(frozen, passing=tile if with_triton else round(_TILES_WITHOUT_TRITON * tile))
    if value.config.pad_token_id is None:
        value.config.pad_token_id = pad
    sizes = sizes_of(value, spec)
    asked = torch.zeros(spec.training.part * settings.replies, width, dtype=torch.long, device="meta")
    kept = kept_of(value, {"input_ids": asked}).whole
    return Beside(frozen, sizes.weights, sizes.gradients, sizes.optimizer, kept, learns=learning(value))


def _numbers(model: Any) -> int:
    return sum(tensor.numel() for tensor in model.parameters())
