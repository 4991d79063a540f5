"""One run of a study, in the process that an engine gives it: train, audit, score; what fails is filed."""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from assay.audits import audit
from assay.behaviour.scoring import score
from assay.data.tables import Reference, source_of
from assay.engines.engine import Item
from assay.errors import AssayError, StoppedError
from assay.models.rewards import reward_source
from assay.records import Audit, Failure, Provenance, Run, Scores
from assay.records.study import Became, Stage
from assay.settings import Generation, hours_until
from assay.studies.folders import readable, without_folders
from assay.studies.live import Live, Teller
from assay.training.resuming import STANDING
from assay.training.run import train
from assay.training.spec import Spec
from assay.training.storing import snapshot

IMPORTS = ("transformers.trainer", "peft", "assay.studies.worker")  # ten seconds, which runs share
PROGRESS = (f"**/{STANDING}", "*.json")  # of a run in its folder: a training checkpoint, the record of a stage


@dataclass(frozen=True)
class Asked:
    """Files that a run is scored on, with paths that can be opened from here.

    Attributes:
        task, text: what was learned, and what was lost.
        columns: the files' own names of columns.
        prompts, judge, max_tokens: for the replies of a policy, what judges them, and where they are cut.
    """

    task: Reference | None
    text: Reference | None
    prompts: Reference | None = None
    judge: str | None = None
    max_tokens: int = 128
    columns: Mapping[str, str] = field(default_factory=dict)

    def answered_by(self, record: Scores) -> bool:
        """True if a record is of these files."""
        learned, wins = record.task or record.reward, record.wins
        found = [
            learned and learned.task.digest,
            record.forgetting and record.forgetting.text.digest,
            wins and wins.prompts.digest,
        ]
        judged = wins is None or (wins.judge == reward_source(str(self.judge)) and wins.max_tokens == self.max_tokens)
        files = (self.task, self.text, self.prompts)
        given = record.provenance.settings.get("columns")
        read = dict(given.value if given is not None else {}) == dict(self.columns)
        return judged and read and found == [source_of(file).digest if file else None for file in files]


@dataclass(frozen=True)
class Work:
    """Work of one run: training, audit and scores.

    Attributes:
        task: what the plan calls the task.
        arm: what tells its arm from the plan's others.
        folder: its own; the weights and `run.json` go to `model` in it, the other records beside that.
        spec: with paths that can be opened from here.
        base: the base, as it can be opened from here.
        asked: what it is scored on.
        stages: what is to be done.
        device: cpu, or cuda.
        trial: whether only the record of the training is kept.
        until: when to stop, on the clock of `time.time`; an audit that has begun is finished.
    """

    task: str
    arm: str
    folder: Path
    spec: Spec
    base: str
    asked: Asked
    stages: tuple[Stage, ...]
    device: str
    trial: bool = False
    until: float = math.inf

    @property
    def key(self) -> str:
        """Tells it from the other works of its study."""
        return self.folder.name

    @property
    def name(self) -> str:
        """The name for a reader."""
        rate, seed = self.spec.method.lr, self.spec.seed
        return f"{'trial of ' if self.trial else ''}{self.arm} at {rate:g} on {self.task}, seed {seed}"

    @property
    def model(self) -> Path:
        """The run folder that training writes."""
        return self.folder / "model"

    def failure(self, stage: Stage) -> Path:
        """The file of a stage's error."""
        return self.folder / f"failure-{stage}.json"

    def is_whole(self) -> bool:
        """True if every stage is done."""
        return all(self.is_done(stage) for stage in self.stages)

    def item(self) -> Item:
        """The work as an engine takes it; errors of an earlier try are forgotten."""
        self.folder.mkdir(parents=True, exist_ok=True)
        Live.forget(self.folder)
        for stage in self.stages:
            self.failure(stage).unlink(missing_ok=True)
        return Item(self.folder.name, work_through, self, self._inputs(), self.folder, IMPORTS, PROGRESS)

    def live(self) -> Live | None:
        """Its progress; None where it is not under way."""
        return Live.read(self.folder)

    def file_crash(self, crash: str) -> None:
        """File what ended the process that did the work, at the first stage that is not done."""
        Live.forget(self.folder)
        unfinished = [stage for stage in self.stages if not self.is_done(stage) and not self.failure(stage).exists()]
        self.file(unfinished[0] if unfinished else self.stages[-1], crash, _last_line(self.folder / "log.txt"))

    def _inputs(self) -> tuple[Path, ...]:
        """The files and folders that it reads; a hub id is no file."""
        spec, asked = self.spec, self.asked
        names = (self.base, spec.data.path, spec.data.template, spec.validation, asked.task, asked.text, asked.prompts)
        judges = (asked.judge, getattr(spec.data, "reward", None))
        return tuple(dict.fromkeys(Path(name) for name in (*names, *judges) if name and Path(name).exists()))

    def at(self, places: Mapping[Path, Path]) -> Work:
        """The same work where its files lie elsewhere.

        Args:
            places: where they lie, by where they lay.
        """

        def moved(name: str | Path | None) -> str | None:
            return None if name is None else str(places.get(Path(name), name))

        files = {name: getattr(self.asked, name) for name in ("task", "text", "prompts")}
        here = {name: path and places.get(Path(path), path) for name, path in files.items()}
        asked = replace(self.asked, **here, judge=moved(self.asked.judge))
        named = (name for name in ("path", "template", "reward") if hasattr(self.spec.data, name))
        data = self.spec.data.model_copy(update={name: moved(getattr(self.spec.data, name)) for name in named})
        spec = self.spec.model_copy(
            update={"base": moved(self.spec.base), "data": data, "validation": moved(self.spec.validation)}
        )
        return replace(self, folder=places[self.folder], spec=spec, base=str(moved(self.base)), asked=asked)

    def error(self) -> str:
        """Errors of the stages that failed; empty where none did."""
        filed = [self.failure(stage) for stage in self.stages]
        failures = [failure for path in filed if (failure := readable(Failure, path)) is not None]
        return " ".join(str(AssayError(each.found, wanted=each.wanted, remedy=each.remedy)) for each in failures)

    def models(self) -> dict[str, Path]:
        """Models to audit and score, by what their records are called: the end of the run, and its snapshots."""
        snapshots = {f"-{step}": snapshot(self.model, step) for step in self.spec.training.save_at}
        return {"": self.model, **snapshots}

    def is_done(self, stage: Stage) -> bool:
        """True if nothing is left to do for a stage: its records are whole, and are of the files that are there."""
        if stage == "train":
            folders = self.models().values()
            return readable(Run, self.model / "run.json") is not None and all(folder.is_dir() for folder in folders)
        if stage == "audit":
            audits = (self.folder / f"audit{name}.json" for name in self.models())
            return not self.spec.method.audited or all(readable(Audit, path) is not None for path in audits)
        return all(self.scores(name) is not None for name in self.models())

    def scores(self, name: str = "") -> Scores | None:
        """Scores of a model of the run, by its name in `models`; None where none are of the files that are asked."""
        scores = readable(Scores, self.folder / f"scores{name}.json")
        return scores if scores is not None and self.asked.answered_by(scores) else None

    def became(self, stage: Stage) -> Became:
        """Status of a stage."""
        if stage == "audit" and not self.spec.method.audited:
            return "not applicable"
        return "done" if self.is_done(stage) else "failed" if self.failure(stage).exists() else "not run"

    def do(self, stage: Stage) -> None:
        """Do one stage, and write its records.

        Raises:
            AssayError: it failed, or the time is up.
        """
        left = hours_until(self.until)
        if stage == "train":
            if self.trial:  # its record, which is all that is kept of it, is not whole
                shutil.rmtree(self.model, ignore_errors=True)
            train(self.spec, self.model, self.device, progress=Teller(self.folder, stage), max_hours=left)
            if self.trial:
                self._keep_record()
            return
        kept = self.folder.parent / "answers"  # for the whole study: its runs share their base's answers
        for name, model in self.models().items():
            path = self.folder / f"{stage if stage == 'audit' else 'scores'}{name}.json"
            teller = Teller(self.folder, stage)
            if stage == "audit" and readable(Audit, path) is None:
                audit(self.base, model, device=self.device, progress=teller).save(path)
            elif stage == "score" and self.scores(name) is None:
                self._score(model, kept, hours_until(self.until), teller).save(path)

    def _score(self, model: Path, kept: Path, max_hours: float | None, teller: Teller) -> Scores:
        asked = self.asked
        return score(
            self.base,
            model,
            asked.text,
            asked.task,
            prompts=asked.prompts,
            columns=asked.columns,
            judge=asked.judge,
            generation=Generation(max_tokens=asked.max_tokens),
            device=self.device,
            keep=kept,
            max_hours=max_hours,
            progress=teller,
        )

    def _keep_record(self) -> None:
        """Of a trained model, keep what was measured alone."""
        for path in self.model.iterdir():
            if path.name != "run.json":
                path.unlink()

    def file_error(self, stage: Stage, error: AssayError) -> None:
        """File an error of ours, with where it is."""
        found = f"{error.where}: {error.found}" if error.where else error.found
        self.file(stage, type(error).__name__, found, error.wanted, error.remedy)

    def file(self, stage: Stage, error: str, found: str, wanted: str = "", remedy: str = "") -> None:
        """File the error of a stage."""
        record = Failure(
            provenance=Provenance.of(("torch", "transformers", "peft"), self.spec.settings(), self.spec.seed),
            stage=stage,
            error=error,
            found=without_folders(found),
            wanted=without_folders(wanted),
            remedy=without_folders(remedy),
        )
        record.save(self.failure(stage))


def work_through(work: Work) -> None:
    """Do every stage that is not done; what the process says goes to a log beside the records."""
    log = os.open(work.folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(log, 1)
    os.dup2(log, 2)
    Live.forget(work.folder)  # of a try whose machine was lost
    try:
        _do_what_is_left(work)
    finally:
        Live.forget(work.folder)


def _do_what_is_left(work: Work) -> None:
    for stage in work.stages:
        if work.is_done(stage):
            continue
        try:
            work.do(stage)
        except StoppedError:
            return
        except AssayError as error:
            work.file_error(stage, error)
            if stage == "train":
                return


def _last_line(log: Path) -> str:
    """The last thing that a process said."""
    lines = log.read_text(encoding="utf8", errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else "nothing was said"
