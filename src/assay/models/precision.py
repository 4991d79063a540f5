"""In which numbers a model is held, and where: float32, bf16 or 4 bits; on one device, or on all that there is."""

from __future__ import annotations

import importlib.util
import logging
from dataclasses import dataclass
from typing import Any, Literal

import torch

from assay.errors import SettingError, ValuesError

Number = Literal["float32", "bf16"]
DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "bf16": torch.bfloat16}
# Modules of classification heads, by transformers' names for them, wherever they are: they learn, so they stay whole.
_HEADS = tuple(
    rf"(?:.*\.)?{name}" for name in ("score", "classifier", "pre_classifier", "pooler", "classification_head")
)


@dataclass(frozen=True)
class Held:
    """Precision, quantisation and device of a model while it runs.

    Attributes:
        numbers: of the weights.
        bits: 4 for matrices of the body as bitsandbytes' nf4 codes; None for weights as they are.
        computed: what such matrices are multiplied in.
        attention: transformers' implementation of attention; None for its own choice.
        spread: whether a model may go over all devices, the memory and the disk (accelerate's `device_map="auto"`).
    """

    numbers: Number = "float32"
    bits: Literal[4] | None = None
    computed: Number = "float32"
    attention: str | None = None
    spread: bool = False

    @property
    def placed(self) -> bool:
        """True if transformers places the model on its devices while it reads it."""
        return self.bits is not None or self.spread

    def options(self, device: torch.device, headed: bool) -> dict[str, Any]:
        """Arguments of transformers' `from_pretrained`.

        Args:
            device: where the model goes, unless it is spread.
            headed: whether it has a classification head.

        Raises:
            SettingError: 4 bits, and bitsandbytes is not installed.
        """
        found: dict[str, Any] = {"dtype": DTYPES[self.numbers]}
        if self.attention is not None:
            found["attn_implementation"] = self.attention
        if self.spread:
            found["device_map"] = "auto"
        if self.bits is not None:
            check_bitsandbytes("a base in 4 bits")
            from transformers import BitsAndBytesConfig

            found["device_map"] = {"": device}
            found["quantization_config"] = BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_compute_dtype=DTYPES[self.computed],
                llm_int8_skip_modules=list(_HEADS) if headed else None,
            )
        return found


FLOAT32 = Held()


def check_bitsandbytes(what: str) -> None:
    """Refuse what needs bitsandbytes where it is not installed.

    Raises:
        SettingError: it is not.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise SettingError(
            f"{what} needs bitsandbytes, which is not installed", remedy="pip install 'assay-finetune[quantised]'"
        )
    # It warns at every import that a faster kernel for CPUs could be had from elsewhere.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def check_finite(model: Any, where: str) -> None:
    """Refuse weights whose answers would be counted like any others.

    Raises:
        ValuesError: NaN or infinite ones. What lies on a disk until it is needed is not looked at here.
    """
    for name, value in model.named_parameters():
        if not value.is_meta and not bool(torch.isfinite(value).all()):
            raise ValuesError(
                f"{name} holds NaN or infinite values",
                wanted="finite weights",
                remedy="train it again at a lower learning rate",
                where=where,
            )
