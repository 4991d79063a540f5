"""Weight matrices of PEFT's other adapters: one layer at a time, built, filled and merged by PEFT itself.

Their updates are no product of two factors: IA3 and RoAd scale and rotate outputs, LoHa and LoKr multiply factors
element by element, HRA and OFT multiply the matrix by reflections and rotations. A layer is built under its own name,
so that PEFT's patterns of ranks and scales hold for it. With `adapters.py`, this touches PEFT's internals.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from assay.errors import AdapterError

# PEFT's type of the adapter, and how the names of its tensors begin after the module's. Only types of which a layer
# needs no other layer, and nothing that is drawn and not stored: VeRA and RandLora share matrices.
_PREFIXES = {"HRA": "hra_", "IA3": "ia3_", "LOHA": "hada_", "LOKR": "lokr_", "OFT": "oft_", "ROAD": "road_"}
MERGED_TYPES = tuple(_PREFIXES)
BIAS_TYPES = ("IA3", "ROAD")  # of those, the ones that act on outputs, and so on a bias too


def module_of(peft_type: str, name: str) -> str | None:
    """The module that a stored tensor belongs to; None if it is not one of the adapter's own.

    Example:
        >>> module_of("HRA", "encoder.layer.0.query.hra_u")
        'encoder.layer.0.query'
    """
    match = re.match(rf"^(?P<module>.*?)\.{_PREFIXES[peft_type]}", name)
    return match["module"] if match else None


def merged_weight(
    settings: Mapping[str, Any], module: str, weight: Tensor, transposed: bool, stored: Mapping[str, Tensor], where: str
) -> Tensor:
    """The matrix that PEFT merges an adapter's layer into, in the orientation and precision of `weight`.

    Args:
        settings: the adapter's `adapter_config.json`.
        module: the layer's name in the model.
        weight: the base's matrix, as it is stored.
        transposed: whether it is stored inputs x outputs, as GPT-2's `Conv1D` does.
        stored: the adapter's tensors of this layer, by their names in the file without `base_model.model.`.
        where: names the adapter in an error.

    Raises:
        AdapterError: PEFT does not build such a layer, or its tensors do not fit.
    """
    from peft import inject_adapter_in_model, set_peft_model_state_dict
    from transformers.pytorch_utils import Conv1D

    outputs, inputs = reversed(weight.shape) if transposed else weight.shape
    layer = Conv1D(outputs, inputs) if transposed else nn.Linear(inputs, outputs, bias=False)
    layer.weight.data = weight.clone()
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            host = inject_adapter_in_model(_config(settings, module), _under(module, layer)).to(weight.dtype)
            loaded = set_peft_model_state_dict(host, dict(stored))
            found = host.get_submodule(module)
            found.merge()
    except (ValueError, RuntimeError, TypeError, NotImplementedError) as error:
        raise _refused(module, str(error).splitlines()[0], where) from None
    own = [key for key in loaded.missing_keys if ".base_layer." not in key]
    if own or loaded.unexpected_keys:
        raise _refused(module, f"does not take {', '.join([*own, *loaded.unexpected_keys])}", where)
    result: Tensor = found.get_base_layer().weight.data
    return result


def _refused(module: str, why: str, where: str) -> AdapterError:
    return AdapterError(
        f"PEFT cannot merge {module}: {why}",
        remedy="merge it into its base with `merge_and_unload`, and audit the merged checkpoint",
        where=where,
    )


def _config(settings: Mapping[str, Any], module: str) -> Any:
    """The adapter's configuration for one layer, without what belongs to others."""
    from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PeftType

    kind = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(settings["peft_type"])]
    known = {name: value for name, value in settings.items() if name in _fields(kind)}
    own: dict[str, Any] = {"target_modules": [module], "modules_to_save": None}
    if settings["peft_type"] == "IA3":  # which modules are fed forward was decided among all of them
        own["feedforward_modules"] = [module] if _fits(settings.get("feedforward_modules") or [], module) else []
    config = kind(**known | own)
    for name in ("layers_to_transform", "layers_pattern", "exclude_modules"):
        if hasattr(config, name):
            setattr(config, name, None)
    return config


def _fields(kind: Any) -> Iterable[str]:
    return getattr(kind, "__dataclass_fields__", {}).keys()


def _fits(targets: str | list[str], module: str) -> bool:
    """PEFT's rule for a module's name among targets: a whole pattern, or the name's end."""
    if isinstance(targets, str):
        return re.fullmatch(targets, module) is not None
    return any(module == target or module.endswith(f".{target}") for target in targets)


def _under(module: str, layer: nn.Module) -> nn.Module:
    """A model that holds one layer under its name, and nothing else."""
    host = nn.Module()
    place, (*path, last) = host, module.split(".")
    for part in path:
        place.add_module(part, nn.Module())
        place = place.get_submodule(part)
    place.add_module(last, layer)
    return host
