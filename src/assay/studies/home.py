"""A study's folder: every planned run as work in a folder of its own, named by its hash; one study at a time."""

from __future__ import annotations

import math
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from assay.data.tables import located
from assay.errors import SettingError
from assay.io.locks import alone
from assay.models.loading import Place
from assay.models.rewards import located as reward_at
from assay.records.called import told_apart, without_rate
from assay.records.conditions import Condition, pair_key
from assay.studies.plan import STAGES, Plan, Planned, runs_of
from assay.studies.worker import Asked, Work
from assay.training.conditions import arm_of, conditions_of, in_steps, with_reward

_PACE = 3  # steps: the first one is slower, and the median leaves it out


@dataclass(frozen=True)
class Home:
    """Folder and state of a study at work.

    Attributes:
        plan: what is to be done; start: the folder to which its paths are relative.
        place: the base.
        folder: where its runs go.
        device: cpu, or cuda.
        until: when its works stop, on the clock of `time.time`.
    """

    plan: Plan
    start: Path
    place: Place
    folder: Path
    device: str
    until: float = math.inf

    def trial(self, key: str) -> Path:
        """The folder of a trial: apart from those of the runs, which have weights."""
        return self.folder / "trials" / key

    def work(self, entry: Planned) -> Work:
        """A run with paths that can be opened from here, in a folder named by its hash.

        Raises:
            SourceError: a file or data set that is not there.
            SettingError: the base is an adapter.
        """
        spec = entry.spec
        names = (spec.data.path, spec.validation, entry.task.task, entry.task.text, entry.task.prompts)
        data_file, validation, task, text, prompts = (located(name, self.start) if name else None for name in names)
        source = self.place.source
        if data_file is None or self.place.is_adapter:
            raise SettingError("the base is an adapter", wanted="a whole model", where=source.name)
        base = f"{source.name}@{source.revision}" if source.revision is not None else str(self.place.folder)
        placed = {"path": str(data_file)}
        if spec.data.template is not None:
            placed["template"] = str(self.start / spec.data.template)
        data = spec.data.model_copy(update=placed)
        held_out = str(validation) if validation else None
        spec = spec.model_copy(update={"base": base, "data": data, "validation": held_out})
        spec = in_steps(with_reward(spec, self.start), self.place, data_file, self.start)
        conditions = conditions_of(spec, self.place, data_file, validation)
        named = {**conditions, **arm_of(spec), "task": entry.task.name}
        stages = tuple(stage for stage in STAGES if stage in self.plan.stages)
        judge = entry.task.judge and reward_at(entry.task.judge, self.start)
        asked = Asked(task, text, prompts, judge, entry.task.max_tokens, entry.task.columns)
        folder, arm = self.folder / pair_key(named), self._arms[_settings(entry)]
        return Work(entry.task.name, arm, folder, spec, base, asked, stages, self.device, until=self.until)

    @cached_property
    def _arms(self) -> dict[str, str]:
        """Names of the arms of the plan, by their settings; rates are said beside them."""
        entries = {_settings(entry): entry for entry in runs_of(self.plan, max_runs=sys.maxsize)}
        return dict(zip(entries, told_apart([_arm(entry) for entry in entries.values()]), strict=True))


def _arm(entry: Planned) -> tuple[str, dict[str, Condition]]:
    return entry.spec.method.name, without_rate(arm_of(entry.spec))


def _settings(entry: Planned) -> str:
    return repr(_arm(entry))


def pace(home: Home, entry: Planned) -> Work:
    """A few steps of a run, by which the time of its arm is foreseen; their weights are not kept."""
    training = entry.spec.training.model_copy(update={"steps": _PACE, "save_at": [], "checkpoint_every": 0})
    work = home.work(replace(entry, spec=entry.spec.model_copy(update={"training": training})))
    return replace(work, folder=home.folder / "pace" / work.key, stages=("train",), trial=True)


def locked(folder: Path) -> AbstractContextManager[None]:
    """Keep a folder for one study until it ends, however it ends.

    Raises:
        SettingError: another study has it.
    """
    return alone(folder, "another study is writing to this folder")
