"""PEFT's other adapters, matrix by matrix, against the whole model merged by PEFT."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import HRAConfig, IA3Config, LoHaConfig, LoKrConfig, OFTConfig, PeftModel, RoadConfig, get_peft_model
from peft.utils import PeftType

import tiny
from assay.audits import audit
from assay.errors import AdapterError
from assay.weights.merged_layers import MERGED_TYPES, module_of
from assay.weights.pairing import pair

BaseOf = Callable[[str], Path]
CONFIGS: dict[str, Any] = {
    "HRA": lambda names: HRAConfig(target_modules=names, r=4),
    "IA3": lambda names: IA3Config(target_modules=names, feedforward_modules=[names[-1]]),
    "LOHA": lambda names: LoHaConfig(target_modules=names, r=2, alpha=3, rank_pattern={names[0]: 4}),
    "LOKR": lambda names: LoKrConfig(target_modules=names, r=2, alpha=3, alpha_pattern={names[0]: 5}),
    "OFT": lambda names: OFTConfig(target_modules=names, r=0, oft_block_size=8),
    "ROAD": lambda names: RoadConfig(target_modules=names, group_size=4),
}
NAMES = {"llama": ["q_proj", "down_proj"], "bert": ["query", "output.dense"]}


def adapted(folder: Path, base: Path, kind: str, family: str) -> Any:
    """An adapter of a kind with random tensors, saved."""
    model = get_peft_model(tiny.build(family), CONFIGS[kind](NAMES[family]))
    prefix = {"HRA": "hra_", "LOHA": "hada_", "LOKR": "lokr_", "OFT": "oft_"}.get(kind, kind.lower())
    torch.manual_seed(0)
    tiny.randomise(model.named_parameters(), (prefix,), 0.3)
    model.save_pretrained(folder)


@pytest.mark.filterwarnings("ignore::UserWarning:peft.*")
@pytest.mark.parametrize("family", NAMES)
@pytest.mark.parametrize("kind", MERGED_TYPES)
def test_every_matrix_is_the_one_that_peft_merges(base_of: BaseOf, tmp_path: Path, kind: str, family: str) -> None:
    adapted(tmp_path, base_of(family), kind, family)
    loaded = PeftModel.from_pretrained(tiny.build(family).double(), tmp_path).double()
    merged = loaded.merge_and_unload().state_dict()
    found = pair(base_of(family), tmp_path)
    assert len(found.pairs) == 4 + 2 * (family == "bert")  # BERT's attention has an output.dense too
    for entry in found.pairs:
        operators = entry.load(torch.float64, torch.device("cpu"))
        torch.testing.assert_close(operators.tuned.dense(), merged[entry.name], rtol=1e-6, atol=1e-7)
        assert float(operators.update.dense().norm()) > 1e-3
    start = tiny.build(family).double().state_dict()
    changed = {name for name in merged if not torch.equal(merged[name], start[name])}
    told = {name for name, entry in found.coverage.items() if entry.status.startswith(("analysed", "changed"))}
    assert changed <= told
    assert all(name.endswith("bias") for name in told & merged.keys() - changed)  # a bias of zero stays zero


def test_an_audit_of_one_is_whole(base_of: BaseOf, tmp_path: Path) -> None:
    adapted(tmp_path, base_of("llama"), "LOHA", "llama")
    record = audit(base_of("llama"), tmp_path)
    assert len(record.matrices) == 4
    assert all(matrix.update_norm > 0 and matrix.scale is None for matrix in record.matrices)


def test_tensors_that_do_not_fit_are_refused(base_of: BaseOf, tmp_path: Path) -> None:
    adapted(tmp_path, base_of("llama"), "HRA", "llama")
    file = "adapter_model.safetensors"
    key = next(name for name in tiny.tensors(tmp_path) if name.endswith("q_proj.hra_u"))
    tiny.rewrite(tmp_path, {key: torch.zeros(5, 4)}, file)
    with pytest.raises(AdapterError, match="PEFT cannot merge"):
        audit(base_of("llama"), tmp_path)
    adapted(tmp_path, base_of("llama"), "HRA", "llama")
    with pytest.raises(AdapterError, match="not linear"):
        audit(base_of("llama"), [(tmp_path, 0.5), (tmp_path, 0.5)])


def test_peft_still_names_them_so() -> None:
    """What `merged_layers.py` knows of PEFT 0.21: a newer one that names things otherwise fails here first."""
    import peft.tuners as tuners

    kinds = {"HRA": "HRAModel", "IA3": "IA3Model", "LOHA": "LoHaModel", "LOKR": "LoKrModel"}
    kinds |= {"OFT": "OFTModel", "ROAD": "RoadModel"}
    assert version("peft").startswith("0.21.")
    assert kinds.keys() == set(MERGED_TYPES)
    for name, kind in kinds.items():
        prefix = getattr(tuners, kind).prefix
        assert PeftType(name)
        assert module_of(name, f"a.b.{prefix}x") == "a.b"
