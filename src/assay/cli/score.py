"""`assay score`: what was learned and what was lost."""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from assay.cli.arguments import AsJson, Device, MaxHours, Models, OtherBase, base_and_tuned, columns_given
from assay.cli.output import finish, progress_bar, say
from assay.cli.program import command
from assay.errors import SettingError
from assay.settings import deadline

_KEPT = ".answers"  # beside the record


@command(
    "assay score base adapter --text prose.jsonl --task headlines.jsonl -o scores.json",
    "assay score base checkpoint-100 checkpoint-200 --task held-out.csv -o scores",
    "assay score base adapter --prompts questions.jsonl --samples 4 --max-tokens 8",
    writes="scores",
)
def score(
    models: Models,
    text: Annotated[
        str | None,
        typer.Option(help="A file or hub data set with a column text: what was lost on it."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help="What was learned: the columns say the kind; see assay ls tasks. Pairs, for a reward model."),
    ] = None,
    how: Annotated[str | None, typer.Option(help="The kind of task, where the columns do not say it.")] = None,
    prompts: Annotated[
        str | None, typer.Option(help="Prompts that are answered several times: how many different replies.")
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(help="What judges one reply of each model to them: a reward model, or module:function."),
    ] = None,
    samples: Annotated[int, typer.Option(help="Replies to each of these.")] = 50,
    temperature: Annotated[float, typer.Option(help="At which they are drawn.")] = 1.0,
    max_tokens: Annotated[int, typer.Option(help="Longest generated reply.")] = 256,
    chat: Annotated[bool, typer.Option("--chat", help="Put prompts into the chat template.")] = False,
    column: Annotated[
        list[str] | None,
        typer.Option(help="The files' own name of a column, such as answer=target; repeatable."),
    ] = None,
    harness: Annotated[
        list[str] | None, typer.Option(help="A task of lm-eval, by name or as a YAML file; repeatable.")
    ] = None,
    harness_code: Annotated[
        list[str] | None,
        typer.Option(help="A Python file that such a file may run (!function); repeatable. No other is run."),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Documents of each of these.")] = None,
    window: Annotated[int, typer.Option(help="Tokens at once; less where the model takes less.")] = 1024,
    batch_tokens: Annotated[int, typer.Option(help="Tokens in a batch, with padding; bounds the memory.")] = 1024,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the record here.")] = None,
    other_base: OtherBase = False,
    device: Device = "cpu",
    dtype: Annotated[
        Literal["float32", "bf16"], typer.Option(help="Of the weights; bf16 takes half the memory.")
    ] = "float32",
    device_map: Annotated[
        Literal["auto"] | None, typer.Option(help="auto: spread a model over all devices, the memory and the disk.")
    ] = None,
    max_hours: MaxHours = None,
    seed: Annotated[int, typer.Option(help="Of the sampling and the bootstraps.")] = 0,
    as_json: AsJson = False,
) -> None:
    """What was learned and what was lost: tuned models beside their base, paired, with intervals.

    A data set of the hub is org/name[@revision][:configuration]:split. With -o, what each model answered is kept in
    .answers beside the record: a score that was killed goes on, and the next arm need not ask its base again. For
    several tuned models -o is a folder, with a record of each.
    """
    from assay.behaviour import scoring
    from assay.models.shared import OneBase
    from assay.reports.text.scores import print_each, print_scores

    base, tuned = base_and_tuned(models)
    many = len(tuned) > 1
    if output is not None and not many and output.is_dir():
        raise SettingError("is a folder", wanted="a file for the record, such as scores.json", where=str(output))
    if many and output is not None and output.is_file():
        raise SettingError("is a file", wanted=f"a folder for {len(tuned)} records", where=str(output))
    home = None if output is None else output if many else output.parent
    shared, records = OneBase(), []
    with progress_bar() as progress, tempfile.TemporaryDirectory() as scratch:
        kept = Path(scratch) if home is None and many else None if home is None else home / _KEPT
        ask = partial(
            scoring.score,
            text=text,
            task=task,
            how=how,
            prompts=prompts,
            columns=columns_given(column or []),
            judge=judge,
            samples=samples,
            temperature=temperature,
            max_tokens=max_tokens,
            chat=chat,
            other_base=other_base,
            harness=tuple(harness or ()),
            harness_code=tuple(harness_code or ()),
            limit=limit,
            window=window,
            batch_tokens=batch_tokens,
            device=device,
            dtype=dtype,
            device_map=device_map,
            seed=seed,
            keep=kept,
            shared=shared,
            progress=progress,
        )
        until = deadline(max_hours)
        for model in tuned:
            left = None if max_hours is None else max(until - time.monotonic(), 1e-3) / 3600
            records.append(ask(base, model, max_hours=left))
    if not many:
        finish(records[0], output, as_json, print_scores)
        return
    for name, record in zip(file_names(tuned), records, strict=True):
        if output is not None:
            say(f"wrote {record.save(output / name)}")
    if as_json:
        typer.echo("[" + ",".join(record.to_json() for record in records) + "]")
    else:
        print_each(tuned, records)


def file_names(models: list[str]) -> list[str]:
    """A file for the record of every model: its folder's name, with the one above where two have the same."""
    places = [Path(model).parts for model in models]
    depth = next(
        (
            depth
            for depth in range(1, max(map(len, places)))
            if len({place[-depth:] for place in places}) == len(places)
        ),
        max(map(len, places)),
    )
    return [f"{'-'.join(part.strip('/') for part in place[-depth:])}.json" for place in places]
