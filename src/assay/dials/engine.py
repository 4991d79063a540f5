"""One engine for weights along a path: a loaded model is set to a point, asked, and set to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from assay.behaviour.questions import Answers, Questions
from assay.dials.matrices import Tell
from assay.dials.paths import Matrix, Point, left_of
from assay.measures.chance import named_generator
from assay.models.deltas import SetWeights, refuse_other_parameters
from assay.models.loading import Place, load, load_merged
from assay.weights.checkpoints import open_checkpoint
from assay.weights.updates import AbstractPair


@dataclass
class Engine:
    """A tuned model with its base's values beside it, and what both answer.

    Attributes:
        questions: what is asked.
        weights: the loaded model.
        base, tuned: what the two models answer; nothing of a base that has no head for it.
        seed: of random vectors.
    """

    questions: Questions
    weights: SetWeights
    base: Answers
    tuned: Answers = field(default_factory=Answers)
    seed: int = 0

    @classmethod
    def of(
        cls,
        home: Place,
        place: Place,
        questions: Questions,
        pairs: Sequence[AbstractPair],
        tell: Tell,
        *,
        whole: bool,
        device: str = "cpu",
        seed: int = 0,
    ) -> Engine:
        """Load both models, and ask the base.

        Args:
            home, place: where the base and the tuned model lie.
            questions: what they are asked.
            pairs: the matrices of the update.
            tell: called with what is being done.
            whole: whether the base must be reached: every parameter is then one of both models.
            device, seed: where the models are put; of random vectors.

        Raises:
            MismatchError: the tuned model is not the base with other values of its parameters, or a matrix of its files
                is no parameter by itself.
            AdapterError, CheckpointError: as for `load_merged`.
        """
        model = load_merged(place, questions.head, questions.classes, device)
        weights = SetWeights(model, pairs, place.source.name)
        if questions.classes:  # the base of a classifier has a body, and no head for the classes
            weights.take_stored_base(open_checkpoint(home.folder))
            return cls(questions, weights, Answers(), seed=seed)
        base = load(home, "causal-lm", device=device)
        if whole:
            refuse_other_parameters(dict(base.named_parameters()), weights.tuned, place.source.name)
        weights.take_base(base)
        tell("reading the base")
        return cls(questions, weights, questions.ask(base), seed=seed)

    @property
    def without_base(self) -> list[str]:
        """Parameters that the base has not, which stay as they were tuned on every path."""
        return sorted(self.weights.tuned.keys() - self.weights.base.keys())

    def read(self, points: Sequence[Point], matrices: Sequence[Matrix], tell: Tell) -> dict[Point, Answers]:
        """Answers of the model at every point; where nothing is changed, those of the tuned model."""
        tell("reading the tuned model")
        self.tuned = self.questions.ask(self.weights.model)
        by_name = {matrix.entry.name: matrix for matrix in matrices}
        found = {}
        for point in points:
            tell(f"reading at {point.path} {point.x:g}")
            found[point] = self.questions.ask(self.weights.model) if self._set(point, by_name) else self.tuned
        return found

    def _set(self, point: Point, by_name: dict[str, Matrix]) -> bool:
        """Set the model to a point; says whether anything is other than it was tuned."""
        weights = self.weights

        def value(name: str) -> Tensor | None:
            base, tuned, entry = weights.base.get(name), weights.tuned[name], weights.pairs[name]
            if base is None or torch.equal(base, tuned):
                return None
            if point.path == "size":  # of all that was tuned, not of matrices alone
                return None if point.x == 1 else base + point.x * (tuned - base) if point.x else base
            if entry is None:
                return self._random(name, base, tuned, point.x) if point.path == "random-update" else None
            update = entry.load(torch.float32, torch.device("cpu")).update
            left = left_of(by_name[entry.name], update, point)
            return None if left is update else base + weights.as_stored(name, left)

        return weights.set(value)

    def _random(self, name: str, base: Tensor, tuned: Tensor, x: float) -> Tensor:
        """A vector's random control: of the norm of what was tuned of it."""
        drawn = torch.randn(base.shape, generator=named_generator(name, self.seed)).to(base)
        norm = torch.linalg.vector_norm((tuned - base).double()) / torch.linalg.vector_norm(drawn.double())
        value: Tensor = base + x * norm.to(base) * drawn
        return value
