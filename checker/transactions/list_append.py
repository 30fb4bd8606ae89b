"""Lists that are appended to: a read tells the whole order of versions that led to it.

Each element is appended to a key at most once. Of a key's reads each must be a prefix of the
longest; that gives the order of versions, and so every dependency between those that were read
(Kingsbury & Alvaro, Elle, VLDB'20, section 4). What was appended and is not in the longest read
came after all that is, if at all: an edge to a transaction that did not happen harms nothing,
for none leads on from there.
"""
from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from .findings import Findings, Seen, lost_updates
from .graph import RW, WR, WW
from .transaction import APPEND, READ, Transaction, hashable
from .writers import Writers, find_writers

OPERATIONS = (READ, APPEND)


def find(findings: Findings) -> None:
    """Find the dependencies of appends and reads, and what is wrong without any cycle."""
    writers = find_writers(findings, APPEND, "is appended to", "elements that are appended")
    reads: dict[Hashable, list[tuple[Transaction, Sequence[Hashable]]]] = {}
    for transaction in findings.each(findings.transactions.happened):
        if transaction.ok:
            for key, elements in _outside(findings, transaction).items():
                _judge_read(findings, writers, transaction, key, elements)
                reads.setdefault(key, []).append((transaction, elements))
    for key, found in reads.items():
        _order(findings, writers, key, found)
    lost_updates(findings)


def _outside(findings: Findings, transaction: Transaction) -> dict[Hashable, Sequence[Hashable]]:
    """What a transaction read of others' appends, by key; its later reads must fit the first."""
    outside: dict[Hashable, Sequence[Hashable]] = {}
    own: dict[Hashable, list[Hashable]] = {}            # appended by itself
    for f, key, value in transaction.operations:
        mine = own.setdefault(key, [])
        if f == APPEND:
            mine.append(hashable(value))
            continue
        elements = [hashable(element) for element in value or ()]
        before = len(elements) - len(mine)
        others = outside.get(key)
        if elements[max(before, 0):] != mine or (
                others is not None and elements[:before] != list(others)):
            expected = [*(("...",) if others is None else others), *mine]
            findings.report("internal", f"it read {key} = {value!r}, after what itself had read "
                            f"and appended that should be {expected!r}", transaction)
        elif others is None:
            outside[key] = elements[:before]
    return outside


def _judge_read(findings: Findings, writers: Writers, reader: Transaction, key: Hashable,
                elements: Sequence[Hashable]) -> None:
    if len(set(elements)) < len(elements):
        twice = next(e for i, e in enumerate(elements) if e in elements[:i])
        findings.report("duplicate-elements", f"it read {twice!r} twice in {key}", reader)
    for i, element in enumerate(elements):
        writer, last = writers.get((key, element), (None, True))
        if writer is None:
            findings.report("unwritten-read", f"it read {element!r} in {key}, which nobody had "
                            "appended", reader)
        elif writer is reader:
            findings.report("internal", f"it read {element!r} in {key} before it appended that",
                            reader)
        elif writer.number < 0:
            findings.report("G1a", f"the second read {element!r} in {key}, which the first "
                            "appended, and that failed", writer, reader)
        elif not last and i == len(elements) - 1:
            findings.report("G1b", f"the second read {key} up to {element!r}, which was not the "
                            "last that the first appended", writer, reader)


def _order(findings: Findings, writers: Writers, key: Hashable,
           reads: Sequence[tuple[Transaction, Sequence[Hashable]]]) -> None:
    """The dependencies on one key."""
    edges = findings.edges
    teller, order = max(reads, key=lambda read: len(read[1]))
    findings.versions[key] = order
    chain = [_happened(writers, key, element) for element in order]
    last: tuple[Transaction, Any] | None = None         # the last writer, and what it wrote
    for element, writer in zip(order, chain, strict=True):
        if writer is not None:
            if last is not None:
                edges.add(last[0], writer, WW, key, last[1], element)
            last = writer, element
    known = set(order)
    later = [(writer, element) for writer, element in findings.writers.get(key, ())
             if element not in known]
    for writer, element in later:
        if last is not None:
            edges.add(last[0], writer, WW, key, last[1], element)
    for reader, elements in reads:
        n = len(elements)
        if list(elements) != list(order[:n]):
            findings.report("incompatible-order", f"they read {key} = {_short(elements)} and "
                            f"{_short(order)}: neither is how the other began", reader, teller)
            continue
        newest = elements[-1] if n else None
        writer = chain[n - 1] if n else None
        if writer is not None:
            edges.add(writer, reader, WR, key, newest, None)
        if n == 0 or writer is not None:
            findings.seen.append(Seen(reader, key, writer, newest))
        following = [(chain[n], order[n])] if n < len(order) else later
        for overwriter, element in following:
            if overwriter is not None:
                edges.add(reader, overwriter, RW, key, newest, element)


def _happened(writers: Writers, key: Hashable, element: Hashable) -> Transaction | None:
    writer, _ = writers.get((key, element), (None, True))
    return writer if writer is not None and writer.number >= 0 else None


def _short(elements: Sequence[Any]) -> str:
    return repr(list(elements)) if len(elements) <= 8 else (
        f"[... {', '.join(map(repr, elements[-6:]))}] ({len(elements)} elements)")
