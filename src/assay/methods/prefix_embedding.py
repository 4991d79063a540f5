"""Prefix-embedding tuning: trainable token embeddings before the text, by PEFT's prompt tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, final

from pydantic import Field

from assay.errors import SettingError
from assay.methods.method import Method, head_modules, save_adapter


@final
class PrefixEmbedding(Method):
    """`tokens` embeddings of the model's width before every text learn: `|Theta| = d * tokens`; no weight changes.

    They take as many positions of the context. The head of a classifier learns whole, as in every method.
    Source: arXiv 2106.09685, §5.1 (PreEmbed); arXiv 2104.08691.

    Attributes:
        tokens: l, the embeddings that learn.
    """

    changes: ClassVar[Literal["matrices", "vectors", "nothing"]] = "nothing"

    name: Literal["prefix-embedding"]
    tokens: int = Field(default=10, ge=1)

    @property
    def positions(self) -> int:
        """Positions of the context that the method takes."""
        return self.tokens

    def prepare(self, model: Any) -> Any:
        """Freeze the model; train the embeddings and the head.

        Raises:
            SettingError: a decoder with a classification head, which finds the last token by the tokens' ids, and is
                given embeddings instead: it would read the padding.
        """
        from peft import PromptTuningConfig, get_peft_model

        head = head_modules(model)
        if "score" in head:  # transformers' name for the head of a decoder; encoders call theirs `classifier`
            raise SettingError(
                "prefix-embedding with a decoder's classification head, which would read the padding",
                wanted="an encoder, or a language model",
                remedy="use prefix-layer",
            )
        config = PromptTuningConfig(
            num_virtual_tokens=self.tokens,
            modules_to_save=head or None,
            task_type="SEQ_CLS" if head else "CAUSAL_LM",
        )
        return get_peft_model(model, config)

    def save(self, model: Any, folder: Path, base: str, revision: str | None) -> None:
        """A PEFT adapter's folder."""
        save_adapter(model, folder, base, revision)

    def initialisation(self) -> str:
        """How the embeddings start."""
        return "embeddings Gaussian, std 1, PEFT's default"
