"""Judgements: quality of reward models, and win rate of an arm's replies over its base's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from assay.records import Scores
from assay.views import cells
from assay.views.blocks import JUDGED, Block, Note, Section, table
from assay.views.formats import share_range, signed_range
from assay.views.registry import Entry


def judged_sections(entries: Sequence[Entry[Scores]]) -> Iterator[Section]:
    """The section on judgements, if there are any."""
    blocks = [*_reward_models(entries), *_contests(entries)]
    if blocks:
        yield Section("What was judged?", "judged", tuple(blocks), JUDGED)


def _reward_models(entries: Sequence[Entry[Scores]]) -> Iterator[Block]:
    rows = [
        (
            entry.arm.key,
            f"{found.examples:,} {found.how} of {found.task.name}",
            cells.share(found.accuracy),
            cells.interval(found.interval, share_range),
            cells.signed(found.margin),
            cells.interval(found.margin_interval, signed_range),
            cells.number(found.log_loss),
            cells.number(found.calibration_error),
        )
        for entry in entries
        if (found := entry.record.reward) is not None
    ]
    if rows:
        columns = ["Reward model", "Of", "Judged rightly", "95% interval", "Mean margin", "95% interval"]
        yield table([*columns, "Log loss", "Calibration error"], rows)
        yield Note(
            "A margin is the score of the chosen text minus that of the rejected one (of a thumb: towards it). Chance "
            "is one half rightly, and a log loss of 0.693."
        )


def _contests(entries: Sequence[Entry[Scores]]) -> Iterator[Block]:
    found = [(entry.arm, entry.record.wins) for entry in entries if entry.record.wins is not None]
    if not found:
        return
    rows = [
        (
            arm.key,
            wins.judge.name,
            f"{wins.examples:,} of {wins.prompts.name}",
            cells.share(wins.rate),
            cells.interval(wins.interval, share_range),
            wins.ties,
            cells.several([cells.number(wins.base_reward), cells.number(wins.tuned_reward)]),
            cells.change(wins.difference, wins.difference_interval),
        )
        for arm, wins in found
    ]
    columns = ["Model", "Judge", "Prompts", "Replies judged better", "95% interval", "Ties", "Reward: base, tuned"]
    yield table([*columns, "Reward over base"], rows)
    said = ["One reply of each model to every prompt, drawn alike; equal rewards count half."]
    said += [f"{arm.name} gives one and the same reply to all prompts." for arm, wins in found if wins.constant]
    said += [
        f"{wins.truncated} prompts of {arm.name} lost their beginning to the window."
        for arm, wins in found
        if wins.truncated
    ]
    yield Note(" ".join(said))
