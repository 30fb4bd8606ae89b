"""Registers that are overwritten: a read tells who wrote, but not in which order.

Each value is written to a key at most once. Certain of the order of versions are: the initial
value comes before all; who read a version and wrote the key came after that version. More is
certain once a level of isolation is assumed (implied.py).
"""
from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from .findings import Findings, Seen, lost_updates
from .graph import RW, WR, WW
from .transaction import READ, WRITE, Transaction, hashable
from .writers import Writers, find_writers

OPERATIONS = (READ, WRITE)


def find(findings: Findings) -> None:
    """Find the dependencies of writes and reads, and what is wrong without any cycle."""
    writers = find_writers(findings, WRITE, "is written to", "values that are written")
    for transaction in findings.each(findings.transactions.happened):
        if transaction.ok:
            _judge(findings, writers, transaction)
    _versions(findings)
    lost_updates(findings)


def _judge(findings: Findings, writers: Writers, transaction: Transaction) -> None:
    """A transaction's reads: of its own writes, and the first of a key of another's."""
    knows: dict[Hashable, Any] = {}
    for f, key, value in transaction.operations:
        version = hashable(value)
        if f == WRITE:
            knows[key] = version
        elif key in knows:
            if knows[key] != version:
                findings.report("internal", f"it read {key} = {value!r}, after it had read or "
                                f"written {knows[key]!r}", transaction)
        else:
            knows[key] = version
            _read(findings, writers, transaction, key, version)


def _read(findings: Findings, writers: Writers, reader: Transaction, key: Hashable,
          version: Any) -> None:
    writer, last = writers.get((key, version), (None, True))
    if writer is reader:
        findings.report("internal", f"it read {key} = {version!r} before it wrote that", reader)
    elif writer is None:
        if version is None:
            findings.seen.append(Seen(reader, key, None, None))
        else:
            findings.report("unwritten-read", f"it read {key} = {version!r}, which nobody had "
                            "written", reader)
    elif writer.number < 0:
        findings.report("G1a", f"the second read {key} = {version!r}, which the first wrote, and "
                        "that failed", writer, reader)
    else:
        if not last:
            findings.report("G1b", f"the second read {key} = {version!r}, which was not the last "
                            "that the first wrote", writer, reader)
        findings.edges.add(writer, reader, WR, key, version, None)
        findings.seen.append(Seen(reader, key, writer, version))


def _versions(findings: Findings) -> None:
    """What is certain of the order of versions whatever the level."""
    readers: dict[tuple[Hashable, int], list[Transaction]] = {}
    for seen in findings.seen:
        number = -1 if seen.writer is None else seen.writer.number
        readers.setdefault((seen.key, number), []).append(seen.reader)
    wrote = {(writer.number, key): value for key, writers in findings.writers.items()
             for writer, value in writers if writer.ok}
    for seen in findings.seen:
        if seen.writer is None:
            for writer, value in findings.writers.get(seen.key, ()):
                findings.edges.add(seen.reader, writer, RW, seen.key, None, value)
        elif (seen.reader.number, seen.key) in wrote:
            value = wrote[seen.reader.number, seen.key]
            findings.edges.add(seen.writer, seen.reader, WW, seen.key, seen.value, value)
            for reader in readers[seen.key, seen.writer.number]:
                findings.edges.add(reader, seen.reader, RW, seen.key, seen.value, value)
