"""Intruder verdicts: assay (base not cached, cached, and its dense solver) against two dense SVDs and PEFT's function.

One process, one thread, the parties interleaved, results compared before speed. Times are the processor's: other work
on the machine takes turns with this, and does not count but for the caches and the memory that it shares. Every party
answers the same question about the same matrices: which of the ten leading left singular vectors of W0 + s B A are
intruders at eps = .5. "exact" is assay with `solver="exact"`: two dense SVDs with their errors measured.

    OMP_NUM_THREADS=1 python benchmarks/intruders.py [--sizes 64 512 4096] [--repeats 3] [--record FILE]

A record keeps the rows of other sizes, so that it can be made in pieces.
Conclusion: the table that it prints, with the slope of the time from n = 1024 to 4096.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from assay.linalg import (
    Dense,
    LowRank,
    Solver,
    Sum,
    Triplets,
    base_triplets,
    largest_overlaps,
    leading_triplets,
    select_solver,
)
from assay.linalg.gram_eigendecomposition import GramEigendecomposition

K, EPS, RANK = 10, 0.5, 16
LEAST_SECONDS = 0.5  # a party is timed again until it took so long: small matrices take milliseconds
NEAR = 0.02  # verdicts whose cosine is this close to eps may differ between float32 programs; counted apart


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256, 512, 1024, 2048, 4096])
    parser.add_argument("--powers", type=float, nargs="+", default=[0.25, 0.5])
    parser.add_argument(
        "--tall",
        type=int,
        nargs="*",
        default=[64, 128, 256, 512, 1024, 2048],
        help="widths of matrices 2.7 times as long",
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-peft", action="store_true")
    parser.add_argument("--record", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    shapes = [(n, n) for n in arguments.sizes] + [(int(2.6875 * n), n) for n in arguments.tall]
    rows = []
    for power in arguments.powers:
        for m, n in shapes:
            rows.append(compare(m, n, power, arguments.repeats, with_peft=not arguments.no_peft))
            print(describe(rows[-1]), flush=True)
            if arguments.record:
                write(arguments.record, rows)
    print(conclusion(rows))


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Put these rows into the record, in the place of those of the same shape and spectrum."""
    kept = json.loads(path.read_text(encoding="utf8"))["rows"] if path.exists() else []
    every = {(row["power"], *row["shape"]): row for row in [*kept, *rows]}
    # Square ones first, each kind by size.
    order = sorted(every, key=lambda key: (key[0], key[1] != key[2], key[1]))
    conditions = {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
    }
    record = {"conditions": conditions, "rows": [every[key] for key in order]}
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf8")


def planted(m: int, n: int, power: float) -> tuple[Tensor, Tensor, Tensor]:
    """W0 with singular values i^-power, and factors of an update as strong as its leading values."""
    generator = torch.Generator().manual_seed(m + n)
    r = min(m, n)
    U, _ = torch.linalg.qr(torch.randn(m, r, generator=generator))
    V, _ = torch.linalg.qr(torch.randn(n, r, generator=generator))
    W0 = (U * torch.arange(1, r + 1) ** -power) @ V.T
    B = torch.randn(m, RANK, generator=generator) / m**0.5
    A = torch.randn(RANK, n, generator=generator) / n**0.5
    return W0, B, 0.8 * A


def compare(m: int, n: int, power: float, repeats: int, *, with_peft: bool) -> dict[str, Any]:
    """Time every party on one pair of matrices, interleaved, and compare their answers."""
    W0, B, A = planted(m, n, power)
    solver = select_solver((m, n))
    cached = base_triplets(W0)
    cosines: list[float] = []
    parties: dict[str, Callable[[], list[str]]] = {
        "cold": lambda: assay_verdicts(W0, B, A, base_triplets(W0)),
        "exact": lambda: assay_verdicts(W0, B, A, base_triplets(W0, solver="exact"), "exact"),
        "cached": lambda: assay_verdicts(W0, B, A, cached),
        "two SVDs": lambda: dense_verdicts(W0, B, A, cosines),
    }
    if with_peft:
        parties["PEFT"] = lambda: peft_count(W0, B, A)
    answers = {name: run() for name, run in parties.items()}  # untimed: the first call of each loads its code
    seconds: dict[str, list[float]] = {name: [] for name in parties}
    waiting = set(parties)
    while waiting:
        for name in parties:
            if name not in waiting:
                continue
            started = time.process_time()
            parties[name]()
            seconds[name].append(time.process_time() - started)
            least = 1 if n > 2048 and name in ("exact", "two SVDs", "PEFT") else repeats  # half a minute each at 4096
            if len(seconds[name]) >= least and sum(seconds[name]) >= LEAST_SECONDS:
                waiting.remove(name)
    best = {name: min(times) for name, times in seconds.items()}
    return {
        "shape": [m, n],
        "power": power,
        "solver": solver,
        "seconds": best,
        "repeats": {name: len(times) for name, times in seconds.items()},
        "answers": {name: summary(answer) for name, answer in answers.items()},
        "near": sum(abs(cosine - EPS) < NEAR for cosine in cosines),
        "differences": sum(
            a not in (b, "undecided") for a, b in zip(answers["cold"], answers["two SVDs"], strict=True)
        ),
        "undecided": answers["cold"].count("undecided"),
        "parts": parts(W0, B, A),
        "load": os.getloadavg()[0],
    }


def assay_verdicts(W0: Tensor, B: Tensor, A: Tensor, base: Triplets, solver: Solver = "auto") -> list[str]:
    """The verdicts by assay, for a base that is cached or not."""
    tuned = leading_triplets(Sum(Dense(W0), LowRank(B, A)), K, near=base, solver=solver)
    spaces = [tuned.u[:, j] for j in range(K)]
    found = largest_overlaps(
        spaces, base, matrix=W0, eps=EPS, angle_bounds=tuned.angle_bounds[:K].tolist(), throw=False
    )
    return [
        "intruder" if overlap.upper < EPS else "matched" if overlap.lower >= EPS else "undecided" for overlap in found
    ]


def dense_verdicts(W0: Tensor, B: Tensor, A: Tensor, cosines: list[float]) -> list[str]:
    """Algorithm 1 of arXiv 2410.21228, as its authors' script and PEFT compute it; leaves its cosines in the list."""
    U0 = torch.linalg.svd(W0, full_matrices=False)[0]
    U = torch.linalg.svd(W0 + B @ A, full_matrices=False)[0]
    cosines[:] = (U[:, :K].T @ U0).abs().amax(1).tolist()
    return ["intruder" if cosine < EPS else "matched" for cosine in cosines]


def peft_count(W0: Tensor, B: Tensor, A: Tensor) -> list[str]:
    """PEFT's function on a model of one layer: detection and repair, which it does not offer apart."""
    from peft import LoraConfig, get_peft_model
    from peft.tuners.lora.intruders import reduce_intruder_dimension

    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(W0.shape[1], W0.shape[0], bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)

    model = One()
    model.layer.weight.data = W0.clone()
    config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["layer"], init_lora_weights=False)
    tuned = get_peft_model(model, config)
    layer = tuned.base_model.model.layer
    layer.lora_A["default"].weight.data, layer.lora_B["default"].weight.data = A.clone(), B.clone()
    lines: list[str] = []
    reduce_intruder_dimension(tuned, top_k=K, threshold_epsilon=EPS, mitigation_lambda=0.75, logging_sink=lines.append)
    count = int(next(line for line in lines if "Intruders" in line).rsplit(":", 1)[1])
    return ["intruder"] * count + ["matched"] * (K - count)


def parts(W0: Tensor, B: Tensor, A: Tensor) -> dict[str, float]:
    """Where assay's time goes, how many columns it multiplied, and what the fall-back for open verdicts takes."""
    times = [time.process_time()]
    base = base_triplets(W0)
    times.append(time.process_time())
    tuned = leading_triplets(Sum(Dense(W0), LowRank(B, A)), K, near=base)
    times.append(time.process_time())
    spaces = [tuned.u[:, j] for j in range(K)]
    found = largest_overlaps(
        spaces, base, matrix=W0, eps=EPS, angle_bounds=tuned.angle_bounds[:K].tolist(), throw=False
    )
    times.append(time.process_time())
    GramEigendecomposition.of(Dense(W0))
    times.append(time.process_time())
    names = ("base", "tuned", "verdicts", "fall-back, if it were needed")
    products = (base.cost.products, tuned.cost.products, found[0].cost.products)
    found_parts = {name: times[i + 1] - times[i] for i, name in enumerate(names)}
    return found_parts | {f"{name} products": count for name, count in zip(names[:3], products, strict=True)}


def summary(answer: list[str]) -> dict[str, int]:
    return {verdict: answer.count(verdict) for verdict in sorted(set(answer))}


def describe(row: dict[str, Any]) -> str:
    seconds, (m, n) = row["seconds"], row["shape"]
    dense = seconds["two SVDs"]
    against = "  ".join(
        f"{name} {value:.3f} s ({dense / value:.1f} x)" if name != "two SVDs" else f"{name} {value:.3f} s"
        for name, value in seconds.items()
    )
    against += f"  cold/exact {seconds['cold'] / seconds['exact']:.2f}"
    if "PEFT" in seconds:
        against += f"  PEFT/cached {seconds['PEFT'] / seconds['cached']:.0f} x"
    return (
        f"{m} x {n} i^-{row['power']} [{row['solver']}]  {against}  differ {row['differences']}"
        f" near {row['near']} undecided {row['undecided']}  {row['parts']}"
    )


def conclusion(rows: list[dict[str, Any]]) -> str:
    """The slope of assay's time in n on square matrices, for each spectrum."""
    lines = []
    for power in sorted({row["power"] for row in rows}):
        times = {
            row["shape"][0]: row["seconds"]["cold"]
            for row in rows
            if row["power"] == power and row["shape"][0] == row["shape"][1]
        }
        if 1024 in times and 4096 in times:
            slope = math.log(times[4096] / times[1024]) / math.log(4)
            lines.append(f"i^-{power}: time grows as n^{slope:.2f} from 1024 to 4096 (base not cached)")
    wrong = sum(row["differences"] for row in rows)
    lines.append(f"verdicts that differ from two dense SVDs: {wrong}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
