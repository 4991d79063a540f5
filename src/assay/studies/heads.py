"""Heads on a frozen body: its features, a linear classifier fitted to convergence, and which answers it gets right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from assay.behaviour.batches import Ids, by_length, padded

Floats = npt.NDArray[np.float64]
Tested = tuple[Floats, Sequence[int]]
HEADS = 8  # draws of a head's rows, from whose spread the part of the interval comes that they cause
_BATCH_TOKENS = 2048
_DRAWS_SEED = 0


def features(body: Any, texts: Sequence[Ids], last: bool = False) -> Floats:
    """Last hidden states where a classification head reads, (texts, width): an encoder's first token, a decoder's last.

    Args:
        body: a model without its head, in evaluation mode.
        texts: tokens, each with the special ones of the tokenizer.
        last: whether it is a decoder.
    """
    found = np.zeros((len(texts), body.config.hidden_size))
    for batch in by_length(texts, _BATCH_TOKENS):
        with torch.inference_mode():
            hidden = body(**padded([texts[i] for i in batch], body)).last_hidden_state
        places = [len(texts[i]) - 1 if last else 0 for i in batch]
        found[batch] = hidden[range(len(batch)), places].double().cpu().numpy()
    return found


@dataclass(frozen=True)
class LinearHead:
    """Logits `((x - centre) / spread) W + b`."""

    centre: Floats
    spread: Floats
    weights: Floats
    bias: Floats

    def choose(self, x: Floats) -> npt.NDArray[np.int64]:
        """The class of every row, the first of equals."""
        return np.asarray((((x - self.centre) / self.spread) @ self.weights + self.bias).argmax(axis=1))


def fit_head(x: Floats, classes: Sequence[int], count: int, penalty: float) -> LinearHead:
    """Multinomial logistic regression on standardised features: the minimum of a convex function, without randomness.

    `sum_i -log softmax(x_i W + b)[y_i] + penalty/2 ||W||_F^2`, b free.

    Args:
        x: features, (examples, width).
        classes: y, the class of every example.
        count: how many classes there are.
        penalty: above zero; 1/C of scikit-learn's LogisticRegression.

    Example:
        >>> head = fit_head(np.array([[-1.0], [1.0]]), [0, 1], 2, penalty=1.0)
        >>> head.choose(np.array([[-3.0], [0.5]])).tolist()
        [0, 1]
    """
    from scipy.optimize import minimize
    from scipy.special import logsumexp

    centre, spread = x.mean(axis=0), x.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    z, width = (x - centre) / spread, x.shape[1]
    wanted = np.eye(count)[np.asarray(classes)]

    def loss(flat: Floats) -> tuple[float, Floats]:
        weights, bias = flat[:-count].reshape(width, count), flat[-count:]
        logits = z @ weights + bias
        spoken = logits - logsumexp(logits, axis=1, keepdims=True)
        excess = np.exp(spoken) - wanted
        slope = np.concatenate([(z.T @ excess + penalty * weights).ravel(), excess.sum(axis=0)])
        return float(-(spoken * wanted).sum() + penalty / 2 * (weights**2).sum()), slope

    start = np.zeros((width + 1) * count)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 2_000, "gtol": 1e-4})
    return LinearHead(centre, spread, found.x[:-count].reshape(width, count), found.x[-count:])


def accuracies_of_heads(x: Floats, classes: Sequence[int], count: int, penalty: float, test: Tested) -> list[float]:
    """Accuracies of heads that are fitted to rows drawn anew, with replacement: what the choice of rows does.

    The draws are the same whatever the body, so that heads of two bodies can be paired.

    Args:
        x, classes, count, penalty: as for `fit_head`.
        test: features and classes of the test.
    """
    generator, found = np.random.default_rng(_DRAWS_SEED), []
    for _ in range(HEADS):
        rows = generator.integers(0, len(x), len(x))
        head = fit_head(x[rows], [classes[row] for row in rows], count, penalty)
        found.append(float((head.choose(test[0]) == np.array(test[1])).mean()))
    return found


def as_bits(right: npt.NDArray[np.bool_]) -> str:
    """One bit an example, the first one highest, as hexadecimal digits.

    Example:
        >>> as_bits(np.array([True, False, True, True]))
        'b'
    """
    return format(int("".join("1" if one else "0" for one in right), 2), "x")
