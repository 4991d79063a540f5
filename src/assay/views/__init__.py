"""Views of records, once for every renderer: sections of sentences, tables, charts and notes, by kind of record.

A kind of record is shown by the module of its name: `views/audit.py` registers the view of `records/audit.py`. To add
a kind, write `records/NAME.py` with a `Record` whose `KIND` is NAME, and `views/NAME.py` with its view:

    @view(Wear)
    def wear(entries: Sequence[Entry[Wear]]) -> Iterator[Section]:
        for entry in entries:
            record = entry.record
            yield Section(
                f"{record.base.name}: wear",                                     # heading, or the question
                f"wear-{entry.number}",                                          # anchor, unique on a page
                (
                    Paragraph(f"Worn by {formats.share(record.worn)}."),
                    table(
                        ["Layer", "Worn", Column("Rubs", detail=True)],          # detail: not on a terminal
                        [[one.layer, cells.share(one.worn), one.rubs] for one in record.layers],
                    ),
                    Charts((Chart(f"wear-{entry.number}", "Wear", alt_text, lambda: draw(record)),)),
                    Note("How to read it."),
                ),
            )

Nothing else is touched: page, terminal and Markdown (`assay.render`), `assay report` and `assay.load` find it.

- A view is given all records of its kind at once, so that it can set arms side by side; `entry.arm` has a number, a
  name and a key cell. A record that is of one tuned model says so by `tuned_models`, and then joins its arm; one that
  does not stands for itself.
- `Section.order` places a section among those of other kinds; `Section.answer` is what the top of the page says of it.
- Sentences write numbers with `formats`, tables with `cells`, in the same digits. A view may end with `made.how_made`.
- Charts are drawn with `assay.views.palette.alt`, inside of `Chart.draw`, which only the page calls.
- What is of no use without a picture stands in `Charts.about`; what explains a term is an aside (`Paragraph.aside`),
  which a terminal leaves out; what is long is folded (`Fold`), which only a page opens.
"""

from assay.views.blocks import (
    Alert,
    Answer,
    Chart,
    Charts,
    Code,
    Column,
    Document,
    Facts,
    Figure,
    Figures,
    Fold,
    Halves,
    Heading,
    Items,
    Lead,
    Note,
    Paragraph,
    Section,
    Table,
    table,
)
from assay.views.cells import Cell
from assay.views.document import document
from assay.views.registry import Entry, view

__all__ = [
    "Alert",
    "Answer",
    "Cell",
    "Chart",
    "Charts",
    "Code",
    "Column",
    "Document",
    "Entry",
    "Facts",
    "Figure",
    "Figures",
    "Fold",
    "Halves",
    "Heading",
    "Items",
    "Lead",
    "Note",
    "Paragraph",
    "Section",
    "Table",
    "document",
    "table",
    "view",
]
