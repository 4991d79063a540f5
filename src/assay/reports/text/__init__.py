"""Records on the terminal: one module a kind of record."""
