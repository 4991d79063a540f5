"""Every call of a library's loader: files of the folder alone, never its code, never a pickle, never a question.

A folder may ask for Python of its own (`auto_map`), and a library may then run it, or ask on the terminal whether to.
Here it is never run: where transformers has the model under its own name, its own class is taken, and a note says so;
anything else is refused by name before a loader sees the folder.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from assay.errors import AdapterError, CheckpointError, CodeError, PickleError
from assay.records.record import read_json
from assay.weights.model_files import ADAPTER_CONFIG, ADAPTER_FILE, MODEL_CONFIG

_TOKENIZER_CONFIG = "tokenizer_config.json"
# Attention and experts can be kernels, which transformers fetches from the hub and runs; those are named owner/name.
_IMPLEMENTATIONS = (
    *("attn_implementation", "_attn_implementation", "_attn_implementation_internal"),
    *("experts_implementation", "_experts_implementation", "_experts_implementation_internal"),
)
# Settings by which PEFT imports a module or loads another model or adapter than the one at hand.
_ELSEWHERE = ("megatron_config", "shadow_model", "adapters")


def refuse_code(folder: Path) -> None:
    """Refuse a folder that asks for code which its model or its tokenizer cannot be read without.

    Raises:
        CodeError: with the file and what it asks for.
    """
    for file in (MODEL_CONFIG, _TOKENIZER_CONFIG):
        settings = _settings(folder / file)
        asked, wanted = _asked_code(settings), "a model and a tokenizer that the installed transformers has itself"
        if asked and not (_own_model(settings) if file == MODEL_CONFIG else _own_tokenizer(settings)):
            raise CodeError(
                f"asks for code of its own ({', '.join(asked)}), which is never run",
                wanted=wanted,
                remedy="update transformers if it has the model by now; or run that code where you trust it, and save "
                "the model in a form that needs none",
                where=str(folder / file),
            )
        for kernel in _kernels(settings):
            raise CodeError(
                f"asks for a kernel of the hub ({kernel}), which is code and never run",
                wanted="an implementation of the installed transformers",
                remedy="take the key out",
                where=str(folder / file),
            )


def code_not_run(folder: Path) -> list[str]:
    """Remark on code that a folder asks for and that is not run; empty where it asks for none."""
    settings = _settings(folder / MODEL_CONFIG)
    if not _asked_code(settings):
        return []
    own = f": it is read as transformers' own {', '.join(settings['architectures'])}" if _own_model(settings) else ""
    return [f"A model's folder asks for code of its own (auto_map), which is never run{own}."]


def read_config(folder: Path) -> Any:
    """A model's configuration as transformers reads it.

    Raises:
        CodeError: it asks for code.
        Exception: whatever transformers raises of files that it cannot read.
    """
    from transformers import AutoConfig

    refuse_code(folder)
    return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def build_model(kind: Any, config: Any, **options: Any) -> Any:
    """A model of a configuration, with random weights; `kind` is an auto class or a model's own."""
    if hasattr(kind, "from_config"):
        return kind.from_config(config, trust_remote_code=False, **options)
    return kind._from_config(config, **options)


def read_model(kind: Any, folder: Path, where: str, **options: Any) -> Any:
    """A whole model of safetensors files, as `kind`, an auto class of transformers, reads it.

    Raises:
        CodeError: it asks for code.
        CheckpointError: it cannot be read.
    """
    refuse_code(folder)
    with _named(where, "model"):
        return kind.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, **options
        )


def read_tokenizer(folder: Path, where: str) -> Any:
    """A tokenizer.

    Raises:
        CodeError: it asks for code.
        CheckpointError: it cannot be read.
    """
    from transformers import AutoTokenizer

    refuse_code(folder)
    with _named(where, "tokenizer"):
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def read_adapter_config(folder: Path) -> Any:
    """An adapter's configuration as PEFT reads it, such that it names nothing else to be loaded.

    Raises:
        CodeError: it names a module to be imported or another model to be loaded.
        Exception: whatever PEFT raises of what it cannot read.
    """
    from peft import PeftConfig

    settings = read_json(folder / ADAPTER_CONFIG, "an adapter's configuration")
    for name in _ELSEWHERE:
        if settings.get(name) not in (None, "mirror"):
            raise CodeError(
                f"has PEFT import a module or load another model ({name})",
                wanted="an adapter that stands by itself",
                remedy="merge it where you trust it, and use the merged model",
                where=str(folder / ADAPTER_CONFIG),
            )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT warns about settings that newer or older versions know
        config = PeftConfig.from_pretrained(str(folder))
    if hasattr(config, "prompt_tuning_init"):
        # A prompt's start, which may be read from a pickle that the setting names; the stored one takes its place.
        config.prompt_tuning_init = "RANDOM"
    return config


def put_adapter(model: nn.Module, folder: Path, config: Any) -> tuple[Any, Any]:
    """A model with a stored adapter on it, unmerged; and what of either did not fit.

    Raises:
        AdapterError, PickleError: there are no safetensors, in whose place PEFT would open a pickle.
        Exception: whatever PEFT raises of tensors that do not fit.
    """
    from peft import PeftModel

    if not (folder / ADAPTER_FILE).is_file():
        pickled = (folder / "adapter_model.bin").exists()
        raise (PickleError if pickled else AdapterError)(
            "the adapter has no safetensors", wanted=ADAPTER_FILE, where=str(folder)
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Found missing adapter keys")  # the caller refuses them
        adapted: Any = PeftModel.from_pretrained(model, folder, config=config)
    # Read once more, because only this says what did not fit.
    return adapted, adapted.load_adapter(folder, "default")


@contextmanager
def _named(where: str, what: str) -> Iterator[None]:
    """One error for whatever stops transformers: it is in the model's files."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 (of a file that is no JSON, tokenizers raises an exception of no kind)
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"the {what} cannot be read ({first})", wanted="files that the installed transformers reads", where=where
        ) from None


def _settings(file: Path) -> dict[str, Any]:
    return read_json(file, "a configuration") if file.exists() else {}


def _asked_code(settings: dict[str, Any]) -> list[str]:
    """The classes of a folder's own code that a configuration asks for."""
    asked = settings.get("auto_map") or {}
    listed = asked.values() if isinstance(asked, dict) else asked if isinstance(asked, list | tuple) else [asked]
    return [str(name) for name in listed if name is not None] or (["auto_map"] if asked else [])


def _own_model(settings: dict[str, Any]) -> bool:
    """True if transformers has a model itself: its type and its class.

    The type alone does not tell: a folder's own code may be another computation under a known one's type.
    """
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    classes = settings.get("architectures") or ()
    return (
        settings.get("model_type") in CONFIG_MAPPING_NAMES
        and bool(classes)
        and all(isinstance(name, str) and hasattr(transformers, name) for name in classes)
    )


def _own_tokenizer(settings: dict[str, Any]) -> bool:
    """True if transformers has a tokenizer itself, by its class."""
    import transformers

    name = settings.get("tokenizer_class")
    return isinstance(name, str) and any(hasattr(transformers, one) for one in (name, name.removesuffix("Fast")))


def _kernels(settings: dict[str, Any]) -> list[str]:
    """The kernels of the hub that a configuration, or one in it, asks for."""
    found: list[str] = []
    for name, value in settings.items():
        if isinstance(value, dict):
            found += _kernels(value) if name not in _IMPLEMENTATIONS else [v for v in value.values() if "/" in str(v)]
        elif name in _IMPLEMENTATIONS and "/" in str(value):
            found.append(str(value))
    return found
