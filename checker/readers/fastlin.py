"""The histories of fastlin: whole operations with their times, each on a line.

::

    # stack
    push 1 1 3
    pop 1 6 8

The last two numbers are when it was called and when it returned; what returned at a time came
before what was called then. A removal of -1 found nothing.
"""
from __future__ import annotations

from ..history import INVOKE, OK, History
from .events import Events
from .limo import value
from .source import Source

EMPTY = -1
MODELS = {"queue": "fifo-queue", "stack": "stack", "priorityqueue": "priority-queue"}
METHODS = {                     # of each type: how we call it, and whether it brings a value
    "queue": {"enq": ("enqueue", True), "deq": ("dequeue", False), "peek": ("peek", False)},
    "stack": {"push": ("push", True), "pop": ("pop", False), "peek": ("peek", False)},
    "priorityqueue": {"insert": ("insert", True), "poll": ("poll", False),
                      "peek": ("peek", False)},
}


def read_fastlin(source: Source) -> History:
    """Operations under a header that names their object."""
    lines = source.lines
    kind = lines[0].removeprefix("#").strip() if lines and lines[0].startswith("#") else ""
    if kind not in METHODS:
        raise source.bad(f"it begins with {lines[0] if lines else ''!r}; expected one of "
                         f"{', '.join('# ' + name for name in METHODS)}", 1)
    moments: list[tuple[int, int, int, str, int | str | None]] = []
    for number, line in enumerate(lines[1:], 2):
        cells = line.split()
        if not cells:
            continue
        method = METHODS[kind].get(cells[0])
        if method is None or len(cells) != 4 or not (cells[2] + cells[3]).isdigit():
            raise source.bad(f"{line!r}; expected one of {', '.join(METHODS[kind])}, a value, and "
                             "two times", number)
        f, brings = method
        called, returned, seen = int(cells[2]), int(cells[3]), value(cells[1])
        if called >= returned:
            raise source.bad(f"returned at {returned}; expected later than the call at {called}",
                             number)
        answer = None if seen == EMPTY and not brings else seen
        moments += [(called, INVOKE, number, f, seen if brings else None),
                    (returned, OK, number, f, answer)]
    events = Events()
    for _, type, number, f, seen in sorted(moments, key=lambda moment: (moment[0], -moment[1])):
        events.add(type, number, f, seen, number)       # each operation is a process of its own
    history = events.history(source)
    history.model = MODELS[kind]
    return history
