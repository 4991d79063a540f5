"""The one loop in which every method is trained: transformers' Trainer on examples in a fixed order."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from assay.data.examples import Loaded, order, padding_id
from assay.data.objectives import objective_of
from assay.errors import StoppedError
from assay.methods.method import head_modules
from assay.models.loading import Place, head_for, load_base
from assay.models.precision import Held
from assay.records.run import Cost
from assay.training.accounting import PeakMemory
from assay.training.policy import policy_trainer
from assay.training.processes import Processes
from assay.training.resuming import STANDING, Noted, Standing, optimizer_tensors, read_standing, write_standing
from assay.training.schedule import OPTIMIZERS
from assay.training.spec import Spec
from assay.training.trainers import MEASURED, Ordered, language_trainer, reward_trainer

Progress = Callable[[int, int, float], None]  # step, steps, loss


@dataclass(frozen=True)
class Fitted:
    """Results of the training loop.

    Attributes:
        model: the trained model.
        noted: what was noted of every step.
        resumed: the step after which the run went on; 0 if it was not stopped.
        trainer: what trained it.
    """

    model: Any
    noted: Noted
    resumed: int
    trainer: Any


@dataclass(frozen=True)
class Job:
    """The loop, with all that it needs.

    Attributes:
        spec, base, tokenizer, loaded, device: what is trained, on what, where.
        key: names the run in the file where it stands.
        scratch: a folder for that file.
        keep: called with the model after every step of `save_at`.
        progress: called after every step.
        processes: those that train together.
        until: when to stop, on the clock of `time.monotonic`.
    """

    spec: Spec
    base: Place
    tokenizer: Any
    loaded: Loaded
    device: str
    key: str
    scratch: Path
    keep: Callable[[int, Any], None]
    progress: Progress | None
    processes: Processes
    until: float = math.inf

    def fit(self) -> Fitted:
        """Train, from where the run stood."""
        from transformers import set_seed

        spec = self.spec
        # A new head and a new adapter are drawn from the same generator state in every arm.
        set_seed(spec.seed)
        model = load_base(self.base, head_for(objective_of(spec.data)), self.loaded.labels, self.device, held_in(spec))
        if model.config.pad_token_id is None:
            model.config.pad_token_id = padding_id(self.tokenizer)
        set_seed(spec.seed)
        heads = head_modules(model)
        model = spec.method.prepare(model)
        standing = read_standing(self._file, self.key)
        noted = standing.noted if standing is not None else Noted()
        noted.parts = spec.training.gradient_accumulation
        done = standing.step if standing is not None else 0
        trainer = self._trainer(model, noted, done)
        learner = trainer.model  # of REINFORCE, the value model too
        optimizer = trainer.create_optimizer()
        trainer.lr_scheduler = self._schedule(optimizer)
        if standing is not None:
            standing.put_into(learner, optimizer, trainer.lr_scheduler)
        if self.processes.first:
            head = [value for name, value in model.named_parameters() if value.requires_grad and _within(name, heads)]
            trainer.add_callback(self._callback(noted, standing, model, learner, optimizer, head))
        trainer.train()
        return Fitted(model, noted, done, trainer)

    @property
    def _file(self) -> Path:
        return self.scratch / STANDING

    def _trainer(self, model: Any, noted: Noted, done: int) -> Any:
        """The objective's Trainer for the steps that are left."""
        from transformers.trainer_callback import PrinterCallback, ProgressCallback

        training, examples = self.spec.training, self.loaded.examples
        positions = order(len(examples), training.steps * training.batch_size, self.spec.seed)
        left = Ordered([examples[i] for i in positions[done * training.batch_size :]])
        given = (model, self._arguments(training.steps - done), left, self.tokenizer, noted.batch)
        if self.spec.policy is not None:
            trainer = policy_trainer(*given, self.spec, self.base)
        else:
            trainer = (reward_trainer if objective_of(self.spec.data) == "reward" else language_trainer)(*given)
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        return trainer

    def _schedule(self, optimizer: Any) -> Any:
        """The learning rate over all steps, those that are done too."""
        from transformers import get_scheduler

        training = self.spec.training
        return get_scheduler(
            training.decay,
            optimizer,
            num_warmup_steps=round(training.warmup * training.steps),
            num_training_steps=training.steps,
        )

    def _arguments(self, steps: int) -> dict[str, Any]:
        """Arguments of every trainer."""
        spec = self.spec
        return {
            "output_dir": str(self.scratch),
            "max_steps": steps,
            "per_device_train_batch_size": spec.training.part,
            "gradient_accumulation_steps": spec.training.gradient_accumulation,
            # Said in every case: TRL computes in bfloat16, and activations twice, unless it is told not to.
            "bf16": spec.training.precision != "float32",
            "gradient_checkpointing": spec.training.gradient_checkpointing,
            "gradient_checkpointing_kwargs": {"use_reentrant": False},  # frozen inputs have no gradient to enter by
            **({"optim": OPTIMIZERS[optimizer]} if (optimizer := spec.training.optimizer) in OPTIMIZERS else {}),
            # The first process makes every batch whole, so that it is the same one for any number of processes.
            "accelerator_config": {"split_batches": True, "dispatch_batches": self.processes.count > 1},
            "learning_rate": spec.method.lr,
            "weight_decay": spec.method.weight_decay,
            "max_grad_norm": spec.training.max_grad_norm,
            "seed": spec.seed,
            "use_cpu": self.device == "cpu",
            "train_sampling_strategy": "sequential",
            "remove_unused_columns": False,
            "dataloader_pin_memory": False,
            "save_strategy": "no",
            "logging_steps": 1,
            "logging_nan_inf_filter": False,  # a loss that is no number is told as it is
            "report_to": [],
            "disable_tqdm": True,
        }

    def _callback(
        self,
        noted: Noted,
        standing: Standing | None,
        model: Any,
        learner: Any,
        optimizer: Any,
        head: Sequence[torch.nn.Parameter],
    ) -> Any:
        """Notes every step, passes its loss on, and writes where the run stands."""
        from transformers import TrainerCallback

        job, training = self, self.spec.training
        done = standing.step if standing is not None else 0
        earlier = noted.whole_seconds

        class Notes(TrainerCallback):  # type: ignore[misc]  # its base has no types
            """transformers is imported late, so its subclass is made late."""

            started = begun = head_norm = 0.0

            def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if state.global_step == 0:
                    if standing is not None:
                        standing.put_randomness()
                    self.started = time.perf_counter()
                self.begun = time.perf_counter()

            def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
                self.head_norm = float(
                    torch.nn.utils.get_total_norm([value.grad for value in head if value.grad is not None])
                )

            def on_step_end(self, *_: Any, **__: Any) -> None:
                ended = time.perf_counter()
                noted.seconds.append(ended - self.begun)
                noted.whole_seconds = earlier + ended - self.started

            def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
                if "loss" not in logs:  # the log of the whole, after the last step
                    return
                step = done + state.global_step
                noted.losses.append(float(logs["loss"]))
                noted.norms.append(norm := float(logs["grad_norm"]))
                if head:  # its gradient was clipped with the rest when it was looked at
                    unclipped = self.head_norm * max(1.0, norm / training.max_grad_norm)
                    noted.measured.setdefault("head_gradient_norm", []).append(unclipped)
                if step in training.save_at:
                    job.keep(step, model)
                for key in MEASURED.keys() & logs.keys():
                    noted.measured.setdefault(MEASURED[key], []).append(float(logs[key]))
                if job.spec.policy is not None:
                    replies = training.batch_size * job.spec.policy.replies
                    noted.tokens[step - 1] += round(noted.measured["length"][-1] * replies)
                every = training.checkpoint_every
                if every and step % every == 0 and step < training.steps:
                    write_standing(job._file, job.key, step, learner, optimizer, noted)
                if job.progress is not None:
                    job.progress(step, training.steps, noted.losses[-1])
                if time.monotonic() >= job.until and step < training.steps:
                    write_standing(job._file, job.key, step, learner, optimizer, noted)
                    raise StoppedError(
                        f"the time is up after step {step} of {training.steps}",
                        remedy="start it again: it goes on from there",
                    )

        return Notes()


def _within(name: str, modules: Sequence[str]) -> bool:
    """True if a parameter belongs to one of some modules, under whatever PEFT wraps around the model."""
    return any(f".{module}." in f".{name}" for module in modules)


def held_in(spec: Spec) -> Held:
    """In which numbers a run holds its base."""
    precision = spec.training.precision
    return Held(
        numbers="bf16" if precision == "bf16-weights" else "float32",
        bits=spec.method.bits,
        computed="float32" if precision == "float32" else "bf16",
        attention=spec.training.attention,
    )


def cost_of(fitted: Fitted, device: str, memory: PeakMemory, processes: Processes) -> Cost:
    """Cost of the noted steps."""
    noted, peak = fitted.noted, memory.above_start()
    learner, states = fitted.trainer.model, optimizer_tensors(fitted.trainer.optimizer)
    held = sum(value.nbytes for value in states.values())
    return Cost(
        seconds=noted.whole_seconds,
        step_seconds=statistics.median(noted.seconds),
        tokens_per_second=sum(noted.tokens) / noted.whole_seconds,
        start_bytes=memory.start_bytes,
        peak_bytes=peak,
        optimizer_bytes=held,
        checkpoint_bytes=held + sum(value.nbytes for value in learner.parameters() if value.requires_grad),
        device=device,
        threads=torch.get_num_threads(),
        processes=processes.count,
    )
