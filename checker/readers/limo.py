"""LiMo's histories of queues and stacks (Abdulla et al., PLDI'25).

::

    # @object atomic-stack
    [1] call push(a)
    [2] call pop
    [1] return
    [2] return a

A line is an event; ``empty`` says that nothing was there. ``pop(a)`` with a bare return popped
a; a bare return of ``pop`` alone found nothing.
"""
from __future__ import annotations

import re

from ..history import INVOKE, OK, History
from .events import Events
from .source import Source

CALL = re.compile(r"\[(\d+)\]\s+call\s+(\w+)\s*(?:\((.*)\)|(\S+))?$")
RETURN = re.compile(r"\[(\d+)\]\s+return(?:\s+(\S+))?$")
OBJECT = re.compile(r"#\s*@object\s+(\S+)$")
MODELS = {"atomic-queue": "fifo-queue", "atomic-stack": "stack"}
ADDS = frozenset({"add", "enq", "enqueue", "push"})
REMOVES = frozenset({"remove", "deq", "dequeue", "pop"})
NAMES = {"fifo-queue": ("enqueue", "dequeue"), "stack": ("push", "pop")}
EMPTY = "empty"


def read_limo(source: Source) -> History:
    """Calls and returns, each on a line; of what, a comment says."""
    events = Events()
    model = ""
    open_: dict[int, tuple[str, int | str | None]] = {}     # process -> f, what it asked for
    for number, raw in enumerate(source.lines, 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            found = OBJECT.match(line)
            model = MODELS.get(found[1], "") if found else model
        elif (found := CALL.match(line)):
            if not model:
                raise source.bad(f"a call before '# @object'; expected one of {', '.join(MODELS)}",
                                 number)
            process, asked = int(found[1]), value(found[3] or found[4])
            f = NAMES[model][_removes(source, found[2], number)]
            open_[process] = f, asked
            events.add(INVOKE, process, f, asked if f == NAMES[model][0] else None, number)
        elif (found := RETURN.match(line)):
            process = int(found[1])
            if process not in open_:
                raise source.bad(f"process {process} returns, but it called nothing", number)
            f, asked = open_.pop(process)
            answer = asked if found[2] is None else None if found[2] == EMPTY else value(found[2])
            events.add(OK, process, f, answer, number)
        else:
            raise source.bad(f"{line!r} is neither '[process] call ...' nor '[process] return ...'",
                             number)
    history = events.history(source)
    history.model = model
    return history


def _removes(source: Source, method: str, number: int) -> bool:
    if method not in ADDS | REMOVES:
        raise source.bad(f"unknown method {method!r}; expected one of "
                         f"{', '.join(sorted(ADDS | REMOVES))}", number)
    return method in REMOVES


def value(text: str | None) -> int | str | None:
    """Return a value as it is written: a number, a name, or nothing."""
    if not text:
        return None
    return int(text) if text.lstrip("-").isdigit() else text
