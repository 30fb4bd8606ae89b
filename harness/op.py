"""An operation, and the events that make a history.

The same struct is an invocation (``type == "invoke"``), its completion (``ok``: it happened;
``fail``: it certainly did not happen; ``info``: it may or may not have happened, now or
later), and a fault's life (``process == NEMESIS``, always ``info``).
"""
from __future__ import annotations

from typing import Any

import msgspec

NEMESIS = -1          # the nemesis's process id
INVOKE, OK, FAIL, INFO = "invoke", "ok", "fail", "info"
TYPES = (INVOKE, OK, FAIL, INFO)   # position = the number in the history's type column


class Op(msgspec.Struct, gc=False):
    """One event.

    f: what is done (``read``, ``write``, ``cas``, or a fault's action).
    value: the argument or result; for a fault its details. JSON-like.
    key: the independent key, or None.
    process: logical process; after info a worker goes on under a new one. NEMESIS for faults.
    time_ns: since the start of the run. For an invocation: when it was due, so that latency
      shows queueing too (no coordinated omission).
    error: why it failed, one word or sentence.
    node: index into the test's nodes: whom the client talked to, or -1.
    domain, rindex, epoch, term: what the answer carried, or None. Of an invocation: the domain
      that it was sent to, and the session token that it was sent with.
    confirmed: names of the domains that confirmed it, separated by spaces, or None.
    index: position in the history, given when it is recorded.
    """

    f: str
    value: Any = None
    key: bytes | None = None
    type: str = INVOKE
    process: int = -2
    time_ns: int = -1
    error: str | None = None
    node: int = -1
    domain: int = 0
    rindex: int | None = None
    epoch: int | None = None
    term: int | None = None
    index: int = -1
    confirmed: str | None = None

    def completed(self, type: str, value: Any = None, error: str | None = None) -> Op:
        """Return this invocation's completion of the given type."""
        return Op(self.f, value, self.key, type, self.process, error=error, node=self.node)
