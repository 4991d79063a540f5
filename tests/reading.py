"""A page read back with the standard library's HTML parser, the way a browser would see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "hr", "img", "input", "wbr", "base", "source"}


@dataclass
class Element:
    """One element: its tag, attributes, children and own text, in order."""

    tag: str
    attributes: dict[str, str]
    content: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(part if isinstance(part, str) else part.text for part in self.content)

    def all(self, *tags: str) -> list[Element]:
        """Every element below this one, or those of some tags."""
        below = [part for part in self.content if isinstance(part, Element)]
        return [found for part in below for found in ([part] * (not tags or part.tag in tags) + part.all(*tags))]

    def table(self, heading: str) -> list[list[Element]]:
        """The body's cells of the first table that has a column of this name."""
        for table in self.all("table"):
            if heading in [cell.text for head in table.all("thead") for cell in head.all("th")]:
                return [row.all("th", "td") for body in table.all("tbody", "tfoot") for row in body.all("tr")]
        raise LookupError(heading)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag, attrs):
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].content.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.open[-1].content.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag):
        closed = self.open.pop()
        assert closed.tag == tag, f"<{closed.tag}> is closed by </{tag}>"

    def handle_data(self, data):
        self.open[-1].content.append(data)


def read(html: str) -> Element:
    """The page as a tree; fails where tags do not close in order."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == [reader.root], f"<{reader.open[-1].tag}> is never closed"
    return reader.root


def value(cell: Element) -> float | None:
    """The record's own value that a cell carries."""
    carried = cell.all("data")
    return float(carried[0].attributes["value"]) if carried else None
