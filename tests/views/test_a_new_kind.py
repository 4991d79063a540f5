"""A new kind of record is two files, `records/NAME.py` and `views/NAME.py`: every reader and renderer finds it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import assay.records
import assay.views
from assay.errors import RecordError
from assay.records import Provenance, Record, Source, load
from assay.records.kinds import kinds
from assay.records.record import KINDS
from assay.render.html import report
from assay.render.markdown import markdown
from assay.render.terminal import show
from assay.views import registry

RECORD = """
from typing import ClassVar, Literal
from assay.records.record import Record, Source

class Wear(Record):
    KIND: ClassVar[str] = "wear"
    kind: Literal["wear"] = "wear"
    schema_version: Literal[1] = 1
    base: Source
    worn: dict[str, float]
"""
VIEW = """
from assay.records.wear import Wear
from assay.views import Chart, Charts, Column, Fold, Note, Paragraph, Section, cells, formats, table, view
from assay.views.palette import alt, finish

@view(Wear)
def wear(entries):
    for entry in entries:
        worn = entry.record.worn
        rows = [[cells.name(name), cells.share(value), cells.number(value)] for name, value in worn.items()]
        made = table(["Layer", "Worn", Column("Exactly", detail=True)], rows)
        chart = Chart(f"wear-{entry.number}", "Wear", "Wear.", lambda: finish(draw(worn), 200))
        yield Section(
            f"{entry.record.base.name}: wear",
            f"wear-{entry.number}",
            (Paragraph(f"At most {formats.share(max(worn.values()))}."), made, Charts((chart,)), Note("A note.")),
        )

def draw(worn):
    data = alt.Data(values=[{"x": name, "y": value} for name, value in worn.items()])
    return alt.Chart(data).mark_bar().encode(alt.X("x:N"), alt.Y("y:Q"))
"""


@pytest.fixture
def wear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Record]]:
    for package, text in ((assay.records, RECORD), (assay.views, VIEW)):
        folder = tmp_path / package.__name__
        folder.mkdir()
        (folder / "wear.py").write_text(text)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    yield importlib.import_module("assay.records.wear").Wear
    KINDS.pop("wear"), registry._VIEWS.pop("wear", None)
    for name in ("assay.records.wear", "assay.views.wear"):
        sys.modules.pop(name, None)


def test_it_is_read_and_shown_everywhere(wear, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert kinds()["wear"] is wear
    given = wear(provenance=Provenance.of((), {}), base=Source(name="tiny_base"), worn={"q_proj": 0.125, "v": 0.5})
    record = load(given.save(tmp_path / "wear.json"))
    assert record == given
    show(record)
    terminal = capsys.readouterr().out
    for said in (terminal, markdown(record), report(record).html.replace("<wbr>", "")):
        for part in ("tiny_base: wear", "At most 50.0%.", "q_proj", "12.5%", "A note."):
            assert part in said
    assert "Exactly" not in terminal
    (picture,) = report(record).pictures
    picture.chart.to_dict()  # checked against Vega-Lite's schema


def test_a_kind_without_a_view_is_refused() -> None:
    class Other(Record):
        KIND = "other"

    other = Other(kind="other", schema_version=1, provenance=Provenance.of((), {}))
    try:
        for render in (show, markdown, report):
            with pytest.raises(RecordError, match="no view of a record of kind 'other'"):
                render([other])
            with pytest.raises(RecordError, match="no record"):
                render([])
        assert "other" not in kinds()
    finally:
        KINDS.pop("other")
