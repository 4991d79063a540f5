"""Prefix-layer tuning: trainable keys and values before the text in every layer, by PEFT's prefix tuning."""

from __future__ import annotations

from typing import Any, Literal, final

from assay.methods.prefixes import AbstractPrefix


@final
class PrefixLayer(AbstractPrefix):
    """Keys and values of `tokens` positions learn in every layer: `|Theta| = 2 L d_kv tokens`; no weight changes.

    LoRA's paper counts activations after every layer instead, `L d tokens`.
    Source: arXiv 2106.09685, §5.1 (PreLayer); arXiv 2101.00190.
    """

    name: Literal["prefix-layer"]

    def configuration(self, head: list[str]) -> Any:
        """PEFT's prefix tuning."""
        from peft import PrefixTuningConfig

        return PrefixTuningConfig

    def initialisation(self) -> str:
        """How the keys and values start."""
        return "keys and values Gaussian, std 1, PEFT's default"
