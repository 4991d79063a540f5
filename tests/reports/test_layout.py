"""Nothing reaches past the edge of a wide or a narrow screen, as a real browser lays it out."""

from __future__ import annotations

import html
import re
import shutil
import subprocess

import pytest
from report_records import audit

from assay.records import Source
from assay.reports import report

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=4000",
    "--window-size=1400,1000",
    "--dump-dom",
]
# The page itself has no scripts; a frame around it, of the width in question, lets one measure it with all folds open.
MEASURE = """<iframe id=frame style="width:{width}px;height:800px;border:0" srcdoc="{page}"></iframe><script>
frame.onload = () => {{
  const page = frame.contentDocument;
  page.querySelectorAll("details").forEach(fold => fold.open = true);
  const right = element => element.getBoundingClientRect().right;
  const past = [...page.querySelectorAll("main *:not(svg *)")].filter(e => right(e) > {width} + 1);
  const shown = past.filter(e => !e.closest(".table"));
  const text = [...page.querySelectorAll("main p, main td, main dd")];
  const sizes = text.map(e => parseFloat(getComputedStyle(e).fontSize));
  document.title = [page.documentElement.scrollWidth, shown.length, Math.min(...sizes)].join(" ");
}};
</script>"""


@pytest.fixture(scope="module")
def long_names() -> str:
    """A page whose every name is longer than a line."""
    first = audit(2, side="both", chance=True, prefix="x" * 150)
    second = first.model_copy(update={"tuned": (Source(name="a/" * 60),), "notes": ("n" * 300,)})
    return report([first, audit(1, tuned="t" * 200, base="b" * 200), second]).html


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
@pytest.mark.parametrize("width", [1280, 390])
def test_page_fits_the_screen(width, long_names, tmp_path):
    frame = tmp_path / "frame.html"
    frame.write_text(MEASURE.format(width=width, page=html.escape(long_names)), encoding="utf8")
    command = [BROWSER, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", frame.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    measured = re.search(r"<title>(\d+) (\d+) ([\d.]+)</title>", dom)
    assert measured, "the browser did not lay the page out"
    scroll_width, past_the_edge, smallest_text = map(float, measured.groups())
    assert scroll_width <= width
    assert past_the_edge == 0
    assert smallest_text >= 12
