"""One order of a few operations that explains what they answered: the plainest search.

Made for a counterexample's last sentence, not for judging: it works on a handful of operations
and gives up after a bounded number of steps.
"""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .models import OBSERVATIONS, Family, Role
from .operations import APPENDS_TEXT, BYTES, NIL, OBJECTS, PLAIN, Operations

MOST_STEPS = 5_000
MOST_OPERATIONS = 60

State = tuple[int, ...]         # the path of symbols that a value is made of


class Unknown:
    """A value that the history does not mention."""


UNKNOWN = Unknown()


def explain_before(
    ops: Operations, key: int, culprit: int, initial: int | None,
) -> list[int] | None:
    """Order the operations that ended before the culprit's return; None when that is too much.

    ``initial`` None: any value may be there at the start.
    """
    if len(ops) > MOST_OPERATIONS or ops.family != Family.VALUE:
        return None
    end = ops.ret[culprit]
    must = [i for i in range(len(ops)) if ops.ret[i] < end]
    may = [i for i in range(len(ops))
           if i != culprit and ops.ret[i] >= end and ops.kind[i] not in OBSERVATIONS]
    a, b = ([path(ops, key, int(token)) for token in column] for column in (ops.a, ops.b))
    starts = [path(ops, key, initial)] if initial is not None else [(), *dict.fromkeys(a)]
    steps = MOST_STEPS
    for start in starts:
        stack: list[tuple[tuple[int, ...], State]] = [((), start)]
        seen: set[tuple[frozenset[int], State]] = set()
        while stack and steps:
            steps -= 1
            placed, state = stack.pop()
            left = [i for i in must if i not in placed]
            if not left:
                return list(placed)
            first = min(int(ops.ret[i]) for i in left)
            for i in [*(j for j in may if j not in placed), *reversed(left)]:
                if ops.inv[i] > first:
                    continue
                after = step(Role(int(ops.kind[i])), a[i], b[i], state)
                found = (frozenset((*placed, i)), after)
                if after is not None and found not in seen:
                    seen.add((found[0], after))
                    stack.append(((*placed, i), after))
    return None


def step(role: Role, a: State, b: State, state: State) -> State | None:
    """Return the state after an operation, or None when it can't have answered so."""
    match role:
        case Role.READ:
            return state if state == a else None
        case Role.NOT:
            return state if state != a else None
        case Role.WRITE:
            return a
        case Role.CAS:
            return b if state == a else None
        case _:
            return state + a


def path(ops: Operations, key: int, token: int) -> State:
    """Return the symbols that a value of a key is made of."""
    if token == NIL:
        return ()
    i, mode = token - OBJECTS, ops.modes[key]
    if i >= 0 and mode != PLAIN and isinstance(value := ops.values.objects[i], list | tuple):
        return tuple(map(ops.values.token, value))
    if i >= 0 and mode == APPENDS_TEXT and isinstance(value, str | bytes):
        data = value.encode() if isinstance(value, str) else value
        return tuple(BYTES + byte for byte in data)
    return (token,)


def value_of(ops: Operations, key: int, state: Iterable[int]) -> Any:
    """Return the value that a path of symbols stands for, or UNKNOWN."""
    symbols = list(state)
    if ops.family in (Family.USER, Family.COUNTER):
        return symbols[0]
    if ops.family != Family.VALUE:
        return [ops.values.value(symbol) for symbol in symbols]
    if NIL in symbols:
        return UNKNOWN
    if ops.modes[key] == PLAIN:
        return ops.values.value(symbols[0]) if symbols else None
    if symbols and all(BYTES <= symbol < BYTES + 256 for symbol in symbols):
        return bytes(symbol - BYTES for symbol in symbols).decode(errors="replace")
    return [ops.values.value(symbol) for symbol in symbols]
