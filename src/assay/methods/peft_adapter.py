"""Any other adapter of PEFT that changes matrices, by its name, with its options passed through."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, final

from pydantic import Field

from assay.methods.adapting import put_on
from assay.methods.method import Method, save_adapter
from assay.weights.merged_layers import MERGED_TYPES


@final
class PeftAdapter(Method):
    """An adapter type of PEFT on every matrix of the body, with PEFT's own defaults for what is not given.

    An audit has PEFT merge HRA, IA3, LoHa, LoKr, OFT and RoAd, one matrix at a time. The others are to be merged whole,
    and the merged checkpoint audited.

    Attributes:
        options: passed to PEFT's configuration as they are, e.g. `options = {r = 4}` for `loha`.
        targets: which matrices, as for LoRA.
    """

    changes: ClassVar[Literal["matrices", "vectors", "nothing"]] = "matrices"

    # Those of PEFT's types that go on a model's own matrices, start at the base, are loaded as they were stored, and,
    # but for SHiRA, can be estimated without weights. Not BOFT, which compiles code when it is first used.
    name: Literal[
        "c3a",
        "deft",
        "delora",
        "fourierft",
        "glora",
        "gralora",
        "hira",
        "hra",
        "ia3",
        "loha",
        "lokr",
        "miss",
        "oft",
        "peanut",
        "psoft",
        "pvera",
        "randlora",
        "road",
        "shira",
        "tinylora",
        "vera",
    ]
    options: dict[str, Any] = Field(default_factory=dict)
    targets: str = Field(default="all", min_length=1)

    @property
    def audited(self) -> bool:
        """True if its layers can be merged one by one."""
        return self.name.upper() in MERGED_TYPES

    def prepare(self, model: Any) -> Any:
        """Wrap every matrix of the body; train the adapters and the head."""
        from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PeftType

        # IA3 scales inputs where a module is named feed-forward, outputs elsewhere; every matrix's outputs here.
        options = {"feedforward_modules": [], **self.options} if self.name == "ia3" else self.options
        kind = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(self.name.upper())]
        return put_on(model, self.name, kind, self.targets, {}, options)

    def stored(self, model: Any) -> int:
        """The tensors that PEFT stores: for some types, matrices that were drawn and do not learn, too."""
        from peft import get_peft_model_state_dict

        return sum(value.numel() for value in get_peft_model_state_dict(model).values())

    def save(self, model: Any, folder: Path, base: str, revision: str | None) -> None:
        """A PEFT adapter's folder."""
        save_adapter(model, folder, base, revision)

    def initialisation(self) -> str:
        """Initial values of the new parameters."""
        return "PEFT's default"
