"""The kept spectra: found again, shared, bounded, and never believed when damaged."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from typer.testing import CliRunner

from assay.cli import app
from assay.linalg import Triplets, base_triplets, select_solver
from assay.weights.spectra_cache import SpectraCache, cache_folder


def made(seed: int = 0, shape: tuple[int, int] = (60, 40)) -> Triplets:
    return base_triplets(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)))


def never() -> Triplets:
    raise AssertionError("made again, although it is kept")


def equal(one: Triplets, other: Triplets) -> bool:
    ours, theirs = one.arrays(), other.arrays()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("solver", ["exact", "certified"])
def test_what_is_kept_is_what_was_made(tmp_path: Path, solver: str) -> None:
    W = torch.randn(400, 300, generator=torch.Generator().manual_seed(0)) @ torch.diag(torch.arange(1, 301) ** -0.5)
    first = base_triplets(W, solver=solver)  # type: ignore[arg-type]
    assert select_solver((400, 300), solver) == solver  # type: ignore[arg-type]
    cache = SpectraCache(tmp_path)
    assert equal(cache.triplets("key", lambda: first), first)
    assert equal(cache.triplets("key", never), first)
    assert cache.size() > 0


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "another file"])
def test_a_damaged_entry_is_found_and_made_again(tmp_path: Path, damage: str) -> None:
    cache, first = SpectraCache(tmp_path), made()
    cache.triplets("key", lambda: first)
    (path,) = cache.entries()
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[-5] ^= 0xFF
    path.write_bytes({"truncated": data[:-100], "flipped": data, "empty": b"", "another file": b"x" * 999}[damage])
    with pytest.raises(AssertionError, match="made again"):
        cache.triplets("key", never)
    assert not path.exists()
    assert equal(cache.triplets("key", lambda: first), first)


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    one = sum(array.nbytes for array in made().arrays().values())
    cache = SpectraCache(tmp_path, limit=int(3.5 * one))
    for seed in range(3):
        cache.triplets(str(seed), lambda seed=seed: made(seed))
    cache.triplets("0", never)
    cache.triplets("3", lambda: made(3))
    kept = {path.name.split(".")[0] for path in cache.entries()}
    assert kept == {"0", "2", "3"}


def test_large_complete_sets_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.weights.spectra_cache.LARGEST_COMPLETE", 30)
    SpectraCache(tmp_path).triplets("key", made)
    assert SpectraCache(tmp_path).entries() == []


def _fill(folder: str) -> None:
    torch.set_num_threads(1)
    cache = SpectraCache(Path(folder))
    for seed in range(6):
        assert equal(cache.triplets(str(seed), lambda seed=seed: made(seed)), made(seed))


def test_two_processes_share_a_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_fill, args=(str(tmp_path),)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(SpectraCache(tmp_path).entries()) == 6
    assert not list(tmp_path.glob("*.partial"))


def test_the_folder_is_read_at_each_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ASSAY_CACHE_DIR", str(tmp_path / "a"))
    assert cache_folder() == tmp_path / "a"
    monkeypatch.delenv("ASSAY_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache_folder() == tmp_path / "b" / "assay"
    assert SpectraCache.default().clear() == 0


def refused(*_: object, **__: object) -> NoReturn:
    raise PermissionError(13, "Permission denied")


def test_an_entry_of_another_user_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, first = SpectraCache(tmp_path), made()
    cache.triplets("key", lambda: first)
    monkeypatch.setattr(os, "utime", refused)
    assert equal(cache.triplets("key", never), first)
    assert len(cache.entries()) == 1


@pytest.mark.parametrize("trouble", ["read-only", "a folder for an entry", "a file for the folder", "no room"])
def test_no_trouble_with_the_folder_stops_what_asks_it(
    tmp_path: Path, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, first = SpectraCache(tmp_path / "spectra"), made()
    if trouble == "a file for the folder":
        cache.folder.write_text("")
    else:
        cache.triplets("key", lambda: first)
    (path,) = cache.entries() or [cache.folder]
    if trouble == "a folder for an entry":
        path.unlink()
        path.mkdir()
    if trouble == "read-only":
        path.write_bytes(b"damaged")
        monkeypatch.setattr(Path, "unlink", refused)
        monkeypatch.setattr("assay.weights.spectra_cache.write_bytes", refused)
    if trouble == "no room":
        monkeypatch.setattr(Path, "unlink", refused)
        cache = SpectraCache(cache.folder, limit=cache.size())
    assert equal(cache.triplets("key" if trouble != "no room" else "other", lambda: first), first)
    assert cache.number("floor", lambda: 0.5) == 0.5
    assert path.exists()
    assert trouble != "no room" or cache.entries() == [path]


def test_a_folder_that_may_not_be_read_is_an_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = SpectraCache(tmp_path)
    cache.number("key", lambda: 0.5)
    monkeypatch.setattr(Path, "glob", refused)
    assert (cache.entries(), cache.size(), cache.clear()) == ([], 0, 0)


def test_clearing_says_what_it_cannot_remove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_CACHE_DIR", str(tmp_path))
    cache = SpectraCache.default()
    cache.triplets("key", made)
    cache.number("key-floor", lambda: 0.5)
    (cache.folder / "odd.safetensors").mkdir()
    done = CliRunner().invoke(app, ["cache", "--clear"])
    assert done.exit_code == 0
    assert ": 3 entries," in done.stdout
    assert "removed 2" in done.stdout
    assert "1 could not be removed" in done.stderr
    assert [path.name for path in cache.entries()] == ["odd.safetensors"]


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    cache = SpectraCache(tmp_path)
    cache.triplets("key", made)
    old, young = tmp_path / ".a.v3.safetensors.abcd1234", tmp_path / ".b.v3.safetensors.abcd1234"
    size = cache.size()
    for path in (old, young):
        path.write_bytes(bytes(100))
    assert cache.size() == size + 200
    os.utime(old, (time.time() - 7200,) * 2)
    cache.triplets("other", lambda: made(1))
    assert not old.exists()
    assert young.exists()
    assert cache.clear() == 3
    assert list(tmp_path.iterdir()) == []


def test_a_number_is_made_once(tmp_path: Path) -> None:
    cache = SpectraCache(tmp_path)
    assert cache.number("key-floor", lambda: 0.25) == 0.25
    assert cache.number("key-floor", lambda: 1 / 0) == 0.25
