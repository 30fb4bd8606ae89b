"""Random small histories, mostly explainable, some not: the fuel of the differential tests.

Each call gets an interval and a moment inside it; calls take effect in the order of those
moments, and now and then one answers what it could not have seen. Draws come from a seed.
"""
from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from elements import draw_intervals
from exhaustive import Call, apply, same

from seatrial.checker.models import Role

FAMILIES = ("register", "list", "list", "text")
FAILING = 90                    # the first process whose operation fails
CHANGES = (Role.WRITE, Role.APPEND, Role.ADD, Role.TAKE, Role.REMOVE, Role.ACQUIRE, Role.RELEASE,
           Role.INCREASE, Role.RENEW)


def random_calls(seed: int, key: Any = "k") -> list[Call]:
    """Draw a history of one key: a register with CAS, or a list or text that is appended to."""
    rng = random.Random(seed)
    family = rng.choice(("register", *FAMILIES))
    values, unique = rng.choice((2, 3, 4, 8)), rng.random() < 0.5
    crash, wrong = rng.choice((0.0, 0.1, 0.3)), rng.choice((0.0, 0.1, 0.3, 0.5))
    roles = _mix(rng, family)
    intervals = draw_intervals(rng, rng.randint(4, 12), rng.randint(2, 5), crash)
    calls: list[Call] = []
    state: Any = None
    for number, (process, inv, ret) in enumerate(intervals):
        role = rng.choice(roles)
        if ret is None and role in (Role.READ, Role.NOT):
            continue                        # says nothing
        fresh = number if unique else rng.randrange(values)
        a, b, mutated = _arguments(rng, family, role, state, fresh, wrong)
        if ret is not None or rng.random() < 0.6:
            fits, after = apply(role, a, b, state)
            state = after if fits else state
        calls.append(Call(process, role, a, b, inv, ret, key, mutated))
    return calls


def random_chain(seed: int, key: Any = "k") -> list[Call]:
    """Draw a history of one register whose written values are all different, CAS included."""
    rng = random.Random(f"chain{seed}")
    n, processes = rng.randint(4, 12), rng.randint(2, 5)
    crash, wrong = rng.choice((0.0, 0.1, 0.3)), rng.choice((0.0, 0.4, 0.8))
    cas = rng.choice((0.0, 0.3, 0.6))
    calls: list[Call] = []
    state, past = None, [None]
    for number, (process, inv, ret) in enumerate(draw_intervals(rng, n, processes, crash), 1):
        seen = rng.choice(past) if rng.random() < wrong else state
        if rng.random() < 0.45:
            if ret is not None:
                calls.append(Call(process, Role.READ, seen, None, inv, ret, key, seen != state))
            continue
        if rng.random() < cas:
            calls.append(Call(process, Role.CAS, seen, number, inv, ret, key, seen != state))
            fits = seen == state
        else:
            calls.append(Call(process, Role.WRITE, number, None, inv, ret, key))
            fits = True
        past.append(number)
        if fits and (ret is not None or rng.random() < 0.6):
            state = number
    return calls


def _mix(rng: random.Random, family: str) -> list[Role]:
    read, write, cas, other = rng.choice(((4, 3, 2, 1), (2, 3, 0, 0), (1, 1, 3, 0), (3, 2, 2, 2)))
    if family != "register":
        write, cas, other = (n * (rng.random() < 0.3) for n in (write, cas, other))
    append = 4 * (family != "register")
    return ([Role.READ] * read + [Role.WRITE] * write + [Role.CAS] * cas + [Role.NOT] * other
            + [Role.APPEND] * append)


def _arguments(
    rng: random.Random, family: str, role: Role, state: Any, fresh: int, wrong: float,
) -> tuple[Any, Any, bool]:
    """What a call asks and answers, and whether the answer is not what it saw."""
    def value() -> Any:
        if family == "list":
            return [rng.randrange(3) for _ in range(rng.randint(0, 2))]
        if family == "text":
            return "".join(rng.choice("ab") for _ in range(rng.randint(0, 3)))
        return rng.choice((None, fresh, fresh, fresh))

    other = value() if rng.random() < wrong else state
    mutated = not same(other, state)
    if role == Role.READ:
        return other, None, mutated
    if role == Role.NOT:
        expected = state if mutated else value()
        return expected, None, same(expected, state)
    if role == Role.CAS:
        return other, (other if rng.random() < 0.05 else value()), mutated
    if role == Role.APPEND:
        return ("ab"[fresh % 2] * (1 + fresh % 3) if family == "text" else fresh), None, False
    return value(), None, False


def with_failures(rng: random.Random, calls: list[Call]) -> list[Call]:
    """The same calls and, often, one or two by other processes that failed."""
    failed = [replace(rng.choice(calls), process=FAILING + i, inv=(at := rng.randint(0, 12)),
                      ret=at + rng.randint(0, 6), failed=True)
              for i in range(rng.choice((0, 0, 1, 2)))] if calls else []
    return calls + [call for call in failed if call.role in CHANGES]
