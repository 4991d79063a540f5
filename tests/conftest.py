"""One thread unless more are asked for, no network, and tiny models of several families, built once a session."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"

import gc
import multiprocessing
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path

import peft  # noqa: F401  (imported here so that it is among what is set aside)
import pytest
import torch
import transformers
import transformers.trainer

import tiny

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
# A million objects of the libraries that stay: set aside, no collection walks through them.
gc.collect()
gc.freeze()
# Whichever test is the first to start a process: it is forked from one that has these.
multiprocessing.set_forkserver_preload(["transformers.trainer", "peft", "assay.studies.worker"])


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests neither use nor fill the user's cache."""
    os.environ["ASSAY_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test draws the same numbers, whichever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def base_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny base model of a family, saved once."""
    home = tmp_path_factory.mktemp("bases")

    def saved(family: str) -> Path:
        folder = home / family
        if not folder.exists():
            tiny.build(family).save_pretrained(folder)
        return folder

    return saved


@pytest.fixture
def smoke(tmp_path: Path) -> Path:
    """A folder with the smoke plan and what it reads."""
    plans = Path(__file__).parent.parent / "plans"
    runpy.run_path(str(plans / "smoke.py"))["build"](tmp_path / "smoke")
    shutil.copy(plans / "smoke.toml", tmp_path)
    return tmp_path
