"""Random small histories, mostly explainable, some not: the fuel of the differential tests.

Each call gets an interval and a moment inside it; calls take effect in the order of those
moments, and now and then one answers what it could not have seen. Draws come from a seed.
"""
from __future__ import annotations

import random
from typing import Any

from elements import draw_intervals
from exhaustive import Call, apply, same

from seatrial.checker.models import Role

FAMILIES = ("register", "list", "list", "text")


def random_calls(seed: int, key: Any = "k") -> list[Call]:
    """Draw a history of one key: a register with CAS, or a list or text that is appended to."""
    rng = random.Random(seed)
    family = rng.choice(("register", *FAMILIES))
    values, unique = rng.choice((2, 3, 4, 8)), rng.random() < 0.5
    crash = rng.choice((0.0, 0.0, 0.1, 0.3))
    roles = _mix(rng, family)
    calls: list[Call] = []
    state: Any = None
    for number, (inv, ret) in enumerate(_intervals(rng, crash)):
        role = rng.choice(roles)
        if ret is None and role in (Role.READ, Role.NOT):
            continue                        # says nothing
        fresh = number if unique else rng.randrange(values)
        a, b = _arguments(rng, family, role, state, fresh)
        if role == Role.NOT and same(a, state) and rng.random() < 0.9:
            continue
        if ret is not None or rng.random() < 0.6:
            fits, after = apply(role, a, b, state)
            state = after if fits else state
        calls.append(Call(len(calls), role, a, b, inv, ret, key))
    return calls


def random_chain(seed: int, key: Any = "k") -> list[Call]:
    """Draw a history of one register whose written values are all different, CAS included."""
    rng = random.Random(f"chain{seed}")
    n, processes = rng.randint(4, 14), rng.randint(2, 5)
    crash, wrong = rng.choice((0.0, 0.1, 0.3)), rng.choice((0.0, 0.3, 0.6))
    cas = rng.choice((0.0, 0.3, 0.6))
    calls: list[Call] = []
    state, past = None, [None]
    for number, (process, inv, ret) in enumerate(draw_intervals(rng, n, processes, crash), 1):
        seen = rng.choice(past) if rng.random() < wrong else state
        if rng.random() < 0.45:
            if ret is not None:
                calls.append(Call(process, Role.READ, seen, None, inv, ret, key))
            continue
        if rng.random() < cas:
            calls.append(Call(process, Role.CAS, seen, number, inv, ret, key))
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


def _intervals(rng: random.Random, crash: float) -> list[tuple[int, int | None]]:
    """Intervals in the order in which they take effect; times tie now and then."""
    n = rng.randint(1, 10)
    span, longest = n * rng.choice((1, 3)), rng.choice((2, 4, 10))
    drawn: list[tuple[float, int, int | None]] = []
    for _ in range(n):
        inv = rng.randint(0, span)
        ret = None if rng.random() < crash else inv + rng.randint(1, longest)
        drawn.append((rng.uniform(inv, inv + 12 if ret is None else ret), inv, ret))
    return [(inv, ret) for _, inv, ret in sorted(drawn, key=lambda cell: cell[0])]


def _arguments(
    rng: random.Random, family: str, role: Role, state: Any, fresh: int,
) -> tuple[Any, Any]:
    def value() -> Any:
        if family == "list":
            return [rng.randrange(3) for _ in range(rng.randint(0, 2))]
        if family == "text":
            return "".join(rng.choice("ab") for _ in range(rng.randint(0, 3)))
        return rng.choice((None, fresh, fresh, fresh))

    if role == Role.READ:
        return (state if rng.random() < 0.9 else value()), None
    if role == Role.CAS:
        old = state if rng.random() < 0.8 else value()
        return old, (old if rng.random() < 0.05 else value())
    if role == Role.APPEND:
        return ("ab"[fresh % 2] * (1 + fresh % 3) if family == "text" else fresh), None
    return value(), None
