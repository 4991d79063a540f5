"""Variants of LoRA that PEFT builds and an audit reads: DoRA, PiSSA and OLoRA."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, final

import torch
from pydantic import Field

from assay.errors import SettingError
from assay.methods.adapting import matrices_meant
from assay.methods.low_rank import AbstractLora
from assay.methods.method import save_adapter
from assay.records.record import write_text

# How PEFT is asked for each of them.
_CHOICES: dict[str, dict[str, Any]] = {
    "dora": {"use_dora": True},
    "pissa": {"init_lora_weights": "pissa"},
    "olora": {"init_lora_weights": "olora"},
}
_CONVERTED = ("pissa", "olora")  # these take their first factors out of the base


@final
class LoraVariant(AbstractLora):
    """DoRA (a magnitude and a direction), PiSSA and OLoRA (factors that start as parts of the base).

    PiSSA and OLoRA are stored as plain LoRA of twice the rank, `[B, -B_start] [A; A_start]`, so that the base is the
    one that everybody has.
    Source: arXiv 2402.09353 (DoRA), arXiv 2404.02948 (PiSSA), arXiv 2406.01775 (OLoRA).

    Attributes:
        options: passed to PEFT's `LoraConfig` as they are.
    """

    name: Literal["dora", "pissa", "olora"]
    options: dict[str, Any] = Field(default_factory=dict)

    @property
    def keeps_base(self) -> bool:
        """PiSSA and OLoRA take their first factors out of the base."""
        return self.name not in _CONVERTED

    def choices(self) -> dict[str, Any]:
        """PEFT's configuration of this variant."""
        return dict(_CHOICES[self.name])

    def passed_through(self) -> dict[str, Any]:
        """Options that go to PEFT as they are."""
        return self.options

    def scale(self) -> float:
        """The factor of BA: alpha / r, or, with PEFT's option `use_rslora`, alpha / sqrt(r)."""
        by = self.rank**0.5 if self.options.get("use_rslora") else self.rank
        return float(self.given_alpha() / by)

    def prepare(self, model: Any) -> Any:
        """Wrap every matrix that is asked for; keep the first factors where they come out of the base.

        Raises:
            SettingError: factors of more columns than a matrix has directions to take out.
        """
        if self.name in _CONVERTED:
            self._check_rank(model)
        from peft import get_peft_model_state_dict

        wrapped = super().prepare(model)
        if self.name in _CONVERTED and not next(wrapped.parameters()).is_meta:
            wrapped.first_factors = {
                name: value.detach().cpu().clone() for name, value in get_peft_model_state_dict(wrapped).items()
            }
        return wrapped

    def _check_rank(self, model: Any) -> None:
        names = matrices_meant(model, self.targets)
        sizes = {name: min(model.get_submodule(name).weight.shape) for name in names}
        least = min(sizes, key=sizes.__getitem__)
        if sizes[least] < self.rank:
            raise SettingError(
                f"{self.name} of rank {self.rank} takes {self.rank} directions out of every matrix, "
                f"and {least} has {sizes[least]}",
                wanted=f"a rank of at most {sizes[least]}",
                remedy="a lower rank, or targets without that matrix",
            )

    def stored(self, model: Any) -> int:
        """The factors, twice where they are converted, and what else learns."""
        factors = sum(value.numel() for name, value in model.named_parameters() if ".lora_" in name)
        return super().stored(model) + (factors if self.name in _CONVERTED else 0)

    def save(self, model: Any, folder: Path, base: str, revision: str | None) -> None:
        """A PEFT adapter's folder, converted to plain LoRA."""
        save_adapter(model, folder, base, revision)
        if self.name in _CONVERTED:
            _convert(folder, model.first_factors)

    def initialisation(self) -> str:
        """Initial values of A and B."""
        return {
            "dora": "A Kaiming-uniform, PEFT's default; B zero; magnitudes those of the base",
            "pissa": f"A and B from the {self.rank} leading singular triplets of the base, which are taken out of it",
            "olora": f"A and B from a QR decomposition of the base ({self.rank} columns), taken out of it",
        }[self.name]


def _convert(folder: Path, first: dict[str, torch.Tensor]) -> None:
    """Make a stored adapter plain LoRA of twice the rank: `B A - B_first A_first = [B, -B_first] [A; A_first]`.

    PEFT's own conversion (0.21) leaves a classifier's trained head out of the file.
    """
    from safetensors.torch import load_file, save_file

    path = folder / "adapter_model.safetensors"
    stored = load_file(path)
    for name, value in stored.items():
        if ".lora_A." in name:
            stored[name] = torch.cat([value, first[name]], dim=0)
        elif ".lora_B." in name:
            stored[name] = torch.cat([value, -first[name]], dim=1)
    save_file(stored, path, metadata={"format": "pt"})
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf8"))
    # Twice the rank, and the scale as it was: alpha / r, or alpha / sqrt(r).
    more = 2**0.5 if config["use_rslora"] else 2
    config["lora_alpha"] *= more
    config["r"] *= 2
    config["rank_pattern"] = {name: 2 * rank for name, rank in config["rank_pattern"].items()}
    config["alpha_pattern"] = {name: more * alpha for name, alpha in config["alpha_pattern"].items()}
    config["init_lora_weights"] = True
    write_text(folder / "adapter_config.json", json.dumps(config, indent=2, sort_keys=True) + "\n")
