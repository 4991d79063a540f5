"""Measures of an update, each with its definition and source."""
