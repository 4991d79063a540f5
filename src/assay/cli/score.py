"""`assay score`: what was learned and what was lost."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from assay.cli.arguments import (
    AsJson,
    Columns,
    Device,
    MaxHours,
    Models,
    OtherBase,
    SumWeights,
    base_and_tuned,
    columns_given,
    summed,
)
from assay.cli.output import finish, print_json, progress_bar, say, until_closed
from assay.cli.program import command
from assay.errors import SettingError
from assay.settings import Batches, Generation, HarnessTasks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assay.records import Scores
    from assay.weights.pairing import Tuned

_KEPT = ".answers"  # beside the record


@command(
    "assay score base adapter --text prose.jsonl --task headlines.jsonl -o scores.json",
    "assay score base checkpoint-100 checkpoint-200 --task held-out.csv -o scores",
    "assay score base law code --weights 0.5,0.5 --text prose.jsonl",
    "assay score base adapter --prompts questions.jsonl --samples 4 --max-tokens 8",
    writes="scores",
)
def score(
    models: Models,
    weights: SumWeights = None,
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
    samples: Annotated[int, typer.Option(help="Replies to each of these.")] = Generation.samples,
    temperature: Annotated[float, typer.Option(help="At which they are drawn.")] = Generation.temperature,
    max_tokens: Annotated[int, typer.Option(help="Longest generated reply.")] = Generation.max_tokens,
    chat: Annotated[bool, typer.Option("--chat", help="Put prompts into the chat template.")] = False,
    column: Columns = None,
    harness: Annotated[
        list[str] | None, typer.Option(help="A task of lm-eval, by name or as a YAML file; repeatable.")
    ] = None,
    harness_code: Annotated[
        list[str] | None,
        typer.Option(help="A Python file that such a file may run (!function); repeatable. No other is run."),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Documents of each of these.")] = None,
    window: Annotated[int, typer.Option(help="Tokens at once; less where the model takes less.")] = Batches.window,
    batch_tokens: Annotated[
        int, typer.Option(help="Tokens in a batch, with padding; bounds the memory.")
    ] = Batches.tokens,
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
    """Score tuned models beside their base, learning and forgetting, paired, with intervals.

    A data set of the hub is org/name[@revision][:configuration]:split. With -o, what each model answered is kept in
    .answers beside the record: a score that was killed goes on, and the next arm need not ask its base again. For
    several tuned models -o is a folder, with a record of each.
    """
    base, tuned = base_and_tuned(models)
    asked: dict[str, Any] = {
        "text": text,
        "task": task,
        "how": how,
        "prompts": prompts,
        "columns": columns_given(column or []),
        "judge": judge,
        "generation": Generation(samples, temperature, max_tokens, chat),
        "harness": HarnessTasks(tuple(harness or ()), tuple(harness_code or ()), limit),
        "batches": Batches(window, batch_tokens),
        "other_base": other_base,
        "device": device,
        "dtype": dtype,
        "device_map": device_map,
        "seed": seed,
    }
    if weights is None and len(set(map(Path, tuned))) < len(tuned):  # their records would have one name
        raise SettingError("a model is named twice", wanted="models that differ")
    scored: Sequence[Tuned] = tuned if weights is None else [summed(tuned, weights)]
    _show(tuned, _each(base, scored, asked, output, max_hours), output, as_json)


def _show(tuned: list[str], records: list[Scores], output: Path | None, as_json: bool) -> None:
    """One record as every command shows it; several side by side, and a file of each."""
    from assay.render.terminal import show

    if len(records) == 1:
        finish(records[0], output, as_json)
        return
    for name, record in zip(file_names(tuned), records, strict=True):
        if output is not None:
            say(f"wrote {record.save(output / name)}")
    with until_closed():
        if not as_json:
            show(records)
        for record in records if as_json else ():
            print_json(record)


def _each(
    base: str | None, tuned: Sequence[Tuned], asked: dict[str, Any], output: Path | None, max_hours: float | None
) -> list[Scores]:
    """The scores of every model, on one base; of several, its answers are kept for the others."""
    from assay.behaviour.several import score_each

    many = len(tuned) > 1
    if output is not None and output.is_dir() and not many:
        raise SettingError("is a folder", wanted="a file for the record, such as scores.json", where=str(output))
    if output is not None and output.is_file() and many:
        raise SettingError("is a file", wanted=f"a folder for {len(tuned)} records", where=str(output))
    with progress_bar() as progress, tempfile.TemporaryDirectory() as scratch:
        keep = Path(scratch) if many else None
        if output is not None:
            keep = (output if many else output.parent) / _KEPT
        return list(score_each(base, tuned, keep=keep, max_hours=max_hours, progress=progress, **asked))


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
