"""Forward divergence from base to tuned, a token: the base's last hidden states are kept, and its head run beside."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from assay.behaviour.intervals import RESAMPLES, weighted_mean
from assay.behaviour.passes import Meter, Pass, Sitting, digest_of
from assay.models.wrapped import inner_model
from assay.records.divergence import Divergence

# Tokens of a text at which distributions are compared: each costs one more product with the output layer, and its
# hidden state is kept, 16 MB in all at width 1024 in float32. Chosen by benchmarks/measures.py: at every token of 24
# documents a score cost more than 1.2 times what it costs without the measures.
MOST_TOKENS = 4_096
_AT_ONCE = 128  # positions whose distributions are held at a time: 25 MB at a vocabulary of 49,152
_AGREES = 1e-4  # of the largest logit: what the order of sums can part a layer's outputs by, in float32


@dataclass
class _Seen:
    hidden: Tensor | None = None
    logits: Tensor | None = None


def keeping_states(asked: Pass) -> Pass:
    """The same pass for a base: each answer with the hidden states from which its distributions follow.

    They are what the output layer is given. Where that layer does not make the logits by itself (they are scaled or
    capped after it), None stands for them.
    """
    widths = _widths(asked)

    def ask(model: Any, batch: Sequence[int]) -> Sequence[Any]:
        layer = output_layer(model)
        with _watched(model, layer) as seen:
            answers = asked.ask(model, batch)
        kept: list[Any] = [None] * len(batch)
        makes: bool | None = None  # tried once a batch: for one position the whole layer is read
        if layer is not None and seen.hidden is not None and seen.logits is not None:
            for row, question in enumerate(batch):
                hidden, logits = (_at(one[row], asked.compared[question], widths[tuple(batch)]) for one in _both(seen))
                if len(hidden) and makes is None:
                    makes = _makes(layer, hidden[:1], logits[:1])
                if len(hidden) and makes:
                    kept[row] = _written(hidden)
        return [[answer, state] for answer, state in zip(answers, kept, strict=True)]

    return replace(asked, digest=_digest(asked, "states"), ask=ask)


def diverging(asked: Pass, states: Sequence[Any], layer: Callable[[], Any]) -> Pass:
    """The same pass for a tuned model: each answer with `sum_t KL(base_t || tuned_t)` over its positions, nats.

    Args:
        asked: the pass that the base was asked.
        states: what the base's answers came with, question by question.
        layer: gives the base's output layer; called when the first batch is asked.
    """
    widths = _widths(asked)

    def ask(model: Any, batch: Sequence[int]) -> Sequence[Any]:
        with _watched(model, None) as seen:
            answers = asked.ask(model, batch)
        found: list[float | None] = [None] * len(batch)
        for row, question in enumerate(batch):
            if states[question] is not None and seen.logits is not None:
                logits = _at(seen.logits[row], asked.compared[question], widths[tuple(batch)])
                found[row] = divergence(layer(), _read(states[question], logits.device), logits)
        return [[answer, nats] for answer, nats in zip(answers, found, strict=True)]

    return replace(asked, digest=_digest(asked, "divergence"), ask=ask)


def divergence(layer: Any, hidden: Tensor, logits: Tensor) -> float | None:
    """`sum_t sum_v p_t(v) (ln p_t(v) - ln q_t(v))`, exact over the vocabulary, p the base's and q the tuned model's.

    Args:
        layer: the base's output layer.
        hidden: what it is given, shape (positions, width).
        logits: the tuned model's, shape (positions, vocabulary).

    Returns:
        Nats, summed over the positions; None where the vocabularies have different sizes, or q is zero where p is not.

    Example:
        >>> divergence(torch.nn.Identity(), torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 0.0]]))
        0.0
    """
    total = 0.0
    with torch.inference_mode():
        for states, theirs in zip(hidden.split(_AT_ONCE), logits.split(_AT_ONCE), strict=True):
            p = torch.log_softmax(layer(states).float(), dim=-1)
            if p.shape != theirs.shape:
                return None
            q = torch.log_softmax(theirs.float(), dim=-1)
            total += float((p.exp() * (p - q)).sum(dim=-1, dtype=torch.float64).sum())
    return total if math.isfinite(total) else None


def settled(asked: Pass, found: Sequence[float | None], seed: int) -> Divergence | None:
    """The divergence a token with its interval, what belongs to one document or example taken together.

    Returns:
        None where it is not known at every position, or of fewer than two units.
    """
    nats: dict[int, float] = {}
    tokens: dict[int, int] = {}
    for owner, places, value in zip(asked.owners, asked.compared, found, strict=True):
        if not places:
            continue
        if value is None:
            return None
        nats[owner], tokens[owner] = nats.get(owner, 0.0) + value, tokens.get(owner, 0) + len(places)
    if len(nats) < 2:
        return None
    mean, interval = weighted_mean(np.array(list(nats.values())), np.array(list(tokens.values()), dtype=float), seed)
    each = tuple(nats[owner] / tokens[owner] for owner in nats)
    positions = sum(tokens.values())
    return Divergence(
        mean=mean, interval=interval, units=len(nats), tokens=positions, each=each, resamples=RESAMPLES, seed=seed
    )


def ask_both(
    models: tuple[Sitting, Sitting], passes: Mapping[str, Pass], asked: Sequence[Sequence[str]], meter: Meter
) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Ask a base and a tuned model, one after the other; the base's output layer is all that stays of it.

    Args:
        models: the base, the tuned model.
        passes: by name; asked: the names of those that each of the two is asked.
        meter: told what is done.

    Returns:
        The answers of each by the passes' names; of passes that compare, each comes with what is compared.
    """
    base, tuned = models
    of_base = {
        name: base.answers(keeping_states(passes[name]) if passes[name].compared else passes[name], meter)
        for name in asked[0]
    }
    layers: list[Any] = []
    diverge = {
        name: diverging(passes[name], [state for _, state in of_base[name]], lambda: layers[0])
        for name in asked[1]
        if passes[name].compared and name in of_base
    }
    # The layer is taken before the tuned model is there: an adapter may sit on this very base in memory.
    if needed := next((name for name, one in diverge.items() if not tuned.has_answered(one)), None):
        layers.append(base.part(passes[needed], output_layer))
    base.release()
    return of_base, {name: tuned.answers(diverge.get(name, passes[name]), meter) for name in asked[1]}


def output_layer(model: Any) -> Any:
    """The layer that makes logits of hidden states; None if a model has none."""
    inner = inner_model(model)
    return inner.get_output_embeddings()


@contextmanager
def _watched(model: Any, layer: Any) -> Iterator[_Seen]:
    """The last input of a layer and the last logits of a model."""
    seen = _Seen()
    inner = inner_model(model)

    def before(_module: Any, given: Any) -> None:
        seen.hidden = given[0].detach()

    def after(_module: Any, _given: Any, output: Any) -> None:
        seen.logits = output.logits.detach()

    hooks = [part.register_forward_hook(after) for part in {model, inner}]
    hooks += [layer.register_forward_pre_hook(before)] if layer is not None else []
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _both(seen: _Seen) -> tuple[Tensor, Tensor]:
    if seen.hidden is None or seen.logits is None:
        raise ValueError("nothing was seen")
    return seen.hidden, seen.logits


def _widths(asked: Pass) -> dict[tuple[int, ...], int]:
    """Tokens in each row of a batch, with padding."""
    return {batch: cost // len(batch) for batch, cost in zip(asked.batches, asked.costs, strict=True)}


def _at(row: Tensor, places: range, width: int) -> Tensor:
    """A row's positions of its input; it may begin later, or before it with learned vectors."""
    off = len(row) - width
    return row[places.start + off : places.stop + off : places.step]


def _makes(layer: Any, hidden: Tensor, logits: Tensor) -> bool:
    """True if a layer's outputs are the model's logits, to rounding."""
    with torch.inference_mode():
        made = layer(hidden)
    size = float(logits.abs().max())
    room = size * max(2 * torch.finfo(logits.dtype).eps, _AGREES)
    return made.shape == logits.shape and float((made - logits).abs().max()) <= room


def _digest(asked: Pass, what: str) -> str | None:
    return None if asked.digest is None else digest_of(asked.digest, what, asked.compared)


def _written(hidden: Tensor) -> dict[str, Any]:
    """Hidden states as JSON can hold them, bit by bit."""
    data = hidden.contiguous().cpu().view(torch.uint8).numpy().tobytes()
    dtype = str(hidden.dtype).removeprefix("torch.")
    return {"shape": list(hidden.shape), "dtype": dtype, "data": base64.b64encode(data).decode()}


def _read(state: dict[str, Any], device: torch.device) -> Tensor:
    data = bytearray(base64.b64decode(state["data"]))
    dtype = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}
    return torch.frombuffer(data, dtype=dtype[state["dtype"]]).view(*state["shape"]).to(device)
