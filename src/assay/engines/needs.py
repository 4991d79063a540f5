"""Processors, accelerators and memory that one item takes of a node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from assay.errors import SettingError


@dataclass(frozen=True)
class Needs:
    """Resources that one item takes of a node.

    Attributes:
        cpus, gpus: of them; memory: bytes.
    """

    cpus: float = 1
    gpus: float = 0
    memory: int = 0

    @classmethod
    def read(cls, text: str) -> Needs:
        """Needs from the command line.

        Raises:
            SettingError: an unknown name, or no number.

        Example:
            >>> Needs.read("cpus=4,gpus=1,memory=24GB")
            Needs(cpus=4.0, gpus=1.0, memory=24000000000)
        """
        found: dict[str, Any] = {}
        for part in filter(None, text.split(",")):
            name, _, value = part.partition("=")
            try:
                found[name] = int(float(value.removesuffix("GB")) * 1e9) if name == "memory" else float(value)
            except ValueError:
                raise SettingError(f"{part!r}", wanted="cpus=4,gpus=1,memory=24GB") from None
            if name not in ("cpus", "gpus", "memory") or found[name] < 0:
                raise SettingError(f"{part!r}", wanted="cpus=4,gpus=1,memory=24GB")
        return cls(**found)

    def slots(self, resources: Mapping[str, float]) -> int:
        """Items that a node of these resources runs at once."""
        room = [
            resources.get(name, 0.0) / wanted
            for name, wanted in (("CPU", self.cpus), ("GPU", self.gpus), ("memory", self.memory))
            if wanted
        ]
        return int(min(room, default=0))
