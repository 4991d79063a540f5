"""Advice read off measured runs: comparisons of two runs that differ in one setting, and a check on held-out runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np

from assay.records.advice import Counsel, Judged, RunTopic
from assay.records.correlation import SweptRun

Outcome = Literal["better", "worse", "trade", "can't tell"]
_KEYS: dict[RunTopic, str] = {
    "rate": "method.lr",
    "rank": "method.rank",
    "alpha": "method.alpha",
    "targets": "method.targets",
    "steps": "steps",
}
# What follows from other settings, or is no choice.
_DERIVED = ("method.scale", "method.name")
SPLITS = 400
FEWEST = 2  # decided comparisons: one says what one pair of runs did
_SOURCE = "comparisons of two runs that differ in it alone"


@dataclass(frozen=True)
class Pair:
    """Two runs of one method and seed that differ in one setting alone (and in what follows from it)."""

    topic: RunTopic
    one: SweptRun
    other: SweptRun

    @property
    def outcome(self) -> Outcome:
        """Of the first beside the second.

        Better: it forgets less and its score is not shown lower, or its score is higher and it is not shown to forget
        more; shown where 95 % intervals do not overlap. Trade: one forgets less, the other scores higher. A ruined
        model is worse than one that is not.
        """
        if bool(self.one.ruined) != bool(self.other.ruined):
            return "worse" if self.one.ruined else "better"
        kept, learned = -_shown(self.one.interval, self.other.interval), 0
        if self.one.accuracy_interval is not None and self.other.accuracy_interval is not None:
            learned = _shown(self.one.accuracy_interval, self.other.accuracy_interval)
        if kept * learned < 0:
            return "trade"
        return "better" if kept + learned > 0 else "worse" if kept + learned < 0 else "can't tell"

    @property
    def turned(self) -> Pair:
        """Pair with the second run first."""
        return Pair(self.topic, self.other, self.one)


def _shown(one: tuple[float, float], other: tuple[float, float]) -> int:
    """1 where the first is shown to be larger, -1 where smaller, 0 where the intervals overlap."""
    return int(one[0] > other[1]) - int(one[1] < other[0])


def _value(run: SweptRun, topic: RunTopic) -> Any:
    return run.steps if topic == "steps" else run.arm.get(_KEYS[topic])


def _takes(topic: RunTopic, value: Any) -> Callable[[SweptRun], bool]:
    return lambda run: bool(_value(run, topic) == value)


def pairs_of(runs: Sequence[SweptRun]) -> Iterator[Pair]:
    """Every two runs with a task score that differ in one setting alone; both ruined say nothing."""
    known = [run for run in runs if run.accuracy_interval is not None]
    for one, other in combinations(known, 2):
        if one.method != other.method or one.seed != other.seed or (one.ruined and other.ruined):
            continue
        first, second = ({**run.arm, "steps": run.steps} for run in (one, other))
        differ = [key for key in first.keys() | second.keys() if first.get(key) != second.get(key)]
        topics = [topic for topic, key in _KEYS.items() if key in differ]
        if len(topics) == 1 and set(differ) <= {_KEYS[topics[0]], *_DERIVED}:
            yield Pair(topics[0], one, other)


def counsels_of(runs: Sequence[SweptRun]) -> list[Counsel]:
    """One piece of advice a setting, for every method whose runs show one; none where they do not.

    A value is advised that is better than every other one of that method, in two comparisons or more, worse in none and
    traded in none: which side of a trade to take is not for the runs to say.

    Example:
        >>> counsels_of(())
        []
    """
    found = []
    for method, topic, pairs in _by_setting(runs):
        value = _advised(pairs)
        if value is None:
            continue
        ours = _beside(pairs, _takes(topic, value))
        better, seeds = sum(pair.outcome == "better" for pair in ours), len({pair.one.seed for pair in ours})
        others = sorted({_value(pair.other, topic) for pair in ours}, key=str)
        found.append(
            Counsel(
                topic=topic,
                says=f"For {method} take {topic} {value}, not {' or '.join(map(str, others))}.",
                evidence=f"better in {better} of {len(ours)} comparisons with otherwise equal runs, worse in none",
                source=_SOURCE,
                sure=f"{better} of {len(ours)} decided, {seeds} seed{'' if seeds == 1 else 's'}",
            )
        )
    return found


def _by_setting(runs: Sequence[SweptRun]) -> Iterator[tuple[str, RunTopic, list[Pair]]]:
    pairs = list(pairs_of(runs))
    for method in dict.fromkeys(run.method for run in runs):
        for topic in _KEYS:
            if ours := [pair for pair in pairs if pair.topic == topic and pair.one.method == method]:
                yield method, topic, ours


def _beside(pairs: Sequence[Pair], fits: Callable[[SweptRun], bool]) -> list[Pair]:
    """The pairs of which one run alone fits, with that one first."""
    turned = [pair if fits(pair.one) else pair.turned for pair in pairs]
    return [pair for pair in turned if fits(pair.one) and not fits(pair.other)]


def _advised(pairs: Sequence[Pair]) -> Any:
    """The value that is better than every other one, twice or more, and never worse or traded; None without one."""
    topic = pairs[0].topic
    values = list(dict.fromkeys(_value(run, topic) for pair in pairs for run in (pair.one, pair.other)))
    for value in values:
        ours = _beside(pairs, _takes(topic, value))
        beaten = [_value(pair.other, topic) for pair in ours if pair.outcome == "better"]
        lost = any(pair.outcome in ("worse", "trade") for pair in ours)
        if not lost and len(set(beaten)) == len(values) - 1 and len(beaten) >= FEWEST:
            return value
    return None


def held_out(runs: Sequence[SweptRun], seed: int = 0) -> tuple[Judged, ...]:
    """Advice made from half of the runs, judged on the comparisons within the other half, beside rules of thumb.

    Runs are split at random, many times. A rule is judged on the held-out pairs that it decides: one run does as it
    says, the other does not. Arms have runs on both sides: this says whether advice holds for more runs of this base
    and task, not for others.

    Args:
        runs: of one base, task and text.
        seed: of the splits.
    """
    full = {_value(run, "rate") for run in runs if run.method == "full"}
    rules: dict[str, tuple[RunTopic, Callable[[SweptRun], bool]]] = {
        "alpha = 2r": ("rank", lambda run: _value(run, "alpha") == 2 * (_value(run, "rank") or 0)),
        "r = 16": ("rank", lambda run: _value(run, "rank") == 16),
    }
    if len(full) == 1:
        rate = 10 * full.pop()
        rules["ten times full's rate"] = ("rate", lambda run: abs(_value(run, "rate") / rate - 1) < 0.01)
    topics = list(dict.fromkeys(topic for _, topic, _ in _by_setting(runs)))
    names = ("this advice", *(f"this advice, {topic}" for topic in topics), *rules)
    tables: dict[str, list[dict[Outcome, int]]] = {name: [] for name in names}
    rng = np.random.default_rng(seed)
    for _ in range(SPLITS):
        order = [runs[place] for place in rng.permutation(len(runs))]
        half, rest = order[: len(runs) // 2], order[len(runs) // 2 :]
        judged = list(_by_setting(rest))
        known = {(method, topic): _advised(pairs) for method, topic, pairs in _by_setting(half)}
        ours: list[Pair] = []
        for method, topic, pairs in judged:
            if (value := known.get((method, topic))) is not None:
                ours += _beside(pairs, _takes(topic, value))
        tables["this advice"].append(_counts(ours))
        for topic in topics:
            tables[f"this advice, {topic}"].append(_counts([pair for pair in ours if pair.topic == topic]))
        for name, (topic, fits) in rules.items():
            lora = [pair for method, about, pairs in judged if method != "full" and about == topic for pair in pairs]
            tables[name].append(_counts(_beside(lora, fits)))
    return tuple(_joined(name, counts) for name, counts in tables.items())


def _counts(pairs: Sequence[Pair]) -> dict[Outcome, int]:
    outcomes = [pair.outcome for pair in pairs]
    return {name: outcomes.count(name) for name in ("better", "worse", "trade", "can't tell")}


def _joined(name: str, splits: Sequence[dict[Outcome, int]]) -> Judged:
    """A rule over all splits: mean outcomes, and the share of decided pairs that it has right with its spread."""
    shares = [one["better"] / (one["better"] + one["worse"]) for one in splits if one["better"] + one["worse"]]
    total = {outcome: sum(one[outcome] for one in splits) / len(splits) for outcome in splits[0]}
    low, high = np.quantile(shares, (0.025, 0.975)) if shares else (0.0, 1.0)
    return Judged(
        rule=name,
        spoke=sum(any(one.values()) for one in splits) / len(splits),
        better=total["better"],
        worse=total["worse"],
        trade=total["trade"],
        open=total["can't tell"],
        right=float(np.mean(shares)) if shares else None,
        interval=(float(low), float(high)) if shares else None,
    )
