"""One run of a study in a process of its own: train, audit, score; what fails is filed with its error."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

from assay import digests
from assay.audits import audit
from assay.behaviour.scoring import score
from assay.errors import AssayError
from assay.records import Failure, Provenance, Scores
from assay.records.study import Stage
from assay.training.run import train
from assay.training.spec import Spec


@dataclass(frozen=True)
class Work:
    """What is to be done for one run.

    Attributes:
        folder: its own; the weights and `run.json` go to `model` in it, the other records beside that.
        spec: with paths that can be opened from here.
        base: the base, as it can be opened from here.
        task, text: what it is scored on.
        stages: what is to be done.
        device: cpu, or cuda.
    """

    folder: Path
    spec: Spec
    base: str
    task: Path | None
    text: Path | None
    stages: tuple[Stage, ...]
    device: str

    @property
    def model(self) -> Path:
        """The run folder that training writes."""
        return self.folder / "model"

    def failure(self, stage: Stage) -> Path:
        """Where the error of a stage is filed."""
        return self.folder / f"failure-{stage}.json"

    def is_done(self, stage: Stage) -> bool:
        """Whether a stage's record is there, and is of the files that are there."""
        if stage == "train":
            return (self.model / "run.json").exists()
        if stage == "audit":
            return (self.folder / "audit.json").exists()
        path = self.folder / "scores.json"
        if not path.exists():
            return False
        record = Scores.read(path)
        asked = [record.task and record.task.task.digest, record.forgetting and record.forgetting.text.digest]
        return asked == [digests.of_files([file]) if file else None for file in (self.task, self.text)]

    def do(self, stage: Stage) -> None:
        """Do one stage, and write its record."""
        if stage == "train":
            train(self.spec, self.model, self.device)
        elif stage == "audit":
            audit(self.base, self.model, device=self.device).save(self.folder / "audit.json")
        else:
            found = score(self.base, self.model, self.text, self.task, device=self.device)
            found.save(self.folder / "scores.json")

    def file(self, stage: Stage, error: str, found: str, wanted: str = "", remedy: str = "") -> None:
        """File the error of a stage."""
        record = Failure(
            provenance=Provenance.of(("torch", "transformers", "peft"), self.spec.settings(), self.spec.seed),
            stage=stage,
            error=error,
            found=found,
            wanted=wanted,
            remedy=remedy,
        )
        record.save(self.failure(stage))


def work_through(work: Work) -> None:
    """Do every stage that is not done; run in a process of its own, which ends with the one that started it."""
    _end_with_parent()
    log = os.open(work.folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(log, 1)
    os.dup2(log, 2)
    for stage in work.stages:
        if work.is_done(stage):
            continue
        try:
            work.do(stage)
        except AssayError as error:
            work.file(stage, type(error).__name__, error.found, error.wanted, error.remedy)
            if stage == "train":
                return


def _end_with_parent() -> None:
    """End this process when the one that started it is gone: two must never write to one run folder."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
