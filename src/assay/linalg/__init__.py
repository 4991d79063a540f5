"""Linear algebra with error bounds: singular triplets, overlaps and spectra; knows no file, no model and no paper.

`leading_triplets` and `base_triplets` give singular triplets, `largest_overlap` the largest overlap of vectors with
all of a matrix's singular vectors, `quadrature` the statistics of a whole spectrum. `docs/solvers.md` says which method
answers when.
"""

from assay.linalg.escalation import Attempt, Solver, attempts, select_solver
from assay.linalg.operators import AbstractOperator, Dense, LowRank, RowScaled, Sum, Transposed, as_operator, times
from assay.linalg.overlaps import Overlap, largest_overlap, largest_overlaps
from assay.linalg.quadrature import BoundedEstimate, Quadrature, quadrature
from assay.linalg.sigma_min import sigma_min_bound
from assay.linalg.svd import base_triplets, leading_triplets
from assay.linalg.triplets import ANGLE_LIMIT, OperationCount, Triplets

__all__ = [
    "ANGLE_LIMIT",
    "AbstractOperator",
    "Attempt",
    "BoundedEstimate",
    "Dense",
    "LowRank",
    "OperationCount",
    "Overlap",
    "Quadrature",
    "RowScaled",
    "Solver",
    "Sum",
    "Transposed",
    "Triplets",
    "as_operator",
    "attempts",
    "base_triplets",
    "largest_overlap",
    "largest_overlaps",
    "leading_triplets",
    "quadrature",
    "select_solver",
    "sigma_min_bound",
    "times",
]
