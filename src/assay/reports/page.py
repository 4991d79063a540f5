"""Records in, one self-contained HTML page out: no scripts, nothing fetched, charts drawn into it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from assay.errors import RecordError
from assay.records import (
    Advice,
    Audit,
    Continual,
    Correlation,
    Curves,
    Estimate,
    Record,
    Run,
    Scores,
    Study,
)
from assay.records.record import write_bytes, write_text
from assay.reports import formats
from assay.version import __version__

if TYPE_CHECKING:
    from assay.reports.pictures import Picture
    from assay.reports.section import Section

_STUDIES = Continual | Correlation | Curves | Study
_ALONE = Advice | Estimate | _STUDIES  # records that stand for themselves


@dataclass(frozen=True)
class Page:
    """A finished report. In a notebook it shows itself.

    Attributes:
        html: the whole page.
        pictures: its charts, in the page's order.
    """

    html: str = field(repr=False)
    pictures: tuple[Picture, ...] = field(repr=False)

    def save(self, path: str | Path) -> Path:
        """Write the page to `path`, all or nothing, and return the path."""
        return write_text(Path(path), self.html)

    def save_charts(self, folder: str | Path) -> list[Path]:
        """Write every chart to `folder` as an SVG and a PNG file, and return their paths."""
        return [
            write_bytes(Path(folder) / name, content)
            for picture in self.pictures
            for name, content in picture.files().items()
        ]

    def _repr_html_(self) -> str:
        """The page in a frame of its own, so that its style and the notebook's leave each other alone."""
        return (
            '<iframe title="assay report" sandbox style="width:100%;height:80vh;min-height:600px;border:0" '
            f'srcdoc="{html.escape(self.html)}"></iframe>'
        )


def report(records: Record | Sequence[Record]) -> Page:
    """One page for any records: a section for each kind, and side by side where there are several of a kind.

    The page is read off the records alone: nothing is measured, no model is opened.

    Args:
        records: one record or several.

    Returns:
        The page: `save` writes it, `save_charts` its charts.

    Raises:
        RecordError: there is no record, or one of a kind that has no section.

    Example:
        >>> import assay                                                   # doctest: +SKIP
        >>> assay.report(assay.load("audit.json")).save("page.html")       # doctest: +SKIP
        PosixPath('page.html')
    """
    given = [records] if isinstance(records, Record) else list(records)
    if not given:
        raise RecordError("there is no record to report on", wanted="one record or more")
    for record in given:
        if not isinstance(record, Audit | Run | Scores | _ALONE):
            found = record.kind if isinstance(record, Record) else type(record).__name__
            raise RecordError(
                f"a page has no section for {found!r}",
                wanted="advice, audits, estimates, runs, scores, or what comes out of studies",
            )
    audits = [record for record in given if isinstance(record, Audit)]
    return _of_audits(audits) if len(audits) == len(given) else _of_arms(given)


def _of_audits(audits: list[Audit]) -> Page:
    """A page of audits alone: each stands for itself."""
    from altair.utils.schemapi import debug_mode

    from assay.reports.audit_section import audit_views, differences  # altair takes half a second to import

    with debug_mode(False):  # altair checks every part of a chart against its schema: half of the time of a page
        views = audit_views(audits)
    text = (
        _environment()
        .get_template("page.html")
        .render(
            title=", ".join(view.summary.tuned for view in views),
            subject="weights",
            records=len(audits),
            views=views,
            differences=differences(audits),
            version=__version__,
        )
    )
    return Page(text, tuple(picture for view in views for picture in view.pictures))


def _of_arms(records: list[Record]) -> Page:
    """A page of several kinds of record: grouped into arms, side by side; then those that stand for themselves."""
    from altair.utils.schemapi import debug_mode

    from assay.reports.joined import joined

    with debug_mode(False):
        alone = [record for record in records if isinstance(record, _ALONE)]
        sections = [_section(record, place) for place, record in enumerate(alone, start=1)]
        pictures = tuple(picture for section in sections for picture in section.pictures)
        if len(sections) == len(records):
            title, template = ", ".join(section.title for section in sections), "sections_page.html"
            shown = dict[str, Any]()
        else:
            found = joined([record for record in records if not isinstance(record, _ALONE)])
            title, template = found.title, "joined.html"
            pictures = (*found.pictures, *pictures)
            shown = {"page": found, "views": [one.view for one in found.inside]}
    text = (
        _environment()
        .get_template(template)
        .render(
            title=title,
            subject="fine-tuning",
            records=len(records),
            sections=sections,
            version=__version__,
            **shown,
        )
    )
    return Page(text, pictures)


def _section(record: Record, place: int) -> Section:
    """A record that stands for itself; `place` numbers its pictures."""
    from assay.reports.advice_section import advice_section
    from assay.reports.estimate_section import estimate_section
    from assay.reports.study_section import study_section

    if isinstance(record, Advice):
        return advice_section(record)
    return estimate_section(record) if isinstance(record, Estimate) else study_section(record, place)


def _environment() -> jinja2.Environment:
    """The templates, everything escaped, and the formats as filters."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("assay.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=formats.number,
        share=formats.share,
        share_range=formats.share_range,
        bounds=formats.bounds,
        cosine=formats.cosine,
        breakable=formats.breakable,
        listed=formats.listed,
        points=formats.points,
        points_range=formats.points_range,
        probability=formats.probability,
        signed=formats.signed,
        signed_range=formats.signed_range,
        size=formats.size,
    )
    environment.globals.update(plural=formats.plural)
    return environment
