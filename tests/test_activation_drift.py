"""Activation drift: forward hooks on transformers' own model, dense updates in float64, and what is not covered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers.pytorch_utils import Conv1D

from assay.behaviour.activation_drift import MOST_TOKENS, MOST_UNITS, Stretches
from assay.behaviour.forgetting import read_documents
from assay.behaviour.masked import read_masked_documents
from assay.behaviour.scoring import score
from assay.behaviour.tasks import read_task
from assay.models.loading import find, load
from assay.records import Scores
from assay.records.activation_drift import ActivationDrift
from assay.render.markdown import markdown
from assay.settings import Batches
from models_in_miniature import letters, lines, llama, masked_bert, masking_tokenizer, other_family
from test_behaviour import TOKENIZER, task, text

__all__ = ["task", "text"]  # fixtures


def adapter(folder: Path, base: Path, **options: Any) -> Path:
    """Factors that are not zero, on some of the matrices."""
    torch.manual_seed(3)
    model = load(find(base), "causal-lm")
    config = LoraConfig(r=2, lora_alpha=5, init_lora_weights=False, task_type="CAUSAL_LM", **options)
    adapted = get_peft_model(model, config)
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    adapted.save_pretrained(folder)
    return folder


def merged(base: Path, folder: Path) -> nn.Module:
    """PEFT's own merge, in float64."""
    model = load(find(base), "causal-lm").double()
    return PeftModel.from_pretrained(model, str(folder)).merge_and_unload()


def matrices(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every matrix of the blocks, outputs x inputs, float64."""
    return {
        name: (module.weight.T if isinstance(module, Conv1D) else module.weight).detach().double()
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and (".layers." in name or ".layer." in name or ".h." in name)
    }


def by_hooks(
    base: nn.Module, tuned: Mapping[str, torch.Tensor], stretches: list[tuple[int, ...]]
) -> tuple[np.ndarray, list[str]]:
    """For every stretch and matrix, both sums over its tokens but the first; one run each, dense, float64."""
    base = base.double()
    own, inputs = matrices(base), {}
    hooks = [
        base.get_submodule(name).register_forward_pre_hook(lambda _, given, name=name: inputs.update({name: given[0]}))
        for name in own
    ]
    found = []
    for ids in stretches:
        with torch.no_grad():
            base(input_ids=torch.tensor([ids]))
        of_matrices = []
        for name, W0 in own.items():
            h = inputs[name][0, 1:].T
            of_matrices.append([float(((tuned[name] - W0) @ h).square().sum()), float((W0 @ h).square().sum())])
        found.append(of_matrices)
    for hook in hooks:
        hook.remove()
    return np.array(found), list(own)


def of(found: ActivationDrift | None) -> ActivationDrift:
    assert found is not None
    return found


def agree(found: ActivationDrift, sums: np.ndarray, names: list[str]) -> None:
    """The record says what the hooks say, to the rounding of float32."""
    change, base = sums.sum(axis=0).T
    assert found.drift == pytest.approx(change.sum() / base.sum(), rel=1e-4)
    assert found.each == pytest.approx(sums[..., 0].sum(axis=1) / sums[..., 1].sum(axis=1), rel=1e-4)
    own = {name: change[i] / base[i] for i, name in enumerate(names) if change[i] > 0}
    assert {one.name.removesuffix(".weight"): one.drift for one in found.matrices} == pytest.approx(own, rel=1e-4)
    assert found.median == pytest.approx(np.median(list(own.values())), rel=1e-4)
    assert found.unchanged == len(names) - len(own)
    for role in found.roles:
        among = [re.sub(r".*\.\d+\.", "", name) == role.name for name in names]
        assert role.drift == pytest.approx(change[among].sum() / base[among].sum(), rel=1e-4)
    for layer in found.layers:
        among = [f".{layer.name}." in name for name in names]
        assert layer.drift == pytest.approx(change[among].sum() / base[among].sum(), rel=1e-4)
    assert found.interval[0] < found.drift < found.interval[1]
    assert found.median_interval[0] < found.median < found.median_interval[1]
    assert len(found.matrices) + found.unchanged == len(names)


def test_an_adapter_is_that_of_hooks_and_dense_updates(tmp_path: Path, text: Path, task: Path) -> None:
    base = llama(tmp_path / "base")
    tuned = adapter(tmp_path / "tuned", base, target_modules=["q_proj", "down_proj"])
    scores = score(base, tuned, text=text, task=task, batches=Batches(tokens=64))
    assert scores.forgetting is not None
    assert scores.task is not None
    on_text, on_task = of(scores.forgetting.activation_drift), of(scores.task.activation_drift)
    theirs = matrices(merged(base, tuned))
    stretches = [document.ids for document in read_documents(text, TOKENIZER)]
    agree(on_text, *by_hooks(load(find(base), "causal-lm"), theirs, stretches))
    assert (on_text.units, on_text.tokens) == (len(stretches), sum(len(ids) - 1 for ids in stretches))
    assert not on_text.not_covered
    prompts = list(read_task(task, TOKENIZER).prompts)[:MOST_UNITS]
    kept = Stretches.of_prompts(read_task(task, TOKENIZER).prompts, 64, ends=True).ids
    assert set(kept) <= set(read_task(task, TOKENIZER).prompts)
    assert len(kept) == len(prompts)
    agree(on_task, *by_hooks(load(find(base), "causal-lm"), theirs, list(kept)))
    assert markdown([scores]).count("Activation drift") >= 2
    assert Scores.model_validate_json(scores.model_dump_json()) == scores


def test_a_checkpoint_and_matrices_that_are_stored_transposed(tmp_path: Path, text: Path) -> None:
    base, tuned = other_family(tmp_path / "base", "gpt2"), other_family(tmp_path / "tuned", "gpt2")
    model = load(find(base), "causal-lm")
    torch.manual_seed(5)
    changed = [module for name, module in model.named_modules() if isinstance(module, Conv1D)]
    for module in changed:
        module.bias.data += 1.0  # no part of it
    model.save_pretrained(base)
    for module in changed[::2]:
        module.weight.data += 0.01 * torch.randn(module.weight.shape)
    model.save_pretrained(tuned)
    found = score(base, tuned, text=text).forgetting
    assert found is not None
    stretches = [document.ids for document in read_documents(text, TOKENIZER)]
    sums, names = by_hooks(load(find(base), "causal-lm"), matrices(model), stretches)
    agree(of(found.activation_drift), sums, names)


def test_a_masked_model_reads_its_text_unmasked(tmp_path: Path) -> None:
    prose = lines(tmp_path / "prose.jsonl", [{"text": letters(3, 12, seed)} for seed in range(4)])
    base, tuned = masked_bert(tmp_path / "base"), masked_bert(tmp_path / "tuned", seed=1)
    found = score(base, tuned, text=prose).forgetting
    assert found is not None
    documents = read_masked_documents(prose, masking_tokenizer())
    stretches = [(*one.before, *one.ids, *one.after) for one in documents]
    theirs = matrices(load(find(tuned), "masked-lm"))
    agree(of(found.activation_drift), *by_hooks(load(find(base), "masked-lm"), theirs, stretches))


def test_it_is_bounded_and_spread_over_the_file() -> None:
    long = [tuple(range(100 * i, 100 * i + 90)) for i in range(100)]
    found = Stretches.of_prompts([(7,), *long], 64, ends=True)
    assert (len(found.ids), found.most) == (MOST_UNITS, MOST_TOKENS // MOST_UNITS)
    assert sum(map(len, found.ids)) == MOST_TOKENS
    most = MOST_TOKENS // MOST_UNITS
    assert found.ids[0] == long[0][-most:]
    assert found.ids[-1][0] > 9_000
    assert Stretches.of_prompts(long, 64, ends=False).ids[0] == long[0][:most]
    assert Stretches.of_prompts(long[:2], 64, ends=False).most == 64


def test_it_goes_on_and_nothing_drifts_beside_itself(tmp_path: Path, text: Path) -> None:
    base = llama(tmp_path / "base")
    tuned = adapter(tmp_path / "tuned", base, target_modules=["q_proj"])
    whole = score(base, tuned, text=text, batches=Batches(tokens=64), keep=tmp_path / "kept").forgetting
    for file in (tmp_path / "kept").glob("*.jsonl"):
        rows = file.read_text().splitlines(keepends=True)
        if "data" not in rows[0]:  # the base's states are read where they are kept
            file.write_text(rows[0])
    assert score(base, tuned, text=text, batches=Batches(tokens=64), keep=tmp_path / "kept").forgetting == whole
    other = adapter(tmp_path / "other", base, target_modules=["q_proj", "v_proj"])
    again = score(base, other, text=text, batches=Batches(tokens=64), keep=tmp_path / "kept").forgetting
    fresh = score(base, other, text=text, batches=Batches(tokens=64)).forgetting
    assert again is not None
    assert fresh is not None
    assert again.activation_drift == fresh.activation_drift
    same = score(base, base, text=text).forgetting
    assert same is not None
    beside = of(same.activation_drift)
    assert (beside.drift, beside.median, beside.interval, beside.matrices) == (0.0, 0.0, (0.0, 0.0), ())


def test_what_no_linear_layer_has_is_not_covered_and_what_changes_none_has_no_drift(tmp_path: Path, text: Path) -> None:
    base, tuned = other_family(tmp_path / "base", "mixtral"), other_family(tmp_path / "tuned", "mixtral")
    model = load(find(tuned), "causal-lm")
    for value in model.parameters():
        value.data *= 1.01
    model.save_pretrained(tuned)
    found = score(base, tuned, text=text).forgetting
    assert found is not None
    drift = of(found.activation_drift)
    assert drift.drift == pytest.approx(0.01**2, rel=1e-3)
    assert drift.not_covered
    assert all("experts" in name or "gate" in name for name in drift.not_covered)
    assert "not covered" in markdown([score(base, tuned, text=text)])


def test_files_that_cannot_be_paired_are_told_and_scored_all_the_same(tmp_path: Path, text: Path) -> None:
    base = llama(tmp_path / "base")
    tuned = adapter(tmp_path / "tuned", base, target_modules=["q_proj"])
    other = adapter(tmp_path / "other", base, target_modules=["v_proj"])
    beside = score(tuned, other, text=text, other_base=True).forgetting
    assert beside is not None
    assert beside.activation_drift is None
