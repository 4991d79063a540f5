"""Engines for work items: processes of this machine, or a Ray cluster."""
