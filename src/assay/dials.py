"""The dial: a trained update replayed at other sizes, without training, beside a random one of equal rank and norm."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from assay.behaviour.forgetting import document_losses, forgetting, read_documents
from assay.behaviour.questions import agreed
from assay.data.tables import source_of
from assay.errors import SettingError
from assay.linalg import AbstractOperator, Dense, Triplets, base_triplets, times
from assay.measures.chance import named_generator, random_update
from assay.measures.intruders import judge_update
from assay.models.deltas import Replay, refuse_other_computation, refuse_other_parameters
from assay.models.loading import Place, find_pair, load, load_merged, load_tokenizer, positions_of
from assay.records import Dial, DialPoint, Forgetting, Provenance, as_given
from assay.records.audit import Direction, Side, energies
from assay.settings import check_count, check_seed
from assay.weights.pairing import pair
from assay.weights.sides import Scope
from assay.weights.updates import AbstractPair

Update = Literal["trained", "random"]
UPDATES: tuple[Update, ...] = ("trained", "random")
MULTIPLIERS = (0.5, 1.0, 2.0, 4.0, 8.0)
_PACKAGES = ("torch", "transformers", "peft", "tokenizers", "numpy", "scipy")


def dial(
    base: str | Path | None,
    tuned: str | Path,
    text: str | Path,
    *,
    other_base: bool = False,
    at: float | Sequence[float] = MULTIPLIERS,
    k: int = 10,
    eps: float = 0.5,
    side: Literal["left", "right"] = "left",
    matrices: str | Sequence[str] | None = None,
    window: int = 1024,
    batch_tokens: int = 1024,
    device: str = "cpu",
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Dial:
    """Replay `W0 + x dW` for several x, trained and random, and measure intruders and the loss on text at each.

    The random control has, matrix by matrix, the trained update's rank and Frobenius norm: what it shows as well is
    due to size and rank and not to what was learned.

    Args:
        base: folder or hub id; None for the one that an adapter names.
        tuned: an adapter or a whole checkpoint of a causal language model.
        text: JSON Lines with a column `text`.
        other_base: whether the base is meant though the adapter was trained on another.
        at: the multipliers x, or one. 1 is the model as it was trained, 0 the base.
        k, eps, side: what is counted as an intruder; see `assay.audit`.
        matrices: shell patterns on names or roles, to audit some matrices only; the model is changed whole.
        window, batch_tokens: see `assay.score`.
        device: cpu, or cuda.
        seed: of the random updates and the bootstrap.
        progress: called with what is being done.

    Raises:
        SettingError: settings without meaning, patterns that fit no matrix, or an update without matrices.
        InputError: the models or the text cannot be used.
        MismatchError: the tuned model is not the base with other values of its parameters (a head of its own, other
            shapes, another setting of its computation), it predicts no text, or the tokenizers differ.

    Example:
        >>> assay.dial("base/", "adapter/", "prose.jsonl").curve("random")[0].forgetting  # doctest: +SKIP
        0.01

    Source: the papers' claim at matched norm, arXiv 2410.21228v3 section 5, with the control that it lacks.
    """
    began = time.perf_counter()
    multipliers = [float(x) for x in (at if isinstance(at, Sequence) else (at,))]
    _check(multipliers, k, eps, seed)
    tell = progress or (lambda _: None)
    home, place = find_pair(base, tuned, other_base)
    refuse_other_computation(home, place)
    window = min(window, *(positions_of(entry) or window for entry in (home, place)))
    tokenizers = [load_tokenizer(entry) for entry in (home, place)]
    documents = agreed(lambda tokenizer: read_documents(text, tokenizer), tokenizers)
    patterns = (matrices,) if isinstance(matrices, str) else None if matrices is None else tuple(matrices)
    pairs = pair(home.folder, place.folder).pairs
    if not pairs:
        raise SettingError("the update changes no matrix", wanted="a method that changes matrices", where=str(tuned))
    scope = Scope(matrices=patterns)
    chosen = [entry for entry in pairs if scope.leaves_out(entry.name, entry.slot) is None]
    if not chosen:
        raise SettingError("no matrix of the update fits", wanted="patterns that fit at least one")
    replay = _Turned(home, place, pairs, seed, device)  # first: it refuses what cannot be turned
    asked = [(update, x) for update in UPDATES for x in multipliers]
    audited = [_Audited(update, x) for update, x in asked]
    for position, entry in enumerate(chosen):
        tell(f"auditing matrix {position + 1} of {len(chosen)}")
        _audit(entry, audited, k, eps, side, seed)
    losses = []
    for update, x in [("trained", 0.0), *asked]:
        tell(f"reading at x{x:g}, {update}")
        replay.turn(x, update == "random")
        losses.append(document_losses(replay.model, documents, window, batch_tokens))
    source = source_of(text)
    lost = [forgetting(source, documents, losses[0], after, window, seed) for after in losses[1:]]
    settings = {
        "at": multipliers,
        "matrices": patterns,
        "other_base": other_base,
        "window": window,
        "batch_tokens": batch_tokens,
        "device": device,
    }
    return Dial(
        provenance=Provenance.of(_PACKAGES, as_given(settings), seed),
        base=home.source,
        tuned=place.source,
        text=source,
        tokens=lost[0].tokens,
        base_loss=lost[0].base_loss,
        matrices=len(chosen),
        of_matrices=len(pairs),
        directions=audited[0].directions,
        k=k,
        eps=eps,
        side=side,
        points=tuple(point.with_loss(loss) for point, loss in zip(audited, lost, strict=True)),
        seconds=time.perf_counter() - began,
    )


def _check(at: Sequence[float], k: int, eps: float, seed: int) -> None:
    """Refuse settings that have no meaning, before anything is read."""
    if not at or not all(math.isfinite(x) and x >= 0 for x in at):
        raise SettingError(f"the multipliers are {list(at)}", wanted="one or more finite numbers, none below 0")
    check_count(k, eps)
    check_seed(seed)


@dataclass
class _Audited:
    """What the audited matrices of one point come to, matrix by matrix."""

    update: Update
    multiplier: float
    directions: int = 0
    count: int = 0
    undecided: int = 0
    intruder_energy: float = 0.0
    energy: float = 0.0
    base_square: float = 0.0
    update_square: float = 0.0

    def add(self, found: Sequence[Direction], base_norm: float, update_norm: float) -> None:
        """Add the directions of one matrix."""
        surely, _, total = energies(found)
        self.directions += len(found)
        self.count += sum(direction.verdict == "intruder" for direction in found)
        self.undecided += sum(direction.verdict == "undecided" for direction in found)
        self.intruder_energy += surely
        self.energy += total
        self.base_square += base_norm**2
        self.update_square += (self.multiplier * update_norm) ** 2

    def with_loss(self, lost: Forgetting) -> DialPoint:
        """The point of the record."""
        return DialPoint(
            update=self.update,
            multiplier=self.multiplier,
            relative_norm=math.sqrt(self.update_square / self.base_square) if self.base_square else 0.0,
            count=self.count,
            undecided=self.undecided,
            energy_share=self.intruder_energy / self.energy if self.energy else 0.0,
            loss=lost.tuned_loss,
            forgetting=lost.mean,
            interval=lost.interval,
        )


def _audit(entry: AbstractPair, points: Sequence[_Audited], k: int, eps: float, side: Side, seed: int) -> None:
    """Judge one matrix at every point; the base is decomposed once, and once more in float64 if it is needed."""
    operators = entry.load(torch.float32, torch.device("cpu"))
    base, norm = operators.base, operators.update.frobenius()
    base_norm = base.frobenius()
    control = _control(entry, norm, seed) if norm else operators.update
    judges = [_Judge(base), _Judge(base.to(torch.float64))]
    for point in points:
        update = times(operators.update if point.update == "trained" else control, point.multiplier)
        found: list[Direction] = []
        for judge in judges:
            found = judge.directions(update, k, eps, side)
            if not any(direction.verdict == "undecided" for direction in found):
                break
        point.add(found, base_norm, norm)


@dataclass(frozen=True)
class _Judge:
    """A base in one precision, decomposed when it is first asked about."""

    base: Dense

    @cached_property
    def triplets(self) -> Triplets:
        return base_triplets(self.base, solver="exact", dtype=self.base.dtype)

    def directions(self, update: AbstractOperator, k: int, eps: float, side: Side) -> list[Direction]:
        update = update.to(self.base.dtype)
        return judge_update(self.base, self.triplets, update, k=k, eps=eps, side=side)


def _control(entry: AbstractPair, norm: float, seed: int) -> AbstractOperator:
    """The random update of a matrix: its trained update's rank and norm, the same wherever it is asked for."""
    return random_update(entry.shape, entry.update_rank, norm, named_generator(entry.slot.canonical, seed))


class _Turned:
    """A base model that is turned to `W0 + x dW`, for the trained dW or its random control.

    Attributes:
        model: the model, with its weights as they were last turned.
    """

    def __init__(self, home: Place, place: Place, pairs: Sequence[AbstractPair], seed: int, device: str) -> None:
        self.model = load(home, "causal-lm", device=device)
        self._seed = seed
        after = dict(load_merged(place, "causal-lm", device=device).named_parameters())
        self._replay = Replay(self.model, pairs, place.source.name)
        refuse_other_parameters(self._replay.start, after, place.source.name)
        self._delta = {name: after[name].detach() - value for name, value in self._replay.start.items()}
        self._delta = {name: delta for name, delta in self._delta.items() if bool(delta.any())}

    def turn(self, x: float, random: bool) -> None:
        """Set every changed parameter to `W0 + x dW`."""
        update = self._random if random else self._delta.__getitem__
        self._replay.turn(lambda name: None if name not in self._delta else x * update(name))

    def _random(self, name: str) -> Tensor:
        """The random control of one parameter; of a vector, one of the same norm."""
        entry, delta = self._replay.pairs[name], self._delta[name]
        norm = float(torch.linalg.vector_norm(delta, dtype=torch.float64))
        if entry is None:
            drawn = torch.randn(delta.shape, generator=named_generator(name, self._seed))
            return (drawn * (norm / float(torch.linalg.vector_norm(drawn)))).to(delta)
        return self._replay.as_stored(name, _control(entry, norm, self._seed))
