"""Chats in tokens by a model's own template, with the loss on the assistant's turns."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from assay.errors import InputError, SettingError, SourceError
from assay.io import digests

Ids = tuple[int, ...]
Message = Mapping[str, Any]
_MARKED = re.compile(r"\{%-?\s*generation\s*-?%\}")  # transformers' mark of what an assistant generates


def is_chat(value: Any) -> bool:
    """True if a cell holds messages instead of text: TRL's conversational columns."""
    return isinstance(value, list) and bool(value) and all(isinstance(one, Mapping) for one in value)


def messages_in(row: Mapping[str, Any], column: str, where: str) -> list[Message]:
    """The messages of a cell: a list of objects with a role and a content; in a CSV file, the same as JSON text.

    Raises:
        InputError: there is no such column, or it holds anything else.
    """
    value = row.get(column)
    if column not in row:
        raise InputError(f"has no column {column!r}", wanted=f"one of its own: {', '.join(sorted(row))}", where=where)
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = json.loads(value)
    found: list[Message] = list(value) if isinstance(value, list) and is_chat(value) else []
    if not found or any(not isinstance(one.get(name), str) for one in found for name in ("role", "content")):
        raise InputError(
            f"column {column!r} holds no messages",
            wanted='a list of messages, each as {"role": "user", "content": "..."}',
            where=where,
        )
    return found


def template_of(tokenizer: Any) -> str:
    """The chat template of a tokenizer.

    Raises:
        SettingError: it has none.
    """
    template = tokenizer.chat_template
    if isinstance(template, dict):  # several by name, of which transformers takes this one
        template = template.get("default")
    if not isinstance(template, str) or not template:
        raise SettingError(
            "the tokenizer has no chat template, and the data are chats",
            wanted="one: a model's own decides how a chat becomes tokens",
            remedy="name a Jinja file as data.template, or put chat_template.jinja beside the tokenizer",
        )
    return template


def template_digest(tokenizer: Any) -> str:
    """The digest of the chat template.

    Raises:
        SettingError: the tokenizer has none.
    """
    return f"xxh3-128:{digests.of_bytes(template_of(tokenizer).encode())}"


def read_template(path: Path) -> str:
    """A chat template from a Jinja file.

    Raises:
        SourceError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf8")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(
            f"the chat template cannot be read ({type(error).__name__})", wanted="a Jinja file", where=str(path)
        ) from None


def rendered(tokenizer: Any, messages: Sequence[Message], where: str, asks: bool = False) -> str:
    """A chat as text; `asks` adds the beginning of the assistant's next turn.

    Raises:
        SettingError: the tokenizer has no template.
        InputError: the template refuses the chat.
    """
    import jinja2

    template_of(tokenizer)
    try:
        text: str = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=asks)
    except (jinja2.TemplateError, TypeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"the chat template refuses the messages ({reason})",
            wanted="roles in an order that the model's template takes",
            where=where,
        ) from None
    return text


def chat_ids(tokenizer: Any, messages: Sequence[Message], where: str, asks: bool = False) -> Ids:
    """A chat in tokens; the template writes the special ones itself.

    Raises:
        SettingError, InputError: as for `rendered`.
    """
    return _ids(tokenizer, rendered(tokenizer, messages, where, asks))


def learned(tokenizer: Any, messages: Sequence[Message], where: str, first: int = 0) -> tuple[Ids, tuple[bool, ...]]:
    """A chat in tokens, and which of them the assistant says, up to the end of its turn.

    A template that marks what is generated is taken at its word. Of any other, the chat is written once up to every
    turn of the assistant and once with it; both must be beginnings of the whole, in tokens, or nothing tells whose
    tokens are whose.

    Args:
        tokenizer: the base's, with a chat template.
        messages: at least one.
        where: of the row, for errors.
        first: the first message that is learned: those before are the prompt.

    Raises:
        SettingError: the tokenizer has no template.
        InputError: the template refuses the chat, or does not write it turn after turn.
    """
    whole = chat_ids(tokenizer, messages, where)
    if _MARKED.search(template_of(tokenizer)):
        encoded = tokenizer.apply_chat_template(
            list(messages), tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        start = len(_beginning(tokenizer, messages[:first], whole, where, asks=True)) if first else 0
        marked = tuple(bool(said) and place >= start for place, said in enumerate(encoded["assistant_masks"]))
        return tuple(encoded["input_ids"]), marked
    says = [False] * len(whole)
    for turn, message in enumerate(messages):
        if message["role"] != "assistant" or turn < first:
            continue
        if not turn:
            raise InputError(
                "the chat begins with the assistant, and the template does not mark what the assistant says",
                wanted="a turn of the user or the system before it, or a template with {% generation %}",
                where=where,
            )
        start = len(_beginning(tokenizer, messages[:turn], whole, where, asks=True))
        stop = len(_beginning(tokenizer, messages[: turn + 1], whole, where))
        # What a template writes behind the end of a turn, most often a line break, is never generated.
        ends = [place for place in range(start, stop) if whole[place] == tokenizer.eos_token_id]
        stop = ends[-1] + 1 if ends else stop
        says[start:stop] = [True] * (stop - start)
    return whole, tuple(says)


def _beginning(tokenizer: Any, messages: Sequence[Message], whole: Ids, where: str, asks: bool = False) -> Ids:
    """The tokens of the first messages, which must be the beginning of the whole chat's."""
    found = chat_ids(tokenizer, messages, where, asks)
    if whole[: len(found)] != found:
        raise InputError(
            f"the chat template does not write the chat turn after turn: the tokens of the first {len(messages)} "
            "messages alone are no beginning of the whole's",
            wanted="a template that does, and no turn whose first line breaks join the template's in one token; or a "
            "template with {% generation %} around what the assistant says",
            remedy="name such a template as data.template",
            where=where,
        )
    return found


def _ids(tokenizer: Any, text: str) -> Ids:
    return tuple(tokenizer(text, add_special_tokens=False).input_ids)
