"""Records that are kept under docs/records: read as runs, and taken over from the folder of a study."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from assay.records import Audit, Continual, Correlation, Curves, Dial, Repair, Run, Scores, Study, StudyRun
from assay.records.record import write_bytes, write_text
from assay.records.similarity import Similarity
from assay.studies.arms import Trained
from assay.studies.continual import continual
from assay.studies.correlation import correlate
from assay.studies.curves import curves
from assay.studies.run import state_of

RECORDS = Path(__file__).parent.parent.parent / "docs" / "records"
MODELS = {
    "minilm-l6": "all-MiniLM-L6-v2",
    "minilm-l6-masked": "all-MiniLM-L6-v2 with a language head",
    "smollm2-135m": "SmolLM2-135M-Instruct",
}
# Sweeps over rates, by the name of their records: their plans.
SWEEPS = {
    "sweep": ("plans/sweep-smollm2.toml", "plans/sweep-smollm2-again.toml"),
    "rates": ("plans/rates-smollm2.toml",),
}
# The models that were repaired.
REPAIRED = {
    "smollm2": "SmolLM2-135M-Instruct, headlines, 64 steps",
    "smollm2-prose": "SmolLM2-135M-Instruct, headlines, 64 steps, read on 100 documents",
    "minilm": "all-MiniLM-L6-v2, sarcasm, 120 steps",
}
# What the runs of RLHF learned, and from what.
TAUGHT = {
    "rlhf/reward": "reward model of harmless replies",
    "rlhf/harmless": "policy, learned reward of harmless replies",
    "rlhf/sums": "policy, verified sums",
    "rlhf/supervised": "supervised, sums",
}


@dataclass(frozen=True)
class KeptRun:
    """One run of a study with its own records.

    Attributes:
        home: its folder under the records.
        entry: what the study says of it; None where no record of the study is kept.
        run, scores: None where they are not there.
    """

    home: Path
    entry: StudyRun | None
    run: Run | None
    scores: Scores | None

    @cached_property
    def audit(self) -> Audit | None:
        """What its audit found, which is kept packed; None where there is none."""
        packed = self.home / "audit.json.gz"
        return Audit.model_validate_json(gzip.decompress(packed.read_bytes())) if packed.exists() else None

    @property
    def task(self) -> str:
        """Which of the plan's tasks."""
        return self.entry.task if self.entry else self.done.data.name.partition(".")[0]

    @property
    def method(self) -> str:
        """The method's name."""
        return self.entry.method if self.entry else self.done.method

    @property
    def seed(self) -> int:
        """Of the run."""
        return self.entry.seed if self.entry else int(self.done.conditions["seed"] or 0)

    @property
    def done(self) -> Run:
        """The record of its training, which only what was not run lacks."""
        assert self.run is not None, self.home
        return self.run

    @property
    def trained(self) -> Trained:
        """As a study joins it with others."""
        steps = int(self.done.conditions["training.steps"] or 0)
        return Trained(self.task, self.method, self.done.arm, steps, self.seed, self.done, self.scores, self.audit)


@dataclass(frozen=True)
class Kept:
    """The folder of kept records; what is not in it reads as None, or as no runs.

    Attributes:
        root: the folder.
    """

    root: Path = RECORDS
    _read: dict[str, list[KeptRun]] = field(default_factory=dict)

    def study(self, name: str) -> Study | None:
        """What a study says of all of its runs."""
        path = self.root / name / "study.json"
        return Study.read(path) if path.exists() else None

    def runs(self, name: str) -> list[KeptRun]:
        """The runs of a study, planned ones that are not done among them where the study's own record is kept."""
        if name not in self._read:
            study, home = self.study(name), self.root / name
            folders = sorted(path.parent for path in home.glob("*/run.json"))
            known = [(home / run.key, run) for run in study.runs] if study else [(one, None) for one in folders]
            self._read[name] = [_read(folder, entry) for folder, entry in known]
        return self._read[name]

    def done(self, name: str) -> list[KeptRun]:
        """The runs that were trained."""
        return [one for one in self.runs(name) if one.run is not None]

    @cached_property
    def sweeps(self) -> dict[str, Correlation]:
        """Forgetting beside what audits and scores found, over the runs of every sweep, by its name."""
        paths = {name: self.root / name / "correlation.json" for name in SWEEPS}
        return {name: Correlation.read(path) for name, path in paths.items() if path.exists()}

    @cached_property
    def curves(self) -> Curves | None:
        """Learning against forgetting over durations."""
        path = self.root / "sweep" / "curves.json"
        return Curves.read(path) if path.exists() else None

    @cached_property
    def continual(self) -> Continual | None:
        """Tasks in a row."""
        path = self.root / "continual" / "continual.json"
        return Continual.read(path) if path.exists() else None

    @cached_property
    def thresholds(self) -> list[dict[str, Any]]:
        """The cases of the benchmark of critical strength, which lies beside the docs."""
        path = self.root.parent.parent / "benchmarks" / "records" / "threshold.json"
        return list(json.loads(path.read_text(encoding="utf8"))["rows"]) if path.exists() else []

    @cached_property
    def truncated(self) -> dict[str, list[Dial]]:
        """Updates read along their first directions, one a seed, by arm."""
        return {arm: [Dial.read(path) for path in paths] for arm, paths in self._directions("dial").items()}

    @cached_property
    def similarities(self) -> dict[str, list[Similarity]]:
        """Updates of every two seeds beside each other, by arm."""
        return {arm: [Similarity.read(path) for path in paths] for arm, paths in self._directions("similarity").items()}

    def _directions(self, kind: str) -> dict[str, list[Path]]:
        """Records of the first directions of updates, by arm: `ARM.SEED.dial.json`, `ARM.SEED.SEED.similarity.json`."""
        found: dict[str, list[Path]] = {}
        for path in sorted((self.root / "directions").glob(f"*.{kind}.json")):
            found.setdefault(path.name.partition(".")[0], []).append(path)
        return dict(sorted(found.items(), key=lambda item: int(item[0].partition("-r")[2] or 0)))  # full comes first

    @cached_property
    def repairs(self) -> dict[str, list[Repair]]:
        """The repairs of every model, by seed."""
        found: dict[str, list[Repair]] = {}
        for path in sorted((self.root / "repair").glob("*.json")):
            found.setdefault(path.stem.rpartition("-")[0], []).append(Repair.read(path))
        return found


def _read(home: Path, entry: StudyRun | None) -> KeptRun:
    """A run; one that has no key yet, because its rate is not tuned, has no folder."""
    run, scores = home / "run.json", home / "scores.json"
    there = entry is None or bool(entry.key)
    return KeptRun(
        home,
        entry,
        Run.read(run) if there and run.exists() else None,
        Scores.read(scores) if there and scores.exists() else None,
    )


def keep(folder: Path, home: Path, plan: Path | None = None) -> None:
    """Take over the records of a study, which may not be done: its own, and every run's; audits are large, and packed.

    Args:
        folder: of the study.
        home: where to.
        plan: of the study; needed while the study is not done, and has no record of its own yet.
    """
    if plan is not None:
        state_of(plan, folder).save(home / "study.json")
    elif (folder / "study.json").exists():
        Study.read(folder / "study.json").save(home / "study.json")
    for found in sorted(folder.glob("*/model/run.json")):
        source, target = found.parent.parent, home / found.parent.parent.name
        write_text(target / "run.json", found.read_text(encoding="utf8"))
        if (source / "scores.json").exists():
            write_text(target / "scores.json", (source / "scores.json").read_text(encoding="utf8"))
        if (source / "audit.json").exists():
            write_bytes(target / "audit.json.gz", gzip.compress((source / "audit.json").read_bytes(), mtime=0))


def over_durations(record: Correlation) -> bool:
    """True if the runs of a sweep differ in their steps."""
    return len({run.steps for run in record.runs}) > 1


def keep_sweep(name: str, folders: Sequence[str]) -> None:
    """Let the runs of studies join a sweep's record; curves are drawn from folders, so they need them all."""
    kept, drawn = RECORDS / name / "correlation.json", correlate(folders)
    earlier = {run.key for run in Correlation.read(kept).runs} if kept.exists() else set()
    if earlier <= {run.key for run in drawn.runs} and over_durations(drawn):
        curves(folders).save(RECORDS / name / "curves.json")
    correlate([kept, *folders] if kept.exists() else folders).save(kept)


def keep_sequences(folder: str) -> None:
    """Take over the record of tasks in a row, with what is not run."""
    plan = RECORDS.parent.parent / "plans" / "continual-minilm.toml"
    continual(plan, folder, dry_run=True).save(RECORDS / "continual" / "continual.json")


def model_of(runs: Iterable[KeptRun]) -> str:
    """The base of some runs, by the name that people know."""
    name = next(iter(runs)).done.base.name
    return MODELS.get(name, name)
