"""Rank truncation: task score and loss on text with only the first singular directions of a trained update."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from assay.behaviour.forgetting import forgetting
from assay.behaviour.questions import Answers, Questions, read_questions
from assay.behaviour.tasks import task_score
from assay.errors import SettingError
from assay.linalg import AbstractOperator, Dense, LowRank
from assay.models.deltas import Replay, refuse_other_computation
from assay.models.loading import find_pair, load, load_merged, load_tokenizer
from assay.records import Provenance, Truncation, TruncationPoint, as_given
from assay.settings import check_seed
from assay.weights.pairing import pair

_PACKAGES = ("torch", "transformers", "peft", "tokenizers", "numpy", "scipy")
Triple = tuple[Tensor, Tensor, Tensor]  # U (m, r), sigma (r,), V (n, r)


def truncate(
    base: str | Path | None,
    tuned: str | Path,
    text: str | Path | None = None,
    task: str | Path | None = None,
    *,
    other_base: bool = False,
    ranks: int | Sequence[int] | None = None,
    window: int = 1024,
    batch_tokens: int = 1024,
    device: str = "cpu",
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Truncation:
    """Score `W0 + sum_{i <= j} sigma_i u_i v_i^T` for several j, `(u, sigma, v)` from the SVD of each matrix's dW.

    Biases, heads and whatever else of the update is no matrix of the body stay as they were tuned.

    Args:
        base: folder or hub id; None for the one that an adapter names.
        tuned: an adapter or a whole checkpoint.
        text, task: as for `assay.score`; at least one.
        other_base: whether the base is meant though the adapter was trained on another.
        ranks: the j, or one; powers of two up to the update's rank unless given. 0 and the whole update are always
            there.
        window, batch_tokens, device, seed: as for `assay.score`.
        progress: called with what is being done.

    Raises:
        SettingError: nothing to measure, a rank below 1, a seed below 0, or an update without matrices.
        MismatchError, InputError: the models, the text or the task cannot be used; or the tuned model's configuration
            computes something else than the base's, so that rank 0 would not be the base.

    Example:
        >>> cut = assay.truncate("base/", "adapter/", text="prose.jsonl")  # doctest: +SKIP
        >>> [(point.rank, point.kept, point.forgetting) for point in cut.points]  # doctest: +SKIP
        [(0, 0.0, 0.0), (1, 0.61, 0.02), (2, 0.83, 0.04), (4, 1.0, 0.07)]

    Source: arXiv 2106.09685, section 7: the first directions carry what is useful.
    """
    began = time.perf_counter()
    if text is None and task is None:
        raise SettingError("nothing to measure", wanted="a text, a task, or both")
    asked = [ranks] if isinstance(ranks, int) else None if ranks is None else list(ranks)
    if asked is not None and (not asked or min(asked) < 1):
        raise SettingError(f"the ranks are {asked}", wanted="one or more whole numbers, none below 1")
    check_seed(seed)
    tell = progress or (lambda _: None)
    home, place = find_pair(base, tuned, other_base)
    refuse_other_computation(home, place)
    questions = read_questions(home, place, load_tokenizer(home), text, task, window, batch_tokens)
    pairs = pair(home.folder, place.folder).pairs
    updates = {entry.name: singular(entry.load(torch.float32, torch.device("cpu")).update) for entry in pairs}
    if not updates:
        raise SettingError("the update changes no matrix", wanted="a method that changes matrices", where=str(tuned))
    largest = max(int((sigma > 0).sum()) for _, sigma, _ in updates.values())
    chosen = sorted({0, largest, *(min(rank, largest) for rank in (asked or _powers(largest)))})
    tell("reading the base")
    # A base has no head for the classes of the task.
    of_base = Answers() if questions.classes else questions.ask(load(home, "causal-lm", device=device))
    model = load_merged(place, questions.head, questions.classes, device)
    replay, points = Replay(model, pairs, place.source.name), []
    for rank in chosen:
        tell(f"reading at rank {rank} of {largest}")

        def change(name: str, rank: int = rank) -> Tensor | None:
            entry = replay.pairs[name]
            return None if entry is None else replay.as_stored(name, _tail(updates[entry.name], rank))

        replay.turn(change)
        kept = _kept(updates.values(), rank)
        points.append(_point(questions, of_base, questions.ask(model), rank, kept, seed))
    settings = {
        "ranks": asked,
        "other_base": other_base,
        "window": questions.window,
        "batch_tokens": batch_tokens,
    }
    return Truncation(
        provenance=Provenance.of(_PACKAGES, as_given(settings), seed),
        base=home.source,
        tuned=place.source,
        text=questions.text,
        task=questions.task_source,
        matrices=len(pairs),
        rank=largest,
        base_accuracy=None if of_base.right is None else float(of_base.right.mean()),
        base_loss=None if of_base.nats is None else float(of_base.nats.sum() / questions.tokens.sum()),
        points=tuple(points),
        seconds=time.perf_counter() - began,
    )


def _point(questions: Questions, base: Answers, told: Answers, rank: int, kept: float, seed: int) -> TruncationPoint:
    lost = scored = None
    if questions.text is not None and base.nats is not None and told.nats is not None:
        lost = forgetting(questions.text, questions.documents, base.nats, told.nats, questions.window, seed)
    if questions.task_source is not None and questions.task is not None and told.choices is not None:
        scored = task_score(questions.task_source, questions.task, base.choices, told.choices, seed)
    return TruncationPoint(
        rank=rank,
        kept=kept,
        accuracy=scored.tuned_accuracy if scored else None,
        accuracy_interval=scored.tuned_interval if scored else None,
        forgetting=lost.mean if lost else None,
        interval=lost.interval if lost else None,
    )


def singular(update: AbstractOperator) -> Triple:
    """All singular triplets of an update; of a factored one, from its core."""
    if isinstance(update, LowRank):
        left, core, right = update.core()
        inner, sigma, outer = torch.linalg.svd(core)
        return (left @ inner).float(), sigma.float(), (right @ outer.T).float()
    U, sigma, Vt = torch.linalg.svd(update.dense().double(), full_matrices=False)
    return U.float(), sigma.float(), Vt.T.float()


def _tail(update: Triple, rank: int) -> AbstractOperator:
    """What is to be added to a whole update so that its first directions are left: minus the others."""
    U, sigma, V = update
    return Dense(-(U[:, rank:] * sigma[rank:]) @ V[:, rank:].T)


def _kept(updates: Iterable[Triple], rank: int) -> float:
    squares = [sigma**2 for _, sigma, _ in updates]
    whole = sum(float(one.sum()) for one in squares)
    return sum(float(one[:rank].sum()) for one in squares) / whole if whole else 0.0


def _powers(largest: int) -> list[int]:
    return [2**power for power in range(largest.bit_length())]
