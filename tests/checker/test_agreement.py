"""Four judges, one verdict: exhaustive search, monitor, frontier search and porcupine.

They judge the same random small histories of every model, as events, so that putting operations
together is tried, too. SEATRIAL_HISTORIES sets how many altogether (default 20,000), SEATRIAL_SEED
the first seed. A disagreement prints the seed, and ``SEATRIAL_SEED=<it> SEATRIAL_HISTORIES=1``
replays it.
"""
from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable

import pytest
from elements import INITIAL, outcomes_of, random_elements
from events import history_of, model_of
from exhaustive import Call, linearizable, of_a_value
from histories import random_calls, random_chain, with_failures

from seatrial.checker import monitors, porcupine_engine
from seatrial.checker.element_operations import element_operations
from seatrial.checker.models import Family, Role
from seatrial.checker.operations import NIL, operations_of
from seatrial.checker.search import STATUSES, Search

HISTORIES = int(os.environ.get("SEATRIAL_HISTORIES", "20000"))
FIRST_SEED = int(os.environ.get("SEATRIAL_SEED", "0"))
BATCH = 2000
LIMIT_S = 120.0
LOCKS = (Family.MUTEX, Family.OWNED_MUTEX, Family.LEASE)
PUTS = (Role.WRITE, Role.CAS, Role.APPEND, Role.ADD)
FAMILIES = [family for family in Family if family not in (Family.VALUE, Family.USER)]

Draw = Callable[[int, str], list[Call]]
DRAWS: dict[str, tuple[Family, Draw]] = {
    "values": (Family.VALUE, random_calls), "chains": (Family.VALUE, random_chain),
} | {family.name.lower(): (family, lambda seed, key, family=family: random_elements(
    seed, family, key)) for family in FAMILIES}


def traits(calls: list[Call]) -> set[str]:
    """What is special about a history."""
    put = [repr(call.b if call.role == Role.CAS else call.a) for call in calls
           if call.role in PUTS and not call.failed]
    times = Counter(moment for call in calls for moment in (call.inv, call.ret)
                    if moment is not None)
    found = {
        "pending": any(call.ret is None for call in calls),
        "failed": any(call.failed for call in calls),
        "mutated": any(call.mutated for call in calls),
        "repeated": len(set(put)) < len(put),
        "unique": len(set(put)) == len(put) > 1,
        "tied": max(times.values()) > 1,
    }
    return {name for name, holds in found.items() if holds}


def drawn(draw: Draw, seed: int) -> list[Call]:
    return with_failures(random.Random(f"failures{seed}"), draw(seed, str(seed)))


@pytest.mark.timeout(0)
@pytest.mark.randomised
@pytest.mark.parametrize("what", DRAWS)
def test_all_engines_agree_on_random_histories(what: str) -> None:
    family, draw = DRAWS[what]
    last = FIRST_SEED + -(-HISTORIES // len(DRAWS))
    engine = (porcupine_engine.Porcupine(memory_limit_bytes=1 << 30)
              if porcupine_engine.available() else None)
    census = Counter[str]()
    for first in range(FIRST_SEED, last, BATCH):
        histories = {seed: drawn(draw, seed) for seed in range(first, min(first + BATCH, last))}
        census += judged(family, {seed: calls for seed, calls in histories.items() if calls},
                         engine)
    if engine:
        engine.close()
    total = census["histories"]
    print(f"{what}: {total} histories from seed {FIRST_SEED}: all agree; "
          + ", ".join(f"{n} {name}" for name, n in sorted(census.items()) if name != "histories"))
    if total > 100:
        special = {"pending", "failed", "mutated", "tied"}
        if family not in (*LOCKS, Family.COUNTER):      # nothing has a value, or all the same
            special |= {"unique"} if what == "chains" else {"unique", "repeated"}
        assert 0.3 < census["violations"] / total < 0.9
        assert all(census[name] > 0.2 * total for name in special), census
        assert census["monitored"] > 0.1 * total
    # where many appends crashed porcupine tries each subset of them in each order: it may not end
    assert census["unfinished"] <= 1 + total // 10_000


def judged(family: Family, histories: dict[int, list[Call]],
           engine: porcupine_engine.Porcupine | None) -> Counter[str]:
    """Judge histories, one of a key of its own each: keys must not disturb each other."""
    history = history_of([call for calls in histories.values() for call in calls], family)
    model = model_of(family)
    operations = (operations_of(history, model, cas_fail="observe") if family is Family.VALUE
                  else element_operations(history, model))
    keys = list(range(len(operations.keys)))
    if engine:
        engine.start(operations, keys, NIL, LIMIT_S)
    ended = Search(operations).run(
        keys, NIL, memory=1 << 28, effort=1 << 62,
        deadline_ns=time.monotonic_ns() + int(LIMIT_S * 1e9))
    statuses = [status for status, *_ in ended]
    answers = engine.finish().verdicts if engine else []
    watched = monitors.judge(operations, keys, NIL).verdicts
    outcomes = of_a_value if family is Family.VALUE else outcomes_of(family)
    census = Counter(histories=len(keys))
    assert len(keys) == len(histories)
    for key, name in enumerate(operations.keys):
        calls = histories[int(name)]
        truth = "ok" if linearizable(calls, INITIAL.get(family), outcomes) else "violation"
        found = {"search": STATUSES[statuses[key]]}
        if engine and answers[key] != "time":
            found["porcupine"] = answers[key]
        if watched[key] != "undecided":
            found["monitor"] = watched[key]
        assert set(found.values()) == {truth}, (family.name, int(name), truth, found, calls)
        census.update(traits(calls))
        census.update({"unfinished": bool(engine) and answers[key] == "time"})
        census.update({"violations": truth == "violation", "monitored": "monitor" in found})
    return census
