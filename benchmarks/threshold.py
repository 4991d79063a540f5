"""How well the size at which an update becomes an intruder is foreseen: planted directions over spectra and shapes.

One random direction `theta u v^T` is planted on a base with a known spectrum, and theta raised until the paper's own
algorithm, from dense decompositions, counts an intruder among the ten leading directions: the observed crossing.
`assay.measures.threshold` foresees it from the base's spectrum alone.

    python benchmarks/threshold.py --record benchmarks/records/threshold.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from assay.linalg import base_triplets
from assay.measures.threshold import ESTIMATOR, critical_norm

K, EPS = 10, 0.5
SHAPES = ((96, 96), (96, 192), (192, 96), (192, 192), (64, 192), (192, 64), (128, 512), (512, 128), (256, 256))
# The multiples of sigma_1 over which a crossing is looked for, and the halvings that follow.
LEAST, MOST, COARSE, HALVINGS = 0.02, 20.0, 36, 4


def spectra(n: int) -> Iterator[tuple[str, Tensor]]:
    """Singular values of many shapes: power laws, an exponential, random matrices, and these with outliers."""
    i = torch.arange(1, n + 1, dtype=torch.float64)
    for power in (0.1, 0.25, 0.5, 1.0):
        yield f"i^-{power:g}", i**-power
    yield "exponential", torch.exp(-4 * i / n)
    bulk = torch.linalg.svdvals(torch.randn(n, n, generator=torch.Generator().manual_seed(n)).double() / n**0.5)
    yield "random", bulk
    spiked = bulk.clone()
    spiked[:6] = bulk[0] * torch.linspace(3, 1.2, 6, dtype=torch.float64)
    yield "random, six outliers", spiked


def planted(shape: tuple[int, int], sigma: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A base with these singular values, its left vectors, and a random unit direction on each side."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(rows: int, columns: int) -> Tensor:
        basis: Tensor = torch.linalg.qr(torch.randn(rows, columns, generator=generator, dtype=torch.float64))[0]
        return basis

    (m, n), r = shape, len(sigma)
    U, V = drawn(m, r), drawn(n, r)
    return ((U * sigma) @ V.T).float(), U.float(), drawn(m, 1).float(), drawn(n, 1).float()


def crossing(W0: Tensor, U0: Tensor, u: Tensor, v: Tensor) -> float | None:
    """The least theta, to a few per cent, at which `W0 + theta u v^T` has an intruder among its leading directions."""

    def counts(theta: float) -> bool:
        U = torch.linalg.svd(W0 + theta * u @ v.T, full_matrices=False)[0][:, :K]
        return bool(((U.T @ U0).abs().amax(1) < EPS).any())

    largest = float(torch.linalg.matrix_norm(W0, 2))
    steps = (largest * torch.logspace(*torch.tensor([LEAST, MOST]).log10().tolist(), COARSE)).tolist()
    first = next((position for position, theta in enumerate(steps) if counts(theta)), None)
    if first is None or first == 0:
        return None
    low, high = steps[first - 1], steps[first]
    for _ in range(HALVINGS):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if counts(middle) else (middle, high)
    return high


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=2, help="random directions on every base")
    parser.add_argument("--record", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for shape in SHAPES:
        for number, (name, sigma) in enumerate(spectra(min(shape))):
            for draw in range(arguments.draws):
                W0, U0, u, v = planted(shape, sigma, 1000 * draw + number)
                observed, found = crossing(W0, U0, u, v), critical_norm(base_triplets(W0), shape, k=K, eps=EPS)
                row = {"shape": list(shape), "spectrum": name, "draw": draw, "observed": observed}
                rows.append(row | {"estimate": found and found.value, "bounds": found and [found.lower, found.upper]})
        print(shape, summary(rows), flush=True)
    if arguments.record:
        record = {"estimator": ESTIMATOR, "k": K, "eps": EPS, "summary": summary(rows), "rows": rows}
        record["versions"] = {"torch": torch.__version__}
        arguments.record.write_text(json.dumps(record, indent=1) + "\n", encoding="utf8")


def summary(rows: list[dict[str, object]]) -> dict[str, float]:
    """Cases, how many have an estimate, and the share of those within a factor of two of the observed crossing."""
    seen = [row for row in rows if row["observed"] is not None]
    pairs = [(float(row["observed"]), float(row["estimate"])) for row in seen if row["estimate"] is not None]  # type: ignore[arg-type]
    near = sum(0.5 <= observed / estimate <= 2 for observed, estimate in pairs)
    return {"cases": len(seen), "estimates": len(pairs), "within a factor 2": near / max(1, len(pairs))}


if __name__ == "__main__":
    main()
