"""A process with the large libraries, from which a fork runs tests on copied sources for every line that it reads.

It never imports assay itself: each fork takes it from its copy.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import sys
from pathlib import Path

# Ten seconds of imports that every run of tests would begin with, and in which no fault is planted.
LIBRARIES = (
    "torch._dynamo",
    "torch.distributed.tensor",
    "scipy.stats",
    "pandas",
    "datasets",
    "transformers.models.llama.modeling_llama",
    "transformers.models.bert.modeling_bert",
    "transformers.models.gpt2.modeling_gpt2",
    "transformers.trainer",
    "peft",
    "trl",
    "hypothesis",
    "pytest",
)
OTHER_SOURCES = 99  # no exit code of pytest's


def run_tests(source: str, root: str, tests: list[str], output: str) -> int:
    """Run tests from `root` on the package in `source`, report to `output`, and return pytest's exit code."""
    os.chdir(root)
    os.environ |= {"PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1"}
    sys.dont_write_bytecode = True
    sys.path[:] = [source, *sys.path]
    importlib.invalidate_caches()
    import pytest

    # Plugins of libraries are imported before pytest could look into their assertions, which are not ours.
    quiet = ["-W", "ignore::pytest.PytestAssertRewriteWarning", "-p", "no:xdist", "-p", "no:anyio"]
    with Path(output).open("w") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        code = pytest.main(["-x", "-q", *quiet, *tests])
    import assay

    return int(code) if Path(assay.__file__).is_relative_to(source) else OTHER_SOURCES


if __name__ == "__main__":
    sys.path.pop(0)  # this folder
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # no fork copies a page because a collection walks through what the libraries hold
    for line in sys.stdin:
        if not (child := os.fork()):
            code = OTHER_SOURCES
            try:
                code = run_tests(*json.loads(line))
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
