"""Write docs/performance.md from the records of the benchmarks: what was asked, what was measured, what falls short.

`python scripts/performance.py` writes; with `--check` it says whether the page is old and exits 1.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RECORDS = ROOT / "benchmarks" / "records"
PAGE = ROOT / "docs" / "performance.md"
NOT_RUN = "not run"
LARGEST = 4096
QUIET = 2.0  # load of the machine, of which a benchmark itself makes one

COMMANDS = {
    "intruders": "python benchmarks/intruders.py --record benchmarks/records/intruders.json",
    "fails_safely": "python benchmarks/fails_safely.py --rounds 2 --record benchmarks/records/fails_safely.json",
    "real_weights": "python benchmarks/real_weights.py demo/models/smollm2-135m demo/runs/lora demo/runs/full"
    " --record benchmarks/records/real_weights.json",
    "seven_billion": "OMP_NUM_THREADS=2 python benchmarks/seven_billion.py --folder FOLDER"
    " --record benchmarks/records/seven_billion.json",
}

ABOUT = """\
# What the certified solver costs, and how often it is right

Written by `python scripts/performance.py` from the records in `benchmarks/records/`; `make bench` makes those anew.
One thread unless said; ratios are of times from one run in which the parties took turns.
"""

BUSY = """\
**The times below were taken on a busy machine** (see the load under *Every size*): a time of a minute met other work
than one of a second, so no ratio or slope here is worth more than its order of magnitude. Verdicts are not touched.
"""

LIMITS = """\
## What limits it

- **Time at 4096.** With its base cached, a verdict is bound by memory: every pass of ten columns over 64 MB of weights
  takes 8 to 11 ms, whatever is done with them. On `i^-.25` the certificate needs few passes; on `i^-.5` some 46, which
  are half of its time. The rest, from a profile of 1.3 s for the verdicts of ten vectors: .83 s products and
  orthogonalisation, .20 s measuring the rounding of those products in float64, .24 s small least-squares problems.
  Without the cache, base triplets (about a thousand columns) come on top, and take about as long.
- **Vectors left open.** Overlaps with one singular vector *deep in the bulk* are what no few products can find: next to
  that vector lie others at relative distances of 1e-4 and less, and a polynomial that tells them apart has a degree in
  the hundreds. Such matches are planted here in two of eight updates. Graded and rank-deficient bases hide an
  intruder's mass next to zero in the same way. What is left open is decided by a float64 decomposition of the smaller
  Gram matrix: one symmetric eigenproblem, in less time than two dense SVDs.
- **Trained models.** Their leading singular values lie within 1e-3 of each other, so float32 leaves many directions
  open; the same iteration in float64 tells them apart. It multiplies at about a third of the speed.
- **Small matrices.** Under 768 singular values `auto` takes a dense SVD. Its backward error is measured in float64, not
  assumed, which takes about as long as the SVD itself at 512.
"""


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    measure: str
    least: str
    aim: str
    measured: str
    source: str


def main() -> int:
    """Write the page, or check it."""
    records = {name: read(name) for name in COMMANDS}
    text = page(records)
    if PAGE.exists() and PAGE.read_text(encoding="utf8") == text:
        return 0
    if "--check" in sys.argv:
        print(f"{PAGE.relative_to(ROOT)} is old; run `make docs`")
        return 1
    PAGE.write_text(text, encoding="utf8")
    print(f"{PAGE.relative_to(ROOT)}: written")
    return 0


def read(name: str) -> dict[str, Any] | None:
    """A benchmark's record, or None if it was not run."""
    path = RECORDS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf8")) if path.exists() else None


def page(records: dict[str, dict[str, Any] | None]) -> str:
    """The whole page."""
    lines = [
        *safety(records["fails_safely"]),
        *trained(records["real_weights"]),
        *speed(records["intruders"]),
        *streamed(records["seven_billion"]),
    ]
    table = ["| measure | at least | aim | measured | by |", "|---|---|---|---|---|"]
    table += [f"| {line.measure} | {line.least} | {line.aim} | {line.measured} | `{line.source}` |" for line in lines]
    parts = [ABOUT, "\n".join(table) + "\n", remaking(), LIMITS]
    if records["intruders"] is not None and records["intruders"]["conditions"]["load"] > QUIET:
        parts.insert(1, BUSY)
    if records["intruders"] is not None:
        parts.append(sizes(records["intruders"]))
    if records["fails_safely"] is not None:
        parts.append(spectra(records["fails_safely"]))
    return "\n".join(parts)


def remaking() -> str:
    """The commands, each with what it measures."""
    rows = [f"- `{name}`: `{command}`" for name, command in COMMANDS.items()]
    return "The commands that make them again, from the root of the repository:\n\n" + "\n".join(rows) + "\n"


def safety(record: dict[str, Any] | None) -> list[Line]:
    """The lines of `fails_safely`."""
    wrong, missed, share, settled = (NOT_RUN,) * 4
    if record is not None:
        both = [record["totals"][group] for group in ("large", "small")]
        vectors = sum(counts["vectors"] for counts in both)
        wrong = f"**{sum(counts.get('wrong', 0) for counts in both)}** of {vectors:,}"
        missed = f"**{sum(value for counts in both for key, value in counts.items() if 'misses' in key)}**"
        shares = [counts["clear, decided"] / counts["clear"] for counts in both]
        share = f"**{shares[0]:.0%}** where `auto` picks it, {shares[1]:.0%} on the small ones; short of it"
        ends = [1 - counts.get("still open, clear", 0) / counts["clear"] for counts in both]
        settled = f"{ends[0]:.1%} and {ends[1]:.1%}"
    return [
        Line("wrong verdicts on planted and adversarial vectors, against float64", "0", "0", wrong, "fails_safely"),
        Line("bounds that do not contain the float64 truth", "0", "0", missed, "fails_safely"),
        Line("certified without fall-back, margin over .05", "95%", "99%", share, "fails_safely"),
        Line("the same after the Gram fall-back, where the vectors are known", "", "", settled, "fails_safely"),
    ]


def trained(record: dict[str, Any] | None) -> list[Line]:
    """The lines of `real_weights`."""
    measured = NOT_RUN
    if record is not None:
        total, left, single, wrong = (
            sum(row.get(key, 0) for row in record["rows"]) for key in ("directions", "open", "open in float32", "wrong")
        )
        measured = f"**{left / total:.1%}** of {total} ({single / total:.0%} in float32 alone; wrong: {wrong})"
    return [
        Line(
            "directions of trained models left to the exact fall-back", "under 5%", "under 1%", measured, "real_weights"
        )
    ]


def speed(record: dict[str, Any] | None) -> list[Line]:
    """The lines of `intruders`."""
    rows = record["rows"] if record is not None else []
    measured: dict[str, str] = {}
    for name, over, under in (
        ("cold", "two SVDs", "cold"),
        ("cached", "two SVDs", "cached"),
        ("PEFT", "PEFT", "cached"),
    ):
        found = [
            f"**{row['seconds'][over] / row['seconds'][under]:.0f} x** (`i^-{row['power']:g}`)"
            for row in rows
            if row["shape"] == [LARGEST, LARGEST] and over in row["seconds"]
        ]
        measured[name] = ", ".join(found) or NOT_RUN
    slopes = ", ".join(f"**{slope(rows, power):.2f}** (`i^-{power:g}`)" for power in powers(rows)) or NOT_RUN
    overhead = [row["seconds"]["cold"] / row["seconds"]["two SVDs"] for row in rows if row["solver"] == "exact"]
    dense = f"{max(overhead):.1f} x two bare SVDs at 512: they measure no error" if overhead else NOT_RUN
    return [
        Line("against two dense SVDs at 4096, base not cached", "20 x", "40 x", measured["cold"], "intruders"),
        Line("the same, base cached", "60 x", "200 x", measured["cached"], "intruders"),
        Line("against PEFT's function at 4096, base cached", "90 x", "300 x", measured["PEFT"], "intruders"),
        Line("slope of time, n = 1024 to 4096, `i^-.25` (`i^-.5`)", "2.3 (2.6)", "2.1 (2.3)", slopes, "intruders"),
        Line("where `auto` picks the dense solver: its time", "1.05 x", "faster", dense, "intruders"),
    ]


def powers(rows: list[dict[str, Any]]) -> list[float]:
    """Spectra that were measured at both ends of the slope."""
    ends = [{row["power"] for row in rows if row["shape"] == [n, n]} for n in (1024, LARGEST)]
    return sorted(ends[0] & ends[1])


def slope(rows: list[dict[str, Any]], power: float) -> float:
    """Power of n by which the time without cache grows from 1024 to 4096."""
    small, large = (
        next(row["seconds"]["cold"] for row in rows if row["shape"] == [n, n] and row["power"] == power)
        for n in (1024, LARGEST)
    )
    return math.log(large / small) / math.log(LARGEST / 1024)


def streamed(record: dict[str, Any] | None) -> list[Line]:
    """The lines of `seven_billion`."""
    peak = warm = cold = NOT_RUN
    if record is not None:
        audits = record["audits"]
        peak = f"**{max(run['peak_bytes'] for run in audits.values()) / 1e9:.2f} GB**"
        scope = f"{record['layers']} layers, {record['threads']} threads"
        warm = f"**{audits['cached']['multiple_of_reading']:.0f} x** ({scope})"
        cold = f"**{audits['not cached']['multiple_of_reading']:.0f} x** ({scope})"
    return [
        Line("peak memory of a 7B-shaped audit above its imports", "1.5 GB", "0.7 GB", peak, "seven_billion"),
        Line("its time against reading both files once, base cached", "60 x", "25 x", warm, "seven_billion"),
        Line("the same, base not cached", "150 x", "60 x", cold, "seven_billion"),
    ]


def sizes(record: dict[str, Any]) -> str:
    """Every size and spectrum."""
    conditions = record["conditions"]
    lines = [
        "## Every size\n",
        f"Seconds, {conditions['threads']} thread, torch {conditions['torch']}, Python {conditions['python']}; the"
        f" machine's load at the end was {conditions['load']:.1f} on two cores. `fall-back` is the float64 Gram"
        " decomposition, had it been needed. Verdicts that differ from the two SVDs', and those left open (of 10):\n",
        "| shape | spectrum | solver | not cached | cached | two SVDs | PEFT | fall-back | differ | open |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in record["rows"]:
        (m, n), seconds = row["shape"], row["seconds"]
        last = row["parts"].get("fall-back, if it were needed")
        cells = [seconds["cold"], seconds["cached"], seconds["two SVDs"], seconds.get("PEFT"), last]
        numbers = " | ".join("" if value is None else f"{value:.2f}" for value in cells)
        lines.append(
            f"| {m} x {n} | `i^-{row['power']:g}` | {row['solver']} | {numbers} | {row['differences']} |"
            f" {row['undecided']} |"
        )
    return "\n".join(lines) + "\n"


def spectra(record: dict[str, Any]) -> str:
    """The share that was certified, for each spectrum."""
    lines = [
        "## Every spectrum\n",
        "Share certified without fall-back, of vectors with a margin over .05; flat and random bases have leading"
        " values that nothing tells apart, and `clustered` and `ties` are answered for as subspaces. Every second"
        " round of the small ones has a starved budget, four steps of thirty-two:\n",
        "| spectrum | where `auto` picks it | small matrices |",
        "|---|---|---|",
    ]
    shares: dict[str, dict[str, str]] = {name: {} for name in record["spectra"]}
    for row in record["rows"]:
        clear = row.get("clear", 0)
        share = f"{row.get('clear, decided', 0) / clear:.0%} of {clear}" if clear else "none has such a margin"
        shares[row["spectrum"]][row["group"]] = share
    lines += [
        f"| {name} | {found.get('large', NOT_RUN)} | {found.get('small', NOT_RUN)} |" for name, found in shares.items()
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
