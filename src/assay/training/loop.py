"""The one loop in which every method is trained: transformers' Trainer on examples in a fixed order."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from assay.accounting import PeakMemory
from assay.data import Example, Loaded, batch_hash, collate, objective_of, order, padding_id
from assay.models import Place, load_base
from assay.records.run import Cost
from assay.training.resuming import Noted, Standing, read_standing, write_standing
from assay.training.spec import Spec

Progress = Callable[[int, int, float], None]  # step, steps, loss


@dataclass(frozen=True)
class Job:
    """The loop, with all that it needs.

    Attributes:
        spec, base, tokenizer, loaded, device: what is trained, on what, where.
        key: names the run in the file where it stands.
        scratch: a folder for that file.
        progress: called after every step.
    """

    spec: Spec
    base: Place
    tokenizer: Any
    loaded: Loaded
    device: str
    key: str
    scratch: Path
    progress: Progress | None

    def fit(self) -> tuple[Any, Noted, int]:
        """Train; return the model, what was noted, and the step after which the run was resumed (0: it was not)."""
        from transformers import set_seed

        spec = self.spec
        # A new head and a new adapter are drawn from the same generator state in every arm.
        set_seed(spec.seed)
        model = load_base(self.base, objective_of(spec.data), self.loaded.labels, self.device)
        if model.config.pad_token_id is None:
            model.config.pad_token_id = padding_id(self.tokenizer)
        set_seed(spec.seed)
        model = spec.method.prepare(model)
        standing = read_standing(self._file, self.key)
        noted = standing.noted if standing is not None else Noted()
        done = standing.step if standing is not None else 0
        trainer = self._trainer(model, noted, done)
        optimizer = trainer.create_optimizer()
        trainer.lr_scheduler = self._schedule(optimizer)
        if standing is not None:
            standing.put_into(model, optimizer, trainer.lr_scheduler)
        trainer.add_callback(self._callback(noted, standing, model, optimizer))
        trainer.train()
        return model, noted, done

    @property
    def _file(self) -> Path:
        return self.scratch / "standing.safetensors"

    def _trainer(self, model: Any, noted: Noted, done: int) -> Any:
        """A Trainer for the steps that are left."""
        from transformers import Trainer
        from transformers.trainer_callback import PrinterCallback, ProgressCallback

        training, examples = self.spec.training, self.loaded.examples
        positions = order(len(examples), training.steps * training.batch_size, self.spec.seed)
        trainer = Trainer(
            model=model,
            args=self._arguments(training.steps - done),
            train_dataset=_Ordered([examples[i] for i in positions[done * training.batch_size :]]),
            data_collator=self._collator(noted),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        return trainer

    def _collator(self, noted: Noted) -> Callable[[Sequence[Example]], dict[str, torch.Tensor]]:
        pad = padding_id(self.tokenizer)

        def make(examples: Sequence[Example]) -> dict[str, torch.Tensor]:
            batch = collate(examples, pad)
            noted.hashes.append(batch_hash(batch))
            noted.tokens.append(int(batch["attention_mask"].sum()))
            return batch

        return make

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

    def _arguments(self, steps: int) -> Any:
        from transformers import TrainingArguments

        spec = self.spec
        return TrainingArguments(
            output_dir=str(self.scratch),
            max_steps=steps,
            per_device_train_batch_size=spec.training.batch_size,
            learning_rate=spec.method.lr,
            weight_decay=spec.method.weight_decay,
            max_grad_norm=spec.training.max_grad_norm,
            seed=spec.seed,
            use_cpu=self.device == "cpu",
            train_sampling_strategy="sequential",
            remove_unused_columns=False,
            dataloader_pin_memory=False,
            save_strategy="no",
            logging_steps=1,
            report_to=[],
            disable_tqdm=True,
        )

    def _callback(self, noted: Noted, standing: Standing | None, model: Any, optimizer: Any) -> Any:
        """Notes every step, passes its loss on, and writes where the run stands."""
        from transformers import TrainerCallback

        job, training = self, self.spec.training
        done = standing.step if standing is not None else 0
        earlier = noted.whole_seconds

        class Notes(TrainerCallback):  # type: ignore[misc]
            """transformers is imported late, so its subclass is made late."""

            started = begun = 0.0

            def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if state.global_step == 0:
                    if standing is not None:
                        standing.put_randomness()
                    self.started = time.perf_counter()
                self.begun = time.perf_counter()

            def on_step_end(self, *_: Any, **__: Any) -> None:
                ended = time.perf_counter()
                noted.seconds.append(ended - self.begun)
                noted.whole_seconds = earlier + ended - self.started

            def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
                if "loss" not in logs:  # the log of the whole, after the last step
                    return
                step = done + state.global_step
                noted.losses.append(float(logs["loss"]))
                every = training.checkpoint_every
                if every and step % every == 0 and step < training.steps:
                    write_standing(job._file, job.key, step, model, optimizer, noted)
                if job.progress is not None:
                    job.progress(step, training.steps, noted.losses[-1])

        return Notes()


class _Ordered(torch.utils.data.Dataset[Example]):
    """Examples in the order in which they are to be seen; the loop takes them one after the other."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, position: int) -> Example:
        return self._examples[position]


def cost_of(noted: Noted, device: str, memory: PeakMemory) -> Cost:
    """What the noted steps cost."""
    return Cost(
        seconds=noted.whole_seconds,
        step_seconds=statistics.median(noted.seconds),
        tokens_per_second=sum(noted.tokens) / noted.whole_seconds,
        start_bytes=memory.start_bytes,
        peak_bytes=memory.above_start(),
        device=device,
        threads=torch.get_num_threads(),
    )
