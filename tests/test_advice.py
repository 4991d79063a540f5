"""Caps of alpha do what they say when PEFT applies them, and every piece of advice has a source and evidence."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

import assay
import tiny
from assay.advice import advise
from assay.errors import InputError, SettingError
from assay.views.advice import SHOWN
from assay.views.formats import number

BaseOf = Callable[[str], Path]


def adapter(folder: Path, rslora: bool = False) -> Path:
    """An adapter with one large and several small updates."""
    torch.manual_seed(1)
    settings = LoraConfig(r=3, lora_alpha=6, target_modules=["q_proj", "up_proj", "down_proj"], use_rslora=rslora)
    adapted = get_peft_model(tiny.build("llama"), settings)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            size = 0.8 if "layers.1.mlp" in name else 0.05
            parameter.data = size * torch.randn_like(parameter) / max(parameter.shape) ** 0.5
    adapted.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("rslora", [False, True])
def test_under_its_caps_no_matrix_is_past_its_threshold(rslora: bool, base_of: BaseOf, tmp_path: Path) -> None:
    place = adapter(tmp_path / "adapter", rslora)
    found = advise(base_of("llama"), place)
    audited = {matrix.name: matrix.critical_multiplier for matrix in assay.audit(base_of("llama"), place).matrices}
    assert {one.name: one.multiplier for one in found.matrices} == pytest.approx(audited, rel=1e-5)
    assert found.alpha_pattern.keys() == {f"layers.1.mlp.{name}_proj" for name in ("up", "down")}
    assert (found.rank, found.alpha, found.rslora) == (3, pytest.approx(6), rslora)
    path = place / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"alpha_pattern": found.alpha_pattern}))
    for matrix in assay.audit(base_of("llama"), place).matrices:
        assert matrix.critical_multiplier is not None
        wanted = 1.0 if matrix.name.removeprefix("model.").removesuffix(".weight") in found.alpha_pattern else None
        if wanted is not None:
            assert matrix.critical_multiplier == pytest.approx(wanted, rel=0.006)  # caps have three digits
        else:
            assert matrix.critical_multiplier == pytest.approx(audited[matrix.name])
    assert advise(base_of("llama"), place).matrices[0].alpha == pytest.approx(6)


def test_the_pattern_keeps_what_an_adapter_chose_for_modules_without_a_cap(base_of: BaseOf, tmp_path: Path) -> None:
    place = adapter(tmp_path / "adapter")
    path = place / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"alpha_pattern": {r"layers\.0\..*q_proj": 5}}))
    found = advise(base_of("llama"), place)
    assert found.alpha == pytest.approx(6)
    assert found.alpha_pattern["layers.0.self_attn.q_proj"] == pytest.approx(5)
    assert found.alpha_pattern.keys() == {
        "layers.0.self_attn.q_proj",
        *(f"layers.1.mlp.{name}_proj" for name in ("up", "down")),
    }


def test_only_factors_have_an_alpha(base_of: BaseOf, tmp_path: Path) -> None:
    settings = LoraConfig(r=3, lora_alpha=6, target_modules=["q_proj"], modules_to_save=["k_proj"])
    get_peft_model(tiny.build("llama"), settings).save_pretrained(tmp_path / "saved")
    assert {one.role for one in advise(base_of("llama"), tmp_path / "saved").matrices} == {"self_attn.q_proj"}
    dora = LoraConfig(r=3, lora_alpha=6, target_modules=["q_proj"], use_dora=True)
    get_peft_model(tiny.build("llama"), dora).save_pretrained(tmp_path / "dora")
    with pytest.raises(InputError, match="does not grow with alpha"):
        advise(base_of("llama"), tmp_path / "dora")


def test_experts_that_are_fused_have_no_module_to_cap(base_of: BaseOf) -> None:
    found = advise(base_of("mixtral"))
    modules = dict(tiny.build("mixtral").model.named_modules())
    assert all(one.module in modules for one in found.matrices if "experts" in one.name or one.cap is not None)
    assert not any(".experts." in one.name for one in found.matrices)


def test_before_training_the_fragile_ones_of_a_shape_are_capped(base_of: BaseOf, tmp_path: Path) -> None:
    base = tmp_path / "base"
    tiny.build("llama").save_pretrained(base)
    name = "model.layers.1.mlp.up_proj.weight"
    tiny.rewrite(base, {name: 0.25 * tiny.tensors(base)[name]})  # four times as easily passed
    found = advise(base, rank=4, alpha=10.0)
    fragile = next(one for one in found.matrices if one.name == name)
    twin = next(one for one in found.matrices if one.name == "model.layers.0.mlp.up_proj.weight")
    assert fragile.threshold is not None
    assert twin.threshold is not None
    assert fragile.threshold == pytest.approx(0.25 * twin.threshold, rel=0.2)
    assert fragile.cap == found.alpha_pattern["layers.1.mlp.up_proj"]
    assert fragile.cap < 0.5 * 10.0
    assert found.alpha_pattern.keys() == {"layers.1.mlp.up_proj"}
    assert (found.tuned, fragile.sigma, fragile.multiplier) == (None, None, None)


def test_before_training_noise_is_no_advice(base_of: BaseOf) -> None:
    """Of random matrices of one shape none is told from the others, though their thresholds differ by some per cent."""
    found = advise(base_of("llama"), rank=8)
    assert len({one.threshold for one in found.matrices}) > 1
    assert found.alpha_pattern == {}
    assert found.counsels[0].says.startswith("No cap")


def test_every_counsel_has_evidence_and_a_source(base_of: BaseOf, tmp_path: Path) -> None:
    for found in (
        advise(base_of("llama"), rank=8, rslora=True),
        advise(base_of("llama"), rank=64, alpha=8.0),
        advise(base_of("llama"), adapter(tmp_path / "adapter")),
    ):
        assert [one.topic for one in found.counsels] == ["alpha", "rank", "scale"]
        assert all(one.says and one.evidence and "arXiv" in one.source for one in found.counsels)
    assert "rsLoRA and alpha = 2r" in advise(base_of("llama"), rank=8, rslora=True).counsels[2].says
    assert "Use rsLoRA" in advise(base_of("llama"), rank=64, alpha=8.0).counsels[2].says


def test_what_cannot_be_advised(base_of: BaseOf, tmp_path: Path) -> None:
    with pytest.raises(SettingError):
        advise(None)
    with pytest.raises(SettingError):
        advise(base_of("llama"), rank=0)
    nan, inf = float("nan"), float("inf")
    for settings in ({"k": 0}, {"eps": 0.0}, {"eps": 2.0}, {"eps": nan}, {"alpha": nan}, {"alpha": inf}, {"alpha": 0}):
        with pytest.raises(SettingError):
            advise(base_of("llama"), **settings)  # type: ignore[arg-type]
    for planned in ({"rank": 4}, {"alpha": 4.0}, {"rslora": True}):
        with pytest.raises(SettingError, match="which has its own"):
            advise(base_of("llama"), adapter(tmp_path / "adapter"), **planned)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="LoRA"):
        advise(base_of("llama"), base_of("llama"))


def test_a_page_has_every_counsel_and_the_matrices_nearest_to_their_threshold(base_of: BaseOf, tmp_path: Path) -> None:
    before = advise(base_of("llama"), rank=8)
    after = advise(base_of("llama"), adapter(tmp_path / "adapter"))
    page = html.unescape(assay.report([before, after]).html).replace("<wbr>", "")
    for record in (before, after):
        assert all(one.says in page and one.evidence in page and one.source in page for one in record.counsels)
        assert all(one.name in page and number(one.threshold) in page for one in record.nearest[:SHOWN])
    past = [one.multiplier for one in after.nearest if one.multiplier is not None]
    assert past == sorted(past)
    assert f"{number(1 / past[0])} ×" in page
