"""How often is an answer wrong that claims to be proved? Hard spectra, planted verdicts, starved budgets.

Every matrix is decomposed in float64 as the truth. Counted are bounds that do not contain it, verdicts that contradict
it, and how many vectors were left open (which is always allowed). What the certificate leaves open is then given to the
fall-back, the float64 decomposition of the smaller Gram matrix, and its bounds are counted apart (`settled`).

Two groups are told apart: small matrices, for which `solver="auto"` takes the dense solver and which are here because
they are many and hard, and large ones, for which it takes the certified one. Run:

    OMP_NUM_THREADS=1 python benchmarks/fails_safely.py [--rounds 3] [--record benchmarks/records/fails_safely.json]

Conclusion: see the table that it prints; any number but 0 under `misses` or `wrong` is a defect.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import spectra
import torch
from torch import Tensor

from assay.linalg import Dense, Overlap, Triplets, base_triplets, largest_overlaps, leading_triplets

SMALL = ((320, 320), (544, 288), (288, 544))
LARGE = ((800, 800), (1280, 768), (768, 1280))  # one of them for each update: a float64 truth takes seconds here
EPS = 0.5
ILL_CONDITIONED = 1e-11  # relative gap under which float64 has no truth of its own for a single vector
TRUTH_ERROR = 1e-9  # room for the rounding of the float64 truth itself


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--record", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows, started = [], time.perf_counter()
    for group in ("small", "large"):
        for name in spectra.SPECTRA:
            counts: Counter[str] = Counter()
            for round_, shape, update in trials(group, arguments.rounds):
                seed = hash_of(name, shape, update, round_)
                counts += trial(name, shape, update, seed, most_steps=32 if round_ % 2 == 0 else 4)
            rows.append({"group": group, "spectrum": name} | dict(counts))
            print(rows[-1], flush=True)
    totals = {group: total([row for row in rows if row["group"] == group]) for group in ("small", "large")}
    for group, counts in (totals | {"all": total(rows)}).items():
        share = counts["clear, decided"] / counts["clear"]
        print(group, dict(counts), f"share certified of those with a margin over .05: {share:.4f}")
    print(f"{time.perf_counter() - started:.0f} s")
    if arguments.record:
        found = {
            "spectra": list(spectra.SPECTRA),
            "rows": rows,
            "totals": totals,
            "versions": {"torch": torch.__version__},
        }
        arguments.record.write_text(json.dumps(found, indent=1) + "\n")


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


def trial(name: str, shape: tuple[int, int], update: str, seed: int, most_steps: int) -> Counter[str]:
    """One matrix: both sides, ten leading vectors."""
    counts: Counter[str] = Counter()
    generator = torch.Generator().manual_seed(seed)
    W0, U, V = spectra.base(name, shape, generator)
    W = spectra.updated(update, W0, U, V, generator)
    base = base_triplets(W0, solver="certified")
    tuned = leading_triplets(W, 10, solver="certified", near=base, throw=False)
    truth0 = torch.linalg.svd(W0.double(), full_matrices=False)
    truth = torch.linalg.svd(W.to(torch.float64).dense(), full_matrices=False)
    counts["matrices"] += 1
    counts["value misses"] += int(((tuned.sigma - truth.S[: len(tuned.sigma)]).abs() > tuned.error + TRUTH_ERROR).sum())
    counts["rest misses"] += int(float(truth.S[len(tuned.sigma)]) > tuned.rest + tuned.error + TRUTH_ERROR)
    counts["rest misses"] += int(float(truth0.S[len(base.sigma)]) > base.rest + base.error + TRUTH_ERROR)
    counts["floor misses"] += int(float(truth0.S[-1]) < base.floor - TRUTH_ERROR)
    for side in ("left", "right"):
        left = side == "left"
        true_U = truth.U if left else truth.Vh.T
        base_U = truth0.U if left else truth0.Vh.T
        counts += score(
            tuned if left else tuned.T,
            base if left else base.T,
            Dense(W0 if left else W0.T),
            (true_U, truth.S),
            (base_U, truth0.S),
            most_steps,
        )
    return counts


def score(
    tuned: Triplets,
    base: Triplets,
    matrix: Dense,
    truth: tuple[Tensor, Tensor],
    truth0: tuple[Tensor, Tensor],
    most_steps: int,
) -> Counter[str]:
    """The spaces of one side against the truth."""
    counts: Counter[str] = Counter()
    firsts = tuned.clusters.tolist()
    groups = [[j for j, start in enumerate(firsts) if start == first] for first in sorted(set(firsts))]
    spaces = [tuned.u[:, members] for members in groups]
    angles = [float(tuned.angles[members[0]]) for members in groups]
    found = largest_overlaps(spaces, base, matrix=matrix, eps=EPS, angles=angles, throw=False, most_steps=most_steps)
    still = [
        not overlap.upper < EPS and not overlap.lower >= EPS and angle < 1
        for overlap, angle in zip(found, angles, strict=True)
    ]
    # Orthonormal in float64 too: a length of 1 + 1e-8 is no unit vector to bounds that are sharper than that.
    opened = [torch.linalg.qr(space.double()).Q for space, undecided in zip(spaces, still, strict=True) if undecided]
    rest = iter(opened)
    last = iter(largest_overlaps(opened, base, matrix=matrix, eps=EPS, throw=False, most_steps=0, settle=True))
    true_U, true_S = truth
    for members, overlap, angle, space, undecided in zip(groups, found, angles, spaces, still, strict=True):
        counts += settled(next(rest), next(last), truth0) if undecided else Counter()
        true_space = true_U[:, members]
        below, above = members[-1] + 1, members[0] - 1
        gaps = [float(true_S[members[-1]] - true_S[below])] if below < len(true_S) else []
        gaps += [float(true_S[above] - true_S[members[0]])] if above >= 0 else []
        counts["vectors"] += len(members)
        counts["open"] += len(members) * (overlap.lower < EPS <= overlap.upper)
        if min(gaps) < ILL_CONDITIONED * float(true_S[0]):
            counts["ill-conditioned"] += len(members)
            continue
        outside = space.double() - true_space @ (true_space.T @ space.double())
        counts["angle misses"] += float(torch.linalg.matrix_norm(outside, 2)) > angle + 1e-6
        smallest, largest = true_overlap(true_space, *truth0)
        counts["bound misses"] += largest > overlap.upper + TRUTH_ERROR or smallest < overlap.lower - TRUTH_ERROR
        counts["wrong"] += (overlap.upper < EPS <= largest) or (overlap.lower >= EPS > smallest)
        clear = abs(largest - EPS) > 0.05 and len(members) == 1
        counts["clear"] += clear
        counts["clear, decided"] += clear and not overlap.lower < EPS <= overlap.upper
    return counts


def settled(Y: Tensor, overlap: Overlap, truth0: tuple[Tensor, Tensor]) -> Counter[str]:
    """What the fall-back says of a space that the certificate left open, against the truth about that very space.

    Here a value counts as zero where the definition puts it: at what storing the matrix in float32 may have made.
    """
    U, S = truth0
    null = torch.finfo(torch.float32).eps * float(torch.linalg.vector_norm(S))
    smallest, largest = true_overlap(Y, U, S, null)
    count = Y.shape[1]
    return Counter(
        {
            "settled": count * (not overlap.lower < EPS <= overlap.upper),
            "still open": count * (overlap.lower < EPS <= overlap.upper),
            "still open, clear": int(count == 1 and abs(largest - EPS) > 0.05 and overlap.lower < EPS <= overlap.upper),
            "settled bound misses": int(
                largest > overlap.upper + TRUTH_ERROR or smallest < overlap.lower - TRUTH_ERROR
            ),
        }
    )


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
