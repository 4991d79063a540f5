"""Models, loaded to be run."""
