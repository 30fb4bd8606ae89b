"""The slow twin: linearizability by trying every order, in the plainest Python.

It shares nothing with the engines but the meaning of the five roles: values are Python values,
states are Python values, and an order is built one operation at a time.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from seatrial.checker.models import Role


@dataclass(frozen=True)
class Call:
    """One operation: what it did, and when (ret None: it may take effect at any later time)."""

    process: int
    role: Role
    a: Any
    b: Any
    inv: int
    ret: int | None
    key: Any = "k"
    mutated: bool = False       # it answers something else than it saw
    failed: bool = False        # it certainly did nothing

    def row(self) -> tuple[int, Any, Role, Any, Any, int, int | None]:
        """The form that from_intervals takes."""
        return self.process, self.key, self.role, self.a, self.b, self.inv, self.ret


def empty(value: Any) -> bool:
    return value is None or value in ([], "")


def same(x: Any, y: Any) -> bool:
    return (empty(x) and empty(y)) or x == y


def grown(state: Any, element: Any) -> Any:
    if isinstance(element, str):
        return (state or "") + element
    return (list(state) if isinstance(state, list) else [] if empty(state) else [state]) + [element]


def apply(role: Role, a: Any, b: Any, state: Any) -> tuple[bool, Any]:
    """Whether the operation could have answered so in this state, and the state after it."""
    if role == Role.READ:
        return same(state, a), state
    if role == Role.NOT:
        return not same(state, a), state
    if role == Role.WRITE:
        return True, a
    if role == Role.CAS:
        return same(state, a), b
    return True, grown(state, a)


Outcomes = Callable[[Call, Any], list[Any]]


def of_a_value(call: Call, state: Any) -> list[Any]:
    """The states that may follow, for models of one value."""
    fits, after = apply(call.role, call.a, call.b, state)
    return [None if empty(after) else after] if fits else []


def linearizable(calls: list[Call], initial: Any = None,
                 outcomes: Outcomes = of_a_value) -> bool:
    """Whether one order of the calls that did not fail explains all answers."""
    calls = [call for call in calls if not call.failed]
    seen: set[tuple[int, str]] = set()
    stack: list[tuple[int, Any]] = [(0, initial)]           # bits of placed calls, state
    returned = sum(1 << i for i, call in enumerate(calls) if call.ret is not None)
    while stack:
        placed, state = stack.pop()
        if placed & returned == returned:
            return True
        left = [i for i in range(len(calls)) if not placed >> i & 1]
        deadline = min((ret for i in left if (ret := calls[i].ret) is not None), default=None)
        for i in left:
            call = calls[i]
            if deadline is not None and call.inv > deadline:
                continue                                    # somebody returned before it began
            for after in outcomes(call, state):
                found = placed | 1 << i, repr(after)
                if found not in seen:
                    seen.add(found)
                    stack.append((found[0], after))
    return False
