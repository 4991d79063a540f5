"""Subspace similarity of two tuned models: against products of dense updates, chance, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

import assay
from assay.cli import app
from assay.errors import MismatchError, SettingError
from assay.records.similarity import MatrixSimilarity
from assay.render.markdown import markdown
from models_in_miniature import llama


def adapter(base: Path, folder: Path, seed: int, rank: int = 2) -> Path:
    """A LoRA adapter of random factors."""
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=rank, target_modules=["q_proj", "down_proj"])
    )
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.named_parameters():
        if "lora_" in name:
            value.data = torch.randn(value.shape, generator=generator)
    model.save_pretrained(folder)
    return folder


def test_phi_is_that_of_the_dense_updates(tmp_path: Path) -> None:
    base = llama(tmp_path / "base")
    one, other = adapter(base, tmp_path / "one", 0), adapter(base, tmp_path / "other", 1, rank=4)
    record = assay.similarity(one, other, base, sizes=(1, 2, 4))
    assert len(record.matrices) == 4
    merged = [
        AutoModelForCausalLM.from_pretrained(base).state_dict(),
        *(assay_model.merge_and_unload().state_dict() for assay_model in (_loaded(base, one), _loaded(base, other))),
    ]
    for matrix in record.matrices:
        assert (matrix.ranks, matrix.sizes) == ((2, 4), (1, 2))
        updates = [(state[matrix.name] - merged[0][matrix.name]).double() for state in merged[1:]]
        (U, _, V), (U2, _, V2) = (torch.linalg.svd(update) for update in updates)
        for side, (first, second) in (("left", (U, U2)), ("right", (V.T, V2.T))):
            for row, i in zip(getattr(matrix, side), (1, 2), strict=True):
                for found, j in zip(row, (1, 2), strict=True):
                    overlap = (first[:, :i].T @ second[:, :j]).square().sum() / min(i, j)
                    assert found == pytest.approx(float(overlap), abs=1e-5)
    same = assay.similarity(one, one, base)
    assert same.mean("left", 2, 2)[0] == pytest.approx(1)
    assert "The same directions".lower() in markdown([record]).lower()


def _loaded(base: Path, folder: Path):
    from peft import PeftModel

    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)


def test_random_spaces_have_what_is_said_of_chance() -> None:
    generator, found = torch.Generator().manual_seed(0), []
    for _ in range(200):
        A, B = (torch.linalg.qr(torch.randn(40, k, generator=generator).double())[0] for k in (3, 5))
        found.append(float((A.T @ B).square().sum()) / 3)
    matrix = MatrixSimilarity(
        name="q", role="q", layer=0, shape=(40, 9), ranks=(3, 5), sizes=(3,), left=((0.0,),), right=((0.0,),)
    )
    spread = torch.tensor(found).std().item() / 200**0.5
    assert matrix.by_chance("left", 3, 5) == pytest.approx(sum(found) / 200, abs=4 * spread)


def test_what_cannot_be_compared_is_refused_and_the_command_prints(tmp_path: Path) -> None:
    base = llama(tmp_path / "base")
    one, other = adapter(base, tmp_path / "one", 0), llama(tmp_path / "other", seed=1)
    with pytest.raises(SettingError, match="the sizes are"):
        assay.similarity(one, other, base, sizes=(0,))
    away = adapter(other, tmp_path / "away", 0)
    with pytest.raises(MismatchError, match="tuned from base and other"):
        assay.similarity(one, away)
    result = CliRunner().invoke(app, ["similarity", str(one), str(one), "--base", str(base), "--json"])
    assert result.exit_code == 0
    assert json.loads(result.output)["kind"] == "similarity"


def test_one_base_in_two_places_is_one_base(tmp_path: Path) -> None:
    base = llama(tmp_path / "base")
    shutil.copytree(base, tmp_path / "copy")
    one, other = adapter(base, tmp_path / "one", 0), adapter(tmp_path / "copy", tmp_path / "other", 1)
    assert assay.similarity(one, other).base.name == "base"


@pytest.mark.parametrize("sizes", ["inf", "nan", "1.9", "one"])
def test_sizes_are_whole_numbers(sizes: str) -> None:
    result = CliRunner().invoke(app, ["similarity", "x", "y", "--sizes", sizes])
    assert result.exit_code == 2
    assert "whole numbers separated by commas" in result.stderr


def test_sizes_beyond_the_rank_are_named_and_the_largest_that_both_have_is_shown(tmp_path: Path) -> None:
    base = llama(tmp_path / "base")
    one, other = (adapter(base, tmp_path / str(seed), seed) for seed in (1, 2))
    record = assay.similarity(one, other, base, sizes=(1, 2, 4, 8))
    text = markdown(record)
    assert "No two updates have so many directions: 4 and 8." in text
    roles = {matrix.role for matrix in record.matrices}
    assert {size for role in roles for size in (1, 2) if f"| {size} |" in text} == {1, 2}
    assert "| 8 |" not in text
    assert assay.similarity(one, other, base, 2).sizes == (2,)
