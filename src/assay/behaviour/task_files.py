"""Task files of lm-eval, read before the harness does: which Python they would run, and that it was asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from assay.errors import CodeError, InputError


@dataclass(frozen=True)
class _Function:
    """A function that a file names by `!function`."""

    name: str


class _Reader(yaml.SafeLoader):  # type: ignore[misc]  # its base has no types
    """YAML's plain values, and functions by their names."""


_Reader.add_constructor("!function", lambda loader, node: _Function(str(loader.construct_scalar(node))))


def task_of_file(path: Path, code: Sequence[str]) -> str:
    """The name of the task in a file that runs no code but what was asked for.

    Args:
        path: a YAML file of a task of lm-eval; those that it includes are read too.
        code: Python files, or modules, that it may run.

    Raises:
        CodeError: it runs other code: a function (`!function`), or a metric that is none of the harness's.
        InputError: it cannot be read, or names no task.
    """
    settings = _read(path, code, ())
    name = settings.get("task")
    if not isinstance(name, str) or not name:
        raise InputError("the file names no task", wanted="a line 'task: NAME'", where=path.name)
    _refuse_foreign_metrics(settings, path)
    return name


def _read(path: Path, code: Sequence[str], seen: tuple[Path, ...]) -> dict[str, Any]:
    """A file with what it includes beneath it, as the harness merges them."""
    if path.resolve() in seen:
        raise InputError("the file includes itself", where=path.name)
    try:
        found = yaml.load(path.read_text(encoding="utf8"), Loader=_Reader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"cannot be read as YAML ({first})", wanted="a task of lm-eval", where=path.name) from None
    if not isinstance(found, dict):
        raise InputError("the file names no task", wanted="a line 'task: NAME'", where=path.name)
    for function in _functions(found):
        _refuse_unasked(function, path, code)
    included = found.pop("include", [])
    merged: dict[str, Any] = {}
    for other in included if isinstance(included, list) else [included]:
        merged |= _read(path.parent / str(other), code, (*seen, path.resolve()))
    return merged | found


def _functions(value: Any) -> Iterator[_Function]:
    if isinstance(value, _Function):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _functions(part)


def _refuse_unasked(function: _Function, path: Path, code: Sequence[str]) -> None:
    """Refuse a function whose file, or module where there is no such file, was not named."""
    module = function.name.rpartition(".")[0]
    beside = path.parent / f"{module.replace('.', '/')}.py"
    if any(Path(one).resolve() == beside.resolve() if beside.exists() else one == module for one in code):
        return
    run = str(beside) if beside.exists() else module
    raise CodeError(
        f"runs Python ({function.name}, of {run})",
        wanted="a task without code of its own",
        remedy=f"read it, and ask for it by name if you trust it: --harness-code {run}",
        where=path.name,
    )


def _refuse_foreign_metrics(settings: dict[str, Any], path: Path) -> None:
    """Refuse a metric that the harness does not have: it would look for its Python elsewhere, and run it."""
    import lm_eval.api.metrics  # noqa: F401 (what the registry holds)
    from lm_eval.api.registry import metric_registry

    listed = settings.get("metric_list") or []
    for entry in listed if isinstance(listed, list) and "process_results" not in settings else []:
        name = entry.get("metric") if isinstance(entry, dict) else None
        if isinstance(name, str) and (entry.get("hf_evaluate") or name not in metric_registry):
            raise CodeError(
                f"the metric {name!r} is none of lm-eval's, and its code would be fetched and run",
                wanted="a metric of lm-eval",
                where=path.name,
            )


@contextmanager
def sandboxed_templates() -> Iterator[None]:
    """The harness's templates without a way out of them: plain jinja gives a file's template all of Python."""
    import lm_eval.utils
    from jinja2.sandbox import SandboxedEnvironment

    own = lm_eval.utils.env
    boxed = SandboxedEnvironment(undefined=own.undefined, keep_trailing_newline=own.keep_trailing_newline)
    boxed.filters.update(own.filters)
    lm_eval.utils.env = boxed
    try:
        yield
    finally:
        lm_eval.utils.env = own
