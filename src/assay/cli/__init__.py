"""The command line: one module a command; each takes arguments in, makes one library call, and puts text out."""

from assay.cli import (
    advise,
    audit,
    cache,
    check_merge,
    compare,
    correlate,
    curves,
    dial,
    estimate,
    ls,
    merge,
    repair,
    report,
    score,
    similarity,
    study,
    train,
)  # each joins the program
from assay.cli.program import app


def main() -> None:
    """Run the program."""
    app()


__all__ = [
    "advise",
    "app",
    "audit",
    "cache",
    "check_merge",
    "compare",
    "correlate",
    "curves",
    "dial",
    "estimate",
    "ls",
    "main",
    "merge",
    "repair",
    "report",
    "score",
    "similarity",
    "study",
    "train",
]
