"""A weighted sum of LoRA adapters as one adapter: its factors are theirs, side by side."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from assay.errors import AdapterError
from assay.records.record import write_text
from assay.weights.bases import refuse_other_base
from assay.weights.model_files import ADAPTER_CONFIG, ADAPTER_FILE
from assay.weights.pairing import Tuned, pair, weighted
from assay.weights.sides import INCLUDE, Pairing, Scope
from assay.weights.updates import AdapterPair

_FACTORS = ("lora_A.weight", "lora_B.weight")  # as PEFT names them beside a linear layer
# Settings that say how one adapter's factors were trained, stored or drawn, and nothing of their sum.
_OF_ONE = (
    "use_rslora",
    "init_lora_weights",
    "loftq_config",
    "eva_config",
    "corda_config",
    "lora_ga_config",
    "revision",
)
# Settings that change what a module computes, beyond factors beside its matrix.
_MORE_THAN_FACTORS = ("lora_bias", "layer_replication", "target_parameters", "alora_invocation_tokens")


@contextmanager
def as_one_model(base: str | Path | None, tuned: Tuned, other_base: bool = False) -> Iterator[str | Path]:
    """A tuned model by its name; a weighted sum of adapters is written as one adapter, for as long as it is used.

    Args:
        base, tuned, other_base: as for `write_sum`; or `tuned` is one model.

    Raises:
        InputError: as for `write_sum`.
    """
    if isinstance(tuned, str | Path):
        yield tuned
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / named(weighted(tuned))
        folder.mkdir()
        write_sum(base, tuned, folder, other_base)
        yield folder


def named(tuned: Sequence[tuple[str | Path, float]]) -> str:
    """A weighted sum's name in records.

    Example:
        >>> named([("runs/law", 0.5), ("runs/code", 0.5)])
        '0.5 law + 0.5 code'
    """
    return " + ".join(f"{weight:g} {Path(adapter).resolve().name}" for adapter, weight in tuned)


def write_sum(
    base: str | Path | None, tuned: Sequence[tuple[str | Path, float]], folder: Path, other_base: bool = False
) -> None:
    """Write `sum_i w_i s_i B_i A_i` of LoRA adapters as one adapter, which is exact.

    A module's factors are `B = [w_1 s_1 B_1, w_2 s_2 B_2, ...]` and `A = [A_1; A_2; ...]`, in float32, at the sum of
    its ranks and a scale of 1. (PEFT's `add_weighted_adapter` sums the factors and not their products when it is asked
    for a `linear` combination.)

    Args:
        base: folder or hub id; None for the one that the first adapter names.
        tuned: adapters and their weights, which may be negative.
        folder: where to; it is there and empty.
        other_base: whether the base is meant though an adapter was trained on another.

    Raises:
        SettingError: as for `assay.weights.pairing.weighted`.
        MismatchError: an adapter was trained on another base.
        AdapterError: what has no sum of this form: DoRA, other types than LoRA, trained biases, heads or rows.
        InputError: as for an audit of the same adapters.
    """
    found = pair(base, tuned, scope=Scope(INCLUDE))
    for side in found.tuned:
        refuse_other_base(side.folder, found.base.folder, found.base.source, other_base)
    matrices = _held_in_factors(found)
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    settings: dict[str, Any] = {}
    for entry in matrices:
        first, factors, _ = entry.terms[0]
        settings = settings or first.settings
        module = next(name for name, known in first.factors.items() if known == factors)
        update = entry.low_rank(torch.float64, torch.device("cpu"))
        ranks[module] = update.A.shape[0]
        names = ("lora_embedding_A", "lora_embedding_B") if "lora_embedding_" in factors.A else _FACTORS
        for name, factor in zip(names, (update.A, update.scale * update.B), strict=True):
            tensors[f"base_model.model.{module}.{name}"] = factor.float().contiguous()
    settings = {name: value for name, value in settings.items() if name not in _OF_ONE}
    patterns = {f"^{name}": rank for name, rank in sorted(ranks.items())}
    most = max(ranks.values())
    settings |= {
        "base_model_name_or_path": os.path.relpath(found.base.folder.resolve(), folder.resolve()),
        "target_modules": sorted(ranks),
        "exclude_modules": None,
        "layers_to_transform": None,
        "layers_pattern": None,
        "r": most,
        "lora_alpha": most,
        "rank_pattern": patterns,
        "alpha_pattern": patterns,
        "use_rslora": False,
    }
    save_file(tensors, folder / ADAPTER_FILE, metadata={"format": "pt"})
    write_text(folder / ADAPTER_CONFIG, json.dumps(settings, indent=2, sort_keys=True) + "\n")


def _held_in_factors(found: Pairing) -> list[AdapterPair]:
    """The matrices that adapters change by factors.

    Raises:
        AdapterError: a sum of factors would be only a part of what the adapters change.
    """
    matrices = []
    for name, entry in found.coverage.items():
        if entry.files == "tuned" and entry.status != "analysed":
            raise AdapterError(
                f"{name} has no place in a weighted sum: {entry.reason or entry.status}",
                wanted="LoRA adapters that hold nothing but factors beside the base's matrices",
                where=found.tuned[0].source.name,
            )
    for matrix in found.pairs:
        if not isinstance(matrix, AdapterPair) or not matrix.terms:
            raise AdapterError("no factors are stored for it", wanted="LoRA adapters", where=matrix.name)
        for adapter, _, _ in matrix.terms:
            more = [name for name in _MORE_THAN_FACTORS if adapter.settings.get(name)]
            if more:
                raise AdapterError(
                    f"{more[0]} has no place in a weighted sum",
                    wanted="LoRA adapters that hold nothing but factors beside the base's matrices",
                    where=str(adapter.stored.folder),
                )
        matrices.append(matrix)
    if not matrices:
        raise AdapterError("no adapter changes a matrix", wanted="LoRA adapters", where=found.tuned[0].source.name)
    return matrices
