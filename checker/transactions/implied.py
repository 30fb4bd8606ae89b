"""Orders of versions that follow from a level of isolation.

If a transaction t3 read x from t1, and t2, which wrote x, too, comes before t3 for another reason,
then t2 comes before t1: else t3 would have read t2's. Which reasons count depends on the level
(Biswas & Enea, On the Complexity of Checking Transactional Consistency, OOPSLA'19):
read atomic: t3 read something of t2, or followed it in its session; causal: a chain of these.
"""
from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from .edges import Edges
from .findings import Anomaly, Findings, Seen
from .graph import CAUSAL, FRACTURED, PROCESS, REALTIME, RW, WR, WW
from .transaction import Transaction

MOST_TRANSACTIONS = 20_000      # whose predecessors are kept as a set for each of them
MOST_ROUNDS = 5


def add_fractured(findings: Findings, edges: Edges, sessions: bool) -> list[Anomaly]:
    """Add what read atomicity implies; returns reads of the initial value that break it."""
    wrote = {(writer.number, key): value for key, writers in findings.writers.items()
             for writer, value in writers}
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
            if seen.writer is None:
                wrong.append(_initial(seen, other))
            else:
                edges.add(other, seen.writer, FRACTURED, seen.key,
                          wrote[other.number, seen.key], seen.value, seen.reader)
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


def add_causal(findings: Findings, edges: Edges, *, versions: bool) -> tuple[list[Anomaly], bool]:
    """Add what causality implies; returns reads of the initial value that break it, and whether
    all was looked at.

    versions: the order of versions itself is implied too, round after round, and what was
    overwritten (for levels above causal consistency).
    """
    n = len(findings.transactions)
    if n > MOST_TRANSACTIONS:
        return [], False
    happened = findings.transactions.happened
    written = {key: {writer.number: value for writer, value in writers}
               for key, writers in findings.writers.items()}
    writers = {key: sum(1 << number for number in numbers) for key, numbers in written.items()}
    wrong: list[Anomaly] = []
    for round in range(MOST_ROUNDS if versions else 1):
        before = _before(edges, WR | PROCESS | REALTIME | (WW | CAUSAL if versions else 0))
        if before is None:
            break                                   # a cycle: it is found by itself
        new = False
        for seen in findings.seen:
            reader = seen.reader.number
            others = before[reader] & writers.get(seen.key, 0) & ~(1 << reader)
            if seen.writer is None:
                if round == 0 and others:
                    wrong.append(_initial(seen, happened[_bits(others)[0]]))
                continue
            others &= ~(before[seen.writer.number] | 1 << seen.writer.number)
            for other in _bits(others):
                new |= edges.add(happened[other], seen.writer, CAUSAL, seen.key,
                                 written[seen.key][other], seen.value, seen.reader)
            if versions:
                for other, value in written[seen.key].items():
                    if before[other] >> seen.writer.number & 1 and not before[other] >> reader & 1:
                        new |= edges.add(seen.reader, happened[other], RW, seen.key, seen.value,
                                         value)
        if not new:
            break
    return wrong, True


def _before(edges: Edges, mask: int) -> list[int] | None:
    """For each transaction those that come before it, as bits; None when there is a cycle."""
    graph = edges.graph()
    component = graph.components(mask)
    if component.max(initial=-1) + 1 < edges.n:
        return None
    sources: list[list[int]] = [[] for _ in range(edges.n)]
    for source, target, kind in zip(edges.sources, edges.targets, edges.kinds, strict=True):
        if kind & mask:
            sources[target].append(source)
    before = [0] * edges.n
    for node in np.argsort(-component, kind="stable").tolist():
        for source in sources[node]:
            before[node] |= before[source] | 1 << source
    return before


def _bits(number: int) -> list[int]:
    found = []
    while number:
        low = number & -number
        found.append(low.bit_length() - 1)
        number ^= low
    return found
