"""A history's operations, paired: what was asked, what came back, and what was over before."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from seatrial.checker import History
from seatrial.harness.op import INFO, INVOKE, OK


@dataclass(slots=True)
class Operation:
    """One operation of a client. begin, end: positions in the history, of all events."""

    process: int
    f: str
    asked: Any
    begin: int
    end: int
    outcome: str = INFO
    answer: Any = None


def events(history: History) -> dict[bytes, list[tuple[bool, Operation]]]:
    """Return what happened on each key, in order: (is it the beginning, the operation)."""
    found: dict[bytes, list[tuple[bool, Operation]]] = {}
    open_by_process: dict[int, Operation] = {}
    for at, row in enumerate(history.rows()):
        process, key = row["process"], row["key"]
        if process < 0 or key is None:
            continue
        mine = found.setdefault(key, [])
        if row["type"] == INVOKE:
            operation = Operation(process, row["f"], row["value"], at, len(history))
            open_by_process[process] = operation
            mine.append((True, operation))
        else:
            operation = open_by_process.pop(process)
            operation.end, operation.outcome, operation.answer = at, row["type"], row["value"]
            mine.append((False, operation))
    return found


def ended(mine: list[tuple[bool, Operation]]) -> Iterator[Operation]:
    """Yield the operations that were certainly executed, in the order in which they ended."""
    return (operation for begins, operation in mine if not begins and operation.outcome == OK)
