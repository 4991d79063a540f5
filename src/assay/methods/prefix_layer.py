"""Prefix-layer tuning: trainable keys and values before the text in every layer, by PEFT's prefix tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, final

from pydantic import Field

from assay.methods.method import Method, head_modules, save_adapter


@final
class PrefixLayer(Method):
    """Keys and values of `tokens` positions learn in every layer: `|Theta| = 2 L d_kv tokens`; no weight changes.

    LoRA's paper counts activations after every layer instead, `L d tokens`. They take as many positions of the context.
    The head of a classifier learns whole, as in every method.
    Source: arXiv 2106.09685, §5.1 (PreLayer); arXiv 2101.00190.

    Attributes:
        tokens: l, the positions whose keys and values learn.
    """

    changes: ClassVar[Literal["matrices", "vectors", "nothing"]] = "nothing"

    name: Literal["prefix-layer"]
    tokens: int = Field(default=10, ge=1)

    @property
    def positions(self) -> int:
        """Positions of the context that the method takes."""
        return self.tokens

    def prepare(self, model: Any) -> Any:
        """Freeze the model; train the keys and values and the head."""
        from peft import PrefixTuningConfig, get_peft_model

        head = head_modules(model)
        config = PrefixTuningConfig(
            num_virtual_tokens=self.tokens,
            modules_to_save=head or None,
            task_type="SEQ_CLS" if head else "CAUSAL_LM",
        )
        return get_peft_model(model, config)

    def save(self, model: Any, folder: Path, base: str, revision: str | None) -> None:
        """A PEFT adapter's folder."""
        save_adapter(model, folder, base, revision)

    def initialisation(self) -> str:
        """How the keys and values start."""
        return "keys and values Gaussian, std 1, PEFT's default"
