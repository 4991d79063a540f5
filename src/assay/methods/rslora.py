"""Rank-stabilised LoRA on every matrix of the body."""

from __future__ import annotations

from typing import Any, Literal, final

from assay.methods.low_rank import AbstractLora

_ALPHA = 16.0  # at rank 64 the scale is then 2, which LoRA has at every rank with alpha = 2r


@final
class RsLora(AbstractLora):
    """`W0 + (alpha/sqrt(r)) B A` on every matrix of the body: activations and gradients keep their size at any rank.

    Alpha is 16 at every rank unless given: alpha = 2r would make the scale `2 sqrt(r)`, which grows with the rank.
    Source: arXiv 2312.03732, Theorem 3.2.
    """

    name: Literal["rslora"]

    def choices(self) -> dict[str, Any]:
        """PEFT's switch to the scale alpha / sqrt(r)."""
        return {"use_rslora": True}

    def scale(self) -> float:
        """The factor of BA: alpha / sqrt(r)."""
        return float(self.given_alpha() / self.rank**0.5)

    def given_alpha(self) -> float:
        """Alpha, the same at every rank."""
        return _ALPHA if self.alpha is None else self.alpha
