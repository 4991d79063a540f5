"""LoRA on every matrix of the body."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Literal, final

from pydantic import Field

from assay.methods.method import Method, body_matrices, head_modules
from assay.records.record import write_text


@final
class Lora(Method):
    """`W0 + (alpha/r) B A` on every matrix of the body, by PEFT; B starts at zero.

    The head of a classifier learns whole, as in every method.
    Source: arXiv 2106.09685, §4.1; alpha = 2r unless given, as in arXiv 2410.21228v3, App. B and arXiv 2405.09673.

    Attributes:
        rank: r, the columns of B.
        alpha: the update is multiplied by alpha / rank.
        dropout: share of the adapter's inputs that is dropped in training.
        init: how A is drawn: PEFT's Kaiming-uniform, or the papers' Gaussian (PEFT's has standard deviation 1/r).
    """

    changes: ClassVar[Literal["matrices", "vectors", "nothing"]] = "matrices"

    name: Literal["lora"]
    rank: int = Field(default=8, ge=1)
    alpha: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    init: Literal["kaiming-uniform", "gaussian"] = "kaiming-uniform"

    def prepare(self, model: Any) -> Any:
        """Wrap every matrix of the body; train the adapters and the head."""
        from peft import LoraConfig, get_peft_model
        from transformers.pytorch_utils import Conv1D

        head, matrices = head_modules(model), body_matrices(model)
        config = LoraConfig(
            r=self.rank,
            lora_alpha=self._alpha(),
            lora_dropout=self.dropout,
            init_lora_weights=True if self.init == "kaiming-uniform" else "gaussian",
            target_modules=matrices,
            # GPT-2's Conv1D stores a matrix transposed.
            fan_in_fan_out=any(isinstance(model.get_submodule(name), Conv1D) for name in matrices),
            modules_to_save=head or None,
            task_type="SEQ_CLS" if head else "CAUSAL_LM",
        )
        return get_peft_model(model, config)

    def save(self, model: Any, folder: Path, base: str, revision: str | None) -> None:
        """A PEFT adapter folder that names its base; sets are sorted so that equal runs give equal files."""
        model.save_pretrained(folder)
        (folder / "README.md").unlink()  # PEFT's empty model card, which holds the base's path on this machine
        path = folder / "adapter_config.json"
        config = json.loads(path.read_text(encoding="utf8"))
        config["base_model_name_or_path"], config["revision"] = base, revision
        for name in ("target_modules", "modules_to_save"):
            if isinstance(config.get(name), list):
                config[name] = sorted(config[name])
        write_text(path, json.dumps(config, indent=2, sort_keys=True) + "\n")

    def initialisation(self) -> str:
        """How A and B start."""
        drawn = "Kaiming-uniform, PEFT's default" if self.init == "kaiming-uniform" else f"Gaussian, std 1/{self.rank}"
        return f"A {drawn}; B zero"

    def derived(self) -> dict[str, Any]:
        """Alpha, when it was not given, and the scale."""
        scale = {"scale": self._alpha() / self.rank}
        return scale if self.alpha is not None else {"alpha": self._alpha(), **scale}

    def _alpha(self) -> float:
        return 2.0 * self.rank if self.alpha is None else self.alpha
