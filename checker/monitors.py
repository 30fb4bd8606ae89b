"""Which monitor judges which model, and what is left to the frontier search.

Monitors (zones, levels, queues, priorities, counters) are near-linear, whatever the number of
clients and of pending operations. They decide the keys whose elements or written values are all
different (to counters: the same is added each time), and say of the others that they are none of
theirs. Sets with removals are taken apart (members.py).
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import counters, leases, levels, members, priorities, queues, zones
from .history import Ints
from .models import Family, Role
from .operations import APPENDS_ELEMENTS, INF, NIL, PLAIN, Operations

VERDICTS = ("ok", "violation", "undecided")
QUEUES = (Family.FIFO, Family.BAG, Family.STACK)
LOCKS = (Family.MUTEX, Family.OWNED_MUTEX)


@dataclass(slots=True)
class Watched:
    """What a monitor says of each key, and of a violation the operations that show it."""

    verdicts: list[str]
    guilty: dict[int, list[int]]            # key -> positions in the operations


def exists_for(operations: Operations) -> bool:
    """Return whether some monitor knows the model."""
    return operations.family is not Family.USER


def judge(operations: Operations, keys: Sequence[int], initial: int, *, jobs: int = 1) -> Watched:
    """Judge keys by the monitor of their model, on so many threads."""
    if operations.family == Family.VALUE:
        return _values(operations, keys, initial, jobs)
    elif operations.family == Family.SET:
        return _sets(operations, keys, jobs)
    elif operations.family in QUEUES:
        codes, guilty = queues.judge(operations, keys, jobs=jobs)
    elif operations.family == Family.PRIORITY:
        codes, guilty = priorities.judge(operations, keys, jobs=jobs)
    elif operations.family == Family.COUNTER:
        codes, guilty = counters.judge(operations, keys, initial, jobs=jobs), {}
    elif operations.family == Family.LEASE:
        return Watched(*leases.judge(operations, keys))
    else:
        return _locks(operations, keys)
    return Watched([VERDICTS[code] for code in codes.tolist()], guilty)


def _values(operations: Operations, keys: Sequence[int], initial: int, jobs: int) -> Watched:
    """Registers, and logs that are empty at the start; a string that grows is the search's."""
    modes = bytes(operations.modes)
    verdicts, guilty = ["undecided"] * len(keys), dict[int, list[int]]()
    plain = [i for i, key in enumerate(keys) if modes[key] == PLAIN]
    logs = [i for i, key in enumerate(keys) if modes[key] == APPENDS_ELEMENTS]
    if plain:
        codes, guilty = zones.judge(operations, [keys[i] for i in plain], initial, jobs=jobs)
        for i, code in zip(plain, codes.tolist(), strict=True):
            verdicts[i] = VERDICTS[code]
    if logs and initial == NIL:
        codes, more = levels.judge(operations, [keys[i] for i in logs], jobs=jobs)
        guilty |= more
        for i, code in zip(logs, codes.tolist(), strict=True):
            verdicts[i] = VERDICTS[code]
    return Watched(verdicts, guilty)


def _sets(operations: Operations, keys: Sequence[int], jobs: int) -> Watched:
    """Sets that only grow, with reads of the whole; of the others those that have none."""
    codes, guilty = levels.judge(operations, keys, jobs=jobs)
    verdicts = [VERDICTS[code] for code in codes.tolist()]
    left = [key for key, said in zip(keys, verdicts, strict=True) if said == "undecided"]
    found, more = members.judge(operations, left) if left else ({}, {})
    return Watched([found.get(key, said) for key, said in zip(keys, verdicts, strict=True)],
                   guilty | more)


def _locks(operations: Operations, keys: Sequence[int]) -> Watched:
    """Locks as registers: to acquire is to write a value of one's own, to release to read it.

    What must not come between the two is the same. Who never gives a lock back reads its value
    at the end of time; who crashed releasing it does so at some later time. A lock that anybody
    may release is judged as if only its holder might: that is enough where it can be explained.
    """
    ends = operations.positions
    holder: dict[tuple[int, int], tuple[int, int]] = {}     # key and process -> section, operation
    rows: list[tuple[int, int, int, int, int, int]] = []    # key, kind, value, inv, ret, operation
    odd = set[int]()
    sections = 0
    owner = operations.a if operations.family == Family.OWNED_MUTEX else operations.process
    columns = (operations.key, operations.kind, owner, operations.inv, operations.ret)
    for i in np.argsort(operations.inv, kind="stable").tolist():
        key, kind, process, inv, ret = (int(column[i]) for column in columns)
        held = holder.pop((key, process), None)
        if kind == Role.ACQUIRE:
            if held is not None:
                odd.add(key)                        # twice in a row: it waits for itself
            if ret != INF:
                sections += 1
                holder[key, process] = sections, i
                rows.append((key, Role.WRITE, sections, inv, ret, i))
        elif held is None:
            odd.add(key)
        else:
            rows.append((key, Role.READ, held[0], inv, ret, i))
    released = {row[2] for row in rows if row[1] == Role.READ}
    for (key, _), (section, i) in holder.items():
        if section not in released:
            ends += 2
            rows.append((key, Role.READ, section, ends, ends + 1, i))
    table = np.array(rows, dtype=np.int64).reshape(-1, 6)
    return _as_registers(operations, keys, table, odd, ends + 2)


def _as_registers(operations: Operations, keys: Sequence[int], table: Ints,
                  odd: set[int], positions: int) -> Watched:
    """Judge lock sections as the writes and reads of ``_locks``."""
    ret = table[:, 4].copy()
    late = (table[:, 1] == Role.READ) & (ret == INF)
    ret[late] = positions + np.arange(int(late.sum()))
    registers = Operations(
        key=table[:, 0].astype(np.int32), kind=table[:, 1].astype(np.int8),
        a=np.ascontiguousarray(table[:, 2]), b=np.ascontiguousarray(table[:, 2]),
        inv=np.ascontiguousarray(table[:, 3]), ret=ret, process=np.zeros_like(ret),
        row=np.ascontiguousarray(table[:, 5]), done=ret, positions=positions + len(ret),
        keys=operations.keys, values=operations.values)
    codes, guilty = zones.judge(registers, keys, 0)
    sure = operations.family == Family.OWNED_MUTEX
    verdicts = []
    for key, code in zip(keys, codes.tolist(), strict=True):
        known = key not in odd and (VERDICTS[code] == "ok" or sure)
        verdicts.append(VERDICTS[code] if known else "undecided")
    return Watched(verdicts, {
        key: sorted({int(table[i, 5]) for i in found}) for key, found in guilty.items()
        if verdicts[list(keys).index(key)] == "violation"} if sure else {})
