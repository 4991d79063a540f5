"""The matrices of a dial: norms, intruders, the factors that make a control equal, and the audit of any point."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch

from assay.audits import known_of_base
from assay.dials.paths import Matrix, Point, left_of, singular
from assay.linalg import AbstractOperator, LowRank, Solver, Sum, Triplets
from assay.measures.chance import named_generator
from assay.measures.matrix import Judged, Question, SigmaMin, Spectrum, judge_matrix
from assay.measures.noise import noise_threshold
from assay.measures.repair import Which, energy_outside, intruders_of, neighbours_of, random_of
from assay.records.audit import Direction, Side, energies
from assay.records.dial import CONTROLS, By
from assay.weights.spectra_cache import SpectraCache
from assay.weights.updates import AbstractPair, Operators

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Looking:
    """Settings of the audit of matrices.

    Attributes:
        by: the path that is asked about.
        question: what is an intruder, on one side; its seed is that of what is random.
        which: the intruders that are scaled: all, or the top one of each matrix.
        device: where the arithmetic is done.
        kept: where base spectra are kept; None to compute them.
    """

    by: By
    question: Question
    which: Which
    device: torch.device
    kept: SpectraCache | None

    @property
    def side(self) -> Side:
        """The counted side."""
        return self.question.sides[0]

    def judge(self, entry: AbstractPair, operators: Operators, update: AbstractOperator) -> Judged:
        """Judge one matrix with any update on its base, by the solver that its size calls for."""
        return self._judge(operators, update, self._known(entry, operators))

    def judgements(self, entry: AbstractPair, operators: Operators) -> Callable[[AbstractOperator], list[Direction]]:
        """Functions that judge update after update of one matrix, on the counted side; its base is decomposed once."""
        known = self._known(entry, operators)

        def directions(update: AbstractOperator) -> list[Direction]:
            return self._judge(operators, update, known).on(self.side) if update.frobenius() else []

        return directions

    def _judge(self, operators: Operators, update: AbstractOperator, known: tuple[Spectrum, SigmaMin]) -> Judged:
        update = update.to(self.question.dtype)
        tuned = operators.tuned if update is operators.update else Sum(operators.base, update)
        return judge_matrix(operators.base, update, tuned, self.question, *known)

    def _known(self, entry: AbstractPair, operators: Operators) -> tuple[Spectrum, SigmaMin]:
        """Spectra of a base matrix, read from the cache or computed once."""
        spectrum, sigma_min = known_of_base(entry, operators, self.kept)
        found: dict[tuple[torch.dtype, Solver], Triplets] = {}

        def once(matrix: AbstractOperator, solver: Solver) -> Triplets:
            key = (matrix.dtype, solver)
            if key not in found:
                found[key] = spectrum(matrix, solver)
            return found[key]

        return once, sigma_min


def analyse(pairs: Sequence[AbstractPair], looking: Looking, tell: Tell) -> list[Matrix]:
    """Every matrix of an update, with what its path and the path's controls need."""
    found = []
    for position, entry in enumerate(pairs):
        tell(f"matrix {position + 1} of {len(pairs)}: {entry.name}")
        operators = entry.load(looking.question.dtype, looking.device)
        norms = operators.base.frobenius(), operators.update.frobenius()
        shared = (entry, looking.side, looking.question.seed, *norms)
        if looking.by == "rank":
            found.append(Matrix(*shared, svd=singular(operators.update)))
        elif looking.by == "noise" and norms[1]:
            svd = singular(operators.update)
            found.append(Matrix(*shared, svd=svd, noise=noise_threshold(svd[1], entry.shape)))
        elif looking.by == "size" or norms[1] == 0.0:
            found.append(Matrix(*shared))
        else:
            found.append(_with_intruders(shared, operators, looking))
    return found


def _with_intruders(
    shared: tuple[AbstractPair, Side, int, float, float], operators: Operators, looking: Looking
) -> Matrix:
    """A matrix with its intruders, and with the directions of the controls of equal edit."""
    entry = shared[0]
    judged = looking.judge(entry, operators, operators.update)
    counts = verdicts(judged.on(looking.side))
    intruders = intruders_of(judged, operators.tuned, looking.side, looking.which)
    if intruders is None:
        return Matrix(*shared, *counts)
    scalings = {
        "intruders": intruders,
        "random-directions": random_of(intruders, named_generator(entry.slot.canonical, looking.question.seed)),
        "pretrained-neighbours": neighbours_of(judged.base, intruders),
    }
    return Matrix(*shared, *counts, scalings)  # type: ignore[arg-type]


def verdicts(directions: Iterable[Direction]) -> tuple[int, int]:
    """Intruders and undecided directions."""
    found = [direction.verdict for direction in directions]
    return found.count("intruder"), found.count("undecided")


def controls_of(by: By, xs: Sequence[float], matrices: Sequence[Matrix]) -> tuple[list[Point], list[str]]:
    """The points of the controls of a path, each equal to the path's own at the same x, and why some are not there.

    Energy is `||dW||_F^2` over all matrices. What a path takes out of it is R; the equal update is the whole one times
    `sqrt(1 - R / E)`, the equal removal is what lies outside of the intruders' space times `sqrt(1 - R / N)`, with the
    energy N that lies there. A path that adds energy has neither: what would equal it is an amplification.
    """
    points, notes = [], []
    factors = _factors(by, xs, matrices) if "equal-update" in CONTROLS[by] else {}
    for control in CONTROLS[by]:
        for x in xs:
            if control not in ("equal-update", "equal-removal"):
                points.append(Point(control, x))
                continue
            removed, energy = factors[x]
            available = energy["outside"] if control == "equal-removal" else energy["whole"]
            if 0 <= removed <= available:
                points.append(Point(control, x, math.sqrt(1 - removed / available) if removed else 1.0))
            elif removed > 0:
                share = f"{removed / energy['whole']:.1%} of the update's energy, {available / energy['whole']:.1%}"
                notes.append(f"No equal removal at {x:g}: the path takes out {share} lies outside of the intruders.")
    grown = [x for x in xs if factors and factors[x][0] < 0]
    if grown:
        times = ", ".join(f"x {math.sqrt(1 - factors[x][0] / factors[x][1]['whole']):.4g} at {x:g}" for x in grown)
        notes.append(
            f"Here the path makes the update larger in norm ({times}): no shrink and no removal is equal to it; its "
            "rival is the way back to the base."
        )
    return points, notes


def _factors(by: By, xs: Sequence[float], matrices: Sequence[Matrix]) -> dict[float, tuple[float, dict[str, float]]]:
    """For every x, the energy that the path takes out; and of the update, the whole and what lies outside."""
    whole, outside, left = [], [], {x: [] for x in xs}  # type: ignore[var-annotated]
    for matrix in matrices:
        update = matrix.entry.load(torch.float64, torch.device("cpu")).update
        energy = update.frobenius() ** 2
        whole.append(energy)
        outside.append(energy_outside(update, matrix.intruders, matrix.side))
        for x in xs:
            now = left_of(matrix, update, Point(by, x))
            left[x].append(energy if now is update else now.to(torch.float64).frobenius() ** 2)
    total = {"whole": math.fsum(whole), "outside": math.fsum(outside)}
    return {x: (total["whole"] - math.fsum(left[x]), total) for x in xs}


# Sums over matrices: of what is left of the update, of the edit, of intruders' and of all leading singular values.
_SQUARES = ("left", "edit", "intruders", "leading")


@dataclass
class Tally:
    """Running totals of the audited matrices of one point."""

    count: int = 0
    undecided: int = 0
    directions: int = 0
    squares: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("left", "edit", "intruders", "leading"), 0.0)
    )

    def add(self, found: Sequence[Direction], left: float, edit: float) -> None:
        """Add one matrix: its directions, and the norms of what is left and of the edit."""
        count, undecided = verdicts(found)
        surely, _, leading = energies(found)
        self.count, self.undecided = self.count + count, self.undecided + undecided
        self.directions += len(found)
        for name, value in zip(_SQUARES, (left**2, edit**2, surely, leading), strict=True):
            self.squares[name] += value


def audit_points(
    matrices: Sequence[Matrix], points: Sequence[Point], looking: Looking, tell: Tell
) -> dict[Point, Tally]:
    """Norms and intruders at every point; a matrix is read once, and its base decomposed once."""
    found = {point: Tally() for point in points}
    for position, matrix in enumerate(matrices):
        tell(f"auditing matrix {position + 1} of {len(matrices)} at {len(points)} points")
        operators = matrix.entry.load(looking.question.dtype, looking.device)
        directions = looking.judgements(matrix.entry, operators)
        as_tuned = None
        for point in points:
            left = left_of(matrix, operators.update, point)
            if left is operators.update:
                as_tuned = directions(left) if as_tuned is None else as_tuned
                found[point].add(as_tuned, matrix.update_norm, 0.0)
            else:
                found[point].add(directions(left), left.frobenius(), distance(left, operators.update))
    return found


def distance(one: AbstractOperator, other: AbstractOperator) -> float:
    """`||one - other||_F` of two updates, in factors where both are."""
    if isinstance(one, LowRank) and isinstance(other, LowRank):
        first, second = one.to(torch.float64), other.to(torch.float64)
        B = torch.cat([first.scale * first.B, -second.scale * second.B], dim=1)
        return LowRank(B, torch.cat([first.A, second.A])).frobenius()
    return Sum(one.to(torch.float64), other.to(torch.float64), -1.0).frobenius()
