"""Scores on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from assay.records import Diversity, Forgetting, HarnessScore, Interval, RewardScore, Scores, TaskScore, WinRate
from assay.records.record import Part
from assay.reports.text.terminal import lines

_Estimated = tuple[float | None, Interval | None] | None


def print_scores(record: Scores) -> None:
    """Print what was learned and what was lost, each with its interval."""
    text = [f"{record.tuned.name} against {record.base.name}"]
    text += _learned(record.task) if record.task is not None else []
    text += _lost(record.forgetting) if record.forgetting is not None else []
    text += _judging(record.reward) if record.reward is not None else []
    text += _won(record.wins) if record.wins is not None else []
    text += _said(record.diversity) if record.diversity is not None else []
    text += [line for one in record.harness for line in _harness(one)]
    lines(text + [f"Note: {note}" for note in record.notes])


def print_each(names: Sequence[str], records: Sequence[Scores]) -> None:
    """Print several models against one base, a line each: their scores beside it, with intervals."""
    columns: dict[str, list[_Estimated]] = {
        "accuracy": [_of(one.task, "tuned_accuracy", "tuned_interval") for one in records],
        "gain": [_of(one.task, "difference", "difference_interval") for one in records],
        "forgetting": [_of(one.forgetting, "mean", "interval") for one in records],
        "judges rightly": [_of(one.reward, "accuracy", "interval") for one in records],
        "wins": [_of(one.wins, "rate", "interval") for one in records],
    }
    shown = {name: found for name, found in columns.items() if any(found)}
    table = [["", *shown]]
    for row, name in enumerate(names):
        cells = (found[row] for found in shown.values())
        table.append([name, *(_cell(*cell) if cell else "" for cell in cells)])
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    text = [f"against {records[0].base.name}"]
    text += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    notes = [f"Note on {name}: {note}" for name, one in zip(names, records, strict=True) for note in one.notes]
    lines(text + [line for one in records for score in one.harness for line in _harness(score)] + notes)


def _of(part: Part | None, value: str, interval: str) -> _Estimated:
    """A number of a part of a record with its interval; None without that part."""
    return None if part is None else (getattr(part, value), getattr(part, interval))


def _cell(value: float | None, interval: Interval | None) -> str:
    """A number with its interval; a dash where the base has nothing beside it."""
    if value is None or interval is None:
        return "-"
    return f"{value:+.4f} ({interval[0]:+.4f} to {interval[1]:+.4f})"


def _learned(task: TaskScore) -> list[str]:
    low, high = task.tuned_interval
    text = [f"accuracy on {task.task.name} ({task.how}): {task.tuned_accuracy:.3f} ({low:.3f} to {high:.3f})"]
    if task.difference is not None and task.difference_interval is not None:
        low, high = task.difference_interval
        text.append(
            f"  against the base's {task.base_accuracy:.3f}: {task.difference:+.3f} ({low:+.3f} to {high:+.3f}), "
            f"McNemar p = {task.p_value:.3g}, {task.examples} examples"
        )
    if task.max_tokens is not None:
        text.append(f"  replies without an answer: {task.tuned_unanswered}, of the base {task.base_unanswered}")
    return text


def _lost(lost: Forgetting) -> list[str]:
    low, high = lost.interval
    return [
        f"forgetting on {lost.text.name}: {lost.mean:+.4f} nats a token ({low:+.4f} to {high:+.4f})",
        f"  {'pseudo-' if lost.how == 'pseudo-loss' else ''}loss {lost.base_loss:.4f} to {lost.tuned_loss:.4f}, "
        f"{lost.base_bits_per_byte:.4f} to {lost.tuned_bits_per_byte:.4f} bits a byte, {lost.tokens:,} tokens in "
        f"{len(lost.documents)} documents",
    ]


def _judging(judged: RewardScore) -> list[str]:
    (low, high), (least, most) = judged.interval, judged.margin_interval
    return [
        f"{judged.how} of {judged.task.name} judged rightly: {judged.accuracy:.3f} ({low:.3f} to {high:.3f}), "
        f"{judged.examples} examples",
        f"  mean margin {judged.margin:+.3f} ({least:+.3f} to {most:+.3f}), log loss {judged.log_loss:.3f}, "
        f"calibration error {judged.calibration_error:.3f}",
    ]


def _won(wins: WinRate) -> list[str]:
    low, high = wins.interval
    text = [
        f"replies to {wins.prompts.name} judged better by {wins.judge.name}: {wins.rate:.3f} ({low:.3f} to "
        f"{high:.3f}), {wins.examples} prompts, {wins.ties} ties",
        f"  mean reward {wins.base_reward:.3f} to {wins.tuned_reward:.3f}",
    ]
    text += ["  the tuned model gives one and the same reply to all prompts"] if wins.constant else []
    return text + ([f"  {wins.truncated} prompts lost their beginning to the window"] if wins.truncated else [])


def _said(diversity: Diversity) -> list[str]:
    low, high = diversity.interval
    text = [
        f"different replies of {diversity.samples} to each of {len(diversity.each)} prompts of "
        f"{diversity.prompts.name}: {diversity.base_unique:.2f} to {diversity.tuned_unique:.2f}, "
        f"{diversity.difference:+.2f} ({low:+.2f} to {high:+.2f})"
    ]
    if diversity.base_passed is not None:
        text.append(f"  of all replies right: {diversity.base_passed:.3f} to {diversity.tuned_passed:.3f}")
    return text


def _harness(one: HarnessScore) -> list[str]:
    low, high = one.interval
    test = "" if one.p_value is None else f", McNemar p = {one.p_value:.3g}"
    return [
        f"{one.task}, {one.metric}: {one.base:.3f} to {one.tuned:.3f}, {one.difference:+.3f} "
        f"({low:+.3f} to {high:+.3f}){test}, {len(one.base_values)} documents"
    ]
