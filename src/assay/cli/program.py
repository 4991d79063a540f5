"""The program and how commands join it: one line for an error of ours, exit codes, examples in `--help`."""

from __future__ import annotations

import functools
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from assay.cli.destinations import refuse_destination
from assay.cli.output import say, until_closed
from assay.errors import AssayError, SettingError, StoppedError
from assay.version import __version__

DONE, CROSSED, BAD_INPUT, INCONCLUSIVE, FAILED = 0, 1, 2, 3, 4
INTERRUPTED = 130  # 128 and the number of SIGINT, as shells have it

app = typer.Typer(
    help="What did fine-tuning do to this model, and would another way of tuning it have been better?",
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
)


def command(
    *examples: str, writes: str | None = None, goes_on: bool = False
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function a command of its name, with examples in `--help`; an error of ours is one line and exit 2.

    `writes` is the kind of its `output`, which is then checked before any work; `goes_on` says that the same command
    goes on with what was stopped. Any other exception is a fault of
    assay's own: Python's exit 1 would tell CI that a gate was crossed.
    """

    def join(function: Callable[..., None]) -> Callable[..., None]:
        # Typer reads the annotations four times a command: as strings they are compiled each time.
        function.__annotations__ = get_type_hints(function, include_extras=True)

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> None:
            try:
                _refuse_overwriting(kwargs)
                if writes is not None and kwargs.get("output") is not None:
                    refuse_destination(kwargs["output"], writes)
                with until_closed():
                    function(*args, **kwargs)
            except StoppedError as error:
                say(f"stopped: {error}")
                raise typer.Exit(INCONCLUSIVE) from None
            except (AssayError, OSError) as error:  # the system's own words name a full disk or a closed folder
                say(f"error: {error}")
                raise typer.Exit(BAD_INPUT) from None
            except (typer.Exit, typer.Abort):
                raise
            except KeyboardInterrupt:
                say("stopped: the same command goes on from where it stood" if goes_on else "stopped")
                raise typer.Exit(INTERRUPTED) from None
            except Exception:  # noqa: BLE001 (nothing above this frame can tell what it was)
                traceback.print_exc()
                raise typer.Exit(FAILED) from None

        heading = "Examples:" if len(examples) > 1 else "Example:"
        return app.command(epilog="\n\n".join([heading, *examples]))(run)

    return join


def _refuse_overwriting(given: Mapping[str, Any]) -> None:
    """Refuse an output that is a file among the command's inputs: what was read would be gone.

    Raises:
        SettingError: with the option that names it.
    """
    output = given.get("output")
    if output is None or not output.is_file():
        return
    for name, value in given.items():
        for one in value if isinstance(value, list) else [value]:
            if name != "output" and isinstance(one, str | Path) and Path(one).resolve() == output.resolve():
                raise SettingError(f"the output is one of the inputs ({name})", wanted="another", where=str(output))


def _version(value: bool) -> None:
    if value:
        typer.echo(f"assay {__version__}")
        raise typer.Exit


@app.callback()
def _assay(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    # What transformers tells the libraries that call it of its own next version; a user can do nothing about it.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
