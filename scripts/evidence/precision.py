"""Findings of one small study in float32 and in bf16, beside each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from assay.render import markdown
from assay.studies.arms import learned
from assay.views import cells, table

from .differences import Arm, arm, counts, joined, of_logarithms, paired, ratios
from .kept import Kept
from .on_weights import STUDY, Measure, effective_rank, relative_norm
from .verdict import NOT_RUN, Estimate, Unit, written

PRECISION = "precision"
ABOUT = """\
## Findings in float32 and in bf16

The arms of the study of ranks and scales that decide most, once more under autocast to bf16
(`plans/precision-minilm.toml`), at the rates that were tuned in float32: all-MiniLM-L6-v2, trec, 300 steps, alpha = 2r.
The second table sets each arm in bf16 beside itself in float32. Intervals are t intervals over seeds.
"""
FULL, RANK_1, RANK_8 = ("full", None, None), ("lora", 1, 2.0), ("lora", 8, 16.0)
Which = tuple[str, int | None, float | None]  # method, rank, alpha
Find = Callable[[Arm, Arm], Estimate | None]


def sections(kept: Kept) -> Iterator[str]:
    """Both tables, with what is said above them."""
    yield ABOUT
    single, half = kept.done(STUDY), kept.done(PRECISION)
    if not half:
        yield f"bf16: {NOT_RUN}.\n"
        return
    rows = [
        [f"{name}, {words}", *(_said(find, unit, arm(runs, *one), arm(runs, *FULL)) for runs in (single, half))]
        for name, one in (("LoRA r 1", RANK_1), ("LoRA r 8", RANK_8))
        for words, find, unit in _FOUND
    ]
    yield _table(["beside full fine-tuning", "float32", "bf16"], rows)
    beside = [
        [name, *(_said(find, unit, arm(half, *which), arm(single, *which)) for _, find, unit in _FOUND)]
        for name, which in (("full", FULL), ("LoRA r 1", RANK_1), ("LoRA r 8", RANK_8))
    ]
    yield _table(["bf16 beside float32", *(words for words, *_ in _FOUND)], beside)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    written = [[row[0], *map(cells.text_number, row[1:])] for row in rows]
    return f"{markdown.table(table(columns, written))}\n"


def _said(find: Find, unit: Unit, one: Arm, other: Arm) -> str:
    found = find(one, other)
    return NOT_RUN if found is None else written(found, unit)


def _score(one: Arm, other: Arm) -> Estimate | None:
    return paired(one, other, learned)


def _ratio(measure: Measure) -> Find:
    return lambda one, other: of_logarithms(joined(ratios(one, other, measure)))


_FOUND: tuple[tuple[str, Find, Unit], ...] = (
    ("intruders, less", counts, "intruders"),
    ("score, less", _score, "points"),
    ("size of the update, over", _ratio(relative_norm), "times"),
    ("effective rank, over", _ratio(effective_rank), "times"),
)
