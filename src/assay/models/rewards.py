"""Judges of replies: a reward model, or a function named by its import path."""

from __future__ import annotations

import importlib
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from assay.data.examples import SCORE, Example, Prompt, collate, padding_id
from assay.errors import InputError, MismatchError, SettingError
from assay.models.loading import Place, find, load, load_tokenizer, positions_of, stored_objective
from assay.records import Source

Ids = tuple[int, ...]
Function = Callable[..., Sequence[float]]
_ANSWER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def exact_number(prompts: Sequence[str], completions: Sequence[str], answer: Sequence[str], **_: Any) -> list[float]:
    """1 for a reply whose number is the row's `answer`, 0 for any other.

    The number is the one after `####`, as GSM8K writes its answers (arXiv 2110.14168); without that mark, the first.

    Example:
        >>> exact_number(["2 + 2 ="] * 3, [" 4", " 5", "2 + 2 #### 4"], answer=["4", "4", "#### 4"])
        [1.0, 0.0, 1.0]
    """
    return [float(_number(said) == _number(right) is not None) for said, right in zip(completions, answer, strict=True)]


def _number(text: str) -> float | None:
    found = _ANSWER.search(text.rsplit("####", 1)[-1])
    return float(found[0].replace(",", "")) if found else None


@dataclass(frozen=True)
class Reward:
    """A judge of replies.

    Attributes:
        source: the reward model, or the function by its import path.
        judge: prompts and replies to one number each.
    """

    source: Source
    judge: Callable[[Sequence[Prompt], Sequence[Ids]], Sequence[float]]

    def __call__(self, prompts: Sequence[Prompt], replies: Sequence[Ids]) -> list[float]:
        """One finite number for every reply.

        Raises:
            InputError: no sequence of numbers, another number of them, or one that is not finite.
        """
        found = self.judge(prompts, replies)
        try:
            values = [math.nan if value is None else float(value) for value in found]
        except (TypeError, ValueError) as error:
            raise InputError(
                f"the reward gave a {type(found).__name__} that holds no numbers ({error})",
                wanted=f"{len(replies)} numbers, one for each reply",
                where=self.source.name,
            ) from None
        if len(values) != len(replies):
            raise InputError(
                f"the reward gave {len(values)} values for {len(replies)} replies",
                wanted="one for each",
                where=self.source.name,
            )
        wrong = [position for position, value in enumerate(values) if not math.isfinite(value)]
        if wrong:
            raise InputError(
                f"the reward of {len(wrong)} of {len(values)} replies is {values[wrong[0]]}",
                wanted="a finite number for each",
                where=self.source.name,
            )
        return values


def located(reference: str, start: Path) -> str:
    """A reward as it can be opened from here: a folder relative to `start` by its path, all else as it is named."""
    return str(start / reference) if (start / reference).is_dir() else reference


def is_function(reference: str) -> bool:
    """True if a reward is named by an import path `module:function`, and is not a folder of that name."""
    return ":" in reference and not Path(reference).is_dir()


def reward_source(reference: str) -> Source:
    """The source of a reward in records, without loading it.

    Raises:
        SourceError, CheckpointError: a reward model that cannot be found.
    """
    return Source(name=reference) if is_function(reference) else find(reference).source


def reward_of(reference: str, tokenizer: Any, device: str = "cpu", longest: int = 0) -> Reward:
    """A reward by its name.

    Args:
        reference: a folder or hub id of a reward model, or `module:function`. A function is called as TRL calls one:
            with `prompts`, `completions` and the rows' other columns, by name. Its module is looked for in the working
            folder too.
        tokenizer: of the policy.
        device: where a reward model is put.
        longest: most tokens of a prompt and its reply.

    Raises:
        SourceError, CheckpointError: the reward model cannot be read.
        MismatchError: it gives no score, has another tokenizer than the policy, or takes fewer tokens.
        SettingError: there is no such function. What it raises when it is called is an InputError.
    """
    if is_function(reference):
        return Reward(Source(name=reference), _written(reference, tokenizer))
    place = find(reference)
    if load_tokenizer(place).get_vocab() != tokenizer.get_vocab():
        raise MismatchError(
            "the reward model has another tokenizer than the policy",
            wanted="a reward model on a base with the same tokens",
            where=place.source.name,
        )
    limit = positions_of(place)
    if limit is not None and longest > limit:
        raise MismatchError(
            f"the reward model takes {limit} tokens, and a prompt with its reply may have {longest}",
            wanted="shorter prompts or replies, or a reward model on a base with more positions",
            where=place.source.name,
        )
    return Reward(place.source, _learned(load_reward(place, device), tokenizer))


def _imported(reference: str) -> Function:
    module, _, name = reference.partition(":")
    if (here := os.getcwd()) not in sys.path:
        # `python -m` looks for modules in the working folder, the installed command does not.
        sys.path.append(here)
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # noqa: BLE001 (the module is somebody else's, and is run here)
        raise SettingError(
            f"there is no function {reference!r} ({error})",
            wanted="module:function that can be imported, e.g. assay.models.rewards:exact_number",
        ) from None
    if not callable(found):
        raise SettingError(f"{reference!r} is a {type(found).__name__}", wanted="a function")
    function: Function = found
    return function


def _written(reference: str, tokenizer: Any) -> Callable[[Sequence[Prompt], Sequence[Ids]], Sequence[float]]:
    function = _imported(reference)

    def judge(prompts: Sequence[Prompt], replies: Sequence[Ids]) -> Sequence[float]:
        said = tokenizer.batch_decode([list(reply) for reply in replies], skip_special_tokens=True)
        columns = {name: [prompt.columns[name] for prompt in prompts] for name in prompts[0].columns}
        try:
            return function(prompts=[prompt.text for prompt in prompts], completions=said, **columns)
        except Exception as error:
            raise InputError(
                f"the reward raised {type(error).__name__}: {error}",
                wanted="a function of prompts, completions and the rows' other columns, by name",
                where=reference,
            ) from error

    return judge


def _learned(model: Any, tokenizer: Any) -> Callable[[Sequence[Prompt], Sequence[Ids]], Sequence[float]]:
    def judge(prompts: Sequence[Prompt], replies: Sequence[Ids]) -> Sequence[float]:
        texts = []
        for prompt, reply in zip(prompts, replies, strict=True):
            # A reward model learns from texts without an end.
            ended = bool(reply) and reply[-1] == tokenizer.eos_token_id
            texts.append((*prompt.input_ids, *(reply[:-1] if ended else reply)))
        found: list[float] = text_scores(model, texts).tolist()
        return found

    return judge


def load_reward(place: Place, device: str = "cpu") -> Any:
    """A reward model, ready to score.

    Raises:
        MismatchError: the model gives no score.
    """
    if stored_objective(place) != "sequence-classification":
        raise MismatchError(
            "the model gives no score", wanted='a model trained with objective = "reward"', where=place.source.name
        )
    model = load(place, "sequence-classification", SCORE, device)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = padding_id(load_tokenizer(place))
    return model.requires_grad_(False)


def text_scores(model: Any, texts: Sequence[Ids]) -> torch.Tensor:
    """The score of every text, in one batch, float32 on the CPU; a model without a padding token takes one by one."""
    pad = model.config.pad_token_id
    if pad is None and len(texts) > 1:
        return torch.cat([text_scores(model, [ids]) for ids in texts])
    batch = collate([Example(ids, 0) for ids in texts], pad or 0)
    device = next(iter(model.parameters())).device
    with torch.inference_mode():
        scores = model(batch["input_ids"].to(device), attention_mask=batch["attention_mask"].to(device)).logits
    found: torch.Tensor = scores.squeeze(-1).float().cpu()
    return found
