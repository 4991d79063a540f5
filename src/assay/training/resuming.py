"""Training checkpoint: parameters, optimizer, random state and the notes of every step, in one file written whole."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from assay.weights.writing import writing

STANDING = "standing.safetensors"
_LEARNED, _OPTIMIZER, _CPU, _CUDA = "learned.", "optimizer.", "random.cpu", "random.cuda"
_COUNT = "#"  # behind the name of a whole number


@dataclass
class Noted:
    """Notes of every step; a list has one entry a step, or is ahead by the batches that were fetched early.

    Attributes:
        hashes: of the batches; tokens: in them, without padding.
        seconds: each step took; losses: its training loss; norms: of its gradient, before it is clipped; measured: what
            else the trainer said of it, by name.
        whole_seconds: all steps together, with what lies between them.
        parts: into which a batch is cut; pending: hash and tokens of those of the batch at hand.
    """

    hashes: list[str] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    measured: dict[str, list[float]] = field(default_factory=dict)
    whole_seconds: float = 0.0
    parts: int = 1
    pending: list[tuple[str, int]] = field(default_factory=list)

    def batch(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Note a batch that was made, or a part of one, and hand it on."""
        self.pending.append((batch_hash(batch), int(batch["attention_mask"].sum())))
        if len(self.pending) == self.parts:
            hashes = [one for one, _ in self.pending]
            whole = hashes[0] if self.parts == 1 else hashlib.sha256(" ".join(hashes).encode()).hexdigest()[:16]
            self.hashes.append(whole)
            self.tokens.append(sum(tokens for _, tokens in self.pending))
            self.pending.clear()
        return batch

    def until(self, step: int) -> Noted:
        """The notes of the first steps."""
        lists = (self.hashes[:step], self.tokens[:step], self.seconds[:step], self.losses[:step], self.norms[:step])
        measured = {name: values[:step] for name, values in self.measured.items()}
        return Noted(*lists, measured, self.whole_seconds, self.parts)


@dataclass(frozen=True)
class Standing:
    """A run after some of its steps.

    Attributes:
        step: how many are done.
        noted: what was noted of them.
        rates: the learning rate of every group of parameters.
        tensors: what learned, the optimizer's state and the random generators', by name.
    """

    step: int
    noted: Noted
    rates: list[float]
    tensors: dict[str, torch.Tensor]

    def put_into(self, model: Any, optimizer: Any, scheduler: Any) -> None:
        """Set the parameters that learn, the optimizer and the schedule to where they stood."""
        with torch.no_grad():
            for name, value in _learning(model).items():
                value.copy_(self.tensors[_LEARNED + name])
        state: dict[int, Any] = {}
        for name, value in self.tensors.items():
            if name.startswith(_OPTIMIZER):
                position, *keys = name.removeprefix(_OPTIMIZER).split(".")
                inner = state.setdefault(int(position), {})
                for key in keys[:-1]:
                    inner = inner.setdefault(key, {})
                last = keys[-1]
                inner[last.removesuffix(_COUNT)] = int(value) if last.endswith(_COUNT) else value
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        for group, rate in zip(optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate
        before = {"last_epoch": self.step, "_step_count": self.step + 1, "_last_lr": self.rates}
        scheduler.load_state_dict({**scheduler.state_dict(), **before})

    def put_randomness(self) -> None:
        """Set the random generators to where they stood; the last thing before the next step."""
        torch.set_rng_state(self.tensors[_CPU])
        if _CUDA in self.tensors:
            torch.cuda.set_rng_state(self.tensors[_CUDA])


def write_standing(path: Path, key: str, step: int, model: Any, optimizer: Any, noted: Noted) -> None:
    """Write where a run stands; the file before it stays until this one is whole.

    Args:
        path: the file.
        key: names the run: what is read under another key is of another run.
        step: how many steps are done.
        model, optimizer: as they are.
        noted: what was noted so far.

    Raises:
        WriteError: it cannot be written.
    """
    tensors = {_LEARNED + name: value.detach() for name, value in _learning(model).items()}
    tensors |= {f"{_OPTIMIZER}{name}": value for name, value in optimizer_tensors(optimizer).items()}
    tensors[_CPU] = torch.get_rng_state()
    if next(model.parameters()).is_cuda:
        tensors[_CUDA] = torch.cuda.get_rng_state()
    rates = [group["lr"] for group in optimizer.param_groups]
    about = {"key": key, "step": step, "rates": rates, "noted": asdict(noted.until(step))}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    before = "the run goes on from the checkpoint before" if path.exists() else "the run begins anew"
    try:
        with writing(path, f"free space, and start it again: {before}"):
            save_file(
                {name: value.contiguous() for name, value in tensors.items()},
                unfinished,
                metadata={"about": json.dumps(about, allow_nan=True)},
            )
            os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def optimizer_tensors(optimizer: Any) -> dict[str, torch.Tensor]:
    """An optimizer's state by the positions of its parameters and its names; bitsandbytes nests it, and counts."""
    found: dict[str, torch.Tensor] = {}
    seen: set[int] = set()

    def walk(prefix: str, state: dict[Any, Any]) -> None:
        for name, value in state.items():
            if isinstance(value, dict):
                walk(f"{prefix}{name}.", value)
            elif isinstance(value, torch.Tensor):
                shared = value.data_ptr() in seen  # bitsandbytes' maps of codes, which safetensors stores once
                seen.add(value.data_ptr())
                found[f"{prefix}{name}"] = value.clone() if shared else value
            elif isinstance(value, int):
                found[f"{prefix}{name}{_COUNT}"] = torch.tensor(value)

    walk("", optimizer.state_dict()["state"])
    return found


def read_standing(path: Path, key: str) -> Standing | None:
    """The training checkpoint of the run of this key; None if the file is missing, unreadable or of another run."""
    try:
        with safe_open(path, framework="pt") as file:
            about = _about(file)
            if about.get("key") != key:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError):
        return None
    return Standing(about["step"], Noted(**about["noted"]), about["rates"], tensors)


def key_of(path: Path) -> str | None:
    """The key of the run that stood in a file; None if the file is not there, or not readable."""
    try:
        with safe_open(path, framework="pt") as file:
            key: str | None = _about(file).get("key")
            return key
    except (SafetensorError, OSError):
        return None


def _about(file: Any) -> dict[str, Any]:
    about: dict[str, Any] = json.loads((file.metadata() or {}).get("about", "{}"))
    return about


def batch_hash(batch: dict[str, torch.Tensor]) -> str:
    """Hash of a batch as the model receives it."""
    whole = hashlib.sha256()
    for name in sorted(batch):
        whole.update(f"{name} {tuple(batch[name].shape)} {batch[name].dtype}".encode())
        whole.update(batch[name].contiguous().numpy().tobytes())
    return whole.hexdigest()[:16]


def _learning(model: Any) -> dict[str, torch.Tensor]:
    return {name: value for name, value in model.named_parameters() if value.requires_grad}
