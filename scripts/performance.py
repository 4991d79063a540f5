"""Write docs/performance.md from the records of the benchmarks: what was asked, what was measured, what falls short.

`python scripts/performance.py` writes; with `--check` it says whether the page is old and exits 1.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from typing import Any

from generated import ROOT, write_or_check

RECORDS = ROOT / "benchmarks" / "records"
PAGE = ROOT / "docs" / "performance.md"
NOT_RUN = "not run"
LARGEST = 4096
# Those of benchmarks/fails_safely.py; rows from before the step "shifts" was left out (docs/solvers.md) count it apart.
STAGES = ("float32", "float64", "shifts", "Gram", "dense SVD")
QUIET = 2.0  # load of the machine, of which a benchmark itself makes one

COMMANDS = {
    "intruders": "python benchmarks/intruders.py --record benchmarks/records/intruders.json",
    "fails_safely": "python benchmarks/fails_safely.py --rounds 2 --record benchmarks/records/fails_safely.json",
    "real_weights": "python benchmarks/real_weights.py demo/models/smollm2-135m LORA FULL"
    " --record benchmarks/records/real_weights.json",
    "real_weights, MiniLM": "python benchmarks/real_weights.py plans/materials/minilm-l6 ADAPTER..."
    " --matrices 9 --record benchmarks/records/real_weights.json (three that plans/rslora.toml trains)",
    "seven_billion": "OMP_NUM_THREADS=2 python benchmarks/seven_billion.py --folder FOLDER"
    " --record benchmarks/records/seven_billion.json",
    "measures": "python benchmarks/measures.py demo/models/smollm2-135m plans/materials/prose.jsonl"
    " plans/materials/headlines.test.jsonl --record benchmarks/records/measures.json",
    "clusters": "PYTHONPATH=src:. python benchmarks/clusters.py --record benchmarks/records/clusters.json",
    "steps": "python benchmarks/steps.py plans/materials/minilm-l6 plans/materials/trec.train.jsonl --steps 6"
    " --record benchmarks/records/steps.json (and with --options --rounds 2 --steps 4)",
    "steps, SmolLM2": "python benchmarks/steps.py plans/materials/smollm2-135m plans/materials/headlines.train.jsonl"
    " --record benchmarks/records/steps.json (and with --monitor)",
}

ABOUT = """\
# What the certified solver costs, and how often it is right

Written by `python scripts/performance.py` from the records in `benchmarks/records/`; `make bench` makes those anew.
One thread unless said; ratios are of times from one run in which the parties took turns, the processor's where they
have one thread.
"""

BUSY = """\
The machine did other work during `intruders` (its load stands under *Every size*): the processor's time does not count
that work, but caches and memory were shared with it, which costs products more than decompositions.
"""

LIMITS = """\
## What limits it

- **Time at 4096.** With its base kept, a verdict is bound by memory: a pass of ten columns over 64 MB of weights takes
  about 5 ms, whatever is done with them, and is already made of a few rows at a time that stay in the second-level
  cache. On `i^-.25` the tuned triplets take 11 passes and the Christoffel bound 15 there and 15 back, on `i^-.5` 7 and
  24, the last three for a single vector, which a profile shows as two thirds of the time; the rest is orthogonalisation
  and small least-squares problems. `i^-.5` needs more because half of its squared values lie in the lowest 6% of the
  range that it covers: no polynomial of a lower degree tells so little mass apart there. Rounding costs no pass: it is
  measured against a sketch of the base that is kept with its triplets. Nor does the proof that no larger direction of
  an adapter was missed: it follows from the base's bound on its own rest. Without the cache, base triplets (about a
  thousand columns) come on top, and take one and a half to two times as long as all of that.
- **What products leave open.** Overlaps with one singular vector *deep in the bulk* are what no few products can find:
  next to it lie others at relative distances of 1e-4 and less, and a polynomial that tells them apart has a degree in
  the hundreds. Steep and rank-deficient bases hide an intruder's mass next to zero in the same way. One symmetric
  eigenproblem of the smaller Gram matrix in float64 decides them all; factorising that matrix at a few shifts for each
  of them saved time only for a single match in a large matrix (`docs/solvers.md`).
- **Leading values close together.** Where those of the *tuned* matrix lie within 1e-6 of each other (flat bases) or at
  the edge of a random one, no iteration tells the vectors apart within its budget. Shift and invert does: four to six
  Cholesky factors of the smaller Gram matrix, the last of them a proof that nothing larger was missed, to a part of
  about 1e-11. It takes two thirds of the time of a dense SVD in float64 at 800, a third at 2048.
- **What is left.** Bases graded to 1e-8 have values whose squares float64 does not hold: an intruder's mass on those
  is not told apart by the least-squares problems of the Christoffel bound.
- **Trained models.** Their leading singular values lie within 1e-3 of each other, so float32 leaves many directions
  open; the same iteration in float64, at about a third of the speed, tells most of them apart, and shift and invert the
  rest.
- **Small matrices.** Where `auto` decomposes the base whole, an adapter is solved in the base's coordinates from 200
  singular values on, in a fraction of the time of a second SVD, and still proved. Under that both matrices take a dense
  SVD, and what a bare one leaves out (the backward error measured in float64, clusters, bounds on every overlap) takes
  about a millisecond whatever the size, which is more than the two SVDs themselves at 64.
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
    records = {name: read(name) for name in COMMANDS if "," not in name}
    return write_or_check({PAGE: page(records)}, "--check" in sys.argv)


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
        *training(records["steps"] or {}),
        *foreseeing(records["measures"]),
        *clusters(records["clusters"]),
    ]
    table = ["| measure | at least | aim | measured | by |", "|---|---|---|---|---|"]
    table += [f"| {line.measure} | {line.least} | {line.aim} | {line.measured} | `{line.source}` |" for line in lines]
    parts = [ABOUT, "\n".join(table) + "\n", remaking(), LIMITS]
    if records["intruders"] is not None and load(records["intruders"]) > QUIET:
        parts.insert(1, BUSY)
    if records["intruders"] is not None:
        parts.append(sizes(records["intruders"]))
    if records["fails_safely"] is not None:
        parts.append(spectra(records["fails_safely"]))
    if records["clusters"] is not None:
        parts.append(scheduled(records["clusters"]))
    return "\n".join(parts)


def remaking() -> str:
    """The commands, each with what it measures."""
    rows = [f"- `{name}`: `{command}`" for name, command in COMMANDS.items()]
    return "The commands that make them again, from the root of the repository:\n\n" + "\n".join(rows) + "\n"


def safety(record: dict[str, Any] | None) -> list[Line]:
    """The lines of `fails_safely`."""
    wrong, missed, products, settled = (NOT_RUN,) * 4
    if record is not None:
        large, small = (record["totals"][group] for group in ("large", "small"))
        both = (large, small)
        vectors, answers = (sum(counts[key] for counts in both) for key in ("vectors", "answers"))
        wrong = f"**{sum(counts.get('wrong', 0) for counts in both)}** of {vectors:,} ({answers:,} answers)"
        missed = f"**{sum(value for counts in both for key, value in counts.items() if 'misses' in key)}**"
        products, settled = (
            f"**{upto(large, last):.1%}** where `auto` picks it, {upto(small, last):.1%} on the small ones"
            for last in ("float64", "Gram")
        )
    return [
        Line("wrong verdicts on planted and adversarial vectors, against float64", "0", "0", wrong, "fails_safely"),
        Line("bounds that do not contain the float64 truth", "0", "0", missed, "fails_safely"),
        Line("decided with proof before a dense SVD, margin over .05", "95%", "99%", settled, "fails_safely"),
        Line("of these by products alone, float32 or float64", "", "", products, "fails_safely"),
    ]


def upto(counts: dict[str, int], last: str) -> float:
    """Share of the clear directions that were decided at this stage or before it."""
    stages = STAGES[: STAGES.index(last) + 1]
    return sum(counts.get(stage, 0) for stage in stages) / counts["clear"]


def trained(record: dict[str, Any] | None) -> list[Line]:
    """The lines of `real_weights`."""
    measured = NOT_RUN
    if record is not None:
        total, left, single, products, wrong = (
            sum(row.get(key, 0) for row in record["rows"])
            for key in ("directions", "open", "open in float32", "open by products", "wrong")
        )
        measured = (
            f"**{left / total:.1%}** of {total:,} (by products alone {products / total:.1%}, in float32"
            f" {single / total:.0%}; wrong: {wrong})"
        )
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
    return [
        Line("against two dense SVDs at 4096, base not cached", "20 x", "40 x", measured["cold"], "intruders"),
        Line("the same, base cached", "60 x", "200 x", measured["cached"], "intruders"),
        Line("against PEFT's function at 4096, base cached", "90 x", "300 x", measured["PEFT"], "intruders"),
        Line("slope of time, n = 1024 to 4096, `i^-.25` (`i^-.5`)", "2.3 (2.6)", "2.1 (2.3)", slopes, "intruders"),
        Line('`auto` against `solver="exact"`, the worst size', "1.05 x", "faster", worst(rows, "exact"), "intruders"),
        Line("the same against two bare SVDs: they measure no error", "", "", worst(rows, "two SVDs"), "intruders"),
    ]


def worst(rows: list[dict[str, Any]], against: str) -> str:
    """The longest time of `auto`, base not cached, as a multiple of another party's, and the matrix that it took."""
    found = [(row["seconds"]["cold"] / row["seconds"][against], row) for row in rows if against in row["seconds"]]
    if not found:
        return NOT_RUN
    ratio, row = max(found, key=lambda pair: pair[0])
    shape = " x ".join(map(str, row["shape"]))
    faster = sum(ratio < 1 for ratio, _ in found)
    return f"**{ratio:.2f} x** at {shape} (`i^-{row['power']:g}`); faster in {faster} of {len(found)}"


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


def training(record: dict[str, Any]) -> list[Line]:
    """The lines of `steps`."""
    lines = []
    for method, against in (("lora", "PEFT in plain Trainer"), ("full", "plain Trainer")):
        found = [
            f"**{ratios[method]['processor_ratio']:.2f}** on {base} ({ratios[method]['ratio']:.2f} by the clock)"
            for base, parts in record.items()
            if method in (ratios := parts.get("steps", {}).get("ratios", {}))
        ]
        measure = f"a training step, {method}, against {against}: ratio of the processor's times"
        lines.append(Line(measure, "at most 1.03", "1", ", ".join(found) or NOT_RUN, "steps"))
    options = [
        f"{name} **{ratio['processor_ratio']:.2f}** on {base}"
        for base, parts in record.items()
        for name, ratio in parts.get("options", {}).get("ratios", {}).items()
    ]
    measure = "the same under options of a run"
    lines.append(Line(measure, "at most 1.03", "1", ", ".join(options) or NOT_RUN, "steps"))
    shares = [
        f"**{monitor['share']:.1%}** on {base}, every {monitor['every']} steps"
        for base, parts in record.items()
        if (monitor := parts.get("monitor", {}).get("monitor"))
    ]
    measure = "`IntruderMonitor`'s share of training at its default interval, base kept"
    lines.append(Line(measure, "at most 5%", "", ", ".join(shares) or NOT_RUN, "steps"))
    return lines


def foreseeing(record: dict[str, Any] | None) -> list[Line]:
    """The lines of `measures`."""
    ratios = record["ratios"] if record is not None else {}
    lines = []
    for command, added in (
        ("audit", "the kind of change"),
        ("score", "divergence and activation drift"),
    ):
        found = [
            f"**{one['ratio']:.2f}** ({name.removeprefix(f'{command}, ')})"
            for name, one in ratios.items()
            if name.startswith(f"{command},")
        ]
        measure = f"`assay {command}` on SmolLM2 with {added}, against without: the processor's time"
        lines.append(Line(measure, "at most 1.2", "", ", ".join(found) or NOT_RUN, "measures"))
    return lines


FAULTS = {
    "kills": "20 nodes killed at random moments while they work",
    "driver": "the driver killed and started again",
    "head restarted": "the head restarted, which kept nothing; the same command again",
    "head restarted, with storage": "the head restarted, which kept what it knew",
    "head lost": "the head lost; the same command on another cluster",
    "head silent": "the head silent for 75 s",
    "own node lost": "Ray's process beside the driver killed; the same command on another cluster",
}


def clusters(record: dict[str, Any] | None) -> list[Line]:
    """The lines of `clusters`."""
    cost, scale, poison, alike = (NOT_RUN,) * 4
    faults = dict.fromkeys(FAULTS.values(), NOT_RUN)
    if record is not None:
        took = record["overhead"]
        nothing = f"{took['of items of nothing']:.2f} x on as many items of nothing"
        cost = f"**{took['of runs'] - 1:.1%}** ({took['runs']} runs of one step; {nothing})"
        scale = f"**{record['scaling']['two nodes to one']:.2f}** (items that sleep)"
        poison = fate(record["poison"])
        faults |= {words: fate(record[name]) for name, words in FAULTS.items() if name in record}
        faults |= {f"a node silent for {name}": fate(part) for name, part in record.get("node silent", {}).items()}
        if (both := record.get("commands")) is not None:
            alike = ", ".join(f"**{part['differ']}** of {part['records']} ({name})" for name, part in both.items())
    return [
        Line("what Ray adds to trivial runs, start-up apart", "at most 5%", "", cost, "clusters"),
        Line("two nodes of one processor against one", "", "2", scale, "clusters"),
        Line("records on Ray that differ from those here, times and memory apart", "0", "", alike, "clusters"),
        *(
            Line(f"{words}: items lost, wrong, done twice", "0, 0, 0", "", found, "clusters")
            for words, found in faults.items()
        ),
        Line("an item that kills its workers: the same, of which it is one", "1, 0, 0", "", poison, "clusters"),
    ]


def fate(part: dict[str, Any]) -> str:
    """What became of the items of one fault, and how the driver ended where that was told."""
    found = ", ".join(str(part[name]) for name in ("lost", "wrong", "twice"))
    ended = f"; ended with an error: *{part['said']}*" if part.get("said") else ""
    return f"**{found}** of {part['items']}; begun again: {part['begun again']}, given up: {part['given up']}{ended}"


def scheduled(record: dict[str, Any]) -> str:
    """The efficiency of simulated studies, by nodes."""
    found = record["schedule"]
    nodes = list(found[0]["efficiency"])
    lines = [
        "## On how many nodes\n",
        "Simulated, not run: a study whose arms are tuned (three trials, one more, a confirmation, then three seeds),"
        " scheduled as the engine does it. Efficiency is the work over nodes times the time that they take; it falls"
        " where the nodes come near what the longest chain of one arm allows:\n",
        f"| arms x tasks | works | chain allows | {' | '.join(nodes)} |",
        "|---" * (3 + len(nodes)) + "|",
    ]
    for one in found:
        shares = " | ".join(f"{share:.0%}" for share in one["efficiency"].values())
        lines.append(
            f"| {one['points']:,} | {one['works']:,} | {one['nodes that the longest chain allows']:,.0f} | {shares} |"
        )
    return "\n".join(lines) + "\n"


def sizes(record: dict[str, Any]) -> str:
    """Every size and spectrum."""
    conditions = record["conditions"]
    lines = [
        "## Every size\n",
        f"Seconds of the processor, {conditions['threads']} thread, torch {conditions['torch']}, Python"
        f" {conditions['python']}; the machine's load at the end of a row was at most {load(record):.1f} on two cores."
        " `exact` is assay's dense solver, `fall-back` the float64 Gram decomposition, had it been needed. Verdicts"
        " that differ from the two SVDs', and those left open (of 10):\n",
        "| shape | spectrum | solver | not cached | cached | exact | two SVDs | PEFT | fall-back | differ | open |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in record["rows"]:
        (m, n), seconds = row["shape"], row["seconds"]
        last = row["parts"].get("fall-back, if it were needed")
        cells = [*(seconds.get(name) for name in ("cold", "cached", "exact", "two SVDs", "PEFT")), last]
        numbers = " | ".join("" if value is None else f"{value:.2{'f' if value >= 1 else 'g'}}" for value in cells)
        lines.append(
            f"| {m} x {n} | `i^-{row['power']:g}` | {row['solver']} | {numbers} | {row['differences']} |"
            f" {row['undecided']} |"
        )
    return "\n".join(lines) + "\n"


def load(record: dict[str, Any]) -> float:
    """The highest load that was met, of which the benchmark itself makes one."""
    return max(row["load"] for row in record["rows"])


def spectra(record: dict[str, Any]) -> str:
    """The share that was certified, for each spectrum and stage."""
    before = sum("shifts" in row for row in record["rows"])
    lines = [
        "## Every spectrum\n",
        "Share of the directions with a margin over .05 that were decided by products (float32 or float64), then also"
        " by factorisations of the Gram matrix (shift-and-invert Lanczos for the tuned vectors, the eigendecomposition"
        " for their overlaps); the rest needs a dense SVD. Every second round of the small ones has a starved budget,"
        f" four steps of thirty-two. Of {len(record['rows'])} rows {before} were made while overlaps were also decided"
        " at single shifts (`docs/solvers.md`):\n",
        "| spectrum | where `auto` picks it | products | + Gram | small | products | + Gram |",
        "|---|---|---|---|---|---|---|",
    ]
    cells: dict[str, dict[str, str]] = {name: {} for name in record["spectra"]}
    for row in record["rows"]:
        clear = row.get("clear", 0)
        parts = [f"{upto(row, last):.0%}" if clear else "" for last in ("float64", "Gram")]
        cells[row["spectrum"]][row["group"]] = " | ".join([str(clear), *parts])
    missing = f"{NOT_RUN} | | "
    lines += [
        f"| {name} | {found.get('large', missing)} | {found.get('small', missing)} |" for name, found in cells.items()
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
