"""Tasks of lm-eval on both models, paired by document; the only module that knows the harness."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from assay.behaviour.intervals import RESAMPLES, mcnemar, weighted_mean
from assay.behaviour.passes import Pass, digest_of
from assay.behaviour.task_files import sandboxed_templates, task_of_file
from assay.errors import InputError, MismatchError, SettingError
from assay.records import HarnessScore

_BATCH = 8  # sequences at once; the harness has no bound by tokens


def harness_pass(task: str, tokenizer: Any, limit: int | None, what: str = "", code: Sequence[str] = ()) -> Pass:
    """One task of the harness as a question to a model: the answer is its samples with their metrics.

    Code that a task would run on a model's replies is not run: the harness refuses such a task.

    Args:
        task: a name of the harness (`hellaswag`), or a YAML file of a task.
        tokenizer: the models' tokenizer.
        limit: documents of the task; all unless given.
        what: for whoever waits.
        code: Python files that a task's file may run (`!function`); of another's it is refused.

    Raises:
        SettingError: the harness is not installed, or has no such task.
        CodeError: the file runs code that was not asked for.
        InputError: the file cannot be read.
    """
    manager, name = _manager(task, code)
    return Pass(
        what=what or name,
        head="causal-lm",
        # What a task's file reads may have changed since; a task of the harness's own is known by its version.
        digest=None if Path(task).is_file() else digest_of("harness", version("lm-eval"), name, limit),
        batches=((0,),),
        costs=(0,),  # the harness does not say beforehand how much there is
        ask=lambda model, _: [_samples(model, tokenizer, name, manager, limit)],
    )


def _manager(task: str, code: Sequence[str]) -> tuple[Any, str]:
    """lm-eval's task manager for a task, and the task's name."""
    try:
        version("lm-eval")
    except PackageNotFoundError:
        raise SettingError(
            "lm-eval is not installed", wanted="its tasks", remedy="pip install 'assay-finetune[eval]'"
        ) from None
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    path = Path(task)
    if not path.is_file():
        manager = TaskManager()
        if task not in manager.all_tasks:
            raise SettingError(
                f"lm-eval has no task {task!r}", wanted="one of `lm-eval ls tasks`, or a task's YAML file"
            )
        return manager, task
    name = task_of_file(path, code)
    manager = TaskManager(include_path=str(path.parent), include_defaults=False)
    found = manager.task_index.get(name)
    if found is None or Path(found.yaml_path).resolve() != path.resolve():
        raise InputError(
            f"another file in its folder has a task of the name {name!r}", wanted="a name of its own", where=path.name
        )
    return manager, name


def _samples(model: Any, tokenizer: Any, name: str, manager: Any, limit: int | None) -> list[dict[str, Any]]:
    """Every metric of every document, and what tells that two models saw the same."""
    from jinja2 import TemplateError
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    device = str(next(iter(model.parameters())).device)
    spoken = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=_BATCH, device=device, trust_remote_code=False)
    try:
        with sandboxed_templates():
            found = simple_evaluate(
                model=spoken, tasks=[name], task_manager=manager, limit=limit, bootstrap_iters=0, log_samples=True
            )
    except (OSError, ValueError, RuntimeError, LookupError, TemplateError) as error:  # by what the task's file lacks
        first = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(f"lm-eval could not run it ({first})", where=name) from None
    told = []
    for task, samples in found["samples"].items():
        shots = found["n-shot"].get(task, 0)
        for sample in samples:
            for metric in sample["metrics"]:
                told.append(
                    {
                        "task": task,
                        "version": str(found["versions"].get(task, "")),
                        "few_shot": int(shots),
                        "filter": sample["filter"],
                        "metric": metric,
                        "higher_is_better": bool(found["higher_is_better"][task].get(metric, True)),
                        "document": f"{sample['doc_hash']} {sample['prompt_hash']}",
                        "value": float(sample[metric]) if isinstance(sample[metric], Real) else None,
                    }
                )
    return told


def harness_scores(
    base: Sequence[dict[str, Any]], tuned: Sequence[dict[str, Any]], seed: int = 0
) -> tuple[list[HarnessScore], list[str]]:
    """Set both models' samples side by side, a metric at a time.

    Returns:
        The scores; and what is left out, a sentence each: metrics without a value per document, such as BLEU.

    Raises:
        MismatchError: the models did not see the same documents.
    """
    ours, theirs = _by_metric(base), _by_metric(tuned)
    scores, left_out = [], []
    for key, one in ours.items():
        other = theirs.get(key, [])
        seen = [[sample["document"] for sample in samples] for samples in (one, other)]
        if seen[0] != seen[1]:
            raise MismatchError("the two models did not see the same documents of the harness", where=key[0])
        values = [[sample["value"] for sample in samples] for samples in (one, other)]
        if None in values[0] + values[1]:
            left_out.append(f"{key[0]}: {key[2]} has no value for each document and is left out.")
        elif len(seen[0]) < 2:
            raise InputError(
                "the harness has one document", wanted="two or more, so that there is a spread", where=key[0]
            )
        else:
            scores.append(_score(one[0], np.array(values[0]), np.array(values[1]), digest_of(seen[0]), seed))
    return scores, left_out


def _by_metric(samples: Sequence[dict[str, Any]]) -> dict[tuple[str, str, str], list[dict[str, Any]]]:
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for sample in samples:
        groups.setdefault((sample["task"], sample["filter"], sample["metric"]), []).append(sample)
    return groups


def _score(about: dict[str, Any], base: Any, tuned: Any, documents: str, seed: int) -> HarnessScore:
    difference, interval = weighted_mean(tuned - base, np.ones(len(base)), seed)
    right_or_wrong = set(np.concatenate([base, tuned]).tolist()) <= {0.0, 1.0}
    return HarnessScore(
        task=about["task"],
        version=about["version"],
        filter=about["filter"],
        few_shot=about["few_shot"],
        metric=about["metric"],
        higher_is_better=about["higher_is_better"],
        base=float(base.mean()),
        tuned=float(tuned.mean()),
        difference=difference,
        interval=interval,
        p_value=mcnemar(int((base > tuned).sum()), int((tuned > base).sum())) if right_or_wrong else None,
        documents=documents,
        base_values=tuple(base.tolist()),
        tuned_values=tuple(tuned.tolist()),
        resamples=RESAMPLES,
        seed=seed,
    )
