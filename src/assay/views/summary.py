"""The figures of one audit beyond the record's own fields, derived from the record alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Literal

from assay.records.audit import Audit, Chance, Coverage, Direction, MatrixAudit, Side, Status, by_role, energies
from assay.views.arms import Arm

State = Literal["not applicable", "nothing analysed", "zero", "ordinary"]

# The matrices that get pictures and a table of their directions: the worst ones, and no more than a reader looks at.
PICTURED = 6
LISTED = 10
# How a tensor's status is ordered in the coverage table: what needs attention first.
_STATUS_ORDER: tuple[Status, ...] = ("skipped", "changed, not a matrix", "unchanged", "analysed")


@dataclass(frozen=True)
class Group:
    """Some matrices of an audit taken together: the record's own sums over just those.

    Attributes:
        name: what they share, for example a role.
        audit: the audit with only these matrices.
    """

    name: str
    audit: Audit

    @property
    def directions(self) -> tuple[Direction, ...]:
        """The leading directions on the counted side."""
        return tuple(d for matrix in self.audit.matrices for d in leading(self.audit, matrix))

    @property
    def effective_rank(self) -> float | None:
        """Median over the matrices that changed: what did not change has no rank to speak of."""
        return _median(matrix.effective_rank for matrix in self.changed)

    @property
    def stable_rank(self) -> float | None:
        """Median over the matrices that changed."""
        return _median(matrix.stable_rank for matrix in self.changed)

    @property
    def changed(self) -> tuple[MatrixAudit, ...]:
        """The matrices whose update is not zero."""
        return tuple(matrix for matrix in self.audit.matrices if matrix.update_norm > 0)


@dataclass(frozen=True)
class ChanceLevel:
    """Counts beside those of random updates: matrices measured, and those above their 95th percentile."""

    measured: int
    above: int
    draws: int


def _highest(chance: Chance) -> float:
    """The 95th percentile with undecided directions counted as intruders."""
    return chance.percentile_95_bounds[1] if chance.percentile_95_bounds else chance.percentile_95


def counted_side(audit: Audit) -> Side:
    """The side whose intruders are the count: the left one unless only the right one was asked for."""
    return "right" if audit.side == "right" else "left"


def leading(audit: Audit, matrix: MatrixAudit, side: Side | None = None) -> tuple[Direction, ...]:
    """The first k directions of a matrix on one side, the counted one by default."""
    return tuple(d for d in matrix.on(side or counted_side(audit)) if d.position <= audit.k)


def group(audit: Audit, name: str, matrices: Iterable[MatrixAudit]) -> Group:
    """Some of the matrices, under a name."""
    return Group(name, audit.part(matrices))


def counts_by_eps(audit: Audit) -> dict[float, tuple[int, int]]:
    """Intruders and undecided over all matrices, for every eps that was asked for."""
    totals: dict[float, tuple[int, int]] = {}
    for matrix in audit.matrices:
        for eps, (count, undecided) in matrix.counts.items():
            before = totals.get(float(eps), (0, 0))
            totals[float(eps)] = (before[0] + count, before[1] + undecided)
    return dict(sorted(totals.items()))


@dataclass(frozen=True)
class Summary:
    """The figures of one audit's section.

    Attributes:
        audit: the record.
        number: its place among the audits of the page, from 1.
        arm: the tuned model that it is of.
    """

    audit: Audit
    number: int
    arm: Arm

    @property
    def anchor(self) -> str:
        """The section's identity in the page."""
        return f"audit-{self.number}"

    @property
    def state(self) -> State:
        """The kind of headline that the record needs."""
        if self.audit.kind_of_update == "none":
            return "not applicable"
        if not self.audit.matrices:
            return "nothing analysed"
        return "zero" if all(matrix.relative_norm == 0 for matrix in self.audit.matrices) else "ordinary"

    @property
    def eps(self) -> float | None:
        """The eps of the counts in the headline: the first that was asked for."""
        return self.audit.eps[0] if self.audit.eps else None

    @property
    def side(self) -> Side:
        """The counted side."""
        return counted_side(self.audit)

    @cached_property
    def everything(self) -> Group:
        """All matrices together."""
        return Group("all", self.audit)

    @property
    def total(self) -> int:
        """Leading directions looked at on the counted side."""
        return len(self.everything.directions)

    @property
    def energy_bounds(self) -> tuple[float, float] | None:
        """The least and largest energy share that the undecided directions allow."""
        surely, possibly, total = energies(self.everything.directions)
        return (surely / total, possibly / total) if total else None

    @property
    def other_side(self) -> tuple[Side, int, int, int] | None:
        """The other side, if both were asked for: its intruders, undecided and directions."""
        if self.audit.side != "both":
            return None
        verdicts = Counter(d.verdict for matrix in self.audit.matrices for d in leading(self.audit, matrix, "right"))
        return "right", verdicts["intruder"], verdicts["undecided"], verdicts.total()

    @property
    def random_level(self) -> tuple[int, float] | None:
        """The largest cosine that a random direction of the shortest vectors in the audit tends to have.

        `sqrt(2 ln n / n)`, which the largest of n Gaussian coordinates stays slightly under; from n = 8 on, where the
        formula means something.
        """
        end = 0 if self.side == "left" else 1
        lengths = [matrix.shape[end] for matrix in self.audit.matrices if min(matrix.shape) >= 8]
        return (min(lengths), math.sqrt(2 * math.log(min(lengths)) / min(lengths))) if lengths else None

    @property
    def chance(self) -> ChanceLevel | None:
        """The chance level, over the matrices for which it was measured."""
        measured = [(matrix.count, matrix.chance) for matrix in self.audit.matrices if matrix.chance is not None]
        if not measured:
            return None
        return ChanceLevel(
            measured=len(measured),
            above=sum(count > _highest(chance) for count, chance in measured),
            draws=min(chance.draws for _, chance in measured),
        )

    @property
    def at_rounding(self) -> int:
        """Matrices whose change is no larger than storing them in their precision can cause."""
        return sum(
            matrix.rounding_floor is not None and 0 < (matrix.relative_norm or 0.0) <= matrix.rounding_floor
            for matrix in self.audit.matrices
        )

    @property
    def with_intruders(self) -> int:
        """Matrices with at least one intruder."""
        return sum(matrix.count > 0 for matrix in self.audit.matrices)

    @cached_property
    def statuses(self) -> tuple[tuple[Status, int], ...]:
        """The number of tensors with each status, those that need attention first."""
        counts = Counter(entry.status for entry in self.audit.coverage.values())
        return tuple((status, counts[status]) for status in _STATUS_ORDER if counts[status])

    @property
    def reasons(self) -> list[tuple[Status, str, int]]:
        """The same, with what was not analysed split by reason, the most frequent first."""
        counts = Counter(
            (entry.status, entry.reason if entry.status in _STATUS_ORDER[:2] else "")
            for entry in self.audit.coverage.values()
        )
        ordered = sorted(counts.items(), key=lambda item: (_STATUS_ORDER.index(item[0][0]), -item[1]))
        return [(status, reason, count) for (status, reason), count in ordered]

    @property
    def coverage(self) -> list[tuple[str, Coverage]]:
        """Every tensor, what needs attention first and in the record's order within."""
        items = self.audit.coverage.items()
        open_ones = set(self.audit.open_tensors)
        return sorted(items, key=lambda item: (item[0] not in open_ones, _STATUS_ORDER.index(item[1].status)))

    @cached_property
    def roles(self) -> tuple[Group, ...]:
        """The matrices by role."""
        return tuple(group(self.audit, role, found) for role, found in by_role(self.audit.matrices).items())

    @property
    def worst(self) -> tuple[MatrixAudit, ...]:
        """The matrices in the table of the worst."""
        return self.audit.worst(LISTED)

    @property
    def pictured(self) -> tuple[MatrixAudit, ...]:
        """The matrices whose spectra are drawn."""
        return tuple(matrix for matrix in self.audit.worst(PICTURED) if matrix.directions)

    @property
    def solvers(self) -> list[str]:
        """Solvers that decided the verdicts, each once."""
        return list(dict.fromkeys(matrix.solver for matrix in self.audit.matrices))

    @property
    def by_eps(self) -> dict[float, tuple[int, int]]:
        """Intruders and undecided for every eps."""
        return counts_by_eps(self.audit)


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
