"""Records in, one self-contained HTML page out: no scripts, nothing fetched, charts drawn into it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from assay.records import Record
from assay.records.record import write_bytes, write_text
from assay.render import pictures
from assay.version import __version__
from assay.views import formats
from assay.views.blocks import Chart, Document
from assay.views.document import document
from assay.views.palette import alt


@dataclass(frozen=True)
class Page:
    """A finished report. In a notebook it shows itself.

    Attributes:
        html: the whole page.
        pictures: its charts, in the page's order.
    """

    html: str = field(repr=False)
    pictures: tuple[Chart, ...] = field(repr=False)

    def save(self, path: str | Path) -> Path:
        """Write the page to `path`, all or nothing, and return the path."""
        return write_text(Path(path), self.html)

    def save_charts(self, folder: str | Path) -> list[Path]:
        """Write every chart to `folder` as an SVG and a PNG file, and return their paths."""
        return [
            write_bytes(Path(folder) / name, content)
            for picture in self.pictures
            for name, content in pictures.files(picture).items()
        ]

    def _repr_html_(self) -> str:
        """The page in a frame of its own, so that its style and the notebook's leave each other alone."""
        return (
            '<iframe title="assay report" sandbox style="width:100%;height:80vh;min-height:600px;border:0" '
            f'srcdoc="{html.escape(self.html)}"></iframe>'
        )


def report(records: Record | Sequence[Record]) -> Page:
    """One page for any records: those of one tuned model together, several models side by side.

    The page is read off the records alone: nothing is measured, no model is opened.

    Args:
        records: one record or several.

    Returns:
        The page: `save` writes it, `save_charts` its charts.

    Raises:
        RecordError: there is no record, or one of a kind that has no view.

    Example:
        >>> import assay                                                   # doctest: +SKIP
        >>> assay.report(assay.load("audit.json")).save("page.html")       # doctest: +SKIP
        PosixPath('page.html')
    """
    return page(document(records))


def page(shown: Document) -> Page:
    """The page of a document."""
    with alt.utils.schemapi.debug_mode(
        False
    ):  # checking each part of a chart against its schema takes half of the time
        text = _environment().get_template("page.html").render(page=shown, version=__version__)
    return Page(text, shown.charts)


def breakable(name: str) -> Markup:
    """A tensor's name that a browser may break after its dots, slashes and underscores, and copies without breaks."""
    text = str(escape(name))
    for mark in "./_":
        text = text.replace(mark, f"{mark}<wbr>")
    return Markup(text)


def _environment() -> jinja2.Environment:
    """The templates, everything escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("assay.render"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(breakable=breakable, kind=lambda block: type(block).__name__.lower())
    environment.globals.update(plural=formats.plural, svg=lambda chart: Markup(pictures.svg(chart)))
    return environment
