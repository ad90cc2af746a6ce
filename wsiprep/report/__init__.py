"""The report: one self-contained HTML page about a dataset, for people to look at."""

from __future__ import annotations

from wsiprep.report.page import render_report

__all__ = ["render_report"]
