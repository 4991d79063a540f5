"""Activation drift in the record of a score: what an update adds to every layer's outputs, on its base's own inputs."""

from __future__ import annotations

import math
import statistics

from pydantic import model_validator

from assay.records.record import Interval, Part


class MatrixDrift(Part):
    """One matrix that the update changes.

    Attributes:
        name: of its tensor in the base; role, layer: its place, as in an audit.
        change: `E ||dW h||^2`; base: `E ||W0 h||^2`, without the bias; h the base's input to the layer.
    """

    name: str
    role: str
    layer: int | None
    change: float
    base: float

    @property
    def drift(self) -> float:
        """`E ||dW h||^2 / E ||W0 h||^2`."""
        return self.change / self.base


class PooledDrift(Part):
    """Several matrices taken together: all of one role, or of one layer.

    Attributes:
        name: the role, or the layer's number.
        matrices: how many of them changed.
        drift: `sum E ||dW h||^2 / sum E ||W0 h||^2` over all of them, changed or not, with its interval.
    """

    name: str
    matrices: int
    drift: float
    interval: Interval


class ActivationDrift(Part):
    """Activation drift `E ||dW h||^2 / E ||W0 h||^2`, h the base's inputs to its linear layers.

    Both expectations are over the same tokens: of up to 32 documents or examples, spread evenly over the file, a
    stretch of each, 512 tokens in all; its first token is left out, which attention uses as a sink.

    Attributes:
        drift: over all linear layers of the blocks, `sum E ||dW h||^2 / sum E ||W0 h||^2`, changed or not.
        interval: 95 % percentile bootstrap interval, documents or examples resampled; so are all others.
        median: of the drifts of the matrices that changed; 0 if none did.
        roles, layers: the same sums over the matrices of one role, and of one layer.
        matrices: those that changed, in the base's order.
        unchanged: how many did not.
        not_covered: matrices that the update changes and that no linear layer of the loaded base has by itself, such as
            fused experts.
        stretch: most tokens of a document or example.
        units: how many of them; tokens: positions at which inputs were taken.
        each: the drift over all matrices of every unit, in the order of the file.
        resamples, seed: of the bootstrap.

    Source: arXiv 2605.28819, there the relative capability-conditioned drift of one matrix, over all tokens.
    """

    drift: float
    interval: Interval
    median: float
    median_interval: Interval
    roles: tuple[PooledDrift, ...]
    layers: tuple[PooledDrift, ...]
    matrices: tuple[MatrixDrift, ...]
    unchanged: int
    not_covered: tuple[str, ...] = ()
    stretch: int
    units: int
    tokens: int
    each: tuple[float, ...]
    resamples: int
    seed: int

    @model_validator(mode="after")
    def _of_the_matrices(self) -> ActivationDrift:
        """The median is that of the matrices, and there is a drift for every unit."""
        found = statistics.median([one.drift for one in self.matrices] or [0.0])
        if not math.isclose(self.median, found, rel_tol=1e-6, abs_tol=1e-12):
            raise ValueError(f"median is {self.median:g}, that of the matrices {found:g}")
        if len(self.each) != self.units:
            raise ValueError(f"there are {len(self.each)} drifts of {self.units} units")
        return self
