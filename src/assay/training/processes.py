"""The processes of a run under torchrun: how many there are, and which one writes."""

from __future__ import annotations

import os
from dataclasses import dataclass

from assay.errors import SettingError


@dataclass(frozen=True)
class Processes:
    """The processes that train one model together.

    Attributes:
        count: how many; index: which of them this is.
    """

    count: int = 1
    index: int = 0

    @classmethod
    def joined(cls, device: str) -> Processes:
        """Join the processes that torchrun started; alone where it did not.

        Raises:
            SettingError: another number of processes joined than was started.
        """
        asked = int(os.environ.get("WORLD_SIZE", "1"))
        if asked == 1:
            return cls()
        from accelerate import PartialState

        state = PartialState(cpu=device == "cpu")
        if state.num_processes != asked:
            raise SettingError(f"{state.num_processes} process(es) joined", wanted=f"{asked}, as torchrun started")
        return cls(state.num_processes, state.process_index)

    @property
    def first(self) -> bool:
        """True if this is the process that writes."""
        return self.index == 0

    def share(self, batch_size: int) -> None:
        """Refuse a batch that cannot be shared out evenly.

        Raises:
            SettingError: with the batch's size.
        """
        if batch_size % self.count:
            raise SettingError(
                f"training.batch_size is {batch_size}, for {self.count} processes",
                wanted="a multiple of their number: a step's batch is the same for any number of processes",
            )

    def wait(self) -> None:
        """Wait until all are here."""
        if self.count > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()


def is_first() -> bool:
    """True if this process is the first of those that torchrun started, or alone."""
    return int(os.environ.get("RANK", "0")) == 0
