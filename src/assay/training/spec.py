"""The specification of one run: TOML in, strict settings out, every problem named at once."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, final, get_args

from pydantic import BaseModel, Field, ValidationError

from assay.data.columns import kind_by_columns
from assay.data.kinds import AnyData
from assay.data.objectives import objective_of
from assay.data.tables import located
from assay.errors import SettingError, SourceError
from assay.methods import AnyMethod, Full
from assay.records import Part, Setting
from assay.records.run import Objective
from assay.training.schedule import Schedule


@final
class PolicySettings(Part, strict=True):
    """Settings of a policy that learns from rewards: it maximises `E[(1 - beta) r - beta KL(policy || reference)]`.

    Source: arXiv 2403.10704, §3.2; beta .05 as there.

    Attributes:
        reward: a reward model (a folder, relative to the specification, or a hub id), or a function `module:function`.
        algorithm: `rloo` (TRL: a reply's baseline is the mean of the other replies to its prompt, arXiv 2402.14740) or
            `reinforce` (the baseline is a value model, which learns by the same method as the policy).
        replies: how many are drawn to every prompt of a step.
        reply_tokens: where a reply is cut.
        beta: weight of the divergence.
        temperature: what logits are divided by when replies are drawn.
    """

    reward: str = Field(min_length=1)
    algorithm: Literal["rloo", "reinforce"] = "rloo"
    replies: int = Field(default=4, ge=2)
    reply_tokens: int = Field(default=128, ge=1)
    beta: float = Field(default=0.05, ge=0, lt=1)
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)


@final
class Spec(Part, strict=True):
    """One run.

    Attributes:
        base: the model to tune: a folder, relative to the specification, or a hub id `org/name@revision`.
        seed: of the data's order, of new heads and adapters, and of dropout.
        data: what it learns from.
        validation: rows like the data's that are not learned from; their loss after the last step is recorded.
        training: how long, and in which batches.
        method: what learns, and at what rate: the arm.
        objective: what is learned; it follows from the kind of the data, so it need not be said.
        policy: how a policy learns; for that objective alone.
    """

    base: str = Field(min_length=1)
    objective: Objective | None = None
    seed: int = Field(default=0, ge=0, lt=2**32)  # numpy's generator takes no more
    data: Annotated[AnyData, Field(discriminator="kind")]
    validation: str | None = None
    training: Schedule
    method: Annotated[AnyMethod, Field(discriminator="name")]
    policy: PolicySettings | None = None

    def settings(self) -> dict[str, Setting]:
        """Every setting by its dotted name, with its origin; paths are reduced to their last part."""
        found = dict(_flat(self, ""))
        for name, value in self.method.derived().items():
            found[f"method.{name}"] = Setting(value=value, origin="derived")
        for name in ("base", "data.path", "validation", "policy.reward"):
            if name in found and found[name].value is not None:
                found[name] = Setting(value=Path(found[name].value).name, origin=found[name].origin)
        return found


def read_spec(path: str | Path) -> Spec:
    """Read a specification from TOML.

    Raises:
        SourceError: the file cannot be read.
        SettingError: it is not TOML, or not a specification; all problems are named.
    """
    tables = read_toml(path)
    if isinstance(data := tables.get("data"), dict):
        tables["data"] = with_kind(data, Path(path).parent)
    return parse_spec(tables, where=str(path))


def with_kind(data: dict[str, Any], start: Path) -> dict[str, Any]:
    """The table of the data with its kind: the one that the file's columns tell, unless it is given.

    Args:
        data: the table.
        start: the folder to which its path is relative.

    Raises:
        SourceError: the file cannot be read.
        InputError: its columns tell no kind.
    """
    if "kind" in data or not isinstance(data.get("path"), str) or not data["path"]:
        return data
    return {"kind": kind_by_columns(located(data["path"], start), data), **data}


def read_toml(path: str | Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        SourceError: the file cannot be read.
        SettingError: it is not TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"cannot be read ({type(error).__name__})", wanted="a TOML file", where=str(path)) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingError(f"is not TOML: {error}", where=str(path)) from None


def parse_spec(data: dict[str, Any], where: str = "") -> Spec:
    """A specification from the tables of a TOML file.

    Raises:
        SettingError: unknown keys (with the nearest name), missing ones, or values that cannot be; all at once.
    """
    try:
        spec = Spec.model_validate(data)
        problems = list(_disagreements(spec))
        if not problems:
            return spec
    except ValidationError as error:
        problems = [problem_of(dict(entry), Spec) for entry in error.errors()]
    many = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    raise SettingError(f"{many} in the specification: {'; '.join(problems)}", where=where)


def _disagreements(spec: Spec) -> Iterator[str]:
    """Contradictions between settings of which each alone could be."""
    learned = objective_of(spec.data)
    for name, path in (("data.path", spec.data.path), ("validation", spec.validation)):
        if path == "":
            yield f"{name!r} is empty"
    if spec.objective not in (None, learned):
        yield f"'objective' is {spec.objective!r}, and data of the kind {spec.data.kind!r} is for {learned!r}"
    if learned == "policy" and spec.policy is None:
        yield "'policy' is missing"
    if learned != "policy" and spec.policy is not None:
        yield f"'policy' is for data of the kind 'prompts', not {spec.data.kind!r}"
    if learned == "policy" and not (isinstance(spec.method, Full) or spec.method.keeps_base):
        yield f"'method.name' is {spec.method.name!r}: a policy needs full, or LoRA beside a base that stays whole"
    if learned == "policy" and (dropped := getattr(spec.method, "dropout", 0)):
        yield f"'method.dropout' is {dropped}: a policy learns from the replies of the model as it is"
    if learned == "policy":
        yield from _refused_of_policies(spec)
    if spec.method.name == "prefix-layer" and spec.training.gradient_checkpointing:
        yield "'training.gradient_checkpointing' is for other methods: it drops the keys and values of prefix-layer"
    if learned in ("reward", "policy") and spec.validation is not None:
        yield f"'validation' is for the model's own loss, which the objective {learned!r} does not have"


def _refused_of_policies(spec: Spec) -> Iterator[str]:
    """A policy's replies are those of the model as it is: nothing makes it another one while it learns."""
    training = spec.training
    wanted = {"precision": "float32", "gradient_accumulation": 1, "gradient_checkpointing": False}
    for name, value in wanted.items():
        if (given := getattr(training, name)) != value:
            yield f"'training.{name}' is {given}: a policy learns with {value}"
    if spec.method.bits is not None:
        yield f"'method.base_bits' is {spec.method.bits}: a policy learns beside a base that is whole"


def problem_of(error: dict[str, Any], whole: type[BaseModel]) -> str:
    """One problem of a strict model in words; the tags of unions, which pydantic puts into the path, are left out."""
    kind, path = error["type"], [str(part) for part in error["loc"]]
    names: list[str] = []
    model: Any = whole
    for part in path:
        if part.isdigit():
            model = next((inner for inner in get_args(model) if inner is not type(None)), model)
            names.append(part)
            continue
        choices = {tag: choice for choice in _models(model) for tag in _tags(choice)}
        if part in choices and part not in _fields(model):
            model = choices[part]
            continue
        names.append(part)
        # Of `Table | None`, the table.
        model = next((inner for inner in _models(model) if part in _fields(inner)), model)
        field = model.model_fields.get(part) if part in _fields(model) else None
        model = field.annotation if field is not None else model
    name = ".".join(names)
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(names[-1], _fields(model), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(_fields(model)))}"
        return f"no setting {name!r}, {hint}"
    if kind == "missing":
        return f"{name!r} is missing"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        tag = error["ctx"]["discriminator"].strip("'")
        known = [tag for choice in _models(model) for tag in _tags(choice)]
        given = error["ctx"].get("tag", "")
        near = difflib.get_close_matches(given, known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        found = f"is {given!r}" if given else "is missing"
        return f"'{name}.{tag}' {found}, {hint}wanted one of {', '.join(known)}"
    return f"{name!r} is {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}"


def _models(annotation: Any) -> tuple[Any, ...]:
    """The models of a union; of a single model, itself."""
    return get_args(annotation) or (annotation,)


def _tags(model: Any) -> tuple[str, ...]:
    """The words by which a union tells a model: the values of its `name`, `kind` or `policy`."""
    fields = model.model_fields if isinstance(model, type) and issubclass(model, BaseModel) else {}
    for name in ("name", "kind", "policy"):
        if name in fields:
            return get_args(fields[name].annotation)
    return ()


def _fields(annotation: Any) -> list[str]:
    """Names of the settings that a model has."""
    return [
        name
        for model in _models(annotation)
        if isinstance(model, type) and issubclass(model, BaseModel)
        for name in model.model_fields
    ]


def _flat(part: BaseModel, prefix: str) -> Iterator[tuple[str, Setting]]:
    for name in type(part).model_fields:
        value = getattr(part, name)
        if isinstance(value, BaseModel):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield (
                f"{prefix}{name}",
                Setting(value=value, origin="given" if name in part.model_fields_set else "default"),
            )
