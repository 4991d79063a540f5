"""Catalogue of the measures of weights: field of an audit, source, and definition."""

from __future__ import annotations

_V3 = "arXiv 2410.21228v3"
# Field of a matrix in the record, source, and definition.
_MEASURES = (
    ("count", _V3, "leading directions of W0 + dW with an overlap under eps with every singular vector of W0"),
    ("undecided", "assay", "leading directions whose bounds lie on both sides of eps"),
    ("energy_share", "assay", "sum of sigma^2 over intruders / the same over all k leading directions"),
    ("intruder_update_share", "assay", "share of ||dW||_F^2 that lies in the intruders' directions"),
    ("relative_norm", _V3, "||dW||_F / ||W0||_F"),
    ("effective_rank", "Roy & Vetterli 2007", "exp(-sum p ln p), p = sigma / sum sigma of dW"),
    ("stable_rank", "Rudelson & Vershynin 2007", "||dW||_F^2 / sigma_1(dW)^2"),
    ("energy_rank", "arXiv 2405.09673", "least r with 90 % of sum sigma^2 of dW in its r leading values"),
    ("similarity", _V3, "|U0^T U| of the leading vectors of W0 and of W0 + dW"),
    ("amplification", "arXiv 2106.09685, 7.3", "||dW||_F / ||U^T W0 V^T||_F, U and V the leading vectors of dW"),
    ("critical_multiplier", "arXiv 2607.23711", "what dW can be multiplied by before its first intruder is counted"),
    ("chance", "assay", "the count of random updates of the same shape, rank and Frobenius norm"),
)


def describe_measures() -> list[tuple[str, str, str]]:
    """Name, source and definition of every measure.

    Example:
        >>> describe_measures()[4]
        ('relative_norm', 'arXiv 2410.21228v3', '||dW||_F / ||W0||_F')
    """
    return list(_MEASURES)
