"""A PEFT adapter put on a model: which matrices are meant, and what PEFT would refuse or pass over in silence."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

from assay.errors import SettingError, nearest
from assay.methods.method import attention_matrices, body_matrices, head_modules

_PATTERNS = ("rank_pattern", "alpha_pattern")  # settings of PEFT's by matrix, of which it ignores what matches none


def put_on(model: Any, name: str, kind: Any, targets: str, own: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    """The model with an adapter on the matrices that are meant; they and the head learn.

    Args:
        model: a whole one.
        name: of the method, for errors.
        kind: PEFT's class of its configuration.
        targets: as in `matrices_meant`.
        own: what the method gives that class; options: what is passed through.

    Raises:
        SettingError: an option that PEFT does not know, that the method sets itself, or that PEFT refuses; a pattern
            that matches no matrix.
    """
    from peft import get_peft_model

    head, matrices = head_modules(model), matrices_meant(model, targets)
    task = "SEQ_CLS" if head else "CAUSAL_LM"
    given = {**own, "target_modules": matrices, "modules_to_save": head or None, "task_type": task}
    known = [field.name for field in dataclasses.fields(kind)]
    for option in options:
        if option in given:
            raise SettingError(
                f"{name} sets 'options.{option}' itself", remedy="leave it out; see the method's settings"
            )
        if option not in known:
            raise SettingError(
                f"PEFT's {kind.__name__} has no option {option!r}{nearest(option, known)}", wanted="one of its own"
            )
    settings = {**given, **options}
    for table in _PATTERNS:
        for pattern in settings.get(table) or ():
            _matching(pattern, matrices, f"{table} of {name}")
    try:
        return get_peft_model(model, kind(**settings))
    except (TypeError, ValueError) as error:
        raise SettingError(
            f"PEFT refuses {name} with the options {dict(options)}: {str(error).splitlines()[0].rstrip('.')}",
            wanted=f"a model and options that peft's {kind.__name__} takes",
        ) from None


def matrices_meant(model: Any, targets: str) -> list[str]:
    """Names of a body's matrices: "all", "attention", or those whose names end in what a regular expression matches.

    Raises:
        SettingError: it matches none.
    """
    if targets == "attention":
        return attention_matrices(model)
    matrices = body_matrices(model)
    return matrices if targets == "all" else _matching(targets, matrices, "targets")


def _matching(pattern: str, matrices: Iterable[str], what: str) -> list[str]:
    """The matrices whose names end in what a pattern matches: PEFT's rule for its patterns.

    Raises:
        SettingError: it is no regular expression, or matches none.
    """
    names = list(matrices)
    try:
        found = [name for name in names if re.match(rf"(.*\.)?({pattern})$", name)]
    except re.error as error:
        raise SettingError(f"{what}: {pattern!r} is no regular expression ({error})") from None
    if not found:
        ends = list(dict.fromkeys(name.rpartition(".")[2] for name in names))
        raise SettingError(
            f"{what}: {pattern!r} matches no matrix of the body{nearest(pattern, ['all', 'attention', *ends])}",
            wanted=f"all, attention, or the end of a name: {', '.join(ends)}"
            if what == "targets"
            else f"the end of a name: {', '.join(ends)}",
        )
    return found
