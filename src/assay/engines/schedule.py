"""Duration of a graph of work on so many slots: greedy list scheduling, as an engine does it."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Piece:
    """One piece of work.

    Attributes:
        seconds: how long it takes.
        after: positions of the pieces that must have ended before it starts; all lie before its own.
    """

    seconds: float
    after: tuple[int, ...] = ()


def makespan(pieces: Sequence[Piece], slots: int) -> float:
    """Seconds from the first start to the last end, when every free slot takes the first piece that can start.

    No order takes less than the longest chain of pieces, or than the sum over the slots; this one takes at most both
    together (Graham 1966).

    Args:
        pieces: in the order in which they are submitted.
        slots: pieces at once.

    Example:
        >>> makespan([Piece(2.0), Piece(2.0), Piece(3.0, after=(0, 1))], slots=2)
        5.0
    """
    waits = [len(piece.after) for piece in pieces]
    followers: dict[int, list[int]] = {}
    for position, piece in enumerate(pieces):
        for before in piece.after:
            followers.setdefault(before, []).append(position)
    ready = [position for position, count in enumerate(waits) if not count]
    running: list[tuple[float, int]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < slots:
            position = heapq.heappop(ready)
            heapq.heappush(running, (now + pieces[position].seconds, position))
        now, position = heapq.heappop(running)
        for follower in followers.get(position, ()):
            waits[follower] -= 1
            if not waits[follower]:
                heapq.heappush(ready, follower)
    return now


def longest_chain(pieces: Sequence[Piece]) -> float:
    """Seconds that no number of slots can go under.

    Example:
        >>> longest_chain([Piece(2.0), Piece(2.0), Piece(3.0, after=(0, 1))])
        5.0
    """
    ends: list[float] = []
    for piece in pieces:
        ends.append(piece.seconds + max((ends[before] for before in piece.after), default=0.0))
    return max(ends, default=0.0)
