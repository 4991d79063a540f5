"""Files of an item on a node without a shared folder: inputs in, once a node; outputs back."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from assay.errors import SettingError, nearest
from assay.io import digests

Contents = dict[str, bytes]  # by path relative to what was packed; a file alone has the name ""
KEPT = ("all", "adapters", "none")
_WEIGHTS = ".safetensors"
_ADDRESSES = "weights.txt"  # of those that were put elsewhere, one a line


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
        weights: "all"; "adapters": weights beside an adapter's configuration; "none": records alone; or the URL of a
            folder that weights are put to, in a folder for each item.

    Raises:
        SettingError: none of these, or a URL that nothing here can open.

    Example:
        >>> Results("file:///scratch/weights").note
        'The weights of runs on nodes without the folder of the study are in file:///scratch/weights, by run.'
    """

    weights: str = "all"

    def __post_init__(self) -> None:
        protocol, is_url, _ = self.weights.partition("://")
        if is_url:
            _check_opens(protocol)
        elif self.weights not in KEPT:
            found = f"keep-weights is {self.weights!r}{nearest(self.weights, KEPT)}"
            raise SettingError(found, wanted=f"{', '.join(KEPT)}, or the URL of a folder (s3://...)")

    @property
    def note(self) -> str:
        """Place of weights that were put elsewhere, for a reader of the records; empty where none are."""
        if self.weights in KEPT:
            return ""
        return f"The weights of runs on nodes without the folder of the study are in {self.weights}, by run."

    def pack(self, folder: Path, key: str) -> Contents:
        """The files of an item's folder that come back; weights that go elsewhere are put there, and a file says so."""
        files = {str(file.relative_to(folder)): file for file in sorted(folder.rglob("*")) if file.is_file()}
        left = {name: file for name, file in files.items() if file.suffix == _WEIGHTS and not self._comes_back(file)}
        back = {name: file.read_bytes() for name, file in files.items() if name not in left}
        if left and self.weights not in KEPT:
            addresses = [_put(file, f"{self.weights.rstrip('/')}/{key}/{name}") for name, file in left.items()]
            back[_ADDRESSES] = "".join(f"{address}\n" for address in addresses).encode()
        return back

    def _comes_back(self, weights: Path) -> bool:
        return self.weights == "all" or (
            self.weights == "adapters" and (weights.parent / "adapter_config.json").exists()
        )


def _check_opens(protocol: str) -> None:
    """Refuse a protocol that nothing here can open, or whose files end with a process."""
    import fsspec

    known = [name for name in fsspec.available_protocols() if name != "memory"]
    if protocol not in known:
        raise SettingError(
            f"the protocol {protocol!r} of keep-weights is not known{nearest(protocol, known)}",
            wanted="a URL that fsspec opens, such as s3://bucket/folder",
        )
    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        raise SettingError(
            f"{protocol}:// cannot be opened: {error}", wanted="its package, here and on every node"
        ) from None


def _put(file: Path, address: str) -> str:
    """Put a file where an address says; the address."""
    import fsspec

    with file.open("rb") as there, fsspec.open(address, "wb") as here:
        shutil.copyfileobj(there, here)
    return address


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
