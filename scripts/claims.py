"""Write docs/claims.md and docs/runs.md from kept records: each published claim beside ours, and the runs behind it.

`python scripts/claims.py` writes; with `--check` it says whether a page is old and exits 1. With `--keep NAME FOLDER
[PLAN]` the records of a study's folder become those of `docs/records/NAME` first: each run's own, and with the plan
what the study says of all of its runs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from evidence import claims_page
from evidence.kept import Kept, keep
from generated import ROOT, write_or_check


def main() -> int:
    """Keep records where that is asked for; write, or check, the pages."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--check", action="store_true")
    asked.add_argument("--keep", nargs="+", metavar=("NAME FOLDER", "PLAN"), default=[])
    given = asked.parse_args()
    if given.keep:
        name, folder, *plan = given.keep
        keep(Path(folder), name, Path(plan[0]) if plan else None)
    docs, kept = ROOT / "docs", Kept()
    return write_or_check({docs / "claims.md": claims_page.page(kept)}, given.check)


if __name__ == "__main__":
    sys.exit(main())
