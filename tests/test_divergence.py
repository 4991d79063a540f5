"""Divergence from base to tuned: transformers' own logits, a killed score, heads that do not run by themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from assay.behaviour import forgetting
from assay.behaviour.divergence import divergence
from assay.behaviour.forgetting import read_documents
from assay.behaviour.scoring import score
from assay.behaviour.tasks import read_task
from assay.models.loading import find, load
from assay.records.divergence import Divergence
from assay.render.markdown import markdown
from assay.settings import Batches
from models_in_miniature import llama
from test_behaviour import TOKENIZER, task, text

__all__ = ["task", "text"]  # fixtures


def logits(folder: Path, ids: tuple[int, ...]) -> torch.Tensor:
    """A model's own, float64."""
    with torch.no_grad():
        found: torch.Tensor = load(find(folder), "causal-lm")(input_ids=torch.tensor([ids])).logits[0]
    return found.double()


def kl(base: torch.Tensor, tuned: torch.Tensor) -> torch.Tensor:
    """Position by position, of torch's distributions."""
    first, second = (torch.distributions.Categorical(logits=one) for one in (base, tuned))
    return torch.distributions.kl_divergence(first, second)


def of(found: Divergence | None) -> Divergence:
    assert found is not None
    return found


def test_it_is_that_of_the_models_own_logits(tmp_path: Path, text: Path, task: Path) -> None:
    base, tuned = llama(tmp_path / "base"), llama(tmp_path / "tuned", seed=1)
    scores = score(base, tuned, text=text, task=task, batches=Batches(tokens=64))
    assert scores.forgetting is not None
    assert scores.task is not None
    on_text, on_task = of(scores.forgetting.divergence), of(scores.task.divergence)
    documents = read_documents(text, TOKENIZER)
    means = [float(kl(logits(base, d.ids), logits(tuned, d.ids))[:-1].mean()) for d in documents]
    assert on_text.each == pytest.approx(means, rel=1e-4)
    tokens = [document.tokens for document in documents]
    assert on_text.mean == pytest.approx(np.average(means, weights=tokens), rel=1e-4)
    assert (on_text.units, on_text.tokens) == (len(documents), sum(tokens))
    assert on_text.interval[0] < on_text.mean < on_text.interval[1]
    prompts = read_task(task, TOKENIZER).prompts
    said = markdown([scores])
    assert said.count("How far its distribution moved") == 2
    assert f"{on_text.tokens:,}" in said
    ends = {prompt: float(kl(logits(base, prompt), logits(tuned, prompt))[-1]) for prompt in prompts}
    assert sorted(on_task.each) == pytest.approx(sorted(ends[prompt] for prompt in prompts), rel=1e-4)


def test_of_a_long_text_every_nth_token_of_every_document_is_compared(
    tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = read_documents(text, TOKENIZER)
    tokens = [document.tokens for document in documents]
    monkeypatch.setattr(forgetting, "MOST_TOKENS", sum(tokens) // 2 - 1)  # so that every third is
    base, tuned = llama(tmp_path / "base"), llama(tmp_path / "tuned", seed=1)
    scores = score(base, tuned, text=text, batches=Batches(tokens=64))
    assert scores.forgetting is not None
    found = of(scores.forgetting.divergence)
    every = torch.cat([kl(logits(base, d.ids), logits(tuned, d.ids))[:-1] for d in documents])
    assert (found.units, found.tokens) == (len(documents), len(every[::3]))
    assert found.mean == pytest.approx(float(every[::3].mean()), rel=1e-4)


def test_it_goes_on_and_a_model_beside_itself_has_none(tmp_path: Path, text: Path) -> None:
    base, tuned = llama(tmp_path / "base"), llama(tmp_path / "tuned", seed=1)
    whole = score(base, tuned, text=text, batches=Batches(tokens=64), keep=tmp_path / "kept").forgetting
    for file in (tmp_path / "kept").glob("*.jsonl"):
        rows = file.read_text().splitlines(keepends=True)
        if "data" not in rows[0]:  # the tuned model's: the base's states are read where they are kept
            file.write_text(rows[0])
    assert score(base, tuned, text=text, batches=Batches(tokens=64), keep=tmp_path / "kept").forgetting == whole
    same = score(base, base, text=text).forgetting
    assert same is not None
    assert of(same.divergence).mean == pytest.approx(0.0, abs=1e-6)


def test_other_vocabularies_and_zeros_have_none() -> None:
    layer, hidden = torch.nn.Identity(), torch.zeros(3, 4)
    assert divergence(layer, hidden, torch.zeros(3, 5)) is None
    assert divergence(layer, hidden, torch.tensor([[0.0, 0.0, 0.0, -torch.inf]]).repeat(3, 1)) is None


def test_logits_that_are_changed_after_the_layer_have_none(tmp_path: Path, text: Path) -> None:
    """Gemma's are capped: its output layer does not make them by itself."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(
        vocab_size=len(TOKENIZER),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        final_logit_softcapping=0.5,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    for name in ("base", "tuned"):
        model = Gemma2ForCausalLM(config)
        torch.nn.init.normal_(model.get_output_embeddings().weight)
        model.save_pretrained(tmp_path / name)
        TOKENIZER.save_pretrained(tmp_path / name)
    found = score(tmp_path / "base", tmp_path / "tuned", text=text).forgetting
    assert found is not None
    assert found.divergence is None
