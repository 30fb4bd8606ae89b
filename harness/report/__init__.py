"""The report of a run for a person: one HTML file, self-contained, made from the run's folder.

``page`` assembles it; ``series`` reduces a history to what a screen can show; ``figure`` and
``charts`` draw the plots with and without plotly, ``timeline`` and ``spacetime`` the rest.
It can be made again at any time: ``python -m seatrial.harness.report FOLDER``.
"""
from __future__ import annotations

from pathlib import Path

from ..store import RunFolder
from .page import page

__all__ = ["render_report"]


def render_report(folder: RunFolder) -> Path:
    """Write report.html into a run's folder and return its path."""
    return folder.write(folder.report.name, page(folder))
