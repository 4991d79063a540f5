"""Data sets as examples in a fixed order."""
