"""Leading singular triplets of a matrix: one interface to the dense and to the certified solver.

Every result says how far a computed value or vector can be from the true one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor

from assay.errors import NotConvergedError, SettingError
from assay.linalg import block_krylov, svd_update
from assay.linalg.dense_svd import dense_triplets
from assay.linalg.operators import AbstractOperator, as_operator
from assay.linalg.safe_range import squares_hold, usable
from assay.linalg.triplets import ANGLE_ACCEPTED, Cost, Triplets

Solver = Literal["auto", "exact", "certified"]

# From this many singular values on, base and update took less time than two dense SVDs (benchmarks/intruders.py).
CROSSOVER = 768


def select_solver(shape: tuple[int, int], solver: Solver = "auto") -> Solver:
    """What "auto" chooses for a matrix of this shape: "exact" where a dense SVD is quick, else "certified".

    Raises:
        SettingError: there is no such solver.
    """
    if solver not in get_args(Solver):
        raise SettingError(f"solver is {solver!r}", wanted=f"one of {', '.join(get_args(Solver))}")
    if min(shape) <= block_krylov.SMALLEST:
        return "exact"  # the block iteration would span the whole space
    if solver != "auto":
        return solver
    return "certified" if min(shape) >= CROSSOVER else "exact"


@torch.no_grad()
def leading_triplets(
    matrix: AbstractOperator | Tensor,  # (m, n)
    k: int | None = None,
    *,
    solver: Solver = "auto",
    dtype: torch.dtype = torch.float32,
    near: Triplets | None = None,
    shifts: bool = False,
    throw: bool = True,
) -> Triplets:
    """The `k` leading singular triplets of a matrix, with bounds.

    `W v_j = sigma_j u_j` and `W^T u_j = sigma_j v_j`, `sigma_1 >= sigma_2 >= ...`.

    Args:
        matrix: an operator or a 2-D array.
        k: how many; None for all min(m, n), which takes a dense SVD.
        solver: "exact" takes a dense SVD; "certified" iterates from random and known vectors until the residuals prove
            the answer, and bounds what it could have missed; "auto" is `select_solver`'s choice, and a dense SVD
            after all where the iteration does not prove its answer (`cost.decompositions` says so), as with values
            whose squares float32 does not hold. With an adapter on
            a base of which `near` has all triplets, "auto" solves in the base's coordinates.
        dtype: precision of the decomposition and of the products.
        near: triplets of the matrix that this one is an update of (`base_triplets`); a start, and with an adapter
            (`Sum(W0, LowRank)`) also a bound on all that is not found.
        shifts: find what the certified solver's iteration leaves open by factorising the smaller Gram matrix at a few
            shifts (`inverted`): in float64 alone, where it takes about half the time of a dense SVD or less.
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

    Source: Wedin 1972 for the angles; Kuczynski & Wozniakowski 1992 for what random starts can miss.
    """
    if k is not None and k < 1:
        raise SettingError(f"k is {k}", wanted="at least 1, or None for all triplets")
    operator = _operator(matrix, dtype)
    chosen = select_solver(operator.shape, solver)
    if solver == "auto" and k is not None and near is not None and near.complete:
        base, update = block_krylov.split_update(operator)
        found_there = None if update is None else svd_update.adapted_triplets(base, update, k, near)
        if found_there is not None:
            return found_there
    if k is None or chosen == "exact":
        found = dense_triplets(usable(operator))
        return found if k is None else found.leading(k)
    found = block_krylov.tuned_triplets(operator, k, near, shifts=shifts)
    if len(found.sigma) >= k and float(found.angles[:k].max()) <= ANGLE_ACCEPTED:
        return found
    if solver == "auto":
        return replace(dense_triplets(usable(operator)), cost=found.cost + Cost(0, 1)).leading(k)
    if throw:
        raise NotConvergedError(
            f"the {k} leading singular vectors could not be told from the others",
            wanted=f"angles proved to be under {ANGLE_ACCEPTED}",
            remedy="use solver='auto' or 'exact', or throw=False for the bounds that there are",
        )
    return found


@torch.no_grad()
def base_triplets(
    matrix: AbstractOperator | Tensor,  # (m, n)
    *,
    solver: Solver = "auto",
    dtype: torch.dtype = torch.float32,
) -> Triplets:
    """What is worth knowing of a base matrix once, whatever is compared with it: all its triplets, or the leading ones.

    `largest_overlap` and `leading_triplets(near=...)` take either. All of it depends on the matrix alone, so it can be
    kept: `Triplets.arrays` and `Triplets.of_arrays`.

    Args:
        matrix: an operator or a 2-D array.
        solver: as for `leading_triplets`.
        dtype: as for `leading_triplets`.

    Returns:
        With "exact" all triplets; with "certified" up to 160 of the leading ones (as many as converge quickly), and a
        bound on the rest, or all if there is nothing to iterate: zeros, or values whose squares float32 does not hold.

    Raises:
        SettingError: `solver` or `dtype` is none that there is.
        ValuesError: the matrix holds NaN or infinite values, or values beyond what the precision holds.
    """
    operator = _operator(matrix, dtype)
    if select_solver(operator.shape, solver) == "exact":
        W = usable(operator)
        return replace(dense_triplets(W), frobenius=float(torch.linalg.vector_norm(W, dtype=torch.float64)))
    frobenius = operator.frobenius()
    if not squares_hold(frobenius, dtype):  # zeros, too
        return replace(dense_triplets(usable(operator)), frobenius=frobenius)
    return block_krylov.base_triplets(operator, frobenius)


def _operator(matrix: AbstractOperator | Tensor, dtype: torch.dtype) -> AbstractOperator:
    """The matrix in the precision that is asked for."""
    if dtype not in (torch.float32, torch.float64):
        raise SettingError(f"dtype is {dtype}", wanted="torch.float32 or torch.float64")
    return as_operator(matrix).to(dtype)
