"""Scores of a tuned model beside its base's, learning and forgetting in one record."""

from __future__ import annotations

import inspect
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from assay.behaviour.activation_drift import Stretches
from assay.behaviour.asked import Asker, vocabulary_of
from assay.behaviour.diversity import Prompts, diversity, read_prompts
from assay.behaviour.forgetting import Document, Reading, causal_reading, forgetting, read_documents
from assay.behaviour.harness import harness_pass, harness_scores
from assay.behaviour.masked import MaskedDocument, masked_reading, read_masked_documents
from assay.behaviour.parts import Part, settle_parts
from assay.behaviour.passes import Progress
from assay.behaviour.preferences import Preferences, read_preferences, reward_score
from assay.behaviour.questions import agreed
from assay.behaviour.remarks import remarks
from assay.behaviour.tasks import AbstractTask, Asking, kind_of_task, task_score
from assay.behaviour.winning import Contest, read_contest, win_rate
from assay.data.columns import called
from assay.data.tables import Reference, raw_rows, source_of
from assay.errors import SettingError
from assay.linalg.devices import device_of
from assay.models.loading import (
    Place,
    find_pair,
    labels_of,
    load_tokenizer,
    positions_of,
    stored_objective,
)
from assay.models.precision import DTYPES, Held, Number
from assay.models.rewards import reward_of
from assay.models.shared import OneBase
from assay.records import Provenance, Scores, Setting
from assay.settings import Batches, Generation, HarnessTasks, check_seed, deadline
from assay.weights.pairing import Tuned
from assay.weights.sums import as_one_model

_PACKAGES = ("torch", "transformers", "peft", "tokenizers", "numpy", "scipy")


@dataclass(frozen=True)
class _Files:
    """Files or hub data sets to score on, as they were given."""

    text: Reference | None
    task: Reference | None
    prompts: Reference | None
    judge: str | None
    how: str | None
    generation: Generation


@dataclass(frozen=True)
class _Questions:
    """Files as both models' tokenizers read them."""

    documents: tuple[Document, ...] | tuple[MaskedDocument, ...]
    mask: int | None
    task: AbstractTask | None
    preferences: Preferences | None
    prompts: Prompts | Contest | None


def score(
    base: str | Path | None,
    tuned: Tuned,
    text: Reference | None = None,
    task: Reference | None = None,
    *,
    how: str | None = None,
    prompts: Reference | None = None,
    columns: Mapping[str, str] | None = None,
    judge: str | Path | None = None,
    generation: Generation = Generation(),
    harness: HarnessTasks = HarnessTasks(),
    batches: Batches = Batches(),
    other_base: bool = False,
    device: str = "cpu",
    dtype: Number = "float32",
    device_map: Literal["auto"] | None = None,
    seed: int = 0,
    keep: str | Path | None = None,
    shared: OneBase | None = None,
    max_hours: float | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Score a tuned model beside its base, on the same tokens.

    Data are JSON Lines, CSV or Parquet files, or data sets of the hub as `org/name[@revision][:configuration]:split`.

    Args:
        base: folder or hub id; None for the one that an adapter names. Any model may stand here, so two tuned ones can
            be set side by side.
        tuned: folder or hub id: an adapter or a whole model; or `[(adapter, weight), ...]` for a weighted sum of LoRA
            adapters. A classifier predicts text with its base's head.
        other_base: whether the base is meant though the adapter was trained on another.
        text: rows of `text`: how much worse the tuned model predicts it is `scores.forgetting`. The loss of a masked
            model is the pseudo-loss, every token masked in turn.
        task: rows of a kind of task (`assay ls tasks`): `scores.task`; of a reward model, rows of `chosen` and
            `rejected`, or of `reply` and `label`: `scores.reward`.
        how: the kind; told by the columns unless given.
        prompts: rows of `prompt`, and `answer` where replies can be checked: `scores.diversity`; with a judge:
            `scores.wins`.
        columns: the files' own names of columns, by the words of a specification, e.g. `{"answer": "target"}`.
        judge: a reward model, or a function `module:function`, that judges one reply of each model to every prompt.
        generation: how often prompts are answered, and how; the longest reply to a task.
        harness: tasks of lm-eval: `scores.harness`.
        batches: how much is read at once.
        device: cpu, cuda, or auto for whichever there is.
        dtype: of the weights while they are scored: float32, or bf16, which takes half the memory.
        device_map: `auto` to spread a model over all devices, the memory and the disk.
        seed: of the sampling and the bootstraps.
        keep: a folder for what each model answers: a killed score goes on from there, and the next arm finds its base's
            answers there.
        shared: what holds a base for several calls, each with another adapter.
        max_hours: after which it stops; with `keep` it goes on from there.
        progress: called with tokens done, of how many, and what comes next.

    Raises:
        SourceError, CheckpointError, AdapterError: a model or a file that cannot be read.
        MismatchError: the tokenizers differ, so the losses could not be compared; or a model without the head for it.
        InputError: the text or the task cannot be used.
        SettingError: a setting without meaning, no chat template, or no lm-eval.
        StoppedError: `max_hours` are over.

    Example:
        >>> s = assay.score("base/", "tuned/", text="prose.jsonl")  # doctest: +SKIP
        >>> s.forgetting.mean, s.forgetting.interval, s.forgetting.tokens  # doctest: +SKIP
        (0.04, (0.03, 0.05), 7942)
    """
    device = str(device_of(device))
    given: dict[str, Any] = {
        "how": how,
        "columns": dict(columns or {}),
        "judge": None if judge is None else Path(judge).name,
    }
    given |= {"other_base": other_base, "device": device, "dtype": dtype, "device_map": device_map}
    settings = _settings(given, generation, harness, batches, seed)
    _refuse_aimless(given, generation, text, task, prompts, harness)
    began = time.perf_counter()
    with as_one_model(base, tuned, other_base) as model:
        base_place, tuned_place = places = find_pair(base, model, other_base)
        shortest = min(batches.window, *(positions_of(place) or batches.window for place in places))
        if shortest < batches.window:
            settings["window"] = Setting(value=shortest, origin="derived")
        text, task, prompts = (None if one is None else called(one, columns or {}) for one in (text, task, prompts))
        files = _Files(text, task, prompts, None if judge is None else str(judge), how, generation)
        asking = Asking(None, labels_of(tuned_place), shortest, generation.chat, generation.max_tokens)
        masked = stored_objective(base_place) == "masked-lm"
        tokenizers = [load_tokenizer(place) for place in places]
        questions = agreed(lambda own: _questions(files, masked, replace(asking, tokenizer=own)), tokenizers)
        parts = _parts(questions, files, shortest, batches.tokens, seed, vocabulary_of(base_place))
        parts |= _judged(questions, files, tokenizers[1], batches.tokens, device, seed)
        parts |= _harnessed(harness, tokenizers, seed)
        asker = Asker.of(shared, keep, device, Held(numbers=dtype, spread=device_map is not None))
        found, remarked = settle_parts(parts, places, asker, (progress, deadline(max_hours)), batches.tokens, seed)
        harnessed = [found.pop(name) for name in list(found) if name.startswith("harness ")]
        record = Scores(
            provenance=Provenance.of((*_PACKAGES, "lm-eval") if harness.names else _PACKAGES, settings, seed),
            base=base_place.source,
            tuned=tuned_place.source,
            forgetting=found.get("forgetting"),
            task=found.get("task"),
            reward=found.get("reward"),
            wins=found.get("wins"),
            diversity=found.get("diversity"),
            harness=tuple(one for scores, _ in harnessed for one in scores),
            seconds=time.perf_counter() - began,
        )
        left_out = 0 if text is None else len(raw_rows(text)) - len(questions.documents)
        notes = _remarks(record, questions, places, bool(parts.keys() - {"task", "reward"}), left_out)
        notes += [*remarked, *(note for _, out in harnessed for note in out)]
        return record.model_copy(update={"notes": tuple(dict.fromkeys(notes))})


def _remarks(
    record: Scores, questions: _Questions, places: tuple[Place, Place], on_text: bool, left_out: int
) -> list[str]:
    """Remarks beside the numbers: on what was asked, and on code of the models that was not run."""
    base, tuned = places
    cut = questions.prompts.truncated if questions.prompts is not None else 0
    under_base = on_text and stored_objective(tuned) == "sequence-classification"
    found = remarks(record, vocabulary_of(base), under_base, left_out, cut)
    return [*found, *(note for place in places for note in place.code_not_run())]


def _settings(
    given: dict[str, Any], generation: Generation, harness: HarnessTasks, batches: Batches, seed: int
) -> dict[str, Setting]:
    """Settings of the call, each marked if it is the default.

    Raises:
        SettingError: a seed, a dtype or a device map that there is none of.
    """
    if given["dtype"] not in DTYPES or given["device_map"] not in (None, "auto"):
        raise SettingError(
            f"dtype is {given['dtype']!r}, device_map {given['device_map']!r}",
            wanted=f"a dtype of {' or '.join(DTYPES)}, and auto or no device_map",
        )
    check_seed(seed)
    usual = {name: one.default for name, one in inspect.signature(score).parameters.items()}
    usual |= _flat(Generation(), HarnessTasks(), Batches())
    flat = given | _flat(generation, harness, batches)
    return {
        name: Setting(value=value, origin="default" if value in (usual[name], [], {}) else "given")
        for name, value in flat.items()
    }


def _flat(generation: Generation, harness: HarnessTasks, batches: Batches) -> dict[str, Any]:
    """Settings by the names that records have them under; files without their folders."""
    named = {"harness": harness.names, "harness_code": harness.code}
    files = {name: [Path(file).name for file in names] for name, names in named.items()}
    read = {"limit": harness.limit, "window": batches.window, "batch_tokens": batches.tokens}
    return {**vars(generation), **files, **read}


def _refuse_aimless(
    given: dict[str, Any], generation: Generation, text: Any, task: Any, prompts: Any, harness: HarnessTasks
) -> None:
    """Refuse to score on nothing, and a setting of what is not scored on."""
    homes = {
        "how": (given["how"], "a task", task),
        "judge": (given["judge"], "prompts", prompts),
        "chat": (generation.chat, "a task or prompts", task or prompts),
    }
    for name, (value, home, there) in homes.items():
        if value and not there:
            raise SettingError(f"{name} belongs to {home}, and there is none", wanted=f"{home}, or no {name}")
    if text is None and task is None and prompts is None and not harness.names:
        raise SettingError("nothing to score", wanted="text, a task, prompts, or tasks of the harness")


def _questions(files: _Files, masked: bool, asking: Asking) -> _Questions:
    """The files as one tokenizer reads them."""
    documents: tuple[Document, ...] | tuple[MaskedDocument, ...] = ()
    if files.text is not None:
        documents = (read_masked_documents if masked else read_documents)(files.text, asking.tokenizer)
    preferences = read_preferences(files.task, asking) if files.task is not None and files.how is None else None
    task = None
    if files.task is not None and preferences is None:
        task = kind_of_task(files.task, files.how).read(files.task, asking)
    prompts: Prompts | Contest | None = None
    if files.prompts is not None:
        contest = files.judge is not None
        prompts = (
            read_contest(files.prompts, asking, files.generation.temperature)
            if contest
            else read_prompts(files.prompts, asking, files.generation.samples, files.generation.temperature)
        )
    return _Questions(
        documents,
        asking.tokenizer.mask_token_id if masked else None,
        task,
        preferences,
        prompts,
    )


def _parts(
    questions: _Questions, files: _Files, window: int, batch_tokens: int, seed: int, vocabulary: int | None
) -> dict[str, Part]:
    """The parts of the record that were asked for, by their names in it."""
    parts: dict[str, Part] = {}
    if files.text is not None:
        text, documents = source_of(files.text), questions.documents
        reading = _reading(questions, window, batch_tokens)
        parts["forgetting"] = Part(
            reading.asked,
            lambda base, tuned: forgetting(
                text, documents, reading.nats(base), reading.nats(tuned), window, seed, reading.how, vocabulary
            ),
            Stretches.of(documents, window),
        )
    if files.task is not None and (task := questions.task) is not None:
        source = source_of(files.task)

        def settle(base: Any, tuned: Any) -> Any:
            chosen = None if base is None else task.choices(base)
            ours, theirs = task.likelihoods(tuned), None if base is None else task.likelihoods(base)
            known = None if ours is None else (theirs, ours)
            return task_score(source, task, chosen, task.choices(tuned), seed, known)

        stretches = Stretches.of_prompts(task.prompts, window, ends=task.how != "classification head")
        parts["task"] = Part(task.asked(batch_tokens), settle, stretches)
    if files.prompts is not None and isinstance(prompts := questions.prompts, Prompts):
        put = source_of(files.prompts)
        parts["diversity"] = Part(
            prompts.asked(batch_tokens, seed),
            lambda base, tuned: diversity(put, prompts, prompts.unique(base), prompts.unique(tuned), seed),
        )
    return parts


def _judged(
    questions: _Questions, files: _Files, tokenizer: Any, batch_tokens: int, device: str, seed: int
) -> dict[str, Part]:
    """The parts in which something is judged: by a reward model that is scored, or by a judge of replies."""
    parts: dict[str, Part] = {}
    if files.task is not None and (preferences := questions.preferences) is not None:
        source = source_of(files.task)
        parts["reward"] = Part(
            preferences.asked(batch_tokens),
            lambda _, tuned: reward_score(source, preferences, preferences.margins(tuned), seed),
        )
    if files.prompts is not None and files.judge is not None and isinstance(contest := questions.prompts, Contest):
        put, judge = source_of(files.prompts), reward_of(files.judge, tokenizer, device, contest.longest)
        parts["wins"] = Part(
            contest.asked(batch_tokens, seed),
            lambda base, tuned: win_rate(put, contest, judge, base, tuned, batch_tokens, seed),
        )
    return parts


def _reading(questions: _Questions, window: int, batch_tokens: int) -> Reading:
    if questions.mask is None:
        return causal_reading(questions.documents, window, batch_tokens)  # type: ignore[arg-type]  # no mask: documents of a causal model
    return masked_reading(questions.documents, questions.mask, window, batch_tokens)  # type: ignore[arg-type]  # a mask: of a masked one


def _harnessed(harness: HarnessTasks, tokenizers: Sequence[Any], seed: int) -> dict[str, Part]:
    """The parts of the harness; which texts there will be is not known here, so the tokenizers must be one."""
    if harness.names:
        agreed(lambda tokenizer: tokenizer.get_vocab(), tokenizers)
    return {f"harness {name}": _of_harness(name, harness, tokenizers[0], seed) for name in harness.names}


def _of_harness(name: str, harness: HarnessTasks, tokenizer: Any, seed: int) -> Part:
    """One task of the harness: a single answer holds all of its samples."""
    return Part(
        harness_pass(name, tokenizer, harness.limit, code=harness.code),
        lambda base, tuned: harness_scores(base[0], tuned[0], seed),
    )
