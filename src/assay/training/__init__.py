"""One loop that runs every method under the same conditions."""
