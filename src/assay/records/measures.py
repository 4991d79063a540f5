"""Every measure of the weights, defined once: its name, formula, source and unit, and how it is written.

A matrix's field in an audit takes its description from here, `assay ls measures` its line, and the tables of a page and
a terminal their columns. A new measure is one entry, its field in `assay.records.audit.Measures`, and its computation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

_V3 = "arXiv 2410.21228v3"

# How a measure is written: a count, a share in per cent, three digits, how far past a threshold, beside chance. None:
# it has no place in a table.
Written = Literal["count", "share", "number", "past", "chance"] | None


@dataclass(frozen=True)
class Measure:
    """One measure of a matrix's update.

    Attributes:
        name: of its field in the record.
        title: as the head of a column.
        says: what it is, with its formula.
        source: where it is from.
        written: how; None where it has no place in a table.
        detail: whether only a page has room for it.
    of: what it tells of: intruders, or the change itself, which has a table of its own.
        unit: empty where it is a pure number.
    """

    name: str
    title: str
    says: str
    source: str
    written: Written = None
    detail: bool = False
    of: Literal["intruders", "change"] = "intruders"
    unit: str = ""

    @property
    def description(self) -> str:
        """Description of the measure, with its unit and its source."""
        unit = f", in {self.unit}" if self.unit else ""
        return f"{self.says}{unit} ({self.source})"

    @property
    def field(self) -> Any:
        """The record's field, with what the measure is as its description."""
        return Field(title=self.title, description=self.description)


MEASURES: dict[str, Measure] = {
    one.name: one
    for one in (
        Measure(
            "count",
            "Intruders",
            "leading directions of W0 + dW with an overlap under eps with every singular vector of W0",
            _V3,
            "count",
            unit="directions",
        ),
        Measure(
            "undecided",
            "Undecided",
            "leading directions whose bounds lie on both sides of eps",
            "assay",
            "count",
            unit="directions",
        ),
        Measure(
            "energy_share",
            "Energy share",
            "sum of sigma^2 over intruders / the same over all k leading directions",
            "assay",
            "share",
        ),
        Measure(
            "intruder_update_share",
            "Share of the change",
            "share of ||dW||_F^2 that lies in the intruders' directions",
            "assay",
        ),
        Measure("relative_norm", "Relative norm", "||dW||_F / ||W0||_F", _V3, "number"),
        Measure(
            "effective_rank",
            "Effective rank",
            "exp(-sum p ln p), p = sigma / sum sigma of dW",
            "Roy & Vetterli 2007",
            "number",
            detail=True,
        ),
        Measure("stable_rank", "Stable rank", "||dW||_F^2 / sigma_1(dW)^2", "Rudelson & Vershynin 2007"),
        Measure(
            "energy_rank",
            "90% rank",
            "least r with 90 % of sum sigma^2 of dW in its r leading values",
            "arXiv 2405.09673",
            unit="directions",
        ),
        Measure("similarity", "Overlaps", "|U0^T U| of the leading vectors of W0 and of W0 + dW", _V3),
        Measure(
            "amplification",
            "Amplification",
            "||dW||_F / ||U^T W0 V^T||_F, U and V the leading vectors of dW",
            "arXiv 2106.09685, 7.3",
        ),
        Measure(
            "critical_multiplier",
            "Past threshold by",
            "what dW can be multiplied by before its first intruder is counted",
            "arXiv 2607.23711",
            "past",
        ),
        Measure(
            "chance",
            "By chance: median, 95%",
            "the count of random updates of the same shape, rank and Frobenius norm",
            "assay",
            "chance",
            detail=True,
        ),
        Measure(
            "update_sparsity",
            "Left as they were",
            "share of the entries of W that equal those of W0 in the precision that W0 is stored in",
            "arXiv 2505.11711",
            "share",
            of="change",
        ),
        Measure(
            "spectral_imbalance",
            "In its first direction",
            "sigma_1^2 / ||dW||_F^2, the share of the energy of dW in its first direction",
            "arXiv 2602.00722",
            "share",
            of="change",
        ),
        Measure(
            "effective_rank_share",
            "Of its rank",
            "effective rank of dW / its rank; 1 where all of its directions weigh the same",
            "arXiv 2602.00722",
            "share",
            of="change",
        ),
        Measure(
            "off_principal_left",
            "Off principal, left",
            "1 - ||U_p^T dW||_F^2 / ||dW||_F^2, U_p the leading left vectors of W0; (m - p) / m by chance",
            "arXiv 2511.08567",
            "share",
            of="change",
        ),
        Measure(
            "off_principal_right",
            "Off principal, right",
            "1 - ||dW V_p||_F^2 / ||dW||_F^2, V_p the leading right vectors of W0; (n - p) / n by chance",
            "arXiv 2511.08567",
            "share",
            of="change",
        ),
        Measure(
            "spectral_drift",
            "Drift of values",
            "||sigma(W) - sigma(W0)|| / ||sigma(W0)|| over the leading singular values",
            "arXiv 2511.08567",
            "number",
            of="change",
        ),
        Measure(
            "above_noise",
            "Above noise",
            "singular values of dW above omega(beta) times their median, the best hard threshold for unknown noise",
            "Gavish & Donoho 2014; arXiv 2605.20296",
            "count",
            of="change",
            unit="directions",
        ),
        Measure(
            "above_noise_share",
            "Energy above noise",
            "share of ||dW||_F^2 in the singular values above noise",
            "Gavish & Donoho 2014; arXiv 2605.20296",
            "share",
            of="change",
        ),
        Measure(
            "quantisation_ratio",
            "NF4 beside it",
            "||Q(W0) - W0||_F / ||dW||_F, Q rounding to NF4 in blocks of 64",
            "arXiv 2305.14314",
            "number",
            of="change",
        ),
    )
}


def describe_measures() -> list[tuple[str, str, str]]:
    """Name, source and definition of every measure.

    Example:
        >>> describe_measures()[4]
        ('relative_norm', 'arXiv 2410.21228v3', '||dW||_F / ||W0||_F')
    """
    return [(one.name, one.source, one.says) for one in MEASURES.values()]
