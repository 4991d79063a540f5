"""Critical size of an update: where its leading direction would be counted as an intruder, from the base alone.

The deformation of a matrix by one direction (Benaych-Georges & Nadakuditi 2012): with `phi(z)` the mean of
`z / (z^2 - sigma_i^2)` over the min(m, n) singular values of W0 under z and `c = min(m, n) / max(m, n)`, a direction of
strength `theta = D(z)^(-1/2)`, `D(z) = phi(z) (c phi(z) + (1 - c) / z)`, puts a singular value of `W0 + theta a b^T` at
z. That is a theorem for directions drawn independently of W0 and a spectrum with a clean edge; trained directions and
trained spectra are neither, so that what follows is a heuristic (`docs/threshold.md` says how it does).

Two crossings bound the first intruder among the k leading directions. *Seen*: z passes `sigma_k`, by one local spacing
of values: before that the direction is not among the k. *Spread*: the typical direction at z, with overlaps
`theta^2 (z^2 b / m + sigma_i^2 a / n) / (z^2 - sigma_i^2)^2` on the base's vectors, is under eps on every one of them.
The estimate is their geometric mean.

Source: The Intruder Threshold, arXiv 2607.23711 (`theta_bar = D(b+)^(-1/2)` at the bulk's edge b, `s* = theta_bar /
(gamma sigma_1(BA))`); the choice of the edge and the second crossing are this file's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from assay.linalg import BoundedEstimate, Triplets

ESTIMATOR = "geometric mean of the seen and the spread crossing"
# Points on the axis of singular values from sigma_k to past the largest: steps of two or three per cent.
POINTS = 240
# Where the rest of a spectrum is known by its energy alone, the two extreme spectra of that energy may differ by this
# factor in what they say; beyond it there is no estimate.
WIDEST = 2.0


@dataclass(frozen=True)
class CountedSpectrum:
    """Singular values with how often each occurs, falling, and the shape with the counted side first."""

    sigma: Tensor
    counts: Tensor
    shape: tuple[int, int]


def critical_norm(base: Triplets, shape: tuple[int, int], *, k: int = 10, eps: float = 0.5) -> BoundedEstimate | None:
    """The spectral norm of an update at which its leading direction is first counted as an intruder.

    Args:
        base: triplets of W0, all or the leading ones; of the others only their energy is used, and the two extreme
            spectra of that energy (all equal; as many as can be as large as the last known one, the rest zero) bound
            the answer.
        shape: (m, n) of W0, the counted side first.
        k, eps: of the count.

    Returns:
        The estimate, between the two crossings; None where there is none: fewer than k + 1 singular values, a base of
        lower rank than k, or a spectrum of which too little is known.

    Example:
        >>> from assay.linalg import base_triplets
        >>> W0 = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)) / 8
        >>> found = critical_norm(base_triplets(W0), (64, 64))
        >>> found.lower < 1.2 < found.upper
        True
    """
    if len(base.sigma) <= k or float(base.sigma[k]) <= 0.0:
        return None
    if not base.complete and base.frobenius is None:
        return None  # nothing is known of the rest
    values, lows, highs = [], [], []
    for spectrum in _spectra(base, shape):
        seen, spread = _seen(spectrum, k), _spread(spectrum, k, eps)
        if seen is None or spread is None:
            return None
        low, high = sorted((seen, spread))
        values.append(math.sqrt(seen * spread))
        lows.append(low)
        highs.append(high)
    if max(values) > WIDEST * min(values):
        return None
    return BoundedEstimate(math.exp(sum(map(math.log, values)) / len(values)), min(lows), max(highs))


def critical_multiplier(norm: BoundedEstimate | None, largest: float) -> BoundedEstimate | None:
    """Critical multiplier of an update: times this it is first counted; under 1, it is past the threshold.

    Args:
        norm: from `critical_norm`.
        largest: sigma_1 of the update as it is, its scale included.
    """
    if norm is None or largest <= 0.0:
        return None
    return BoundedEstimate(norm.value / largest, norm.lower / largest, norm.upper / largest)


def _spectra(base: Triplets, shape: tuple[int, int]) -> list[CountedSpectrum]:
    """The base's spectrum; where only leading values are known, the two extreme ones that have the same energy."""
    known = base.sigma.double().cpu()
    rest = min(shape) - len(known)
    ones = torch.ones_like(known)
    if base.complete or rest <= 0 or base.frobenius is None:
        return [CountedSpectrum(known, ones, shape)]
    energy = max(0.0, base.frobenius**2 - float((known**2).sum()))
    last = float(known[-1])
    full = min(float(rest), energy / last**2) if last > 0 else 0.0
    spectra = []
    for sigma, count in ((min(last, math.sqrt(energy / rest)), float(rest)), (last, full)):
        tail = torch.tensor([sigma, 0.0], dtype=torch.float64)
        counts = torch.tensor([count, rest - count], dtype=torch.float64)
        spectra.append(CountedSpectrum(torch.cat([known, tail]), torch.cat([ones, counts]), shape))
    return spectra


def _strength(spectrum: CountedSpectrum, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`theta` that puts a value at each z, and the share of a and b in its vectors: `|<u, a>|^2`, `|<v, b>|^2`.

    Args:
        spectrum: of W0.
        z: shape (points, 1), above zero and at no singular value.
    """
    m, n = spectrum.shape
    c, number = min(m, n) / max(m, n), min(m, n)
    under = (spectrum.sigma < z) * spectrum.counts
    gap = z**2 - spectrum.sigma**2
    gap = torch.where(under > 0, gap, torch.ones_like(gap))
    phi = (under * z / gap).sum(1) / number
    slope = -(under * (z**2 + spectrum.sigma**2) / gap**2).sum(1) / number
    x = z[:, 0]
    other, other_slope = c * phi + (1 - c) / x, c * slope - (1 - c) / x**2
    D, D_slope = phi * other, slope * other + phi * other_slope
    left, right = (phi, other) if m <= n else (other, phi)
    theta = D.clamp(min=torch.finfo(torch.float64).tiny) ** -0.5
    keep = -2 / (theta**2 * D_slope)
    return theta, keep * left, keep * right


def _seen(spectrum: CountedSpectrum, k: int) -> float | None:
    """The strength at which a direction is the k-th: its value one local spacing above `sigma_k`."""
    later = min(2 * k, len(spectrum.sigma)) - 1
    edge = float(spectrum.sigma[k - 1])
    spacing = (edge - float(spectrum.sigma[later])) / max(1, later - k + 1)
    if spacing <= 0.0:
        return None
    above = CountedSpectrum(spectrum.sigma[k:], spectrum.counts[k:], spectrum.shape)
    theta, _, _ = _strength(above, torch.tensor([[edge + spacing]], dtype=torch.float64))
    return float(theta)


def _spread(spectrum: CountedSpectrum, k: int, eps: float) -> float | None:
    """The least strength at which the typical direction is under eps on every vector of the base."""
    m, n = spectrum.shape
    edge, top = float(spectrum.sigma[k - 1]), float(spectrum.sigma[0])
    # A random direction of strength theta among values up to sigma_1 ends at most at their sum: 4 sigma_1 is past it.
    powers = torch.linspace(math.log(edge), math.log(4 * top + edge), POINTS, dtype=torch.float64)[1:]
    z = powers.exp()[:, None]
    theta, left, right = _strength(spectrum, z)
    gap = (z**2 - spectrum.sigma**2).abs().clamp(min=torch.finfo(torch.float64).tiny)
    overlap = theta[:, None] ** 2 * (z**2 * right[:, None] / m + left[:, None] * spectrum.sigma**2 / n) / gap**2
    free = ((overlap <= eps**2) | (spectrum.counts <= 0)).all(1) & torch.isfinite(theta) & (left > 0) & (right > 0)
    return float(theta[free].min()) if bool(free.any()) else None
