"""Will it fit: what a run would hold in memory and on disk, and which settings fit a memory."""

from assay.estimates.run import classes_of, disk_of, estimate

__all__ = ["classes_of", "disk_of", "estimate"]
