"""Stochastic Lanczos quadrature: effective rank, energy rank and density of a spectrum, with bounds.

For a random vector g with unit-variance entries, `g^T f(A) g` has the mean `trace f(A)`; Lanczos on `A = W^T W` from g
gives Gauss rules for it. For `f = sqrt(x)` and `sqrt(x) ln(x)` on (0, 1] all higher derivatives have one sign, so the
Gauss rule and the Gauss-Radau rule with a node at 0 lie on both sides of every probe's value: the error of the
quadrature is bracketed, and only the error of the probes is statistical (a jackknife). Counts and energies above a
value are bracketed at the nodes by the Chebyshev-Markov-Stieltjes inequalities. All sums are made in float64 with full
re-orthogonalisation; in float32 those inequalities fail.

Sources: Golub & Meurant 2010 (chapters 6 and 7); Ubaru, Chen & Saad 2017; effective rank: Roy & Vetterli 2007.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor

from assay.linalg.operators import AbstractOperator, as_operator

# Random vectors, and products with `W^T W` for each of them.
QUADRATURE_PROBES, QUADRATURE_STEPS = 16, 40
# 2^32 over the golden ratio squared, and so none that somebody would also draw weights from: signs and weights must be
# independent.
QUADRATURE_SEED = 1_640_531_527
# Two-sided, of the part of the bounds that comes from the probes: high, as these are skewed for steep spectra.
JACKKNIFE_CONFIDENCE = 0.999
SUMS_ROUNDING = 1e-9  # relative error of the float64 sums, with much room
BREAKDOWN = 1e-13  # relative size of a Lanczos vector under which its Krylov space is exhausted


@dataclass(frozen=True)
class BoundedEstimate:
    """A number between two others: exactly known where all three are equal."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Quadrature:
    """Gauss and Gauss-Radau rules of several probes for the squared singular values of one matrix.

    Attributes:
        nodes, weights: Gauss rules, (probes, steps); nodes are scaled to lie in [0, 1], weights sum to `count`.
        radau_nodes, radau_weights: rules with a node at 0, (probes, steps + 1).
        scale: what the nodes were divided by: at least the largest squared singular value.
        count: number of singular values, min(m, n).
    """

    nodes: Tensor
    weights: Tensor
    radau_nodes: Tensor
    radau_weights: Tensor
    scale: float
    count: int

    def effective_rank(self) -> BoundedEstimate:
        """`exp(ln S - T / S)` with `S = sum sigma` and `T = sum sigma ln sigma`, bracketed by both rules."""
        if self.scale == 0:
            return BoundedEstimate(0.0, 0.0, 0.0)
        gauss = _root_sums(self.nodes, self.weights)
        radau = _root_sums(self.radau_nodes, self.radau_weights)
        # sqrt: Gauss above, Radau below. sqrt ln (negative here): Gauss below, Radau above.
        sums = torch.stack([radau[0], gauss[0], -radau[1], -gauss[1]])  # S low, S high, -T low, -T high

        def low(means: Tensor) -> float:
            return float(means[0].log() + means[2] / means[1])

        def high(means: Tensor) -> float:
            return float(means[1].log() + means[3] / means[0])

        lower, upper = _widened(sums, low)[0], _widened(sums, high)[1]
        middle = (low(sums.mean(1)) + high(sums.mean(1))) / 2
        low_end, high_end = math.exp(lower) * (1 - SUMS_ROUNDING), math.exp(upper) * (1 + SUMS_ROUNDING)
        return BoundedEstimate(math.exp(middle), max(1.0, low_end), min(float(self.count), high_end))

    def energy_rank(self, share: float = 0.9) -> BoundedEstimate:
        """Least r whose largest values hold a share of the energy; the probes are pooled before it is inverted."""
        if self.scale == 0:
            return BoundedEstimate(0.0, 0.0, 0.0)
        every = torch.arange(len(self.nodes))
        left_out = [self._rank_bounds(share, every[every != probe]) for probe in every.tolist()]
        lower, upper = self._rank_bounds(share, every)
        spread_low = _jackknife(lower, [bounds[0] for bounds in left_out])
        spread_high = _jackknife(upper, [bounds[1] for bounds in left_out])
        low, high = max(1.0, math.floor(lower - spread_low)), min(float(self.count), math.ceil(upper + spread_high))
        return BoundedEstimate(min(max((lower + upper) / 2, low), high), low, high)

    def count_above(self, sigma: float) -> BoundedEstimate:
        """Count of singular values larger than `sigma`: the density, cumulated."""
        if self.scale == 0:
            return BoundedEstimate(0.0, 0.0, 0.0)
        lower, upper = _steps_above(self.nodes, self.weights, torch.tensor([sigma**2 / self.scale]))
        ends = (_widened(lower.T, lambda mean: float(mean[0]))[0], _widened(upper.T, lambda mean: float(mean[0]))[1])
        middle = float((lower.mean() + upper.mean()) / 2)
        return BoundedEstimate(middle, max(0.0, ends[0]), min(float(self.count), ends[1]))

    def median(self) -> BoundedEstimate:
        """Median of all singular values: where the count above a value passes half of them, at the rules' nodes."""
        if self.scale == 0:
            return BoundedEstimate(0.0, 0.0, 0.0)
        points = torch.cat([self.nodes.flatten(), self.nodes.new_zeros(1)]).unique()
        bounds = _steps_above(self.nodes, self.weights, points)
        error = torch.stack([_mean_error(one) for one in bounds])
        low, high = bounds[0].mean(0) - error[0], bounds[1].mean(0) + error[1]
        half = self.count / 2
        surely_below, surely_above = points[low > half], points[high < half]
        lower = float(surely_below.max()) if len(surely_below) else 0.0
        upper = float(surely_above.min()) if len(surely_above) else 1.0
        middle = (bounds[0].mean(0) + bounds[1].mean(0)) / 2
        value = float(points[(middle - half).abs().argmin()])
        return BoundedEstimate(*(math.sqrt(self.scale * one) for one in (min(max(value, lower), upper), lower, upper)))

    def _rank_bounds(self, share: float, probes: Tensor) -> tuple[float, float]:
        """Bounds on the count above the value above which the pooled energy is the share."""
        nodes, weights = self.nodes[probes], self.weights[probes]
        points = torch.cat([nodes.flatten(), nodes.new_zeros(1)]).unique()
        energies = _steps_above(nodes, nodes * weights, points)
        counts = _steps_above(nodes, weights, points)
        total = float((nodes * weights).sum(1).mean())
        surely = energies[0].mean(0) >= share * total  # points so low that the share is above them
        surely_not = energies[1].mean(0) <= share * total
        upper = float(counts[1].mean(0)[surely].min()) if bool(surely.any()) else float(self.count)
        lower = float(counts[0].mean(0)[surely_not].max()) if bool(surely_not.any()) else 0.0
        return lower, max(lower, upper)


def quadrature(
    matrix: AbstractOperator | Tensor,
    *,
    probes: int = QUADRATURE_PROBES,
    steps: int = QUADRATURE_STEPS,
    seed: int = QUADRATURE_SEED,
) -> Quadrature:
    """Stochastic Lanczos quadrature of the squared singular values.

    Args:
        matrix: an operator or a 2-D array; products are made in float64.
        probes: random vectors (signs), each with its own Krylov space.
        steps: products with `W^T W` for each of them.
        seed: of the probes.

    Returns:
        The rules, from which the statistics are read.

    Example:
        >>> found = quadrature(torch.eye(50), probes=4, steps=30).effective_rank()
        >>> found.lower <= 50 <= found.upper
        True
    """
    operator = as_operator(matrix).to(torch.float64)
    if operator.shape[1] > operator.shape[0]:  # the smaller side, so that no zero is counted that is no singular value
        operator = operator.T
    n = operator.shape[1]
    steps = min(steps, n)
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, (n, probes), generator=generator).to(operator.device, torch.float64) * 2 - 1
    alpha, beta = _lanczos(operator, signs / n**0.5, steps)
    alpha, beta = alpha.cpu(), beta.cpu()
    # A bound on the largest eigenvalue: by Gershgorin on each T, and on what lies outside by its last coupling.
    radius = beta.clone()
    radius[:, 1:] += beta[:, :-1]
    scale = float((alpha + radius).max())
    if scale <= 0:
        zero = torch.zeros(probes, 1, dtype=torch.float64)
        return Quadrature(zero, zero, zero, zero, 0.0, n)
    alpha, beta = alpha / scale, beta / scale
    nodes, weights = _rule(alpha, beta[:, :-1])
    # Golub 1973: the extended matrix has the eigenvalue 0 if its last diagonal entry is delta_k, T delta = beta^2 e_k.
    T = _tridiagonal(alpha, beta[:, :-1])
    side = torch.zeros(probes, steps, dtype=torch.float64)
    side[:, -1] = beta[:, -1] ** 2
    tiny = torch.eye(steps, dtype=torch.float64) * torch.finfo(torch.float64).eps
    last = torch.linalg.solve(T + tiny, side)[:, -1:]
    radau_nodes, radau_weights = _rule(torch.cat([alpha, last], 1), beta)
    return Quadrature(nodes, n * weights, radau_nodes, n * radau_weights, scale, n)


def _lanczos(operator: AbstractOperator, start: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Diagonals (c, steps) and couplings (c, steps) of `W^T W` from each column of `start` (n, c)."""
    c = start.shape[1]
    V = start[None]
    alpha, beta = start.new_zeros(c, steps), start.new_zeros(c, steps)
    for step in range(steps):
        w = operator.rmatmul(operator.matmul(V[-1]))
        alpha[:, step] = (V[-1] * w).sum(0)
        for _ in range(2):
            w = w - torch.einsum("kni,ki->ni", V, torch.einsum("kni,ni->ki", V, w))
        length = torch.linalg.vector_norm(w, dim=0)
        length = torch.where(length > BREAKDOWN * alpha[:, : step + 1].amax(1), length, 0.0)
        beta[:, step] = length
        V = torch.cat([V, torch.where(length > 0, w / length.clamp(min=torch.finfo(w.dtype).tiny), 0.0)[None]])
    return alpha, beta


def _tridiagonal(alpha: Tensor, beta: Tensor) -> Tensor:
    """The symmetric matrices with these diagonals (c, steps) and couplings (c, steps - 1)."""
    return torch.diag_embed(alpha) + torch.diag_embed(beta, 1) + torch.diag_embed(beta, -1)


def _rule(alpha: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes (c, steps), rising, and weights that sum to one, of the tridiagonal matrices."""
    nodes, vectors = torch.linalg.eigh(_tridiagonal(alpha, beta))
    return nodes.clamp(0, 1), vectors[:, 0] ** 2


def _root_sums(nodes: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """`sum w sqrt(x)` and `sum w sqrt(x) ln sqrt(x)` for each probe."""
    roots = nodes.sqrt()
    return (weights * roots).sum(1), (weights * torch.special.xlogy(roots, roots)).sum(1)


def _steps_above(nodes: Tensor, masses: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Bounds (probes, points) on the mass above each point: at a node x, between those above x and those from x on."""
    cumulative = torch.cat([torch.zeros_like(masses[:, :1]), masses.cumsum(1)], 1)
    total = cumulative[:, -1:]
    points = points.to(nodes.dtype).expand(len(nodes), -1).contiguous()
    # The least node at or above the point, and the largest at or below it.
    at_or_above = torch.searchsorted(nodes.contiguous(), points)
    at_or_below = torch.searchsorted(nodes.contiguous(), points, right=True) - 1
    count = nodes.shape[1]
    lower = total - cumulative.gather(1, (at_or_above + 1).clamp(max=count))
    upper = total - cumulative.gather(1, at_or_below.clamp(min=0))
    return lower.clamp(min=0), upper


def _mean_error(values: Tensor) -> Tensor:
    """Half width of the confidence interval of the mean over probes (probes, points), which the jackknife has too."""
    probes = len(values)
    if probes < 2:
        return torch.full_like(values[0], math.inf)
    factor = float(stats.t.ppf(0.5 + JACKKNIFE_CONFIDENCE / 2, probes - 1))
    error: Tensor = values.std(0) * (factor / probes**0.5)
    return error


def _widened(sums: Tensor, function: Callable[[Tensor], float]) -> tuple[float, float]:
    """A function of the means over probes (parts, probes), less and plus its jackknife error."""
    probes = sums.shape[1]
    value = function(sums.mean(1))
    left_out = (
        [function((sums.sum(1) - sums[:, probe]) / (probes - 1)) for probe in range(probes)] if probes > 1 else []
    )
    spread = _jackknife(value, left_out)
    return value - spread, value + spread


def _jackknife(value: float, left_out: list[float]) -> float:
    """Half width of the confidence interval from the values with one probe left out each; infinite for one probe."""
    count = len(left_out)
    if count < 2:
        return math.inf
    mean = math.fsum(left_out) / count
    variance = (count - 1) / count * math.fsum((part - mean) ** 2 for part in left_out)
    return float(stats.t.ppf(0.5 + JACKKNIFE_CONFIDENCE / 2, count - 1)) * math.sqrt(variance)
