"""Page, terminal and Markdown say the same: every number of every kept record stands in all three, written alike."""

from __future__ import annotations

import gzip
import html
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from arm_records import diversity, harness_score, scores
from assay.records import Audit, Record, load
from assay.render.html import page
from assay.render.markdown import markdown
from assay.render.terminal import show, show_table
from assay.views import Charts, Halves, cells, document, table
from assay.views.blocks import Block, Document, Facts, Figures, Table, in_a_row
from assay.views.cells import Cell
from audit_records import audit
from reading import read

KEPT = Path(__file__).parents[2] / "docs" / "records"
# Of the runs of a study, which lie in folders of their own, one stands for all.
PATHS = [path for path in sorted(KEPT.rglob("*.json*")) if path.name != "frequencies.json"]
PATHS = list(
    {(path.parent.parent if len(path.parent.name) == 16 else path, path.name): path for path in PATHS}.values()
)
MADE = {
    "both sides": audit(4, eps=(0.5, 0.3, 0.7), side="both", chance=True, strange=0.5),
    "variety": scores("a", diversity=diversity(5)),
    "harness": scores("a", harness=(harness_score("acc", 20), harness_score("acc_norm", 3))),
}


def read_record(path: Path) -> Record:
    if path.suffix == ".gz":
        return Audit.model_validate_json(gzip.decompress(path.read_bytes()))
    return load(path)


def without_charts(blocks: Iterable[Block]) -> tuple[Block, ...]:
    """The blocks of a page that need not be drawn to be read."""
    found: list[Block] = []
    for block in blocks:
        if isinstance(block, Charts):
            block = replace(block, charts=())
        elif isinstance(block, Halves):
            block = replace(block, left=without_charts(block.left), right=without_charts(block.right))
        found.append(block)
    return tuple(found)


def cells_of(shown: Document) -> list[Cell]:
    """Every cell that all renderers show."""
    found: list[Cell] = []
    for section in shown.sections:
        for block in in_a_row(section.blocks):
            if isinstance(block, Table):
                kept = [place for place, column in enumerate(block.columns) if not column.detail]
                found += [row[place] for row in (*block.rows, block.foot) if row for place in kept]
            elif isinstance(block, Figures):
                found += [figure.cell for figure in block.figures]
            elif isinstance(block, Facts):
                found += [fact for _, fact in block.rows]
    return found


def numbers(text: str) -> set[str]:
    """The numbers of a text as they are written."""
    return set(re.findall(r"[+−×]?\d(?:[\d,]*\d)?(?:\.\d+)?(?:e-?\d+)?%?", text))


@pytest.mark.parametrize("name", [*(str(path.relative_to(KEPT)) for path in PATHS), *MADE])
def test_every_number_is_written_alike(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    record = MADE[name] if name in MADE else read_record(KEPT / name)
    shown = document(record)
    show(record)
    terminal, words = capsys.readouterr().out, markdown(record)
    undrawn = [replace(section, blocks=without_charts(section.blocks)) for section in shown.sections]
    tree = read(page(replace(shown, sections=tuple(undrawn))).html)
    on_page = " ".join(element.text for element in tree.all("td", "th", "dd"))
    found = [numbers(text) for text in (terminal, words, on_page)]
    written = [cell for cell in cells_of(shown) if cell.kind == "number"]
    for cell in written:
        for part in cell.parts or (cell,):
            assert all(numbers(part.plain) <= there for there in found), part
    carried = {float(data.attributes["value"]) for data in tree.all("data")}
    values = {part.value for cell in written for part in (cell.parts or (cell,)) if part.value is not None}
    assert values <= carried | {value for value in values if value != value}


@pytest.mark.parametrize("name", MADE)
def test_sentences_are_the_same_words(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a terminal says in a sentence, the page and Markdown say too."""
    show(MADE[name])
    terminal = " ".join(capsys.readouterr().out.split())
    words = re.sub(r"\\(.)", r"\1", markdown(MADE[name]))
    whole = read(page(document(MADE[name])).html).text
    for section in document(MADE[name]).sections:
        for block in in_a_row(section.blocks, asides=False):
            text = getattr(block, "text", None)
            if isinstance(text, str) and len(text) > 40:
                assert text in terminal
                assert text in " ".join(words.split())
                assert text in " ".join(html.unescape(whole).split())


def test_a_table_wider_than_a_page_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    values = [f"{1e6 * place + 123_456.0:,.1f} to {1e7 + place:,.1f}" for place in range(1, 9)]
    row = [cells.name("model.layers.0.self_attn.q_proj.weight"), *map(cells.text_number, values)]
    show_table(table(["Matrix", *map(str, range(8))], [row]))
    printed = capsys.readouterr().out
    assert all(value in printed for value in values)


def test_a_row_of_a_table_wider_than_a_page_keeps_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    values = [f"{place}.25 ({place}.125 to {place}.375), of seed {place}" for place in range(1, 7)]
    rows = [[name, *map(cells.text_number, values)] for name in ("the whole update", "random directions")]
    show_table(table(["Point", *map(str, range(6))], rows))
    printed = capsys.readouterr().out
    for word in ("the whole update", "random", "directions"):
        assert word in printed
