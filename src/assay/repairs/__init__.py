"""Intruder dimensions scaled down beside controls of the same norm: in files, and on a loaded model."""
