"""Open a base and a tuned model, whichever way the tuned one is stored, and pair their tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from pathlib import Path

from assay.errors import AdapterError, SettingError, SourceError
from assay.weights.adapter_pairs import pair_adapters
from assay.weights.adapters import open_adapter
from assay.weights.bitfit import pair_bitfit
from assay.weights.checkpoint_pairs import pair_checkpoints
from assay.weights.checkpoints import locate, open_checkpoint
from assay.weights.model_files import kind_of
from assay.weights.sides import Pairing, Scope

Tuned = str | Path | Sequence[tuple[str | Path, float]]


def pair(base: str | Path | None, tuned: Tuned, adapter: str | None = None, scope: Scope | None = None) -> Pairing:
    """Open both sides and pair their tensors.

    Args:
        base: folder or hub id; None for the one that an adapter names.
        tuned: a full or merged checkpoint, an adapter, BitFit's tensors, or adapters with the weights of their sum.
        adapter: which of several named adapters in a folder.
        scope: what to look at.

    Raises:
        InputError: with the file, the tensor and the remedy.
    """
    scope = scope or Scope()
    if not isinstance(tuned, str | Path):
        terms = [(open_adapter(source, adapter), weight) for source, weight in weighted(tuned)]
        return pair_adapters(base, terms, scope)
    kind = kind_of(locate(tuned)[0])
    if kind == "adapter":
        return pair_adapters(base, [(open_adapter(tuned, adapter), 1.0)], scope)
    if adapter is not None:
        raise AdapterError(
            f"there is no adapter {adapter!r} to choose: the folder itself holds a model",
            wanted="a folder of several adapters, or no --adapter",
            where=str(tuned),
        )
    if kind == "bitfit":
        return pair_bitfit(base, tuned)
    if base is None:
        raise SourceError(
            "a full checkpoint does not say what it was tuned from",
            wanted="its base",
            remedy="assay audit BASE TUNED",
            where=str(tuned),
        )
    return pair_checkpoints(open_checkpoint(base), open_checkpoint(tuned), scope)


def weighted(tuned: Sequence[tuple[str | Path, float]]) -> list[tuple[str | Path, float]]:
    """Adapters with the weights of their sum.

    Raises:
        SettingError: there is none, one has no weight, or a weight is no finite number.

    Example:
        >>> weighted([("law", 0.5), ("code", 0.5)])
        [('law', 0.5), ('code', 0.5)]
    """
    form = "adapters with their weights, such as [('law', 0.5), ('code', 0.5)]"
    if not tuned:
        raise SettingError("no adapter was named", wanted=form)
    for term in tuned:
        if isinstance(term, str) or not isinstance(term, Sequence) or len(term) != 2:
            raise SettingError(f"{term!r} has no weight", wanted=form)
        if not isinstance(term[1], Real) or not math.isfinite(term[1]):
            raise SettingError(f"the weight of {term[0]} is {term[1]!r}", wanted="a finite number")
    return list(tuned)


def names_its_base(source: str | Path) -> bool:
    """True if a folder (or hub repository) holds an update that says what it was tuned from."""
    return kind_of(locate(source)[0]) != "checkpoint"
