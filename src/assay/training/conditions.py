"""Conditions that must be equal for two runs to be compared, choices of an arm, and keys that follow from both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from assay.data.chats import read_template, template_digest
from assay.data.columns import is_chats, resolved
from assay.data.kinds import AnyData
from assay.data.tables import Reference, source_of
from assay.errors import SettingError
from assay.models.loading import Place, load_tokenizer
from assay.models.rewards import located as reward_at
from assay.models.rewards import reward_source
from assay.records.conditions import Condition
from assay.training.schedule import Schedule
from assay.training.spec import Spec


def in_steps(spec: Spec, base: Place, data: Reference, start: Path) -> Spec:
    """The specification with its length in steps; passes are counted on the data as they are read.

    Raises:
        SettingError: `training.save_at` lies beyond the end.
    """
    if spec.training.epochs is None:
        return spec
    tokenizer = load_tokenizer(base)
    with_template(tokenizer, spec.data, start)
    loaded = resolved(spec.data, data).load(data, tokenizer)
    try:
        training = spec.training.over(len(loaded.examples))
    except ValueError:
        raise SettingError(
            f"training.save_at is {spec.training.save_at}",
            wanted=f"steps before the end of {spec.training.epochs} epoch(s) of {len(loaded.examples)} examples",
        ) from None
    return spec.model_copy(update={"training": training})


def with_template(tokenizer: Any, data: AnyData, start: Path) -> None:
    """Give a tokenizer the chat template that the data ask for, if they do.

    Raises:
        SourceError: its file cannot be read.
    """
    if data.template is not None:
        tokenizer.chat_template = read_template(start / data.template)


def with_reward(spec: Spec, start: Path) -> Spec:
    """The specification with a reward model's folder as it can be opened from here."""
    if spec.policy is None:
        return spec
    policy = spec.policy.model_copy(update={"reward": reward_at(spec.policy.reward, start)})
    return spec.model_copy(update={"policy": policy})


def conditions_of(
    spec: Spec, base: Place, data_file: Reference, held_out: Reference | None = None, start: Path = Path()
) -> dict[str, Condition]:
    """All that must be equal for two arms to be compared.

    Args:
        spec, base: of the run.
        data_file, held_out: its data and the rows that are held out.
        start: the folder to which a chat template's file is relative.

    Raises:
        SourceError, InputError: the data cannot be read.
        SettingError: they are chats, and there is no template.
    """
    read = resolved(spec.data, data_file)
    data = {f"data.{name}": _scalar(value) for name, value in read.model_dump(exclude={"path", "template"}).items()}
    if getattr(read, "prompt", "") is None:  # no column of prompts, as in runs from before there could be one
        del data["data.prompt"]
    if is_chats(read, data_file):
        tokenizer = load_tokenizer(base)
        with_template(tokenizer, spec.data, start)
        data["data.chat_template"] = template_digest(tokenizer)
    training = {f"training.{name}": value for name, value in _shared(spec.training).items()}
    policy: dict[str, Condition] = {}
    if spec.policy is not None:
        source = reward_source(spec.policy.reward)
        given = spec.policy.model_dump() | {"reward": source.digest or source.name}
        policy = {f"policy.{name}": value for name, value in given.items()}
    validation = {} if held_out is None else {"validation": source_of(held_out).digest}
    return {
        "base": base.source.digest,
        "base.settings": base.settings(),
        "data": source_of(data_file).digest,
        **data,
        **validation,
        **training,
        **policy,
        "optimizer": spec.training.optimizer,
        "precision": spec.training.precision,
        "seed": spec.seed,
    }


def _shared(training: Schedule) -> dict[str, Any]:
    """Conditions of a schedule; a setting that has its default, and did not exist in older runs, is left out."""
    # How often a run is kept, and how many processes share its batches, changes nothing of it; epochs are steps by now;
    # the rest has names of its own.
    given = training.model_dump(
        exclude={"checkpoint_every", "save_at", "processes", "epochs", "precision", "optimizer"}
    )
    for name in ("gradient_accumulation", "gradient_checkpointing", "attention"):
        if given[name] == Schedule.model_fields[name].default:
            del given[name]
    return given


def arm_of(spec: Spec) -> dict[str, Condition]:
    """Choices of this arm."""
    chosen = {**spec.method.model_dump(), **spec.method.derived()}
    for name, usual in (("targets", "all"), ("base_bits", None), ("dropout", None)):
        if name in chosen and chosen[name] == usual:
            del chosen[name]  # only a choice is named
    for table in ("options", "alpha_pattern"):
        for name, value in chosen.pop(table, {}).items():
            chosen[f"{table}.{name}"] = _scalar(value)
    return {f"method.{name}": value for name, value in chosen.items()}


def _scalar(value: Any) -> Condition:
    """A setting as a condition: lists and tables as JSON."""
    return value if value is None or isinstance(value, str | int | float) else json.dumps(value, sort_keys=True)
