"""A dial from files to a record: find, analyse, place points, audit and read them, compare and choose."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, get_args

from assay.behaviour.questions import Questions, read_questions
from assay.dials.matched import points_of_budget
from assay.dials.matrices import Looking
from assay.dials.reading import Bench, read_path
from assay.errors import SettingError
from assay.linalg.devices import device_of
from assay.measures.matrix import Question
from assay.measures.repair import Which
from assay.models.deltas import refuse_other_computation
from assay.models.loading import Place, find_pair, load_tokenizer
from assay.records import Dial, Provenance, as_given
from assay.records.dial import By
from assay.settings import Batches, check_count, check_seed
from assay.weights.pairing import pair
from assay.weights.sides import Scope
from assay.weights.spectra_cache import SpectraCache

PACKAGES = ("torch", "transformers", "peft", "safetensors", "tokenizers", "numpy", "scipy")


def dial(
    base: str | Path | None,
    tuned: str | Path,
    text: str | Path | None = None,
    task: str | Path | None = None,
    *,
    other_base: bool = False,
    by: By = "size",
    at: float | Sequence[float] | None = None,
    budget: str | None = None,
    which: Which = "all",
    k: int = 10,
    eps: float = 0.5,
    side: Literal["left", "right"] = "left",
    matrices: str | Sequence[str] | None = None,
    batches: Batches = Batches(),
    device: str = "cpu",
    cache: bool = True,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Dial:
    """Read a tuned model's weights along a path at several points, without training, beside controls.

    By size: `W0 + x dW`, the whole update; 1 is the tuned model, 0 the base, between them the way back (WiSE-FT),
    beyond 1 extrapolated. Its control is a random update of the same rank and norm, matrix by matrix. By rank: the
    first x singular directions of every matrix's dW. By noise: its singular directions above x times the optimal hard
    threshold for noise of unknown size. By intruders: every intruder of `W0 + dW` times x. The controls of the last
    three are named by what is equal; see `DialPoint`. With a text and a task every point is set beside the way back
    where that has the same task score.

    Args:
        base: folder or hub id; None for the one that an adapter names.
        tuned: an adapter or a whole checkpoint.
        text, task: as for `assay.score`; without both, only weights are looked at.
        other_base: whether the base is meant though the adapter was trained on another.
        by: size, rank, noise or intruders.
        at: the points, or one. Unless given: sizes .5 to 8; ranks the powers of two; multiples .5 to 2; keeps 0 to
            .9. By rank, 0 and the whole update are always there.
        budget: `task<=1%`: name the x of least loss that costs at most one point of accuracy, if it is shown to have
            less loss than the tuned model and, at equal task score, than the way back.
        which: by intruders, all of them or the top one of each matrix.
        k, eps, side: what is counted as an intruder; see `assay.audit`.
        matrices: shell patterns on names or roles, to look at some matrices only: by intruders only they are edited, by
            size and rank the model is changed whole.
        batches, device: see `assay.score`; cache: see `assay.audit`.
        seed: of what is random, and the bootstraps.
        progress: called with what is being done.

    Raises:
        SettingError: settings without meaning, patterns that fit no matrix, or an update without matrices or, by noise,
            without noise.
        InputError: the models, the text or the task cannot be used.
        MismatchError: by size, the tuned model is not the base with other values of its parameters; or it computes
            something else; or the tokenizers differ; or it has no head for what is asked.

    Example:
        >>> found = assay.dial("base/", "adapter/", "prose.jsonl", "task.jsonl", at=(0, 0.5, 1))  # doctest: +SKIP
        >>> [(point.x, point.forgetting, point.accuracy.value) for point in found.curve("size")]  # doctest: +SKIP
        [(0.0, 0.0, 0.51), (0.5, 0.08, 0.74), (1.0, 0.62, 0.81)]

    Sources: arXiv 2410.21228v3, section 5 (matched norm); arXiv 2109.01903 (WiSE-FT); arXiv 2106.09685, section 7
    (first directions); Gavish & Donoho 2014 and arXiv 2605.20296 (noise).
    """
    began = time.perf_counter()
    points = None if at is None else tuple(float(x) for x in (at if isinstance(at, Sequence) else (at,)))
    check_points(by, points)
    check_count(k, eps)
    check_seed(seed)
    points_of_budget(budget, text is not None and task is not None)
    if which != "all" and by != "intruders":
        raise SettingError(f"which is {which!r}", wanted="by intruders, or no which")
    patterns = (matrices,) if isinstance(matrices, str) else None if matrices is None else tuple(matrices)
    home, place = find_pair(base, tuned, other_base)
    refuse_other_computation(home, place)
    asked = read_asked(home, place, text, task, batches)
    pairs = pair(home.folder, place.folder).pairs
    if not pairs:
        raise SettingError("the update changes no matrix", wanted="a method that changes matrices", where=str(tuned))
    scope = Scope(matrices=patterns)
    audited = [entry for entry in pairs if scope.leaves_out(entry.name, entry.slot) is None]
    if not audited:
        raise SettingError("no matrix of the update fits", wanted="patterns that fit at least one")
    kept = SpectraCache.default() if cache else None
    question = Question(k=k, eps=(eps,), side=side, seed=seed)
    bench = Bench(home, place, asked, Looking(by, question, which, device_of(device), kept), device, progress)
    reading = read_path(bench, pairs if by != "intruders" else audited, audited, points, budget)
    settings = {
        "other_base": other_base,
        "by": by,
        "at": at,
        "budget": budget,
        "which": which,
        "matrices": patterns,
        "window": batches.window,
        "batch_tokens": batches.tokens,
        "device": device,
    }
    return reading.record(Provenance.of(PACKAGES, as_given(settings), seed), began)


def check_points(by: By, at: Sequence[float] | None) -> None:
    """Refuse points that a path does not have.

    Raises:
        SettingError: with what the path takes.
    """
    if by not in get_args(By):
        raise SettingError(f"by is {by!r}", wanted="size, rank, noise or intruders")
    if at is None:
        return
    right = {
        "size": lambda x: x >= 0,
        "rank": lambda x: x >= 1 and x == int(x),
        "noise": lambda x: x >= 0,
        "intruders": lambda x: 0 <= x <= 1,
    }
    if not at or not all(math.isfinite(x) and right[by](x) for x in at):
        wanted = {
            "size": "one or more finite numbers, none below 0",
            "rank": "one or more whole numbers, none below 1",
            "noise": "one or more finite numbers, none below 0",
            "intruders": "one or more numbers from 0 to 1",
        }
        raise SettingError(f"the points are {list(at)}", wanted=wanted[by])


def read_asked(
    home: Place, place: Place, text: str | Path | None, task: str | Path | None, batches: Batches
) -> Questions | None:
    """The questions for the models; None if there are none."""
    if text is None and task is None:
        return None
    return read_questions(home, place, load_tokenizer(place), text, task, batches.window, batches.tokens)
