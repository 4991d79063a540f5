"""The recipes of CONTRIBUTING, followed to the letter in a copy of the sources: the files that it names are enough.

A new kind of record is tested in `tests/views/test_a_new_kind.py`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Recipe:
    """Something new.

    Attributes:
        new: the text of new files; edits: what is put behind the first place of some text in a file.
        check: a program that fails unless the new thing works.
    """

    new: dict[str, str]
    edits: dict[str, tuple[tuple[str, str], ...]]
    check: str


METHOD = '''"""LoRA of which A alone learns: B is drawn once and frozen."""

from typing import Any, Literal, final

import torch

from assay.methods.low_rank import AbstractLora


@final
class AOnly(AbstractLora):
    """`W0 + (alpha/r) B A` with B drawn once and frozen; A starts at zero and learns."""

    name: Literal["a-only"]

    def choices(self) -> dict[str, Any]:
        """Both factors are drawn by `prepare`."""
        return {}

    def prepare(self, model: Any) -> Any:
        """Wrap every matrix of the body."""
        wrapped = super().prepare(model)
        for name, parameter in wrapped.named_parameters():
            if ".lora_A." in name:
                torch.nn.init.zeros_(parameter)
            if ".lora_B." in name:
                torch.nn.init.orthogonal_(parameter)
                parameter.requires_grad_(False)
        return wrapped

    def initialisation(self) -> str:
        """Initial values of A and B."""
        return "A zero; B orthonormal and frozen"
'''
TASK = '''"""Tasks answered by a reply that begins with the answer."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, final

from assay.behaviour.batches import by_length, width
from assay.behaviour.passes import Pass, digest_of
from assay.behaviour.tasks.task import AbstractTask, Asking
from assay.data.tables import Reference, rows
from assay.models.generation import Drawing, stops_of, texts
from assay.records.scores import NO_ANSWER, How


@final
@dataclass(frozen=True)
class Beginning(AbstractTask):
    """A greedy reply that begins with the right answer."""

    how: ClassVar[How] = "beginning"
    columns: ClassVar[tuple[str, ...]] = ("question", "beginning")

    tokenizer: Any = field(compare=False, repr=False)

    @classmethod
    def read(cls, path: Reference, asking: Asking) -> Self:
        """Rows of `question` and `beginning`."""
        right = [row["beginning"] for row in rows(path, "beginning")]
        answers = tuple(sorted(set(right)))
        prompts, cut = asking.prompts(path, 4)
        return cls(answers, tuple(map(answers.index, right)), prompts, cut, asking.chat, asking.tokenizer)

    def asked(self, batch_tokens: int) -> Pass:
        """One question a prompt."""
        batches = tuple(tuple(batch) for batch in by_length(self.prompts, batch_tokens))
        drawing = Drawing(4, stops_of(self.tokenizer))
        return Pass(
            what="replies",
            head="causal-lm",
            digest=digest_of("beginnings", self.prompts, drawing.ends, batches),
            batches=batches,
            costs=tuple(width(self.prompts, batch) for batch in batches),
            ask=lambda model, batch: texts(model, [self.prompts[i] for i in batch], drawing),
        )

    def choices(self, given: Sequence[Any]) -> tuple[int, ...]:
        """The first of the answers that each reply begins with."""
        said = [self.tokenizer.decode(ids, skip_special_tokens=True) for ids in given]
        found = ([place for place, one in enumerate(self.answers) if text.startswith(one)] for text in said)
        return tuple(places[0] if places else NO_ANSWER for places in found)
'''
ENGINE = '''"""Items in the process that waits for them."""

from collections import deque
from typing import final

from assay.engines.engine import AbstractEngine, Capacity, Ended, Item


@final
class HereEngine(AbstractEngine):
    """One item after the other, in this process."""

    def __init__(self) -> None:
        self._waiting: deque[Item] = deque()

    def submit(self, item: Item) -> None:
        """Take an item."""
        self._waiting.append(item)

    def wait(self) -> Ended:
        """The next item, done now."""
        item = self._waiting.popleft()
        return Ended(item.key, item.function(item.argument))

    def capacity(self) -> Capacity:
        """One item at once."""
        return Capacity(1)

    def close(self) -> None:
        """Forget what is waiting."""
        self._waiting.clear()
'''
RECIPES = {
    "method": Recipe(
        {"methods/a_only.py": METHOD},
        {
            "methods/__init__.py": (
                ("import get_args\n", "\nfrom assay.methods.a_only import AOnly"),
                ("AnyMethod = ", "AOnly | "),
            )
        },
        """
from assay.methods import METHODS, describe_methods
from assay.training.spec import Spec
method = METHODS["a-only"](name="a-only", lr=1e-3, rank=2)
model = method.prepare(tiny.build("llama"))
assert {name.split(".")[-3] for name, one in model.named_parameters() if one.requires_grad} == {"lora_A"}
assert any(name == "a-only" for name, _, _ in describe_methods())
base = llama(folder / "method-base")
method.save(method.prepare(AutoModelForCausalLM.from_pretrained(base)), folder / "a-only", str(base), None)
assert assay.audit(base, folder / "a-only").relative_norm == 0
""",
    ),
    "measure": Recipe(
        {},
        {
            "records/measures.py": (
                (
                    "MEASURES: dict[str, Measure] = {\n    one.name: one\n    for one in (\n",
                    '        Measure("energy", "Energy", "||dW||_F^2", "assay", "number"),\n',
                ),
            ),
            "records/audit.py": (
                (
                    "    amplification_rank: int | None\n",
                    '    energy: Annotated[float | None, MEASURES["energy"].field] = None\n',
                ),
            ),
            "measures/matrix.py": (
                ("        stable_rank=spectrum_of_update.stable_rank,\n", "        energy=update_norm**2,\n"),
            ),
        },
        """
from peft import LoraConfig, get_peft_model
from assay.records.measures import describe_measures
from assay.render.markdown import markdown
base = llama(folder / "measure-base")
model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=2, target_modules=["q_proj"]))
tiny.randomise(model.named_parameters(), ("lora_",))
model.save_pretrained(folder / "measured")
record = assay.audit(base, folder / "measured")
assert all(one.energy == one.update_norm**2 for one in record.matrices)
assert ("energy", "assay", "||dW||_F^2") in describe_measures()
assert "| Energy |" in markdown(record)
""",
    ),
    "task": Recipe(
        {"behaviour/tasks/beginning.py": TASK},
        {
            "behaviour/tasks/__init__.py": (
                ("import InputError, SettingError\n", "from assay.behaviour.tasks.beginning import Beginning\n"),
                ("KINDS: tuple[type[AbstractTask], ...] = (\n", "    Beginning,\n"),
            ),
            "records/scores.py": (("How = Literal[", '"beginning", '),),
        },
        """
from assay.behaviour.tasks import describe_tasks
base = llama(folder / "task-base")
rows = [{"question": "a b", "beginning": one} for one in ("c", "d", "c")]
scores = assay.score(base, base, task=lines(folder / "task.jsonl", rows))
assert scores.task.how == "beginning" and scores.task.truth == (0, 1, 0)
assert ("beginning", "question, beginning", "A greedy reply that begins with the right answer.") in describe_tasks()
""",
    ),
    "adapter": Recipe(
        {},
        {"weights/merged_layers.py": (("_PREFIXES = {", '"MISS": "miss_", '),)},
        """
from peft import MissConfig, get_peft_model
base = llama(folder / "adapter-base")
model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), MissConfig(r=2, target_modules=["q_proj"]))
tiny.randomise(model.named_parameters(), ("miss_",))
model.save_pretrained(folder / "miss")
model.merge_and_unload().save_pretrained(folder / "merged")
whole, part = assay.audit(base, folder / "merged"), assay.audit(base, folder / "miss")
assert part.relative_norm > 0 and abs(part.relative_norm / whole.relative_norm - 1) < 1e-5
""",
    ),
    "engine": Recipe(
        {"engines/here.py": ENGINE},
        {
            "engines/choice.py": (
                ("from assay.engines.engine import AbstractEngine\n", "from assay.engines.here import HereEngine\n"),
                ("ENGINES = (", '"here", '),
                (
                    'wanted="at least 1")\n',
                    '    if name == "here":\n        return lambda folder: HereEngine()\n',
                ),
            )
        },
        """
from assay.engines.choice import opener
from assay.engines.engine import Item
with opener("here")(folder) as engine:
    engine.submit(Item("one", len, "abc"))
    assert engine.wait().value == 3
""",
    ),
}
HEAD = """
import json, sys, traceback
from pathlib import Path
import assay, tiny
from models_in_miniature import lines, llama
from transformers import AutoModelForCausalLM
folder, found = Path(sys.argv[1]), {}
for name, check in json.loads(sys.stdin.read()).items():
    try:
        exec(check, {**globals()})
        found[name] = ""
    except Exception:
        found[name] = traceback.format_exc()
(folder / "found.json").write_text(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each check says, run in one process on a copy of the sources to which everything new was added."""
    folder = tmp_path_factory.mktemp("recipes")
    house = folder / "src" / "assay"
    shutil.copytree(ROOT / "src" / "assay", house, ignore=shutil.ignore_patterns("__pycache__"))
    for recipe in RECIPES.values():
        for path, text in recipe.new.items():
            (house / path).write_text(text)
        for path, edits in recipe.edits.items():
            for before, added in edits:
                text = (house / path).read_text()
                assert before in text, f"{path} has no {before!r}"
                (house / path).write_text(text.replace(before, before + added, 1))
    paths = os.pathsep.join(map(str, (folder / "src", ROOT / "tests")))
    checks = json.dumps({name: recipe.check for name, recipe in RECIPES.items()})
    done = subprocess.run(
        [sys.executable, "-c", HEAD, str(folder)],
        input=checks,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths, "ASSAY_CACHE_DIR": str(folder / "cache")},
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, str] = json.loads((folder / "found.json").read_text())
    return result


@pytest.mark.parametrize("name", RECIPES)
def test_what_the_recipe_names_is_enough(name: str, found: dict[str, str]) -> None:
    assert not found[name], found[name]


@pytest.mark.parametrize("name", RECIPES)
def test_the_recipe_names_every_file_that_is_touched(name: str) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    recipe = re.search(rf"^- \*\*[^*]*{name}[^*]*\*\*(.*?)(?=^- |^\*\*|\Z)", text, re.MULTILINE | re.DOTALL)
    assert recipe is not None, f"CONTRIBUTING has no recipe for a new {name}"
    for path in RECIPES[name].edits:
        assert f"`{path}`" in recipe[1], path
    for path in RECIPES[name].new:
        assert f"`{Path(path).parent}/NAME.py`" in recipe[1], path
