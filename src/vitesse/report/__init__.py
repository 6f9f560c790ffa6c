"""The page that shows a run, its model card, and its last words on the terminal."""

from __future__ import annotations

from vitesse.report.card import model_card, summary_lines, write_model_card
from vitesse.report.page import write_report
from vitesse.report.reading import read_summary
from vitesse.report.summary import RunSummary

__all__ = ["RunSummary", "model_card", "read_summary", "summary_lines", "write_model_card", "write_report"]
