"""Who wrote what: every version of a key has one writer, or nothing can be told from reads."""
from __future__ import annotations

from collections.abc import Hashable

from .findings import Findings
from .transaction import WRITE, Transaction, hashable

Writers = dict[tuple[Hashable, Hashable], tuple[Transaction, bool]]     # ..., its last on the key


def find_writers(findings: Findings, write: str, done: str, versions: str) -> Writers:
    """Return the writer of each (key, version), and whether it was its last on that key.

    ``write``: the operation that writes. ``done`` and ``versions`` tell of it ("is appended to",
    "elements that are appended"). Raises BadHistory, with the line, where two wrote the same, or
    one wrote the initial value of a register.
    """
    writers: Writers = {}
    transactions = findings.transactions
    for transaction in findings.each([*transactions.happened, *transactions.failed]):
        last: dict[Hashable, Hashable] = {}
        for f, key, value in transaction.operations:
            if f != write:
                continue
            version = hashable(value)
            if write == WRITE and version is None:
                assert transactions.where is not None
                raise transactions.where.bad(
                    f"nil {done} {key}; expected another value: nil is what every key has at the "
                    "start, and nobody can tell who wrote what was read", transaction.invoked)
            if (key, version) in writers:
                assert transactions.where is not None
                raise transactions.where.bad(
                    f"{value!r} {done} {key} a second time; expected {versions} once, or nobody "
                    "can tell who wrote what was read", transaction.invoked)
            if key in last:
                writers[key, last[key]] = transaction, False
            writers[key, version] = transaction, True
            last[key] = version
        if transaction.number >= 0:
            for key, version in last.items():
                findings.writers.setdefault(key, []).append((transaction, version))
    return writers
