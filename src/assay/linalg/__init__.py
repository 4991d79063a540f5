"""Linear algebra that says how wrong it may be; knows no file, no model and no paper."""

from assay.linalg.operators import AbstractOperator, Dense, LowRank, RowScaled, Sum, Transposed, as_operator
from assay.linalg.overlaps import Overlap, largest_overlap, largest_overlaps
from assay.linalg.quadrature import Estimate, Quadrature, effective_rank, energy_rank, quadrature, singular_values
from assay.linalg.svd import base_triplets, leading_triplets, select_solver
from assay.linalg.triplets import Cost, Triplets

__all__ = [
    "AbstractOperator",
    "Cost",
    "Dense",
    "Estimate",
    "LowRank",
    "Overlap",
    "Quadrature",
    "RowScaled",
    "Sum",
    "Transposed",
    "Triplets",
    "as_operator",
    "base_triplets",
    "effective_rank",
    "energy_rank",
    "largest_overlap",
    "largest_overlaps",
    "leading_triplets",
    "quadrature",
    "select_solver",
    "singular_values",
]
