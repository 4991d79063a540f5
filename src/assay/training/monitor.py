"""Intruder dimensions while a model is trained: a callback for any transformers Trainer."""

from __future__ import annotations

import inspect
import math
import statistics
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor
from transformers import TrainerCallback
from transformers.trainer_callback import CallbackHandler

from assay.errors import MismatchError, SettingError
from assay.linalg import AbstractOperator, Dense, LowRank, Solver, Sum, Triplets, base_triplets, sigma_min_bound
from assay.measures.matrix import Question, measure_matrix
from assay.methods.method import body_matrices
from assay.records.audit import energies
from assay.weights.architecture import Architecture
from assay.weights.checkpoints import Checkpoint, open_checkpoint
from assay.weights.sides import Side

# Initialisations of PEFT that take the first factors out of the base, so that `scale B A` is not the update.
_TAKEN_OUT = ("pissa", "olora", "corda", "lora_ga", "loftq")


@final
class IntruderMonitor(TrainerCallback):  # type: ignore[misc]  # its base has no types
    """Logs, every few steps, what an audit of the model as it stands would find, through the trainer's own log.

    `intruders/count`, `intruders/undecided` and `intruders/energy_share` over all matrices, `intruders/relative_norm`
    = `||dW||_F / ||W0||_F` over the matrices that learn, together, and `intruders/effective_rank`, their median.
    So TensorBoard, W&B and trackio show them beside the loss. The spectra of the base are computed once and kept.

    A LoRA adapter is measured from its live factors. Full fine-tuning overwrites its base with the first step, so it is
    read from files. In a run of several processes the first one measures; its parameters must be whole (DDP, not FSDP).

    Args:
        every: steps between two measurements. One costs about twenty steps of a small model (benchmarks/steps.py), so
            that at the default it stays under 5% of the training.
        base: folder or hub id of the base; needed where there is no adapter, and not used where there is one.
        k: leading directions of every matrix that are judged.
        eps: a direction is an intruder if its largest overlap with the base is under this.

    Raises:
        SettingError: settings without meaning; when training begins: no base where one is needed, an adapter whose
            update is not `scale B A`, or no matrix to measure.

    Example:
        >>> from transformers import Trainer  # doctest: +SKIP
        >>> Trainer(model, callbacks=[assay.IntruderMonitor(every=50)]).train()  # doctest: +SKIP

    Source: arXiv 2410.21228v3, Algorithm 1; see `assay.measures.matrix`.
    """

    def __init__(self, every: int = 500, base: str | Path | None = None, k: int = 10, eps: float = 0.5) -> None:
        if every < 1 or k < 1 or not 0 < eps <= 1:
            raise SettingError(
                f"every is {every}, k {k}, eps {eps}", wanted="every and k of 1 or more, eps over 0 and up to 1"
            )
        self.every, self.base = every, base
        self._question = Question(k, (eps,))
        self._matrices: list[_AbstractLive] = []
        self._found: dict[str, float] = {}

    def on_init_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Go to the front of the trainer's callbacks."""
        # transformers (5.23) lets a callback add to a log only while the log is passed from one callback to the next,
        # and puts trackers before those that are given to it; the list is known to the caller alone.
        frame = inspect.currentframe()
        while frame is not None:
            handler = frame.f_locals.get("self")
            if isinstance(handler, CallbackHandler):
                handler.callbacks = [self, *(callback for callback in handler.callbacks if callback is not self)]
                return
            frame = frame.f_back

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Find the matrices, and say what is wrong before the first step."""
        self._found = {}
        if not state.is_world_process_zero:
            return
        self._matrices = [*_adapted(model)]
        if not self._matrices and self.base is None:
            raise SettingError(
                "the model has no LoRA adapter, and full fine-tuning overwrites its base",
                wanted="the base that training starts from",
                remedy='IntruderMonitor(base="FOLDER")',
            )
        if not self._matrices:
            self._matrices = [*_stored(model, open_checkpoint(str(self.base)))]
        if not self._matrices:
            raise SettingError("there is no matrix to measure", wanted="a transformer with linear layers")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure, where it is time to, and ask the trainer to log."""
        if self._matrices and state.global_step % self.every == 0:
            self._found = self.measure()
            control.should_log = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """Put what was measured into the log that goes to all trackers, and into the trainer's history."""
        if logs is not None and self._found:
            logs.update(self._found)
            state.log_history[-1].update(self._found)
            self._found = {}

    def measure(self) -> dict[str, float]:
        """Intruder count of the model at this step."""
        measured = [matrix.measure(self._question) for matrix in self._matrices]
        surely, _, total = energies([direction for one in measured for direction in one.directions])
        base = math.fsum(one.base_norm**2 for one in measured)
        update = math.fsum(one.update_norm**2 for one in measured)
        return {
            "intruders/count": sum(one.count for one in measured),
            "intruders/undecided": sum(one.undecided for one in measured),
            "intruders/energy_share": surely / total if total else 0.0,
            "intruders/relative_norm": math.sqrt(update / base) if base else 0.0,
            "intruders/effective_rank": statistics.median(one.effective_rank for one in measured),
        }


class _AbstractLive(ABC):
    """A matrix of a model that is being trained, beside its base."""

    def __init__(self) -> None:
        self._spectra: dict[Solver, Triplets] = {}
        self._sigma_min: float | None = None

    @abstractmethod
    def operators(self) -> tuple[AbstractOperator, AbstractOperator, AbstractOperator]:
        """W0, dW and W0 + dW as they stand, outputs x inputs."""

    def measure(self, question: Question) -> Any:
        """All measures of the matrix; the base's triplets are computed at the first time."""
        base, update, tuned = self.operators()

        def sigma_min() -> float:
            self._sigma_min = sigma_min_bound(base) if self._sigma_min is None else self._sigma_min
            return self._sigma_min

        return measure_matrix(base, update, tuned, question, self._spectrum, sigma_min)

    def _spectrum(self, base: AbstractOperator, solver: Solver) -> Triplets:
        if base.dtype != torch.float32:  # for few matrices, and twice as much memory if it were kept
            return base_triplets(base, solver=solver, dtype=base.dtype)
        if solver not in self._spectra:
            self._spectra[solver] = base_triplets(base, solver=solver, dtype=base.dtype)
        return self._spectra[solver]


@final
class _Adapted(_AbstractLive):
    """The update is a live LoRA layer's `scale B A`, kept in its factors."""

    def __init__(self, layer: Any, adapters: Sequence[str]) -> None:
        super().__init__()
        self._layer, self._adapters = layer, adapters

    def operators(self) -> tuple[AbstractOperator, AbstractOperator, AbstractOperator]:
        layer = self._layer
        weight = layer.get_base_layer().weight.detach().float()
        base = Dense(weight.T if layer.fan_in_fan_out else weight)
        factors = [
            (layer.lora_B[name].weight.detach(), layer.lora_A[name].weight.detach(), layer.scaling[name])
            for name in self._adapters
        ]
        B = torch.cat([scale * B for B, _, scale in factors], dim=1).float()
        A = torch.cat([A for _, A, _ in factors], dim=0).float()
        update = LowRank(B, A)
        return base, update, Sum(base, update)


@final
@dataclass
class _Read:
    """A base matrix and where it is stored."""

    checkpoint: Checkpoint
    name: str
    transposed: bool

    def matrix(self) -> Tensor:
        stored = self.checkpoint.read(self.name).float()
        return stored.T if self.transposed else stored


@final
class _Stored(_AbstractLive):
    """The matrix itself learns; its base is read from files each time, and not kept."""

    def __init__(self, parameter: Tensor, read: _Read) -> None:
        super().__init__()
        self._parameter, self._read = parameter, read

    def operators(self) -> tuple[AbstractOperator, AbstractOperator, AbstractOperator]:
        now = self._parameter.detach().float()
        base = Dense(self._read.matrix().to(now.device))
        tuned = Dense(now.T if self._read.transposed else now)
        return base, Sum(tuned, base, -1.0), tuned


def _adapted(model: Any) -> list[_Adapted]:
    """The LoRA layers of a model with an active adapter.

    Raises:
        SettingError: an adapter whose update is not `scale B A` on the base that the layer holds.
    """
    from peft.tuners.lora.layer import LoraLayer

    found = []
    configs = getattr(model, "peft_config", {})
    for name, module in model.named_modules():
        if not isinstance(module, LoraLayer):
            continue
        adapters = [adapter for adapter in module.active_adapters if adapter in module.lora_A]
        for adapter in adapters:
            init = str(getattr(configs.get(adapter), "init_lora_weights", ""))
            if module.use_dora.get(adapter) or init.startswith(_TAKEN_OUT):
                raise SettingError(
                    f"the update of {name} is not scale x B A ({'DoRA' if module.use_dora.get(adapter) else init})",
                    wanted="LoRA or rsLoRA",
                    remedy="audit its checkpoints",
                )
        if adapters and module.get_base_layer().weight.ndim == 2:
            found.append(_Adapted(module, adapters))
    return found


def _stored(model: Any, checkpoint: Checkpoint) -> list[_Stored]:
    """The body's matrices that learn, beside the base's.

    Raises:
        MismatchError: a matrix that the base does not have in that shape.
    """
    base, architecture = Side.of(checkpoint), Architecture(model, None)
    parameters, found = dict(model.named_parameters()), []
    for module in body_matrices(model):
        parameter = parameters[f"{module}.weight"]
        if not parameter.requires_grad:
            continue
        slot = architecture.place(f"{module}.weight", tuple(parameter.shape))
        name = base.find(slot.canonical)
        if name is None or checkpoint.tensors[name].shape != tuple(parameter.shape):
            raise MismatchError(
                f"the base has no {module}.weight of shape {tuple(parameter.shape)}",
                wanted="the base that training starts from",
                where=str(checkpoint.folder),
            )
        found.append(_Stored(parameter, _Read(checkpoint, name, slot.transposed)))
    return found
