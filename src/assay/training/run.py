"""One training run: one loop for every method, and a folder that is written whole or not at all."""

from __future__ import annotations

import importlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from assay import digests
from assay.accounting import PeakMemory, by_pattern
from assay.conditions import Condition, differing, pair_key, pool_key
from assay.data import Loaded, objective_of
from assay.errors import SettingError, SourceError
from assay.models import Place, find, load_tokenizer, positions_of, relative
from assay.records import Provenance, Run, Source
from assay.records.run import Examples, Trained
from assay.training.loop import Job, Progress, cost_of
from assay.training.spec import Spec, read_spec

_RECORD, _SCRATCH = "run.json", "standing"
_PACKAGES = ("torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors")


def train(
    spec: str | Path | Spec, out: str | Path | None = None, device: str = "cpu", progress: Progress | None = None
) -> Run:
    """Run a specification, and write the weights, the tokenizer and `run.json` to a folder.

    A folder that holds the same run already is left as it is, and its record is returned. A run that was stopped goes
    on from where it stood (`training.checkpoint_every`); on a CPU its weights are those of a run without a stop.

    Args:
        spec: a TOML file, to which paths in it are relative; or a specification, whose paths are relative to here.
        out: the run folder; `runs/NAME` beside the file NAME.toml unless given.
        device: cpu, or cuda.
        progress: called after every step with the step, the number of steps and the loss.

    Raises:
        SourceError: the specification, the base or the data cannot be read.
        SettingError: the specification is wrong, or the folder holds something else.
        InputError: the data cannot be used.

    Example:
        >>> assay.train("lora.toml").losses[-1]  # doctest: +SKIP
        0.31
    """
    start = Path() if isinstance(spec, Spec) else Path(spec).parent
    if out is None:
        if isinstance(spec, Spec):
            raise SettingError("no folder to write the run to", remedy="give out=")
        out = start / "runs" / Path(spec).stem
    settings = spec if isinstance(spec, Spec) else read_spec(spec)
    folder = Path(out)
    base, data_file = find(settings.base, start), start / settings.data.path
    if base.is_adapter:
        raise SettingError("the base is an adapter", wanted="a whole model", where=base.source.name)
    if not data_file.is_file():
        raise SourceError("there is no such file", wanted="data as JSON Lines", where=str(data_file))
    conditions = conditions_of(settings, base, data_file)
    if folder.exists() and any(folder.iterdir()):
        return _done_before(folder, conditions, arm_of(settings))
    _check_positions(settings, base)
    importlib.import_module("transformers.trainer")  # a few hundred megabytes of libraries are not the run's
    memory = PeakMemory(device)
    tokenizer = load_tokenizer(base)
    loaded = settings.data.load(data_file, tokenizer)
    with _whole(folder) as partial:
        key = pair_key({**conditions, **arm_of(settings), "torch": torch.__version__})
        job = Job(settings, base, tokenizer, loaded, device, key, partial / _SCRATCH, progress)
        model, noted, resumed = job.fit()
        cost = cost_of(noted, device, memory)
        on_hub = base.source.revision is not None
        named = base.source.name if on_hub else relative(base.folder, folder.resolve())
        settings.method.save(model, partial, named, base.source.revision)
        tokenizer.save_pretrained(partial)
        shutil.rmtree(partial / _SCRATCH, ignore_errors=True)
        weights = sorted(partial.glob("*.safetensors"))
        record = Run(
            provenance=Provenance.of(_PACKAGES, settings.settings(), settings.seed),
            objective=objective_of(settings.data),
            method=settings.method.name,
            changes=settings.method.changes,
            base=base.source,
            data=Source(name=data_file.name, digest=digests.of_files([data_file])),
            labels=loaded.labels,
            conditions=conditions,
            pair_key=pair_key(conditions),
            pool_key=pool_key(conditions),
            arm=arm_of(settings),
            initialisation=settings.method.initialisation(),
            examples=_examples(loaded),
            trained=_trained(model, weights),
            losses=tuple(noted.losses),
            batch_hashes=tuple(noted.hashes),
            weights_digest=digests.of_files(weights),
            cost=cost,
            notes=_notes(model, resumed),
        )
        record.save(partial / _RECORD)
    return record


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A folder beside the wanted one, renamed to it at the end: a stopped run leaves nothing that looks done.

    Of what a stopped run left under the same name, only the file where it stood is kept.
    """
    partial = folder.parent / f".{folder.name}.partial"
    partial.mkdir(parents=True, exist_ok=True)
    _clear(partial)
    finished = False
    try:
        yield partial
        os.replace(partial, folder)
        finished = True
    finally:
        if not finished:
            _clear(partial)
            if not any(partial.iterdir()):
                partial.rmdir()


def _clear(partial: Path) -> None:
    """Remove all but the file where a run stood."""
    for path in partial.iterdir():
        if path.name == _SCRATCH and any(path.glob("*.safetensors")):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _done_before(folder: Path, conditions: dict[str, Condition], arm: dict[str, Condition]) -> Run:
    """The record of a folder that holds this very run.

    Raises:
        SettingError: it holds something else; what differs is named.
    """
    if not (folder / _RECORD).exists():
        raise SettingError("the folder exists and holds no run", remedy="name another, or remove it", where=str(folder))
    record = Run.read(folder / _RECORD)
    names = differing({**record.conditions, **record.arm}, {**conditions, **arm})
    if names:
        raise SettingError(
            f"the folder holds another run, which differs in {', '.join(names)}",
            wanted=f"conditions {pair_key(conditions)}, found {record.pair_key}",
            remedy="name another folder, or remove this one",
            where=str(folder),
        )
    return record


def _check_positions(spec: Spec, base: Place) -> None:
    """Refuse texts that leave no room for a method's own positions."""
    limit, wanted = positions_of(base), spec.data.max_length + spec.method.positions
    if limit is not None and spec.method.positions and wanted > limit:
        raise SettingError(
            f"{spec.method.positions} positions of {spec.method.name} and texts of {spec.data.max_length} tokens",
            wanted=f"at most {limit} positions together, which is all that the base has",
            remedy=f"set data.max_length to {limit - spec.method.positions} or less, in every arm",
        )


def conditions_of(spec: Spec, base: Place, data_file: Path) -> dict[str, Condition]:
    """All that must be equal for two arms to be compared."""
    data = {f"data.{name}": value for name, value in spec.data.model_dump(exclude={"path"}).items()}
    training = {f"training.{name}": value for name, value in spec.training.model_dump().items()}
    training.pop("training.checkpoint_every")  # how often a run is kept changes nothing of it
    return {
        "base": base.source.digest,
        "data": digests.of_files([data_file]),
        **data,
        **training,
        "optimizer": "adamw",
        "precision": "float32",
        "seed": spec.seed,
    }


def arm_of(spec: Spec) -> dict[str, Condition]:
    """What this arm chose for itself."""
    chosen = {**spec.method.model_dump(), **spec.method.derived()}
    for name, value in chosen.pop("options", {}).items():
        scalar = value is None or isinstance(value, str | int | float)
        chosen[f"options.{name}"] = value if scalar else json.dumps(value, sort_keys=True)
    return {f"method.{name}": value for name, value in chosen.items()}


def _examples(loaded: Loaded) -> Examples:
    targets = sum(
        1 if isinstance(example.labels, int) else sum(label >= 0 for label in example.labels)
        for example in loaded.examples
    )
    return Examples(
        count=len(loaded.examples),
        tokens=sum(len(example.input_ids) for example in loaded.examples),
        targets=targets,
        truncated=loaded.truncated,
        dropped_tokens=loaded.dropped_tokens,
    )


def _trained(model: Any, weights: Sequence[Path]) -> Trained:
    from safetensors import safe_open

    stored = 0
    for path in weights:
        with safe_open(path, framework="pt") as file:
            stored += sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118 (not a mapping)
    parameters = list(model.named_parameters())
    return Trained(
        parameters=sum(value.numel() for _, value in parameters if value.requires_grad),
        stored=stored,
        stored_bytes=sum(path.stat().st_size for path in weights),
        tensors=by_pattern((name, value) for name, value in parameters if value.requires_grad),
        frozen=by_pattern((name, value) for name, value in parameters if not value.requires_grad),
    )


def _notes(model: Any, resumed: int) -> tuple[str, ...]:
    """What a reader must know of what did not learn, and of a run in pieces."""
    stacked = by_pattern((name, value) for name, value in model.named_parameters() if value.ndim > 2)
    notes = [f"Several matrices in one tensor (fused experts) did not learn: {', '.join(stacked)}."] if stacked else []
    if resumed:
        notes.append(f"Stopped and resumed after step {resumed}; the peak memory is that of the steps after it.")
    return tuple(notes)
