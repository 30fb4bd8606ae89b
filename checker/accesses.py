"""Reads and writes of single keys, session by session, and who wrote what each read saw.

A compare-and-set is a read and then a write; one that crashed is a write that may have happened,
one that failed and says what it saw is a read. Accesses are sorted by session (process), each
session's in its order. What crashed comes before nothing of its session: it may take effect at any
later time.

A read saw the one write of its value, or nothing (the initial value). Where several wrote that
value nobody can tell; such reads are left out. A read of what nobody wrote, or of what only a
write wrote that failed, is a violation by itself.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .counterexample import plain
from .history import FAIL, INT64_MAX, NONE, OK, History, Ints
from .models import CAS, READS, WRITES, Model, Role
from .operations import IMPOSSIBLE, INF, Operations, operations_of
from .transactions.transaction import READ, WRITE, Transaction

INITIAL, SEVERAL, NOBODY = -1, -2, -3       # in place of the access that wrote what was read
MODEL = Model("session-guarantees", READS | WRITES | CAS)

Flags = npt.NDArray[np.bool_]


@dataclass(slots=True)
class Accesses:
    """Columns. ``op``: which operation it is part of; ``ends``: it succeeded, so what its session
    did next came after it; ``writer``: of reads, who wrote what it saw."""

    operations: Operations
    op: Ints
    write: Flags
    ends: Flags
    key: Ints
    session: Ints
    value: Ints                 # tokens
    writer: Ints

    @classmethod
    def of(cls, operations: Operations, initial: int) -> Accesses:
        """Take operations apart. initial: the token of every key's first value."""
        kind, ended = operations.kind, operations.ret != INF
        reads = np.flatnonzero(((kind == Role.READ) | ((kind == Role.CAS) & ended))
                               & (operations.a != IMPOSSIBLE))
        writes = np.flatnonzero((kind == Role.WRITE) | (kind == Role.CAS))
        op = np.concatenate([reads, writes])
        write = np.repeat([False, True], [len(reads), len(writes)])
        order = np.lexsort((write, operations.inv[op], operations.process[op]))
        op, write = op[order], write[order]
        value = np.where(write & (kind[op] == Role.CAS), operations.b[op], operations.a[op])
        key = operations.key[op].astype(np.int64)
        writer = _writers(key, value, write, initial)
        return cls(operations, op, write, ended[op], key, operations.process[op].astype(np.int64),
                   value, writer)

    def __len__(self) -> int:
        return len(self.op)

    def last_before(self, which: Flags, *, same_key: bool = False) -> Ints:
        """By access: the last before it in its session (on its key) that is one of ``which``."""
        group = self.session
        if same_key:
            group = np.unique(group, return_inverse=True)[1] * len(self.operations.keys) + self.key
        order = np.argsort(group, kind="stable")
        place = np.arange(len(order))
        newest = np.maximum.accumulate(np.where(which[order], place, NONE))
        newest = np.concatenate([[NONE], newest[:-1]]) if len(order) else newest
        first = np.searchsorted(group[order], group[order])
        found = np.empty(len(order), dtype=np.int64)
        found[order] = np.where(newest >= first, order[newest], NONE)
        return found

    def key_name(self, i: int) -> Any:
        """Return the key of an access, for a person."""
        return plain(self.operations.keys[int(self.key[i])])

    def shown(self, i: int) -> Any:
        """Return what an access wrote or saw."""
        return plain(self.operations.values.value(int(self.value[i])))

    def transaction(self, i: int) -> Transaction:
        """Return the whole operation that an access is part of, to be drawn."""
        ops, op = self.operations, int(self.op[i])
        ended = ops.ret[op] != INF
        values = [plain(ops.values.value(int(cell[op]))) for cell in (ops.a, ops.b)]
        key = self.key_name(i)
        did: list[tuple[str, Any, Any]] = []
        if ops.kind[op] != Role.WRITE:
            did.append((READ, key, values[0]))
        if ops.kind[op] != Role.READ:
            did.append((WRITE, key, values[1 if ops.kind[op] == Role.CAS else 0]))
        return Transaction(op, int(ops.process[op]), OK, did, int(ops.row[op]),
                           int(ops.done[op]) if ended else INT64_MAX)


def accesses_of(history: History, *, initial: Any = None) -> Accesses:
    """Take a history's reads, writes, deletes and compare-and-sets apart."""
    operations = operations_of(history, MODEL)
    return Accesses.of(operations, operations.token(initial))


def _writers(key: Ints, value: Ints, write: Flags, initial: int) -> Ints:
    """Who wrote what each access saw; of a write, itself."""
    order = np.lexsort((value, key))
    new = np.ones(len(order), dtype=bool)
    new[1:] = (np.diff(key[order]) != 0) | (value[order][1:] != value[order][:-1])
    version = np.empty(len(order), dtype=np.int64)
    version[order] = np.cumsum(new) - 1
    writes = np.bincount(version[write], minlength=int(new.sum()))
    by = np.full(int(new.sum()), NOBODY, dtype=np.int64)
    by[version[write]] = np.flatnonzero(write)
    by[writes > 1] = SEVERAL
    at_first = version[value == initial]
    by[at_first] = np.where(writes[at_first] == 0, INITIAL, SEVERAL)
    return np.where(write, np.arange(len(order)), by[version])


def failed_writers(history: History, accesses: Accesses, reads: list[int]) -> dict[int, int]:
    """Of reads of what nobody wrote: the rows of the failed writes that tried to."""
    codes = {code: f for code, f in enumerate(history.fs) if f in WRITES or f in CAS}
    tried: dict[tuple[Any, int], int] = {}
    token = accesses.operations.values.token
    for invoked, completed in zip(*(rows.tolist() for rows in history.pairs), strict=True):
        f = codes.get(int(history.f[invoked]))
        if f is None or completed == NONE or history.type[completed] != FAIL:
            continue
        value = history.value(invoked)
        key = int(history.key[invoked])
        tried[None if key == NONE else history.keys[key],
              token(value[1] if f in CAS else None if f == "delete" else value)] = invoked
    found = {i: tried.get((accesses.operations.keys[int(accesses.key[i])],
                           int(accesses.value[i])), NONE) for i in reads}
    return {i: row for i, row in found.items() if row != NONE}
