"""Replies of language models: a prompt that is asked several times is read once, and answered as if it were not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, PromptTuningConfig, TaskType, get_peft_model
from transformers import AutoModelForCausalLM, MistralConfig, MistralForCausalLM

from assay.models.generation import Drawing, Ids, draw
from models_in_miniature import llama, other_family

LONG, SHORT = (5, 6, 7, 8, 9, 10, 11), (9, 8, 7)
TOKENS = 6


def grouped_attention(_: Path) -> Any:
    """Layers that keep the last three positions alone."""
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "vocab_size": 40}
    return MistralForCausalLM(
        MistralConfig(**sizes, num_attention_heads=2, num_key_value_heads=1, sliding_window=3, pad_token_id=0)
    )


def stored(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder)


MODELS = {
    "rotary": lambda folder: stored(llama(folder)),
    "learned positions": lambda folder: stored(other_family(folder, "gpt2")),
    "a sliding window": grouped_attention,
    "LoRA": lambda folder: get_peft_model(
        stored(llama(folder)), LoraConfig(r=2, task_type=TaskType.CAUSAL_LM, init_lora_weights=False)
    ),
    "learned embeddings": lambda folder: get_peft_model(
        stored(llama(folder)), PromptTuningConfig(num_virtual_tokens=3, task_type=TaskType.CAUSAL_LM)
    ),
    "learned keys and values": lambda folder: get_peft_model(
        stored(llama(folder)), PrefixTuningConfig(num_virtual_tokens=3, task_type=TaskType.CAUSAL_LM)
    ),
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield MODELS[request.param](tmp_path / "base")


def alone(model: Any, prompts: list[Ids]) -> list[Ids]:
    """Likeliest replies, each from the whole of its own prompt: what to draw is asked of the model token by token."""
    replies = []
    for prompt in prompts:
        ids = list(prompt)
        with torch.no_grad():
            for _ in range(TOKENS):
                ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        replies.append(tuple(ids[len(prompt) :]))
    return replies


@pytest.mark.parametrize("prompts", [[LONG] * 4, [LONG, LONG, SHORT, SHORT], [LONG, SHORT, LONG]])
def test_replies_are_those_of_every_prompt_alone(model: Any, prompts: list[Ids]) -> None:
    assert draw(model, prompts, Drawing(TOKENS, (), 0)) == alone(model.eval(), prompts)


def test_a_prompt_that_is_asked_several_times_is_read_once(tmp_path: Path) -> None:
    read: list[int] = []
    model = stored(llama(tmp_path / "base"))
    model.model.embed_tokens.register_forward_hook(lambda _, given, __: read.append(given[0].numel()))
    drawn = draw(model, [LONG] * 50, Drawing(TOKENS, (), 0, temperature=1.0, seed=0))
    # The prompt once but for its last token, which goes to every reply as their tokens do.
    assert sum(read) == len(LONG) - 1 + 50 * TOKENS
    assert len(set(drawn)) > 1
