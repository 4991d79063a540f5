"""Pages and pictures of records: one self-contained HTML file, and its charts as files."""

from assay.reports.page import Page, report

__all__ = ["Page", "report"]
