"""One test run on copied sources, in a fork of a process that has the large libraries already.

It has no import of assay: the fork takes it from the copy. Nothing here may be imported before that.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from pathlib import Path

# What a test run takes ten seconds to import, and no planted fault is in.
LIBRARIES = [
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
]
OTHER_SOURCES = 99  # no exit code of pytest's


def run_tests(source: Path, root: Path, tests: list[str], output: Path) -> None:
    """Run tests from `root` on the package in `source`; the exit code is pytest's, the report goes to `output`."""
    os.chdir(root)
    os.environ |= {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    sys.dont_write_bytecode = True
    sys.path[:] = [str(source), *(path for path in sys.path if not path.startswith(str(root / "tests")))]
    importlib.invalidate_caches()
    import pytest

    # Plugins of libraries are imported before pytest could look into their assertions, which are not ours.
    quiet = ["-W", "ignore::pytest.PytestAssertRewriteWarning", "-p", "no:xdist"]
    with output.open("w") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        code = pytest.main(["-x", "-q", *quiet, *tests])
    import assay

    os._exit(int(code) if Path(assay.__file__).is_relative_to(source) else OTHER_SOURCES)
