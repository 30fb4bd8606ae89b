"""What the plots show, reduced to what a screen can: numpy arrays in, a few thousand points out.

Reduction never hides an extreme. The latency scatter keeps one point for each cell of a grid
as fine as the screen, and in every column of it the slowest and the fastest operation of each
kind; rates and percentiles are over bins of equal, round width.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seatrial.checker.history import INFO, NONE, TYPE_NAMES, History

from .palette import operation_order
from .svg import nice_step

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

COLUMNS, ROWS = 360, 48        # the scatter's grid
WHOLE = 3_000                  # a group of at most so many points is shown whole
BINS = 240                     # the most bins of time
PERCENTILES = (50, 95, 99, 100)


@dataclass(frozen=True, slots=True)
class Scatter:
    """Points of one kind: when the operation was due, how long it took."""

    f: str
    outcome: str
    seconds: Floats
    ms: Floats
    total: int


@dataclass(frozen=True, slots=True)
class Line:
    """One value over time; NaN where there is none. ``f`` or ``label`` names it."""

    label: str
    f: str
    outcome: str
    seconds: Floats
    values: Floats


@dataclass(frozen=True, slots=True)
class Timed:
    """All client operations that ended, as arrays."""

    due: Floats
    end: Floats
    f: Ints
    outcome: Ints
    fs: tuple[str, ...]

    @property
    def ms(self) -> Floats:
        """Latency from the due time; 1 us at least, since the axis is logarithmic."""
        return np.asarray(np.maximum((self.end - self.due) * 1e3, 1e-3))

    def groups(self) -> Iterator[tuple[str, str, npt.NDArray[np.bool_]]]:
        """Yield each f and outcome that occur, with its operations."""
        for f in sorted(self.fs, key=operation_order):
            code = self.fs.index(f)
            for outcome, name in enumerate(TYPE_NAMES):
                mask = (self.f == code) & (self.outcome == outcome)
                if mask.any():
                    yield f, name, mask


def timed(history: History) -> Timed:
    """Return the operations of a history that ended."""
    invoked, completed = history.pairs
    ended = completed != NONE
    invoked, completed = invoked[ended], completed[ended]
    return Timed(history.time[invoked] / 1e9, history.time[completed] / 1e9, history.f[invoked],
                 history.type[completed], tuple(history.fs))


def scatter(operations: Timed) -> list[Scatter]:
    """Return the latency scatter, one group for each f and outcome."""
    return [
        Scatter(f, outcome, operations.due[kept], operations.ms[kept], int(mask.sum()))
        for f, outcome, mask in operations.groups()
        for kept in [_thinned(operations, np.flatnonzero(mask))]
    ]


def _thinned(operations: Timed, rows: Ints) -> Ints:
    """Return those of ``rows`` that are worth drawing, in order of time."""
    if len(rows) <= WHOLE:
        return rows
    due, latency = operations.due[rows], np.log10(operations.ms[rows])
    column = _cells(due, float(operations.due.min()), float(operations.due.max()), COLUMNS)
    row = _cells(latency, -3.0, 6.0, ROWS * 3)
    _, shown = np.unique(column * ROWS * 3 + row, return_index=True)
    by_latency = np.lexsort((latency, column))
    starts = np.flatnonzero(np.diff(column[by_latency], prepend=-1))
    ends = np.append(starts[1:], len(rows)) - 1
    kept = np.unique(np.concatenate([shown, by_latency[starts], by_latency[ends]]))
    return np.asarray(rows[kept])


def _cells(values: Floats, low: float, high: float, count: int) -> Ints:
    share = (values - low) / max(high - low, 1e-9)
    return np.clip((share * count).astype(np.int64), 0, count - 1)


def bin_width(seconds: float) -> float:
    """Return the width of a bin: a tenth of a second or a longer round time."""
    return max(nice_step(seconds, BINS), 0.1)


def _bins(operations: Timed) -> tuple[float, Ints, Floats]:
    """Return the width, each operation's bin by its end, and the bins' middles."""
    last = float(operations.end.max(initial=0))
    width = bin_width(last)
    index = (operations.end / width).astype(np.int64)
    count = int(last / width) + 1
    return width, index, np.arange(count, dtype=np.float64) * width + width / 2


def rate(operations: Timed) -> list[Line]:
    """Return completions per second over time, for each f and outcome."""
    width, index, middles = _bins(operations)
    return [Line(f"{f} {outcome}", f, outcome, middles,
                 np.bincount(index[mask], minlength=len(middles)) / width)
            for f, outcome, mask in operations.groups()]


def percentiles(operations: Timed) -> list[Line]:
    """Return percentiles of latency over time, of operations that got an answer."""
    answered = operations.outcome != INFO
    _, index, middles = _bins(operations)
    index, ms = index[answered], operations.ms[answered]
    order = np.lexsort((ms, index))
    index, ms = index[order], ms[order]
    starts = np.searchsorted(index, np.arange(len(middles)))
    counts = np.searchsorted(index, np.arange(len(middles)), "right") - starts
    some = counts > 0
    lines = []
    for percent in PERCENTILES:
        values = np.full(len(middles), np.nan)
        rank = np.ceil(counts * (percent / 100)).astype(np.int64) - 1
        values[some] = ms[starts[some] + np.maximum(rank[some], 0)]
        label = "slowest" if percent == 100 else f"p{percent}"
        lines.append(Line(label, "", "", middles, values))
    return lines
