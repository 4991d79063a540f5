"""Data of a run in tokens, with classes in the order of a head that the base has already."""

from __future__ import annotations

from typing import Any

from assay.data.examples import Loaded
from assay.data.kinds import AnyData, Classification
from assay.data.tables import Reference, name_of, rows
from assay.errors import MismatchError
from assay.models.loading import Place, labels_of


def load_data(data: AnyData, path: Reference, tokenizer: Any, place: Place) -> Loaded:
    """The examples of a run.

    Args:
        data: how they are read; path: the file or data set.
        tokenizer: the base's.
        place: the base; a classifier keeps its head, and with it the order of its classes.

    Raises:
        InputError: as for the data's own `load`.
        MismatchError: the stored head has other classes than the data.
    """
    if not isinstance(data, Classification) or not (theirs := labels_of(place)):
        return data.load(path, tokenizer)
    return data.load(path, tokenizer, _of_head(theirs, {row[data.label] for row in rows(path, data.label)}, path))


def _of_head(theirs: tuple[str, ...], found: set[str], path: Reference) -> tuple[str, ...]:
    """The classes of a stored head, where they are those of the data; none where it does not name them."""
    if len(found) < 2:
        return ()
    if found <= set(theirs):
        return theirs
    if theirs == tuple(map(str, range(len(theirs)))):  # the outputs' positions, no names
        return ()
    raise MismatchError(
        f"the stored head has the classes {', '.join(theirs)}, and the data {', '.join(sorted(found))}",
        wanted="labels that the head knows",
        remedy="name the labels as the head does, or take a base without a head",
        where=name_of(path),
    )
