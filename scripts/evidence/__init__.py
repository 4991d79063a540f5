"""Claims, tables of kept runs and the rule between them: what `scripts/claims.py` writes its pages from."""
