"""The plan of a sequence of tasks, learned one after the other: TOML in, checked settings out."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, Literal, final

from pydantic import Field, ValidationError

from assay.data.kinds import Classification
from assay.errors import SettingError, SourceError
from assay.records import Part
from assay.studies.plan import check_names, points_of
from assay.training.schedule import Schedule
from assay.training.spec import Spec, parse_spec, problem_of, read_toml


@final
class SequenceTask(Part):
    """A task of the sequence; paths are relative to the plan.

    Attributes:
        name: how results name it.
        data: what a stage learns from, and what heads are retrained on.
        test: JSON Lines with the same columns.
    """

    name: str = Field(min_length=1)
    data: Classification
    test: str


@final
class Head(Part):
    """Settings for retraining a task's head on the frozen body: see `assay.studies.heads.fit_head`.

    Attributes:
        rows: rows of a task's training data, drawn once for all; all of them where there are fewer.
        penalty: on its squared weights.
    """

    rows: int = Field(default=256, ge=2)
    penalty: float = Field(default=10.0, gt=0, allow_inf_nan=False)


@final
class SequencePlan(Part):
    """Arms x seeds, each through the same tasks in the same order.

    Attributes:
        base: a model as it was pretrained, relative to the plan, or a hub id.
        seeds: repetitions.
        training: of every stage: the settings of a specification's table.
        head: how heads are retrained.
        tasks: what is learned, in this order.
        arms: as in a study's plan.
    """

    kind: Literal["continual"]
    base: str = Field(min_length=1)
    seeds: list[int] = Field(default=[0])
    training: Schedule
    head: Head = Head()
    tasks: list[SequenceTask]
    arms: list[dict[str, Any]]


def is_sequence(path: str | Path) -> bool:
    """True if a plan says that its tasks are learned one after the other: `kind = "continual"`.

    False where it cannot be read: whoever reads it as a plan says why.
    """
    try:
        return read_toml(path).get("kind") == "continual"
    except (SourceError, SettingError):
        return False


def read_sequence_plan(path: str | Path) -> SequencePlan:
    """Read the plan of a sequence from TOML.

    Raises:
        SourceError: the file cannot be read.
        SettingError: it is not such a plan, has no tasks, or two of one name.
    """
    data = read_toml(path)
    try:
        plan = SequencePlan.model_validate(data)
    except ValidationError as error:
        problems = [problem_of(dict(entry), SequencePlan) for entry in error.errors()]
        raise SettingError(f"{len(problems)} problem(s) in the plan: {'; '.join(problems)}", where=str(path)) from None
    for name, values in (("tasks", plan.tasks), ("arms", plan.arms), ("seeds", plan.seeds)):
        if not values:
            raise SettingError(f"the plan has no {name}", wanted="at least one", where=str(path))
    check_names([task.name for task in plan.tasks], str(path))
    return plan


def sequences_of(plan: SequencePlan) -> list[tuple[list[Spec], str]]:
    """Every sequence of a plan: the specifications of its stages, with the original base, and the rate's policy.

    All arms with one seed come before the next seed; the same sequence asked for twice is there once.

    Raises:
        SettingError: a wrong arm, a rate that is to be tuned, or a method whose update is not in the weights, so that
            it cannot be merged.
    """
    found: dict[str, tuple[list[Spec], str]] = {}
    for seed, (position, arm) in itertools.product(plan.seeds, enumerate(plan.arms)):
        for method, policy in points_of(arm, f"arms[{position}]"):
            if policy == "tune":
                raise SettingError(
                    "a rate cannot be tuned for tasks in a row",
                    wanted="the policy 'fixed' or 'alpha*lr'",
                    remedy="tune it in a plan of single tasks first",
                    where=f"arms[{position}]",
                )
            training = plan.training.model_dump(exclude_unset=True)
            tables = {"base": plan.base, "seed": seed, "training": training, "method": method}
            data = [task.data.model_dump(exclude_unset=True) for task in plan.tasks]
            specs = [parse_spec({**tables, "data": one}, f"arms[{position}]") for one in data]
            if specs[0].method.changes == "nothing":
                raise SettingError(
                    f"{specs[0].method.name} changes no weight, so that nothing can be merged between tasks",
                    wanted="a method that changes the model's own weights",
                    where=f"arms[{position}]",
                )
            found.setdefault(" ".join(spec.model_dump_json() for spec in specs), (specs, policy))
    return list(found.values())
