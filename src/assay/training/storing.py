"""Storage of a run: the parameters that learned, at its end and after the steps that were asked for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.models.loading import Place, relative
from assay.training.spec import Spec
from assay.weights.libraries import read_config
from assay.weights.writing import writing

_STEPS = "steps"


def snapshot(folder: Path, step: int) -> Path:
    """The folder of what had learned after a step of `training.save_at`."""
    return folder / _STEPS / str(step)


def snapshots_of(folder: Path) -> dict[int, Path]:
    """The folders of what had learned on the way of a run, by the step."""
    return dict(sorted((int(path.name), path) for path in (folder / _STEPS).glob("*") if path.name.isdecimal()))


@dataclass(frozen=True)
class Store:
    """Storage of a run's weights.

    Attributes:
        spec, base, tokenizer: what is stored, and what it names as its base.
        folder: the run's folder in the end; partial: where it is made.
        scratch: where snapshots lie until then: it outlives a stop.
    """

    spec: Spec
    base: Place
    tokenizer: Any
    folder: Path
    partial: Path
    scratch: Path

    def keep(self, step: int, model: Any) -> None:
        """Store what has learned after a step; a resumed run writes again what it had not finished."""
        shutil.rmtree(self._kept(step), ignore_errors=True)
        self._write(model, self._kept(step), snapshot(self.folder, step))

    def finish(self, model: Any) -> None:
        """Store what has learned in the end, and put the snapshots beside it."""
        self._write(model, self.partial, self.folder)
        for step in self.spec.training.save_at:
            place = snapshot(self.partial, step)
            place.parent.mkdir(exist_ok=True)
            os.replace(self._kept(step), place)

    @contextmanager
    def _as_it_was(self, config: Any) -> Iterator[None]:
        """The base's own `use_cache`, which transformers' Trainer turns off while a model learns."""
        learning, usual = getattr(config, "use_cache", None), getattr(read_config(self.base.folder), "use_cache", None)
        if learning is None or usual is None:
            yield
            return
        config.use_cache = usual
        try:
            yield
        finally:
            config.use_cache = learning

    def _kept(self, step: int) -> Path:
        return self.scratch / f"step-{step}"

    def _write(self, model: Any, where: Path, final: Path) -> None:
        """Weights and tokenizer; a base in a folder is named as seen from where the weights will lie."""
        where.mkdir(parents=True, exist_ok=True)
        source = self.base.source
        named = source.name if source.revision is not None else relative(self.base.folder, final.resolve())
        with (
            writing(final, "free space, and start it again: it goes on from its last checkpoint"),
            self._as_it_was(model.config),
        ):
            self.spec.method.save(model, where, named, source.revision)
            self.tokenizer.save_pretrained(where)
