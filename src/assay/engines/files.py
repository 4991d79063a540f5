"""Files of an item on a node without a shared folder: inputs in, once a node; outputs back."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from assay.io import digests

Contents = dict[str, bytes]  # by path relative to what was packed; a file alone has the name ""
_WEIGHTS = ".safetensors"


def contents_of(path: Path) -> Contents:
    """A file, or every file of a folder, in bytes."""
    if path.is_file():
        return {"": path.read_bytes()}
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def digest_of(path: Path) -> str:
    """A name for what is in a file or a folder: equal contents travel once."""
    files = [path] if path.is_file() else [file for file in sorted(path.rglob("*")) if file.is_file()]
    lines = [f"{file.relative_to(path)} {digests.of_files([file])}" for file in files]
    return digests.of_bytes("\n".join(lines).encode())


def unpack(contents: Contents, path: Path) -> None:
    """Write a file or a folder, whole or not at all; one that is there stays."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=path.parent))
    for name, data in contents.items():
        file = unfinished / (name or path.name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    try:
        os.rename(unfinished if "" not in contents else unfinished / path.name, path)
    except OSError:  # another process of this node was faster: the contents are the same
        if not path.exists():
            raise
    shutil.rmtree(unfinished, ignore_errors=True)


def node_folder(name: str) -> Path:
    """A folder of this user on this node, for what travels."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"assay-{user}" / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


@dataclass(frozen=True)
class Results:
    """Files that come back from an item's folder.

    Attributes:
        weights: "all"; "adapters": weights beside an adapter's configuration; "none": records alone.
    """

    weights: str = "all"

    def pack(self, folder: Path) -> Contents:
        """The files of a folder that come back."""
        return {name: data for name, data in contents_of(folder).items() if self._wanted(folder / name)}

    def _wanted(self, file: Path) -> bool:
        if file.suffix != _WEIGHTS or self.weights == "all":
            return True
        return self.weights == "adapters" and (file.parent / "adapter_config.json").exists()


def write_over(contents: Contents, folder: Path) -> None:
    """Put what came back into a folder, each file whole or not at all."""
    for name, data in contents.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_name(f".{file.name}.unfinished")
        unfinished.write_bytes(data)
        os.replace(unfinished, file)


def placed(inputs: Mapping[Path, str]) -> dict[Path, Path]:
    """Paths of inputs on this node, by their paths on the machine that sent them.

    Args:
        inputs: digests, by path there.
    """
    kept = node_folder("inputs")
    return {path: kept / digest / path.name for path, digest in inputs.items()}
