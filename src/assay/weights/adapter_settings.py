"""Admissible settings of an adapter: refused by name is whatever would make its tensors mean something else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assay.errors import AdapterError
from assay.weights.merged_layers import MERGED_TYPES
from assay.weights.model_files import ADAPTER_CONFIG

# Initialisations that leave the base as it is, so that `W0 + s BA` holds for the stored factors.
_PLAIN_INITS = (True, False, None, "gaussian", "eva", "orthogonal", "mica")
# Variants of LoRA whose update is not `s BA` (or `m/norm (W0 + s BA)`), by the setting that turns them on.
_VARIANTS = (
    "alora_invocation_tokens",
    "arrow_config",
    "corda_config",
    "kasa_config",
    "loftq_config",
    "lora_ga_config",
    "monteclora_config",
    "use_bdlora",
    "use_qalora",
    "velora_config",
)
_MERGE = "merge it into its base with `merge_and_unload`, and audit the merged checkpoint"


def refuse_settings(settings: Mapping[str, Any], folder: Path) -> None:
    """Refuse a configuration from which the update does not follow.

    Raises:
        AdapterError: with the setting.
    """
    where, peft_type = str(folder), str(settings.get("peft_type"))
    if peft_type not in ("LORA", *MERGED_TYPES):
        raise AdapterError(
            f"an adapter of type {peft_type}",
            wanted=f"LORA, {', '.join(MERGED_TYPES)}, or a method that changes no weight matrix",
            remedy=_MERGE,
            where=where,
        )
    refuse_unknown(settings, where)
    if settings.get("layer_replication"):
        raise AdapterError(
            "layer_replication stacks the base's layers anew: a layer of the adapter is not the base's of that number",
            wanted="an adapter on the layers of its base",
            remedy="save the base with its layers replicated, and the merged model, with `save_pretrained`: "
            "assay audit REPLICATED_BASE MERGED",
            where=where,
        )
    if peft_type == "LORA":
        _refuse_variants(settings, where)
        _refuse_alphas(settings, folder)


def refuse_unknown(settings: Mapping[str, Any], where: str) -> None:
    """Refuse what turns something on that the installed PEFT does not know: it would be left out in silence.

    Raises:
        AdapterError: with the settings.
    """
    on = [name for name in unknown_settings(settings) if name.startswith("use_") or name.endswith("_config")]
    if on:
        from peft import __version__

        saved = settings.get("peft_version")
        raise AdapterError(
            f"made by a newer PEFT: the installed one ({__version__}) does not know {', '.join(on)}",
            wanted="settings that say what the factors mean",
            remedy=f"update PEFT{f' to {saved} or later' if saved else ''}, or merge the adapter with the PEFT that "
            "made it (`merge_and_unload`) and audit the merged checkpoint",
            where=where,
        )


def unknown_settings(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Settings that say something and that the installed PEFT does not know."""
    from peft import PEFT_TYPE_TO_CONFIG_MAPPING

    known = PEFT_TYPE_TO_CONFIG_MAPPING[settings["peft_type"]].__dataclass_fields__
    return tuple(sorted(name for name, value in settings.items() if value and name not in known))


def _refuse_variants(settings: Mapping[str, Any], where: str) -> None:
    """Refuse by name what is not `W0 + s BA`."""
    init = settings.get("init_lora_weights", True)
    if init not in _PLAIN_INITS:
        raise AdapterError(
            f"initialised with {init!r}, which changes the base: the stored factors alone are not the update",
            wanted="an adapter converted to plain LoRA",
            remedy="save it with `save_pretrained(..., path_initial_model_for_weight_conversion=...)`",
            where=where,
        )
    on = [key for key in _VARIANTS if settings.get(key)]
    if on:
        raise AdapterError(
            f"a LoRA variant whose update is not scale x B A ({', '.join(on)})", remedy=_MERGE, where=where
        )


def no_scale(module: str, where: str) -> AdapterError:
    """The error of trained factors that their alpha makes nothing of."""
    return AdapterError(
        f"its alpha is 0 beside trained factors (of {module}), so that the update would be nothing",
        wanted="the alpha that it was trained with",
        remedy=f"restore lora_alpha in the {ADAPTER_CONFIG}: a tool that made it from the tensors left 0 there",
        where=where,
    )


def _refuse_alphas(settings: Mapping[str, Any], folder: Path) -> None:
    """Refuse an alpha from which no scale follows."""
    for name, value in {"lora_alpha": settings.get("lora_alpha", 8), **(settings.get("alpha_pattern") or {})}.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            where = str(folder / ADAPTER_CONFIG)
            raise AdapterError(f"the alpha of {name} is {value!r}", wanted="a number", where=where)
