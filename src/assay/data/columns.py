"""Columns of a file: the kind of data they make, those that the kind reads, those that look meant and are not read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assay.data.chats import is_chat
from assay.data.kinds import AnyData, Chat, Pairs, PromptAnswer, Prompts, Thumbs
from assay.data.tables import Reference, Table, columns_of, name_of, raw_rows
from assay.errors import InputError, SettingError, nearest

# By the columns that tell them, the first that fits: TRL's formats, and those of this project's own files. A file with
# a prompt and two answers is one of preferences, and one with messages beside a text was made into messages.
_TOLD: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"messages"}), "chat"),
    (frozenset({"chosen", "rejected"}), "pairs"),
    (frozenset({"prompt", "completion", "label"}), "thumbs"),
    (frozenset({"reply", "label"}), "thumbs"),
    (frozenset({"prompt", "completion"}), "prompt-answer"),
    (frozenset({"prompt", "answer"}), "prompt-answer"),
    (frozenset({"question", "answer"}), "prompt-answer"),
    (frozenset({"text", "label"}), "classification"),
    (frozenset({"text"}), "text"),
    (frozenset({"prompt"}), "prompts"),
)
# Words of the settings that hold names of columns, and the other names by which a file may call one.
WORDS: dict[str, tuple[str, ...]] = {
    "prompt": ("question",),
    "answer": ("completion",),
    "reply": ("completion",),
    "text": (),
    "label": (),
    "messages": (),
    "chosen": (),
    "rejected": (),
    "question": (),
    "choices": (),
}
# Columns that would change what a model is given, by the names that TRL and common files have for them.
_MEANT = frozenset(WORDS) | {
    "chat_template_kwargs",
    "completion",
    "context",
    "images",
    "input",
    "instruction",
    "output",
    "response",
    "system",
    "tools",
}


def kind_by_columns(reference: Reference, given: Mapping[str, Any]) -> str:
    """The kind of data that a file's columns tell.

    Args:
        reference: the file or data set.
        given: settings of the data; those that name a column tell that it is there.

    Raises:
        SourceError: it cannot be read.
        InputError: it has the columns of no kind; they are named.
    """
    there = columns_of(reference)
    named = {word for word in WORDS if given.get(word) in there}
    found = {*there, *named}
    for columns, kind in _TOLD:
        if columns <= found:
            return kind
    known = dict.fromkeys(" and ".join(sorted(columns)) for columns, _ in _TOLD)
    raise InputError(
        f"no kind of data has the columns {', '.join(there)}",
        wanted=f"one of: {'; '.join(known)}",
        remedy=f"say which column is which, e.g. data.prompt = {there[0]!r} and data.answer = {there[-1]!r}",
        where=name_of(reference),
    )


def called(reference: Reference, columns: Mapping[str, str]) -> Reference:
    """A file whose columns are read by the words of a specification.

    Args:
        reference: the file or data set.
        columns: its own names by those words; one that it lacks belongs to another file. TRL's `completion` is taken
            for an `answer` that is not there.

    Raises:
        SourceError: it cannot be read.
        SettingError: a word that names no column.
    """
    if wrong := [word for word in columns if word not in WORDS]:
        raise SettingError(
            f"no column is called {wrong[0]!r}{nearest(wrong[0], WORDS)}", wanted=f"one of {', '.join(WORDS)}"
        )
    there = columns_of(reference)
    found = {word: name for word, name in columns.items() if name in there}
    if "completion" in there and not {"answer", "label"} & {*there, *found}:
        found["answer"] = "completion"
    return Table(Path(reference) if isinstance(reference, os.PathLike) else reference, found) if found else reference


def resolved(data: AnyData, reference: Reference) -> AnyData:
    """The data with the columns that its file has, where none were given.

    Raises:
        SourceError, InputError: the file cannot be read.
    """
    there, given = columns_of(reference), data.model_fields_set
    found: dict[str, str] = {}
    for word, others in WORDS.items():
        name = getattr(data, word, None)
        if word in given or not isinstance(name, str) or name in there:
            continue
        if other := next((other for other in others if other in there), None):
            found[word] = other
    if isinstance(data, Pairs | Thumbs) and "prompt" not in given and "prompt" in there:
        found["prompt"] = "prompt"
    return data.model_copy(update=found) if found else data


def unread(data: AnyData, reference: Reference) -> tuple[str, ...]:
    """Columns that look meant for the model, and are not read, in the file's order."""
    settings = data.model_dump()
    read = {settings[word] for word in WORDS if isinstance(settings.get(word), str)}
    read |= set(data.columns) if isinstance(data, Prompts) else set()
    return tuple(name for name in columns_of(reference) if name in _MEANT and name not in read)


def is_chats(data: AnyData, reference: Reference) -> bool:
    """True if data are chats by their first row, so that a template decides their tokens."""
    row, settings = raw_rows(reference)[0][1], data.model_dump()
    cells = (row.get(str(settings.get(word))) for word in ("prompt", "chosen", "reply"))
    return isinstance(data, Chat) or (isinstance(data, PromptAnswer | Pairs | Thumbs) and any(map(is_chat, cells)))
