"""A randomised run of the small cluster: faults, clients, and a judge for what clients saw."""
from __future__ import annotations

import itertools
import os
from functools import partial
from typing import Any

from .cluster import MS, ChaosClient, Cluster, Event

SEEDS = int(os.environ.get("SEATRIAL_RAFT_SEEDS", "60"))


def explainable(history: list[Event]) -> bool:
    """Whether one order of the operations explains every answer of a register (initially None).

    Wing and Gong's search with Lowe's memoisation; small histories only. A failed CAS saw a
    value; an operation without an answer may take effect at any time after it was invoked.
    """
    ops: list[tuple[int, float, str, Any]] = []
    for e in history:
        end = float(e.completed) if e.completed >= 0 else float("inf")
        if e.result == "fail":
            ops.append((e.invoked, end, "read", e.seen))
        elif e.f == "read":
            if e.result == "ok":
                ops.append((e.invoked, end, "read", e.seen))
        else:
            ops.append((e.invoked, end, e.f, e.value))
    ops.sort()
    seen: set[tuple[int, frozenset[int], Any]] = set()

    def search(start: int, done: frozenset[int], state: Any) -> bool:
        stack = [(start, done, state)]
        while stack:
            start, done, state = stack.pop()
            while start in done:
                done -= {start}
                start += 1
            if start >= len(ops) or all(ops[i][1] == float("inf") or i in done
                                        for i in range(start, len(ops))):
                return True
            if (start, done, state) in seen:
                continue
            seen.add((start, done, state))
            first_return = min(ops[i][1] for i in range(start, len(ops)) if i not in done)
            for i in range(start, len(ops)):
                invoked, _, f, value = ops[i]
                if invoked > first_return:
                    break
                if i in done:
                    continue
                if f == "read":
                    if value == state:
                        stack.append((start, done | {i}, state))
                elif f == "write":
                    stack.append((start, done | {i}, value))
                elif value[0] == state:
                    stack.append((start, done | {i}, value[1]))
        return False

    return search(0, frozenset(), None)


def chaos(seed: int, *, nodes: int = 3, clients: int = 4, virtual_ms: int = 6000) -> Cluster:
    """Run faults and clients, heal, converge, and judge. Raises AssertionError on a violation."""
    cluster = Cluster(nodes, seed)
    rng = cluster.rng.split("faults")
    counter = itertools.count()
    history: list[Event] = []
    crowd = [ChaosClient(cluster, n, counter, history, reader=n >= clients)
             for n in range(clients + 2)]

    def answers(node: int, connection: int, data: bytes) -> None:
        for client in crowd:
            if client.connection == connection:
                client.answer(data)

    cluster.answers = answers

    def cut_off(side: set[int], span: int, *, one_way: bool = False) -> None:
        pairs = {(a, b) for a in cluster.ids for b in cluster.ids
                 if a != b and (a in side) != (b in side) and (not one_way or a in side)}
        cluster.blocked |= pairs
        cluster.at(cluster.now + span, lambda: cluster.blocked.difference_update(pairs))

    def contested_election() -> None:
        """Two find together that the leader is gone; the others are just back, and die of voting.

        A vote that its giver forgets makes two leaders of one term here. Clients are silent
        before it, so that the logs are alike and either of the two may win; and the two can't
        hear each other, so that the one doesn't learn of the other's victory.
        """
        silent: set[tuple[int, int]] = {(0, node) for node in cluster.ids}
        cluster.blocked |= silent
        cluster.at(cluster.now + 40 * MS, lambda: contest(cluster.leader()))
        cluster.at(cluster.now + 300 * MS, lambda: cluster.blocked.difference_update(silent))

    def contest(leader: int) -> None:
        two = [node for node in rng.shuffled(cluster.ids) if node != leader][:2]
        apart = {(two[0], two[1]), (two[1], two[0])}
        cluster.blocked |= apart
        cluster.at(cluster.now + 280 * MS, lambda: cluster.blocked.difference_update(apart))
        for node in cluster.ids:
            if node in two:
                cluster.pause(node)
                cluster.at(cluster.now + 230 * MS, partial(cluster.resume, node))
            else:
                cluster.crash(node)
                cluster.at(cluster.now + 220 * MS, partial(cluster.restart, node))
        cluster.voters_die_until = cluster.now + 260 * MS

    def fault() -> None:
        draw = rng.below(12)
        victim = (cluster.leader() if draw == 1 else 0) or rng.choice(cluster.ids)
        span = (20 + rng.below(400)) * MS
        calm = 0
        if draw < 2:
            cluster.crash(victim)
            cluster.at(cluster.now + span, lambda: cluster.restart(victim))
        elif draw < 5:
            side = set(rng.shuffled(cluster.ids)[:1 + rng.below(nodes - 1)])
            cut_off(side, span, one_way=draw == 4)
        elif draw == 5:         # long enough for another to lead and write
            cut_off({cluster.leader() or victim}, 300 * MS + span)
        elif draw == 6:
            victim = cluster.leader() or victim
            cluster.pause(victim)
            cluster.at(cluster.now + span, lambda: cluster.resume(victim))
        elif draw == 7:
            cluster.bad_relay_until = cluster.now + span
        elif draw < 11:
            contested_election()
            calm = 350 * MS
        else:
            a, b = rng.shuffled(cluster.ids)[:2]
            cluster.disconnect(a, b)
        if cluster.now < (virtual_ms - 1000) * MS:
            cluster.at(cluster.now + calm + rng.below(500 * MS), fault)

    def dial() -> None:
        cluster.reconnect()
        cluster.at(cluster.now + 30 * MS, dial)

    dial()
    for client in crowd:
        cluster.at(rng.below(50 * MS), client.begin)
    cluster.at(200 * MS, fault)
    cluster.run_until(virtual_ms * MS)
    cluster.blocked.clear()
    for client in crowd:
        client.stopped = True
    for node in cluster.ids:
        cluster.restart(node)
        cluster.resume(node)
    cluster.await_leader()
    states = [r.kv.items() for r in cluster.replicas.values() if r is not None]
    assert all(s == states[0] for s in states), f"seed {seed}: states differ after convergence"
    assert explainable(history), f"seed {seed}: not linearizable"
    assert sum(e.result == "ok" for e in history) > 20, f"seed {seed}: hardly anything happened"
    return cluster
