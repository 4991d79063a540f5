"""Methods of tuning: their registry, one file each."""

from __future__ import annotations

from typing import get_args

from assay.methods.b_only import BOnly
from assay.methods.bitfit import BitFit
from assay.methods.full import Full
from assay.methods.lora import Lora
from assay.methods.low_rank import AbstractLora
from assay.methods.method import Method
from assay.methods.oplora import OpLora
from assay.methods.peft_adapter import PeftAdapter
from assay.methods.prefix_embedding import PrefixEmbedding
from assay.methods.prefix_layer import PrefixLayer
from assay.methods.rslora import RsLora
from assay.methods.variants import LoraVariant

AnyMethod = Full | Lora | RsLora | BOnly | OpLora | LoraVariant | BitFit | PrefixEmbedding | PrefixLayer | PeftAdapter

METHODS: dict[str, type[Method]] = {
    name: method for method in get_args(AnyMethod) for name in get_args(method.model_fields["name"].annotation)
}

__all__ = ["METHODS", "AbstractLora", "AnyMethod", "Full", "Method", "describe_methods"]


def describe_methods() -> list[tuple[str, str, str]]:
    """Every method: its name, what it changes, and a sentence.

    Example:
        >>> describe_methods()[0]
        ('full', 'matrices', 'Full fine-tuning of every matrix of the body.')
    """
    return [(name, method.changes, (method.__doc__ or "").strip().splitlines()[0]) for name, method in METHODS.items()]
