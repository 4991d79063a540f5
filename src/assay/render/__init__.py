"""Renderers of views: a page, a terminal, Markdown."""
