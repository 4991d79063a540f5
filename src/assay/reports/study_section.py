"""The sections on studies: what became of their runs; tasks in a row, curves, correlations."""

from __future__ import annotations

import statistics

from assay.records import Continual, Correlation, Curves, Record, Study
from assay.records.continual import average_accuracy, backward_transfer
from assay.records.study import Stage, Tuned
from assay.reports.formats import (
    MISSING,
    number,
    plural,
    points,
    points_range,
    share,
    share_range,
    signed,
    signed_range,
)
from assay.reports.section import Section
from assay.reports.study_charts import against_measure, learning_forgetting, r_matrix

NOT_RUN = "not run"


def study_section(record: Record, place: int) -> Section:
    """The section of one record; `place` numbers its pictures."""
    if isinstance(record, Study):
        return _study(record)
    if isinstance(record, Continual):
        return _continual(record, place)
    if isinstance(record, Correlation):
        return _correlation(record, place)
    if isinstance(record, Curves):
        return _curves(record, place)
    raise TypeError(type(record))


def _study(record: Study) -> Section:
    stages: tuple[Stage, ...] = ("train", "audit", "score")
    done = sum(set(run.stages.values()) <= {"done", "not applicable"} for run in record.runs)
    rows = tuple(
        (
            run.method,
            run.task,
            str(run.arm.get("method.rank", MISSING)),
            number(run.arm["method.lr"]),
            f"{run.steps:,}",
            str(run.seed),
            *(run.stages.get(stage, MISSING) for stage in stages),
        )
        for run in record.runs
    )
    failed = dict.fromkeys(f"{run.method} on {run.task} failed: {run.error}" for run in record.failed if run.error)
    return Section(
        f"{record.plan}: {plural(len(record.runs), 'run')}",
        (f"{done} of {len(record.runs)} done, {len(record.failed)} failed.", *map(_choice, record.tuned), *failed),
        ("Method", "Task", "Rank", "Rate", "Steps", "Seed", *(stage.capitalize() for stage in stages)),
        rows,
        (),
        "A run that is not done goes on where it stood when the plan is run again.",
    )


def _choice(tuned: Tuned) -> str:
    """How a rate was chosen."""
    if tuned.lr is None:
        return f"{tuned.name} on {tuned.task}: no rate is chosen yet."
    edge = ", the last that was allowed" if tuned.at_edge else ""
    trials = ", ".join(f"{number(trial.loss)} at {number(trial.lr)}" for trial in tuned.trials)
    return f"{tuned.name} on {tuned.task}: rate {number(tuned.lr)}{edge}. Validation loss {trials}."


def _continual(record: Continual, place: int) -> Section:
    rows, words, pictures = [], [], []
    for number_, (name, sequences) in enumerate(record.arms().items(), start=1):
        done = [one for one in sequences if record.finished(one)]
        if done:
            moved = [found for one in done if (found := backward_transfer(one)) is not None]
            average = statistics.fmean(average_accuracy(one) for one in done)
            transfer = f", backward transfer {points(statistics.fmean(m for m, _ in moved))} points" if moved else ""
            words.append(f"{name}: average accuracy {share(average)}{transfer} ({plural(len(done), 'seed')}).")
        for one in sequences:
            last = one.stages[-1] if one.stages else None
            back = backward_transfer(one) if last else None
            rows.append(
                (
                    name,
                    str(one.seed),
                    f"{len(one.stages)} of {len(record.tasks)}",
                    NOT_RUN if last is None else share(average_accuracy(one)),
                    NOT_RUN if back is None else f"{points(back[0])} ({points_range(back[1])})",
                    NOT_RUN if last is None else f"{last.count:,} of {last.directions:,}",
                    NOT_RUN if last is None else share(last.energy_share),
                    NOT_RUN if last is None else number(last.relative_norm),
                )
            )
        if any(one.stages for one in sequences):
            pictures.append(r_matrix(record, number_ + 100 * (place - 1), name, sequences))
    columns = ("Arm", "Seed", "Tasks", "Average accuracy", "Backward transfer, points (95%)", "Intruders")
    return Section(
        f"{record.base.name}: {len(record.tasks)} tasks in a row",
        (*words, *(f"{one.name}, seed {one.seed} ended: {one.error}" for one in record.failed)),
        (*columns, "Energy share", "Relative norm"),
        tuple(rows),
        tuple(pictures),
        "After each task its update was merged, and for every task a new linear head was fitted to the frozen body. "
        "Intruders, energy share and norm are of the body after the last task that is done, against the original base. "
        "The interval of the backward transfer is over the tests’ examples, not over seeds.",
    )


def _correlation(record: Correlation, place: int) -> Section:
    rows, words = [], []
    for one in record.coefficients:
        title = one.measure.replace("_", " ")
        value = f"none: {one.why}" if one.rho is None else signed(one.rho)
        ends = "–" if one.interval is None else signed_range(one.interval)
        at_norm = "–"
        if one.given_norm is not None:
            at_norm = signed(one.given_norm)
            if one.given_norm_interval is not None:
                at_norm += f" ({signed_range(one.given_norm_interval)})"
        rows.append((title, one.among, str(one.runs), value, ends, at_norm))
        if one.among == "all":
            words.append(f"Forgetting and {title}: {value}{'' if one.interval is None else f' ({ends})'}.")
    left = f" {plural(record.left_out, 'run')} without audit or score left out." if record.left_out else ""
    return Section(
        f"{record.base.name}: forgetting over {plural(len(record.runs), 'run')}",
        tuple(words),
        ("With", "Among", "Runs", "Spearman", "95% interval", "At equal norm"),
        tuple(rows),
        tuple(against_measure(record, one, place) for one in record.overall),
        f"A correlation, no cause: learning rate and duration move all of these at once. Forgetting on "
        f"{record.text.name}; intruders at k {record.k}, eps {record.eps[0]:g}, {record.side} side.{left}",
    )


def _curves(record: Curves, place: int) -> Section:
    rows = tuple(
        (
            line.name,
            str(point.steps),
            "snapshot" if point.snapshot else "end of a run",
            ", ".join(map(str, point.seeds)),
            f"{share(point.score)} ({share_range(point.score_interval)})",
            f"{signed(point.forgetting)} ({signed_range(point.interval)})",
        )
        for line in record.lines
        for point in line.points
    )
    words = []
    for one in record.matched:
        if one.overlap is None or one.difference is None:
            words.append(f"{one.one} and {one.other}: the score ranges do not overlap; nothing is compared.")
            continue
        said = f"At {share(one.score)}, {one.one} against {one.other}: {signed(one.difference)} nats a token"
        if one.interval is None:
            words.append(f"{said}; no interval, both reach it in {share(one.reached)} of the resamples.")
        else:
            shown = "" if one.interval[0] > 0 or one.interval[1] < 0 else ": no difference shown"
            words.append(f"{said} ({signed_range(one.interval)}){shown}.")
    return Section(
        f"{record.base.name}: learning against forgetting",
        tuple(words),
        ("Line", "Steps", "What", "Seeds", "Task score (95%)", "Forgetting (95%)"),
        rows,
        (learning_forgetting(record, place),),
        f"Task {record.task.name}, text {record.text.name}. Methods are compared at equal task score, interpolated "
        "between durations. Intervals are over examples and documents, seeds averaged.",
    )
