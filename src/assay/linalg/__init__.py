"""Linear algebra that says how wrong it may be; knows no file, no model and no paper."""

from assay.linalg.operators import AbstractOperator, Dense, LowRank, RowScaled, Sum, Transposed, as_operator, times
from assay.linalg.overlaps import Overlap, largest_overlap, largest_overlaps
from assay.linalg.quadrature import Estimate, Quadrature, quadrature
from assay.linalg.sigma_min import floor_of
from assay.linalg.svd import Solver, base_triplets, leading_triplets, select_solver
from assay.linalg.triplets import ANGLE_LIMIT, Cost, Triplets

__all__ = [
    "ANGLE_LIMIT",
    "AbstractOperator",
    "Cost",
    "Dense",
    "Estimate",
    "LowRank",
    "Overlap",
    "Quadrature",
    "RowScaled",
    "Solver",
    "Sum",
    "Transposed",
    "Triplets",
    "as_operator",
    "base_triplets",
    "floor_of",
    "largest_overlap",
    "largest_overlaps",
    "leading_triplets",
    "quadrature",
    "select_solver",
    "times",
]
