"""Write docs/claims.md, docs/runs.md and what the README says was found, from kept records.

`python scripts/claims.py` writes; with `--check` it says whether a page is old and exits 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from evidence import claims_page, found, runs_page
from evidence.kept import RECORDS, Kept, keep, keep_sequences, keep_sweep
from generated import ROOT, between, write_or_check


def main() -> int:
    """Keep records where that is asked for; write, or check, the pages."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--check", action="store_true")
    asked.add_argument("--keep", metavar="NAME", help="the folder under docs/records that FOLDER's records are kept in")
    asked.add_argument("folder", nargs="?", type=Path, help="of the study that is kept")
    asked.add_argument("--plan", type=Path, help="of the study that is kept, while it is not done")
    asked.add_argument(
        "--sweep", nargs="+", metavar=("NAME", "STUDY"), help="folders whose runs join those of docs/records/NAME"
    )
    asked.add_argument("--sequences", metavar="STUDY", help="the folder of tasks in a row that is kept")
    given = asked.parse_args()
    if (given.keep is None) != (given.folder is None):
        asked.error("--keep takes the name of the records and the folder of the study")
    if given.keep:
        keep(given.folder, RECORDS / given.keep, given.plan)
    if given.sweep:
        keep_sweep(given.sweep[0], given.sweep[1:])
    if given.sequences:
        keep_sequences(given.sequences)
    docs, kept = ROOT / "docs", Kept()
    findings = claims_page.findings(kept)
    pages = {
        docs / "claims.md": claims_page.page(findings),
        docs / "runs.md": runs_page.page(kept),
        ROOT / "README.md": between(ROOT / "README.md", "found", found.sentences(findings)),
    }
    return write_or_check(pages, given.check)


if __name__ == "__main__":
    sys.exit(main())
