"""What a number means: every measure of an update, each with its source."""
