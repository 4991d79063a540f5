"""The common part of both prefixes: positions before the text that learn, a frozen model, a PEFT adapter's folder."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from assay.errors import SettingError
from assay.methods.method import Method, head_modules, save_adapter


class AbstractPrefix(Method):
    """`tokens` positions before every text learn, and no weight changes; they are taken from the context.

    The head of a classifier learns whole, as in every method.

    Attributes:
        tokens: l, the positions that learn.
    """

    changes: ClassVar[Literal["matrices", "vectors", "nothing"]] = "nothing"

    tokens: int = Field(default=10, ge=1)

    @abstractmethod
    def configuration(self, head: list[str]) -> Any:
        """PEFT's kind of configuration, for a model with this head."""

    @property
    def positions(self) -> int:
        """Positions of the context that the method takes."""
        return self.tokens

    def prepare(self, model: Any) -> Any:
        """Freeze the model; train the positions and the head.

        Raises:
            SettingError: a model whose sizes PEFT does not find in its configuration.
        """
        from peft import get_peft_model

        head = head_modules(model)
        config = self.configuration(head)(
            num_virtual_tokens=self.tokens,
            modules_to_save=head or None,
            task_type="SEQ_CLS" if head else "CAUSAL_LM",
        )
        try:
            return get_peft_model(model, config)
        except ValueError as error:
            why = str(error).splitlines()[0].rstrip(".")
            raise SettingError(
                f"PEFT refuses {self.name} on a {model.config.model_type} model: {why}",
                wanted="a model that PEFT's prefixes take, such as BERT, RoBERTa or Llama",
            ) from None

    def save(self, model: Any, folder: Path, base: str, revision: str | None) -> None:
        """A PEFT adapter's folder."""
        save_adapter(model, folder, base, revision)
