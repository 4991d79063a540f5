"""Weights along a path from a base to a tuned model and beyond, read at several points without training."""
