"""Views by kind of record: the module `assay.views.KIND` says what a record of that kind is seen as."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from assay.errors import RecordError
from assay.records import Record
from assay.views.arms import Arm
from assay.views.blocks import Section

_R = TypeVar("_R", bound=Record, covariant=True)
_K = TypeVar("_K", bound=Record)

_VIEWS: dict[str, Callable[[Sequence[Any]], Iterable[Section]]] = {}


@dataclass(frozen=True)
class Entry(Generic[_R]):
    """One record of a page.

    Attributes:
        record: the record.
        arm: the tuned model that it is of; one without a name where the record stands for itself.
        number: its place among the records of its kind, from 1: for anchors and the names of charts.
        arms: all arms of the page, those without a record of this kind among them.
    """

    record: _R
    arm: Arm
    number: int
    arms: tuple[Arm, ...] = ()


_View = Callable[[Sequence[Entry[_K]]], Iterable[Section]]


def view(kind: type[_K]) -> Callable[[_View[_K]], _View[_K]]:
    """Make a function the view of a kind of record: it is given all records of that kind, and yields sections."""

    def register(function: _View[_K]) -> _View[_K]:
        _VIEWS[kind.KIND] = function
        return function

    return register


def sections_of(entries: Sequence[Entry[Record]]) -> Iterable[Section]:
    """The sections of some records of one kind.

    Raises:
        RecordError: there is no view of this kind.
    """
    kind = entries[0].record.kind
    if kind not in _VIEWS and importlib.util.find_spec(f"assay.views.{kind}") is not None:
        importlib.import_module(f"assay.views.{kind}")
    if kind not in _VIEWS:
        raise RecordError(f"there is no view of a record of kind {kind!r}", wanted="a kind that can be shown")
    return _VIEWS[kind](entries)
