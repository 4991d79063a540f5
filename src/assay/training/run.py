"""One training run: one loop for every method, and a folder that is written whole or not at all."""

from __future__ import annotations

import importlib
import math
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from assay.data.columns import resolved, unread
from assay.data.examples import Loaded
from assay.data.objectives import objective_of
from assay.data.tables import Reference, located, source_of
from assay.errors import SettingError
from assay.io import digests
from assay.linalg.devices import device_of
from assay.models.loading import Place, find, load_tokenizer, positions_of
from assay.models.precision import check_bitsandbytes
from assay.records import Provenance, Run, Setting
from assay.records.conditions import Condition, pair_key, pool_key
from assay.records.run import Cost, Examples, Objective, PolicyRun, Trained, Validation
from assay.settings import deadline
from assay.training.accounting import PeakMemory, by_pattern
from assay.training.conditions import arm_of, conditions_of, in_steps, with_reward, with_template
from assay.training.folders import RECORD, SCRATCH, check_name, done_before, is_taken, partial_of, whole
from assay.training.loaded import load_data
from assay.training.loop import Fitted, Job, Progress, cost_of
from assay.training.policy import constant_from, policy_run
from assay.training.processes import Processes
from assay.training.spec import Spec, read_spec
from assay.training.storing import Store
from assay.training.together import started, train_together
from assay.training.validation import HeldOut

_PACKAGES = ("torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors")


def train(
    spec: str | Path | Spec,
    out: str | Path | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
    max_hours: float | None = None,
) -> Run:
    """Run a specification, and write the weights, the tokenizer and `run.json` to a folder.

    A folder that holds the same run already is left as it is, and its record is returned. A run that was stopped goes
    on from where it stood (`training.checkpoint_every`); on a CPU its weights are those of a run without a stop. Under
    torchrun all processes share every batch out among themselves, and the first one writes.

    Args:
        spec: a TOML file, to which paths in it are relative; or a specification, whose paths are relative to here.
        out: the run folder; `runs/NAME` beside the file NAME.toml unless given.
        device: cpu, cuda, or auto for whichever there is.
        progress: called after every step with the step, the number of steps and the loss.
        max_hours: after which the run stops at the end of a step; started again, it goes on from there.

    Raises:
        SourceError: the specification, the base or the data cannot be read.
        SettingError: the specification is wrong, the device cannot be used, or the folder holds something else or is
            being written by another process.
        InputError: the data cannot be used.
        StoppedError: `max_hours` are over.

    Example:
        >>> assay.train("lora.toml").losses[-1]  # doctest: +SKIP
        0.31
    """
    start, until = Path() if isinstance(spec, Spec) else Path(spec).parent, deadline(max_hours)
    if out is None:
        if isinstance(spec, Spec):
            raise SettingError("no folder to write the run to", remedy="give out=")
        out = start / "runs" / Path(spec).stem
    settings = with_reward(spec if isinstance(spec, Spec) else read_spec(spec), start)
    folder, given = Path(out), _Given.found(settings, start)
    named = {**given.conditions, **arm_of(settings)}
    if is_taken(folder):
        return done_before(folder, named, settings.training.save_at)
    if settings.training.processes > 1 and not started():
        train_together(spec, settings.training.processes, folder, device, max_hours)
        return Run.read(folder / RECORD)
    check_name(folder)
    check_positions(settings, given.base)
    device = str(device_of(device))  # says what is wrong with it before anything is measured on it
    if settings.training.optimizer != "adamw":
        check_bitsandbytes(f"the optimizer {settings.training.optimizer}")
    _import_trainer(objective_of(settings.data))
    processes = Processes.joined(device)
    processes.share(settings.training.part)
    if processes.count > 1 and objective_of(settings.data) in ("reward", "policy"):
        raise SettingError(
            f"{processes.count} processes",
            wanted="one, for reward models and policies",
            remedy="run it without torchrun",
        )
    memory = PeakMemory(device)
    tokenizer = load_tokenizer(given.base)
    with_template(tokenizer, settings.data, start)
    settings = given.spec
    loaded = load_data(settings.data, given.data, tokenizer, given.base)
    asked = given.held_out and HeldOut.load(settings, given.held_out, tokenizer, loaded.labels)
    # What was stored on the way goes with the checkpoint: with other snapshots a run begins anew.
    key = pair_key({**named, "torch": torch.__version__, "save_at": str(settings.training.save_at)})
    with whole(folder, key) if processes.first else nullcontext(partial_of(folder)) as partial:
        store = Store(settings, given.base, tokenizer, folder, partial, partial / SCRATCH)
        job = Job(
            settings, given.base, tokenizer, loaded, device, key, store.scratch, store.keep, progress, processes, until
        )
        fitted = job.fit()
        if processes.first:
            cost = cost_of(fitted, device, memory, processes)
            validation = asked.loss(fitted.model) if asked else None
            learned = policy_run(fitted.trainer, fitted.model, settings, given.base, fitted.noted.measured)
            store.finish(fitted.model)
            shutil.rmtree(store.scratch, ignore_errors=True)
            _record(given, loaded, fitted, cost, partial, validation, learned).save(partial / RECORD)
    processes.wait()
    return Run.read(folder / RECORD)


@dataclass(frozen=True)
class _Given:
    """A specification with the files that it names, which are there."""

    spec: Spec
    settings: dict[str, Setting]
    base: Place
    data: Reference
    held_out: Reference | None
    conditions: dict[str, Condition]

    @classmethod
    def found(cls, spec: Spec, start: Path) -> _Given:
        """Find the files, relative to a folder."""
        base, data = find(spec.base, start), located(spec.data.path, start)
        held_out = located(spec.validation, start) if spec.validation is not None else None
        if base.is_adapter:
            raise SettingError("the base is an adapter", wanted="a whole model", where=base.source.name)
        settings, spec = spec.settings(), in_steps(spec, base, data, start)
        conditions = conditions_of(spec, base, data, held_out, start)
        spec = spec.model_copy(update={"data": resolved(spec.data, data)})
        for name, setting in spec.settings().items():
            if setting.value != settings[name].value:
                settings[name] = Setting(value=setting.value, origin="derived")
        return cls(spec, settings, base, data, held_out, conditions)


def _record(
    given: _Given,
    loaded: Loaded,
    fitted: Fitted,
    cost: Cost,
    partial: Path,
    validation: Validation | None,
    policy: PolicyRun | None,
) -> Run:
    spec, weights = given.spec, sorted(partial.glob("*.safetensors"))
    return Run(
        provenance=Provenance.of(_PACKAGES, given.settings, spec.seed),
        objective=objective_of(spec.data),
        method=spec.method.name,
        changes=spec.method.changes,
        base=given.base.source,
        data=source_of(given.data),
        labels=loaded.labels,
        conditions=given.conditions,
        pair_key=pair_key(given.conditions),
        pool_key=pool_key(given.conditions),
        arm=arm_of(spec),
        initialisation=spec.method.initialisation(),
        examples=_examples(loaded),
        trained=_trained(fitted.model, weights),
        losses=tuple(fitted.noted.losses),
        gradient_norms=tuple(fitted.noted.norms),
        validation=validation,
        measured={name: tuple(values) for name, values in fitted.noted.measured.items()},
        policy=policy,
        batch_hashes=tuple(fitted.noted.hashes),
        weights_digest=digests.of_files(weights),
        cost=cost,
        saved_at=tuple(spec.training.save_at),
        notes=(
            *given.base.code_not_run(),
            *spec.method.remarks(fitted.model),
            *_unread(spec, given.data),
            *_notes(fitted, spec, policy),
        ),
    )


def _import_trainer(objective: Objective) -> None:
    """Import what trains before memory is measured: a few hundred megabytes of libraries are not the run's.

    Raises:
        SettingError: TRL is needed, and is not installed.
    """
    importlib.import_module("transformers.trainer")
    if objective in ("reward", "policy"):
        try:
            importlib.import_module("trl")
        except ModuleNotFoundError:
            raise SettingError(
                f"the objective {objective!r} needs TRL, which is not installed",
                remedy="pip install 'assay-finetune[rlhf]'",
            ) from None


def check_positions(spec: Spec, base: Place) -> None:
    """Refuse texts that are too long for the base: alone, beside a method's own positions, or before a reply.

    Raises:
        SettingError: with the greatest length that would do.
    """
    limit, wanted = positions_of(base), spec.data.max_length + spec.method.positions
    if limit is not None and spec.policy is not None and wanted + spec.policy.reply_tokens > limit:
        raise SettingError(
            f"prompts of {spec.data.max_length} tokens and replies of {spec.policy.reply_tokens}",
            wanted=f"at most {limit} positions together, which is all that the base has",
            remedy="set data.max_length or policy.reply_tokens to less",
        )
    if limit is not None and wanted > limit:
        taken = f"{spec.method.positions} positions of {spec.method.name} and " if spec.method.positions else ""
        raise SettingError(
            f"{taken}texts of {spec.data.max_length} tokens",
            wanted=f"at most {limit} positions, which is all that the base has",
            remedy=f"set data.max_length to {limit - spec.method.positions} or less, in every arm",
        )


def _unread(spec: Spec, data: Reference) -> tuple[str, ...]:
    """Notes on columns that look meant for the model and are not read."""
    names = unread(spec.data, data)
    return (f"Columns of the data that were not read: {', '.join(names)}.",) if names else ()


def _examples(loaded: Loaded) -> Examples:
    return Examples(
        count=len(loaded.examples),
        tokens=sum(example.tokens for example in loaded.examples),
        targets=sum(example.targets for example in loaded.examples),
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


def _numbers(spec: Spec) -> tuple[str, ...]:
    """Remarks on the precision of a run's numbers."""
    found = []
    if spec.method.bits is not None:
        found.append(
            f"The base was held in {spec.method.bits} bits while the adapter learned; an audit and a score are of the "
            "adapter on the base as it is stored."
        )
    return tuple(found)


def _notes(fitted: Fitted, spec: Spec, policy: PolicyRun | None) -> tuple[str, ...]:
    """Remarks on parameters that did not learn, on losses that are no numbers, and on a run in pieces."""
    stacked = by_pattern((name, value) for name, value in fitted.model.named_parameters() if value.ndim > 2)
    notes = [*_numbers(spec)]
    if any(value.requires_grad and value.dtype == torch.bfloat16 for value in fitted.model.parameters()):
        notes.append("Weights of 8 bits' precision learned: a step below 2^-9 of a weight is lost.")
    notes += [f"Several matrices in one tensor (fused experts) did not learn: {', '.join(stacked)}."] if stacked else []
    losses = fitted.noted.losses
    if wrong := [step for step, loss in enumerate(losses, start=1) if not math.isfinite(loss)]:
        notes.append(f"The loss was not finite from step {wrong[0]} on, in {len(wrong)} of {len(losses)} steps.")
    if fitted.resumed:
        notes.append(f"Stopped and resumed after step {fitted.resumed}; the peak memory is that of the steps after it.")
    if policy is not None and policy.collapsed is not None:
        notes.append(
            f"The policy collapsed: from step {policy.collapsed} on, all prompts of a step had the same reply."
        )
    if spec.policy is not None and spec.training.batch_size == 1:
        constant = constant_from(fitted.noted.measured["distinct"], spec.policy.replies)
        if constant is not None:
            notes.append(
                f"From step {constant} on, all replies of a step were the same: with one prompt a step, a policy that "
                "collapsed looks like one that is sure."
            )
    return tuple(notes)
