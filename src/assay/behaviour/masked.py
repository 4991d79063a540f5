"""The pseudo-loss of masked models on text: every token masked in turn, predicted from all others of its window."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from assay.behaviour.batches import Ids, by_length, padded, width
from assay.behaviour.forgetting import Reading, refuse_few
from assay.behaviour.passes import Pass, digest_of
from assay.data.examples import answer_ids, text_ids
from assay.data.tables import Reference, rows
from assay.errors import InputError
from assay.models.wrapped import inner_model


@dataclass(frozen=True)
class MaskedDocument:
    """A text in tokens, as a masked model reads it.

    Attributes:
        ids: its tokens, all of which are scored.
        bytes: its UTF-8 length.
        before, after: the special tokens around every window.
    """

    ids: Ids
    bytes: int
    before: Ids = ()
    after: Ids = ()

    @property
    def tokens(self) -> int:
        """Tokens that are scored: all."""
        return len(self.ids)

    @property
    def unscored(self) -> int:
        """None: every token has the others to be predicted from."""
        return 0

    def windows(self, length: int) -> list[Ids]:
        """The document in as few stretches as fit, of near-equal length, each between its special tokens.

        They do not overlap, so every token is scored once; its context is the stretch that it is in.
        """
        return [(*self.before, *piece, *self.after) for piece in self._pieces(length)]

    def _pieces(self, length: int) -> list[Ids]:
        room = length - len(self.before) - len(self.after)
        count = math.ceil(len(self.ids) / room)
        ends = [round(len(self.ids) * i / count) for i in range(count + 1)]
        return [self.ids[start:end] for start, end in itertools.pairwise(ends)]

    def places(self, length: int) -> list[list[int]]:
        """Places that are masked in turn, window by window."""
        return [list(range(len(self.before), len(window) - len(self.after))) for window in self.windows(length)]


def read_masked_documents(path: Reference, tokenizer: Any, column: str = "text") -> tuple[MaskedDocument, ...]:
    """The documents of a JSON Lines file or of a hub data set, one a row.

    Raises:
        SourceError, InputError: as `read_documents`; or the tokenizer has no token for a mask.
    """
    if tokenizer.mask_token_id is None:
        raise InputError("the tokenizer of the masked model has no mask token", wanted="one, such as [MASK]")
    read = []
    for row in rows(path, column):
        ids, whole = answer_ids(tokenizer, row[column]), text_ids(tokenizer, row[column])
        if len(ids) < 2:
            continue
        start = next(i for i in range(len(whole) - len(ids) + 1) if whole[i : i + len(ids)] == ids)
        read.append(MaskedDocument(ids, len(row[column].encode()), whole[:start], whole[start + len(ids) :]))
    refuse_few(len(read), path)
    return tuple(read)


def masked_reading(
    documents: Sequence[MaskedDocument], mask: int, window: int, batch_tokens: int, what: str = "text"
) -> Reading:
    """Documents for a masked model: one answer a token, `-log P(w_t | all other tokens of the window)`.

    The sum over a document is its pseudo-loss, and divided by its tokens the mean that the papers report. Each token
    costs one run of its window: of n tokens n runs, so that a shorter window is quicker and gives less context.

    Args:
        documents: the text.
        mask: the token that stands for a masked one.
        window: longest stretch at once, with its special tokens.
        batch_tokens: tokens in a batch, with padding; maskings are batched like any other sequences.
        what: what is read, for whoever waits.

    Source: Salazar et al. 2020, arXiv 1910.14659, equation 2; arXiv 2410.21228v3, section 5.
    """
    maskings = [
        (position, ids, place)
        for position, document in enumerate(documents)
        for ids, places in zip(document.windows(window), document.places(window), strict=True)
        for place in places
    ]
    sequences = [ids for _, ids, _ in maskings]
    places = [place for _, _, place in maskings]
    batches = tuple(tuple(batch) for batch in by_length(sequences, batch_tokens))
    asked = Pass(
        what=what,
        head="masked-lm",
        digest=digest_of("pseudo-loss", mask, sequences, places, batches),
        batches=batches,
        costs=tuple(width(sequences, batch) for batch in batches),
        ask=lambda model, batch: _nats(model, [sequences[i] for i in batch], [places[i] for i in batch], mask),
        owners=tuple(position for position, _, _ in maskings),
    )
    return Reading(asked, len(documents), "pseudo-loss")


def _nats(model: Any, sequences: Sequence[Ids], places: Sequence[int], mask: int) -> list[float]:
    """`-log P` of the token at one place of each sequence, masked there."""
    inputs = padded(sequences, model)
    rows, at = torch.arange(len(sequences)), torch.tensor(places)
    targets = inputs["input_ids"][rows, at]
    inputs["input_ids"][rows, at] = mask
    with torch.inference_mode():
        logits = _logits_at(model, inputs, rows, at).float()
        spoken = torch.nn.functional.cross_entropy(logits, targets, reduction="none").double()
    return [float(nats) for nats in spoken.cpu()]


def _logits_at(model: Any, inputs: dict[str, torch.Tensor], rows: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Logits at one place of each row: where the model lets, only these go through the vocabulary, half of the work."""
    inner = inner_model(model)
    vocabulary = inner.get_output_embeddings()
    hook = (
        vocabulary.register_forward_pre_hook(lambda _, given: (given[0][rows, at],)) if vocabulary is not None else None
    )
    try:
        logits: torch.Tensor = model(**inputs).logits
    finally:
        if hook is not None:
            hook.remove()
    return logits if logits.ndim == 2 else logits[rows, at]
