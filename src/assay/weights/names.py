"""Names of stored tensors brought home: without what wrappers put into them, and across prefixes that have moved.

What trains a model wraps it, and the wrapper's name goes into every tensor's; a library that holds a model as a part of
its own puts a prefix before it; models with a picture's encoder moved their `language_model` between releases. All
reading of names, of checkpoints and of adapters, to be audited or to be run, goes through here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from assay.errors import AdapterError

# Put anywhere in a name: by torch.compile; by FSDP, and by its first releases; by activation checkpointing.
_INFIXES = frozenset(("_orig_mod", "_fsdp_wrapped_module", "_fpw_module", "_checkpoint_wrapped_module"))
# Put before a name, once or several times: by PEFT; by DDP and DataParallel; by sentence-transformers.
_PREFIXES = ("base_model.model.", "module.", "0.auto_model.")
# Where a text model lies in one with other encoders, by release: `language_model.model.layers`,
# `model.language_model.layers`, `model.text_model.layers`, and `model.layers` or `layers` by itself.
_MOVED = frozenset(("model", "language_model", "text_model"))
# What PEFT's adapters call their tensors, with the adapter's own name after it while it is on a model.
_TUNER = r"lora_\w+|hada_\w+|lokr_\w+|hra_\w+|ia3_\w+|oft_\w+|road_\w+|trainable_tokens_\w+"
_NAMED = re.compile(rf"\.(?:{_TUNER})\.(?!(?:weight|bias)$)(?P<name>[^.]+)(?=\.(?:weight|bias)$|$)")
_MODULE = re.compile(rf"^(?P<module>.+?)(?:\.token_adapter)?\.(?:{_TUNER})(?:\.|$)")
_SAVED = ".modules_to_save."


def home(name: str) -> str:
    """A tensor's name without what wrappers and libraries put before and into it.

    Example:
        >>> home("module._orig_mod.base_model.model.model.layers.0._checkpoint_wrapped_module.mlp.up_proj.weight")
        'model.layers.0.mlp.up_proj.weight'
    """
    plain = ".".join(part for part in name.split(".") if part not in _INFIXES)
    while True:
        prefix = next((prefix for prefix in _PREFIXES if plain.startswith(prefix)), None)
        if prefix is None:
            return plain
        plain = plain.removeprefix(prefix)


def homes_of_adapter(stored: Iterable[str], where: str) -> dict[str, str]:
    """The names of an adapter's tensors as `save_pretrained` writes them, without `base_model.model.`, by stored name.

    Args:
        stored: the names in the file.
        where: names the file in an error.

    Raises:
        AdapterError: tensors of several adapters are in one file, or two tensors have one name.

    Example:
        >>> homes_of_adapter(["base_model.model.lm_head.lora_A.default.weight"], "a file")
        {'base_model.model.lm_head.lora_A.default.weight': 'lm_head.lora_A.weight'}
    """
    plain = {name: home(name) for name in stored}
    named = sorted({found["name"] for found in map(_NAMED.search, plain.values()) if found})
    if len(named) > 1:
        raise AdapterError(
            f"tensors of {len(named)} adapters are in one file ({', '.join(named)})",
            wanted="one adapter",
            remedy="save the one you mean by itself: `save_pretrained(..., selected_adapters=[NAME])`",
            where=where,
        )
    saved = f"{_SAVED}{named[0] if named else 'default'}."
    homes = {name: _NAMED.sub(_without_name, found).replace(saved, _SAVED) for name, found in plain.items()}
    _refuse_doubles(homes, where)
    return homes


def module_of_tensor(name: str) -> str | None:
    """The module that a tensor of an adapter's own belongs to, by its name at home; None for any other tensor.

    Example:
        >>> module_of_tensor("model.layers.0.mlp.up_proj.lora_A.weight")
        'model.layers.0.mlp.up_proj'
    """
    found = _MODULE.match(name)
    return found["module"] if found else None


def _without_name(found: re.Match[str]) -> str:
    return found[0].removesuffix(f".{found['name']}")


def _refuse_doubles(homes: Mapping[str, str], where: str) -> None:
    seen: dict[str, str] = {}
    for name, found in homes.items():
        if found in seen:
            raise AdapterError(
                f"two tensors have one name: {seen[found]} and {name} are both {found}",
                wanted="every tensor once",
                remedy="save the adapter again with `save_pretrained`",
                where=where,
            )
        seen[found] = name


def nearest(name: str, known: Collection[str]) -> tuple[str, ...]:
    """Known names that a name can mean: those of another place of the text model, else those of another prefix.

    The first are equal but for `model`, `language_model` and `text_model` before the first number; of the second, one
    name is the end of the other. More than one is ambiguous.

    Example:
        >>> nearest("language_model.model.layers.0.q_proj", ["model.language_model.layers.0.q_proj"])
        ('model.language_model.layers.0.q_proj',)
        >>> nearest("layer.0.q", ["encoder.layer.0.q", "decoder.layer.0.q"])
        ('encoder.layer.0.q', 'decoder.layer.0.q')
    """
    bare, numbers = _bare(name), _numbers(name)
    moved = tuple(other for other in known if _bare(other) == bare)
    if moved:
        return moved
    return tuple(
        other
        for other in known
        if (other.endswith(f".{name}") or name.endswith(f".{other}")) and _numbers(other) == numbers
    )


def moved(names: Iterable[str], known: Collection[str]) -> dict[str, str]:
    """The names that are not known and can mean one known name alone, with that one.

    Two names that would mean the same one are left out.
    """
    known = dict.fromkeys(known)
    found = {name: near for name in names if name not in known and len(near := nearest(name, known)) == 1}
    counts: dict[str, int] = {}
    for (other,) in found.values():
        counts[other] = counts.get(other, 0) + 1
    return {name: other for name, (other,) in found.items() if counts[other] == 1}


def _bare(name: str) -> str:
    """A name without the words that say where the text model lies, before its first number (or its last part)."""
    parts = name.split(".")
    first = next((i for i, part in enumerate(parts) if part.isdigit()), len(parts) - 1)
    return ".".join(part for i, part in enumerate(parts) if i >= first or part not in _MOVED)


def _numbers(name: str) -> list[str]:
    return [part for part in name.split(".") if part.isdigit()]
