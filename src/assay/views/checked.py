"""Audits held against gates: each outcome in a sentence, and the tensors that it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from assay.gates import Gate
from assay.records import Audit

# Tensors that are named beside an outcome: a reader looks at the first few, and the record has them all.
_NAMED = 10


@dataclass(frozen=True)
class Checked:
    """An audit and the gates that it was held against.

    Attributes:
        audit: the record; None for what was not audited, so that its gates are open.
        gates: their outcomes, in the order in which they were asked for.
        file: the file that was audited, as whoever asked names it.
    """

    audit: Audit | None
    gates: tuple[Gate, ...]
    file: str

    @property
    def model(self) -> str:
        """The tuned model, or all models of a sum; of a study's run, whose model has no name of its own, the run."""
        file = Path(self.file)
        names = "model" if self.audit is None else " + ".join(source.name for source in self.audit.tuned)
        return file.parent.name if names == "model" and file.suffix == ".json" else names

    @property
    def title(self) -> str:
        """The models that were compared."""
        return self.model if self.audit is None else f"{self.model} against {self.audit.base.name}"

    def outcome(self, gate: Gate) -> str:
        """The outcome of a gate with the values that decided; of one that is left open, also where to look."""
        remedy = ""
        if self.audit and gate.outcome == "inconclusive" and (self.audit.undecided or self.audit.open_tensors):
            remedy = "; the undecided directions and skipped matrices in the record say why"
        return f"gate {gate.outcome}: {gate.condition} ({gate.reason}{remedy})"

    def tensors(self, gate: Gate) -> tuple[tuple[str, str], ...]:
        """Tensors that a gate's outcome rests on, each with its share in it: none of a gate that is held.

        Of a crossed gate they are the matrices that are furthest past it, by their own value of the field; of an
        inconclusive one those that could not be analysed, and those with undecided directions.
        """
        if self.audit is None or gate.outcome == "held":
            return ()
        if gate.outcome == "inconclusive":
            skipped = [(name, f"not analysed: {self.audit.coverage[name].reason}") for name in self.audit.open_tensors]
            left = sorted((one for one in self.audit.matrices if one.undecided), key=lambda one: -one.undecided)
            return (*skipped, *((one.name, f"{one.undecided} undecided") for one in left))[:_NAMED]
        values = [(value, one.name) for one in self.audit.matrices if (value := getattr(one, gate.field)) is not None]
        values.sort(key=lambda pair: pair[0], reverse=gate.operator.startswith(">"))
        return tuple((name, f"{gate.field} {value:.6g}") for value, name in values[:_NAMED])
