"""Audits: the arms beside each other where there are several, then everything that each of them found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from assay.records import Audit
from assay.views import audit_charts, cells
from assay.views.audit_matrices import (
    change_by_matrix,
    change_table,
    change_words,
    coverage,
    directions,
    matrices_table,
    roles_table,
)
from assay.views.audit_words import compared, differences, explained, headline, intruders
from assay.views.blocks import (
    DETAIL,
    INSIDE,
    Alert,
    Answer,
    Block,
    Charts,
    Facts,
    Figure,
    Figures,
    Fold,
    Heading,
    Items,
    Lead,
    Note,
    Paragraph,
    Section,
    Table,
    table,
)
from assay.views.formats import MISSING, number, plural, share_range
from assay.views.made import how_made
from assay.views.measured import measured, title
from assay.views.registry import Entry, view
from assay.views.summary import Summary

UPDATES = {
    "adapter": "an adapter",
    "adapters": "a sum of adapters",
    "checkpoint": "a full checkpoint",
    "none": "no weight matrix changes",
}
RANKS = "Ranks are of the change itself, the median over the matrices that changed."
OPEN = 8  # tensors that are named where some could not be analysed


@view(Audit)
def audit(entries: Sequence[Entry[Audit]]) -> Iterator[Section]:
    """One audit in its place among the answers; several side by side there, and each of them whole at the end."""
    shown = [Summary(entry.record, entry.number, entry.arm) for entry in entries]
    if len(shown) > 1:
        yield _side_by_side(shown)
    for summary in shown:
        alone = len(shown) == 1
        yield Section(
            f"Audit of {summary.arm.name}",
            summary.anchor,
            tuple(_blocks(summary, with_maps=alone)),
            INSIDE if alone else DETAIL,
            _answer(shown) if alone else None,
        )


def _answer(shown: Sequence[Summary]) -> Answer | None:
    """Intruders of each audit, and the sizes that they stand beside."""
    ordinary = [one for one in shown if one.state == "ordinary"]
    if not ordinary:
        return None
    details = tuple(
        f"{one.arm.name} effective rank {number(one.everything.effective_rank)}, "
        f"relative norm {number(one.audit.relative_norm)}, energy share {share_range(one.energy_bounds)}"
        for one in ordinary
    )
    counts = {intruders(one) for one in ordinary}
    words = "; ".join(f"{one.arm.name}: {intruders(one)}" for one in ordinary)
    if len(counts) == 1:
        (count,) = counts
        none = {1: "", 2: " in either"}.get(len(ordinary), " in any")
        words = count if len(ordinary) == 1 else f"{count} in each"
        words = (
            f"{count.capitalize()}{none}"
            if not any(one.audit.count + one.audit.undecided for one in ordinary)
            else words
        )
    return Answer(words, details, "" if len(shown) > 1 else "What changed inside?")


def _side_by_side(shown: Sequence[Summary]) -> Section:
    """The audits beside each other, with their maps on one scale."""
    unlike = differences([one.audit for one in shown])
    ordinary = [one for one in shown if one.state == "ordinary"]
    blocks: list[Block] = []
    if unlike:
        blocks.append(
            Alert(
                f"These audits differ in their {' and their '.join(unlike)}: their counts answer different questions "
                "and should not be ranked."
            )
        )
    else:
        blocks += [Lead(compared(one, ordinary[0])) for one in ordinary[1:]]
    blocks.append(_comparison(shown, with_base="base" in unlike))
    blocks.append(
        Note(
            f"{RANKS} Not looked at: tensors that the audit promises to analyse and could not. Counts saturate: where "
            "two of them are close to all directions, the energy share tells more."
        )
    )
    maps = [(one, audit_charts.layer_maps(one, ordinary)) for one in ordinary]
    if all(len(found) == 1 for _, found in maps):
        blocks.append(Charts(tuple(chart for one, (chart,) in maps for chart in [audit_charts.of_arm(chart, one)])))
    else:
        for one, found in maps:
            blocks += [Heading(f"{one.arm.name}, layer by layer"), Charts(tuple(found))]
    if maps:
        blocks.append(Paragraph("Maps of one kind share one scale of colours.", aside=True))
    blocks += _overlaps_in_one_matrix(ordinary)
    return Section("How do they differ inside?", "inside", tuple(blocks), INSIDE, _answer(shown))


def _overlaps_in_one_matrix(ordinary: Sequence[Summary]) -> list[Block]:
    """Overlaps with the base of every arm in the one matrix, of those that all have, with most intruders in all."""
    by_name = [{matrix.name: matrix for matrix in one.audit.matrices if matrix.similarity} for one in ordinary]
    common = [name for name in by_name[0] if all(name in known for known in by_name)] if len(by_name) > 1 else []
    if not common:
        return []
    counts = {name: sum(known[name].count for known in by_name) for name in common}
    norms = {name: sum(known[name].relative_norm or 0.0 for known in by_name) for name in common}
    chosen = max(common, key=lambda name: (counts[name], norms[name]))
    why = "has most intruders in all of them together" if counts[chosen] else "is changed most: none has intruders"
    drawn = [
        audit_charts.similarity(one, known[chosen], "inside-") for one, known in zip(ordinary, by_name, strict=True)
    ]
    charts = tuple(audit_charts.of_arm(chart, one) for one, chart in zip(ordinary, drawn, strict=True) if chart)
    return [
        Heading("One matrix in every arm"),
        Charts(charts, about=f"Of the matrices that every arm has, {chosen} {why}."),
    ]


def _comparison(shown: Sequence[Summary], with_base: bool) -> Table:
    """One row an audit."""
    columns = ["Tuned", *(["Base"] if with_base else []), "Matrices", title("count"), "of directions"]
    columns += map(title, ("undecided", "energy_share", "relative_norm", "effective_rank", "stable_rank"))
    columns += ["k, eps, side", "Not looked at"]
    return table(columns, [_compared_row(one, with_base) for one in shown])


def _compared_row(one: Summary, with_base: bool) -> list[cells.Given]:
    found = one.audit
    row: list[cells.Given] = [replace(one.arm.key, to=one.anchor)]
    row += [cells.name(found.base.name)] if with_base else []
    if one.state in ("ordinary", "zero"):
        energy = measured("energy_share", found.energy_share)
        if found.undecided and one.energy_bounds:
            energy = replace(energy, rest=f"({share_range(one.energy_bounds)})")
        row += [len(found.matrices), measured("count", found.count), one.total, found.undecided, energy]
        row += [measured("relative_norm", found.relative_norm)]
        row += [measured(name, getattr(one.everything, name)) for name in ("effective_rank", "stable_rank")]
    else:
        row += [cells.text_number(one.state), *(cells.text_number(MISSING) for _ in range(7))]
    asked = f"{found.k}, {MISSING if one.eps is None else f'{one.eps:g}'}, {one.side}"
    return [*row, cells.text_number(asked), cells.whole(len(found.open_tensors), hot=True)]


def _blocks(summary: Summary, with_maps: bool) -> Iterator[Block]:
    """Everything that one audit found."""
    found = summary.audit
    yield Facts(
        (
            ("Update", cells.words(UPDATES[found.kind_of_update])),
            ("Question", cells.words(f"k = {found.k}; eps = {', '.join(map(str, found.eps))}; side = {found.side}")),
        )
    )
    yield from headline(summary)
    if summary.state in ("ordinary", "zero"):
        yield _figures(summary)
    if found.open_tensors:
        names = tuple(
            f"{name}: {reason}" if (reason := found.coverage[name].reason) else name for name in found.open_tensors
        )
        rest = (f"and {len(names) - OPEN} more, first in the coverage below",) if len(names) > OPEN else ()
        yield Alert(
            f"{plural(len(names), 'tensor')} of the model’s body could not be analysed, so the figures above are not "
            "the whole of it:",
            names[:OPEN] + rest,
        )
    if summary.state != "not applicable":
        yield explained(summary)
    elif found.notes:
        yield Items(found.notes, bullets=True)
    if summary.state in ("ordinary", "zero"):
        yield from _findings(summary, with_maps)
    yield coverage(summary)
    yield _made(summary)


def _figures(summary: Summary) -> Figures:
    found = summary.audit
    at_eps = "" if summary.eps is None else f", eps {summary.eps:g}"
    energy = "of the leading directions’ energy is in intruders"
    if found.undecided and summary.energy_bounds:
        energy += f"; {share_range(summary.energy_bounds)} with the undecided"
    asides = {
        "count": f"of {plural(summary.total, 'leading direction')}{at_eps}",
        "undecided": "bounds too wide to tell" if found.undecided else "no verdict is open",
        "energy_share": energy,
        "relative_norm": "size of the change beside the base’s own",
    }
    return Figures(
        tuple(Figure(title(name), measured(name, getattr(found, name)), aside) for name, aside in asides.items())
    )


def _findings(summary: Summary, with_maps: bool) -> Iterator[Block]:
    """Places of the intruders, distance of each matrix from them, and clarity of the verdicts."""
    found, ordinary = summary.audit, summary.state == "ordinary"
    if ordinary and with_maps:
        yield Heading("Where in the model")
        yield Charts(tuple(audit_charts.layer_maps(summary)))
    if ordinary and found.totals:
        yield Heading("What kind of change it is")
        yield Paragraph(change_words(summary))
        yield Fold("Each beside chance, and what it is", (change_table(summary),), open=True)
        yield Fold("The same, matrix by matrix", (change_by_matrix(summary),))
    yield Heading("By role")
    yield roles_table(summary)
    yield Note(f"{RANKS} Energy share and relative norm are of all matrices of the role together.")
    yield Heading("The matrices with most intruders")
    yield matrices_table(summary, summary.worst)
    if len(found.matrices) > len(summary.worst):
        everything = matrices_table(summary, found.matrices)
        yield Fold(f"All {plural(len(found.matrices), 'matrix', 'matrices')}", (everything,))
    if ordinary and summary.pictured:
        yield Heading("Their spectra")
        drawn = [audit_charts.spectrum(summary, one, rank) for rank, one in enumerate(summary.pictured, start=1)]
        yield Charts(
            tuple(drawn),
            about="The strongest singular values of each tuned matrix, marked with the verdict on their direction, "
            "against those of the base.",
        )
    yield from _clearness(summary)
    yield from directions(summary)


def _clearness(summary: Summary) -> Iterator[Block]:
    charts = []
    if summary.state == "ordinary":
        drawn = (audit_charts.counts_against_eps(summary), audit_charts.similarity(summary, summary.worst[0]))
        charts = [chart for chart in drawn if chart is not None]
    by_eps = None
    if len(summary.by_eps) > 1:
        rows = [
            (cells.text_number(f"{eps:g}"), cells.whole(count, hot=True), undecided)
            for eps, (count, undecided) in summary.by_eps.items()
        ]
        by_eps = table(["eps", "Intruders", "Undecided"], rows, title="Counts for every eps asked for")
    if charts or by_eps:
        yield Heading("How clear the verdicts are")
        yield Charts(tuple(charts), table=by_eps)


def _made(summary: Summary) -> Fold:
    found = summary.audit
    facts = [("Model type", cells.words(found.model_type))] if found.model_type else []
    facts += [("Base", cells.of_source(found.base)), *(("Tuned", cells.of_source(one)) for one in found.tuned)]
    facts.append(("Time", cells.words(f"{number(found.seconds)} s")))
    if summary.solvers:
        facts.append(("Solver", cells.words(", ".join(summary.solvers))))
    return how_made(found, facts)
