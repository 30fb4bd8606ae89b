"""Operations of one key drawn in text: one line each, time running to the right.

Only the order of invocations against returns matters to a verdict, so events that follow each
other without changing sides share a column, and the drawing is as wide as the argument needs::

    p0  write 1     |----|              rows 10-12
    p1  write 2           |--|          rows 13-14
    p2  read -> 1                |--|   rows 15-16  <- can't be placed

An operation that had not ended at the moment that matters is drawn open, with ``>``.
"""
from __future__ import annotations

from collections.abc import Mapping

from .history import NONE
from .operations import INF, Operations

MOST = 20           # operations that a drawing shows
STEP = 3            # characters between two columns


def draw(operations: Operations, marks: Mapping[int, str], *, most: int = MOST) -> str:
    """Draw operations (all of one key, in order of invocation); ``marks``: notes by position.

    Of more than ``most``, the last are shown: the argument is at the end.
    """
    shown = range(max(0, len(operations) - most), len(operations))
    columns = _columns(operations, shown)
    end = max(columns.values(), default=0) + 1
    who = [f"p{operations.process[i]}" for i in shown]
    what = [operations.describe(i) for i in shown]
    lines = []
    if shown.start:
        lines.append(f"... {shown.start} earlier operations not drawn")
    for i, process, text in zip(shown, who, what, strict=True):
        start = columns[int(operations.inv[i])]
        pending = operations.ret[i] == INF
        stop = end if pending else columns[int(operations.ret[i])]
        bar = " " * (STEP * start) + "|" + "-" * (STEP * (stop - start) - 1)
        bar += ">" if pending else "|"
        line = (f"{process:<{max(map(len, who))}}  {text:<{max(map(len, what))}}  "
                f"{bar:<{STEP * end + 1}}  {_rows(operations, i)}")
        lines.append(f"{line}  <- {marks[i]}" if i in marks else line)
    return "\n".join(lines)


def _columns(operations: Operations, shown: range) -> dict[int, int]:
    """Column of each event's position: a new one where returns follow calls, or calls returns."""
    events = sorted([(int(operations.inv[i]), False) for i in shown]
                    + [(int(operations.ret[i]), True) for i in shown if operations.ret[i] != INF])
    columns: dict[int, int] = {}
    column, before = 0, False
    for position, returns in events:
        column += returns != before
        columns[position] = column
        before = returns
    return columns


def _rows(operations: Operations, i: int) -> str:
    if operations.done[i] == NONE:
        return f"row {operations.row[i]}, never known to end"
    return f"rows {operations.row[i]}-{operations.done[i]}"
