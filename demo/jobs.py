"""The demo's long jobs, each in a process and with a core of its own: `python -m demo.jobs VERB ...`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

# One thread a job: two threads of one job wait for each other as soon as anything else runs on the same two cores.
ONE_CORE = {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYTHONWARNINGS": "ignore",
}
DIAL_LAYERS = ("*.layers.0.*", "*.layers.10.*", "*.layers.20.*")
TELL_EVERY = 20.0  # seconds


def side_by_side(jobs: Mapping[str, Sequence[str]], logs: Path) -> None:
    """Run jobs at once, telling how far they are; the first failure ends the demo with the end of its log."""
    logs.mkdir(parents=True, exist_ok=True)
    running = {name: _start(arguments, logs / f"{name}.log") for name, arguments in jobs.items()}
    told = time.monotonic()
    while any(process.poll() is None for process in running.values()):
        time.sleep(0.2)
        if time.monotonic() - told > TELL_EVERY:
            told = time.monotonic()
            print("   ", "   ".join(f"{name}: {_last_line(logs / f'{name}.log')}" for name in running), flush=True)
    for name, process in running.items():
        if process.returncode:
            sys.exit(f"{name} failed:\n{(logs / f'{name}.log').read_text(encoding='utf8')[-3000:]}")


def _start(arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        command = [sys.executable, "-m", "demo.jobs", str(os.getpid()), *arguments]
        return subprocess.Popen(command, env={**os.environ, **ONE_CORE}, stdout=file, stderr=file)


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf8", errors="replace").splitlines()
    return lines[-1] if lines else "starting"


def train(parent: int, spec: str, out: str) -> None:
    """Train one arm; stops when the demo that started it is gone."""
    from assay.training.run import train

    def tell(step: int, steps: int, loss: float) -> None:
        _stop_with(parent)
        print(f"step {step} of {steps}, loss {loss:.2f}", flush=True)

    train(spec, out, progress=tell)


def score(parent: int, base: str, tuned: str, text: str, task: str, out: str) -> None:
    """Score one arm beside the base."""
    from assay.behaviour.scoring import score

    print("scoring", flush=True)
    score(base, tuned, text=text, task=task).save(out)


def audit(parent: int, base: str, tuned: str, out: str) -> None:
    """Audit the weights of one arm."""
    from assay.audits import audit

    def tell(done: int, total: int, name: str) -> None:
        _stop_with(parent)
        print(f"matrix {done} of {total}", flush=True)

    audit(base, tuned, progress=tell).save(out)


def dial(parent: int, base: str, tuned: str, text: str, out: str) -> None:
    """Replay the update of one arm at other sizes; the audit looks at every tenth layer."""
    from assay.dials.run import dial

    def tell(what: str) -> None:
        _stop_with(parent)
        print(what, flush=True)

    dial(base, tuned, text, matrices=DIAL_LAYERS, progress=tell).save(out)


def _stop_with(parent: int) -> None:
    """End this job when the demo that started it is gone."""
    if os.getppid() != parent:
        sys.exit("the demo was stopped")


if __name__ == "__main__":
    started_by, verb, *rest = sys.argv[1:]
    {"train": train, "score": score, "audit": audit, "dial": dial}[verb](int(started_by), *rest)
