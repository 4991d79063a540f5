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
from assay.estimates.fits import as_it_is, fits_of, memory_of, sizes_of
from assay.estimates.policies import beside, learning, loss_batch, value_model
from assay.linalg.devices import device_of
from assay.models.loading import Place, find, head_for, load_tokenizer
from assay.records import Estimate, Provenance
from assay.records.estimate import Fit
from assay.training.conditions import in_steps, with_template
from assay.training.loaded import load_data
from assay.training.run import check_positions
from assay.training.spec import Spec, read_spec
from assay.training.trainers import width_of
from assay.weights.libraries import build_model, read_config

_PACKAGES = ("torch", "transformers", "peft")
_FLOAT = 4  # bytes of a float32 number
_MOMENTS = 2  # of AdamW, for every number that learns


def estimate(spec: str | Path | Spec, memory: str | None = None, device: str = "cpu") -> Estimate:
    """Say what a run would need, without running it and without reading a weight.

    The model is built on the meta device, the method's parameters are put on it, and one forward pass on a batch of
    the longest width that the run would see tells what autograd would keep. Of a policy it is the most: every reply as
    long as it may be.

    Args:
        spec: a TOML file, to which paths in it are relative; or a specification, whose paths are relative to here.
        memory: a size, such as 12GB: which settings fit it is said too.
        device: where it would run, which need not be here: cpu, cuda, or auto. TRL's kernels for CUDA hold less of a
            policy's logits.

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
    place, data_file = find(settings.base, start), located(settings.data.path, start)
    if place.is_adapter:
        raise SettingError("the base is an adapter", wanted="a whole model", where=place.source.name)
    settings = settings.model_copy(update={"data": resolved(settings.data, data_file)})
    settings = in_steps(settings, place, data_file, start)
    check_positions(settings, place)
    tokenizer = load_tokenizer(place)
    with_template(tokenizer, settings.data, start)
    loaded = load_data(settings.data, data_file, tokenizer, place)
    width = _widest(settings, loaded)
    model = _on_meta(settings, place, loaded.labels)
    pad = padding_id(tokenizer)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = pad
    with_triton = device.startswith("cuda") or device_of(device).type == "cuda"
    others = beside(settings, place, start, (width, pad), _built, with_triton)
    parameters = dict(model.named_parameters())
    trainable = learning(model)
    total = sum(value.numel() for value in parameters.values())
    stored = settings.method.stored(model)
    part = settings.training.part
    batch = _batch(settings, loaded, width, part)
    cast = settings.training.precision != "float32"
    kept = kept_of(model, batch, cast, settings.training.gradient_checkpointing)
    sizes = sizes_of(model, settings)
    found = Estimate(
        provenance=Provenance.of(_PACKAGES, settings.settings(), settings.seed),
        method=settings.method.name,
        base=place.source,
        parameters=total,
        trainable=trainable,
        stored=stored,
        stored_bytes=(1 + len(settings.training.save_at)) * _FLOAT * stored,
        checkpoint_bytes=_FLOAT * (1 + _MOMENTS) * (trainable + others.learns),
        batch=(batch["input_ids"].shape[0], batch["input_ids"].shape[1]),
        weight_bytes=sizes.weights + others.value,
        frozen_bytes=others.frozen,
        gradient_bytes=sizes.gradients + others.gradients,
        optimizer_bytes=sizes.optimizer + others.optimizer,
        activation_bytes=kept.whole + others.kept,
        passing_bytes=max(kept.passing, others.passing),
        step_flops=_step_operations(settings, model, batch),
        notes=(*settings.method.remarks(model), *_of_value(others.learns)),
    )
    if memory is None:
        return found
    room = memory_of(memory)
    if settings.policy is not None:  # which learns in float32, on a whole batch
        fits: tuple[Fit, ...] = (as_it_is(found, settings.training.batch_size, room),)
    else:
        fits = fits_of(model, settings, lambda size: _batch(settings, loaded, width, size), room)
    return found.model_copy(update={"memory_bytes": room, "fits": fits})


def _of_value(learns: int) -> tuple[str, ...]:
    return (f"{learns:,} parameters of the value model learn beside them.",) if learns else ()


def classes_of(spec: Spec) -> tuple[str, ...]:
    """The classes of a run's data; empty for a language model. All of the data is read.

    Raises:
        InputError: the base or the data cannot be used.
    """
    place = find(spec.base)
    return load_data(spec.data, Path(spec.data.path), load_tokenizer(place), place).labels


def disk_of(spec: Spec, classes: tuple[str, ...]) -> tuple[int, int]:
    """Bytes that a run would store, and those of the checkpoint that it holds while it runs.

    Args:
        spec: of the run.
        classes: from `classes_of`, which many runs may share.

    Raises:
        InputError: the base cannot be used, or the model cannot be built without weights.
    """
    place = find(spec.base)
    model, value = _on_meta(spec, place, classes), value_model(spec, place, _built)
    learned = learning(model) + (0 if value is None else learning(value))
    stored = (1 + len(spec.training.save_at)) * spec.method.stored(model)
    return _FLOAT * stored, _FLOAT * (1 + _MOMENTS) * learned


def _widest(spec: Spec, loaded: Loaded) -> int:
    """Tokens of the widest batch that the run would see."""
    positions = order(len(loaded.examples), spec.training.steps * spec.training.batch_size, spec.seed)
    return max(width_of(loaded.examples[position]) for position in positions)


def _batch(spec: Spec, loaded: Loaded, width: int, size: int) -> dict[str, Any]:
    """A batch of that width, on the meta device, without a mask: what the mask would keep is small."""
    if spec.policy is not None:
        return loss_batch(spec.policy, loaded, width, size)
    widest = [next(example for example in loaded.examples if width_of(example) == width)] * size
    if isinstance(widest[0], Pair):
        return {"input_ids": collate_pairs(widest, 0)["input_ids"].to("meta")}
    whole = collate(widest, 0)
    if objective_of(spec.data) == "reward":
        del whole["labels"]  # the loss on a score is not the model's own
    return {name: value.to("meta") for name, value in whole.items() if name != "attention_mask"}


def _on_meta(spec: Spec, place: Place, labels: tuple[str, ...]) -> Any:
    """The model with the method's parameters, without storage."""
    headed = head_for(objective_of(spec.data)) == "sequence-classification"
    with torch.device("meta"):
        try:
            return spec.method.prepare(_built(place, len(labels) if headed else 0)).train()
        except NotImplementedError:  # SHiRA chooses entries of the weights
            raise SettingError(
                f"PEFT cannot build {spec.method.name} without weights", wanted="another method, for an estimate"
            ) from None


def _built(place: Place, classes: int) -> Any:
    """A model without storage, with a head for so many classes; for language, if there are none."""
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    config = read_config(place.folder)
    kind: Any = AutoModelForCausalLM
    if classes:
        kind, config.num_labels = AutoModelForSequenceClassification, classes
    with torch.device("meta"):
        model = build_model(kind, config, dtype=torch.float32)
    for module in model.modules():
        if hasattr(module, "warn_if_padding_and_no_attention_mask"):  # it reads tokens, and there are none on meta
            module.warn_if_padding_and_no_attention_mask = lambda *_: None
    return model


def _step_operations(spec: Spec, model: Any, batch: dict[str, Tensor]) -> int | None:
    """Floating-point operations of the matrix products in a step; None of a policy, which writes its replies first."""
    from torch.utils.flop_counter import FlopCounterMode

    if spec.policy is not None:
        return None
    with FlopCounterMode(display=False) as counter:
        found = model(**batch)
        loss = found.loss if found.loss is not None else found.logits.sum()  # a reward's loss is not the model's own
        loss.backward()
    return spec.training.gradient_accumulation * int(counter.get_total_flops())
