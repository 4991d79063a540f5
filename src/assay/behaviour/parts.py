"""Parts of a score, each asked of both models and settled into its place in the record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from assay.behaviour.activation_drift import Followed, Stretches
from assay.behaviour.asked import Asker, refuse_other_classes
from assay.behaviour.divergence import ask_both, settled
from assay.behaviour.passes import Meter, Pass, Progress
from assay.errors import MismatchError
from assay.models.loading import Place, stored_objective


@dataclass(frozen=True)
class Part:
    """A part of the record.

    Attributes:
        asked: what both models are asked.
        settle: what their answers come to; the base's are None where it cannot be asked.
        stretches: on which activation drift is measured; None where it is not.
    """

    asked: Pass
    settle: Callable[[Any, Any], Any]
    stretches: Stretches | None = None

    def settled(self, base: Any, tuned: Any, seed: int) -> Any:
        """The part, with the divergence where both models' distributions were compared."""
        if not self.asked.compared or base is None:
            return self.settle(base, tuned)
        found = self.settle(*([answer for answer, _ in given] for given in (base, tuned)))
        return found.model_copy(update={"divergence": settled(self.asked, [nats for _, nats in tuned], seed)})


def settle_parts(
    parts: dict[str, Part],
    places: tuple[Place, Place],
    asker: Asker,
    meter: tuple[Progress | None, float],
    batch_tokens: int,
    seed: int,
) -> tuple[dict[str, Any], list[str]]:
    """Ask both models everything, one after the other, and settle the parts.

    Args:
        parts: by their names in the record.
        places: the base, the tuned model.
        asker: how they are loaded.
        meter: what is told of the progress, and when to stop.
        batch_tokens: tokens in a batch.
        seed: of the bootstraps.

    Returns:
        What each part came to, and remarks.
    """
    base, tuned = places
    passes = {name: part.asked for name, part in parts.items()}
    headed = [one for one in passes.values() if one.head == "sequence-classification"]
    if headed and stored_objective(tuned) != "sequence-classification":
        raise MismatchError(
            "the model has no trained classification head", wanted="a classifier", where=tuned.source.name
        )
    without = bool(headed) and stored_objective(base) != "sequence-classification"
    for one in headed if not without else ():
        refuse_other_classes(base, one.labels)
    sittings = (asker.sitting(base, base), asker.sitting(tuned, base))
    of_base = [name for name in passes if not (without and passes[name].head == "sequence-classification")]
    followed, why = None, ""
    if any(part.stretches for part in parts.values()):
        followed, why = Followed.of(base, tuned, sittings[1].identity)
    drifts = {} if followed is None else _drifts(parts, of_base, base, followed, batch_tokens)
    asked = (_beside(parts, of_base, drifts), list(passes))
    passes |= drifts
    total = sum(sum(passes[name].costs) for names in asked for name in names)
    told, until = meter
    answers, of_tuned = ask_both(sittings, passes, asked, Meter(total, told, until=until))
    found = {name: part.settled(answers.get(name), of_tuned[name], seed) for name, part in parts.items()}
    for name, part in parts.items():
        if followed is not None and part.stretches is not None:
            drift = followed.settled(part.stretches, answers[_drift_of(name)], seed)
            found[name] = found[name].model_copy(update={"activation_drift": drift})
    return found, [why] if why else []


def _drift_of(name: str) -> str:
    return f"activation drift, {name}"


def _drifts(
    parts: dict[str, Part], of_base: Sequence[str], base: Place, followed: Followed, batch_tokens: int
) -> dict[str, Pass]:
    """Questions to the base for the drift, under the head that it has in memory for the part, if any."""
    found = {}
    for name, part in parts.items():
        if part.stretches is not None:
            asked = part.asked
            head = asked.head if name in of_base else stored_objective(base) or asked.head
            labels = asked.labels if head == asked.head else ()
            found[_drift_of(name)] = followed.asked("activations", part.stretches, head, labels, batch_tokens)
    return found


def _beside(parts: dict[str, Part], of_base: Sequence[str], drifts: dict[str, Pass]) -> list[str]:
    """The base's passes, each drift after the part that it is of, so that no head is loaded twice."""
    every = (one for name in parts for one in (name, _drift_of(name)))
    return [one for one in every if one in of_base or one in drifts]
