"""Leases: a lock that whoever has it loses after a time, by the clock of the history.

================ ====================== ==============================================
operation        value                  ok means
================ ====================== ==============================================
acquire          for how long, in ms    nobody had it any more, and who asked has it
renew, keepalive for how long, in ms    who asked still had it, and has it from now on
release          nil                    who asked still had it, and nobody has it
================ ====================== ==============================================

Each takes effect at a moment between its invocation and its end, and the lease lasts from that
moment: so a client that counts from before it asked can't be wrong. This is the only model whose
verdict depends on times. In the operations ``a`` stands for [who, for how long, when it was
invoked, when it ended], in ns.

The monitor. A *tenure* is what one client does from an acquire on; nothing of others can come in
between, so an order puts one tenure after the other. What is known of one gives the latest moment
f at which it began and the earliest one s at which it ended. Of two, one must come first: X before
Y only if s(X) <= f(Y). Two that can't be put in either order are a violation (zones, as in
zones.pyx: found by one sweep). If the tenures can be put one after the other in the order of f,
each as soon as it may be, that explains the history. What is neither is left to the search: to
put tenures of different lengths between their earliest and latest moments is a scheduling problem
that is NP-complete (Garey and Johnson 1979, SS1).
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from .history import INFO, OK, History, Ints
from .models import Role
from .operations import INF, NIL, OBJECTS, Operations, Values

NS_PER_MS = 1_000_000
FOREVER = 1 << 61               # ns: the end of what never ended
LONGEST_MS = FOREVER // NS_PER_MS


def told(history: History, values: Values, kind: Ints, asked: Ints, invocation: Ints,
         completion: Ints, outcome: Ints, keep: npt.NDArray[np.bool_]) -> Ints:
    """Return the token of what is told of each operation.

    A crashed acquire of a process that does nothing more on the key is taken from ``keep``: it
    could only have been in the way of others. (A crashed renew may have made a lease shorter.)
    """
    tokens = np.full(len(kind), NIL, dtype=np.int64)
    later: dict[tuple[int, int], bool] = {}         # key and process: does something more
    for i in range(len(kind) - 1, -1, -1):
        row, end = int(invocation[i]), int(completion[i])
        who = int(history.key[row]), int(history.process[row])
        if outcome[i] == INFO and kind[i] == Role.ACQUIRE and who not in later:
            keep[i] = False
        if not keep[i]:
            continue
        later[who] = True
        ms = 0 if kind[i] == Role.RELEASE else int(asked[i])
        if kind[i] != Role.RELEASE and not 0 < ms <= LONGEST_MS:
            raise history.bad(f"{history.fs[history.f[row]]} has the value "
                              f"{values.value(ms)!r}; the lease model expects for how long, in "
                              "ms: an integer above 0", row)
        ended = outcome[i] == OK
        times = [int(history.time[row]), int(history.time[end]) if ended else FOREVER]
        if min(times) < 0:
            raise history.bad("the lease model expects the time of each event", row)
        if times[1] < times[0]:
            raise history.bad(f"it ends at {times[1]} ns, before it began at {times[0]} ns; the "
                              "lease model expects one clock", end)
        tokens[i] = values.token([who[1], ms * NS_PER_MS, *times])
    return tokens


@dataclass(slots=True)
class Tenure:
    """What one client did from an acquire on; lo and hi: when, at the earliest and latest.

    crashed: a release or renew that may have taken effect, from when on, and for how long then.
    """

    operations: list[int] = field(default_factory=list)
    lo: list[int] = field(default_factory=list)
    hi: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    released: bool = False
    crashed: int = -1
    crashed_from: int = FOREVER
    crashed_length: int = 0

    def narrow(self) -> bool:
        """Narrow the times by each other; False when they contradict."""
        for k in range(1, len(self.lo)):
            self.lo[k] = max(self.lo[k], self.lo[k - 1])
            self.hi[k] = min(self.hi[k], self.hi[k - 1] + self.lengths[k - 1])
        for k in range(len(self.lo) - 1, 0, -1):
            self.hi[k - 1] = min(self.hi[k - 1], self.hi[k])
            self.lo[k - 1] = max(self.lo[k - 1], self.lo[k] - self.lengths[k - 1])
        return all(lo <= hi for lo, hi in zip(self.lo, self.hi, strict=True))

    def ends(self, begins: int) -> tuple[int, bool]:
        """When it ends at the earliest, if it begins no earlier than this, and whether what crashed
        had to take effect for that."""
        last = max(begins, self.lo[-1])
        if self.released:
            return last, False
        over, sooner = last + self.lengths[-1], max(self.crashed_from, last) + self.crashed_length
        return min(over, sooner), sooner < over


def judge(operations: Operations,
          keys: Sequence[int]) -> tuple[list[str], dict[int, list[int]]]:
    """Judge leases by their tenures: verdicts, and for violations operations that show them."""
    verdicts, guilty = [], {}
    order = np.lexsort((operations.inv, operations.key))
    starts = np.searchsorted(operations.key[order], np.arange(len(operations.keys) + 1))
    for key in keys:
        rows = order[starts[key]:starts[key + 1]].tolist()
        verdict, found = _judge(operations, rows)
        verdicts.append(verdict)
        if verdict == "violation":
            guilty[key] = sorted(set(found))
    return verdicts, guilty


def _judge(operations: Operations, rows: list[int]) -> tuple[str, list[int]]:
    tenures, odd = _tenures(operations, rows)
    if odd is None:
        return "undecided", []
    if odd:
        return "violation", odd
    for tenure in tenures:
        if not tenure.narrow():
            return "violation", tenure.operations
    pair = _neither_first(tenures)
    if pair:
        return "violation", pair[0].operations + pair[1].operations
    return ("ok" if _explained(operations, tenures) else "undecided"), []


def _tenures(operations: Operations, rows: list[int]) -> tuple[list[Tenure], list[int] | None]:
    """The tenures, and what is done without one; None: by a process that crashed before."""
    objects = operations.values.objects
    tenures, now = list[Tenure](), dict[int, Tenure]()
    crashed, alone = set[int](), list[int]()
    for i in rows:
        who, length, begun, ended = objects[operations.a[i] - OBJECTS]
        if who in crashed:
            return [], None
        if operations.ret[i] == INF:
            crashed.add(who)
            if operations.kind[i] == Role.ACQUIRE:
                return [], None
            if who in now:
                now[who].crashed, now[who].crashed_from = i, begun
                now[who].crashed_length = length
            continue
        if operations.kind[i] == Role.ACQUIRE:
            now[who] = Tenure()
            tenures.append(now[who])
        elif who not in now or now[who].released:
            alone.append(i)
            continue
        tenure = now[who]
        tenure.operations.append(i)
        tenure.lo.append(begun)
        tenure.hi.append(ended)
        tenure.lengths.append(length)
        tenure.released = operations.kind[i] == Role.RELEASE
    return tenures, alone[:1]


def _neither_first(tenures: list[Tenure]) -> tuple[Tenure, Tenure] | None:
    """Two tenures neither of which can be before the other, if there are any."""
    zones = [(tenure.hi[0], tenure.ends(tenure.lo[0])[0], i) for i, tenure in enumerate(tenures)]
    last, far = -1, -1                      # the last zone with f < s, and where it ends
    for f, s, i in sorted(zones, key=lambda zone: (min(zone[:2]), zone[0] < zone[1])):
        if f < far:
            return tenures[last], tenures[i]
        if f < s:
            last, far = i, s
    return None


def _explained(operations: Operations, tenures: list[Tenure]) -> bool:
    """Whether the tenures fit one after the other, by the latest moments at which they began."""
    order = sorted(tenures, key=lambda tenure: tenure.hi[0])
    now, placed = -FOREVER, list[int]()
    for tenure in order:
        if now > tenure.hi[0]:
            return False
        now, crashed = tenure.ends(max(now, tenure.lo[0]))
        placed += tenure.operations
        if crashed:
            placed.append(tenure.crashed)
    first = np.maximum.accumulate(operations.inv[placed]) if placed else np.zeros(0)
    return all(operations.ret[i] > begun for (_, i), begun in zip(
        pairwise(placed), first.tolist(), strict=False))
