"""Write docs/rlhf.md from the records of the plans rlhf-*.toml: LoRA beside full tuning, and what RL did to weights.

`python scripts/rlhf.py` writes; with `--check` it says whether the page is old and exits 1. `--keep STUDY NAME` takes a
study's records over into `docs/records/rlhf/NAME` first. What is not there is *not run*.
"""

from __future__ import annotations

import gzip
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from generated import ROOT, write_or_check

from assay import views
from assay.records import Audit, Run, Scores
from assay.records.cautions import cautions
from assay.records.run import Cost
from assay.render import markdown

RECORDS = ROOT / "docs" / "records" / "rlhf"
PAGE = ROOT / "docs" / "rlhf.md"
NOT_RUN = "not run"
LAST = 10  # steps over which a policy's reward and divergence are averaged

ARMS = ("full", "lora r=16", "lora r=1")
PUBLISHED = """\
| PERL (arXiv 2403.10704v2), LoRA beside full | published |
| --- | --- |
| reward accuracy on harmless pairs, full / LoRA | 76.6 / 78.7 |
| reward model, peak memory of LoRA / full | 43 to 74 % |
| reward model, speed of LoRA / full | 1.15x to 1.9x |
| RL, peak memory of LoRA / full | 74 to 80 % |
| RL, speed of LoRA / full | 1.05x to 1.3x |

PERL's models are PaLM 2 of several sizes, trained to convergence on accelerators; ours has 135 million parameters, and
learned for 60 steps on a CPU. What can be compared is the direction, not the size.
"""
ABOUT = """\
# RLHF with LoRA, beside full tuning

Written by `python scripts/rlhf.py` from the records in `docs/records/rlhf`; the plans are `plans/rlhf-*.toml`. PERL's
claim is that a reward model and a policy trained with LoRA match full RLHF at a fraction of memory and time. No code
was published with it. Here both run on SmolLM2-135M-**Instruct**, whose weights were widened from 4 bits, in float32,
LoRA on the attention's projections as in PERL, on one CPU thread of a machine that did other work too: the times below
are worth their order, no more.

What the plans ask for (each can be stopped, and goes on):

- Reward models, 2 seeds: 60 steps of 2 pairs, cut to 48 tokens, from 360 short pairs of the harmless set of hh-rlhf;
  accuracy on 179 pairs that are held out. PERL uses the whole set.
- Policies: 60 steps of 2 prompts with 4 replies each, RLOO, beta .05. Replies are cut to 16 tokens (harmless; reward:
  the r = 16, seed 0 reward model; judge: a reward model from 181 other pairs) and to 4 (one-digit sums, right or
  wrong): a CPU forbids the 128 that people use.

*not run* is what there was no time for: a row says nothing until it is filled. No text of the pairs is shown or kept.
"""


@dataclass(frozen=True)
class Kept:
    """The records of one run of a study; None for what there is not."""

    run: Run
    scores: Scores | None
    audit: Audit | None

    @property
    def arm(self) -> str:
        """How the tables name it."""
        rank = self.run.arm.get("method.rank")
        return self.run.method if rank is None else f"{self.run.method} r={rank}"

    @property
    def seed(self) -> int:
        """Of the run."""
        return int(self.run.conditions["seed"] or 0)


def keep(study: Path, name: str) -> None:
    """Take over the records of a study's runs; audits are large, and packed."""
    for run in sorted(study.glob("*/model/run.json")):
        source, target = run.parent.parent, RECORDS / name / run.parent.parent.name
        target.mkdir(parents=True, exist_ok=True)
        (target / "run.json").write_bytes(run.read_bytes())
        if (source / "scores.json").exists():
            (target / "scores.json").write_bytes((source / "scores.json").read_bytes())
        if (source / "audit.json").exists():
            packed = gzip.compress((source / "audit.json").read_bytes(), mtime=0)
            (target / "audit.json.gz").write_bytes(packed)


def kept(name: str) -> list[Kept]:
    """The records of a study."""
    found = []
    for folder in sorted((RECORDS / name).glob("*/run.json")):
        scores, audit = folder.parent / "scores.json", folder.parent / "audit.json.gz"
        found.append(
            Kept(
                Run.read(folder),
                Scores.read(scores) if scores.exists() else None,
                Audit.model_validate_json(gzip.decompress(audit.read_bytes())) if audit.exists() else None,
            )
        )
    return found


def number(value: float | None, digits: int = 3) -> str:
    """A number, or a dash."""
    return "-" if value is None else f"{value:.{digits}f}"


def within(value: float, interval: tuple[float, float]) -> str:
    """A number with its interval."""
    return f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"


def each(runs: Sequence[Kept], arm: str, say: Callable[[Kept], str]) -> str:
    """What is said of the seeds of an arm."""
    found = sorted((one for one in runs if one.arm == arm), key=lambda one: one.seed)
    return "; ".join(say(one) for one in found) if found else NOT_RUN


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return markdown.table(views.table(header, rows)) + "\n"


def cost(runs: Sequence[Kept], arm: str) -> tuple[str, str]:
    """Peak memory in per cent of full tuning's, and speed as a multiple of it; medians over seeds."""
    full, own = ([one.run.cost for one in runs if one.arm == name] for name in ("full", arm))
    if not own:
        return NOT_RUN, NOT_RUN
    step, steps = (statistics.median(cost.step_seconds for cost in costs) if costs else None for costs in (own, full))
    peak, peaks = (median_peak(costs) for costs in (own, full))
    share = "" if not peak or not peaks else f"{100 * peak / peaks:.0f} %, "
    speed = "" if not step or not steps else f"{steps / step:.2f}x, "
    return f"{share}{number(peak and peak / 1e6, 0)} MB", f"{speed}{number(step, 1)} s a step"


def median_peak(costs: Sequence[Cost]) -> float | None:
    """Most memory above the start, median over seeds; None where it was not measured."""
    peaks = [cost.peak_bytes for cost in costs if cost.peak_bytes]
    return statistics.median(peaks) if peaks else None


def rewards(runs: Sequence[Kept]) -> str:
    """The table of the reward models."""

    def judged(one: Kept) -> str:
        found = one.scores and one.scores.reward
        return within(found.accuracy, found.interval) if found else NOT_RUN

    def margin(one: Kept) -> str:
        found = one.scores and one.scores.reward
        return f"{found.margin:+.3f}" if found else NOT_RUN

    def calibrated(one: Kept) -> str:
        found = one.scores and one.scores.reward
        return f"{found.log_loss:.3f}, {found.calibration_error:.3f}" if found else NOT_RUN

    rows = [
        [
            arm,
            each(runs, arm, judged),
            each(runs, arm, margin),
            each(runs, arm, calibrated),
            *cost(runs, arm),
            each(runs, arm, lambda one: f"{one.run.trained.parameters:,}").split("; ")[0],
        ]
        for arm in ARMS
    ]
    header = ["arm", "accuracy (95 %), each seed", "margin", "log loss, calibration error", "peak memory", "speed"]
    return table([*header, "parameters"], rows)


def policies(runs: Sequence[Kept]) -> str:
    """The table of the policies."""

    def won(one: Kept) -> str:
        found = one.scores and one.scores.wins
        return f"{within(found.rate, found.interval)}, n {found.examples}, ties {found.ties}" if found else NOT_RUN

    def judged(one: Kept) -> str:
        found = one.scores and one.scores.wins
        return f"{found.base_reward:.3f} to {found.tuned_reward:.3f}" if found else NOT_RUN

    def measured(name: str, one: Kept) -> tuple[float, float]:
        values = one.run.measured[name]
        return statistics.fmean(values[:LAST]), statistics.fmean(values[-LAST:])

    def collapsed(one: Kept) -> str:
        found = one.run.policy
        return NOT_RUN if found is None else "no" if found.collapsed is None else f"from step {found.collapsed}"

    def reference(one: Kept) -> str:
        found = one.run.policy
        if found is None:
            return NOT_RUN
        size = f", {found.reference_bytes / 1e6:,.0f} MB" if found.reference_bytes else ""
        state = {True: ", unchanged", False: ", CHANGED", None: ""}[found.reference_unchanged]
        return f"{found.reference}{size}{state}"

    rows = [
        [
            arm,
            each(runs, arm, lambda one: "{:.3f} to {:.3f}".format(*measured("reward", one))),
            each(runs, arm, lambda one: f"{measured('kl', one)[1]:.4f}"),
            each(runs, arm, judged),
            each(runs, arm, won),
            each(runs, arm, collapsed),
            *cost(runs, arm),
            each(runs, arm, reference),
        ]
        for arm in ARMS
    ]
    header = ["arm", f"mean reward, first and last {LAST} steps", "KL, nats a token", "held-out reward, base to tuned"]
    return table([*header, "win rate (95 %)", "collapse", "peak memory", "speed", "reference"], rows)


def audited(studies: dict[str, Sequence[Kept]]) -> str:
    """The table of the audits."""
    rows = []
    for name, runs in studies.items():
        for one in sorted(runs, key=lambda one: (ARMS.index(one.arm) if one.arm in ARMS else 9, one.seed)):
            found, lost = one.audit, one.scores and one.scores.forgetting
            row = [name, one.arm, str(one.seed)]
            if found is None:
                row += [NOT_RUN] * 6
            else:
                changed = [matrix for matrix in found.matrices if matrix.update_norm > 0]
                effective = [matrix.effective_rank for matrix in changed if matrix.effective_rank is not None]
                stable = [matrix.stable_rank for matrix in changed if matrix.stable_rank is not None]
                energy = [matrix.energy_rank for matrix in changed if matrix.energy_rank is not None]
                row += [
                    number(found.relative_norm, 5),
                    f"{found.count} of {sum(len(matrix.directions) for matrix in found.matrices)}",
                    number(statistics.median(effective), 1) if effective else "-",
                    number(statistics.median(stable), 1) if stable else "-",
                    number(statistics.median(energy), 0) if energy else "-",
                    number(found.energy_share, 4),
                ]
            row.append(f"{lost.mean:+.4f} ({lost.interval[0]:+.4f} to {lost.interval[1]:+.4f})" if lost else NOT_RUN)
            rows.append(row)
    header = ["what", "arm", "seed", "relative norm", "intruders", "effective rank", "stable rank", "90 % rank"]
    return table([*header, "energy share", "forgetting on prose, nats a token (95 %)"], rows)


def page() -> str:
    """The whole page."""
    names = {"reward model": "reward", "RL, harmless": "harmless", "RL, sums": "sums", "supervised, sums": "supervised"}
    studies = {title: kept(name) for title, name in names.items()}
    done = ", ".join(f"{title} {len(runs)}" for title, runs in studies.items())
    parts = [
        ABOUT,
        f"Runs whose records are kept: {done}.\n",
        "## Reward models\n",
        rewards(studies["reward model"]),
        "Peak memory and speed are of the training run, in shares and multiples of full tuning's; medians of seeds.\n",
        "## Policies, learned reward\n",
        policies(studies["RL, harmless"]),
        "## Policies, verified reward\n",
        policies(studies["RL, sums"]),
        "A win rate counts the prompts at which the held-out judge rewards the policy's reply more than the\n"
        "reference's, equal ones half.\n",
        "## PERL's figures\n",
        PUBLISHED,
        "Against these claims, and what weakens the numbers above:\n",
        against_perl(studies),
        "## What it did to the weights\n",
        audited(studies),
        "Intruders are of the ten leading left directions of every changed matrix (eps .5). Ranks are of the update,\n"
        "medians over the changed matrices; they do not depend on its size. A reward model's prose is predicted by\n"
        "its body under the base's output layer.\n",
        "## RL against supervised tuning\n",
        against(studies["RL, sums"], studies["supervised, sums"]),
    ]
    return "\n".join(parts)


def against(learned: Sequence[Kept], supervised: Sequence[Kept]) -> str:
    """RL beside supervised tuning on the same sums: how far each went, what it learned, and what it forgot."""
    rows = []
    for arm in ARMS:
        for name, runs in (("RL", learned), ("supervised", supervised)):
            one = next((one for one in runs if one.arm == arm), None)
            lost = one.scores.forgetting if one and one.scores else None
            norm = one.audit.relative_norm if one and one.audit else None
            wins = one.scores.wins if one and one.scores else None
            rows.append(
                [
                    arm,
                    name,
                    NOT_RUN if norm is None else f"{norm:.5f}",
                    NOT_RUN if wins is None else f"{wins.base_reward:.3f} to {wins.tuned_reward:.3f}",
                    NOT_RUN if lost is None else signed(lost.mean, lost.interval),
                ]
            )
    header = ["arm", "learned by", "relative norm", "sums right, base to tuned", "forgetting (95 %)"]
    said = (
        "Whether RL forgets less than supervised tuning at equal norm, or at equal score: *can't tell*. The updates "
        "differ in both, and forgetting is no straight line of the norm, so that it is not divided by it; the way back "
        "from each model to its base (`assay dial`) would tell.\n"
    )
    return table(header, rows) + "\n" + said


def signed(value: float, interval: tuple[float, float]) -> str:
    """A difference with its interval."""
    return f"{value:+.4f} ({interval[0]:+.4f} to {interval[1]:+.4f})"


def speed_of(runs: Sequence[Kept], arm: str) -> float | None:
    """Speed as a multiple of full tuning's, medians over seeds; None where one of the two is not there."""
    own, full = ([one.run.cost.step_seconds for one in runs if one.arm == name] for name in (arm, "full"))
    return statistics.median(full) / statistics.median(own) if own and full else None


def against_perl(studies: dict[str, Sequence[Kept]]) -> str:
    """Where the numbers above go against the claims that they stand beside."""
    said = []
    slow = {name: speed for name in ("RL, harmless", "RL, sums") if (speed := speed_of(studies[name], "lora r=16"))}
    if slow and max(slow.values()) < 1:
        values = " and ".join(f"{speed:.2f}x ({name})" for name, speed in slow.items())
        said.append(
            f"RL with LoRA of rank 16 was *slower* than full tuning here, {values}, where PERL has 1.05x to 1.3x."
        )
    coins = [
        f"{one.arm}, seed {one.seed} {within(found.accuracy, found.interval)}"
        for one in sorted(studies["reward model"], key=lambda one: (ARMS.index(one.arm), one.seed))
        if one.scores is not None and (found := one.scores.reward) is not None and found.interval[0] <= 0.5
    ]
    if coins:
        said.append(
            f"Reward models that are not shown to judge better than a coin: {'; '.join(coins)}. The learned reward "
            "above is that of LoRA of rank 16, seed 0: what a policy learned from it is no evidence on RLHF."
        )
    few = {
        caution
        for runs in studies.values()
        for one in runs
        if one.scores is not None
        for caution in cautions(one.scores)
    }
    return "\n".join(f"- {words}" for words in (*said, *sorted(few))) + "\n"


def main() -> int:
    """Take records over, write the page, or check it."""
    if sys.argv[1:2] == ["--keep"]:
        keep(Path(sys.argv[2]), sys.argv[3])
    return write_or_check({PAGE: page()}, "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
