"""The record of an advice: how far every matrix is from its threshold, and what follows for alpha, rank and scale."""

from __future__ import annotations

from typing import ClassVar, Literal

from assay.records.record import Interval, Part, Record, Source


class MatrixAdvice(Part):
    """One matrix of the base.

    Attributes:
        name, role, layer, shape: as in an audit.
        module: how PEFT's patterns name it.
        threshold: sigma_1 of an update at which its leading direction is first counted; None where there is no
            estimate. `threshold_bounds` are its two crossings.
        sigma: sigma_1 of the update, its scale included; None before training.
        multiplier: threshold / sigma: under 1, the update is past it.
        alpha: as it was, or is planned; cap: what it should not exceed; None where there is nothing to cap.
    """

    name: str
    role: str
    layer: int | None
    shape: tuple[int, int]
    module: str
    threshold: float | None
    threshold_bounds: tuple[float, float] | None
    sigma: float | None
    multiplier: float | None
    alpha: float | None
    cap: float | None


# What runs can be compared in.
RunTopic = Literal["rate", "rank", "alpha", "targets", "steps"]


class Counsel(Part):
    """One piece of advice.

    Attributes:
        topic: what it is about.
        says: the advice; evidence: what was found in this model, or in runs of it; source: where the rule is from.
        sure: how many comparisons of runs, or of checkpoints, decide it; empty where the weights alone do.
    """

    topic: Literal["alpha", "rank", "scale", "rate", "targets", "steps", "checkpoint"]
    says: str
    evidence: str
    source: str
    sure: str = ""


class Judged(Part):
    """A rule judged on comparisons of runs that it was not made from, over random halves of the runs.

    Attributes:
        rule: which.
        spoke: share of the halves in which it decided between two held-out runs at all.
        better, worse, trade, open: held-out comparisons in which what it takes is better, worse, traded (less forgotten
            for a lower score, or the other way round), or not told apart; means over the halves.
        right: better / (better + worse), mean over the halves that have any; None if none has.
        interval: 95 % of the halves.
    """

    rule: str
    spoke: float
    better: float
    worse: float
    trade: float
    open: float
    right: float | None
    interval: Interval | None


class Advice(Record):
    """Advice on a LoRA of a base, from the base alone or from an adapter that was trained on it.

    Attributes:
        base: the base; tuned: the adapter, None before training.
        rank, alpha, rslora: as they were, or are planned; rank and alpha are the medians over the adapter's modules.
        k, eps: of the count.
        estimator: of the threshold.
        alpha_pattern: the caps, and alpha where a module without one had another than `alpha`, as PEFT's `LoraConfig`
            takes them beside that alpha.
        counsels: the advice; runs: how many measured runs some of it is read off; checkpointed: of how many arms
            several checkpoints were scored.
        matrices: every matrix, in the base's order.
        seconds: wall time.
    """

    KIND: ClassVar[str] = "advice"

    kind: Literal["advice"] = "advice"
    schema_version: Literal[1] = 1
    base: Source
    tuned: Source | None
    rank: int
    alpha: float
    rslora: bool
    k: int
    eps: float
    estimator: str
    alpha_pattern: dict[str, float]
    counsels: tuple[Counsel, ...]
    runs: int = 0
    checkpointed: int = 0
    matrices: tuple[MatrixAdvice, ...]
    seconds: float

    @property
    def when(self) -> str:
        """The evidence that was there when it was given."""
        return "before training" if self.tuned is None else f"after training {self.tuned.name}"

    @property
    def nearest(self) -> list[MatrixAdvice]:
        """The matrices that have a threshold, those first that are furthest past it or whose alpha is capped most."""
        known = [one for one in self.matrices if one.threshold is not None]
        known.sort(key=lambda one: (one.cap or one.alpha or 0.0) / (one.alpha or 1.0))
        return sorted(known, key=lambda one: one.multiplier if one.multiplier is not None else 1.0)
