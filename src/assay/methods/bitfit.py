"""BitFit: the bias vectors of the body learn, and nothing else of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, final

from assay.errors import SettingError
from assay.methods.method import Method, head_modules
from assay.weights.bitfit import save_bitfit


@final
class BitFit(Method):
    """Every bias of the body learns, those of normalisation too; all matrices are frozen.

    The head of a classifier learns whole, as in every method.
    Source: arXiv 2106.10199.
    """

    changes: ClassVar[Literal["matrices", "vectors", "nothing"]] = "vectors"

    name: Literal["bitfit"]

    def prepare(self, model: Any) -> Any:
        """Freeze all but the biases and the head.

        Raises:
            SettingError: the body has no bias.
        """
        model.requires_grad_(False)
        body = model.get_submodule(model.base_model_prefix)
        biases = [value for name, value in body.named_parameters() if name.endswith("bias")]
        if not biases:
            raise SettingError(
                f"BitFit on a {model.config.model_type} model, which has no bias",
                wanted="a model with biases, such as BERT or GPT-2",
                remedy="use another method",
            )
        for value in biases:
            value.requires_grad_(True)
        for name in head_modules(model):
            model.get_submodule(name).requires_grad_(True)
        return model

    def save(self, model: Any, folder: Path, base: str, revision: str | None) -> None:
        """Save the parameters that learned, with the name of their base."""
        learned = {name: value for name, value in model.named_parameters() if value.requires_grad}
        save_bitfit(folder, learned, base, revision, "SEQ_CLS" if head_modules(model) else "CAUSAL_LM")
