"""The escalation: which solver answers, in which precision, and what comes next where its bounds decide nothing.

Every choice between methods is made here; `svd`, `overlaps` and an audit of a matrix carry out what these functions
list, in their order, and stop at the first answer whose bounds decide. `docs/solvers.md` is this file in words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch

from assay.errors import SettingError

Solver = Literal["auto", "exact", "certified"]
TripletMethod = Literal["SVD update", "block Krylov", "shift-and-invert Lanczos", "dense SVD"]
OverlapMethod = Literal["all triplets", "leading triplets", "Christoffel bound", "Gram eigendecomposition"]

# With up to so many singular values the block iteration would span half of the space, and a dense SVD is taken instead.
DENSE_UP_TO = 256
# From this many singular values on, base and update took less time than two dense SVDs (benchmarks/intruders.py).
CROSSOVER = 768
# With fewer singular values than this a dense SVD takes no more time than an SVD update.
LEAST_UPDATED = 200


@dataclass(frozen=True)
class Attempt:
    """One solver in one precision, for all of a matrix's directions."""

    solver: Solver
    dtype: torch.dtype

    @property
    def factorises(self) -> bool:
        """True if what products leave open is decided by factorising the Gram matrix: in float64 alone.

        In float32 its squares lose half of the digits, and float64 products decide most of it for less.
        """
        return self.dtype == torch.float64


def select_solver(shape: tuple[int, int], solver: Solver = "auto") -> Solver:
    """Solver for a matrix of this shape: "exact" where a dense SVD is quick, else "certified".

    Args:
        shape: (m, n).
        solver: "auto" leaves the choice to the size; the others are taken, but for "certified" of a small matrix.

    Raises:
        SettingError: there is no such solver.

    Example:
        >>> select_solver((64, 64)), select_solver((4096, 4096)), select_solver((64, 64), "certified")
        ('exact', 'certified', 'exact')
    """
    if solver not in get_args(Solver):
        raise SettingError(f"solver is {solver!r}", wanted=f"one of {', '.join(get_args(Solver))}")
    if min(shape) <= DENSE_UP_TO:
        return "exact"
    if solver != "auto":
        return solver
    return "certified" if min(shape) >= CROSSOVER else "exact"


def attempts(shape: tuple[int, int], solver: Solver, dtype: torch.dtype) -> tuple[Attempt, ...]:
    """Attempts at one matrix until every verdict is decided: a dense SVD in float64 has the last word.

    What the certified solver cannot tell apart in float32 are mostly leading values closer than float32's rounding,
    about 1e-4 of each other; the same iteration in float64 takes some three times as long, and a dense SVD many times
    that (benchmarks/real_weights.py: of trained models' directions float32 leaves a seventh open, float64 a fifteenth,
    its factorisations none).

    Example:
        >>> [(attempt.solver, attempt.dtype) for attempt in attempts((300, 300), "auto", torch.float32)]
        [('auto', torch.float32), ('exact', torch.float64)]
    """
    last = Attempt("exact", torch.float64)
    if dtype == torch.float64:
        return (last,)
    quick = select_solver(shape, solver)
    if quick == "exact":
        return Attempt(solver, torch.float32), last
    return Attempt(quick, torch.float32), Attempt(quick, torch.float64), Attempt("exact", torch.float32), last


def triplet_methods(
    shape: tuple[int, int],
    solver: Solver,
    dtype: torch.dtype,
    *,
    every: bool = False,
    base_complete: bool = False,
    shift_invert: bool = False,
) -> tuple[TripletMethod, ...]:
    """Methods for the triplets of one matrix, each tried if the one before did not prove the k leading ones.

    Args:
        shape: (m, n).
        solver: as it was asked for.
        dtype: precision of products and decompositions.
        every: all min(m, n) triplets are wanted.
        base_complete: all triplets of the matrix that this one is an update of are known.
        shift_invert: factorise the Gram matrix for what products leave open (float64 alone).

    Example:
        >>> triplet_methods((4096, 4096), "auto", torch.float32)
        ('block Krylov', 'dense SVD')
    """
    chosen, methods = select_solver(shape, solver), list[TripletMethod]()
    if solver == "auto" and base_complete and not every and min(shape) >= LEAST_UPDATED:
        methods.append("SVD update")
    if every or chosen == "exact":
        return (*methods, "dense SVD")
    methods.append("block Krylov")
    if shift_invert and dtype == torch.float64:
        methods.append("shift-and-invert Lanczos")
    if solver == "auto":
        methods.append("dense SVD")
    return tuple(methods)


def overlap_methods(*, complete: bool, gram: bool = False) -> tuple[OverlapMethod, ...]:
    """Methods for overlaps with one base, each for those that the ones before left on both sides of a threshold.

    Args:
        complete: all triplets of the base are known.
        gram: decompose its smaller Gram matrix for what is still open.

    Example:
        >>> overlap_methods(complete=False)
        ('leading triplets', 'Christoffel bound')
    """
    if complete:
        return ("all triplets",)
    bounded: tuple[OverlapMethod, ...] = ("leading triplets", "Christoffel bound")
    return (*bounded, "Gram eigendecomposition") if gram else bounded
