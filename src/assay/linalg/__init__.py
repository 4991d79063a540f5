"""Linear algebra that says how wrong it may be; knows no file, no model and no paper."""

from assay.linalg.operators import AbstractOperator, Dense, LowRank, RowScaled, Sum, Transposed, as_operator
from assay.linalg.overlaps import Overlap, largest_overlap
from assay.linalg.svd import Cost, Triplets, leading_triplets

__all__ = [
    "AbstractOperator",
    "Cost",
    "Dense",
    "LowRank",
    "Overlap",
    "RowScaled",
    "Sum",
    "Transposed",
    "Triplets",
    "as_operator",
    "largest_overlap",
    "leading_triplets",
]
