"""Directions of an update above its noise: the optimal hard threshold for noise of unknown size.

The update is taken as a matrix of low rank plus independent noise of one size. Of all hard thresholds on singular
values, `tau = omega(beta) median(sigma)` has the least asymptotic squared error, whatever the low rank and the noise
are, with `beta = min(m, n) / max(m, n)`, `omega(beta) = lambda(beta) / sqrt(mu(beta))`, `mu` the median of the
Marchenko-Pastur law and `lambda(beta)^2 = 2 (beta + 1) + 8 beta / (beta + 1 + sqrt(beta^2 + 14 beta + 1))`. An update
is no such matrix exactly: the threshold is a yardstick, not a test.

Source: Gavish & Donoho 2014 (arXiv 1305.5870); on updates of language models: arXiv 2605.20296.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from scipy.integrate import quad
from scipy.optimize import brentq
from torch import Tensor

from assay.linalg import BoundedEstimate
from assay.measures.spectra import UpdateSpectrum


@dataclass(frozen=True)
class AboveNoise:
    """Directions of an update above the threshold.

    Attributes:
        threshold: tau, with the bounds of its median.
        count: how many singular values are above it; share: their share of `||dW||_F^2`. All three parts are equal
            where all singular values are known.
    """

    threshold: BoundedEstimate
    count: BoundedEstimate
    share: BoundedEstimate


@lru_cache(maxsize=256)
def omega(beta: float) -> float:
    """The threshold as a multiple of the median singular value: 2.858 for a square matrix.

    With `x = 1 + beta + 2 sqrt(beta) cos t` the Marchenko-Pastur law has the smooth density `2 sin^2 t / (pi x)` in t.

    Args:
        beta: the shorter side over the longer one, in (0, 1].

    Example:
        >>> round(omega(1.0), 3), round(omega(0.5), 3)
        (2.858, 2.171)

    Source: Gavish & Donoho 2014, arXiv 1305.5870.
    """

    def at(t: float) -> float:
        return 1.0 + beta + 2.0 * math.sqrt(beta) * math.cos(t)

    def above(t: float) -> float:
        return float(quad(lambda s: 2.0 * math.sin(s) ** 2 / (math.pi * at(s)), 0.0, t)[0])

    # Half of the law lies between a twentieth and nine tenths of the way for every beta: about pi / 2 for small ones.
    median = at(brentq(lambda t: above(t) - 0.5, 0.15, 0.9 * math.pi, xtol=1e-12))
    factor = 2.0 * (beta + 1.0) + 8.0 * beta / (beta + 1.0 + math.sqrt(beta**2 + 14.0 * beta + 1.0))
    return math.sqrt(factor / median)


def noise_threshold(sigma: Tensor, shape: tuple[int, int]) -> float | None:
    """The threshold of an update all of whose singular values are known.

    Args:
        sigma: singular values, falling; those that are not there, up to min(m, n), are zero.
        shape: (m, n).

    Returns:
        The threshold; None where the median is rounding, as it is for every update whose rank is under half of the
        shorter side: what has no noise has no size of it, and all of its directions stand above nothing.

    Example:
        >>> noise_threshold(torch.tensor([3.0, 0.0, 0.0, 0.0]), (4, 4)) is None
        True
        >>> round(noise_threshold(torch.tensor([9.0, 1.0, 1.0]), (3, 3)), 3)
        2.858
    """
    values = torch.zeros(min(shape), dtype=torch.float64)
    values[: len(sigma)] = sigma.double().cpu()
    return _above_rounding(float(values.quantile(0.5)), values, shape)


def above_noise(found: UpdateSpectrum, shape: tuple[int, int], norm: float) -> AboveNoise | None:
    """Singular values of an update above the threshold, and their share of its energy.

    Args:
        found: the spectrum of dW. Where its leading values alone are known, the median is bracketed by quadrature.
        shape: (m, n); norm: `||dW||_F`, above zero.

    Returns:
        The counts, with bounds; None where there is no threshold, see `noise_threshold`.
    """
    values = found.sigma.double().cpu()
    if found.rules is None:
        tau = noise_threshold(values, shape)
        if tau is None:
            return None
        count = int((values > tau).sum())
        share = float((values[:count] ** 2).sum()) / norm**2
        return AboveNoise(*(BoundedEstimate(one, one, one) for one in (tau, float(count), min(1.0, share))))
    median = found.rules.median()
    if _above_rounding(median.value, values, shape) is None:
        return None
    ratio = omega(min(shape) / max(shape))
    threshold = BoundedEstimate(*(ratio * end for end in (median.value, median.lower, median.upper)))
    low, high = int((values > threshold.upper).sum()), float((values > threshold.lower).sum())
    energy = (values**2).cumsum(0) / norm**2
    least, most = (float(energy[int(n) - 1]) if n else 0.0 for n in (low, high))
    if high == len(values):  # there may be more below the last one that is known
        high = max(high, math.ceil(found.rules.count_above(threshold.lower).upper))
        most += (high - len(values)) * float(values[-1] ** 2 if len(values) else 0.0) / norm**2
    middle, share = float((values > threshold.value).sum()), (least + most) / 2
    if middle < len(values):
        share = float(energy[int(middle) - 1]) if middle else 0.0
    else:
        middle = min(high, max(middle, round(found.rules.count_above(threshold.value).value)))
    most = min(1.0, most)
    return AboveNoise(
        threshold,
        BoundedEstimate(middle, float(low), high),
        BoundedEstimate(min(share, most), min(least, most), most),
    )


def _above_rounding(median: float, values: Tensor, shape: tuple[int, int]) -> float | None:
    """The threshold of a median; None where that is no more than rounding, by NumPy's convention for a rank."""
    largest = float(values[0]) if len(values) else 0.0
    if median <= max(shape) * torch.finfo(torch.float32).eps * largest:
        return None
    return omega(min(shape) / max(shape)) * median
