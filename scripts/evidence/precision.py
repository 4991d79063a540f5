"""Findings of one small study in float32 and in bf16, beside each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from assay.render import markdown
from assay.views import cells, table

from .differences import Arm, arm, counts, joined, learned, of_logarithms, paired, ratios
from .kept import Kept
from .on_weights import Measure, effective_rank, relative_norm
from .verdict import NOT_RUN, Estimate, Unit, written

SINGLE, HALF = "precision/float32", "precision/bf16"
ABOUT = """\
## Findings in float32 and in bf16

Full fine-tuning and LoRA of rank 1 (alpha 2) on all-MiniLM-L6-v2, trec, 60 steps at one rate each, in float32
(`plans/precision-float32.toml`) and under autocast to bf16 (`plans/precision-bf16.toml`). The second table sets each
arm in bf16 beside itself in float32. Of three seeds intervals are over seeds, of fewer over matrices and examples,
which says nothing of another seed; that of intruders also holds what is undecided.
"""
FULL, LORA = ("full", None), ("lora", 1)  # method, rank
Find = Callable[[Arm, Arm], Estimate | None]


def sections(kept: Kept) -> Iterator[str]:
    """Both tables, with what is said above them."""
    yield ABOUT
    single, half = kept.done(SINGLE), kept.done(HALF)
    if not half:
        yield f"bf16: {NOT_RUN}.\n"
        return
    rows = [
        [words, *(_said(find, unit, arm(runs, *LORA), arm(runs, *FULL)) for runs in (single, half))]
        for words, find, unit in _FOUND
    ]
    yield _table(["LoRA r 1 beside full", "float32", "bf16"], rows)
    beside = [
        [words, *(_said(find, unit, arm(half, *which), arm(single, *which)) for which in (FULL, LORA))]
        for words, find, unit in _FOUND
    ]
    yield _table(["bf16 beside float32", "full", "LoRA r 1"], beside)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    shown = [[row[0], *map(cells.text_number, row[1:])] for row in rows]
    return f"{markdown.table(table(columns, shown))}\n"


def _said(find: Find, unit: Unit, one: Arm, other: Arm) -> str:
    found = find(one, other)
    return NOT_RUN if found is None else written(found, unit)


def _score(one: Arm, other: Arm) -> Estimate | None:
    return paired(one, other, learned)


def _ratio(measure: Measure) -> Find:
    return lambda one, other: of_logarithms(joined(ratios(one, other, measure)))


_FOUND: tuple[tuple[str, Find, Unit], ...] = (
    ("difference in intruders", counts, "intruders"),
    ("difference in score", _score, "points"),
    ("ratio of the sizes of the updates", _ratio(relative_norm), "times"),
    ("ratio of their effective ranks", _ratio(effective_rank), "times"),
)
