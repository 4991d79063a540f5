"""What may learn: the registry of methods, one file each."""

from __future__ import annotations

from typing import get_args

from assay.methods.full import Full
from assay.methods.lora import Lora
from assay.methods.method import Method

AnyMethod = Full | Lora

METHODS: dict[str, type[Method]] = {
    get_args(method.model_fields["name"].annotation)[0]: method for method in get_args(AnyMethod)
}

__all__ = ["METHODS", "AnyMethod", "Method"]
