"""The common part of LoRA and its kin: factors on every matrix of the body, a scale, and a PEFT adapter's folder."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from assay.methods.adapting import matrices_meant, put_on
from assay.methods.method import Method, save_adapter, whole_shape

_ON_CODES = ("lora", "rslora", "dora", "b-only")


class AbstractLora(Method):
    """`W0 + scale B A` on every matrix of the body, by PEFT; the head of a classifier learns whole.

    Attributes:
        rank: r, the columns of B.
        alpha: what the scale is made from; each method says how.
        dropout: share of the adapter's inputs that is dropped in training.
        base_bits: 4 to learn beside a base in nf4 codes (QLoRA, arXiv 2305.14314): of lora, rslora, dora and b-only.
        targets: every matrix of the body (`all`), the projections of its attention (`attention`, as in arXiv
            2403.10704), or those whose names end in what a regular expression matches, e.g. `(q|v)_proj`.
    """

    changes: ClassVar[Literal["matrices", "vectors", "nothing"]] = "matrices"

    rank: int = Field(default=8, ge=1)
    alpha: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: str = Field(default="all", min_length=1)
    base_bits: Literal[4] | None = None

    @model_validator(mode="after")
    def _on_codes(self) -> Self:
        """The others take their first factors, or a projection, out of weights that are there as numbers."""
        if self.base_bits is not None and self.name not in _ON_CODES:
            raise ValueError(f"base_bits is for {', '.join(_ON_CODES)}")
        return self

    @property
    def bits(self) -> Literal[4] | None:
        """Bits of the base, as given."""
        return self.base_bits

    @abstractmethod
    def choices(self) -> dict[str, Any]:
        """The settings of PEFT's `LoraConfig` by which the methods differ."""

    def scale(self) -> float:
        """The factor of BA: alpha / r."""
        return self.given_alpha() / self.rank

    def given_alpha(self) -> float:
        """Alpha: 2r unless given, as in arXiv 2410.21228v3, App. B and arXiv 2405.09673."""
        return 2.0 * self.rank if self.alpha is None else self.alpha

    @property
    def keeps_base(self) -> bool:
        """Factors beside the base leave it whole."""
        return True

    def prepare(self, model: Any) -> Any:
        """Wrap every matrix that is asked for; train the adapters and the head."""
        from peft import LoraConfig
        from transformers.pytorch_utils import Conv1D

        matrices = [model.get_submodule(name) for name in matrices_meant(model, self.targets)]
        own = {
            "r": self.rank,
            "lora_alpha": self.given_alpha(),
            "lora_dropout": self.dropout,
            # GPT-2's Conv1D stores a matrix transposed.
            "fan_in_fan_out": any(isinstance(matrix, Conv1D) for matrix in matrices),
            **self.choices(),
        }
        if next(model.parameters()).is_meta:
            own["init_lora_weights"] = False  # nothing to decompose, and nothing to draw
        return put_on(model, self.name, LoraConfig, self.targets, own, self.passed_through())

    def passed_through(self) -> dict[str, Any]:
        """Options for PEFT's `LoraConfig` that the method does not look at."""
        return {}

    def remarks(self, model: Any) -> list[str]:
        """Matrices of a smaller rank than the adapter's."""
        layers = [(name, module) for name, module in model.named_modules() if hasattr(module, "lora_A")]
        sizes = {name: min(whole_shape(layer.get_base_layer().weight)) for name, layer in layers}
        over = [name for name, size in sizes.items() if size < self.rank]
        if not over:
            return []
        least = min(over, key=sizes.__getitem__)
        return [
            f"Rank {self.rank} is above that of {len(over)} of {len(sizes)} matrices (least: {sizes[least]}, "
            f"{least.removeprefix('base_model.model.')}): beyond it an update has nothing more to learn there."
        ]

    def stored(self, model: Any) -> int:
        """Both factors, whichever learns, and the head."""
        named = model.named_parameters()
        return sum(value.numel() for name, value in named if value.requires_grad or ".lora_A." in name)

    def save(self, model: Any, folder: Path, base: str, revision: str | None) -> None:
        """A PEFT adapter's folder."""
        save_adapter(model, folder, base, revision)

    def initialisation(self) -> str:
        """Initial values of A and B."""
        return "A Kaiming-uniform, PEFT's default; B zero"

    def derived(self) -> dict[str, Any]:
        """Alpha, when it was not given, and the scale."""
        scale = {"scale": self.scale()}
        return scale if self.alpha is not None else {"alpha": self.given_alpha(), **scale}
