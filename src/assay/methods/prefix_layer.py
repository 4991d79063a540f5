"""Prefix-layer tuning: trainable keys and values before the text in every layer, by PEFT's prefix tuning."""

from __future__ import annotations

import inspect
from typing import Any, Literal, final

from assay.errors import SettingError
from assay.methods.prefixes import AbstractPrefix


@final
class PrefixLayer(AbstractPrefix):
    """Keys and values of `tokens` positions learn in every layer: `|Theta| = 2 L d_kv tokens`; no weight changes.

    LoRA's paper counts activations after every layer instead, `L d tokens`.
    Source: arXiv 2106.09685, §5.1 (PreLayer); arXiv 2101.00190.
    """

    name: Literal["prefix-layer"]

    def prepare(self, model: Any) -> Any:
        """Freeze the model; train the keys and values, and the head.

        Raises:
            SettingError: a model that takes no keys and values of positions before its text.
        """
        taken = [inspect.signature(part.forward).parameters for part in (model, model.base_model)]
        if not any("past_key_values" in names for names in taken):
            raise SettingError(
                f"prefix-layer on a {model.config.model_type} model, which takes no keys and values of a prefix",
                wanted="a model whose forward has `past_key_values`, such as BERT, RoBERTa or Llama",
                remedy="use prefix-embedding",
            )
        return super().prepare(model)

    def configuration(self, head: list[str]) -> Any:
        """PEFT's prefix tuning."""
        from peft import PrefixTuningConfig

        return PrefixTuningConfig

    def initialisation(self) -> str:
        """Initial values of the keys and values."""
        return "keys and values Gaussian, std 1, PEFT's default"
