"""A loaded model with a stored update on it, unmerged: a PEFT adapter or BitFit's tensors, all of which must fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from assay.errors import AdapterError, InputError, MismatchError
from assay.models.renamed import brought_home
from assay.records.record import read_json
from assay.weights.adapter_settings import no_scale, refuse_unknown
from assay.weights.adapters import VECTOR_METHODS
from assay.weights.bitfit import read_bitfit
from assay.weights.libraries import put_adapter, read_adapter_config
from assay.weights.model_files import ADAPTER_CONFIG, BITFIT_CONFIG

_THE_BASE = "the base, and the classes, that it was trained on"
# What PEFT keeps once for all layers, and stores once or makes again: no layer has it in the file.
_SHARED = ("vblora_vector_bank", "prompt_encoder")


def with_update(model: Any, folder: Path, where: str, of_classifier: bool = False) -> Any:
    """A model with the tensors of an update, as they are stored.

    Args:
        model: the base.
        folder: where the update lies.
        where: how errors name it.
        of_classifier: whether it was trained on a classifier and is to stand on a language model: what it holds of the
            classifier's head is then left out.

    Raises:
        AdapterError: PEFT has no such method.
        MismatchError: tensors of the update that the base has no place for, or places for which it has no tensor.
    """
    if (folder / BITFIT_CONFIG).exists():
        return _with_bitfit(model, folder, where, of_classifier)
    return _with_adapter(model, folder, where, of_classifier)


def _with_adapter(model: Any, folder: Path, where: str, of_classifier: bool) -> Any:
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    settings = read_json(folder / ADAPTER_CONFIG, "an adapter's configuration")
    kind = settings.get("peft_type")
    if kind not in PEFT_TYPE_TO_CONFIG_MAPPING:
        raise AdapterError(f"its peft_type is {kind!r}", wanted="a method of the installed PEFT", where=where)
    if of_classifier and kind in VECTOR_METHODS:
        raise MismatchError("a prefix that was learned for a classifier does not fit a language model", where=where)
    refuse_unknown(settings, where)
    with brought_home(folder, settings, model) as home:
        adapted, left = _load(model, home, where, of_classifier)
    missing = [name for name in left.missing_keys if not any(shared in name for shared in _SHARED)]
    unexpected = [] if kind in VECTOR_METHODS else left.unexpected_keys  # PEFT loads a prefix in another way
    body = f"base_model.model.{model.base_model_prefix}."
    for names, fault in ((unexpected, "the base has no place for"), (missing, "the adapter has no tensor for")):
        counted = [name for name in names if not of_classifier or (name.startswith(body) and ".pooler." not in name)]
        if counted:
            raise MismatchError(f"{fault} {counted[0]} ({len(counted)} such tensor(s))", wanted=_THE_BASE, where=where)
    for name, module in adapted.named_modules():
        factors = getattr(module, "lora_B", {})
        if "default" in factors and module.scaling["default"] == 0 and bool(factors["default"].weight.any()):
            raise no_scale(name, where)
    return adapted


def _load(model: Any, folder: Path, where: str, of_classifier: bool) -> tuple[Any, Any]:
    """The model with an adapter on it, and PEFT's word on what did not fit."""
    try:
        config = read_adapter_config(folder)
        if of_classifier:
            config.task_type = config.modules_to_save = None
        return put_adapter(model, folder, config)
    except InputError:
        raise
    except KeyError as error:  # what PEFT looks up by its name: a whole module that was trained, or a prefix
        raise MismatchError(f"the adapter has no tensor for {error}", wanted=_THE_BASE, where=where) from None
    except (RuntimeError, TypeError, ValueError) as error:  # torch's has a line for every tensor of another shape
        last = str(error).splitlines()[-1].strip()
        raise MismatchError(f"the adapter's tensors do not fit ({last})", wanted=_THE_BASE, where=where) from None


def _with_bitfit(model: Any, folder: Path, where: str, of_classifier: bool) -> Any:
    parameters = dict(model.named_parameters())
    for name, value in read_bitfit(folder).items():
        if of_classifier and (not name.startswith(f"{model.base_model_prefix}.") or ".pooler." in name):
            continue
        if name not in parameters or parameters[name].shape != value.shape:
            raise MismatchError(
                f"{name} is no parameter of the base in that shape",
                wanted="the base that it was trained on",
                where=where,
            )
        parameters[name].data.copy_(value)
    return model
