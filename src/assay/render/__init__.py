"""Renderers of views: a page, a terminal, Markdown; JUnit and SARIF of gates."""
