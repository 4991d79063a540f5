"""Nothing reaches past the edge of a wide or a narrow screen, as a real browser lays it out."""

from __future__ import annotations

import html
import re
import shutil
import subprocess

import pytest

from arm_records import dial, forgetting, model, run, scores, task_score
from assay.records import Source
from assay.render.html import report
from audit_records import audit

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
WIDTHS = (1280, 390)
# The page itself has no scripts; frames around it, of the widths in question, let one measure it with all folds open.
FRAME = """<iframe style="width:{width}px;height:800px;border:0" srcdoc="{page}"></iframe>"""
MEASURE = """<script>
onload = () => document.title = [...document.querySelectorAll("iframe")].map(frame => {
  const page = frame.contentDocument, width = frame.clientWidth;
  page.querySelectorAll("details").forEach(fold => fold.open = true);
  const right = element => element.getBoundingClientRect().right;
  const past = [...page.querySelectorAll("main *:not(svg *)")].filter(e => right(e) > width + 1);
  const shown = past.filter(e => !e.closest(".table"));
  const text = [...page.querySelectorAll("main p, main td, main dd")];
  const sizes = text.map(e => parseFloat(getComputedStyle(e).fontSize));
  return [width, page.documentElement.scrollWidth, shown.length, Math.min(...sizes)].join(" ");
}).join(";");
</script>"""


@pytest.fixture(scope="module")
def long_names() -> str:
    """A page whose every name is longer than a line."""
    first = audit(2, side="both", chance=True, prefix="x" * 150)
    second = first.model_copy(update={"tuned": (Source(name="a/" * 60),), "notes": ("n" * 300,)})
    return report([first, audit(1, tuned="t" * 200, base="b" * 200), second]).html


@pytest.fixture(scope="module")
def long_arms() -> str:
    """A page of two arms with names that are longer than a line."""
    arms = []
    for name in ("full/" * 30, "l" * 120):
        audited = audit(2, k=4, chance=True).model_copy(update={"tuned": (model(name),)})
        cost = run(name, "lora", **{"a." + "condition." * 20: name})
        arms += [cost, scores(name, task_score(240), forgetting(0.2)), audited, dial(name)]
    return report(arms).html


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
@pytest.mark.parametrize("page", ["long_names", "long_arms"])
def test_page_fits_wide_and_narrow_screens(page, request, tmp_path):
    text = html.escape(request.getfixturevalue(page))
    frames = tmp_path / "frames.html"
    frames.write_text("".join(FRAME.format(width=width, page=text) for width in WIDTHS) + MEASURE, encoding="utf8")
    command = [BROWSER, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", frames.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    measured = re.search(r"<title>([\d. ;]+)</title>", dom)
    assert measured, "the browser did not lay the page out"
    screens = [list(map(float, screen.split())) for screen in measured[1].split(";")]
    assert [screen[0] for screen in screens] == list(WIDTHS)
    for width, scroll_width, past_the_edge, smallest_text in screens:
        assert scroll_width <= width
        assert past_the_edge == 0
        assert smallest_text >= 12
