"""The time of a graph of work on so many slots, against what no schedule can beat and what this one keeps to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from assay.engines.schedule import Piece, longest_chain, makespan


@st.composite
def graphs(draw: st.DrawFn) -> list[Piece]:
    pieces: list[Piece] = []
    for position in range(draw(st.integers(1, 12))):
        after = draw(st.sets(st.integers(0, position - 1), max_size=3)) if position else set()
        pieces.append(Piece(draw(st.integers(1, 9)), tuple(sorted(after))))
    return pieces


@given(graphs(), st.integers(1, 6))
def test_no_schedule_is_shorter_than_its_bounds_and_this_one_keeps_graham_s(pieces: list[Piece], slots: int) -> None:
    whole, chain = sum(piece.seconds for piece in pieces), longest_chain(pieces)
    found = makespan(pieces, slots)
    assert max(chain, whole / slots) - 1e-9 <= found <= whole / slots + chain + 1e-9


@given(graphs())
def test_one_slot_takes_the_sum_and_many_take_the_longest_chain(pieces: list[Piece]) -> None:
    assert makespan(pieces, 1) == sum(piece.seconds for piece in pieces)
    assert makespan(pieces, len(pieces)) == longest_chain(pieces)
