"""Settings that fit a memory: precision, 4-bit base, checkpointing, and how many examples at once."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from assay.errors import SettingError
from assay.estimates.activations import Kept, kept_of
from assay.methods import Full
from assay.records.estimate import Estimate, Fit
from assay.training.schedule import Schedule
from assay.training.spec import Spec

_MEMORY = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>[KMGT]i?B|B)?", re.IGNORECASE)
_UNITS = {"k": 1, "m": 2, "g": 3, "t": 4}
_CODE = 0.5 + 4 / 64  # bytes of a number in nf4: half of one, and a float32 for every 64
_MOMENTS = {"adamw": 2.0, "adamw-paged": 2.0, "adamw-8bit": 0.5, "adamw-8bit-paged": 0.5}  # in numbers of 4 bytes


def memory_of(text: str) -> int:
    """Bytes of a size such as 12GB (10^9) or 12GiB (2^30).

    Raises:
        SettingError: it is none.

    Example:
        >>> memory_of("12GB"), memory_of("1 KiB")
        (12000000000, 1024)
    """
    match = _MEMORY.fullmatch(text.strip())
    if match is None or not float(match["number"]):
        raise SettingError(f"the memory is {text!r}", wanted="a size, such as 12GB or 16GiB")
    unit = (match["unit"] or "B").lower()
    base = 1024 if "i" in unit else 1000
    return int(float(match["number"]) * base ** _UNITS.get(unit[0], 0))


@dataclass(frozen=True)
class Sizes:
    """Bytes that a run holds beside its activations.

    Attributes:
        weights: of all parameters; gradients, optimizer: of those that learn.
    """

    weights: int
    gradients: int
    optimizer: int


def sizes_of(model: Any, spec: Spec) -> Sizes:
    """Bytes of weights, gradients and moments under a specification's settings.

    Args:
        model: on the meta device, prepared by the specification's method.
        spec: of the run.
    """
    training = spec.training
    half = training.precision == "bf16-weights"
    frozen = sum(value.numel() for value in model.parameters() if not value.requires_grad)
    learns = sum(value.numel() for value in model.parameters() if value.requires_grad)
    coded = _coded(model) if spec.method.bits is not None else 0
    number = 2 if half else 4
    own = 2 if half and isinstance(spec.method, Full) else 4  # PEFT holds what it adds in float32
    return Sizes(
        weights=round(coded * _CODE) + (frozen - coded) * number + learns * own,
        gradients=learns * own,
        optimizer=round(learns * own * _MOMENTS[training.optimizer]),
    )


def _coded(model: Any) -> int:
    """Numbers of the frozen matrices of linear layers, the output left out: those that become codes."""
    output = model.get_output_embeddings()
    layers = (module for module in model.modules() if isinstance(module, torch.nn.Linear) and module is not output)
    return sum(layer.weight.numel() for layer in layers if not layer.weight.requires_grad)


def fits_of(model: Any, spec: Spec, batch_of: Callable[[int], dict[str, Tensor]], memory: int) -> tuple[Fit, ...]:
    """For every combination of settings, the most examples at once with which a run fits.

    What autograd keeps is counted on one and two examples, and grows by the same for each more.

    Args:
        model: on the meta device, prepared by the specification's method.
        spec: of the run; its method, data and optimizer stay.
        batch_of: a batch of so many of the longest examples.
        memory: bytes that there are.
    """
    found = []
    for cast, again in itertools.product((False, True), repeat=2):
        one, two = (kept_of(model, batch_of(size), cast, again) for size in (1, 2))
        for varied in _variations(spec, cast, again):
            sizes = sizes_of(model, varied)
            # A base in codes has no copies of its weights in bfloat16: they are made, layer by layer, and dropped.
            copies = 2 * _coded(model) if cast and varied.method.bits is not None else 0
            fixed = sizes.weights + sizes.gradients + sizes.optimizer - copies

            def peak(part: int, one: Kept = one, two: Kept = two, fixed: int = fixed) -> int:
                there, passing = (first + (part - 1) * (second - first) for first, second in zip(one, two, strict=True))
                return fixed + there + passing

            parts = [part for part in _parts(varied.training.batch_size) if peak(part) <= memory]
            best = max(parts, default=None)
            found.append(
                Fit(
                    precision=varied.training.precision,
                    base_bits=varied.method.bits,
                    gradient_checkpointing=again,
                    examples_at_once=best,
                    peak_bytes=peak(best or 1),
                )
            )
    order = ("float32", "bf16", "bf16-weights")
    return tuple(
        sorted(found, key=lambda fit: (order.index(fit.precision), fit.base_bits or 0, fit.gradient_checkpointing))
    )


def as_it_is(found: Estimate, examples: int, memory: int) -> Fit:
    """Fit of a run that has no other settings.

    Args:
        found: its estimate.
        examples: of a step, computed at once.
        memory: bytes that there are.
    """
    return Fit(
        precision="float32",
        base_bits=None,
        gradient_checkpointing=False,
        examples_at_once=examples if found.peak_bytes <= memory else None,
        peak_bytes=found.peak_bytes,
    )


def _variations(spec: Spec, cast: bool, again: bool) -> Iterator[Spec]:
    """The specification in every precision that is computed alike, with a base as it is, and in 4 bits."""
    bits = (None, 4) if "base_bits" in type(spec.method).model_fields and _packs(spec) else (None,)
    for precision, base_bits in itertools.product(("bf16", "bf16-weights") if cast else ("float32",), bits):
        training: Schedule = spec.training.model_copy(update={"precision": precision, "gradient_checkpointing": again})
        method = spec.method.model_copy(update={"base_bits": base_bits}) if len(bits) > 1 else spec.method
        yield spec.model_copy(update={"training": training, "method": method})


def _packs(spec: Spec) -> bool:
    """True if the method learns beside a quantised base."""
    try:
        type(spec.method).model_validate({**spec.method.model_dump(), "base_bits": 4})
    except ValueError:
        return False
    return True


def _parts(batch_size: int) -> list[int]:
    """Sizes of equal parts of a batch."""
    return [part for part in range(1, batch_size + 1) if batch_size % part == 0]
