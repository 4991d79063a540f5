"""Runs, scores and dials with plausible values, made without any model: what the tests of joined pages read."""

from __future__ import annotations

import random

import numpy as np

from assay.behaviour.intervals import mcnemar, proportion, weighted_mean
from assay.records import (
    Dial,
    DialPoint,
    Difference,
    Diversity,
    Forgetting,
    HarnessScore,
    PromptDiversity,
    Provenance,
    Reading,
    Run,
    Scores,
    Source,
    TaskScore,
    Unique,
)
from assay.records.conditions import pair_key, pool_key
from assay.records.run import Cost, Examples, Trained
from assay.records.scores import DocumentLoss
from assay.views.arms import arms
from assay.views.registry import Entry

BASE = Source(name="smollm2-135m", digest="xxh3-128:ba5e")
CONDITIONS = {"base": BASE.digest, "data": "xxh3-128:da7a", "training.steps": 40, "optimizer": "adamw", "seed": 0}
PROVENANCE = Provenance.of(("torch",), {}, 0)


def model(name: str) -> Source:
    """A tuned model, named by its files."""
    return Source(name=name, digest=f"xxh3-128:{name}")


def run(name: str, method: str = "full", parameters: int = 106_168_320, **conditions) -> Run:
    rng = random.Random(name)
    given = {**CONDITIONS, **conditions}
    return Run(
        provenance=PROVENANCE,
        objective="causal-lm",
        method=method,
        changes="matrices",
        base=BASE,
        data=Source(name="headlines.train.jsonl", digest="xxh3-128:da7a"),
        labels=(),
        conditions=given,
        pair_key=pair_key(given),
        pool_key=pool_key(given),
        arm={"method.name": method, "method.lr": 1e-3, **({"method.rank": 8} if method == "lora" else {})},
        initialisation="A Kaiming-uniform; B zero" if method == "lora" else "",
        examples=Examples(count=2000, tokens=46992, targets=4000, truncated=2, dropped_tokens=12),
        trained=Trained(parameters=parameters, stored=parameters, stored_bytes=4 * parameters, tensors={}, frozen={}),
        losses=tuple(8 * 0.9**step + rng.random() / 4 for step in range(40)),
        batch_hashes=tuple(f"{step:x}" for step in range(40)),
        weights_digest=model(name).digest,
        cost=Cost(
            seconds=120.0,
            step_seconds=2.91,
            tokens_per_second=61.0,
            start_bytes=240_000_000,
            peak_bytes=1_838_534_656,
            device="cpu",
            threads=1,
        ),
        notes=("A note on the run.",),
    )


def task_score(right: int, base_right: int | None = 150, examples: int = 300, majority: float = 0.52) -> TaskScore:
    """The base answers the first examples rightly, and the tuned model the last ones."""
    truth = (1,) * examples
    tuned = tuple(int(place >= examples - right) for place in range(examples))
    paired = {
        "base_accuracy": None,
        "base_interval": None,
        "difference": None,
        "difference_interval": None,
        "only_base": None,
        "only_tuned": None,
        "p_value": None,
        "base_choices": None,
    }
    if base_right is not None:
        base = tuple(int(place < base_right) for place in range(examples))
        gain = np.array(tuned, dtype=float) - np.array(base)
        difference, interval = weighted_mean(gain, np.ones(examples), 0)
        only = int((gain < 0).sum()), int((gain > 0).sum())
        paired = {
            "base_accuracy": base_right / examples,
            "base_interval": proportion(base_right, examples),
            "difference": difference,
            "difference_interval": interval,
            "only_base": only[0],
            "only_tuned": only[1],
            "p_value": mcnemar(*only),
            "base_choices": base,
        }
    return TaskScore(
        task=Source(name="headlines.test.jsonl", digest="xxh3-128:7e57"),
        how="answer likelihood",
        examples=examples,
        truncated=0,
        answers=(" no", " yes"),
        majority=majority,
        tuned_accuracy=right / examples,
        tuned_interval=proportion(right, examples),
        truth=truth,
        tuned_choices=tuned,
        **paired,
    )


def forgetting(mean: float, spread: float = 0.01, documents: int = 24) -> Forgetting:
    """Losses whose differences lie around `mean` nats a token."""
    rng = random.Random(0)
    noise = [rng.uniform(-spread, spread) for _ in range(documents)]
    losses = tuple(
        DocumentLoss(tokens=190, bytes=800, base=190 * 3.4, tuned=190 * (3.4 + mean + one - sum(noise) / documents))
        for one in noise
    )
    tokens = np.full(documents, 190.0)
    found, interval = weighted_mean(np.array([one.tuned - one.base for one in losses]), tokens, 0)
    return Forgetting(
        text=Source(name="prose.jsonl", digest="xxh3-128:7e87"),
        mean=found,
        interval=interval,
        document_mean=found,
        base_loss=3.4,
        tuned_loss=3.4 + found,
        base_bits_per_byte=1.165,
        tuned_bits_per_byte=1.165 * (3.4 + found) / 3.4,
        tokens=190 * documents,
        bytes=800 * documents,
        unscored_tokens=documents,
        window=1024,
        windows=documents,
        divided=0,
        documents=losses,
        resamples=9_999,
        seed=0,
    )


def diversity(shift: int, checked: bool = True, prompts: int = 20) -> Diversity:
    """Samples of which the tuned model's are `shift` more, give or take one, of 50."""
    parts = {"passed": 6, "unique_passed": 5} if checked else {}
    each = tuple(
        PromptDiversity(
            base=Unique(unique=40, **parts, **({"unique_failed": 35} if checked else {})),
            tuned=Unique(unique=unique, **parts, **({"unique_failed": unique - 5} if checked else {})),
        )
        for unique in (40 + shift + (-1) ** number for number in range(prompts))
    )
    gains = np.array([one.tuned.unique - one.base.unique for one in each], dtype=float)
    difference, interval = weighted_mean(gains, np.ones(prompts), 0)
    return Diversity(
        prompts=Source(name="questions.jsonl", digest="xxh3-128:9e57"),
        samples=50,
        temperature=1.0,
        max_tokens=64,
        chat=True,
        base_unique=40.0,
        tuned_unique=40.0 + difference,
        difference=difference,
        interval=interval,
        base_passed=0.12 if checked else None,
        tuned_passed=0.12 if checked else None,
        each=each,
        resamples=9_999,
        seed=0,
    )


def harness_score(metric: str, gained: int, higher_is_better: bool = True, documents: int = 100) -> HarnessScore:
    """The base gets half of the documents, the tuned model `gained` more."""
    base = np.array([float(number % 2) for number in range(documents)])
    tuned = base.copy()
    tuned[0 : 2 * gained : 2] = 1.0
    difference, interval = weighted_mean(tuned - base, np.ones(documents), 0)
    return HarnessScore(
        task="hellaswag",
        version="1.0",
        filter="none",
        few_shot=0,
        metric=metric,
        higher_is_better=higher_is_better,
        base=float(base.mean()),
        tuned=float(tuned.mean()),
        difference=difference,
        interval=interval,
        p_value=mcnemar(0, gained),
        documents="d0c5",
        base_values=tuple(base.tolist()),
        tuned_values=tuple(tuned.tolist()),
        resamples=9_999,
        seed=0,
    )


def scores(name: str, task: TaskScore | None = None, lost: Forgetting | None = None, **parts) -> Scores:
    known = {"base": BASE, "tuned": model(name), "forgetting": lost, "task": task, "seconds": 9.0}
    return Scores(provenance=PROVENANCE, **{**known, **parts})


def dial(name: str, norm: float = 0.005, lost: float = 0.1, at: tuple[float, ...] = (0.5, 1, 2, 4)) -> Dial:
    """A dial whose tuned update loses `lost` times the square of x, and whose random one nearly nothing."""
    points = tuple(
        DialPoint(
            path=path,
            x=x,
            relative_norm=norm * x,
            energy=x**2,
            count=round(x * 3) if path == "size" else 1,
            undecided=1,
            energy_share=min(0.03 * x, 1.0),
            loss=Reading(value=3.4 + found, from_base=Difference(mean=found, interval=(found - 0.01, found + 0.01))),
        )
        for path in ("size", "random-update")
        for x in at
        for found in [lost * x**2 if path == "size" else 0.001 * x]
    )
    return Dial(
        provenance=PROVENANCE,
        base=BASE,
        tuned=model(name),
        by="size",
        text=Source(name="prose.jsonl", digest="xxh3-128:7e87"),
        tokens=4560,
        documents=12,
        base_loss=3.4,
        matrices=14,
        of_matrices=210,
        directions=140,
        k=10,
        eps=0.5,
        side="left",
        points=points,
        seconds=40.0,
    )


def entries(records: list) -> list[Entry]:
    """Records of one kind as their view is given them."""
    found = arms(records)
    owned = [(arm, record) for arm in found for record in arm.records]
    return [Entry(record, arm, place, tuple(found)) for place, (arm, record) in enumerate(owned, start=1)]
