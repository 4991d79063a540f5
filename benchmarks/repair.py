"""A repair against PEFT's `reduce_intruder_dimension`: the same adapter, k, eps and lambda, one thread, base cached.

One layer of a Llama with planted base spectra and a LoRA whose leading directions are intruders. PEFT's function finds
and edits in memory. `edit` is the same work here: the two folders opened, intruders found, edited factors written.
`repair` is `assay.repair` whole: with its controls judged, and what was written read back and judged again.

    python benchmarks/repair.py --record benchmarks/records/repair.json
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora.intruders import reduce_intruder_dimension
from transformers import LlamaConfig, LlamaForCausalLM

from assay.dials.matrices import Looking, analyse
from assay.measures.matrix import Question
from assay.repairs.run import repair
from assay.repairs.writing import write_repaired
from assay.weights.pairing import pair
from assay.weights.spectra_cache import SpectraCache

K, EPS, KEEP, RANK = 10, 0.5, 0.75, 8
TARGETS = ["q_proj", "o_proj"]


def build(width: int, folder: Path) -> tuple[Path, Path]:
    """A base with singular values i^-.25, and an adapter of rank 8 whose update is as large as its largest ones."""
    torch.manual_seed(0)
    sizes = {"hidden_size": width, "intermediate_size": 64, "num_hidden_layers": 1, "vocab_size": 64}
    model = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=16, num_key_value_heads=16))
    sigma = torch.arange(1, width + 1) ** -0.25
    with torch.no_grad():
        for name, value in model.named_parameters():
            if any(target in name for target in TARGETS):
                U, V = (torch.linalg.qr(torch.randn(width, width))[0] for _ in range(2))
                value.copy_((U * sigma) @ V.T)
    model.save_pretrained(folder / "base")
    adapted = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=RANK, target_modules=TARGETS))
    for name, value in adapted.named_parameters():
        if "lora_" in name:
            value.data = torch.randn_like(value) / width**0.5
    adapted.save_pretrained(folder / "adapter")
    return folder / "base", folder / "adapter"


def by_peft(base: Path, adapter: Path) -> tuple[float, dict[str, torch.Tensor], list[int]]:
    """Seconds of PEFT's call, the update that it leaves by module, and its counts."""
    model = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(base, dtype=torch.float32), adapter)
    log: list[str] = []
    began = time.perf_counter()
    reduce_intruder_dimension(model, top_k=K, threshold_epsilon=EPS, mitigation_lambda=KEEP, logging_sink=log.append)
    seconds = time.perf_counter() - began
    return seconds, updates(model, "intruder_reduced"), [int(line.rsplit(": ", 1)[1]) for line in log if "s: " in line]


def updates(model: Any, name: str) -> dict[str, torch.Tensor]:
    """The update of every adapted module."""
    modules = {path: module for path, module in model.named_modules() if name in getattr(module, "lora_A", {})}
    return {path: module.get_delta_weight(name).detach() for path, module in modules.items()}


def by_edit(base: Path, adapter: Path, out: Path) -> float:
    """Seconds from two folders to a third: intruders found and edited factors written."""
    began = time.perf_counter()
    found = pair(base, adapter)
    question = Question(k=K, eps=(EPS,))
    looking = Looking("intruders", question, "all", torch.device("cpu"), SpectraCache.default())
    plan = [matrix for matrix in analyse(found.pairs, looking, lambda _: None) if matrix.intruders is not None]
    out.mkdir()
    write_repaired(found, plan, adapter, None, KEEP, RANK, out, out)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--record", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    times: dict[str, list[float]] = {"peft": [], "edit": [], "repair": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["ASSAY_CACHE_DIR"] = str(folder / "cache")
        base, adapter = build(arguments.width, folder)
        by_edit(base, adapter, folder / "first")  # fills the cache of base spectra, and imports
        for turn in range(arguments.rounds):
            seconds, theirs, counts = by_peft(base, adapter)
            times["peft"].append(seconds)
            times["edit"].append(by_edit(base, adapter, folder / f"edit-{turn}"))
            began = time.perf_counter()
            record = repair(base, adapter, folder / f"out-{turn}", keep=KEEP, rank=RANK, k=K, eps=EPS)
            times["repair"].append(time.perf_counter() - began)
            print({name: round(found[-1], 2) for name, found in times.items()}, flush=True)
        model = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(base, dtype=torch.float32), folder / "out-0")
        ours = updates(model, "default")
        apart = max(float((ours[path] - value).norm() / value.norm()) for path, value in theirs.items())
    best = {name: min(found) for name, found in times.items()}
    result = {
        "width": arguments.width,
        "matrices": len(TARGETS),
        "keep": KEEP,
        "rank": RANK,
        "counts": {"peft": counts, "assay": [matrix.before for matrix in record.matrices]},
        "largest relative difference of the updates": apart,
        "seconds": times,
        "least": best,
        "times faster": {name: best["peft"] / best[name] for name in ("edit", "repair")},
        "load": os.getloadavg()[0],
        "versions": {"torch": torch.__version__},
    }
    print(json.dumps(result, indent=1))
    if arguments.record:
        arguments.record.write_text(json.dumps(result, indent=1) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
