"""The record of a sweep: what every run lost, beside what an audit found in it, and how the two go together."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, get_args

from assay.records.record import Interval, Part, Record, Source

Measure = Literal[
    "count",
    "energy_share",
    "relative_norm",
    "effective_rank",
    "update_sparsity",
    "spectral_imbalance",
    "off_principal_left",
    "off_principal_right",
    "spectral_drift",
    "above_noise_share",
    "divergence",
    "task_divergence",
    "activation_drift",
    "task_activation_drift",
]
MEASURES: tuple[Measure, ...] = get_args(Measure)


class SweptRun(Part):
    """One run of a sweep.

    Attributes:
        key: hash of its conditions and its arm: the name of its folder.
        method, arm, steps, seed: what it was.
        accuracy: task score, with its interval; None where no task was scored.
        forgetting: loss on text above the base's, nats a token, with its interval.
        count: intruders; `undecided` more are possible.
        energy_share: energy share of the intruders.
        relative_norm: `||dW||_F / ||W0||_F` over all matrices together.
        effective_rank: median effective rank of dW over the matrices that changed.
        update_sparsity, spectral_imbalance, off_principal_left, off_principal_right, spectral_drift,
            above_noise_share: totals of the audit; None where it was made before they were measured, or has none.
        divergence, task_divergence: KL from base to tuned, nats a token, on the text and after the task's prompts.
        activation_drift, task_activation_drift: over all linear layers of the blocks, on the text and the prompts.
        ruined: why the model is past use (worse at text than a uniform guess, one reply to everything); empty if it is
            not, or if that is not known.
    """

    key: str
    method: str
    arm: dict[str, Any]
    steps: int
    seed: int
    accuracy: float | None
    accuracy_interval: Interval | None
    forgetting: float
    interval: Interval
    count: int
    undecided: int
    energy_share: float | None
    relative_norm: float | None
    effective_rank: float | None
    update_sparsity: float | None = None
    spectral_imbalance: float | None = None
    off_principal_left: float | None = None
    off_principal_right: float | None = None
    spectral_drift: float | None = None
    above_noise_share: float | None = None
    divergence: float | None = None
    task_divergence: float | None = None
    activation_drift: float | None = None
    task_activation_drift: float | None = None
    ruined: str = ""


class Coefficient(Part):
    """Spearman's rank correlation of forgetting with one measure.

    Attributes:
        among: "all" the runs that are not ruined, those of one method among them, or "ruined too": every run.
        measure: with what.
        runs: how many runs; arms: how many arms they are of, 0 in older records.
        rho: the correlation; None where `why` says why there is none.
        interval: 95 % percentile bootstrap interval, arms resampled whole (in older records, runs); None with fewer
            than 5 arms, or where more than one resample in twenty has a measure without spread.
        given_norm: the partial correlation at equal relative norm, with its interval; None for the norm itself, and
            where it is not identified.
        why: why there is no value; unidentified: why there is none at equal norm.
    """

    among: str
    measure: Measure
    runs: int
    rho: float | None
    interval: Interval | None
    given_norm: float | None
    given_norm_interval: Interval | None
    why: str = ""
    arms: int = 0
    unidentified: str = ""


class Correlation(Record):
    """Correlation of forgetting with measures of the weights over the runs of a sweep.

    A correlation: the runs differ in learning rate and duration, which move everything at once.

    Attributes:
        base: the model that all runs began from.
        text: what forgetting is measured on; task: what was learned.
        k, eps, side: the audits' question.
        runs: every run, by method, learning rate, duration and seed.
        coefficients: of every measure that some run has; those of all runs that are not ruined, of every method with
            three or more of them, and of all runs where some are ruined.
        documents: of the text, over which the runs' intervals are; None in older records.
        base_loss: of the base on the text, nats a token; vocabulary: tokens that it tells apart; None if not known.
        resamples, seed: of the bootstrap.
        left_out: runs that have no audit or no score of a text.
    """

    KIND: ClassVar[str] = "correlation"

    kind: Literal["correlation"] = "correlation"
    schema_version: Literal[1] = 1
    base: Source
    text: Source
    task: Source | None
    k: int
    eps: tuple[float, ...]
    side: str
    runs: tuple[SweptRun, ...]
    coefficients: tuple[Coefficient, ...]
    base_loss: float | None = None
    documents: int | None = None
    vocabulary: int | None = None
    resamples: int
    seed: int
    left_out: int

    @property
    def overall(self) -> tuple[Coefficient, ...]:
        """The coefficients over all runs that are not ruined."""
        return tuple(one for one in self.coefficients if one.among == "all")
