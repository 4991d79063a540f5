"""What the measures that foresee forgetting add to an audit and to a score at their defaults.

One run of each command, in which the processor's time inside of the added measures is counted apart: the ratio is the
whole run over the run without them. Of an audit they are the kind of change (off the principal directions, drift of
singular values, what stands above noise, entries left as they were, NF4 as a yardstick); of a score the divergence from
the base and activation drift. The tuned models are made of a seed: an adapter of rank 16 on every matrix, and a
checkpoint with the same adapter merged and noise on every matrix.

    OMP_NUM_THREADS=1 python benchmarks/measures.py BASE TEXT.jsonl TASK.jsonl [--layers 6] [--record FILE]

Conclusion: the ratios that it prints; at most 1.2 is wanted.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from peft import LoraConfig, get_peft_model
from transformers import logging

from assay import audits
from assay.behaviour import divergence, parts
from assay.behaviour.activation_drift import Followed
from assay.behaviour.scoring import score
from assay.measures import matrix
from assay.models.loading import find, load, load_tokenizer
from assay.records.record import write_text

OF_AUDITS = ((matrix, "_of_change"), (matrix, "_of_noise"), (audits, "_of_stored"))
# Not what these call of each other: time is counted once, in the outermost.
OF_SCORES = (
    (Followed, "of"),
    (Followed, "_ask"),
    (Followed, "settled"),
    (divergence, "_both"),
    (divergence, "_makes"),
    (divergence, "_written"),
    (divergence, "_read"),
    (divergence, "divergence"),
    (parts, "settled"),
)
RANK, NOISE = 16, 1e-4


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("base", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("task", type=Path)
    parser.add_argument("--layers", type=int, default=6, help="every so many layers are audited")
    parser.add_argument("--record", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    found: dict[str, Any] = {"threads": 1, "torch": torch.__version__, "rank": RANK, "ratios": {}}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ASSAY_CACHE_DIR"] = str(Path(folder) / "cache")
        tuned = made(arguments.base, Path(folder))
        layers = range(
            0, int(json.loads((arguments.base / "config.json").read_text())["num_hidden_layers"]), arguments.layers
        )
        chosen = [f"*layers.{layer}.*" for layer in layers]
        for name, model in tuned.items():
            for what, run in (
                ("audit, base not kept", lambda model=model: audits.audit(arguments.base, model, matrices=chosen)),
                ("audit, base kept", lambda model=model: audits.audit(arguments.base, model, matrices=chosen)),
                ("score", lambda model=model: score(arguments.base, model, arguments.text, arguments.task)),
            ):
                if what == "audit, base not kept" and name != "adapter":
                    continue  # its base's spectra are there by now
                of = OF_SCORES if what == "score" else OF_AUDITS
                found["ratios"][f"{what}, {name}"] = one = ratio(run, of)
                print(f"{what}, {name}", json.dumps(one), flush=True)
                found["load"] = os.getloadavg()[0]
                if arguments.record:
                    write_text(arguments.record, json.dumps(found, indent=1) + "\n")


def made(base: Path, folder: Path) -> dict[str, Path]:
    """An adapter and a checkpoint, drawn from a seed."""
    torch.manual_seed(0)
    model = load(find(base), "causal-lm")
    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted = get_peft_model(model, config)
    for name, value in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=NOISE)
    adapted.peft_config["default"].base_model_name_or_path = str(base.resolve())
    adapted.save_pretrained(folder / "adapter")
    whole = adapted.merge_and_unload()
    with torch.no_grad():
        for value in whole.parameters():
            if value.ndim == 2:
                value += NOISE * torch.randn_like(value)
    whole.save_pretrained(folder / "checkpoint")
    load_tokenizer(find(base)).save_pretrained(folder / "checkpoint")
    return {name: folder / name for name in ("adapter", "checkpoint")}


def ratio(run: Callable[[], Any], added: tuple[tuple[Any, str], ...]) -> dict[str, Any]:
    """Seconds of the processor of a run, those inside of what was added, and the ratio of all to the rest."""
    inside: dict[str, float] = {}
    with ExitStack() as stack:
        for owner, name in added:
            stack.enter_context(counted(owner, name, inside))
        began = time.process_time()
        run()
        seconds = time.process_time() - began
    spent = sum(inside.values())
    return {"seconds": seconds, "added": inside, "ratio": seconds / (seconds - spent)}


@contextmanager
def counted(owner: Any, name: str, inside: dict[str, float]) -> Iterator[None]:
    """Count the processor's time inside of a function, but for what is counted inside of another one already."""
    real = getattr(owner, name)
    label = f"{getattr(owner, '__name__', '').rpartition('.')[2]}.{name}"

    def timed(*given: Any, **options: Any) -> Any:
        if inside.get("open"):
            return real(*given, **options)
        inside["open"] = 1.0
        began = time.process_time()
        try:
            return real(*given, **options)
        finally:
            inside[label] = inside.get(label, 0.0) + time.process_time() - began
            del inside["open"]

    kept = staticmethod(timed) if name == "of" else timed
    with patch.object(owner, name, kept):
        yield


if __name__ == "__main__":
    main()
