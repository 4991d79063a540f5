"""Any valid audit becomes a page: empty, missing, unnamed, oddly named."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from assay.records import Audit, Chance, Coverage, Direction, MatrixAudit, Provenance, Setting, Source
from assay.render.html import report
from reading import read

names = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=12)
sizes = st.floats(0, 1e12, allow_subnormal=False)
shares = st.floats(0, 1)


def maybe(strategy):
    return st.none() | strategy


pairs = st.tuples(shares, shares).map(lambda ends: (min(ends), max(ends)))
directions = st.builds(
    Direction,
    position=st.integers(1, 40),
    side=st.sampled_from(("left", "right")),
    sigma=sizes,
    cosine=maybe(shares),
    cosine_bounds=pairs,
    cluster=maybe(st.tuples(st.integers(1, 9), st.integers(1, 9))),
    verdict=st.sampled_from(("intruder", "matched", "undecided")),
    update_share=maybe(shares),
)
sequences = st.lists(sizes, max_size=3).map(tuple)
matrices = st.builds(
    MatrixAudit,
    name=names,
    role=names,
    layer=maybe(st.integers(0, 300)),
    shape=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)),
    orientation=names,
    scale=maybe(sizes),
    rank=maybe(st.integers(0, 4096)),
    relative_norm=sizes,
    rounding_floor=maybe(sizes),
    effective_rank=maybe(sizes),
    stable_rank=maybe(sizes),
    energy_rank=maybe(st.integers(0, 99)),
    count=st.integers(0, 40),
    undecided=st.integers(0, 40),
    counts=st.dictionaries(shares.map(str), st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=2),
    energy_share=maybe(shares),
    energy_share_bounds=maybe(pairs),
    intruder_update_share=maybe(shares),
    chance=maybe(
        st.builds(Chance, draws=st.integers(1, 99), rank=st.just(1), seed=st.just(0), median=sizes, percentile_95=sizes)
    ),
    directions=st.lists(directions, max_size=3).map(tuple),
    sigma_base=sequences,
    sigma_tuned=sequences,
    sigma_update=sequences,
    similarity=st.lists(st.lists(shares, max_size=2).map(tuple), max_size=2).map(tuple),
    amplification=maybe(sizes),
    amplification_rank=maybe(st.integers(0, 99)),
    solver=names,
    products=st.just(0),
    decompositions=st.just(0),
    base_norm=sizes,
    update_norm=sizes,
    digest=names,
)
sources = st.builds(Source, name=names, revision=maybe(names), digest=maybe(names))
audits = st.builds(
    Audit,
    provenance=st.builds(
        Provenance,
        settings=st.dictionaries(
            names, st.builds(Setting, value=st.none() | names, origin=st.just("given")), max_size=2
        ),
        seed=maybe(st.integers()),
    ),
    base=sources,
    tuned=st.lists(sources, max_size=2).map(tuple),
    model_type=maybe(names),
    k=st.integers(0, 40),
    eps=st.lists(shares, max_size=2).map(tuple),
    matrices=st.lists(matrices, max_size=2).map(tuple),
    coverage=st.dictionaries(names, st.builds(Coverage, reason=names, matters=st.booleans()), max_size=3),
    notes=st.lists(names, max_size=2).map(tuple),
    seconds=sizes,
)


# Each example draws up to eight charts, at a tenth of a second each: too slow to shrink.
@settings(max_examples=12, deadline=None, phases=(Phase.generate,), suppress_health_check=list(HealthCheck))
@given(st.lists(audits, min_size=1, max_size=2))
def test_any_valid_audit_becomes_a_page(records):
    tree = read(report(records).html)
    assert not tree.all("script")
    for record in records:
        shown = record.matrices if record.kind_of_update != "none" else ()
        for name in [*record.coverage, *record.notes, *(matrix.name for matrix in shown)]:
            assert name in tree.text
    for carried in tree.all("data"):
        assert carried.text
        assert "nan" not in carried.text
