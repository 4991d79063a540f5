"""The models of a score: how they are loaded to be asked, and what their answers are kept under."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.behaviour.passes import Sitting
from assay.errors import MismatchError
from assay.models.loading import Place, base_of, configuration, labels_of
from assay.models.precision import Held
from assay.models.shared import OneBase


@dataclass(frozen=True)
class Asker:
    """Settings for loading models to be asked, and the folder where answers are kept."""

    shared: OneBase
    keep: Path | None
    device: str
    held: Held

    @classmethod
    def of(cls, shared: OneBase | None, keep: str | Path | None, device: str, held: Held) -> Asker:
        """With a home for bases of its own, unless one is shared."""
        return cls(shared or OneBase(), None if keep is None else Path(keep), device, held)

    def sitting(self, place: Place, base: Place) -> Sitting:
        """A model that answers; a tuned classifier predicts text with its base's head."""
        head_of = base if place is not base else None
        numbers = [self.held.numbers] if self.held.numbers != "float32" else []
        return Sitting(
            place.source.name,
            [_identity(place), _identity(base), *numbers],
            lambda head, labels: self.shared.load(place, head, labels, self.device, head_of, self.held),
            self.keep,
            self.device,
        )


def _identity(place: Place) -> list[Any]:
    """A model's weights and how they are read: an adapter's scale is in its settings, and its base beneath it."""
    return [place.source.digest, place.settings(), _identity(base_of(place)) if place.is_adapter else None]


def vocabulary_of(place: Place) -> int | None:
    """The number of tokens in a model's vocabulary."""
    if place.is_adapter:
        return vocabulary_of(base_of(place))
    size = configuration(place).get("vocab_size")
    return None if size is None else int(size)


def refuse_other_classes(base: Place, labels: tuple[str, ...]) -> None:
    """Refuse a base whose head has other classes than the tuned one's, or the same in another order.

    A base that names none is taken to have them in the same order: a tuned model keeps the head that it finds.

    Raises:
        MismatchError: with both.
    """
    theirs = labels_of(base) or ()
    unnamed = theirs == tuple(str(i) for i in range(len(theirs)))
    if not unnamed and theirs != labels:
        raise MismatchError(
            f"the classes of the two heads are {', '.join(theirs)} and {', '.join(labels)}",
            wanted="the same classes in the same order",
            where=base.source.name,
        )
