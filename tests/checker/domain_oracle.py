"""The slow twin of the checks of domains: is there any life of a tree that answers so?

Operations take effect one after the other, each between its invocation and its return. A change
appends to the root's log; a linearizable read shows the whole log; any other read shows a part from
the beginning, and one with a token at least what the token stands for: a rindex, or without
coordinates all that its process has seen. Every choice is tried. With coordinates, entries of no
key may stand between the others, a read shows the state where it says, and a write stands there or
before.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from seatrial.checker import History

LINEARIZABLE, PREFIX, WRITE = "read", "read-prefix", "write"


@dataclass(frozen=True)
class Answered:
    """One operation. ret None: a write that may take effect at any later time, or never."""

    process: int
    f: str
    key: str
    value: Any
    inv: int
    ret: int | None
    domain: int = 0
    rindex: int | None = None
    token: int | None = None


def history_of(calls: list[Answered]) -> History:
    """The same as a history; what ties in time overlaps."""
    events = sorted([(call.inv, 0, i) for i, call in enumerate(calls)]
                    + [(call.ret, 1, i) for i, call in enumerate(calls) if call.ret is not None])
    rows = []
    for time, ends, i in events:
        call = calls[i]
        row: dict[str, Any] = {
            "process": call.process, "f": call.f, "key": call.key.encode(), "time": time * 1000,
            "domain": call.domain, "type": "ok" if ends else "invoke",
            "value": call.value if ends or call.f == WRITE else None}
        rindex = call.rindex if ends else call.token
        rows.append(row | ({} if rindex is None else {"rindex": rindex}))
    return History.from_rows(rows)


Log = tuple[tuple[int, str, Any], ...]          # rindex, key, value


def possible(calls: list[Answered]) -> bool:
    """Whether there is a life that answers so. An operation is ``done`` after one step, or, a write
    that was executed before its last attempt, after two: the attempt is an entry too."""
    n = len(calls)
    returned = sum(1 << i for i, call in enumerate(calls) if call.ret is not None)
    stack: list[tuple[int, int, Log, int, tuple[tuple[int, int], ...]]] = [(0, 0, (), 0, ())]
    known = set()
    while stack:
        begun, done, log, end, cuts = stack.pop()
        if done & returned == returned:
            return True
        left = [i for i in range(n) if not done >> i & 1]
        deadline = min((ret for i in left if (ret := calls[i].ret) is not None), default=None)
        for i in left:
            call, bit = calls[i], 1 << i
            if deadline is not None and call.inv > deadline:
                continue
            if begun & bit:
                assert call.rindex is not None
                steps = [(True, log, call.rindex, dict(cuts))] if call.rindex > end else []
            else:
                steps = after(call, log, end, dict(cuts))
            for whole, grown, now, seen in steps:
                found = (begun | bit, done | bit * whole, grown, now, tuple(sorted(seen.items())))
                if found not in known:
                    known.add(found)
                    stack.append(found)
    return False


def after(call: Answered, log: Log, end: int, cuts: dict[int, int]) -> list[
        tuple[bool, Log, int, dict[int, int]]]:
    """Whether it is done, the log, its end and what sessions have seen, in each way that it may
    have answered so."""
    floor = cuts.get(call.process, 0) if call.token is not None else 0
    if call.f == WRITE:
        places = [end + 1] if call.rindex is None else range(end + 1, call.rindex + 1)
        return [(call.rindex in (None, at), (*log, (at, call.key, call.value)), at,
                 cuts | {call.process: at}) for at in places]
    if call.rindex is not None:
        least = call.token or 0
        now = max(end, call.rindex)
        if call.rindex < least or (call.f == LINEARIZABLE and call.rindex < end):
            return []
        fits = state(log, call.key, call.rindex) == call.value
        return [(True, log, now, cuts)] if fits else []
    seen = [end] if call.f == LINEARIZABLE else range(floor, end + 1)
    return [(True, log, end, cuts | {call.process: max(cuts.get(call.process, 0), cut)})
            for cut in seen if state(log, call.key, cut) == call.value]


def state(log: Log, key: str, until: int) -> Any:
    return next((value for at, name, value in reversed(log) if name == key and at <= until), None)
