"""Claims on what is said to keep a model as it was: caps of alpha, LoRA beside other regularisers, diverse replies."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from assay.behaviour.intervals import weighted_mean
from assay.records import Scores
from assay.views import formats

from .differences import Arm, called, learned, lost, mann_whitney, paired, setting, unequal
from .kept import Kept, KeptRun, model_of
from .on_forgetting import rated
from .verdict import ABOVE, BELOW, Claim, Estimate, Finding, written

LL, IT = "arXiv 2405.09673", "arXiv 2607.23711"
RATES, CAPS, REGULARISED, DIVERSITY = "rates", "caps", "regularised", "diversity"


def past_the_threshold(kept: Kept) -> Sequence[Finding]:
    """How often a run with an update beyond its critical strength forgets more than one without (AUC)."""
    forgetting = dict[bool, list[float]]({True: [], False: []})
    runs = [run for name in (RATES, CAPS) for run in kept.done(name)]
    for run in runs:
        one, audit = lost(run.trained), run.audit
        if one is None or audit is None:
            continue
        known = [matrix.critical_multiplier for matrix in audit.matrices if matrix.critical_multiplier is not None]
        forgetting[min(known, default=math.inf) < 1].append(one.value)
    if not forgetting[True] or not forgetting[False]:
        return []
    what = f"{model_of(runs)}, headlines, 64 steps: runs with a matrix past it beside all others"
    return [Finding(what, f"{RATES}, {CAPS}", mann_whitney(forgetting[True], forgetting[False], "runs"))]


def capped(kept: Kept) -> Sequence[Finding]:
    """What LoRA with caps of alpha forgets, less the same without."""
    arms: dict[bool, Arm] = {True: {}, False: {}}
    for run in kept.done(CAPS):
        arms[any(name.startswith("method.alpha_pattern") for name in run.done.arm)][run.seed] = run
    less, score = (paired(arms[True], arms[False], measured) for measured in (lost, learned))
    if less is None or score is None:
        return []
    shares = [_share(arms[True][seed], arms[False][seed]) for seed in sorted(arms[True].keys() & arms[False].keys())]
    counts = [", ".join(str(run.audit.count) for run in arm.values() if run.audit) for arm in arms.values()]
    aside = f"Of what is forgotten without: {formats.listed(shares)}. Intruders: {counts[0]} and {counts[1]}. "
    aside += f"Score: {written(score, 'points')}"
    what = f"{setting(arms[True], model_of(arms[True].values()))}: LoRA r 1 at 0.003 with caps less without"
    return [Finding(what, CAPS, less, aside)]


def _share(ours: KeptRun, theirs: KeptRun) -> str:
    one, other = lost(ours.trained), lost(theirs.trained)
    return formats.share(one.value / other.value) if one is not None and other is not None else "not known"


def regularised(kept: Kept) -> Sequence[Finding]:
    """What LoRA forgets, less full tuning with weight decay or with dropout, where their scores are the same."""
    lora = rated(kept).get(("lora", 8, 3e-4), {})
    others: dict[str, Arm] = {}
    for run in kept.done(REGULARISED):
        dropout = run.done.arm.get("method.dropout")
        name = f"weight decay {run.done.arm['method.weight_decay']}" if dropout is None else f"dropout {dropout}"
        others.setdefault(name, {})[run.seed] = run
    found = []
    for name, other in others.items():
        less, score = (paired(lora, other, measured) for measured in (lost, learned))
        if less is not None and score is not None:
            what = f"{setting(other, model_of(other.values()))}: LoRA r 8 at 0.0003 less full at 3e-05 with {name}"
            found.append(
                Finding(what, f"{RATES}, {REGULARISED}", less, f"Score: {written(score, 'points')}", unequal(score))
            )
    return found


def diverse(kept: Kept) -> Sequence[Finding]:
    """Different replies to a prompt of LoRA, less those of full tuning at its score, over prompts."""
    found = []
    names = {"headlines.test": "the task's own prompts", "hh.prompts.test": "prompts of conversations"}
    for file, said in names.items():
        ours, theirs = (_replies(kept, file, arm) for arm in ("lora", "full"))
        if ours is None or theirs is None or ours.diversity is None or theirs.diversity is None:
            continue
        one, other = ours.diversity, theirs.diversity
        assert (one.prompts.digest, one.seed, one.samples) == (other.prompts.digest, other.seed, other.samples)
        pairs = zip(one.each, other.each, strict=True)
        less = np.array([mine.tuned.unique - yours.tuned.unique for mine, yours in pairs], dtype=float)
        estimate = Estimate(*weighted_mean(less, np.ones(len(less)), seed=0), f"{len(less)} prompts, seed 0")
        what = f"SmolLM2-135M-Instruct, headlines, 64 steps, seed 0, {said}: {called(('lora', 8, None))} at 0.0003 "
        what += f"less full at 3e-05, different replies of {one.samples}, {one.max_tokens} tokens each"
        base, mine, yours = (formats.number(value) for value in (one.base_unique, one.tuned_unique, other.tuned_unique))
        found.append(Finding(what, DIVERSITY, estimate, f"Base {base}, LoRA {mine}, full {yours}"))
    return found


def _replies(kept: Kept, file: str, arm: str) -> Scores | None:
    path = kept.root / DIVERSITY / f"{file}.{arm}.json"
    return Scores.read(path) if path.exists() else None


CLAIMS = (
    Claim(
        "An adapter past the critical strength forgets more",
        IT,
        "AUC .89",
        (0.5, math.inf),
        "AUC",
        "plans/rates-smollm2.toml, plans/caps-smollm2.toml",
        past_the_threshold,
    ),
    Claim(
        "A cap of alpha by layer cuts forgetting",
        IT,
        "-62 % on the most fragile model",
        BELOW,
        "nats",
        "plans/caps-smollm2.toml",
        capped,
    ),
    Claim(
        "LoRA regularises more than weight decay and dropout: at equal score it forgets less",
        LL,
        "it keeps more at equal learning",
        BELOW,
        "nats",
        "plans/regularised-smollm2.toml, plans/rates-smollm2.toml",
        regularised,
    ),
    Claim(
        "LoRA keeps generations more diverse",
        LL,
        "more unique strings of 50 samples",
        ABOVE,
        "replies",
        "plans/diversity.py, after plans/rates-smollm2.toml",
        diverse,
    ),
)
