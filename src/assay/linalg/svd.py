"""Singular triplets of a matrix: one interface to every solver, each result with its error bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from assay.errors import NotConvergedError, SettingError
from assay.linalg import block_krylov
from assay.linalg.dense_svd import dense_triplets
from assay.linalg.escalation import Solver, TripletMethod, select_solver, triplet_methods
from assay.linalg.operators import AbstractOperator, as_operator
from assay.linalg.safe_range import checked_dense, squares_are_safe
from assay.linalg.shift_invert_lanczos import shift_invert_triplets
from assay.linalg.svd_update import low_rank_updated_triplets
from assay.linalg.triplets import ANGLE_ACCEPTED, OperationCount, Triplets


@torch.no_grad()
def leading_triplets(
    matrix: AbstractOperator | Tensor,  # (m, n)
    k: int | None = None,
    *,
    solver: Solver = "auto",
    dtype: torch.dtype = torch.float32,
    near: Triplets | None = None,
    shift_invert: bool = False,
    throw: bool = True,
) -> Triplets:
    """The `k` leading singular triplets of a matrix, with bounds.

    `W v_j = sigma_j u_j` and `W^T u_j = sigma_j v_j`, `sigma_1 >= sigma_2 >= ...`.

    Args:
        matrix: W, an operator or a 2-D array, shape (m, n).
        k: how many; None for all min(m, n), which takes a dense SVD.
        solver: "exact" takes a dense SVD; "certified" iterates from random and known vectors until the residuals prove
            the answer, and bounds what it could have missed; "auto" is `select_solver`'s choice, and a dense SVD
            after all where the iteration does not prove its answer (`cost.decompositions` says so), as with values
            whose squares float32 does not hold. With an adapter on a base of which `near` has all triplets, "auto"
            solves in the base's coordinates. `docs/solvers.md` has the whole escalation.
        dtype: precision of the decomposition and of the products.
        near: triplets of the matrix that this one is an update of (`base_triplets`); a start, and with an adapter
            (`Sum(W0, LowRank)`) also a bound on the remainder.
        shift_invert: find what the certified solver's iteration leaves open by shift-and-invert Lanczos: in float64
            alone, where it takes about half the time of a dense SVD or less.
        throw: raise where the certified solver ends without its bounds; False returns what there is, with the bounds.

    Returns:
        The triplets, at least `k` of them unless the matrix is smaller.

    Raises:
        SettingError: `k`, `solver` or `dtype` is none that there is.
        ValuesError: the matrix holds NaN or infinite values, or values beyond what the precision holds.
        NotConvergedError: the angles of the leading `k` could not be bounded (certified solver only).

    Example:
        >>> found = leading_triplets(torch.diag(torch.tensor([3.0, 2.0, 1.0])), 2)
        >>> [round(value, 4) for value in found.sigma.tolist()]
        [3.0, 2.0]
        >>> found.backward_error < 1e-5
        True

    Source: Weyl 1912 for the values, Wedin 1972 for the angles; Kuczynski & Wozniakowski 1992 for what random starts
    can miss.
    """
    if k is not None and k < 1:
        raise SettingError(f"k is {k}", wanted="at least 1, or None for all triplets")
    operator = _operator(matrix, dtype)
    complete = near is not None and near.complete
    methods = triplet_methods(
        operator.shape, solver, dtype, every=k is None, base_complete=complete, shift_invert=shift_invert
    )
    if k is None:
        return dense_triplets(checked_dense(operator))
    found = _first_proved(operator, k, near, methods)
    if throw and "dense SVD" not in methods and not block_krylov.is_proved(found, k):
        raise NotConvergedError(
            f"the {k} leading singular vectors could not be told from the others",
            wanted=f"angles proved to be under {ANGLE_ACCEPTED}",
            remedy="use solver='auto' or 'exact', or throw=False for the bounds that there are",
        )
    return found.leading(k)


def _first_proved(
    operator: AbstractOperator, k: int, near: Triplets | None, methods: Sequence[TripletMethod]
) -> Triplets:
    """The answer of the first of these methods that proves its k leading triplets; of the last one if none does."""
    found, sketch = None, None
    for method in methods:
        if method == "SVD update" and near is not None:
            base, update = block_krylov.split_update(operator)
            updated = None if update is None else low_rank_updated_triplets(base, update, k, near)
            if updated is not None:
                return updated
        elif method == "block Krylov":
            found, sketch = block_krylov.tuned_triplets(operator, k, near)
        elif method == "shift-and-invert Lanczos" and found is not None and sketch is not None:
            found = shift_invert_triplets(operator, k, found, sketch)
        elif method == "dense SVD":
            exact = dense_triplets(checked_dense(operator))
            return exact if found is None else replace(exact, cost=found.cost + OperationCount(decompositions=1))
        if found is not None and block_krylov.is_proved(found, k):
            break
    assert found is not None, "every list of methods ends with one that answers"
    return found


@torch.no_grad()
def base_triplets(
    matrix: AbstractOperator | Tensor,  # (m, n)
    *,
    solver: Solver = "auto",
    dtype: torch.dtype = torch.float32,
) -> Triplets:
    """Triplets of a base matrix W0, for everything that is compared with it: all of them, or the leading ones.

    `W0 = U diag(sigma) V^T + R` with `||R|| <= remainder_bound`. `largest_overlap` and `leading_triplets(near=...)`
    take either. All of it depends on the matrix alone, so it can be kept: `Triplets.arrays` and `Triplets.of_arrays`.

    Args:
        matrix: an operator or a 2-D array, shape (m, n).
        solver: as for `leading_triplets`.
        dtype: as for `leading_triplets`.

    Returns:
        With "exact" all triplets; with "certified" up to 160 of the leading ones (as many as converge quickly), and a
        bound on the rest, or all if there is nothing to iterate: zeros, or values whose squares float32 does not hold.

    Raises:
        SettingError: `solver` or `dtype` is none that there is.
        ValuesError: the matrix holds NaN or infinite values, or values beyond what the precision holds.

    Example:
        >>> base = base_triplets(torch.diag(torch.tensor([3.0, 2.0, 1.0])))
        >>> base.complete, [round(value, 4) for value in base.sigma.tolist()]
        (True, [3.0, 2.0, 1.0])

    Source: as for `leading_triplets`.
    """
    operator = _operator(matrix, dtype)
    if select_solver(operator.shape, solver) == "exact":
        W = checked_dense(operator)
        return replace(dense_triplets(W), frobenius=float(torch.linalg.vector_norm(W, dtype=torch.float64)))
    frobenius = operator.frobenius()
    if not squares_are_safe(frobenius, dtype):  # zeros, too
        return replace(dense_triplets(checked_dense(operator)), frobenius=frobenius)
    return block_krylov.base_triplets(operator, frobenius)


def _operator(matrix: AbstractOperator | Tensor, dtype: torch.dtype) -> AbstractOperator:
    """The matrix in the precision that is asked for."""
    if dtype not in (torch.float32, torch.float64):
        raise SettingError(f"dtype is {dtype}", wanted="torch.float32 or torch.float64")
    return as_operator(matrix).to(dtype)
