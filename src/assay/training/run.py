"""One training run: one loop for every method, and a folder that is written whole or not at all."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from assay import digests
from assay.accounting import PeakMemory, by_pattern
from assay.conditions import Condition, differing, pair_key, pool_key
from assay.data import Example, Loaded, batch_hash, collate, objective_of, order, padding_id
from assay.errors import SettingError, SourceError
from assay.models import Place, find, load_base, load_tokenizer, relative
from assay.records import Provenance, Run, Source
from assay.records.run import Cost, Examples, Trained
from assay.training.spec import Spec, read_spec

_RECORD = "run.json"
_PACKAGES = ("torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors")

Progress = Callable[[int, int, float], None]  # step, steps, loss


def train(
    spec: str | Path | Spec, out: str | Path | None = None, device: str = "cpu", progress: Progress | None = None
) -> Run:
    """Run a specification, and write the weights, the tokenizer and `run.json` to a folder.

    A folder that holds the same run already is left as it is, and its record is returned.

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
    conditions = _conditions(settings, base, data_file)
    if folder.exists() and any(folder.iterdir()):
        return _done_before(folder, conditions, _arm(settings))
    memory = PeakMemory(device)
    tokenizer = load_tokenizer(base)
    loaded = settings.data.load(data_file, tokenizer)
    with _whole(folder) as partial:
        job = _Job(settings, base, tokenizer, loaded, device, progress)
        model, stepped = job.fit(partial / "trainer")
        cost = stepped.cost(device, memory)
        on_hub = base.source.revision is not None
        named = base.source.name if on_hub else relative(base.folder, folder.resolve())
        settings.method.save(model, partial, named, base.source.revision)
        tokenizer.save_pretrained(partial)
        shutil.rmtree(partial / "trainer", ignore_errors=True)
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
            arm=_arm(settings),
            initialisation=settings.method.initialisation(),
            examples=_examples(loaded),
            trained=_trained(model, weights),
            losses=stepped.losses,
            batch_hashes=tuple(stepped.hashes),
            weights_digest=digests.of_files(weights),
            cost=cost,
            notes=_notes(model),
        )
        record.save(partial / _RECORD)
    return record


@dataclass
class _Stepped:
    """What is noted while the loop runs."""

    hashes: list[str]
    begun: list[float]
    ended: list[float]
    tokens: int = 0
    losses: tuple[float, ...] = ()

    def cost(self, device: str, memory: PeakMemory) -> Cost:
        steps = [end - begin for begin, end in zip(self.begun, self.ended, strict=True)]
        return Cost(
            seconds=self.ended[-1] - self.begun[0],
            step_seconds=statistics.median(steps),
            tokens_per_second=self.tokens / (self.ended[-1] - self.begun[0]),
            start_bytes=memory.start_bytes,
            peak_bytes=memory.above_start(),
            device=device,
            threads=torch.get_num_threads(),
        )


@dataclass(frozen=True)
class _Job:
    """The loop, with all that it needs."""

    spec: Spec
    base: Place
    tokenizer: Any
    loaded: Loaded
    device: str
    progress: Progress | None

    def fit(self, scratch: Path) -> tuple[Any, _Stepped]:
        """Train, and return the model with what was noted."""
        from transformers import Trainer, set_seed
        from transformers.trainer_callback import PrinterCallback, ProgressCallback

        spec, stepped = self.spec, _Stepped([], [], [])
        # A new head and a new adapter are drawn from the same generator state in every arm.
        set_seed(spec.seed)
        model = load_base(self.base, objective_of(spec.data), self.loaded.labels, self.device)
        if model.config.pad_token_id is None:
            model.config.pad_token_id = padding_id(self.tokenizer)
        set_seed(spec.seed)
        model = spec.method.prepare(model)
        examples = self.loaded.examples
        positions = order(len(examples), spec.training.steps * spec.training.batch_size, spec.seed)
        trainer = Trainer(
            model=model,
            args=self._arguments(scratch),
            train_dataset=_Ordered([examples[i] for i in positions]),
            data_collator=self._collator(stepped),
            callbacks=[_callback(stepped, self.progress)],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        trainer.train()
        stepped.losses = tuple(float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry)
        return model, stepped

    def _collator(self, stepped: _Stepped) -> Callable[[Sequence[Example]], dict[str, torch.Tensor]]:
        pad = padding_id(self.tokenizer)

        def make(examples: Sequence[Example]) -> dict[str, torch.Tensor]:
            batch = collate(examples, pad)
            stepped.hashes.append(batch_hash(batch))
            stepped.tokens += int(batch["attention_mask"].sum())
            return batch

        return make

    def _arguments(self, scratch: Path) -> Any:
        from transformers import TrainingArguments

        spec = self.spec
        return TrainingArguments(
            output_dir=str(scratch),
            max_steps=spec.training.steps,
            per_device_train_batch_size=spec.training.batch_size,
            learning_rate=spec.method.lr,
            weight_decay=spec.method.weight_decay,
            lr_scheduler_type=spec.training.decay,
            warmup_steps=_warmup_steps(spec),
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


class _Ordered(torch.utils.data.Dataset[Example]):
    """Examples in the order in which they are to be seen; the loop takes them one after the other."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, position: int) -> Example:
        return self._examples[position]


def _callback(stepped: _Stepped, progress: Progress | None) -> Any:
    """Notes the time of every step, and passes the loss on."""
    from transformers import TrainerCallback

    class Notes(TrainerCallback):  # type: ignore[misc]
        """transformers is imported late, so its subclass is made late."""

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            stepped.begun.append(time.perf_counter())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            stepped.ended.append(time.perf_counter())

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
            if progress is not None and "loss" in logs:
                progress(state.global_step, state.max_steps, float(logs["loss"]))

    return Notes()


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A folder beside the wanted one, renamed to it at the end: a killed run leaves nothing that looks done.

    What an earlier, killed run left under the same name is removed first.
    """
    partial = folder.parent / f".{folder.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


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


def _warmup_steps(spec: Spec) -> int:
    return round(spec.training.warmup * spec.training.steps)


def _conditions(spec: Spec, base: Place, data_file: Path) -> dict[str, Condition]:
    """All that must be equal for two arms to be compared."""
    data = {f"data.{name}": value for name, value in spec.data.model_dump(exclude={"path"}).items()}
    training = {f"training.{name}": value for name, value in spec.training.model_dump().items()}
    return {
        "base": base.source.digest,
        "data": digests.of_files([data_file]),
        **data,
        **training,
        "optimizer": "adamw",
        "precision": "float32",
        "seed": spec.seed,
    }


def _arm(spec: Spec) -> dict[str, Condition]:
    """What this arm chose for itself."""
    return {f"method.{name}": value for name, value in {**spec.method.model_dump(), **spec.method.derived()}.items()}


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


def _notes(model: Any) -> tuple[str, ...]:
    """What a reader must know of what did not learn."""
    stacked = by_pattern((name, value) for name, value in model.named_parameters() if value.ndim > 2)
    if not stacked:
        return ()
    return (f"Several matrices in one tensor (fused experts) did not learn: {', '.join(stacked)}.",)
