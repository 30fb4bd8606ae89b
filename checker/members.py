"""Sets from which elements are removed: each element is a register of its own.

Whether an element is in depends on nothing but what is done with that element, so a set without
reads of the whole is linearizable exactly when each of its elements is (Herlihy and Wing's
locality). To add is to write 1, to remove is to write 0, to be told is to read. The frontier search
judges these registers: there are many, and little happens at a time on each.
"""
from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from .models import Role
from .operations import NIL, Operations, Values
from .search import STATUSES, Search

TIME_S = 10.0
MEMORY = 1 << 28
EFFORT = 1_000_000          # explorations on one element
KINDS = {Role.ADD: (Role.WRITE, 1), Role.REMOVE: (Role.WRITE, 0), Role.HAS: (Role.READ, 1),
         Role.LACKS: (Role.READ, 0)}


def judge(
    operations: Operations, keys: Sequence[int],
) -> tuple[dict[int, str], dict[int, list[int]]]:
    """Judge sets by their elements: the verdict on each key that has no reads of the whole, and of
    a violation the operations on the element that shows it."""
    whole = np.unique(operations.key[~np.isin(operations.kind, list(KINDS))])
    rows = np.flatnonzero(np.isin(operations.key, keys) & ~np.isin(operations.key, whole))
    if not len(rows):
        return {}, {}
    pairs = np.stack([operations.key[rows].astype(np.int64), operations.a[rows]])
    elements, element = np.unique(pairs, axis=1, return_inverse=True)
    element = element.reshape(-1)
    kind, value = (np.zeros(max(KINDS) + 1, dtype=np.int64) for _ in range(2))
    for role, (as_kind, as_value) in KINDS.items():
        kind[role], value[role] = as_kind, as_value
    roles = operations.kind[rows]
    registers = Operations(
        key=element.astype(np.int32), kind=kind[roles].astype(np.int8), a=value[roles],
        b=np.full(len(rows), NIL, dtype=np.int64), inv=operations.inv[rows],
        ret=operations.ret[rows], process=operations.process[rows], row=operations.row[rows],
        done=operations.done[rows], positions=operations.positions,
        keys=range(elements.shape[1]), values=Values())
    ended = Search(registers).run(
        range(elements.shape[1]), 0, memory=MEMORY, effort=EFFORT,
        deadline_ns=time.monotonic_ns() + int(TIME_S * 1e9))
    verdicts, guilty = dict.fromkeys(np.unique(pairs[0]).tolist(), "ok"), dict[int, list[int]]()
    for i, (status, *_) in enumerate(ended):
        if not status:
            continue
        key = int(elements[0, i])
        if STATUSES[status] == "violation":
            verdicts[key] = "violation"
            guilty.setdefault(key, rows[element == i].tolist())
        elif verdicts[key] == "ok":
            verdicts[key] = "undecided"
    return verdicts, guilty
