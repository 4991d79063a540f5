"""Completeness of an adapter by its own configuration: modules without tensors, shards that are zero."""

from __future__ import annotations

from assay.weights.adapter_settings import unknown_settings
from assay.weights.adapters import Adapter
from assay.weights.scales import Asked, unmatched_patterns


def missing_modules(adapter: Adapter, asked: Asked) -> tuple[str, ...]:
    """Modules that PEFT adapts by the configuration, and for which the adapter has no tensor.

    Where names have moved, only those beside the moved ones: the adapter was trained on that part of the model alone.
    Experts that PEFT wraps as one are there if one of them is.
    """
    have = {*adapter.factors, *adapter.layers, *adapter.spelled.values()}
    missing = [
        module for module in asked if module not in have and not any(name.startswith(f"{module}.") for name in have)
    ]
    if adapter.spelled:
        places = {_stack(name) for name in (*adapter.spelled, *adapter.spelled.values())}
        missing = [module for module in missing if _stack(module) in places]
    return tuple(missing)


def _stack(module: str) -> str:
    """The name before a module's first number: the list of blocks that it is in."""
    parts = module.split(".")
    first = next((i for i, part in enumerate(parts) if part.isdigit()), len(parts) - 1)
    return ".".join(parts[:first])


def zero_shards(adapter: Adapter) -> tuple[str, ...]:
    """Of lora_A's and lora_B's rows and columns, those of which some are zero in every factor that is not zero whole.

    A factor of which one process saved its own part has zeros where the others' parts were. Embeddings are left out:
    columns of tokens that never came are zero in any.
    """
    pairs = [factors for factors in adapter.factors.values() if "lora_embedding" not in factors.A]
    keys = {"lora_A": [factors.A for factors in pairs], "lora_B": [factors.B for factors in pairs]}
    return tuple(f"{kind} of {which}" for which, stored in keys.items() for kind in _zero_in_all(adapter, stored))


def _zero_in_all(adapter: Adapter, keys: list[str]) -> list[str]:
    """Rows, columns: which every tensor that is not zero whole has zero ones of; read until one has none."""
    suspected, seen = {"rows": 1, "columns": 0}, False  # and the dimension along which one of them lies
    for key in keys:
        values = adapter.stored.read(key)
        if values.dim() != 2 or not bool(values.any()):
            continue
        seen = True
        suspected = {kind: dim for kind, dim in suspected.items() if not bool(values.any(dim=dim).all())}
        if not suspected:
            break
    return list(suspected) if seen else []


def remarks(adapter: Adapter, asked: Asked, ruled: tuple[str, ...], missing: tuple[str, ...]) -> list[str]:
    """Remarks on how the adapter fits its configuration, one sentence each."""
    found = []
    ruled = tuple(module for module in ruled if module not in adapter.spelled)
    left_out = [module for module in ruled if ".experts" not in f".{module}"]
    if asked and left_out:
        found.append(
            f"The configuration does not adapt {_listed(left_out)}: PEFT leaves their factors out when it loads the "
            "adapter; here they are counted, with the scale of its rule."
        )
    elif ruled:
        found.append(
            f"PEFT could not be asked for the scale of {len(ruled)} module(s); its rule was applied to their names."
        )
    if missing:
        found.append(f"The configuration adapts {_listed(missing)}, for which the adapter has no tensors.")
    if patterns := unmatched_patterns(adapter):
        found.append(f"No module of the adapter fits {', '.join(patterns)}: these settings change nothing.")
    if unknown := unknown_settings(adapter.settings):
        found.append(f"The installed PEFT does not know {', '.join(unknown)} of the adapter's configuration.")
    if shards := zero_shards(adapter):
        found.append(f"Some {', some '.join(shards)} are zero in every module: a shard may not have been saved.")
    return found


def _listed(modules: list[str] | tuple[str, ...]) -> str:
    shown = ", ".join(modules[:3])
    return f"{len(modules)} module(s) ({shown}{', ...' if len(modules) > 3 else ''})"
