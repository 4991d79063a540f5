"""Files that other tools write, told by their tensors' names and settings: what they are, and what to do with them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from assay.errors import AdapterError, CheckpointError

_MERGE = "merge it into its base with the tool that made it, save that in transformers' format, and audit that"
_FUSE = (
    "fuse it into its base (`mlx_lm.fuse --model BASE --adapter-path THIS --save-path TUNED`) and audit that, "
    "or convert it to PEFT's format"
)
# What it is, how one of its tensors is called, and the remedy. The first that fits is named.
_ADAPTERS: tuple[tuple[str, str, str], ...] = (
    ("an adapter of MLX (lora_a, lora_b)", r"\.lora_[ab]$", _FUSE),
    (
        "a LoRA of kohya's scripts, for an image model (lora_down, lora_up)",
        r"^lora_(unet|te\d?|transformer)_.*\.(alpha|lora_(down|up)\.weight|dora_scale)$",
        "assay audits transformers' models; image models are not read",
    ),
    (
        "a LoRA of diffusers, for an image model",
        r"^(unet|text_encoder(_\d)?|diffusion_model|transformer\.(single_)?transformer_blocks)\..*"
        r"(lora_[AB]|lora\.(down|up)|lora_(down|up))\b",
        "assay audits transformers' models; image models are not read",
    ),
    ("a LoRA with lora_down and lora_up, which is not PEFT's format", r"\.lora_(down|up)\.weight$", _MERGE),
)
_CHECKPOINTS: tuple[tuple[str, str, str], ...] = (
    (
        "a whole `PeftModel.state_dict()`: the base's weights beside an adapter's factors, not merged",
        r"\.lora_(embedding_)?[AB](\.|$)",
        "save the adapter by itself with the PeftModel's own `save_pretrained`, or merge it with `merge_and_unload` "
        "and save that",
    ),
    (
        "flattened parameters of FSDP, which are shards and not matrices",
        r"(^|\.)_?flat_param(_\d+)?$",
        "gather a full state dict (`FULL_STATE_DICT`; `accelerate merge-weights`) and save that with `save_pretrained`",
    ),
    (
        "a model in Meta's or Mistral's own format",
        r"^layers\.\d+\.attention\.w[qkvo]\.weight$",
        "convert it with transformers' `convert_*_weights_to_hf.py`",
    ),
)


def refuse_foreign_adapter(settings: Mapping[str, Any], names: Iterable[str], where: str) -> None:
    """Refuse an adapter that is not PEFT's, by its settings or its tensors.

    Raises:
        AdapterError: with what it is and what to do.
    """
    if not settings.get("peft_type"):
        for key, tool, remedy in (
            ("fine_tune_type", "MLX", _FUSE),
            ("lora_parameters", "MLX", _FUSE),
            ("swift_type", "ms-swift", "export it with `swift export --to_peft_format true`"),
            ("model_class", "AdapterHub's `adapters`", _MERGE),
        ):
            if key in settings:
                raise AdapterError(
                    f"an adapter of {tool}: its configuration says {key!r} and no peft_type",
                    wanted="an adapter in PEFT's format",
                    remedy=remedy,
                    where=where,
                )
    _refuse(_ADAPTERS, names, AdapterError, "an adapter in PEFT's format", where)


def refuse_foreign_checkpoint(names: Iterable[str], where: str) -> None:
    """Refuse a model's file that is no plain checkpoint, by its tensors.

    Raises:
        AdapterError: it is an adapter of another tool.
        CheckpointError: it is a model in another form.
    """
    names = list(names)
    _refuse(_ADAPTERS, names, AdapterError, "a checkpoint, or an adapter in PEFT's format", where)
    _refuse(_CHECKPOINTS, names, CheckpointError, "a checkpoint in transformers' format", where)


def _refuse(
    kinds: tuple[tuple[str, str, str], ...],
    names: Iterable[str],
    error: type[AdapterError | CheckpointError],
    wanted: str,
    where: str,
) -> None:
    names = list(names)
    for what, pattern, remedy in kinds:
        example = next((name for name in names if re.search(pattern, name)), None)
        if example is not None:
            raise error(f"{what}, first {example}", wanted=wanted, remedy=remedy, where=where)
