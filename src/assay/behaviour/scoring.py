"""What was learned and what was lost: a tuned model's scores beside its base's, in one record."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from assay import digests
from assay.behaviour.forgetting import Document, document_losses, forgetting, read_documents
from assay.behaviour.intervals import Floats
from assay.behaviour.tasks import Task, choose, read_task, task_score
from assay.errors import MismatchError, SettingError
from assay.models import Place, base_of, find, load, load_tokenizer, positions_of, stored_objective
from assay.records import Provenance, Run, Scores, Setting, Source

_PACKAGES = ("torch", "transformers", "peft", "tokenizers", "numpy", "scipy")


@dataclass(frozen=True)
class _Questions:
    """What both models are asked."""

    documents: tuple[Document, ...]
    task: Task | None


@dataclass(frozen=True)
class _Answers:
    """What one model answered."""

    nats: Floats | None
    choices: tuple[int, ...] | None


def score(
    base: str | Path | None,
    tuned: str | Path,
    text: str | Path | None = None,
    task: str | Path | None = None,
    *,
    window: int = 1024,
    batch_tokens: int = 1024,
    device: str = "cpu",
    seed: int = 0,
) -> Scores:
    """Score a tuned model beside its base, on the same tokens.

    Args:
        base: folder or hub id; None for the one that an adapter names. Any model may stand here, so two tuned ones can
            be set side by side.
        tuned: folder or hub id: an adapter or a whole model.
        text: JSON Lines with a column `text`: how much worse the tuned model predicts it is `scores.forgetting`.
        task: JSON Lines with `prompt` and `answer` (answered by likelihood) or `text` and `label` (by the models'
            classification head): `scores.task`.
        window: longest sequence in tokens; less where the model takes less.
        batch_tokens: tokens in a batch, with padding; bounds the memory.
        device: cpu, or cuda.
        seed: of the bootstraps.

    Raises:
        SourceError, CheckpointError, AdapterError: a model or a file that cannot be read.
        MismatchError: the tokenizers differ, so the losses could not be compared; or a model without the head for it.
        InputError: the text or the task cannot be used.

    Example:
        >>> s = assay.score("base/", "tuned/", text="prose.jsonl")  # doctest: +SKIP
        >>> s.forgetting.mean, s.forgetting.interval, s.forgetting.tokens  # doctest: +SKIP
        (0.04, (0.03, 0.05), 7942)
    """
    if text is None and task is None:
        raise SettingError("nothing to score", wanted="text, a task, or both")
    began = time.perf_counter()
    tuned_place = find(tuned)
    base_place = find(base) if base is not None else base_of(tuned_place)
    places = (base_place, tuned_place)
    asked, window = window, min(window, *(positions_of(place) or window for place in places))
    labels = _labels(tuned_place)
    questions = _same_questions(places, text, task, labels, window)
    ours, theirs = (_ask(place, questions, window, batch_tokens, device) for place in places)
    notes = [] if ours.choices or questions.task is None else ["The base has no head for the task: no pair."]
    lost, learned = None, None
    if text is not None and ours.nats is not None and theirs.nats is not None:
        lost = forgetting(_source(text), questions.documents, ours.nats, theirs.nats, window, seed)
    if task is not None and questions.task is not None and theirs.choices is not None:
        learned = task_score(_source(task), questions.task, ours.choices, theirs.choices, seed)
    settings = {
        "window": Setting(value=window, origin="given" if window == asked else "derived"),
        "batch_tokens": Setting(value=batch_tokens, origin="given"),
        "device": Setting(value=device, origin="given"),
    }
    return Scores(
        provenance=Provenance.of(_PACKAGES, settings, seed),
        base=base_place.source,
        tuned=tuned_place.source,
        forgetting=lost,
        task=learned,
        notes=tuple(notes),
        seconds=time.perf_counter() - began,
    )


def _source(path: str | Path) -> Source:
    return Source(name=Path(path).name, digest=digests.of_files([Path(path)]))


def _same_questions(
    places: tuple[Place, Place], text: str | Path | None, task: str | Path | None, labels: tuple[str, ...], window: int
) -> _Questions:
    """Read the files with both tokenizers.

    Raises:
        MismatchError: they give different tokens.
    """
    read = []
    for place in places:
        tokenizer = load_tokenizer(place)
        documents = read_documents(Path(text), tokenizer) if text is not None else ()
        read.append(
            _Questions(documents, read_task(Path(task), tokenizer, labels, window) if task is not None else None)
        )
    if read[0] != read[1]:
        raise MismatchError(
            "the two models' tokenizers give different tokens", wanted="the same tokens, so that losses can be compared"
        )
    return read[0]


def _ask(place: Place, questions: _Questions, window: int, batch_tokens: int, device: str) -> _Answers:
    """Everything asked of one model; each kind of head is loaded once."""
    task, nats, choices = questions.task, None, None
    stored = stored_objective(place)
    if questions.documents or (task is not None and task.how == "answer likelihood"):
        if stored == "sequence-classification":
            raise MismatchError(
                "the model classifies and predicts no text", wanted="a language model", where=place.source.name
            )
        model = load(place, "causal-lm", device=device)
        if questions.documents:
            nats = document_losses(model, questions.documents, window, batch_tokens)
        if task is not None and task.how == "answer likelihood":
            choices = choose(model, task, batch_tokens)
    if task is not None and task.how == "classification head" and stored == "sequence-classification":
        choices = choose(load(place, stored, task.answers, device), task, batch_tokens)
    return _Answers(nats, choices)


def _labels(place: Place) -> tuple[str, ...]:
    """The classes of a stored head, in its order; empty where they have no names."""
    if (place.folder / "run.json").exists():
        return Run.read(place.folder / "run.json").labels
    config = place.folder / "config.json"
    named = json.loads(config.read_text(encoding="utf8")).get("id2label") if config.exists() else None
    labels = tuple(named[key] for key in sorted(named, key=int)) if named else ()
    return () if all(label == f"LABEL_{i}" for i, label in enumerate(labels)) else labels
