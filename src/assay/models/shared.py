"""One base in memory under one adapter after the other, for many models that are asked the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from assay.models.loading import (
    Head,
    Place,
    adapter_settings,
    base_of,
    load,
    stored_objective,
)
from assay.models.precision import FLOAT32, Held, check_finite
from assay.models.unmerged import with_update
from assay.weights.model_files import ADAPTER_CONFIG


@dataclass
class OneBase:
    """Loads models as `load` does; a LoRA adapter is put on the base that is there, and taken off for the next.

    What is more than factors beside matrices (trained modules, biases) is loaded anew, base and all.
    """

    _key: Any = None
    _base: Any = None
    _adapted: Any = None

    def load(
        self,
        place: Place,
        objective: Head,
        labels: tuple[str, ...] = (),
        device: str = "cpu",
        head_of: Place | None = None,
        held: Held = FLOAT32,
    ) -> Any:
        """A model as it was tuned, ready to be scored; the one that was loaded before is no longer to be used.

        Raises:
            CheckpointError, AdapterError, MismatchError, ValuesError: as for `load`.
        """
        home = base_of(place) if place.is_adapter else place
        foreign = objective != "sequence-classification" and stored_objective(place) == "sequence-classification"
        if foreign or (place.is_adapter and not _comes_off(place)):
            self._forget()
            return load(place, objective, labels, device, head_of, held)
        key = (home.folder, home.source.digest, home.settings(), objective, labels, device, held)
        if key != self._key:
            self._forget()
            self._base, self._key = load(home, objective, labels, device, held=held), key
        elif self._adapted is not None:
            self._base, self._adapted = self._adapted.unload(), None
        if not place.is_adapter:
            return self._base
        try:
            self._adapted = with_update(self._base, place.folder, place.source.name)
            check_finite(self._adapted, place.source.name)
        except BaseException:  # the base may have a half of it
            self._forget()
            raise
        return self._adapted.eval()

    def _forget(self) -> None:
        self._key = self._base = self._adapted = None  # one model at a time is in memory


def _comes_off(adapter: Place) -> bool:
    """True if an adapter is nothing but LoRA's factors beside matrices."""
    if not (adapter.folder / ADAPTER_CONFIG).exists():
        return False
    settings = adapter_settings(adapter)
    others = ("modules_to_save", "trainable_token_indices", "layer_replication", "target_parameters", "lora_bias")
    return (
        settings.get("peft_type") == "LORA"
        and settings.get("bias", "none") == "none"
        and not any(settings.get(name) for name in others)
    )
