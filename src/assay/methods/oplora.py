"""LoRA kept off the leading singular directions of the base, so that these stay what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, final

from pydantic import Field

from assay.linalg import leading_triplets
from assay.methods.low_rank import AbstractLora


@final
class OpLora(AbstractLora):
    """`W0 + (alpha/r) P_L B A P_R`: nothing is learned along the leading singular directions of each matrix.

    With `P_L = I - U_k U_k^T` and `P_R = I - V_k V_k^T` the k leading triplets of W0 are triplets of the tuned matrix.
    The factors themselves are projected, before every use, so that what is stored is plain LoRA.
    Source: arXiv 2510.13003.

    Attributes:
        directions: k; one less than the smaller side of a matrix that has no more.
    """

    name: Literal["oplora"]
    directions: int = Field(default=16, ge=1)

    def choices(self) -> dict[str, Any]:
        """PEFT is asked for plain LoRA."""
        return {}

    def prepare(self, model: Any) -> Any:
        """Wrap every matrix of the body; find the directions that each is kept off."""
        from peft.tuners.lora.layer import LoraLayer
        from transformers.pytorch_utils import Conv1D

        wrapped = super().prepare(model)
        for layer in wrapped.modules():
            if isinstance(layer, LoraLayer) and not (weight := layer.get_base_layer().weight).is_meta:
                W0 = weight.detach().T if isinstance(layer.get_base_layer(), Conv1D) else weight.detach()
                k = min(self.directions, min(W0.shape) - 1)
                found = leading_triplets(W0, max(1, k))
                layer.kept_off = (found.u[:, :k], found.v[:, :k])
                layer.register_forward_pre_hook(_project)
        return wrapped

    def save(self, model: Any, folder: Path, base: str, revision: str | None) -> None:
        """A PEFT adapter's folder, with the last step projected too."""
        for layer in model.modules():
            if hasattr(layer, "kept_off"):
                _project(layer)
        super().save(model, folder, base, revision)


def _project(layer: Any, *_: Any) -> None:
    """`B <- P_L B` and `A <- A P_R`, in the place where the optimizer put them."""
    U, V = layer.kept_off
    A, B = layer.lora_A["default"].weight.data, layer.lora_B["default"].weight.data
    B -= U.to(B) @ (U.to(B).T @ B)
    A -= (A @ V.to(A)) @ V.to(A).T
