"""Prefix-embedding tuning: trainable token embeddings before the text, by PEFT's prompt tuning."""

from __future__ import annotations

from typing import Any, Literal, final

from assay.errors import SettingError
from assay.methods.prefixes import AbstractPrefix


@final
class PrefixEmbedding(AbstractPrefix):
    """`tokens` embeddings of the model's width before every text learn: `|Theta| = d * tokens`; no weight changes.

    Source: arXiv 2106.09685, §5.1 (PreEmbed); arXiv 2104.08691.
    """

    name: Literal["prefix-embedding"]

    def configuration(self, head: list[str]) -> Any:
        """PEFT's prompt tuning.

        Raises:
            SettingError: a decoder with a classification head, which finds the last token by the tokens' ids, and is
                given embeddings instead: it would read the padding.
        """
        from peft import PromptTuningConfig

        if "score" in head:  # transformers' name for the head of a decoder; encoders call theirs `classifier`
            raise SettingError(
                "prefix-embedding with a decoder's classification head, which would read the padding",
                wanted="an encoder, or a language model",
                remedy="use prefix-layer",
            )
        return PromptTuningConfig

    def initialisation(self) -> str:
        """Initial values of the embeddings."""
        return "embeddings Gaussian, std 1, PEFT's default"
