"""`assay score`: what was learned and what was lost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.arguments import AsJson, Device, Models, OtherBase, base_and_tuned, only
from assay.cli.output import finish, progress_bar
from assay.cli.program import command

_KEPT = ".answers"  # beside the record


@command(
    "assay score base adapter --text prose.jsonl --task headlines.jsonl -o scores.json",
    "assay score base adapter --prompts questions.jsonl --samples 4 --max-tokens 8",
    writes="scores",
)
def score(
    models: Models,
    text: Annotated[
        str | None, typer.Option(help="JSON Lines, or a hub data set, with a column text: what was lost on it.")
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
    seed: Annotated[int, typer.Option(help="Of the sampling and the bootstraps.")] = 0,
    as_json: AsJson = False,
) -> None:
    """What was learned and what was lost: the tuned model beside its base, paired, with intervals.

    A data set of the hub is org/name[@revision][:configuration]:split. With -o, what each model answered is kept in
    .answers beside the record: a score that was killed goes on, and the next arm need not ask its base again.
    """
    from assay.behaviour import scoring

    base, tuned = base_and_tuned(models)
    with progress_bar() as progress:
        record = scoring.score(
            base,
            only(tuned),
            text,
            task,
            how=how,
            prompts=prompts,
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
            seed=seed,
            keep=output.parent / _KEPT if output is not None else None,
            progress=progress,
        )
    finish(record, output, as_json)
