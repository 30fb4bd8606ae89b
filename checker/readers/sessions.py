"""Transactions on registers, by session: the texts of AWDIT and of Plume.

AWDIT has an operation on each line, ``r KEY VALUE`` or ``w KEY VALUE``; ``-----`` ends a
transaction and ``=====`` a session. Plume has ``w(KEY,VALUE,SESSION,TRANSACTION)``. Nobody says
when anything happened: only the order within a session counts.
"""
from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ..history import INVOKE, OK, History
from .events import Events
from .source import Source

OPERATION = re.compile(r"([rw]) (-?\d+) (-?\d+)$")
TUPLE = re.compile(r"([rw])\((-?\d+),(-?\d+),(-?\d+),(-?\d+)\)$")
TRANSACTION, SESSION = "-----", "====="

Transaction = list[list[Any]]       # of [r or w, key, value]


def read_awdit(source: Source) -> History:
    """Sessions, one after the other."""
    found: list[tuple[int, int, Transaction]] = []      # session, line, what it did
    session, whole = 0, True
    for number, raw in enumerate(source.lines, 1):
        line = raw.strip()
        if line in (TRANSACTION, SESSION):
            session, whole = session + (line == SESSION), True
        elif (match := OPERATION.match(line)):
            if whole:
                found.append((session, number, []))
                whole = False
            found[-1][2].append([match[1], int(match[2]), int(match[3])])
        elif line:
            raise source.bad(f"{line!r}; expected 'r KEY VALUE', 'w KEY VALUE', {TRANSACTION} or "
                             f"{SESSION}", number)
    return _history(source, found)


def read_plume(source: Source) -> History:
    """Operations that say which session and transaction they are of."""
    found: dict[tuple[int, int], tuple[int, int, Transaction]] = {}
    for number, raw in enumerate(source.lines, 1):
        line = raw.strip()
        if not line:
            continue
        match = TUPLE.match(line)
        if match is None:
            raise source.bad(f"{line!r}; expected r or w(KEY,VALUE,SESSION,TRANSACTION)", number)
        session, transaction = int(match[4]), int(match[5])
        _, _, operations = found.setdefault((session, transaction), (session, number, []))
        operations.append([match[1], int(match[2]), int(match[3])])
    return _history(source, found.values())


def _history(source: Source, found: Iterable[tuple[int, int, Transaction]]) -> History:
    events = Events()
    for session, line, operations in found:
        asked = [[f, key, None if f == "r" else value] for f, key, value in operations]
        events.add(INVOKE, session, "txn", asked, line)
        events.add(OK, session, "txn", operations, line)
    history = events.history(source)
    history.model, history.timed = "rw-register", False
    return history
