"""How often is an answer wrong that claims to be proved? Hard spectra, planted verdicts, starved budgets.

Every matrix is decomposed in float64 as the truth. It goes through the stages of an audit that decides nothing too
early: the certified solver in float32, the same in float64, and with shift-and-invert Lanczos for the tuned vectors and
the eigendecomposition of the Gram matrix for their overlaps. Counted are bounds of any stage that do not contain the
truth, verdicts that contradict it, and the stage at which each direction was decided; what is left open (which is
always allowed) goes to a dense SVD.

Two groups are told apart: small matrices, for which `solver="auto"` takes the dense solver and which are here because
they are many and hard, and large ones, for which it takes the certified one. Run:

    OMP_NUM_THREADS=1 python benchmarks/fails_safely.py [--rounds 3] [--record benchmarks/records/fails_safely.json]

`--spectra` makes some of the rows; a record keeps the others, so that it can be made in pieces.
Conclusion: see the table that it prints; any number but 0 under `misses` or `wrong` is a defect.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import spectra
import torch
from torch import Tensor

from assay.linalg import Dense, Overlap, Triplets, base_triplets, largest_overlaps, leading_triplets, sigma_min_bound

SMALL = ((320, 320), (544, 288), (288, 544))
LARGE = ((800, 800), (1280, 768), (768, 1280))  # one of them for each update: a float64 truth takes seconds here
K, EPS, MARGIN = 10, 0.5, 0.05
# Name, precision, and whether what products leave open is factorised: tuned vectors by shift-and-invert Lanczos, their
# overlaps by the Gram eigendecomposition.
ATTEMPTS: tuple[tuple[str, torch.dtype, bool], ...] = (
    ("float32", torch.float32, False),
    ("float64", torch.float64, False),
    ("Gram", torch.float64, True),
)
LAST = "dense SVD"
STAGES = (*(name for name, _, _ in ATTEMPTS), LAST)
ILL_CONDITIONED = 1e-11  # relative gap under which float64 has no truth of its own for a single vector
TRUTH_ERROR = 1e-9  # room for the rounding of the float64 truth itself


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--spectra", nargs="+", default=list(spectra.SPECTRA), choices=list(spectra.SPECTRA))
    parser.add_argument("--groups", nargs="+", default=["small", "large"], choices=["small", "large"])
    parser.add_argument("--record", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows, started = [], time.perf_counter()
    for group in arguments.groups:
        for name in arguments.spectra:
            counts: Counter[str] = Counter()
            for round_, shape, update in trials(group, arguments.rounds):
                seed = hash_of(name, shape, update, round_)
                counts += trial(name, shape, update, seed, max_steps=32 if round_ % 2 == 0 else 4)
            rows.append({"group": group, "spectrum": name} | dict(counts))
            print(rows[-1], flush=True)
            if arguments.record:
                write(arguments.record, rows)
    for group in arguments.groups:
        counts = total([row for row in rows if row["group"] == group])
        print(group, dict(counts), *(f"{stage}: {counts[stage] / counts['clear']:.4f}" for stage in STAGES))
    print(f"{time.perf_counter() - started:.0f} s")


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Put these rows into the record, in the place of those of the same name."""
    kept = json.loads(path.read_text(encoding="utf8"))["rows"] if path.exists() else []
    every = {(row["group"], row["spectrum"]): row for row in [*kept, *rows]}
    order = [(group, name) for group in ("small", "large") for name in spectra.SPECTRA]
    found = [every[key] for key in order if key in every]
    totals = {group: total([row for row in found if row["group"] == group]) for group in ("small", "large")}
    record = {
        "spectra": list(spectra.SPECTRA),
        "rows": found,
        "totals": totals,
        "versions": {"torch": torch.__version__},
    }
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf8")


def trials(group: str, rounds: int) -> list[tuple[int, tuple[int, int], str]]:
    """(round, shape, update) of every matrix with one spectrum; every second round has a starved budget."""
    if group == "small":
        return [(round_, shape, update) for round_ in range(rounds) for shape in SMALL for update in spectra.UPDATES]
    return [(0, LARGE[place % len(LARGE)], update) for place, update in enumerate(spectra.UPDATES)]


def total(rows: list[dict[str, Any]]) -> Counter[str]:
    """The sum of every count."""
    counts: Counter[str] = Counter()
    for row in rows:
        counts.update({key: value for key, value in row.items() if isinstance(value, int)})
    return counts


def hash_of(*parts: object) -> int:
    """A seed that is the same in every process."""
    return sum(ord(letter) * 31**place for place, letter in enumerate(repr(parts))) % (2**31)


def trial(name: str, shape: tuple[int, int], update: str, seed: int, max_steps: int) -> Counter[str]:
    """One matrix: both sides, ten leading vectors, every stage that is needed."""
    counts: Counter[str] = Counter({"matrices": 1})
    generator = torch.Generator().manual_seed(seed)
    W0, U, V = spectra.base(name, shape, generator)
    W = spectra.updated(update, W0, U, V, generator)
    truth0 = torch.linalg.svd(W0.double(), full_matrices=False)
    truth = torch.linalg.svd(W.to(torch.float64).dense(), full_matrices=False)
    if shape[0] != shape[1]:
        counts["sigma_min misses"] += int(float(truth0.S[-1]) < sigma_min_bound(Dense(W0)) - TRUTH_ERROR)
    decided_at: dict[tuple[str, int], str] = {}
    for stage, dtype, factorise in ATTEMPTS:
        if all((side, j) in decided_at for side in ("left", "right") for j in range(K)):
            break
        if not factorise:
            base = base_triplets(W0, solver="certified", dtype=dtype)
        tuned = leading_triplets(W, K, solver="certified", near=base, throw=False, dtype=dtype, shift_invert=factorise)
        counts["value misses"] += int(
            ((tuned.sigma - truth.S[: len(tuned.sigma)]).abs() > tuned.backward_error + TRUTH_ERROR).sum()
        )
        counts["remainder misses"] += int(
            float(truth.S[len(tuned.sigma)]) > tuned.remainder_bound + tuned.backward_error + TRUTH_ERROR
        )
        counts["remainder misses"] += int(
            float(truth0.S[len(base.sigma)]) > base.remainder_bound + base.backward_error + TRUTH_ERROR
        )
        for side in ("left", "right"):
            left = side == "left"
            true_U, base_U = (truth.U, truth0.U) if left else (truth.Vh.T, truth0.Vh.T)
            questions = Questions(
                tuned if left else tuned.T,
                base if left else base.T,
                Dense(W0 if left else W0.T, dtype),
                (true_U, truth.S),
                (base_U, truth0.S),
            )
            counts += questions.score(side, stage, max_steps, factorise, decided_at)
    for side in ("left", "right"):
        true_U, base_U = (truth.U, truth0.U) if side == "left" else (truth.Vh.T, truth0.Vh.T)
        counts += shares(side, (true_U, truth.S), (base_U, truth0.S), decided_at)
    return counts


def shares(
    side: str, truth: tuple[Tensor, Tensor], truth0: tuple[Tensor, Tensor], decided_at: dict[tuple[str, int], str]
) -> Counter[str]:
    """At which stage the directions with a clear truth were decided; ill-conditioned ones are counted apart."""
    counts: Counter[str] = Counter()
    true_U, true_S = truth
    for j in range(K):
        counts["vectors"] += 1
        gaps = [float(true_S[j] - true_S[j + 1])] + ([float(true_S[j - 1] - true_S[j])] if j else [])
        if min(gaps) < ILL_CONDITIONED * float(true_S[0]):
            counts["ill-conditioned"] += 1
            continue
        _, largest = true_overlap(true_U[:, j : j + 1], *truth0)
        if abs(largest - EPS) > MARGIN:
            counts["clear"] += 1
            counts[decided_at.get((side, j), LAST)] += 1
    return counts


@dataclass(frozen=True)
class Questions:
    """The directions of one side, at one precision, with the truth about them."""

    tuned: Triplets
    base: Triplets
    matrix: Dense
    truth: tuple[Tensor, Tensor]
    truth0: tuple[Tensor, Tensor]

    def score(
        self,
        side: str,
        stage: str,
        max_steps: int,
        factorise: bool,
        decided_at: dict[tuple[str, int], str],
    ) -> Counter[str]:
        """Bounds of a stage against the truth, for what no earlier one decided; notes what this one does."""
        counts: Counter[str] = Counter()
        firsts = self.tuned.clusters.tolist()
        groups = [[j for j, start in enumerate(firsts) if start == first] for first in sorted(set(firsts))]
        angles = [float(self.tuned.angle_bounds[members[0]]) for members in groups]
        if factorise:
            still = [any((side, j) not in decided_at and j < K for j in members) for members in groups]
            still = [open_ and angle < EPS for open_, angle in zip(still, angles, strict=True)]
            groups, angles = [[*compress(each, still)] for each in (groups, angles)]
        spaces = [self.tuned.u[:, members] for members in groups]
        found = largest_overlaps(
            spaces,
            self.base,
            matrix=self.matrix,
            eps=EPS,
            angle_bounds=angles,
            throw=False,
            max_steps=max_steps,
            gram=factorise,
        )
        for members, overlap, angle, space in zip(groups, found, angles, spaces, strict=True):
            # With products alone every singular value counts, as none is told from zero.
            counts += self.check(members, overlap, angle, space, null=factorise)
            if decides(overlap):
                decided_at |= {(side, j): stage for j in members if (side, j) not in decided_at}
        return counts

    def check(
        self, members: list[int], overlap: Overlap, angle: float, space: Tensor, *, null: bool = False
    ) -> Counter[str]:
        """One answer against the truth. `null`: a value counts as zero where storing in float32 may have made it."""
        counts: Counter[str] = Counter()
        true_U, true_S = self.truth
        below, above = members[-1] + 1, members[0] - 1
        gaps = [float(true_S[members[-1]] - true_S[below])] if below < len(true_S) else []
        gaps += [float(true_S[above] - true_S[members[0]])] if above >= 0 else []
        if gaps and min(gaps) < ILL_CONDITIONED * float(true_S[0]):
            return counts
        true_space = true_U[:, members]
        outside = space.double() - true_space @ (true_space.T @ space.double())
        counts["angle misses"] += float(torch.linalg.matrix_norm(outside, 2)) > angle + 1e-6
        level = torch.finfo(torch.float32).eps * float(torch.linalg.vector_norm(self.truth0[1])) if null else 0.0
        smallest, largest = true_overlap(true_space, *self.truth0, level)
        counts["bound misses"] += largest > overlap.upper + TRUTH_ERROR or smallest < overlap.lower - TRUTH_ERROR
        counts["wrong"] += (overlap.upper < EPS <= largest) or (overlap.lower >= EPS > smallest)
        counts["answers"] += 1
        return counts


def decides(overlap: Overlap) -> bool:
    return overlap.upper < EPS or overlap.lower >= EPS


def true_overlap(Y: Tensor, U: Tensor, S: Tensor, null: float = 0.0) -> tuple[float, float]:
    """Least and largest `max_i |<y, u_i>|` over unit vectors of the space that were tried, null vectors left out.

    Values closer than float64 can tell apart count as one subspace, as the definition says; between that and the
    accuracy of the truth itself either reading is right, so the least is taken over single vectors.
    """
    alive = max(max(U.shape[0], len(S)) * torch.finfo(torch.float64).eps * float(S[0]), null) < S
    generator = torch.Generator().manual_seed(0)
    tried = torch.eye(Y.shape[1], dtype=torch.float64)
    if Y.shape[1] > 1:
        more = torch.randn(Y.shape[1], 50, generator=generator, dtype=torch.float64)
        tried = torch.cat([tried, more / torch.linalg.vector_norm(more, dim=0)], 1)
    overlaps = ((U[:, alive].T @ Y) @ tried).abs().amax(0)
    return float(overlaps.min()), float(overlaps.max())


if __name__ == "__main__":
    main()
