"""Activations that autograd keeps of one forward pass, counted without computing it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Kept(NamedTuple):
    """Bytes of a forward pass that are there until the backward one.

    Attributes:
        whole: of all storages, parameters left out.
        passing: beside them for a moment: the loss's gradients, or a layer that is computed again if it is more.
    """

    whole: int
    passing: int


def kept_of(model: Any, batch: dict[str, Any], cast: bool = False, again: bool = False) -> Kept:
    """Bytes that one forward pass keeps for the backward one.

    Args:
        model: on the meta device.
        batch: on the meta device.
        cast: under autocast to bfloat16. The tensors are then torch's fake ones, which pass for a CPU's: on the meta
            device nothing is cast. Copies of weights are counted too: the backward pass needs them.
        again: with activations that are computed again: of each layer its input is kept. One layer at a time is there
            whole, when what the loss kept is gone: it passes.
    """
    if again:
        every = kept_of(model, batch, cast)
        model.gradient_checkpointing_enable({"use_reentrant": False})
        examples, width = batch["input_ids"].shape
        # Without a mask transformers looks for packed sequences in the numbers of positions; here there are none.
        seen = {"attention_mask": torch.ones(examples, 1, width, width, dtype=torch.bool, device="meta")}
        try:
            outside = kept_of(model, batch | seen, cast)
        finally:
            model.gradient_checkpointing_disable()
        layers, size = model.config.num_hidden_layers, model.config.hidden_size
        inputs = 4 * layers * size * examples * width
        layer = (every.whole - outside.whole) // layers
        return Kept(outside.whole + inputs, max(every.passing, layer))
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = True  # without one, transformers looks for packed rows in numbers, which are not there
    kept: dict[int, Tensor] = {}
    own = {value.untyped_storage()._cdata for value in model.parameters()}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = tensor  # kept alive, so that no other storage takes its number
        return tensor

    mode: AbstractContextManager[Any] = nullcontext()
    given: dict[str, Any] = dict(batch)
    with torch.random.fork_rng(devices=[]):
        if cast:
            model, given, mode = _as_on_cpu(model, batch)
            own |= {value.untyped_storage()._cdata for value in model.parameters()}
        casting = torch.autocast("cpu", dtype=torch.bfloat16) if cast else nullcontext()
        with mode, casting, torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            model(**given)
    sizes = [tensor.untyped_storage().nbytes() for tensor in kept.values()]
    # The largest is the logits' most often, and their gradient is there twice.
    return Kept(sum(sizes), 2 * max(sizes))


def _as_on_cpu(model: Any, batch: dict[str, Tensor]) -> tuple[Any, dict[str, Any], Any]:
    """Model and batch in fake tensors of a CPU, which have shapes and no numbers."""
    import copy

    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

    mode = FakeTensorMode()

    def fake(tensor: Tensor) -> Any:
        return FakeTensor(mode, tensor.detach(), torch.device("cpu"))

    twin = copy.deepcopy(model)
    made: dict[int, torch.nn.Parameter] = {}  # tied weights stay one
    for module in twin.modules():
        for name, value in list(module._parameters.items()):
            if value is not None:
                made.setdefault(id(value), torch.nn.Parameter(fake(value), requires_grad=value.requires_grad))
                module._parameters[name] = made[id(value)]
        for name, held in list(module._buffers.items()):
            if held is not None:
                module._buffers[name] = fake(held)
    return twin, {name: fake(value) for name, value in batch.items()}, mode
