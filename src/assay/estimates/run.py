"""Will it fit: what a run would hold in memory and on disk, from its specification and the meta device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from assay.data.columns import resolved
from assay.data.examples import Loaded, Pair, collate, collate_pairs, order, padding_id
from assay.data.objectives import objective_of
from assay.data.tables import located
from assay.errors import SettingError
from assay.estimates.activations import kept_of
from assay.estimates.fits import fits_of, memory_of, sizes_of
from assay.models.loading import Place, find, head_for, load_tokenizer
from assay.records import Estimate, Provenance
from assay.training.conditions import in_steps, with_template
from assay.training.run import check_positions
from assay.training.spec import Spec, read_spec
from assay.training.trainers import width_of
from assay.weights.libraries import build_model, read_config

_PACKAGES = ("torch", "transformers", "peft")
_FLOAT = 4  # bytes of a float32 number
_MOMENTS = 2  # of AdamW, for every number that learns


def estimate(spec: str | Path | Spec, memory: str | None = None) -> Estimate:
    """Say what a run would need, without running it and without reading a weight.

    The model is built on the meta device, the method's parameters are put on it, and one forward pass on a batch of
    the longest width that the run would see tells what autograd would keep.

    Args:
        spec: a TOML file, to which paths in it are relative; or a specification, whose paths are relative to here.
        memory: a size, such as 12GB: which settings fit it is said too.

    Raises:
        SourceError: the specification, the base or the data cannot be read.
        SettingError: the specification is wrong, or the memory no size.
        InputError: the data cannot be used.

    Example:
        >>> assay.estimate("lora.toml").peak_bytes  # doctest: +SKIP
        1207959552
    """
    start = Path() if isinstance(spec, Spec) else Path(spec).parent
    settings = spec if isinstance(spec, Spec) else read_spec(spec)
    if objective_of(settings.data) == "policy":
        raise SettingError("the replies of a policy are not known before it is run", wanted="another objective")
    place, data_file = find(settings.base, start), located(settings.data.path, start)
    if place.is_adapter:
        raise SettingError("the base is an adapter", wanted="a whole model", where=place.source.name)
    settings = settings.model_copy(update={"data": resolved(settings.data, data_file)})
    settings = in_steps(settings, place, data_file, start)
    check_positions(settings, place)
    tokenizer = load_tokenizer(place)
    with_template(tokenizer, settings.data, start)
    loaded = settings.data.load(data_file, tokenizer)
    width = _widest(settings, loaded)
    model = _on_meta(settings, place, loaded.labels)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = padding_id(tokenizer)
    parameters = dict(model.named_parameters())
    trainable = sum(value.numel() for value in parameters.values() if value.requires_grad)
    total = sum(value.numel() for value in parameters.values())
    stored = settings.method.stored(model)
    part = settings.training.part
    batch = _batch(settings, loaded, width, part)
    cast = settings.training.precision != "float32"
    kept = kept_of(model, batch, cast, settings.training.gradient_checkpointing)
    sizes = sizes_of(model, settings)
    room = None if memory is None else memory_of(memory)
    tried = () if room is None else fits_of(model, settings, lambda size: _batch(settings, loaded, width, size), room)
    return Estimate(
        provenance=Provenance.of(_PACKAGES, settings.settings(), settings.seed),
        method=settings.method.name,
        base=place.source,
        parameters=total,
        trainable=trainable,
        stored=stored,
        stored_bytes=(1 + len(settings.training.save_at)) * _FLOAT * stored,
        checkpoint_bytes=_FLOAT * (1 + _MOMENTS) * trainable,
        batch=(part, width),
        weight_bytes=sizes.weights,
        gradient_bytes=sizes.gradients,
        optimizer_bytes=sizes.optimizer,
        activation_bytes=kept.whole,
        passing_bytes=2 * kept.largest,
        step_flops=settings.training.gradient_accumulation * _operations(model, batch),
        memory_bytes=room,
        fits=tried,
        notes=tuple(settings.method.remarks(model)),
    )


def classes_of(spec: Spec) -> tuple[str, ...]:
    """The classes of a run's data; empty for a language model. All of the data is read.

    Raises:
        InputError: the base or the data cannot be used.
    """
    return spec.data.load(Path(spec.data.path), load_tokenizer(find(spec.base))).labels


def disk_of(spec: Spec, classes: tuple[str, ...]) -> tuple[int, int]:
    """Bytes that a run would store, and those of the checkpoint that it holds while it runs.

    Args:
        spec: of the run.
        classes: from `classes_of`, which many runs may share.

    Raises:
        InputError: the base cannot be used, or the model cannot be built without weights.
    """
    model = _on_meta(spec, find(spec.base), classes)
    learned = sum(value.numel() for value in model.parameters() if value.requires_grad)
    stored = (1 + len(spec.training.save_at)) * spec.method.stored(model)
    return _FLOAT * stored, _FLOAT * (1 + _MOMENTS) * learned


def _widest(spec: Spec, loaded: Loaded) -> int:
    """Tokens of the widest batch that the run would see."""
    positions = order(len(loaded.examples), spec.training.steps * spec.training.batch_size, spec.seed)
    return max(width_of(loaded.examples[position]) for position in positions)


def _batch(spec: Spec, loaded: Loaded, width: int, size: int) -> dict[str, Tensor]:
    """A batch of that width, on the meta device, without a mask: what the mask would keep is small."""
    widest = [next(example for example in loaded.examples if width_of(example) == width)] * size
    if isinstance(widest[0], Pair):
        return {"input_ids": collate_pairs(widest, 0)["input_ids"].to("meta")}
    whole = collate(widest, 0)
    if objective_of(spec.data) == "reward":
        del whole["labels"]  # the loss on a score is not the model's own
    return {name: value.to("meta") for name, value in whole.items() if name != "attention_mask"}


def _on_meta(spec: Spec, place: Place, labels: tuple[str, ...]) -> Any:
    """The model with the method's parameters, without storage."""
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    config = read_config(place.folder)
    kind: Any = AutoModelForCausalLM
    if head_for(objective_of(spec.data)) == "sequence-classification":
        kind, config.num_labels = AutoModelForSequenceClassification, len(labels)
    with torch.device("meta"):
        model = build_model(kind, config, dtype=torch.float32)
        try:
            prepared = spec.method.prepare(model).train()
        except NotImplementedError:  # SHiRA chooses entries of the weights
            raise SettingError(
                f"PEFT cannot build {spec.method.name} without weights", wanted="another method, for an estimate"
            ) from None
    for module in prepared.modules():
        if hasattr(module, "warn_if_padding_and_no_attention_mask"):  # it reads tokens, and there are none on meta
            module.warn_if_padding_and_no_attention_mask = lambda *_: None
    return prepared


def _operations(model: Any, batch: dict[str, Tensor]) -> int:
    """Floating-point operations of the matrix products in one forward and backward pass."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        found = model(**batch)
        loss = found.loss if found.loss is not None else found.logits.sum()  # a reward's loss is not the model's own
        loss.backward()
    return int(counter.get_total_flops())
