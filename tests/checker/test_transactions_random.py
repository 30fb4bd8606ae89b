"""Transactions against the slow twin: every order of a few, tried one by one."""
from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from seatrial.checker import History, Verdict
from seatrial.checker.transactions import check_transactions
from seatrial.checker.transactions.levels import Order, level_named

HISTORIES = 150
KEYS = ("x", "y")
Ops = list[list[Any]]


class Txn:
    """A transaction of the twin."""

    def __init__(self, process: int, inv: int, ret: int, ops: Ops, outcome: str) -> None:
        self.process, self.inv, self.ret = process, inv, ret
        self.ops, self.outcome = ops, outcome


def made(rng: random.Random, model: str) -> list[Txn]:
    """Transactions that ran one after the other; then some reads are changed to older ones."""
    n = rng.randint(2, 5)
    moments = sorted(rng.sample(range(100), 3 * n))
    txns: list[Txn] = []
    versions: dict[str, list[Any]] = {key: [[] if model == "list-append" else None]
                                      for key in KEYS}
    fresh = itertools.count(1)
    free = dict.fromkeys(range(3), -1)
    for i in range(n):
        at = moments[3 * i + 1]
        process = rng.choice([p for p, until in free.items() if until < at] or [3 + i])
        inv = rng.randint(free.get(process, -1) + 1, at)
        ret = at + rng.randint(0, 40)
        free[process] = ret
        ops: Ops = []
        for _ in range(rng.randint(1, 3)):
            key = rng.choice(KEYS)
            if rng.random() < 0.5:
                ops.append(["r", key, versions[key][-1]])
            elif model == "list-append":
                ops.append(["append", key, next(fresh)])
                versions[key].append([*versions[key][-1], ops[-1][2]])
            else:
                ops.append(["w", key, next(fresh)])
                versions[key].append(ops[-1][2])
        outcome = "info" if rng.random() < 0.1 else "ok"
        txns.append(Txn(process if outcome == "ok" else 50 + i, inv, ret, ops, outcome))
    for txn in txns:
        for op in txn.ops:
            if op[0] == "r" and rng.random() < 0.25:
                op[2] = rng.choice(versions[op[1]])
    if model == "list-append":              # all versions become known
        end = max(txn.ret for txn in txns) + 1
        txns.append(Txn(90, end, end + 1, [["r", key, versions[key][-1]] for key in KEYS], "ok"))
    return txns


def history(txns: Sequence[Txn]) -> History:
    moments = [(txn.inv, 0, i) for i, txn in enumerate(txns)]
    moments += [(txn.ret, 1, i) for i, txn in enumerate(txns)]
    return History.from_rows({
        "process": txns[i].process, "type": txns[i].outcome if ends else "invoke", "f": "txn",
        "value": txns[i].ops} for _, ends, i in sorted(moments))


def orders(txns: Sequence[Txn], order: Order) -> Iterator[Sequence[Txn]]:
    """All orders of those that happened, any of the doubtful ones included or not."""
    sure = [txn for txn in txns if txn.outcome == "ok"]
    doubtful = [txn for txn in txns if txn.outcome != "ok"]
    for n in range(len(doubtful) + 1):
        for some in itertools.combinations(doubtful, n):
            for found in itertools.permutations([*sure, *some]):
                if not any(follows(b, a, order) for i, a in enumerate(found)
                           for b in found[i + 1:]):
                    yield found


def follows(a: Txn, b: Txn, order: Order) -> bool:
    """Whether a must come before b."""
    if a.outcome != "ok" or a.ret >= b.inv:
        return False
    return order == Order.REAL_TIME or (order == Order.SESSION and a.process == b.process)


def serial(txns: Sequence[Txn], model: str) -> bool:
    state: dict[str, Any] = {key: [] if model == "list-append" else None for key in KEYS}
    for txn in txns:
        for f, key, value in txn.ops:
            if f == "r":
                if txn.outcome == "ok" and state[key] != value:
                    return False
            else:
                state[key] = [*state[key], value] if f == "append" else value
    return True


@pytest.mark.parametrize("model", ["list-append", "rw-register"])
@pytest.mark.parametrize("level", [
    "serializable", "strong-session-serializable", "strict-serializable"])
def test_serializability_agrees_with_every_order_tried(model: str, level: str) -> None:
    said = {True: 0, False: 0}
    missed = 0
    for seed in range(HISTORIES):
        txns = made(random.Random(seed), model)
        truth = any(serial(order, model) for order in orders(txns, level_named(level).order))
        verdict = check_transactions(history(txns), model, level).verdict
        said[truth] += 1
        if truth:
            assert verdict == Verdict.PASS, f"seed {seed}"
        elif model == "list-append":
            assert verdict == Verdict.VIOLATION, f"seed {seed}"
        else:                               # not every order of versions is implied
            missed += verdict != Verdict.VIOLATION
    assert min(said.values()) > HISTORIES / 10
    assert missed <= said[False] / 50


def explained(txns: Sequence[Txn], level: str) -> bool:
    """Biswas & Enea's definition: some order of commits that contains sessions and reads, in
    which nobody read a version although a later one was visible to it.
    """
    wrote = {(key, value): i for i, txn in enumerate(txns) for f, key, value in txn.ops if f == "w"}
    final = {(i, key): value for i, txn in enumerate(txns) for f, key, value in txn.ops if f == "w"}
    reads: list[tuple[int, str, int | None]] = []
    for i, txn in enumerate(txns):
        known: dict[str, Any] = {}
        for f, key, value in txn.ops:
            if f == "w" or key in known:
                if f == "r" and known[key] != value:
                    return False            # internal
                known[key] = value
                continue
            known[key] = value
            writer = wrote.get((key, value))
            if writer == i or (writer is not None and final[writer, key] != value):
                return False                # its own, later; or no last write
            reads.append((i, key, writer))
    n = range(len(txns))
    before = {(a, b) for a in n for b in n if txns[a].process == txns[b].process
              and txns[a].ret < txns[b].inv}
    before |= {(writer, reader) for reader, _, writer in reads if writer is not None}
    visible = set(before)
    if level == "causal":
        for middle, a, b in itertools.product(n, n, n):
            if (a, middle) in visible and (middle, b) in visible:
                visible.add((a, b))
    for order in itertools.permutations(n):
        place = {txn: i for i, txn in enumerate(order)}
        if all(place[a] < place[b] for a, b in before) and all(
                (other, reader) not in visible or (other, key) not in final or other == writer
                or (writer is not None and place[other] < place[writer])
                for reader, key, writer in reads for other in n if other != reader):
            return True
    return False


@pytest.mark.parametrize("level", ["strong-session-read-atomic", "causal"])
def test_weak_levels_agree_with_their_definition(level: str) -> None:
    said = {True: 0, False: 0}
    for seed in range(2 * HISTORIES):
        txns = made(random.Random(seed), "rw-register")
        for txn in txns:
            txn.outcome = "ok"
        truth = explained(txns, level.removeprefix("strong-session-"))
        verdict = check_transactions(history(txns), "rw-register", level).verdict
        said[truth] += 1
        assert verdict == (Verdict.PASS if truth else Verdict.VIOLATION), f"seed {seed}"
    assert min(said.values()) > HISTORIES / 10
