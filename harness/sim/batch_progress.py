"""Live progress of a batch of seeds: one line on a terminal, elsewhere a line now and then."""
from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from ..progress import VERDICT_STYLE

LINE_PERIOD_S = 10.0
MOST_SEEDS = 8           # that did not pass, named on the line


class BatchProgress:
    """Shows how far a batch is. A context manager; ``show`` is called after each seed.

    had: seeds that were done before this session.
    """

    def __init__(self, title: str, total: int, *, had: int = 0, console: Console | None = None,
                 line_period_s: float = LINE_PERIOD_S) -> None:
        self.title = title
        self.total = total
        self.had = had
        self.console = console or Console(stderr=True)
        self._line_period_s = line_period_s
        self._began = self._told = time.monotonic()
        self._virtual_ns = 0
        self._done = had
        self._verdicts: dict[str, int] = {}
        self._seeds: list[str] = []
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live = Live(console=self.console, get_renderable=self._styled,
                              refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()
        else:
            self._print()

    def show(self, seed: int, verdict: str, virtual_ns: int, verdicts: Mapping[str, int]) -> None:
        """Take one seed, and what all of them come to."""
        self._done += 1
        self._virtual_ns += virtual_ns
        self._verdicts = dict(verdicts)
        if verdict != "pass":
            self._seeds.append(f"{seed} {verdict}")
        if self._live is None and time.monotonic() - self._told >= self._line_period_s:
            self._print()

    def line(self) -> str:
        """Return where the batch is."""
        passed_s = max(time.monotonic() - self._began, 1e-3)
        new = self._done - self.had
        rate = new / passed_s
        left_s = (self.total - self._done) / rate if new else 0
        counts = ", ".join(f"{n:,} {verdict}" for verdict, n in self._verdicts.items())
        parts = [
            self.title, f"{self._done:,} of {self.total:,} seeds", f"{rate:.2f} seeds/s",
            f"{self._virtual_ns / 1e9 / passed_s:,.0f} times the clock",
            f"{left_s / 60:,.1f} min left", counts or "none done yet",
        ]
        if self._seeds:
            more = len(self._seeds) - MOST_SEEDS
            parts.append(f"seeds {', '.join(self._seeds[:MOST_SEEDS])}"
                         + (f" and {more} more" if more > 0 else ""))
        return " | ".join(parts)

    def _styled(self) -> Text:
        text = Text(self.line())
        for verdict, style in VERDICT_STYLE.items():
            text.highlight_words([verdict], style)
        return text

    def _print(self) -> None:
        self._told = time.monotonic()
        self.console.print(self.line(), markup=False, highlight=False, soft_wrap=True)
