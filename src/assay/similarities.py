"""Subspace similarity of two updates of one base: two adapters, two ranks or two seeds; weights only."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from assay.dials.paths import rank_of, singular
from assay.errors import InputError, MismatchError, SettingError
from assay.measures.subspaces import subspace_similarity
from assay.models.loading import find_pair
from assay.records import Provenance, as_given
from assay.records.similarity import Grid, MatrixSimilarity, Similarity
from assay.weights.pairing import pair
from assay.weights.updates import AbstractPair

SIZES = (1, 2, 4, 8)
_PACKAGES = ("torch", "safetensors", "numpy")


def similarity(
    one: str | Path,
    other: str | Path,
    base: str | Path | None = None,
    sizes: int | Sequence[int] = SIZES,
    *,
    other_base: bool = False,
) -> Similarity:
    """Similarity of the leading directions of two updates, matrix by matrix, on either side.

    `phi(i, j) = ||U_i^T V_j||_F^2 / min(i, j)` in [0, 1]; of random subspaces max(i, j)/n on average.

    Args:
        one, other: folders or hub ids: adapters or whole models, of one base.
        base: folder or hub id; None for the one that the adapters name.
        sizes: how many leading directions are taken of each, or several such numbers; of an update of lower rank,
            those that it has.
        other_base: whether the base is meant though an adapter was trained on another.

    Raises:
        SourceError, CheckpointError, AdapterError: a model that cannot be read.
        MismatchError: the two were tuned from different bases.
        SettingError: sizes that mean nothing.
        InputError: no matrix is changed by both.

    Example:
        >>> assay.similarity("seed-0/", "seed-1/").mean("left", 1, 1)  # doctest: +SKIP
        (0.31, 0.0017)

    Source: arXiv 2106.09685, section 7.2.
    """
    began = time.perf_counter()
    asked = sorted({sizes} if isinstance(sizes, int) else set(sizes))
    if not asked or asked[0] < 1:
        raise SettingError(f"the sizes are {asked}", wanted="one or more whole numbers, none below 1")
    places = [find_pair(base, tuned, other_base) for tuned in (one, other)]
    homes = [home.source for home, _ in places]
    if homes[0].identity != homes[1].identity:
        raise MismatchError(
            f"the models were tuned from {homes[0].name} and {homes[1].name}",
            wanted="one base",
            remedy="name the base that both share",
            where=places[1][1].source.name,
        )
    ours, theirs = ({entry.name: entry for entry in pair(home.folder, place.folder).pairs} for home, place in places)
    found = [compared for name in ours if name in theirs and (compared := _compared(ours[name], theirs[name], asked))]
    if not found:
        raise InputError("no matrix is changed by both models", wanted="one at least", where=places[1][1].source.name)
    return Similarity(
        provenance=Provenance.of(_PACKAGES, as_given({"sizes": asked})),
        base=homes[0],
        one=places[0][1].source,
        other=places[1][1].source,
        sizes=tuple(asked),
        matrices=tuple(found),
        only_one=len(ours.keys() - theirs.keys()),
        only_other=len(theirs.keys() - ours.keys()),
        seconds=time.perf_counter() - began,
    )


def _compared(one: AbstractPair, other: AbstractPair, asked: Sequence[int]) -> MatrixSimilarity | None:
    """Two updates of a matrix; None where one of them is zero, which has no direction."""
    (U, sigma, V), (U2, sigma2, V2) = (
        singular(entry.load(torch.float32, torch.device("cpu")).update) for entry in (one, other)
    )
    ranks = rank_of(sigma), rank_of(sigma2)
    if not min(ranks) or not sigma[0] or not sigma2[0]:
        return None
    sizes = sorted({min(size, *ranks) for size in asked})
    return MatrixSimilarity(
        name=one.name,
        role=one.slot.role,
        layer=one.slot.layer,
        shape=one.shape,
        ranks=ranks,
        sizes=tuple(sizes),
        left=_grid(U, U2, sizes),
        right=_grid(V, V2, sizes),
    )


def _grid(one: Tensor, other: Tensor, sizes: Sequence[int]) -> Grid:
    return tuple(tuple(subspace_similarity(one, other, i, j) for j in sizes) for i in sizes)
