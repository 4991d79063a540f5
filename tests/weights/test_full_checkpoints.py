"""Full checkpoints of several families: pairing, coverage, precision and ties."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from assay.audits import audit
from assay.errors import MismatchError

BaseOf = Callable[[str], Path]
# The cosines of these families' directions are known to this: their singular values are over 1e-4 of the largest apart.
# The bounds hold the truth on every processor, and with float64's the value itself is held to the seventh digit.
WIDEST = {"float32": 0.1, "float64": 1e-6}


def tuned_copy(family: str, folder: Path, size: float = 0.05, **save: Any) -> Path:
    """A checkpoint whose every weight moved a little."""
    model = tiny.build(family)
    torch.manual_seed(3)
    for _, parameter in model.named_parameters():
        parameter.data += size * torch.randn_like(parameter)
    model.save_pretrained(folder, **save)
    return folder


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_family_equals_the_dense_oracle(family: str, precision: Any, base_of: BaseOf, tmp_path: Path) -> None:
    base, tuned = base_of(family), tuned_copy(family, tmp_path)
    record = audit(base, tuned, side="both", precision=precision)
    ours, theirs = tiny.tensors(base), tiny.tensors(tuned)
    assert set(record.coverage) == set(ours) | set(theirs)
    assert record.matrices
    assert not record.open_tensors
    for matrix in record.matrices:
        W0, W = ours[matrix.name], theirs[matrix.name]
        if matrix.orientation == "inputs x outputs":
            W0, W = W0.T, W.T
        assert matrix.shape == tuple(W0.shape)
        off = tiny.rounding(W, getattr(torch, precision))
        for side in ("left", "right"):
            sigma, cosine = tiny.oracle(W0, W, side=side)
            for direction, true_sigma, true in zip(matrix.on(side), sigma.tolist(), cosine.tolist(), strict=True):
                assert direction.sigma == pytest.approx(true_sigma, abs=off)
                low, high = direction.cosine_bounds
                assert low <= true <= high
                if direction.cluster is None:  # a router of two outputs has two near-equal values
                    assert direction.cosine is not None
                    assert low <= direction.cosine <= high
                    assert high - low < WIDEST[precision]
        exact = torch.linalg.matrix_norm((W - W0).double()) / torch.linalg.matrix_norm(W0.double())
        assert matrix.relative_norm == pytest.approx(float(exact), rel=1e-6)


def test_default_scope_leaves_out_embeddings_and_heads_without_opening_gates(base_of: BaseOf, tmp_path: Path) -> None:
    record = audit(base_of("bert-classifier"), tuned_copy("bert-classifier", tmp_path))
    skipped = {name for name, entry in record.coverage.items() if entry.status == "skipped"}
    assert {"classifier.weight", "bert.pooler.dense.weight", "bert.embeddings.word_embeddings.weight"} <= skipped
    assert len(record.matrices) == 12
    assert record.coverage["bert.embeddings.LayerNorm.weight"].status == "changed, not a matrix"
    assert not record.open_tensors
    wider = audit(base_of("bert-classifier"), tmp_path, include=("embeddings", "heads"))
    assert len(wider.matrices) == 12 + 3 + 2


def test_shards_read_as_one(base_of: BaseOf, tmp_path: Path) -> None:
    tuned_copy("llama", tmp_path / "sharded", max_shard_size="20KB")
    tuned_copy("llama", tmp_path / "whole")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 2
    one, many = (audit(base_of("llama"), tmp_path / name) for name in ("whole", "sharded"))
    assert one.matrices == many.matrices
    assert one.coverage == many.coverage


def test_a_bf16_base_states_its_rounding_floor(tmp_path: Path) -> None:
    model = tiny.build("llama")
    model.save_pretrained(tmp_path / "tuned")
    model.to(torch.bfloat16).save_pretrained(tmp_path / "base")
    record = audit(tmp_path / "base", tmp_path / "tuned")
    for matrix in record.matrices:
        # The difference here is nothing but the rounding of the base, so the stated floor must be its size.
        assert matrix.relative_norm == pytest.approx(matrix.rounding_floor, rel=0.1)
    assert any("rounding" in note for note in record.notes)


def test_tied_weights_stored_by_one_side_only(base_of: BaseOf, tmp_path: Path) -> None:
    shutil.copytree(base_of("tied-llama"), tmp_path / "tuned")
    embedding = tiny.tensors(base_of("tied-llama"))["model.embed_tokens.weight"]
    tiny.rewrite(tmp_path / "tuned", {"lm_head.weight": embedding})
    record = audit(base_of("tied-llama"), tmp_path / "tuned")
    assert record.coverage["lm_head.weight"].status == "unchanged"
    tiny.rewrite(tmp_path / "tuned", {"lm_head.weight": embedding + 1})
    assert audit(base_of("tied-llama"), tmp_path / "tuned").coverage["lm_head.weight"].status == "skipped"


def test_resized_embeddings_extra_and_missing_tensors(base_of: BaseOf, tmp_path: Path) -> None:
    shutil.copytree(base_of("llama"), tmp_path / "tuned")
    layer = "model.layers.1."
    changes = {
        "model.embed_tokens.weight": torch.zeros(70, 32),
        f"{layer}extra.weight": torch.zeros(4, 4),
        f"{layer}self_attn.q_proj.weight": None,
    }
    tiny.rewrite(tmp_path / "tuned", changes)
    record = audit(base_of("llama"), tmp_path / "tuned")
    assert "(70, 32)" in record.coverage["model.embed_tokens.weight"].reason
    assert set(record.open_tensors) == {f"{layer}extra.weight", f"{layer}self_attn.q_proj.weight"}
    assert record.check("count >= 0").outcome == "crossed"
    assert record.check("count > 0").outcome == "inconclusive"
    asked = audit(base_of("llama"), tmp_path / "tuned", include="embeddings", matrices="*embed*")
    assert asked.open_tensors == ("model.embed_tokens.weight",)


def test_a_matrix_of_another_shape_is_an_error(base_of: BaseOf, tmp_path: Path) -> None:
    shutil.copytree(base_of("llama"), tmp_path / "tuned")
    tiny.rewrite(tmp_path / "tuned", {"model.layers.0.mlp.up_proj.weight": torch.zeros(50, 32)})
    with pytest.raises(MismatchError, match="up_proj"):
        audit(base_of("llama"), tmp_path / "tuned")


def test_unchanged_matrices_are_said_to_be(base_of: BaseOf, tmp_path: Path) -> None:
    shutil.copytree(base_of("llama"), tmp_path / "tuned")
    record = audit(base_of("llama"), tmp_path / "tuned")
    assert (record.count, record.relative_norm) == (0, 0.0)
    assert set(record.statuses) == {"unchanged"}
    assert any("update is zero" in note for note in record.notes)


def test_an_architecture_that_cannot_be_built_is_assumed_and_said(base_of: BaseOf, tmp_path: Path) -> None:
    for side in ("base", "tuned"):
        shutil.copytree(base_of("llama"), tmp_path / side)
        config = json.loads((tmp_path / side / "config.json").read_text()) | {"model_type": "remote-code-model"}
        (tmp_path / side / "config.json").write_text(json.dumps(config | {"architectures": ["RemoteModel"]}))
    torch.manual_seed(0)
    name = "model.layers.0.mlp.up_proj.weight"
    tiny.rewrite(tmp_path / "tuned", {name: tiny.tensors(base_of("llama"))[name] + torch.randn(48, 32)})
    record = audit(tmp_path / "base", tmp_path / "tuned")
    assert {matrix.orientation for matrix in record.matrices} == {"outputs x inputs, assumed"}
    assert any("could not be built" in note for note in record.notes)
    assert record.count > 0
