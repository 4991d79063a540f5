"""One base matrix and its tuned counterpart as operators, however the update is stored."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from assay.errors import MismatchError
from assay.linalg import AbstractOperator, Dense, LowRank, RowScaled, Sum
from assay.weights.adapters import Adapter, Factors
from assay.weights.architecture import Slot
from assay.weights.checkpoints import Checkpoint
from assay.weights.merged_layers import merged_weight


@dataclass(frozen=True)
class Operators:
    """A base matrix, its update and the tuned matrix, in mathematical orientation (outputs x inputs).

    Attributes:
        base: W0.
        update: dW, kept in factors where it is stored so.
        tuned: W0 + dW.
        scale: what one adapter's BA is multiplied by; None for anything else.
        rounding_floor: relative norm that rounding to the stored precision alone can cause; None for factored updates.
        digest: of the base tensor's bytes.
        stored: the precision that it is stored in.
    """

    base: Dense
    update: AbstractOperator
    tuned: AbstractOperator
    scale: float | None
    rounding_floor: float | None
    digest: str
    stored: str


@dataclass(frozen=True)
class AbstractPair(ABC):
    """One matrix of the base that has a tuned counterpart."""

    name: str
    slot: Slot
    base: Checkpoint

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (outputs, inputs)."""
        m, n = self.base.tensors[self.name].shape
        return (n, m) if self.slot.transposed else (m, n)

    @property
    @abstractmethod
    def update_rank(self) -> int:
        """The greatest rank that the update can have, from how it is stored."""

    @abstractmethod
    def load(self, dtype: torch.dtype, device: torch.device) -> Operators:
        """Read both sides and join them."""

    def load_update(self, dtype: torch.dtype, device: torch.device) -> AbstractOperator:
        """The update alone; subclasses read no more for it than they must."""
        return self.load(dtype, device).update

    def _identity(self) -> tuple[str, str]:
        """Digest of the base tensor that was read, and the precision that it is stored in."""
        return self.base.digest(self.name), self.base.tensors[self.name].dtype

    def _oriented(self, tensor: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
        tensor = tensor.to(device=device, dtype=dtype)
        return tensor.T if self.slot.transposed else tensor


@final
@dataclass(frozen=True)
class CheckpointPair(AbstractPair):
    """Both sides are stored whole."""

    tuned: Checkpoint
    tuned_name: str

    @property
    def update_rank(self) -> int:
        """Full rank: a difference can have any."""
        return min(self.shape)

    def load(self, dtype: torch.dtype, device: torch.device) -> Operators:
        """Read both tensors; the update is their difference."""
        first, second = self.base.read(self.name), self.tuned.read(self.tuned_name)
        coarser = max((first, second), key=lambda tensor: torch.finfo(tensor.dtype).eps)
        W0, W = (Dense(self._oriented(tensor, dtype, device)) for tensor in (first, second))
        return Operators(W0, Sum(W, W0, -1.0), W, None, rounding_floor(coarser), *self._identity())

    def load_update(self, dtype: torch.dtype, device: torch.device) -> AbstractOperator:
        """The difference of both tensors, without the floor of its rounding."""
        stored = (self.tuned.read(self.tuned_name), self.base.read(self.name))
        W, W0 = (Dense(self._oriented(tensor, dtype, device)) for tensor in stored)
        return Sum(W, W0, -1.0)


@final
@dataclass(frozen=True)
class AdapterPair(AbstractPair):
    """The update is stored as factors of one adapter, or of several in a weighted sum.

    Attributes:
        terms: adapters, their factors for this matrix, and their weights in the sum.
        replaced: the adapter's own copy of the matrix, if it stores one: (adapter, tensor name).
        rows: trained rows of an embedding: (adapter, tensor name, row indices).
    """

    terms: tuple[tuple[Adapter, Factors, float], ...] = ()
    replaced: tuple[Adapter, str] | None = None
    rows: tuple[Adapter, str, tuple[int, ...]] | None = None

    @property
    def update_rank(self) -> int:
        """The sum of the terms' ranks; any rank for a matrix that is replaced, or whose rows DoRA scales."""
        whole = self.replaced or self.rows or any(factors.magnitude for _, factors, _ in self.terms)
        ranks = [adapter.stored.tensors[factors.A].shape[0] for adapter, factors, _ in self.terms]
        return min(self.shape) if whole else min(sum(ranks), *self.shape)

    def load(self, dtype: torch.dtype, device: torch.device) -> Operators:
        """Read the base and the factors; the product is never multiplied out."""
        stored = self.base.read(self.name)
        W0 = Dense(self._oriented(stored, dtype, device))
        start: AbstractOperator = W0
        if self.replaced is not None or self.rows is not None:
            start = Dense(self._oriented(self._trained(stored), dtype, device))
        tuned, update, scale = start, None, None
        if self.terms:
            update = self.low_rank(dtype, device)
            tuned = Sum(start, update)
            (adapter, factors, _) = self.terms[0]
            scale = update.scale if len(self.terms) == 1 else None
            if factors.magnitude is not None:
                magnitude = adapter.stored.read(factors.magnitude).to(device=device, dtype=torch.float64)
                tuned = RowScaled(magnitude / _row_norms(tuned), tuned)
        plain = update is not None and start is W0 and isinstance(tuned, Sum)
        if not plain or update is None:
            return Operators(W0, Sum(tuned, W0, -1.0), tuned, scale, None, *self._identity())
        return Operators(W0, update, tuned, scale, None, *self._identity())

    def load_update(self, dtype: torch.dtype, device: torch.device) -> AbstractOperator:
        """The factors, where they are all that changes the matrix: the base is not read."""
        whole = self.replaced or self.rows or any(factors.magnitude for _, factors, _ in self.terms)
        return self.low_rank(dtype, device) if self.terms and not whole else self.load(dtype, device).update

    def _trained(self, stored: Tensor) -> Tensor:
        """The adapter's own copy of the matrix, with its trained rows."""
        tensor = stored
        if self.replaced is not None:
            adapter, key = self.replaced
            tensor = adapter.stored.read(key)
            self._same_shape(tuple(tensor.shape), tuple(stored.shape), adapter)
        if self.rows is not None:
            adapter, key, indices = self.rows
            rows = adapter.stored.read(key)
            tensor = tensor.float().clone()
            tensor[torch.tensor(indices)] = rows.float()
        return tensor

    def low_rank(self, dtype: torch.dtype, device: torch.device) -> LowRank:
        """All terms as one product, by stacking factors: exact."""
        lefts, rights = [], []
        for adapter, factors, weight in self.terms:
            A, B = (adapter.stored.read(name).to(device=device, dtype=dtype) for name in (factors.A, factors.B))
            self._same_shape((B.shape[0], A.shape[1]), self.shape, adapter)
            lefts.append(B if len(self.terms) == 1 else B * (weight * factors.scale))
            rights.append(A)
        scale = self.terms[0][1].scale * self.terms[0][2] if len(self.terms) == 1 else 1.0
        return LowRank(torch.cat(lefts, dim=1), torch.cat(rights, dim=0), scale)

    def _same_shape(self, found: tuple[int, ...], wanted: tuple[int, ...], adapter: Adapter) -> None:
        if found != wanted:
            raise MismatchError(
                f"the update of {self.name} has shape {_times(found)}",
                wanted=f"{_times(wanted)}, as in the base",
                remedy=f"name the base that the adapter was trained on ({adapter.base_name or 'it names none'})",
                where=str(adapter.stored.folder),
            )


@final
@dataclass(frozen=True)
class LayerPair(AbstractPair):
    """The update is what PEFT merges into the matrix.

    Attributes:
        adapter: whose layer it is.
        module: the layer's name as the adapter spells it; keys: its tensors in the adapter's file.
    """

    adapter: Adapter
    module: str
    keys: tuple[str, ...]

    @property
    def update_rank(self) -> int:
        """Full rank: a difference can have any."""
        return min(self.shape)

    def load(self, dtype: torch.dtype, device: torch.device) -> Operators:
        """Read the base and the layer's tensors; the update is the difference that merging makes, in float64."""
        stored = self.base.read(self.name)
        read = {self.adapter.homes[key]: self.adapter.stored.read(key).double() for key in self.keys}
        where = str(self.adapter.stored.folder)
        merged = merged_weight(self.adapter.settings, self.module, stored.double(), self.slot.transposed, read, where)
        W0, W = (Dense(self._oriented(tensor, dtype, device)) for tensor in (stored, merged))
        return Operators(W0, Sum(W, W0, -1.0), W, None, None, *self._identity())


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _row_norms(operator: AbstractOperator) -> Tensor:
    """Euclidean norm of every row, float64."""
    norms: Tensor = torch.linalg.vector_norm(operator.to(torch.float64).dense(), dim=1)
    return norms


def rounding_floor(tensor: Tensor) -> float:
    """The relative norm of the rounding error that storing a tensor in its precision causes on average.

    A value in [2^e, 2^(e+1)) is stored with spacing `eps 2^e`; errors spread evenly over a spacing have a root mean
    square of `spacing / sqrt(12)`. The floor is `sqrt(sum spacing^2 / 12) / ||W||_F`.

    Example:
        >>> f"{rounding_floor(torch.full((4, 4), 1.0, dtype=torch.bfloat16)):.5f}"
        '0.00226'
    """
    values = tensor.float()
    norm = float(torch.linalg.vector_norm(values, dtype=torch.float64))
    if norm == 0.0:
        return 0.0
    _, exponent = torch.frexp(values)  # values = mantissa x 2^exponent with mantissa in [0.5, 1)
    spacing = torch.where(values == 0, torch.zeros_like(values), torch.ldexp(torch.ones_like(values), exponent - 1))
    total = float(torch.linalg.vector_norm(spacing, dtype=torch.float64))
    return torch.finfo(tensor.dtype).eps * total / (math.sqrt(12.0) * norm)
