"""The slow twin of the checks of domains: is there any life of a tree that answers so?

Operations take effect one after the other, each between its invocation and its return. A change
appends to the root's log; a linearizable read shows the whole log; any other read shows a part from
the beginning, and one with a token at least what the token stands for: a rindex, or without
coordinates all that its process has seen. Every choice is tried. With coordinates, entries of no
key may stand between the others, and every answer stands where it says.
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
    """Whether there is a life that answers so."""
    returned = sum(1 << i for i, call in enumerate(calls) if call.ret is not None)
    stack: list[tuple[int, Log, int, tuple[tuple[int, int], ...]]] = [(0, (), 0, ())]
    known = set()
    while stack:
        placed, log, end, cuts = stack.pop()
        if placed & returned == returned:
            return True
        left = [i for i in range(len(calls)) if not placed >> i & 1]
        deadline = min((ret for i in left if (ret := calls[i].ret) is not None), default=None)
        for i in left:
            if deadline is not None and calls[i].inv > deadline:
                continue
            for grown, now, seen in after(calls[i], log, end, dict(cuts)):
                found = placed | 1 << i, grown, now, tuple(sorted(seen.items()))
                if found not in known:
                    known.add(found)
                    stack.append(found)
    return False


def after(call: Answered, log: Log, end: int, cuts: dict[int, int]) -> list[
        tuple[Log, int, dict[int, int]]]:
    """The log, its end and what sessions have seen, in each way that it may have answered so."""
    floor = cuts.get(call.process, 0) if call.token is not None else 0
    if call.f == WRITE:
        at = call.rindex if call.rindex is not None else end + 1
        if at <= end:
            return []
        return [((*log, (at, call.key, call.value)), at, cuts | {call.process: at})]
    if call.rindex is not None:
        least = call.token or 0
        now = max(end, call.rindex)
        if call.rindex < least or (call.f == LINEARIZABLE and call.rindex < end):
            return []
        fits = state(log, call.key, call.rindex) == call.value
        return [(log, now, cuts)] if fits else []
    places = [end] if call.f == LINEARIZABLE else range(floor, end + 1)
    return [(log, end, cuts | {call.process: max(cuts.get(call.process, 0), cut)})
            for cut in places if state(log, call.key, cut) == call.value]


def state(log: Log, key: str, until: int) -> Any:
    return next((value for at, name, value in reversed(log) if name == key and at <= until), None)
