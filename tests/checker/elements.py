"""The slow twin of the models of elements, and random small histories for them.

States are plain Python values; ``outcomes`` says what may follow, in the plainest way.
"""
from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from exhaustive import Call, Outcomes

from seatrial.checker.models import UNKNOWN, Family, Role

LINES = (Family.FIFO, Family.STACK, Family.PRIORITY)
END = 100               # when the last call of a lease has taken effect
INITIAL: dict[Family, Any] = {Family.COUNTER: 0}


def outcomes_of(family: Family) -> Outcomes:
    """What may follow a state in a model."""
    return {Family.FIFO: line, Family.STACK: line_from_the_end, Family.PRIORITY: priority,
            Family.BAG: bag, Family.SET: of_a_set, Family.MUTEX: lock, Family.OWNED_MUTEX: lock,
            Family.COUNTER: counter, Family.LEASE: lease}[family]


def line(call: Call, state: Any) -> list[Any]:
    state = state or ()
    if call.role == Role.ADD:
        return [(*state, call.a)]
    if call.a is None:
        return [state] if not state else []
    if not state or call.a not in (state[0], UNKNOWN):
        return []
    return [state if call.role == Role.PEEK else state[1:]]


def line_from_the_end(call: Call, state: Any) -> list[Any]:
    state = state or ()
    if call.role == Role.ADD:
        return [(*state, call.a)]
    return [after[::-1] for after in line(call, state[::-1])]


def priority(call: Call, state: Any) -> list[Any]:
    return [tuple(sorted(after, reverse=True))
            for after in line(call, tuple(sorted(state or (), reverse=True)))]


def bag(call: Call, state: Any) -> list[Any]:
    state = state or ()
    if call.role == Role.ADD:
        return [tuple(sorted((*state, call.a)))]
    if call.a is None:
        return [state] if not state else []
    if call.role == Role.PEEK:
        return [state] if call.a in state else []
    return [state[:i] + state[i + 1:] for i, x in enumerate(state) if call.a in (x, UNKNOWN)]


def of_a_set(call: Call, state: Any) -> list[Any]:
    have = set(state or ())
    if call.role == Role.ALL:
        fits = set(call.a) == have
    else:
        fits = {Role.HAS: call.a in have, Role.LACKS: call.a not in have}.get(call.role, True)
    if call.role == Role.ADD:
        have.add(call.a)
    elif call.role == Role.REMOVE:
        have.discard(call.a)
    return [tuple(sorted(have))] if fits else []


def lock(call: Call, state: Any) -> list[Any]:
    if call.role == Role.ACQUIRE:
        return [(call.a,)] if not state else []
    return [()] if state and state[0] == call.a else []


def lease(call: Call, state: Any) -> list[Any]:
    """Every whole moment at which a call may take effect: (when, who has it, until when)."""
    then, holder, until = state or (0, None, 0)
    moments = range(max(then, call.inv), (END if call.ret is None else call.ret) + 1)
    if call.role == Role.ACQUIRE:
        return [(now, call.process, now + call.a) for now in moments
                if holder is None or now >= until]
    if holder != call.process:
        return []
    renews = call.role == Role.RENEW
    return [(now, *((holder, now + call.a) if renews else (None, 0))) for now in moments
            if now <= until]


def counter(call: Call, state: Any) -> list[Any]:
    if call.role == Role.INCREASE:
        return [state + call.a]
    return [state] if state == call.a else []


def random_elements(seed: int, family: Family, key: Any = "k") -> list[Call]:
    """Draw a history of one key: calls take effect in some order, some answer wrongly."""
    rng = random.Random(f"{family}{seed}")
    n, processes = rng.randint(4, 12), rng.randint(2, 5)
    if family in (Family.MUTEX, Family.OWNED_MUTEX):
        n *= 2                              # many have to wait, and are left out
    crash = rng.choice((0.0, 0.0, 0.1, 0.25))
    wrong = rng.choice((0.0, 0.2, 0.5))
    if family is Family.LEASE:
        return random_leases(rng, n, processes, crash, wrong, key)
    grows = rng.random() < 0.6              # of sets: nothing is removed
    values = rng.choice((2, 4)) if rng.random() < 0.4 else 0
    outcomes, state = outcomes_of(family), INITIAL.get(family, ())
    intervals = draw_intervals(rng, n, processes, crash)
    calls: list[Call] = []
    holder = -1
    for number, (process, inv, ret) in enumerate(intervals):
        fresh = rng.randrange(values) if values else number
        call = draw_call(rng, family, state, fresh,
                         Call(process, Role.ADD, None, None, inv, ret, key), holder, grows)
        if call.role == Role.ACQUIRE and state and rng.random() < 0.85 + wrong / 4:
            continue                        # it would have to wait
        if rng.random() < wrong:
            other = mutated(rng, call, n)
            call = changed(other, mutated=other != call)
        takes_effect = ret is not None or rng.random() < 0.6
        after = outcomes(call, state)
        if call.role == Role.ACQUIRE and not after:
            call = changed(call, mutated=True)      # it should have waited
        if takes_effect and after:
            state = rng.choice(after)
            if call.role == Role.ACQUIRE:
                holder = process
        if ret is None and call.role in (Role.PEEK, Role.HAS, Role.LACKS, Role.ALL, Role.COUNT):
            continue
        if ret is None and call.role == Role.TAKE and rng.random() < 0.8:
            call = changed(call, a=UNKNOWN)
        if call.role == Role.TAKE and ret is None and call.a is None:
            call = changed(call, a=UNKNOWN)
        calls.append(call)
    return calls[:12]


def random_leases(rng: random.Random, n: int, processes: int, crash: float, wrong: float,
                  key: Any) -> list[Call]:
    """Leases that last some moments; who acts is told how it went, or the contrary."""
    calls: list[Call] = []
    holder, until, length = -1, 0, rng.choice((2, 5, 9))
    for process, inv, ret in draw_intervals(rng, n, processes, crash):
        end = inv + 3 if ret is None else ret
        asked = length if rng.random() < 0.7 else rng.randint(1, 9)
        held = holder == process and inv <= until
        role = (rng.choice((Role.RENEW, Role.RELEASE, Role.RELEASE, Role.ACQUIRE)) if held else
                rng.choice((Role.ACQUIRE,) * 8 + (Role.RELEASE,)))
        now = rng.randint(inv, end)
        if role == Role.ACQUIRE and holder not in (-1, process):
            now = max(now, min(until, end))
        fits = (holder == -1 or now >= until) if role == Role.ACQUIRE else (
            holder == process and now <= until)
        told = rng.random() < wrong
        if ret is not None and not fits and not told:
            continue                        # it is refused
        calls.append(Call(process, role, 0 if role == Role.RELEASE else asked, None, inv, ret, key,
                          mutated=not fits and ret is not None))
        if fits and (ret is not None or rng.random() < 0.6):
            holder = -1 if role == Role.RELEASE else process
            until = now + asked
    return [call for call in calls if (call.ret or call.inv) < END - 10][:12]


def draw_intervals(rng: random.Random, n: int, processes: int,
                   crash: float) -> list[tuple[int, int, int | None]]:
    """(process, call, return) in the order in which they take effect; a process does one thing at
    a time, and after a crash goes on as another. Times tie now and then."""
    longest = rng.choice((2, 4, 12))
    free = [0] * processes
    names = list(range(processes))
    drawn: list[tuple[float, int, int, int | None]] = []
    for _ in range(n):
        p = rng.randrange(processes)
        inv = free[p] + rng.randint(1, 4)
        ret = inv + rng.randint(0 if longest < 12 else 1, longest)
        free[p] = ret + rng.choice((0, 1))
        if rng.random() < crash:
            drawn.append((rng.uniform(inv, inv + 20), names[p], inv, None))
            names[p] += processes
        else:
            drawn.append((rng.uniform(inv, ret), names[p], inv, ret))
    return [cell[1:] for cell in sorted(drawn, key=lambda cell: cell[0])]


def changed(call: Call, **fields: Any) -> Call:
    return replace(call, **fields)


def draw_call(rng: random.Random, family: Family, state: Any, fresh: int, call: Call,
              holder: int, grows: bool) -> Call:
    """What a client asks next, and what it would be told in this state."""
    if family in (*LINES, Family.BAG):
        role = rng.choice((Role.ADD, Role.ADD, Role.TAKE, Role.TAKE, Role.PEEK))
        if role == Role.ADD:
            return changed(call, role=role, a=fresh)
        if not state:
            return changed(call, role=role, a=None)
        pick = {Family.FIFO: state[0], Family.STACK: state[-1], Family.PRIORITY: max(state),
                Family.BAG: rng.choice(state)}[family]
        return changed(call, role=role, a=pick)
    if family == Family.SET:
        role = rng.choice((Role.ADD, Role.ALL) if grows else
                          (Role.ADD, Role.ADD, Role.REMOVE, Role.HAS, Role.ALL))
        if role == Role.ALL:
            return changed(call, role=role, a=list(state))
        x = rng.choice((*state, fresh))
        if role == Role.HAS:
            return changed(call, role=Role.HAS if x in state else Role.LACKS, a=x)
        return changed(call, role=role, a=fresh if role == Role.ADD else x)
    if family == Family.COUNTER:
        if rng.random() < 0.5:
            return changed(call, role=Role.INCREASE, a=3 if grows else rng.choice((1, 1, 2, -1)))
        return changed(call, role=Role.COUNT, a=state)
    owner = call.process if family == Family.OWNED_MUTEX else 0
    holds = state and holder == call.process
    return changed(call, role=Role.RELEASE if holds else Role.ACQUIRE, a=owner)


def mutated(rng: random.Random, call: Call, n: int) -> Call:
    """The same operation with another answer."""
    if call.role in (Role.TAKE, Role.PEEK):
        return changed(call, a=rng.choice((None, rng.randrange(n))))
    if call.role == Role.COUNT:
        return changed(call, a=call.a + rng.choice((-1, 1, 3)))
    if call.role in (Role.HAS, Role.LACKS):
        return changed(call, role=Role.HAS if call.role == Role.LACKS else Role.LACKS)
    if call.role == Role.ALL:
        return changed(call, a=call.a[1:] if call.a and rng.random() < 0.5
                       else [*call.a, rng.randrange(n)])
    return call
