"""Packed (quantised) tensors among a checkpoint's: the codes, and the scales and tables that belong to them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

from assay.errors import QuantisedError

# Stored types that are numbers by themselves and neither weights nor codes: positions and masks.
_INDICES = ("I64", "U64", "BOOL")
_IN_A_BLOCK = re.compile(r"\.\d+\..*\.weight$")


class Header(Protocol):
    """The entry of a tensor in a file's header."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""

    @property
    def dtype(self) -> str:
        """Type of the tensor, in the words of safetensors."""

    @property
    def is_float(self) -> bool:
        """True if it is stored in a precision that is computed with."""


def packed_parts(tensors: Mapping[str, Header]) -> dict[str, str]:
    """Every tensor that is codes or belongs to codes, with the codes' own name.

    Codes have two dimensions or more and a type that is not computed with (bitsandbytes, GPTQ, AWQ, FP8, MXFP4 alike);
    what lies beside them in the same module (scales, zeros, tables) belongs to them, except a bias.
    """
    codes = {
        name
        for name, stored in tensors.items()
        if not stored.is_float and len(stored.shape) > 1 and stored.dtype not in _INDICES
    }
    owners = {name.rpartition(".")[0]: name for name in sorted(codes, reverse=True)}
    owners.pop("", None)
    found = {name: name for name in codes}
    for name in tensors:
        for owner in _owners(name):
            if owner in owners and not name.endswith(".bias"):
                found.setdefault(name, owners[owner])
    return found


def _owners(name: str) -> tuple[str, ...]:
    """The modules that a tensor can belong to: bitsandbytes' tables lie one level further in (`weight.absmax`)."""
    owner = name.rpartition(".")[0]
    outer, _, last = owner.rpartition(".")
    return (owner, outer) if last == "weight" else (owner,)


def refuse_quantised(config: Mapping[str, Any] | None, tensors: Mapping[str, Header], where: str) -> None:
    """Refuse a model whose configuration says that it is quantised, unless matrices of its blocks are stored as floats.

    Raises:
        QuantisedError: all of its matrices are packed; or none is, so that its configuration does not fit its weights.
    """
    declared = (config or {}).get("quantization_config")
    if not declared:
        return
    method, packed = declared.get("quant_method", "an unnamed method"), packed_parts(tensors)
    if not packed:
        raise QuantisedError(
            f"the configuration says that the weights are quantised ({method}), and every stored tensor is float",
            wanted="the full-precision model that it was made from",
            remedy="name that one as the base: assay audit FULL_PRECISION_BASE TUNED; if these are its weights "
            "(they were dequantised, or merged), take quantization_config out of the config.json",
            where=where,
        )
    if not any(
        stored.is_float and len(stored.shape) == 2 and name not in packed and _IN_A_BLOCK.search(name)
        for name, stored in tensors.items()
    ):
        raise all_packed(method, where)


def all_packed(method: str, where: str) -> QuantisedError:
    """The error for a model of which no matrix is left to audit."""
    return QuantisedError(
        f"the weights are quantised ({method}), so the stored tensors are codes and not the matrix",
        wanted="the full-precision model that it was made from",
        remedy="name that one as the base: assay audit FULL_PRECISION_BASE TUNED",
        where=where,
    )
