"""Where work items run: processes of this machine, or a Ray cluster."""
