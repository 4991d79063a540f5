"""Activation drift: what an update adds to the outputs of every linear layer, on the base's own inputs to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from assay.behaviour.batches import Ids, by_length, padded, width
from assay.behaviour.forgetting import Passage
from assay.behaviour.intervals import RESAMPLES, Floats, percentiles
from assay.behaviour.passes import Pass, digest_of
from assay.errors import InputError
from assay.linalg import AbstractOperator, LowRank
from assay.models.loading import Head, Place
from assay.records import Interval
from assay.records.activation_drift import ActivationDrift, MatrixDrift, PooledDrift
from assay.weights.architecture import Slot
from assay.weights.names import nearest
from assay.weights.pairing import pair
from assay.weights.updates import AbstractPair

# Documents or examples, and tokens of all of them together: the interval follows from the units (within a tenth of the
# drift, on 32 documents of general text), the cost from the tokens (benchmarks/measures.py).
MOST_UNITS, MOST_TOKENS = 32, 512

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Stretches:
    """Token sequences on which a base's inputs are taken, a document's or an example's each.

    Attributes:
        ids: two tokens or more each.
        most: the longest that was allowed.
    """

    ids: tuple[Ids, ...]
    most: int

    @classmethod
    def of(cls, units: Sequence[Passage], window: int) -> Stretches:
        """The beginnings of up to 32 documents, spread evenly over all, 512 tokens together.

        Args:
            units: the documents.
            window: the longest that the model takes.
        """
        chosen, most = _chosen([unit.tokens + unit.unscored for unit in units], window)
        return cls(tuple(units[place].windows(most)[0] for place in chosen), most)

    @classmethod
    def of_prompts(cls, prompts: Sequence[Ids], window: int, ends: bool) -> Stretches:
        """Stretches of a task's prompts: their ends, where the answer follows, or the beginnings of texts."""
        chosen, most = _chosen([len(ids) for ids in prompts], window)
        return cls(tuple(prompts[place][-most:] if ends else prompts[place][:most] for place in chosen), most)


def _chosen(lengths: Sequence[int], window: int) -> tuple[list[int], int]:
    """Positions of the units of two tokens or more that are taken, and how many tokens of each at most."""
    long = [place for place, length in enumerate(lengths) if length > 1]
    count = min(len(long), MOST_UNITS)
    return [long[i * len(long) // count] for i in range(count)], min(window, MOST_TOKENS // max(count, 1))


@dataclass(frozen=True)
class Followed:
    """Linear layers of a base's blocks, each with what an update does to its matrix.

    Attributes:
        slots: place of every such matrix, by its stored name.
        pairs: those that the update may change.
        tuned: identity of the update.
    """

    slots: dict[str, Slot]
    pairs: dict[str, AbstractPair]
    tuned: Any

    @classmethod
    def of(cls, base: Place, tuned: Place, identity: Any) -> tuple[Followed | None, str]:
        """Layers to follow; None where no matrix changes, with a remark where the files cannot be paired."""
        if base.is_adapter:
            return None, ""
        try:
            found = pair(base.folder, tuned.folder)
        except InputError as error:
            return None, f"Activation drift is not measured, since the files cannot be audited: {error}"
        if not found.pairs:
            return None, ""
        pairs = {one.name: one for one in found.pairs}
        slots = {name: one.slot for name, one in pairs.items()} | {name: found.slots[name] for name in found.untouched}
        return cls(slots, pairs, identity), ""

    def asked(self, what: str, stretches: Stretches, head: Head, labels: tuple[str, ...], batch_tokens: int) -> Pass:
        """Question to a base: for every stretch `sum_t ||dW h_t||^2` and `sum_t ||W0 h_t||^2` of every matrix.

        A matrix that no linear layer has, or whose layer is given other rows than the batch's tokens, has None.
        """
        ids = stretches.ids
        batches = tuple(tuple(batch) for batch in by_length(ids, batch_tokens))
        return Pass(
            what=what,
            head=head,
            labels=labels,
            digest=digest_of("activation drift", ids, batches, self.tuned),
            batches=batches,
            costs=tuple(width(ids, batch) for batch in batches),
            ask=lambda model, batch: self._ask(model, [ids[i] for i in batch]),
        )

    def _ask(self, model: Any, sequences: Sequence[Ids]) -> list[list[list[float] | None]]:
        inputs = padded(sequences, model)
        taken = inputs["attention_mask"].bool()
        taken[:, 0] = False  # a sink of attention: its activations are many times as large, and alike in every text
        body = model.base_model
        with _watched(body, self.slots, self.pairs, taken) as seen, torch.inference_mode():
            body(**inputs)
        return [[None if found is None else found[row] for found in seen.values()] for row in range(len(sequences))]

    def settled(self, stretches: Stretches, answers: Sequence[Any], seed: int) -> ActivationDrift | None:
        """The drift with its intervals; None of fewer than two stretches, or where it is not finite."""
        if len(answers) < 2:
            return None
        names = [name for place, name in enumerate(self.slots) if all(one[place] for one in answers)]
        places = [list(self.slots).index(name) for name in names]
        sums = np.array([[one[place] for place in places] for one in answers])  # units x matrices x (change, base)
        if not names or not np.isfinite(sums).all():
            return None
        not_covered = tuple(name for name in self.pairs if name not in names)
        return _record(sums, {name: self.slots[name] for name in names}, stretches, not_covered, seed)


def _record(
    sums: Floats, slots: dict[str, Slot], stretches: Stretches, not_covered: tuple[str, ...], seed: int
) -> ActivationDrift:
    """The record of sums over tokens: of every unit and matrix, what changes beside what was there."""
    units, totals = len(sums), sums.sum(axis=0)
    tokens = sum(len(ids) - 1 for ids in stretches.ids)
    changed = totals[:, 0] > 0
    drawn = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), RESAMPLES)

    def pooled(among: Flags) -> tuple[float, Interval]:
        change, base = sums[:, among].sum(axis=1).T
        return float(change.sum() / base.sum()), percentiles((drawn @ change) / (drawn @ base))

    def groups(of: Callable[[Slot], str]) -> Iterator[PooledDrift]:
        names = [of(slot) for slot in slots.values()]
        for name in dict.fromkeys(names):
            among = np.array([one == name for one in names])
            drift, interval = pooled(among)
            yield PooledDrift(name=name, matrices=int(changed[among].sum()), drift=drift, interval=interval)

    drift, interval = pooled(np.full(len(slots), True))
    median, median_interval = _median(sums[:, changed], drawn)
    return ActivationDrift(
        drift=drift,
        interval=interval,
        median=median,
        median_interval=median_interval,
        roles=tuple(groups(lambda slot: slot.role)),
        layers=tuple(groups(lambda slot: str(slot.layer))),
        matrices=tuple(
            MatrixDrift(name=name, role=slot.role, layer=slot.layer, change=change, base=base)
            for (name, slot), (change, base) in zip(slots.items(), (totals / tokens).tolist(), strict=True)
            if change > 0
        ),
        unchanged=int((~changed).sum()),
        not_covered=not_covered,
        stretch=stretches.most,
        units=units,
        tokens=tokens,
        each=tuple((sums[..., 0].sum(axis=1) / sums[..., 1].sum(axis=1)).tolist()),
        resamples=RESAMPLES,
        seed=seed,
    )


def _median(sums: Floats, drawn: Any) -> tuple[float, Interval]:
    """The median over matrices of their own drifts, units resampled; 0 without a matrix."""
    if not sums.shape[1]:
        return 0.0, (0.0, 0.0)
    change, base = sums[..., 0], sums[..., 1]
    own = change.sum(axis=0) / base.sum(axis=0)
    return float(np.median(own)), percentiles(np.median((drawn @ change) / (drawn @ base), axis=1))


@contextmanager
def _watched(
    body: Any, slots: dict[str, Slot], pairs: dict[str, AbstractPair], taken: Tensor
) -> Iterator[dict[str, list[list[float]] | None]]:
    """Sums over the tokens that are taken, by matrix and row of the batch, filled while a body runs."""
    seen: dict[str, list[list[float]] | None] = dict.fromkeys(slots)
    hooks = [
        module.register_forward_hook(partial(_measure, seen, name, pairs.get(name), taken))
        for name, module in _layers(body, slots)
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _layers(body: nn.Module, slots: dict[str, Slot]) -> Iterator[tuple[str, nn.Module]]:
    """The linear layer that has each matrix as its weight; none for a matrix that is a part of another tensor."""
    from transformers.pytorch_utils import Conv1D

    linear = {name: module for name, module in body.named_modules() if isinstance(module, nn.Linear | Conv1D)}
    for name, slot in slots.items():
        owner = slot.canonical.removesuffix(".weight")
        found = (owner,) if owner in linear else nearest(owner, linear)
        if len(found) == 1:
            yield name, linear[found[0]]


def _measure(
    seen: dict[str, list[list[float]] | None],
    name: str,
    changed: AbstractPair | None,
    taken: Tensor,
    module: Any,
    given: Any,
    output: Tensor,
) -> None:
    """Add what one run of a layer says; rows that are not the batch's tokens, such as an expert's, say nothing."""
    h = given[0].detach().float()
    if h.shape[:-1] not in (taken.shape, (taken.numel(),)):
        return
    kept = output.float() if module.bias is None else output.float() - module.bias.float()
    change = torch.zeros(taken.shape, dtype=torch.float64, device=h.device)
    if changed is not None:
        change = _squares(_times(changed.load_update(torch.float32, h.device), h.flatten(0, -2)).view(output.shape))
    found = torch.stack([change.view(taken.shape), _squares(kept).view(taken.shape)], dim=-1)
    rows = (found * taken.to(h.device)[..., None]).sum(dim=1).tolist()
    before = seen[name] or [[0.0, 0.0]] * len(rows)
    seen[name] = [[x + y for x, y in zip(*pair, strict=True)] for pair in zip(before, rows, strict=True)]


def _times(update: AbstractOperator, h: Tensor) -> Tensor:
    """`dW h` of every row; of a difference its entries are taken first, so that large outputs do not cancel."""
    return update.matmul(h.T).T if isinstance(update, LowRank) else h @ update.dense().T


def _squares(rows: Tensor) -> Tensor:
    """Squared norm of every row, float64."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=-1)
    return norms.double().square()
