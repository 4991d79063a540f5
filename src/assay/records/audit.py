"""The record of an audit: what fine-tuning did to every matrix of a model, with a bound on every verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, computed_field

from assay import gates
from assay.records.measures import MEASURES
from assay.records.record import Part, Record, Source
from assay.records.totals import LIMITS, Total, totals

if TYPE_CHECKING:
    import pandas

_IMBALANCE, _RANK_SHARE = MEASURES["spectral_imbalance"], MEASURES["effective_rank_share"]
Side = Literal["left", "right"]
Verdict = Literal["intruder", "matched", "undecided"]
Status = Literal["analysed", "unchanged", "changed, not a matrix", "skipped"]


class Direction(Part):
    """One leading singular vector of the tuned matrix, and whether the base has anything like it.

    Attributes:
        position: 1 for the largest singular value.
        side: left (outputs) or right (inputs).
        sigma: its singular value in the tuned matrix.
        cosine: its largest overlap with a singular vector of the base; None when only bounded.
        cosine_bounds: least and largest value the overlap can have.
        cluster: first and last position of the near-equal singular values it belongs to; None when it stands alone.
        verdict: intruder when the upper bound is under eps, matched when the lower one is not, undecided between.
        decided_by: "vector", "cluster" (its own values are near-equal) or "base cluster" (the base's are).
        update_share: share of `||dW||_F^2` that lies in this direction.
    """

    position: int
    side: Side
    sigma: float
    cosine: float | None
    cosine_bounds: tuple[float, float]
    cluster: tuple[int, int] | None = None
    verdict: Verdict
    decided_by: Literal["vector", "cluster", "base cluster"] = "vector"
    update_share: float | None = None


class Chance(Part):
    """Scores of random updates of the same shape, rank and Frobenius norm on the same base matrix.

    Attributes:
        draws, rank, seed: of the updates.
        median, percentile_95: of their intruder counts, undecided directions counted as none.
        median_bounds, percentile_95_bounds: the same and, at the upper end, undecided ones counted as intruders. None
            in records made before they were told.
    """

    draws: int
    rank: int
    seed: int
    median: float
    percentile_95: float
    median_bounds: tuple[float, float] | None = None
    percentile_95_bounds: tuple[float, float] | None = None


class Measures(Part):
    """Measures of one update of one matrix.

    Attributes:
        rank: number of singular values of the update above rounding; None where not all were computed.
        relative_norm: `||dW||_F / ||W0||_F`; None for a base matrix of zeros.
        effective_rank, stable_rank, energy_rank: of the update; bounds that are apart say that they were estimated.
        count: intruders on the counted side; `undecided` more are possible.
        counts: for every eps that was asked for, the count and the undecided.
        energy_share: sum of sigma^2 over intruders / over all leading directions, counting the undecided as matched;
            `energy_share_bounds` has both ends.
        intruder_update_share: share of `||dW||_F^2` in the intruder directions.
        sigma_base, sigma_tuned, sigma_update: leading singular values of the three; of a large base as far as they are
            known to a thousandth of the largest, which may be less than k if k is over 12.
        similarity: `|U0^T U|` of leading vectors, rows of the base (of those values), columns of the tuned matrix.
        amplification: `||dW||_F / ||U^T W0 V^T||_F` over the leading `amplification_rank` directions of dW.
        critical_multiplier: what the update can be multiplied by before its leading direction is first counted, by the
            estimate of `assay.measures.threshold`: under 1, it is past the threshold by one over that. None where
            there is no estimate; `critical_multiplier_bounds` are its two crossings.
        update_sparsity: share of entries that W has as W0 has them, in the precision that W0 is stored in; this and
            the fields after it are None in records made before they were measured.
        principal_rank: p, the leading directions of the base that `off_principal_left` and `off_principal_right` are
            off; None where the base has none that are told apart. A bound is as wide as the angle of their space.
        spectral_drift: over as many values as `sigma_base` and `sigma_tuned` both have.
        noise_threshold: what `above_noise` and `above_noise_share` are above; None where the median singular value of
            dW is rounding, as of an adapter whose rank is under half of the shorter side: it has no noise to be above.
            The bounds are those of the median where not all singular values were computed.
        quantisation_ratio: over one, rounding the base to four bits moves it further than fine-tuning did.
        solver: what decided the verdicts.
        missed: probability that a bound is wrong because random probes missed something; 0 if none was used.
        products: columns multiplied by the matrix; decompositions: dense ones taken.
        base_norm, update_norm: Frobenius norms.
    """

    rank: int | None
    relative_norm: Annotated[float | None, MEASURES["relative_norm"].field]
    effective_rank: Annotated[float | None, MEASURES["effective_rank"].field]
    effective_rank_bounds: tuple[float, float] | None = None
    stable_rank: Annotated[float | None, MEASURES["stable_rank"].field]
    energy_rank: Annotated[int | None, MEASURES["energy_rank"].field]
    energy_rank_bounds: tuple[float, float] | None = None
    count: Annotated[int, MEASURES["count"].field]
    undecided: Annotated[int, MEASURES["undecided"].field]
    counts: dict[str, tuple[int, int]]
    energy_share: Annotated[float | None, MEASURES["energy_share"].field]
    energy_share_bounds: tuple[float, float] | None
    intruder_update_share: Annotated[float | None, MEASURES["intruder_update_share"].field]
    chance: Annotated[Chance | None, MEASURES["chance"].field] = None
    directions: tuple[Direction, ...]
    sigma_base: tuple[float, ...]
    sigma_tuned: tuple[float, ...]
    sigma_update: tuple[float, ...]
    similarity: Annotated[tuple[tuple[float, ...], ...], MEASURES["similarity"].field]
    amplification: Annotated[float | None, MEASURES["amplification"].field]
    amplification_rank: int | None
    critical_multiplier: Annotated[float | None, MEASURES["critical_multiplier"].field] = None
    critical_multiplier_bounds: tuple[float, float] | None = None
    update_sparsity: Annotated[float | None, MEASURES["update_sparsity"].field] = None
    principal_rank: int | None = None
    off_principal_left: Annotated[float | None, MEASURES["off_principal_left"].field] = None
    off_principal_left_bounds: tuple[float, float] | None = None
    off_principal_right: Annotated[float | None, MEASURES["off_principal_right"].field] = None
    off_principal_right_bounds: tuple[float, float] | None = None
    spectral_drift: Annotated[float | None, MEASURES["spectral_drift"].field] = None
    spectral_drift_bounds: tuple[float, float] | None = None
    noise_threshold: float | None = None
    above_noise: Annotated[int | None, MEASURES["above_noise"].field] = None
    above_noise_bounds: tuple[int, int] | None = None
    above_noise_share: Annotated[float | None, MEASURES["above_noise_share"].field] = None
    above_noise_share_bounds: tuple[float, float] | None = None
    quantisation_ratio: Annotated[float | None, MEASURES["quantisation_ratio"].field] = None
    solver: str
    missed: float = 0.0
    products: int
    decompositions: int
    base_norm: float
    update_norm: float

    @computed_field(title=_IMBALANCE.title, description=_IMBALANCE.description)  # type: ignore[prop-decorator]
    @property
    def spectral_imbalance(self) -> float | None:
        """Share of the energy of dW in its first direction; None for a zero update."""
        return 1.0 / self.stable_rank if self.stable_rank else None

    @computed_field(title=_RANK_SHARE.title, description=_RANK_SHARE.description)  # type: ignore[prop-decorator]
    @property
    def effective_rank_share(self) -> float | None:
        """Effective rank of dW over its rank; None for a zero update, and where not all values were computed."""
        return self.effective_rank / self.rank if self.rank and self.effective_rank is not None else None

    def on(self, side: Side) -> tuple[Direction, ...]:
        """The directions of one side, largest singular value first."""
        return tuple(direction for direction in self.directions if direction.side == side)


class MatrixAudit(Measures):
    """One weight matrix of the base beside its tuned counterpart.

    Attributes:
        name: the weight's name in the base checkpoint.
        role: what the matrix does in its layer, the same word in every layer.
        layer: the index of its block; None outside of the blocks.
        shape: outputs, inputs (not as stored).
        orientation: how it is stored, and whether that was read off the model's modules or assumed.
        scale: what the update `BA` was multiplied by; None when the update is not one adapter.
        rounding_floor: the relative norm that storing the weights in their precision alone can cause.
        digest: of the base tensor's bytes.
    """

    name: str
    role: str
    layer: int | None
    shape: tuple[int, int]
    orientation: str
    scale: float | None
    rounding_floor: float | None
    digest: str


class Coverage(Part):
    """Status of one stored tensor.

    Attributes:
        status: analysed | unchanged | changed, not a matrix | skipped.
        files: which side stores it: base, tuned or both.
        reason: why it was skipped, or what it was analysed with.
        matters: whether it belongs to what the audit promises to analyse, so that skipping it leaves a gate open; told
            of what was skipped, and of what no adapter changes.
    """

    status: Status
    files: Literal["base", "tuned", "both"]
    reason: str = ""
    matters: bool = False


class Audit(Record):
    """Effect of fine-tuning on a model's weights, matrix by matrix.

    Attributes:
        base, tuned: what was compared; `tuned` has several for a sum of adapters.
        kind_of_update: adapter, adapters, checkpoint, or none when the method changes no weight matrix.
        k, eps, side: the question that was asked.
        matrices: one entry a matrix, in the base's order.
        coverage: every tensor of both sides, once.
        base_norm: `||W0||_F` over all matrices of the base that are in scope, changed or not: the same for an adapter
            and for the checkpoint that it was merged into. None in records made before it was told.
        base_entries: how many entries those matrices have.
        notes: what a reader must know, one sentence each.

    Example:
        >>> record = assay.Audit.read("audit.json")  # doctest: +SKIP
        >>> record.count, record.undecided, record.relative_norm  # doctest: +SKIP
        (27, 0, 0.113)
        >>> max(record.matrices, key=lambda matrix: matrix.count).name  # doctest: +SKIP
        'encoder.layer.0.attention.self.query.weight'
    """

    KIND: ClassVar[str] = "audit"
    # The fields a gate can be set on, each with any value: what a condition is checked against before the audit.
    ANY_FIELDS: ClassVar[dict[str, gates.Range | None]] = dict.fromkeys(
        ("count", "undecided", "energy_share", "relative_norm", *LIMITS)
    )

    kind: Literal["audit"] = "audit"
    schema_version: Literal[1] = 1
    base: Source
    tuned: tuple[Source, ...]
    kind_of_update: Literal["adapter", "adapters", "checkpoint", "none"]
    model_type: str | None
    k: int
    eps: tuple[float, ...]
    side: Literal["left", "right", "both"]
    matrices: tuple[MatrixAudit, ...]
    coverage: dict[str, Coverage]
    base_norm: float | None = None
    base_entries: int | None = None
    notes: tuple[str, ...] = ()
    seconds: float = Field(description="wall time of the audit")

    @property
    def tuned_models(self) -> tuple[Source, ...]:
        """The tuned model that the record is of, several for a sum of adapters."""
        return self.tuned

    @computed_field  # type: ignore[prop-decorator]  # the order that pydantic asks for
    @property
    def count(self) -> int:
        """Intruders over all matrices, on the counted side."""
        return sum(matrix.count for matrix in self.matrices)

    @computed_field  # type: ignore[prop-decorator]  # the order that pydantic asks for
    @property
    def undecided(self) -> int:
        """Directions whose verdict is open, over all matrices."""
        return sum(matrix.undecided for matrix in self.matrices)

    @computed_field  # type: ignore[prop-decorator]  # the order that pydantic asks for
    @property
    def energy_share(self) -> float | None:
        """Sum of sigma^2 over intruders / over all leading directions of all matrices (undecided ones as matched)."""
        energies = self._energies()
        return energies[0] / energies[2] if energies[2] else None

    @computed_field  # type: ignore[prop-decorator]  # the order that pydantic asks for
    @property
    def relative_norm(self) -> float | None:
        """`||dW||_F / ||W0||_F` over all matrices of the base that are in scope, changed or not.

        Of a record without `base_norm` it is over the matrices that it has.
        """
        told, base = self.base_norm, math.fsum(matrix.base_norm**2 for matrix in self.matrices)
        update = math.fsum(matrix.update_norm**2 for matrix in self.matrices)
        base = base if told is None else told**2
        return math.sqrt(update / base) if base > 0 else None

    @computed_field  # type: ignore[prop-decorator]  # the order that pydantic asks for
    @property
    def totals(self) -> dict[str, Total]:
        """Measures over all matrices together, by the names that they have of one; see `assay.records.totals`."""
        return totals(self.matrices, self.base_entries)

    def part(self, matrices: Iterable[MatrixAudit]) -> Audit:
        """Some of its matrices, as an audit whose totals are theirs alone."""
        return self.model_copy(update={"matrices": tuple(matrices), "base_norm": None, "base_entries": None})

    @property
    def in_scope(self) -> frozenset[str]:
        """The base's names of the matrices that are known whole: measured, or changed by no adapter."""
        untouched = (name for name, entry in self.coverage.items() if entry.matters and entry.status == "unchanged")
        return frozenset((*(matrix.name for matrix in self.matrices), *untouched))

    @property
    def open_tensors(self) -> tuple[str, ...]:
        """Tensors that the audit promises to analyse and could not: they leave every gate open."""
        return tuple(name for name, entry in self.coverage.items() if entry.matters and entry.status == "skipped")

    @property
    def statuses(self) -> dict[str, int]:
        """The number of tensors with each status."""
        counts: dict[str, int] = {}
        for entry in self.coverage.values():
            counts[entry.status] = counts.get(entry.status, 0) + 1
        return counts

    def check(self, condition: str, against: Audit | None = None) -> gates.Gate:
        """Evaluate a gate such as `energy_share > 0.2` or `count > old.count` on this record.

        Crossed only if it is for every outcome of the undecided directions; a matrix of the body that could not be
        analysed could hold anything. Inconclusive where the earlier record answers another question.
        """
        found = gates.evaluate(condition, self.fields(), against.fields() if against else None)
        other = self._unlike(against) if against is not None and found.compares else []
        if not other:
            return found
        return replace(found, outcome="inconclusive", reason=f"the earlier record has another {' and '.join(other)}")

    def _unlike(self, other: Audit) -> list[str]:
        """Settings that two audits must share for their counts to be compared, and do not: a left-out matrix counts."""

        def question(audit: Audit) -> dict[str, Any]:
            return {
                "base": audit.base.digest or audit.base.name,
                "k": audit.k,
                "eps": audit.eps[0],
                "side": "right" if audit.side == "right" else "left",
                "set of matrices": audit.in_scope,
            }

        ours, theirs = question(self), question(other)
        return [name for name in ours if ours[name] != theirs[name]]

    def fields(self) -> dict[str, gates.Range | None]:
        """The ranges of what a gate can be set on; None for all when the method changes no weight matrix."""
        if self.kind_of_update == "none":
            return dict(self.ANY_FIELDS)
        surely, possibly, total = self._energies()
        share = (surely / total, possibly / total) if total else None
        norm = self.relative_norm
        if self.open_tensors:
            return {
                "count": (self.count, math.inf),
                "undecided": (self.undecided, math.inf),
                "energy_share": (0.0, 1.0),
                "relative_norm": (0.0, math.inf),
                **LIMITS,
            }
        together = self.totals
        return {
            "count": (self.count, self.count + self.undecided),
            "undecided": (self.undecided, self.undecided),
            "energy_share": share,
            "relative_norm": None if norm is None else (norm, norm),
            **{name: together[name].bounds if name in together else None for name in LIMITS},
        }

    def worst(self, count: int = 10) -> tuple[MatrixAudit, ...]:
        """The matrices with most intruders, then most energy in them, then the largest update."""
        order = sorted(self.matrices, key=lambda m: (-m.count, -(m.energy_share or 0.0), -(m.relative_norm or 0.0)))
        return tuple(order[:count])

    def to_frame(self) -> pandas.DataFrame:
        """One row a matrix, as a pandas data frame (pandas must be installed)."""
        import pandas

        nested = {"directions", "similarity", "sigma_base", "sigma_tuned", "sigma_update", "counts", "chance"}
        return pandas.DataFrame([matrix.model_dump(exclude=nested) for matrix in self.matrices])

    def _energies(self) -> tuple[float, float, float]:
        """Sums of sigma^2: of intruders, of intruders and undecided, and of all leading directions."""
        counted: Side = "right" if self.side == "right" else "left"
        directions = [d for matrix in self.matrices for d in matrix.on(counted) if d.position <= self.k]
        return energies(directions)


def energies(directions: Iterable[Direction]) -> tuple[float, float, float]:
    """Sums of sigma^2: of the intruders, of intruders and undecided, and of all of them."""
    directions = list(directions)
    surely = math.fsum(d.sigma**2 for d in directions if d.verdict == "intruder")
    possibly = math.fsum(d.sigma**2 for d in directions if d.verdict != "matched")
    return surely, possibly, math.fsum(d.sigma**2 for d in directions)


def by_role(matrices: Sequence[MatrixAudit]) -> dict[str, list[MatrixAudit]]:
    """The matrices of every role, in the order in which the roles appear in the model."""
    groups: dict[str, list[MatrixAudit]] = {}
    for matrix in matrices:
        groups.setdefault(matrix.role, []).append(matrix)
    return groups
