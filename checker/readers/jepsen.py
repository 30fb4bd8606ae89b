"""Jepsen's histories: EDN, and the lines that its log has of operations."""
from __future__ import annotations

import re

from ..edn import EdnError, Reader, loads
from ..history import TYPE_NAMES, History
from .events import Events
from .source import Source

EVENT = re.compile(r"INFO\s+jepsen\.util - (\S+)\s+:(\w+)\s+:([\w-]+)\s+(.*?)\s*$")


def read_edn(source: Source) -> History:
    """Maps of :process, :type, :f, :value, maybe :key: bare, or inside of one vector."""
    try:
        kinds, processes, fs, values, keys, times, lines = Reader(source.text).events()
    except EdnError as error:
        raise source.bad(str(error), error.line) from error
    return Events(kinds, processes, fs, values, keys, times, lines).history(source)


def read_text(source: Source) -> History:
    """A log with lines like ``INFO  jepsen.util - 0 :invoke :write 3``; others are passed over."""
    events = Events()
    for number, line in enumerate(source.lines, 1):
        found = EVENT.match(line)
        if found is None:
            continue
        process, kind, f, value = found.groups()
        if kind not in TYPE_NAMES:
            continue
        try:
            events.add(TYPE_NAMES.index(kind), int(process) if process.isdecimal() else process, f,
                       loads(value), number)
        except EdnError as error:
            raise source.bad(str(error), number) from error
    return events.history(source)
