"""Any other adapter of PEFT that changes matrices, by its name, with its options passed through."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, final

from pydantic import Field

from assay.errors import SettingError
from assay.methods.method import Method, body_matrices, head_modules, save_adapter
from assay.weights.merged_layers import MERGED_TYPES


@final
class PeftAdapter(Method):
    """An adapter type of PEFT on every matrix of the body, with PEFT's own defaults for what is not given.

    An audit has PEFT merge them, one matrix at a time. VeRA, RandLora and SHiRA need more than one matrix's tensors for
    that: merge them whole, and audit the merged checkpoint.

    Attributes:
        options: passed to PEFT's configuration as they are, e.g. `options = {r = 4}` for `loha`.
    """

    changes: ClassVar[Literal["matrices", "vectors", "nothing"]] = "matrices"

    name: Literal["hra", "ia3", "loha", "lokr", "oft", "randlora", "road", "shira", "vera"]
    options: dict[str, Any] = Field(default_factory=dict)

    @property
    def audited(self) -> bool:
        """Whether its layers can be merged one by one."""
        return self.name.upper() in MERGED_TYPES

    def prepare(self, model: Any) -> Any:
        """Wrap every matrix of the body; train the adapters and the head."""
        from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PeftType, get_peft_model

        head = head_modules(model)
        kind = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(self.name.upper())]
        # IA3 scales inputs where a module is named feed-forward, outputs elsewhere; every matrix's outputs here.
        own: dict[str, Any] = {"feedforward_modules": []} if self.name == "ia3" else {}
        try:
            config = kind(
                target_modules=body_matrices(model),
                modules_to_save=head or None,
                task_type="SEQ_CLS" if head else "CAUSAL_LM",
                **{**own, **self.options},
            )
            return get_peft_model(model, config)
        except (TypeError, ValueError) as error:
            raise SettingError(
                f"PEFT refuses {self.name} with the options {self.options}: {str(error).splitlines()[0]}",
                wanted=f"options of peft's {kind.__name__}",
            ) from None

    def save(self, model: Any, folder: Path, base: str, revision: str | None) -> None:
        """A PEFT adapter's folder."""
        save_adapter(model, folder, base, revision)

    def initialisation(self) -> str:
        """How the new parameters start."""
        return "PEFT's default"
