"""The record of subspace similarity: how far the leading directions of two updates are the same."""

from __future__ import annotations

from typing import ClassVar, Literal

from assay.records.record import Part, Record, Source

Grid = tuple[tuple[float, ...], ...]


class MatrixSimilarity(Part):
    """Two updates of one matrix.

    Attributes:
        name, role, layer, shape: as in an audit.
        ranks: of the two updates.
        sizes: how many leading directions of each are taken, no more than the lower rank.
        left, right: `phi(i, j)` for every two sizes, on either side: i of the one (rows), j of the other.
    """

    name: str
    role: str
    layer: int | None
    shape: tuple[int, int]
    ranks: tuple[int, int]
    sizes: tuple[int, ...]
    left: Grid
    right: Grid

    def by_chance(self, side: Literal["left", "right"], i: int, j: int) -> float:
        """The mean similarity of two random subspaces: `max(i, j)/n` of vectors of n numbers."""
        return max(i, j) / self.shape[0 if side == "left" else 1]


class Similarity(Record):
    """Subspace similarity of two updates of one base: of two adapters, two ranks, or two seeds.

    `phi(i, j) = ||U_i^T V_j||_F^2 / min(i, j)`, U_i and V_j the i and j leading singular vectors of the two updates: 1
    where one space holds the other, 0 where they are orthogonal.

    Attributes:
        base: what both were tuned from; one, other: the two models.
        sizes: how many leading directions were asked about.
        matrices: those that both change.
        only_one, only_other: matrices that only one of them changes.
        seconds: wall time.

    Source: arXiv 2106.09685, section 7.2.
    """

    KIND: ClassVar[str] = "similarity"

    kind: Literal["similarity"] = "similarity"
    schema_version: Literal[1] = 1
    base: Source
    one: Source
    other: Source
    sizes: tuple[int, ...]
    matrices: tuple[MatrixSimilarity, ...]
    only_one: int
    only_other: int
    seconds: float

    def mean(
        self, side: Literal["left", "right"], i: int, j: int, role: str | None = None
    ) -> tuple[float, float] | None:
        """Mean phi over the matrices (of a role) whose updates have so many directions, and by chance; None if none."""
        found = [
            (grid[matrix.sizes.index(i)][matrix.sizes.index(j)], matrix.by_chance(side, i, j))
            for matrix in self.matrices
            if {i, j} <= set(matrix.sizes) and role in (None, matrix.role)
            for grid in ({"left": matrix.left, "right": matrix.right}[side],)
        ]
        if not found:
            return None
        values, chance = zip(*found, strict=True)
        return sum(values) / len(found), sum(chance) / len(found)
