"""Parameters, bytes, memory and time of a run, measured."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import torch

from assay.methods.method import whole_shape

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5): writing 5 to clear_refs sets the peak resident size to the current one


class PeakMemory:
    """Most memory above the start, from the making of this object until `above_start` is read.

    On a CUDA device the allocator's own counters are used. On Linux the process's peak resident size is: it is reset
    at the start, and counts whatever the whole process does, so a comparison gives every run a process of its own.
    Elsewhere both numbers are None.
    """

    def __init__(self, device: str) -> None:
        self._device, self._cuda = device, device.startswith("cuda")
        self.start_bytes: int | None
        if self._cuda:
            torch.cuda.reset_peak_memory_stats(device)
            self.start_bytes = torch.cuda.memory_allocated(device)
            return
        self.start_bytes = _status_bytes("VmRSS")
        if self.start_bytes is not None:
            try:
                _CLEAR_REFS.write_text(_RESET_PEAK)
            except OSError:  # some containers mount /proc read-only
                self.start_bytes = None

    def above_start(self) -> int | None:
        """Peak minus start, in bytes; None where the system does not tell."""
        if self.start_bytes is None:
            return None
        peak = torch.cuda.max_memory_allocated(self._device) if self._cuda else _status_bytes("VmHWM")
        return None if peak is None else max(0, peak - self.start_bytes)


def _status_bytes(field: str) -> int | None:
    """A field of Linux's process status, in bytes; None on other systems."""
    if not _STATUS.exists():
        return None
    match = re.search(rf"^{field}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def by_pattern(parameters: Iterable[tuple[str, torch.Tensor]]) -> dict[str, int]:
    """Number of parameters by name, with the numbers in the names (layers) replaced by `*`.

    Example:
        >>> by_pattern([("h.0.w", torch.ones(2)), ("h.1.w", torch.ones(2))])
        {'h.*.w': 4}
    """
    counts: dict[str, int] = {}
    for name, parameter in parameters:
        pattern = re.sub(r"(?<=\.)\d+(?=\.)", "*", name)
        counts[pattern] = counts.get(pattern, 0) + whole_shape(parameter).numel()
    return counts
