"""What the README says was found: sentences that hold only while the verdicts behind them do."""

from __future__ import annotations

from dataclasses import dataclass

from .verdict import CANT_TELL, Claim, Finding, Word


@dataclass(frozen=True)
class Said:
    """What a sentence rests on: a claim's words, words of the finding, and the verdict that it must have."""

    claim: str
    what: str
    verdict: Word


INTRUDERS = "LoRA leaves intruder dimensions and full fine-tuning none, at equal score"
LEARNS_LESS = "LoRA learns less than full fine-tuning"
FORGETS_LESS = "LoRA forgets less than full fine-tuning"
FIXED_RATE = "High rank needs rsLoRA's scale: with it, and alpha and rate fixed, more is learned at high rank"
SENTENCES: tuple[tuple[str, tuple[Said, ...]], ...] = (
    (
        "A score does not show what was done to the weights: at an equal one, at tuned rates, LoRA of rank 1 left {} "
        "more intruder dimensions than full fine-tuning, which left none, and its update was {} as large; in what they "
        "learn they can't be told apart ({} for rank 1, {} for rank 8; three seeds).",
        (
            Said(INTRUDERS, "300 steps: LoRA r 1 less full", "agrees"),
            Said("LoRA's update is larger than full tuning's", "300 steps: LoRA r 1 over full", "agrees"),
            Said(LEARNS_LESS, "300 steps: LoRA r 1", CANT_TELL),
            Said(LEARNS_LESS, "300 steps: LoRA r 8", CANT_TELL),
        ),
    ),
    (
        "Try a lower rate before another method: LoRA of rank 8 at 3e-4 forgot {} beside full fine-tuning at 3e-5, "
        "whose score can't be told from its own, and {} at 1e-3; beside full at 1e-4, which learned more, one can't "
        "tell ({}; three seeds). Over ranks and rates the size of the update goes with forgetting (Spearman {}).",
        (
            Said(FORGETS_LESS, "r 8 at 0.0003 less full at 3e-05", "disagrees"),
            Said(FORGETS_LESS, "r 8 at 0.001 less full at 3e-05", "disagrees"),
            Said(FORGETS_LESS, "64 steps: LoRA r 8 at 0.0003 less full at 0.0001", CANT_TELL),
            Said("The size of the update goes with forgetting", "learning rates: forgetting", "agrees"),
        ),
    ),
    (
        "Where alpha and rate are fixed, take rsLoRA's scale at high rank ({} at rank 256); for tasks in a row, at "
        "rates that were not tuned, rank 1 lost more of the earlier tasks than rank 8 ({}).",
        (
            Said(FIXED_RATE, "less LoRA r 256", "agrees"),
            Said("With tasks in a row LoRA of low rank forgets more", "less LoRA r 8", "agrees"),
        ),
    ),
    (
        "Do not count on LoRA to save memory before it is measured: a reward model of 135 million parameters took {} "
        "of full fine-tuning's at {} the speed, a classifier of 23 million {}, which shows no saving.",
        (
            Said("A reward model with LoRA takes less memory than full tuning", "", "agrees"),
            Said("A reward model with LoRA trains faster", "", "agrees"),
            Said("LoRA takes less memory than full tuning in a classifier of 23 million parameters too", "", CANT_TELL),
        ),
    ),
)


def sentences(findings: dict[Claim, list[Finding]]) -> str:
    """The sentences with their figures.

    Raises:
        SystemExit: a sentence no longer follows from the records.
    """
    by_words = {claim.words: claim for claim in findings}
    texts = [text.format(*(_figure(by_words[one.claim], one, findings) for one in said)) for text, said in SENTENCES]
    return "\n".join(f"- {text}" for text in texts)


def _figure(claim: Claim, said: Said, findings: dict[Claim, list[Finding]]) -> str:
    """The figure of the one finding that is meant."""
    found = [one for one in findings[claim] if said.what in one.what]
    if len(found) != 1 or claim.verdict(found[0]) != said.verdict:
        raise SystemExit(f"README: {said.claim!r} ({said.what}) is no longer {said.verdict!r}; write its sentence anew")
    return claim.written(found[0].found)
