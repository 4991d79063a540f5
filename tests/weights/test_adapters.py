"""An adapter by itself: PEFT's rule where PEFT cannot be asked, and what the private rules of others must still be."""

from __future__ import annotations

import json
from pathlib import Path

import peft
import pytest
import transformers
from peft import LoraConfig, get_peft_model
from peft.tuners.lora.layer import LoraLayer

import tiny
from assay.weights.adapters import open_adapter
from assay.weights.architecture import Architecture
from assay.weights.scales import resolve_scales


@pytest.mark.parametrize("rslora", [False, True])
def test_the_rule_on_names_equals_pefts_own_layers(rslora: bool, tmp_path: Path) -> None:
    config = LoraConfig(
        r=4,
        lora_alpha=10,
        use_rslora=rslora,
        target_modules=["q_proj", "up_proj", "v_proj"],
        rank_pattern={"q_proj": 2, r"layers\.1\..*up_proj": 6},
        alpha_pattern={"v_proj": 3, r"layers\.0\..*q_proj": 20},
    )
    adapted = get_peft_model(tiny.build("llama"), config)
    adapted.save_pretrained(tmp_path)
    truth = {
        name.removeprefix("base_model.model."): module.scaling["default"]
        for name, module in adapted.named_modules()
        if isinstance(module, LoraLayer)
    }
    adapter = open_adapter(tmp_path)
    ruled = resolve_scales(adapter, Architecture(None, None, "not built"))
    assert set(ruled) == set(truth)
    assert {module: factors.scale for module, factors in adapter.factors.items()} == pytest.approx(truth)


def test_variants_are_refused_by_the_setting_that_turns_them_on(tmp_path: Path) -> None:
    get_peft_model(tiny.build("llama"), LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings | {"use_qalora": True}))
    with pytest.raises(ValueError, match="use_qalora"):
        open_adapter(tmp_path)


def test_the_private_parts_that_are_touched_are_still_there() -> None:
    """A canary for weights/architecture.py and weights/scales.py, which alone touch these."""
    from peft.utils.other import get_pattern_key
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming

    versions = f"transformers {transformers.__version__}, peft {peft.__version__}"
    assert callable(get_model_conversion_mapping), versions
    assert callable(WeightRenaming.rename_source_key), versions
    assert callable(WeightConverter.rename_source_key), versions
    assert get_pattern_key(["q_proj"], "layers.0.q_proj") == "q_proj", versions
