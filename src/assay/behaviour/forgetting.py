"""Forgetting: loss on text, tuned minus base, paired by document; the token cross-entropy of causal models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch

from assay.behaviour.batches import Ids, by_length, padded, text_logits, width
from assay.behaviour.divergence import MOST_TOKENS
from assay.behaviour.intervals import RESAMPLES, Floats, weighted_mean
from assay.behaviour.passes import Pass, digest_of
from assay.data.examples import prompt_ids
from assay.data.tables import Reference, name_of, rows
from assay.errors import InputError
from assay.records import Forgetting, Source
from assay.records.scores import DocumentLoss


class Passage(Protocol):
    """A document as a kind of model reads it."""

    @property
    def tokens(self) -> int:
        """Tokens that are scored."""

    @property
    def bytes(self) -> int:
        """UTF-8 length of what is scored."""

    @property
    def unscored(self) -> int:
        """Tokens that nothing predicts."""

    def windows(self, length: int) -> list[Ids]:
        """The stretches of at most `length` tokens that are run at once."""


@dataclass(frozen=True)
class Reading:
    """Documents as they are run through a model.

    Attributes:
        asked: the pass; each of its answers is a number of nats, and belongs to a document.
        documents: how many there are.
        how: what the nats are of.
    """

    asked: Pass
    documents: int
    how: Literal["cross-entropy", "pseudo-loss"] = "cross-entropy"

    def nats(self, answers: Sequence[float]) -> Floats:
        """Nats of every document, summed in an order that is always the same."""
        found = np.zeros(self.documents)
        np.add.at(found, list(self.asked.owners), np.asarray(answers, dtype=float))
        return found


@dataclass(frozen=True)
class Document:
    """A text in tokens.

    Attributes:
        ids: its tokens, with the one that begins texts if the tokenizer adds it.
        bytes: UTF-8 length of what is scored: without the first token, unless that is the beginning of texts.
    """

    ids: Ids
    bytes: int

    @property
    def tokens(self) -> int:
        """Tokens that are scored: all but the first, which nothing predicts."""
        return len(self.ids) - 1

    @property
    def unscored(self) -> int:
        """The first token."""
        return 1

    def windows(self, length: int) -> list[Ids]:
        """The document in stretches of at most `length` tokens, each starting with the last token of the one before.

        So every token but the first is scored once, with at least one token of context.
        Source: lm-eval's `loglikelihood_rolling`, context length 1.
        """
        return [self.ids[start : start + length] for start in range(0, self.tokens, length - 1)]


def read_documents(path: Reference, tokenizer: Any, column: str = "text") -> tuple[Document, ...]:
    """The documents of a JSON Lines file or of a hub data set, one a row.

    Raises:
        SourceError, InputError: the file cannot be read, or has fewer than two documents of two tokens or more.
    """
    read = []
    for row in rows(path, column):
        text = row[column]
        ids = prompt_ids(tokenizer, text)
        if len(ids) < 2:
            continue
        begins = ids[0] == tokenizer.bos_token_id and tokenizer(text, add_special_tokens=False).input_ids[0] != ids[0]
        unscored = 0 if begins else _bytes_of(tokenizer, ids[0])
        read.append(Document(ids, len(text.encode()) - unscored))
    refuse_few(len(read), path)
    return tuple(read)


def _bytes_of(tokenizer: Any, token: int) -> int:
    """Bytes of a token; of a part of a character, which cannot be shown, a sign of its name stands for each."""
    text = tokenizer.decode([token])
    if "\ufffd" not in text:
        return len(text.encode())
    name = str(tokenizer.convert_ids_to_tokens(token))
    return 1 if name.startswith("<0x") else len(name)


def refuse_few(documents: int, path: Reference) -> None:
    """Refuse a text of which no interval could be given."""
    if documents < 2:
        raise InputError(
            f"{documents} document(s) of two tokens or more",
            wanted="at least two: the interval comes from their spread",
            where=name_of(path),
        )


def document_losses(model: Any, documents: Sequence[Document], window: int = 1024, batch_tokens: int = 1024) -> Floats:
    """Cross-entropy of every document, in nats summed over its scored tokens: `-sum_t log P(w_t | w_<t)`.

    Args:
        model: a causal language model in evaluation mode.
        documents: the text.
        window: longest stretch of tokens scored at once; a longer document is scored in several.
        batch_tokens: tokens in a batch, with padding; bounds the memory (logits are `batch_tokens x vocabulary`).

    Returns:
        One number a document.
    """
    reading = causal_reading(documents, window, batch_tokens)
    return reading.nats(reading.asked.answers(model))


def causal_reading(documents: Sequence[Document], window: int, batch_tokens: int, what: str = "text") -> Reading:
    """Documents for a causal model: one answer a window."""
    windows = [(position, ids) for position, document in enumerate(documents) for ids in document.windows(window)]
    sequences = [ids for _, ids in windows]
    batches = tuple(tuple(batch) for batch in by_length(sequences, batch_tokens))
    asked = Pass(
        what=what,
        head="causal-lm",
        digest=digest_of("cross-entropy", sequences, batches),
        batches=batches,
        costs=tuple(width(sequences, batch) for batch in batches),
        ask=lambda model, batch: [float(nats) for nats in _summed([sequences[i] for i in batch], model)],
        owners=tuple(position for position, _ in windows),
        compared=_every_nth(windows),
    )
    return Reading(asked, len(documents))


def _every_nth(windows: Sequence[tuple[int, Ids]]) -> tuple[range, ...]:
    """Every n-th scored position of the whole text, n as small as the bound on their number allows.

    So every document of n tokens or more counts, and the interval, which is over documents, hardly widens with n.
    """
    scored = [len(ids) - 1 for _, ids in windows]
    n = -(-sum(scored) // MOST_TOKENS)
    before = np.cumsum([0, *scored])[:-1]
    return tuple(range(-int(first) % n, count, n) for first, count in zip(before, scored, strict=True))


def _summed(sequences: Sequence[Ids], model: Any) -> Floats:
    """Nats of every sequence of a batch, its first token left out."""
    inputs = padded(sequences, model)
    with torch.inference_mode():
        logits = text_logits(model, inputs)[:, :-1].float()
        targets = inputs["input_ids"][:, 1:]
        each = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        scored = each.view_as(targets).double() * inputs["attention_mask"][:, 1:]
    return np.asarray(scored.sum(dim=1).cpu().numpy())


def forgetting(
    text: Source,
    documents: Sequence[Passage],
    base: Floats,
    tuned: Floats,
    window: int = 1024,
    seed: int = 0,
    how: Literal["cross-entropy", "pseudo-loss"] = "cross-entropy",
    vocabulary: int | None = None,
) -> Forgetting:
    """Set the losses of two models on the same documents side by side.

    `mean = sum_d (tuned_d - base_d) / sum_d tokens_d`, with a 95 % bootstrap interval over documents.

    Args:
        text: what the documents are.
        documents: the documents, in the order of the losses.
        base, tuned: from `document_losses`, nats a document.
        window: as it was given there.
        seed: of the bootstrap.
        how: what the losses are.
        vocabulary: tokens that the models tell apart; None where that is not known.
    """
    tokens = np.array([document.tokens for document in documents], dtype=float)
    total, total_bytes = int(tokens.sum()), sum(document.bytes for document in documents)
    mean, interval = weighted_mean(tuned - base, tokens, seed)
    pieces = [len(document.windows(window)) for document in documents]
    per_bit = total_bytes * math.log(2)
    return Forgetting(
        how=how,
        text=text,
        mean=mean,
        interval=interval,
        document_mean=float(((tuned - base) / tokens).mean()),
        base_loss=float(base.sum()) / total,
        tuned_loss=float(tuned.sum()) / total,
        base_bits_per_byte=float(base.sum()) / per_bit,
        tuned_bits_per_byte=float(tuned.sum()) / per_bit,
        tokens=total,
        bytes=total_bytes,
        unscored_tokens=sum(document.unscored for document in documents),
        window=window,
        windows=sum(pieces),
        divided=sum(count > 1 for count in pieces),
        vocabulary=vocabulary,
        documents=tuple(
            DocumentLoss(tokens=document.tokens, bytes=document.bytes, base=float(one), tuned=float(other))
            for document, one, other in zip(documents, base, tuned, strict=True)
        ),
        resamples=RESAMPLES,
        seed=seed,
    )
