"""Pages and pictures of records: one self-contained HTML file, and its charts as files."""

from assay.report.page import Page, report

__all__ = ["Page", "report"]
