"""Orders of versions that follow from a level of isolation.

If a transaction t3 read x from t1, and t2, which wrote x, too, comes before t3 for another reason,
then t2 comes before t1: else t3 would have read t2's. Which reasons count depends on the level
(Biswas & Enea, On the Complexity of Checking Transactional Consistency, OOPSLA'19):
read atomic: t3 read something of t2, or followed it in its session; causal: a chain of these.
Where the order of versions is known, only what contradicts it is added.
"""
from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..history import Ints
from .clocks import Clocks, Cyclic, Writers
from .edges import Edges
from .findings import Anomaly, Findings, Seen
from .graph import CAUSAL, FRACTURED, PROCESS, REALTIME, RW, WR, WW
from .limits import Limits, OutOfLimits
from .transaction import Transaction

MOST_ROUNDS = 5
READS_AT_ONCE = 1 << 14
UNKNOWN = 1 << 62               # the rank of a version that nobody read: behind all that were


def add_fractured(findings: Findings, edges: Edges, sessions: bool) -> list[Anomaly]:
    """Add what read atomicity implies; returns reads of the initial value that break it."""
    wrote = {(writer.number, key): value for key, writers in findings.writers.items()
             for writer, value in writers}
    ranks = {key: {version: rank for rank, version in enumerate(versions)}
             for key, versions in findings.versions.items()}
    sources: dict[int, list[Transaction]] = {}
    for seen in findings.seen:
        if seen.writer is not None:
            sources.setdefault(seen.reader.number, []).append(seen.writer)
    last = _last_of_session(findings) if sessions else {}
    wrong: list[Anomaly] = []
    for seen in findings.seen:
        before = list(sources.get(seen.reader.number, ()))
        if (seen.reader.number, seen.key) in last:
            before.append(last[seen.reader.number, seen.key])
        for other in before:
            if ((other.number, seen.key) not in wrote or other is seen.writer
                    or other is seen.reader):
                continue
            value, rank = wrote[other.number, seen.key], ranks.get(seen.key)
            if seen.writer is None:
                wrong.append(_initial(seen, other))
            elif rank is None or rank.get(value, math.inf) > rank[seen.value]:
                edges.add(other, seen.writer, FRACTURED, seen.key, value, seen.value, seen.reader)
    return wrong


def _last_of_session(findings: Findings) -> dict[tuple[int, Hashable], Transaction]:
    """The last transaction before a reader in its session that wrote the key that it read."""
    wanted: dict[int, list[Hashable]] = {}
    for seen in findings.seen:
        wanted.setdefault(seen.reader.number, []).append(seen.key)
    writes: dict[int, list[Hashable]] = {}
    for key, writers in findings.writers.items():
        for writer, _ in writers:
            if writer.ok:
                writes.setdefault(writer.number, []).append(key)
    found: dict[tuple[int, Hashable], Transaction] = {}
    newest: dict[tuple[int, Hashable], Transaction] = {}
    for transaction in findings.transactions.happened:
        for key in wanted.get(transaction.number, ()):
            before = newest.get((transaction.process, key))
            if before is not None:
                found[transaction.number, key] = before
        for key in writes.get(transaction.number, ()):
            newest[transaction.process, key] = transaction
    return found


def _initial(seen: Seen, other: Transaction) -> Anomaly:
    return Anomaly(f"the second read {seen.key} = nil, although the first, which it comes after, "
                   "had written it", (other, seen.reader))


@dataclass(frozen=True, slots=True)
class Columns:
    """Who read and who wrote what, as columns; keys and versions are numbered."""

    reader: Ints
    key: Ints
    writer: Ints                # -1: nobody
    rank: Ints                  # of the version; 0 where the order of versions is not known
    keys: int
    written_key: Ints
    written_by: Ints
    written_rank: Ints
    value: dict[tuple[int, Hashable], Any]      # what a transaction wrote to a key last

    @classmethod
    def of(cls, findings: Findings) -> Columns:
        """Take them from what was found."""
        codes = {key: code for code, key in enumerate(
            dict.fromkeys([*findings.writers, *(seen.key for seen in findings.seen)]))}
        ranks = {(key, version): rank for key, versions in findings.versions.items()
                 for rank, version in enumerate(versions)}
        seen = [(seen.reader.number, codes[seen.key],
                 -1 if seen.writer is None else seen.writer.number,
                 ranks.get((seen.key, seen.value), 0)) for seen in findings.seen]
        written = [(codes[key], writer.number,
                    ranks.get((key, value), UNKNOWN if key in findings.versions else 0))
                   for key, writers in findings.writers.items() for writer, value in writers]
        reads = np.array(seen, dtype=np.int64).reshape(-1, 4).T
        writes = np.array(written, dtype=np.int64).reshape(-1, 3).T
        reader, key, writer = (column.astype(np.int32) for column in reads[:3])
        return cls(reader, key, writer, reads[3].copy(), len(codes),
                   writes[0].astype(np.int32), writes[1].astype(np.int32), writes[2].copy(),
                   {(writer.number, key): value for key, writers in findings.writers.items()
                    for writer, value in writers})


def add_causal(findings: Findings, edges: Edges, columns: Columns, limits: Limits, *,
               versions: bool) -> list[Anomaly]:
    """Add what causality implies; returns reads of the initial value that break it.

    versions: the order of versions itself is implied too, round after round, and what was
    overwritten (for levels above causal consistency). Raises OutOfLimits.
    """
    happened, value = findings.transactions.happened, columns.value
    wrong: list[Anomaly] = []
    for round in range(MOST_ROUNDS if versions else 1):
        mask = WR | PROCESS | REALTIME | (WW | CAUSAL if versions else 0)
        try:
            clocks = Clocks(edges.graph(), mask, PROCESS, limits.memory())
        except Cyclic:
            break                                   # the cycle is found by itself
        except MemoryError:
            raise OutOfLimits("memory") from None
        writers = Writers(clocks, columns.keys, columns.written_key, columns.written_by,
                          columns.written_rank)
        new, told = False, set[int]()
        for first in range(0, len(columns.reader), READS_AT_ONCE):
            limits.look()
            part = slice(first, first + READS_AT_ONCE)
            reader, key, writer = columns.reader[part], columns.key[part], columns.writer[part]
            for i, other in _pairs(writers.overtaken(reader, key, writer, columns.rank[part])):
                seen = findings.seen[first + i]
                if seen.writer is not None:
                    new |= edges.add(happened[other], seen.writer, CAUSAL, seen.key,
                                     value[other, seen.key], seen.value, seen.reader)
                elif round == 0 and first + i not in told:
                    told.add(first + i)
                    wrong.append(_initial(seen, happened[other]))
            if versions:
                for i, other in _pairs(writers.overwriting(reader, key, writer)):
                    seen = findings.seen[first + i]
                    new |= edges.add(seen.reader, happened[other], RW, seen.key, seen.value,
                                     value[other, seen.key])
        if not new:
            break
    return wrong


def _pairs(found: tuple[Ints, Ints]) -> list[tuple[int, int]]:
    return list(zip(found[0].tolist(), found[1].tolist(), strict=True))
