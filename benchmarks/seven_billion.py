"""The audit of a Llama-2-7B-shaped base with a rank-16 adapter on every linear layer, from its files.

The base is made once: bf16 shards, one a layer, every matrix with singular values i^-power. It is then audited twice in
processes of their own, without and with its spectra kept, and the time is set against reading both files once from the
page cache. All 32 layers take 13 GB of disk; `--layers` makes fewer of the same shape. Every layer costs the same, but
the embeddings (.5 GB) are read and not analysed, so that with few layers the multiples come out lower: a fifth of the
bytes at 4 layers, half of them at one.

    OMP_NUM_THREADS=2 python benchmarks/seven_billion.py --folder FOLDER [--layers 4] [--power 0.25] [--record FILE]

Conclusion: the table that it prints.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from scipy import fft
from torch import Tensor

from assay.records.record import write_text

HIDDEN, INNER, VOCABULARY, RANK = 4096, 11008, 32000, 16
SHAPES = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (HIDDEN, HIDDEN),
    "self_attn.v_proj": (HIDDEN, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INNER, HIDDEN),
    "mlp.up_proj": (INNER, HIDDEN),
    "mlp.down_proj": (HIDDEN, INNER),
}
RELATIVE_NORM = 0.02  # of every update: what a few hundred steps of LoRA leave in the demo


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--power", type=float, default=0.25)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--audit", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.audit:
        print(json.dumps(audit_here(arguments.folder)))
        return
    make(arguments.folder, arguments.layers, arguments.power)
    read_seconds, size = read(arguments.folder)
    runs = {name: audit_apart(arguments.folder, kept=name == "cached") for name in ("not cached", "cached")}
    found: dict[str, Any] = {
        "layers": arguments.layers,
        "matrices": arguments.layers * len(SHAPES),
        "power": arguments.power,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "bytes": size,
        "read_seconds": read_seconds,
        "audits": {name: run | {"multiple_of_reading": run["seconds"] / read_seconds} for name, run in runs.items()},
    }
    show(found)
    if arguments.record:
        write_text(arguments.record, json.dumps(found, indent=1) + "\n")


def show(found: dict[str, Any]) -> None:
    print(f"{found['matrices']} matrices, {found['bytes'] / 1e9:.2f} GB, read in {found['read_seconds']:.2f} s")
    print(f"{'spectra':12}{'seconds':>10}{'x reading':>12}{'peak MB':>10}{'undecided':>11}{'dense':>8}")
    for name, run in found["audits"].items():
        print(
            f"{name:12}{run['seconds']:10.1f}{run['multiple_of_reading']:12.1f}{run['peak_bytes'] / 1e6:10.0f}"
            f"{run['undecided']:11}{run['dense']:8}"
        )


def make(folder: Path, layers: int, power: float) -> None:
    """Write the base and the adapter, unless they are there."""
    made = folder / f"made-{layers}-{power}"
    if made.exists():
        return
    base, adapter = folder / "base", folder / "adapter"
    base.mkdir(parents=True, exist_ok=True)
    adapter.mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    index, factors = {}, {}
    table = (0.02 * torch.randn(VOCABULARY, HIDDEN, generator=generator)).to(torch.bfloat16)
    outer = {"model.embed_tokens.weight": table, "lm_head.weight": table.clone(), "model.norm.weight": table[0].clone()}
    save_file(outer, base / "outer.safetensors", metadata={"format": "pt"})
    index |= dict.fromkeys(outer, "outer.safetensors")
    for layer in range(layers):
        tensors = {}
        for role, (m, n) in SHAPES.items():
            W0 = matrix(m, n, power, generator)
            name = f"model.layers.{layer}.{role}"
            tensors[f"{name}.weight"] = W0.to(torch.bfloat16)
            A = torch.randn(RANK, n, generator=generator) / n**0.5
            B = torch.randn(m, RANK, generator=generator)
            B *= RELATIVE_NORM * float(torch.linalg.matrix_norm(W0) / torch.linalg.matrix_norm(B @ A)) / 2
            factors |= {f"base_model.model.{name}.lora_A.weight": A, f"base_model.model.{name}.lora_B.weight": B}
        save_file(tensors, base / f"layer-{layer}.safetensors", metadata={"format": "pt"})
        index |= dict.fromkeys(tensors, f"layer-{layer}.safetensors")
        print(f"made layer {layer + 1} of {layers}", file=sys.stderr)
    (base / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    (base / "config.json").write_text(
        json.dumps(
            {
                "model_type": "llama",
                "architectures": ["LlamaForCausalLM"],
                "hidden_size": HIDDEN,
                "intermediate_size": INNER,
                "num_hidden_layers": layers,
                "num_attention_heads": 32,
                "num_key_value_heads": 32,
                "vocab_size": VOCABULARY,
                "tie_word_embeddings": False,
            }
        )
    )
    save_file(factors, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": 2 * RANK, "target_modules": "all-linear"}
    (adapter / "adapter_config.json").write_text(json.dumps(settings | {"task_type": "CAUSAL_LM"}))
    made.touch()


def matrix(m: int, n: int, power: float, generator: torch.Generator) -> Tensor:
    """A matrix with singular values i^-power: cosine transforms with random signs, twice, on either side."""
    k = min(m, n)
    values = torch.zeros(m, n)
    values[torch.arange(k), torch.arange(k)] = torch.arange(1, k + 1) ** -power
    mixed = values.numpy()
    for axis, length in ((0, m), (1, n)):
        for _ in range(2):
            signs = (torch.randint(0, 2, (length,), generator=generator) * 2 - 1).float().numpy()
            order = torch.randperm(length, generator=generator).numpy()
            mixed = fft.dct(mixed.take(order, axis) * (signs[:, None] if axis == 0 else signs), axis=axis, norm="ortho")
    return torch.from_numpy(mixed)


def read(folder: Path) -> tuple[float, int]:
    """Seconds to read all weights once from the page cache, and their bytes."""
    files = sorted(path for part in ("base", "adapter") for path in (folder / part).rglob("*.safetensors"))
    seconds = []
    for _ in range(3):
        started, size = time.perf_counter(), 0
        for path in files:
            with path.open("rb", buffering=0) as file:
                while block := file.read(1 << 24):
                    size += len(block)
        seconds.append(time.perf_counter() - started)
    return min(seconds), size


def audit_apart(folder: Path, kept: bool) -> dict[str, Any]:
    """One audit in a process of its own; `kept` uses the spectra that the one before left."""
    cache = folder / "cache"
    if not kept:
        for path in cache.rglob("*.safetensors"):
            path.unlink()
    environment = os.environ | {"ASSAY_CACHE_DIR": str(cache), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, __file__, "--folder", str(folder), "--audit"]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def audit_here(folder: Path) -> dict[str, Any]:
    """Audit, with the most memory above what the interpreter and its imports take; mapped files do not count."""
    import peft
    import transformers.models.llama.modeling_llama  # noqa: F401  (what reading the architecture imports)

    from assay.audits import audit

    del peft
    start, peak, ended = anonymous_bytes(), [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.01):
            peak[0] = max(peak[0], anonymous_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    record = audit(folder / "base", folder / "adapter")
    ended.set()
    watcher.join()
    return {
        "seconds": record.seconds,
        "peak_bytes": peak[0] - start,
        "count": record.count,
        "undecided": record.undecided,
        "dense": sum(matrix.decompositions > 0 for matrix in record.matrices),
        "solvers": sorted({matrix.solver for matrix in record.matrices}),
    }


def anonymous_bytes() -> int:
    """Resident memory of this process that is no mapped file (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not tell resident memory")


if __name__ == "__main__":
    main()
