"""`python -m assay` is the same program as `assay`."""

from assay.cli import main

main()
