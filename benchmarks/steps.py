"""What one training step costs here, against the same step in a plain transformers Trainer; and what the monitor adds.

Both parties train the same parameters of the same model on the same batches, in turns of a few steps in one process. A
step's time is that between two of its ends, with the loading of its batch, its log and its bookkeeping. Time of the
processor is recorded beside that of the clock, because another program changes the clock's.

    OMP_NUM_THREADS=1 python benchmarks/steps.py BASE DATA.jsonl [--rounds 4] [--steps 8] [--record FILE]
    OMP_NUM_THREADS=1 python benchmarks/steps.py BASE DATA.jsonl --options [--record FILE]
    OMP_NUM_THREADS=1 python benchmarks/steps.py BASE DATA.jsonl --monitor [--record FILE]

DATA has prompt and answer for a language model, text and label for an encoder. With `--options` both train under
options of a run in turn: precision, batches in parts, activations computed again, moments and bases in fewer bits. With
`--monitor` the time of one measurement of `IntruderMonitor`, its base's spectra kept, is set against the steps between
two.

Conclusion: the ratios and the share that it prints.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import Trainer, TrainerCallback, TrainingArguments, logging, set_seed

from assay.data.examples import collate, order, padding_id
from assay.data.objectives import objective_of
from assay.methods.method import body_matrices, head_modules
from assay.models.loading import find, head_for, load_base, load_tokenizer
from assay.records.record import write_text
from assay.training.loop import held_in
from assay.training.monitor import IntruderMonitor
from assay.training.run import train
from assay.training.schedule import OPTIMIZERS
from assay.training.spec import Spec, parse_spec

LORA: dict[str, Any] = {"name": "lora", "rank": 8, "lr": 1e-3}
FULL: dict[str, Any] = {"name": "full", "lr": 1e-5}
Arm = tuple[dict[str, Any], dict[str, Any]]  # settings of the method, and of the training
METHODS: dict[str, Arm] = {"lora": (LORA, {}), "full": (FULL, {})}
OPTIONS: dict[str, Arm] = {
    "full, bf16": (FULL, {"precision": "bf16"}),
    "full, bf16-weights": (FULL, {"precision": "bf16-weights"}),
    "full, adamw-8bit": (FULL, {"optimizer": "adamw-8bit"}),
    "full, gradient_accumulation 2": (FULL, {"gradient_accumulation": 2}),
    "full, gradient_checkpointing": (FULL, {"gradient_checkpointing": True}),
    "lora, bf16": (LORA, {"precision": "bf16"}),
    "lora, gradient_checkpointing": (LORA, {"gradient_checkpointing": True}),
    "lora, base_bits 4": (LORA | {"base_bits": 4}, {}),
}
Times = list[tuple[float, float]]  # clock and processor, at the end of every step


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("base", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--options", action="store_true")
    parser.add_argument("--monitor", action="store_true")
    parser.add_argument("--record", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()

    def spec(method: dict[str, Any], options: dict[str, Any]) -> Spec:
        with arguments.data.open(encoding="utf8") as rows:
            kind = "prompt-answer" if "prompt" in json.loads(rows.readline()) else "classification"
        data = {"kind": kind, "path": str(arguments.data), "max_length": 48}
        training = {"steps": arguments.steps, "batch_size": arguments.batch, "checkpoint_every": 0}
        tables = {"base": str(arguments.base), "data": data, "training": training | options, "method": method}
        return parse_spec(tables)

    found: dict[str, Any] = {
        "batch": arguments.batch,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "load": os.getloadavg()[0],
    }
    if arguments.monitor:
        found["monitor"] = monitored(spec(*METHODS["lora"]))
    else:
        found |= {"rounds": arguments.rounds, "steps": arguments.steps, "ratios": {}}
        for name, arm in (OPTIONS if arguments.options else METHODS).items():
            found["ratios"][name] = compared(spec(*arm), arguments.rounds)
            print(name, json.dumps(found["ratios"][name]), flush=True)
    print(json.dumps(found, indent=1))
    if arguments.record:
        part = "monitor" if arguments.monitor else "options" if arguments.options else "steps"
        kept = json.loads(arguments.record.read_text(encoding="utf8")) if arguments.record.exists() else {}
        kept.setdefault(arguments.base.name, {})[part] = found
        write_text(arguments.record, json.dumps(kept, indent=1) + "\n")


def compared(spec: Spec, rounds: int) -> dict[str, Any]:
    """Seconds of a step of both parties, and their ratio: of every step the least of all rounds, on the same batch."""
    parties: dict[str, Callable[[Spec], Times]] = {"ours": ours, "plain": plain}
    taken: dict[str, list[Times]] = {name: [] for name in parties}
    for turn in range(rounds):
        for name in sorted(parties, reverse=turn % 2 == 1):  # neither is always the first
            ends = parties[name](spec)[1:]  # the first step warms up
            taken[name].append([(after[0] - before[0], after[1] - before[1]) for before, after in pairwise(ends)])
    least = {
        name: [
            statistics.fmean(min(step[clock] for step in steps) for steps in zip(*turns, strict=True))
            for clock in (0, 1)
        ]
        for name, turns in taken.items()
    }
    return {
        "seconds": {name: found[0] for name, found in least.items()},
        "processor_seconds": {name: found[1] for name, found in least.items()},
        "ratio": least["ours"][0] / least["plain"][0],
        "processor_ratio": least["ours"][1] / least["plain"][1],
    }


def now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def ours(spec: Spec) -> Times:
    """The ends of the steps of `assay train`."""
    ends: Times = []
    with tempfile.TemporaryDirectory() as folder:
        train(spec, Path(folder) / "run", progress=lambda *_: ends.append(now()))
    return ends


def plain(spec: Spec) -> Times:
    """The ends of the steps of transformers' Trainer, with PEFT alone for LoRA."""
    ends: Times = []
    trainer = plain_trainer(spec, ends)
    trainer.train()
    return ends


def plain_trainer(spec: Spec, ends: Times, **arguments: Any) -> Trainer:
    """A Trainer with its own defaults, on the same examples in the same order."""
    place = find(spec.base)
    tokenizer = load_tokenizer(place)
    loaded = spec.data.load(Path(spec.data.path), tokenizer)
    set_seed(spec.seed)
    model = load_base(place, head_for(objective_of(spec.data)), loaded.labels, held=held_in(spec))
    if spec.method.name == "lora":
        head = head_modules(model)
        config = LoraConfig(r=8, lora_alpha=16, target_modules=body_matrices(model), modules_to_save=head or None)
        model = get_peft_model(model, config)
    else:
        model = spec.method.prepare(model)
    batch, steps = spec.training.batch_size, spec.training.steps
    examples = [loaded.examples[i] for i in order(len(loaded.examples), steps * batch, spec.seed)]

    class Ends(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(now())

    return Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=tempfile.mkdtemp(),
            max_steps=steps,
            per_device_train_batch_size=spec.training.part,
            gradient_accumulation_steps=spec.training.gradient_accumulation,
            gradient_checkpointing=spec.training.gradient_checkpointing,
            gradient_checkpointing_kwargs={"use_reentrant": False},  # as ours: frozen inputs have no gradient
            bf16=spec.training.precision != "float32",
            optim=OPTIMIZERS.get(spec.training.optimizer, TrainingArguments.optim),
            learning_rate=spec.method.lr,
            train_sampling_strategy="sequential",
            remove_unused_columns=False,
            dataloader_pin_memory=False,
            use_cpu=True,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        ),
        train_dataset=examples,
        data_collator=lambda rows: collate(rows, padding_id(tokenizer)),
        callbacks=[Ends()],
    )


def monitored(spec: Spec) -> dict[str, Any]:
    """Seconds of a measurement with the base's spectra kept, and its share of training at the default interval."""
    monitor = IntruderMonitor()
    ends: Times = []
    trainer = plain_trainer(spec, ends)
    trainer.train()
    monitor.on_train_begin(trainer.args, trainer.state, trainer.control, model=trainer.model)
    marks = [now()]
    for _ in range(3):  # the first one computes the base's spectra
        monitor.measure()
        marks.append(now())
    first, *others = [(after[1] - before[1]) for before, after in pairwise(marks)]
    step = statistics.median(after[1] - before[1] for before, after in pairwise(ends[1:]))
    every = inspect.signature(IntruderMonitor).parameters["every"].default
    once = min(others)
    return {
        "every": every,
        "step_processor_seconds": step,
        "first_processor_seconds": first,
        "measure_processor_seconds": once,
        "share": once / (once + every * step),
    }


if __name__ == "__main__":
    main()
