"""The plan of a study: TOML in, every run as a specification of its own out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, final

from pydantic import Field, ValidationError

from assay.data.kinds import AnyData
from assay.errors import SettingError, nearest
from assay.methods import METHODS, AbstractLora
from assay.records import Part
from assay.records.study import Stage
from assay.training.spec import Spec, parse_spec, problem_of, read_toml, with_kind

STAGES: tuple[Stage, ...] = ("train", "audit", "score")
_DECADES = 38  # below and above 1 that float32 holds
_LONG = 200  # runs of a plan, unless more are allowed: a slip in a grid multiplies


@final
class Fixed(Part):
    """The same learning rates for every run of an arm."""

    policy: Literal["fixed"]
    lr: float | list[float]

    def rates(self, alpha: float | None, where: str) -> list[float]:
        """The learning rates to try."""
        return self.lr if isinstance(self.lr, list) else [self.lr]


@final
class AlphaTimesRate(Part):
    """`alpha * lr` is constant over ranks: `lr = product / alpha`. Source: arXiv 2410.21228v3, App. B (2.4e-3)."""

    policy: Literal["alpha*lr"]
    product: float | list[float]

    def rates(self, alpha: float | None, where: str) -> list[float]:
        """The learning rates to try for an alpha."""
        if alpha is None:
            raise SettingError("the method has no alpha", wanted="the policy 'fixed'", where=where)
        products = self.product if isinstance(self.product, list) else [self.product]
        return [product / alpha for product in products]


@final
class Tune(Part):
    """The rate with the lowest validation loss on a half-decade grid, sought for every point of the arm and every task.

    Attributes:
        lr: where the grid begins; see `Tuning`.
    """

    policy: Literal["tune"]
    lr: float = Field(gt=0, allow_inf_nan=False)

    def rates(self, alpha: float | None, where: str) -> list[float]:
        """The rates where the search begins."""
        return [self.lr]


@final
class Tuning(Part):
    """Search for learning rates, the same for every arm: `lr 10^(k/2)` for k = -1, 0, 1; a winner at the edge
    extends the grid. The first seed of the plan tunes, and all seeds run at the rate that won.

    Attributes:
        share: steps of a trial, as a share of the plan's longest duration.
        held_out: rows of the training data that trials do not learn from, on which they are judged. The runs themselves
            learn from all rows.
        reach: the largest `|k|`.
    """

    share: float = Field(default=1.0, gt=0, le=1)
    held_out: int = Field(default=200, ge=1)
    reach: int = Field(default=4, ge=1)


@final
class Task(Part):
    """A task: the data that a run learns, and those that it is scored on; paths are relative to the plan.

    Attributes:
        name: how results name it.
        data: what it learns from.
        task: what was learned, for `assay.score`; text: what was lost.
        columns: names of columns in the files that it is scored on, as for `assay.score`.
        prompts, judge, max_tokens: what a policy is asked then, what judges its replies, and where they are cut.
    """

    name: str = Field(min_length=1)
    data: Annotated[AnyData, Field(discriminator="kind")]
    task: str | None = None
    text: str | None = None
    prompts: str | None = None
    judge: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    max_tokens: int = Field(default=128, ge=1)


@final
class Plan(Part):
    """A study: tasks x arms x their settings x rates x durations x seeds.

    Attributes:
        base: the model, relative to the plan, or a hub id.
        steps: durations; seeds: repetitions.
        stages: what is done with every run.
        training: what all runs share: the settings of a specification's table, without the steps.
        policy: how policies learn: that table of a specification.
        tuning: how rates are tuned where an arm's policy is `tune`.
        tasks: what is learned.
        arms: tables of methods' settings; a list is an axis of the grid (`method`, `rank`, `alpha`, ...), `rate` is the
            policy of the learning rate, and lists inside `options` are passed through.
    """

    base: str = Field(min_length=1)
    steps: list[int]
    seeds: list[int] = Field(default=[0])
    stages: list[Stage] = Field(default=["train", "audit", "score"])
    training: dict[str, Any]
    policy: dict[str, Any] | None = None
    tuning: Tuning = Tuning()
    tasks: list[Task]
    arms: list[dict[str, Any]]


@dataclass(frozen=True)
class Planned:
    """One run of a plan: its task, the policy of its rate, and its specification.

    Where the rate is to be tuned, the specification has the one where the search begins.
    """

    task: Task
    policy: str
    spec: Spec


class _Rate(Part):
    rate: Annotated[Fixed | AlphaTimesRate | Tune, Field(discriminator="policy")]


def read_plan(path: str | Path) -> Plan:
    """Read a plan from TOML.

    Raises:
        SourceError: the file cannot be read.
        SettingError: it is not TOML, or not a plan; all problems are named, with the nearest name. Or two tasks have
            one name, or the steps are set twice.
    """
    data = read_toml(path)
    for task in data.get("tasks", []) if isinstance(data.get("tasks"), list) else []:
        if isinstance(task, dict) and isinstance(task.get("data"), dict):
            task["data"] = with_kind(task["data"], Path(path).parent)
    try:
        plan = Plan.model_validate(data)
    except ValidationError as error:
        problems = [problem_of(dict(entry), Plan) for entry in error.errors()]
        raise SettingError(f"{len(problems)} problem(s) in the plan: {'; '.join(problems)}", where=str(path)) from None
    check_names([task.name for task in plan.tasks], str(path))
    if "steps" in plan.training:
        raise SettingError(
            "'training.steps' is set, and the plan's steps are what decides",
            wanted="steps = [...], outside of the table",
            where=str(path),
        )
    return plan


def check_names(names: list[str], where: str) -> None:
    """Refuse two tasks of one name.

    Raises:
        SettingError: with the name.
    """
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SettingError(
            f"two tasks have the name {twice[0]!r}",
            wanted="a name for each: results are told apart by it",
            where=where,
        )


def runs_of(plan: Plan, max_runs: int | None = None) -> list[Planned]:
    """Every run of a plan, in its order; the same run asked for twice is there once.

    Raises:
        SettingError: an axis without a value, an unknown method, setting or stage, rates to be tuned that no training
            can use, or more runs than are allowed.
    """
    for name in ("steps", "seeds", "stages", "tasks", "arms"):
        if not getattr(plan, name):
            raise SettingError(f"the plan has no {name}", wanted="at least one, so that there is a run")
    found: dict[str, Planned] = {}
    for position, arm in enumerate(plan.arms):
        methods = list(points_of(arm, f"arms[{position}]"))
        for method, policy in methods:
            if policy == "tune":
                _check_grid(method["lr"], plan.tuning.reach, f"arms[{position}]")
        for task, (method, policy), steps, seed in itertools.product(plan.tasks, methods, plan.steps, plan.seeds):
            training = {**plan.training, "steps": steps}
            data = task.data.model_dump(exclude_unset=True)
            tables = {"base": plan.base, "seed": seed, "data": data, "training": training, "method": method}
            tables |= {"policy": plan.policy} if plan.policy is not None else {}
            spec = parse_spec(tables, f"arms[{position}]")
            # A rate that is to be tuned is not the one where its search begins, which another arm may ask for.
            name = f"{task.name} {policy == 'tune'} {spec.model_dump_json()}"
            found.setdefault(name, Planned(task, policy, spec))
    asked = [bool(task.task or task.text or task.prompts) for task in plan.tasks]
    if "score" in plan.stages and not all(asked):
        unscored = plan.tasks[asked.index(False)].name
        raise SettingError(f"nothing to score {unscored!r} on", wanted="task, text, prompts, or no stage 'score'")
    limit = _LONG if max_runs is None else max_runs
    if len(found) > limit:
        raise SettingError(
            f"the plan has {len(found)} runs", wanted=f"at most {limit}", remedy=f"allow them: --max-runs {len(found)}"
        )
    return list(found.values())


def _check_grid(lr: float, reach: int, where: str) -> None:
    """Refuse a grid of rates with an end that float32, in which everything is trained, does not hold."""
    if abs(math.log10(lr)) + reach / 2 > _DECADES:
        raise SettingError(
            f"rates are to be tuned from {lr:g}, {reach} half-decades to either side",
            wanted=f"rates between 1e-{_DECADES} and 1e{_DECADES}",
            remedy="set rate.lr, or tuning.reach",
            where=where,
        )


def points_of(arm: dict[str, Any], where: str) -> Iterator[tuple[dict[str, Any], str]]:
    """The settings of a method for every point of an arm's grid, with the policy of its rate.

    Args:
        arm: a table of a plan; a list in it is an axis.
        where: how errors name it.

    Raises:
        SettingError: an axis without a value, an unknown method, or a wrong policy.
    """
    axes = {name: value if isinstance(value, list) else [value] for name, value in arm.items() if name != "rate"}
    for name, values in axes.items():
        if not values:
            raise SettingError(f"the grid's axis {name!r} is empty", wanted="at least one value", where=where)
    if "method" not in axes:
        raise SettingError("'method' is missing", wanted=f"one of {', '.join(METHODS)}", where=where)
    for name, instead in (("lr", "rate"), ("name", "method")):
        if name in axes:
            raise SettingError(f"an arm has no setting {name!r}", wanted=instead, where=where)
    try:
        rate = _Rate.model_validate({"rate": arm.get("rate")}).rate
    except ValidationError as error:
        problems = "; ".join(problem_of(dict(entry), _Rate) for entry in error.errors())
        raise SettingError(problems, where=where) from None
    for point in itertools.product(*axes.values()):
        settings = dict(zip(axes, point, strict=True))
        name = settings.pop("method")
        if not isinstance(name, str) or name not in METHODS:
            raise SettingError(
                f"there is no method {name!r}{nearest(str(name), METHODS)}",
                wanted=f"one of {', '.join(METHODS)}",
                where=where,
            )
        rates = rate.rates(_alpha(name, settings), where)
        if not rates:
            raise SettingError("the grid's axis 'rate' is empty", wanted="at least one value", where=where)
        for lr in rates:
            yield {"name": name, **settings, "lr": lr}, rate.policy


def _alpha(name: str, settings: dict[str, Any]) -> float | None:
    """The alpha that a run would have; None for a method without one. Wrong settings are named later, all at once."""
    kind = METHODS[name]
    if not issubclass(kind, AbstractLora):
        return None
    known = {key: value for key, value in settings.items() if key in ("rank", "alpha")}
    try:
        return kind.model_validate({"name": name, "lr": 1.0, **known}).given_alpha()
    except ValidationError as error:
        raise SettingError("; ".join(problem_of(dict(entry), kind) for entry in error.errors())) from None
