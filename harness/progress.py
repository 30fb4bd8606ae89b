"""Live progress of a run: on a terminal one panel, elsewhere a plain line every few seconds.

``on_event`` is called for every event, in the run's own loop, so it does constant work: a few
counters and one histogram cell. Percentiles, rates and drawing belong to a thread that wakes
a few times a second; it reads numbers that the loop writes, and a number that is one event
old is good enough to look at.
"""
from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .op import INVOKE, NEMESIS, OK, TYPES, Op

NS = 1_000_000_000
STEPS = 8             # histogram cells for each doubling: a percentile is at most 1/8 too high
CELLS = 64 * STEPS
WINDOW_S = 5.0        # rates and percentiles look back this far
LIVE_PERIOD_S = 0.25
LINE_PERIOD_S = 5.0

VERDICT_STYLE = {"pass": "green", "violation": "bold red", "harness-failure": "magenta",
                 "inconclusive": "yellow", "no-coverage": "yellow"}


def cell(ns: int) -> int:
    """Return the histogram cell of a latency: its power of two and the three bits below."""
    if ns < STEPS:
        return max(ns, 0)
    shift = ns.bit_length() - 4
    return min((shift + 1) * STEPS + (ns >> shift) - STEPS, CELLS - 1)


def cell_top(index: int) -> int:
    """Return the smallest latency above a cell."""
    if index < STEPS:
        return index + 1
    shift, step = divmod(index, STEPS)
    return (STEPS + step + 1) << (shift - 1)


def percentile(cells: Sequence[int], share: float) -> int | None:
    """Return an upper bound of the latency that ``share`` of the counted events stay under."""
    left = share * sum(cells)
    if left == 0:
        return None
    for index, count in enumerate(cells):
        left -= count
        if left <= 0:
            return cell_top(index)
    return cell_top(CELLS - 1)


def duration(ns: int | None) -> str:
    """Return a time for a person: ``840 us``, ``3.1 ms``, ``2.4 s``."""
    if ns is None:
        return "-"
    for unit, size in (("s", NS), ("ms", 1_000_000), ("us", 1_000)):
        if ns >= size:
            value = ns / size
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
    return f"{ns} ns"


class Tally:
    """What the loop counts. Every method is constant time."""

    __slots__ = ("counts", "due", "faults", "latencies", "leader", "now_ns", "term")

    def __init__(self) -> None:
        self.counts = dict.fromkeys(TYPES, 0)
        self.latencies = [0] * CELLS
        self.due: dict[int, int] = {}
        self.faults: dict[str, tuple[str, tuple[str, ...], int]] = {}
        self.leader: str | None = None
        self.term: int | None = None
        self.now_ns = 0

    def add(self, op: Op) -> None:
        """Count one event."""
        if op.process == NEMESIS:
            self._add_nemesis(op)
            return
        self.counts[op.type] += 1
        if op.type == INVOKE:
            self.due[op.process] = op.time_ns
            return
        self.now_ns = op.time_ns
        due = self.due.pop(op.process, None)
        if op.type == OK and due is not None:
            self.latencies[cell(op.time_ns - due)] += 1
        if op.term is not None and (self.term is None or op.term > self.term):
            self.term = op.term
            self.leader = None      # a new term: whoever led the old one may not lead this one

    def _add_nemesis(self, op: Op) -> None:
        value = op.value if isinstance(op.value, dict) else {}
        if op.f == "leader":
            self.leader, self.term = value.get("leader"), value.get("term", self.term)
            return
        phase, name = value.get("phase"), str(value.get("id", op.f))
        if phase == "effective":
            self.faults[name] = (op.f, tuple(value.get("targets", ())), op.time_ns)
        elif phase in ("ended", "recovered"):
            self.faults.pop(name, None)


class Progress:
    """Shows a run while it goes on. A context manager; ``on_event`` is the listener's hook."""

    def __init__(self, title: str, *, time_limit_s: float | None = None,
                 console: Console | None = None, line_period_s: float = LINE_PERIOD_S) -> None:
        self.title = title
        self.time_limit_s = time_limit_s
        self.console = console or Console(stderr=True)
        self.tally = Tally()
        self.phase = "starting"
        self.verdict: str | None = None
        self._line_period_s = line_period_s
        self._started = time.monotonic()
        self._samples: deque[tuple[float, dict[str, int], list[int]]] = deque()
        self._live: Live | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._sampling = threading.Lock()   # the drawing thread and the run's own both look

    def on_event(self, op: Op) -> None:
        """Take one event of the run."""
        self.tally.add(op)

    def set_phase(self, phase: str) -> None:
        """Say what the run does now: ``hosts up``, ``running``, ``healing``, ``checking``."""
        if phase != self.phase:
            self.phase = phase
            if self._thread is not None and self._live is None:
                self._print_line()

    def set_verdict(self, verdict: str | None) -> None:
        """Say what the checks found up to now."""
        self.verdict = verdict

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._take_sample()
        if self.console.is_terminal:
            self._live = Live(get_renderable=self.render, console=self.console, transient=True,
                              refresh_per_second=1 / LIVE_PERIOD_S)
            self._live.start()
        else:
            self._thread = threading.Thread(target=self._print_lines, name="progress", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._stop.set()
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._print_line()      # the last numbers stay on the screen

    def render(self) -> Group:
        """Return the panel. Called by the drawing thread."""
        numbers, tally = self._numbers(), self.tally
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", min_width=9)
        grid.add_column()
        grid.add_row("phase", f"{self.phase}, {numbers['elapsed']}{numbers['left']}")
        grid.add_row("rate", f"{numbers['rate']} ok/s   "
                             f"p50 {numbers['p50']}   p99 {numbers['p99']}")
        grid.add_row("events", Text.assemble(
            (f"{tally.counts['ok']:,} ok", "green"), "   ",
            f"{tally.counts['fail']:,} fail", "   ", (f"{tally.counts['info']:,} info", "yellow")))
        grid.add_row("leader", Text(self._leadership()))
        grid.add_row("faults", self._faults(style="red"))
        grid.add_row("verdict", Text(self.verdict or "not judged yet",
                                     style=VERDICT_STYLE.get(self.verdict or "", "dim")))
        return Group(Text(self.title, style="bold"), grid)

    def line(self) -> str:
        """Return the same as one line of plain text."""
        numbers, counts = self._numbers(), self.tally.counts
        parts = [
            f"{numbers['elapsed']:>6}", self.phase, f"{numbers['rate']} ok/s",
            f"p50 {numbers['p50']} p99 {numbers['p99']}",
            f"ok {counts['ok']:,} fail {counts['fail']:,} info {counts['info']:,}",
            f"leader {self._leadership()}", f"faults {self._faults().plain}",
        ]
        return " | ".join(parts + ([self.verdict] if self.verdict else []))

    def _leadership(self) -> str:
        tally = self.tally
        term = "" if tally.term is None else f", term {tally.term}"
        return f"{tally.leader or 'unknown'}{term}"

    def _faults(self, style: str = "") -> Text:
        in_force = list(self.tally.faults.values())
        if not in_force:
            return Text("none")
        return Text(", ".join(f"{name} ({' '.join(targets)})" for name, targets, _ in in_force),
                    style=style)

    def _numbers(self) -> dict[str, str]:
        """Return what was seen in the last WINDOW_S seconds, as text."""
        with self._sampling:
            self._take_sample()
            then, counts, cells = self._samples[0]
            now, counts_now, cells_now = self._samples[-1]
        seen = [b - a for a, b in zip(cells, cells_now, strict=True)]
        rate = (counts_now["ok"] - counts["ok"]) / max(now - then, 1e-3)
        elapsed = now - self._started
        left = ""
        if self.time_limit_s is not None and self.phase == "running":
            left = f", {max(self.time_limit_s - self.tally.now_ns / NS, 0):.0f} s left"
        return {"elapsed": f"{elapsed:.0f} s", "left": left, "rate": f"{rate:,.0f}",
                "p50": duration(percentile(seen, 0.5)), "p99": duration(percentile(seen, 0.99))}

    def _take_sample(self) -> None:
        """Remember the totals of now, and forget those older than the window."""
        now = time.monotonic()
        self._samples.append((now, dict(self.tally.counts), list(self.tally.latencies)))
        while len(self._samples) > 2 and self._samples[1][0] < now - WINDOW_S:
            self._samples.popleft()

    def _print_lines(self) -> None:
        while not self._stop.wait(self._line_period_s):
            self._print_line()

    def _print_line(self) -> None:
        self.console.print(self.line(), markup=False, highlight=False, soft_wrap=True)
