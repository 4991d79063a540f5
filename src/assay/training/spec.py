"""The specification of one run: TOML in, strict settings out, every problem named at once."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, final, get_args

from pydantic import BaseModel, Field, ValidationError

from assay.data import AnyData
from assay.errors import SettingError, SourceError
from assay.methods import AnyMethod
from assay.records import Part, Setting


@final
class Schedule(Part):
    """How long, in which batches, and how the learning rate goes.

    Attributes:
        steps: optimizer steps.
        batch_size: examples a step.
        warmup: share of the steps over which the rate rises from zero (6 %: arXiv 2410.21228v3, App. B).
        decay: how the rate goes afterwards.
        max_grad_norm: the gradient's norm is clipped to this.
        checkpoint_every: steps after which a run that is stopped can go on; 0 for never. A checkpoint holds three
            numbers for every one that learns.
    """

    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    warmup: float = Field(default=0.06, ge=0, lt=1)
    decay: Literal["linear", "cosine", "constant"] = "linear"
    max_grad_norm: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    checkpoint_every: int = Field(default=100, ge=0)


@final
class Spec(Part):
    """One run.

    Attributes:
        base: the model to tune: a folder, relative to the specification, or a hub id `org/name@revision`.
        seed: of the data's order, of new heads and adapters, and of dropout.
        data: what it learns from.
        training: how long, and in which batches.
        method: what learns, and at what rate: the arm.
    """

    base: str = Field(min_length=1)
    seed: int = Field(default=0, ge=0)
    data: Annotated[AnyData, Field(discriminator="kind")]
    training: Schedule
    method: Annotated[AnyMethod, Field(discriminator="name")]

    def settings(self) -> dict[str, Setting]:
        """Every setting by its dotted name, with its origin; paths are reduced to their last part."""
        found = dict(_flat(self, ""))
        for name, value in self.method.derived().items():
            found[f"method.{name}"] = Setting(value=value, origin="derived")
        for name in ("base", "data.path"):
            found[name] = Setting(value=Path(found[name].value).name, origin=found[name].origin)
        return found


def read_spec(path: str | Path) -> Spec:
    """Read a specification from TOML.

    Raises:
        SourceError: the file cannot be read.
        SettingError: it is not TOML, or not a specification; all problems are named.
    """
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"cannot be read ({type(error).__name__})", wanted="a TOML file", where=str(path)) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingError(f"is not TOML: {error}", where=str(path)) from None
    return parse_spec(data, where=str(path))


def parse_spec(data: dict[str, Any], where: str = "") -> Spec:
    """A specification from the tables of a TOML file.

    Raises:
        SettingError: unknown keys (with the nearest name), missing ones, or values that cannot be; all at once.
    """
    try:
        return Spec.model_validate(data)
    except ValidationError as error:
        problems = [problem_of(dict(entry), Spec) for entry in error.errors()]
    many = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    raise SettingError(f"{many} in the specification: {'; '.join(problems)}", where=where)


def nearest(word: str, known: Iterable[str], cutoff: float = 0.4) -> str:
    """A question after the nearest known word; empty if there is none."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return f", did you mean {near[0]!r}?" if near else ""


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
