"""Changes that must not change a verdict, and changes that must.

A history comes from a register (or log) that really is linearizable: operations take effect at
a moment inside of their interval. Renaming processes, shifting times, and judging keys together
or apart keep the verdict; a stale read, a lost write, a double apply and a swapped append break
it, and are found.
"""
from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from exhaustive import Call, apply
from histories import random_calls

from seatrial.checker import Verdict, check_linearizable
from seatrial.checker.models import Role
from seatrial.checker.operations import from_intervals

SEEDS = range(40)


def verdict(calls: list[Call]) -> Verdict:
    return check_linearizable(from_intervals([call.row() for call in calls]),
                              engine="search").verdict


def honest(seed: int, roles: tuple[Role, ...], n: int = 200, clients: int = 5) -> list[Call]:
    """What clients of an honest system see, each value written once."""
    rng = random.Random(seed)
    free_at = [0] * clients
    drawn = []
    for _ in range(n):
        client = min(range(clients), key=lambda c: (free_at[c], c))
        inv = free_at[client] + rng.randint(1, 5)
        ret = inv + rng.randint(1, 30)
        free_at[client] = ret
        drawn.append((rng.uniform(inv, ret), client, inv, ret))
    state: Any = None
    calls = []
    for number, (_, client, inv, ret) in enumerate(sorted(drawn)):
        role = rng.choice(roles)
        a, b = {Role.READ: (state, None), Role.CAS: (state, number)}.get(role, (number, None))
        fits, state = apply(role, a, b, state)
        assert fits
        calls.append(Call(client, role, a, b, inv, ret))
    return calls


REGISTER = (Role.READ, Role.READ, Role.WRITE, Role.CAS)
LOG = (Role.READ, Role.APPEND)


@pytest.mark.randomised
@pytest.mark.parametrize("roles", [REGISTER, LOG], ids=["register", "log"])
def test_an_honest_history_passes_whatever_its_clothes(roles: tuple[Role, ...]) -> None:
    for seed in SEEDS:
        calls = honest(seed, roles)
        rng = random.Random(seed)
        names = rng.sample(range(1000), 5)
        clothes = [
            calls,
            rng.sample(calls, len(calls)),
            [replace(call, process=names[call.process]) for call in calls],
            [replace(call, inv=call.inv * 7 + 11, ret=(call.ret or 0) * 7 + 11) for call in calls],
        ]
        assert [verdict(dressed) for dressed in clothes] == [Verdict.PASS] * 4, seed


@pytest.mark.randomised
def test_keys_judged_together_fare_as_each_on_its_own() -> None:
    found = set()
    for first in range(0, 400, 4):
        apart = [random_calls(seed, key=f"k{seed}") for seed in range(first, first + 4)]
        verdicts = [verdict(calls) for calls in apart if calls]
        together = [call for calls in apart for call in calls]
        random.Random(first).shuffle(together)
        assert verdict(together) == max(verdicts), first
        found.add(max(verdicts))
    assert found == {Verdict.PASS, Verdict.VIOLATION}


def last(calls: list[Call]) -> int:
    return max(call.ret or 0 for call in calls)


def stale_read(calls: list[Call], rng: random.Random) -> list[Call]:
    """Somebody reads, after the end, a value that was replaced long before."""
    early = min((c for c in calls if c.role == Role.WRITE), key=lambda c: c.inv)
    return [*calls, Call(90, Role.READ, early.a, None, last(calls) + 1, last(calls) + 2)]


def lost_write(calls: list[Call], rng: random.Random) -> list[Call]:
    """A write is acknowledged after the end, and the read after it still sees the old value."""
    end = last(calls)
    old = Call(90, Role.WRITE, -5, None, end + 1, end + 2)
    lost = Call(91, Role.WRITE, -6, None, end + 3, end + 4)
    return [*calls, old, lost, Call(90, Role.READ, -5, None, end + 5, end + 6)]


def double_apply(calls: list[Call], rng: random.Random) -> list[Call]:
    """A retried write takes effect again, over the write that came after it."""
    end = last(calls)
    once = Call(90, Role.WRITE, -5, None, end + 1, end + 2)
    over = Call(91, Role.WRITE, -6, None, end + 3, end + 4)
    seen = Call(92, Role.READ, -6, None, end + 5, end + 6)
    return [*calls, once, over, seen, Call(92, Role.READ, -5, None, end + 7, end + 8)]


def cas_twice(calls: list[Call], rng: random.Random) -> list[Call]:
    """Two CAS succeed from one value."""
    end = last(calls)
    return [*calls, Call(90, Role.WRITE, -5, None, end + 1, end + 2),
            Call(91, Role.CAS, -5, -6, end + 3, end + 5),
            Call(92, Role.CAS, -5, -7, end + 4, end + 6)]


def changed_read(calls: list[Call], rng: random.Random) -> list[Call]:
    """One read in the middle answers the value before the last one."""
    reads = [i for i, call in enumerate(calls) if call.role == Role.READ and call.a is not None]
    writes = [call.a for call in calls if call.role == Role.WRITE]
    i = reads[len(reads) // 2]
    return [*calls[:i], replace(calls[i], a=writes[0]), *calls[i + 1:]]


@pytest.mark.randomised
@pytest.mark.parametrize("fault", [stale_read, lost_write, double_apply, cas_twice, changed_read])
def test_a_fault_in_a_register_is_found(fault: Any) -> None:
    for seed in SEEDS:
        calls = fault(honest(seed, REGISTER), random.Random(seed))
        assert verdict(calls) == Verdict.VIOLATION, (fault.__name__, seed)


@pytest.mark.randomised
@pytest.mark.parametrize("fault", ["lost", "twice", "swapped", "invented"])
def test_a_fault_in_a_log_is_found(fault: str) -> None:
    for seed in SEEDS[::4]:
        calls = honest(seed, LOG)
        end = last(calls)
        log = [call.a for call in sorted(calls, key=lambda c: c.ret or 0)
               if call.role == Role.READ][-1]
        assert len(log) >= 4, seed
        wrong = {"lost": [*log[:1], *log[2:]], "twice": [*log, log[0]],
                 "swapped": [log[1], log[0], *log[2:]], "invented": [*log, -9]}[fault]
        calls.append(Call(90, Role.READ, wrong, None, end + 1, end + 2))
        assert verdict(calls) == Verdict.VIOLATION, (fault, seed)
