"""Weights on their way to disk: one error of ours for whatever says that they cannot be written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from assay.errors import WriteError


@contextmanager
def writing(where: Path, remedy: str) -> Iterator[None]:
    """Turn what the system says of a full disk, and safetensors in its own error, into one of ours.

    Raises:
        WriteError: it cannot be written.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise WriteError(f"cannot be written ({error})", remedy=remedy, where=where.name) from None
