"""The base class of records: a kind, a schema version, provenance, and a strict way to and from disk."""

from __future__ import annotations

import inspect
import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from assay.errors import RecordError
from assay.version import __version__

Interval = tuple[float, float]  # its lower end, its upper end
Share = Annotated[float, Field(ge=0, le=1)]
ShareInterval = tuple[Share, Share]


class Part(BaseModel):
    """A part of a record: frozen, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants", protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _without_computed(cls, data: Any) -> Any:
        """Computed fields are written for readers of the JSON, and made again when it is read."""
        if isinstance(data, dict):
            return {key: value for key, value in data.items() if key not in cls.model_computed_fields}
        return data


class Setting(Part):
    """One setting and where its value came from."""

    value: Any
    origin: Literal["default", "given", "derived"]


def as_given(settings: Mapping[str, Any]) -> dict[str, Setting]:
    """Settings that were all given by the caller, by name."""
    return {name: Setting(value=value, origin="given") for name, value in settings.items()}


def settings_of(function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Setting]:
    """Settings of a function, by name, with their origin: a value that is the default of its signature is one."""
    defaults = inspect.signature(function).parameters
    return {
        name: Setting(value=value, origin="default" if value == defaults[name].default else "given")
        for name, value in given.items()
    }


class Source(Part):
    """A model or data set that was read, named so that another machine can find it: no path of this machine.

    `name` is a hub id or the last part of a folder's path; `digest` identifies the bytes. `settings`, of an adapter, is
    the digest of what its configuration says of them, such as alpha: without it two models could have one digest.
    """

    name: str
    revision: str | None = None
    digest: str | None = None
    settings: str | None = None

    @property
    def identity(self) -> str:
        """Digest of the bytes, or the name where that is not known: a copy elsewhere is the same source."""
        return self.digest or f"{self.name}@{self.revision}"


class Provenance(Part):
    """Provenance of a record: enough to make it again."""

    assay: str = __version__
    python: str = Field(default_factory=platform.python_version)
    versions: dict[str, str] = Field(default_factory=dict)
    settings: dict[str, Setting] = Field(default_factory=dict)
    seed: int | None = None

    @classmethod
    def of(cls, packages: tuple[str, ...], settings: dict[str, Setting], seed: int | None = None) -> Self:
        """The provenance of a record that `packages` and `settings` decide."""
        return cls(versions={name: _version(name) for name in packages}, settings=settings, seed=seed)


def _version(package: str) -> str:
    try:
        return installed_version(package)
    except PackageNotFoundError:
        return "not installed"


# Every kind of record that is imported, by its name.
KINDS: dict[str, type[Record]] = {}


class Record(Part):
    """Root of all records. A subclass names its `kind`, and raises `schema_version` when its shape changes.

    Records are written whole or not at all: to a temporary file in the same folder, renamed last.
    """

    KIND: ClassVar[str]
    SCHEMA_VERSION: ClassVar[int] = 1

    kind: str
    schema_version: int
    provenance: Provenance

    def __init_subclass__(cls, **options: Any) -> None:
        """Register the kind of record that a class with a KIND of its own is."""
        super().__init_subclass__(**options)
        if "KIND" in cls.__dict__:
            KINDS[cls.KIND] = cls

    @property
    def base_model(self) -> Source | None:
        """The base that the record is of, if it is of one."""
        base = getattr(self, "base", None)
        return base if isinstance(base, Source) else None

    @property
    def tuned_models(self) -> tuple[Source, ...]:
        """The tuned model that the record is of, several for a sum; none where the record stands for itself.

        On a page, records of one tuned model stand together as an arm.
        """
        return ()

    @classmethod
    def file_schema(cls) -> dict[str, Any]:
        """The JSON Schema of a file: with what is computed, and requiring no more than reading it does."""
        written, read = cls.model_json_schema(mode="serialization"), cls.model_json_schema()
        for part, wanted in (
            (written, read),
            *((part, read["$defs"].get(name, part)) for name, part in written["$defs"].items()),
        ):
            if "properties" in part:
                part["required"] = wanted.get("required", [])
        return written

    @classmethod
    def upgraded(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Content of a file of an earlier version, in this version's shape; as it is where nothing is to be done."""
        return data

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Models and data by name, words and numbers: what is of each matrix or row is for a report to show."""
        for name in [*type(self).model_fields, *type(self).model_computed_fields]:
            value = getattr(self, name)
            if isinstance(value, float):
                yield name, float(f"{value:.4g}")
            elif isinstance(value, str | int) and name not in Record.model_fields:
                yield name, value
            elif of := [
                one.name for one in (value if isinstance(value, tuple) else [value]) if isinstance(one, Source)
            ]:
                yield name, " + ".join(of)

    def __str__(self) -> str:
        """One line, as `repr` gives it."""
        return repr(self)

    def to_json(self) -> str:
        """The record as JSON text, with sorted settings and a final newline."""
        return self.model_dump_json(indent=1) + "\n"

    def save(self, path: str | Path) -> Path:
        """Write the record to `path`, all or nothing, and return the path."""
        return write_text(Path(path), self.to_json())

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a record of this kind.

        Raises:
            RecordError: the file is missing, not JSON, of another kind or version, or has unknown or missing fields.
        """
        where = str(path)
        data = read_json(Path(path), what="a record")
        if (kind := data.get("kind")) != cls.KIND:
            raise RecordError(f"the record's kind is {kind!r}", wanted=f"{cls.KIND!r}", where=where)
        try:
            data = cls.upgraded(data)
        except (AttributeError, KeyError, TypeError) as error:
            raise RecordError(
                f"a record of an earlier version lacks a field or has one of another form ({error})",
                remedy="make the record again",
                where=where,
            ) from None
        version = data.get("schema_version")
        if version != cls.SCHEMA_VERSION:
            raise RecordError(
                f"the record has schema version {version}",
                wanted=f"{cls.SCHEMA_VERSION}, which assay {__version__} writes",
                remedy="make the record again, or read it with the version of assay that wrote it",
                where=where,
            )
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise RecordError(
                f"{error.error_count()} field(s) are wrong, first {field}: {first['msg']}",
                remedy="make the record again",
                where=where,
            ) from None


def read_json(path: Path, what: str) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        RecordError: the file is missing or does not hold a JSON object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf8"))
    except FileNotFoundError:
        raise RecordError("there is no such file", wanted=what, where=str(path)) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RecordError(f"cannot be read as JSON ({error})", wanted=what, where=str(path)) from None
    if not isinstance(data, dict):
        raise RecordError(f"holds a JSON {type(data).__name__}", wanted=f"{what}, a JSON object", where=str(path))
    return data


def write_text(path: Path, text: str) -> Path:
    """Write a text file, all or nothing: a reader never sees half of it."""
    return write_bytes(path, text.encode("utf8"))


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file, all or nothing.

    Raises:
        IsADirectoryError: there is a folder of that name.
    """
    if path.is_dir():  # named as it was given, not by the temporary file beside it
        raise IsADirectoryError(f"{path}: is a folder. Wanted: a file to write.")
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path
