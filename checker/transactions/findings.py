"""What a history of transactions shows by itself, before any cycle is looked for."""
from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .edges import Edges
from .limits import Limits
from .transaction import Transaction, Transactions

MOST_OF_A_KIND = 5          # anomalies that are described; more are counted
LOOK_EVERY = 1 << 10        # transactions


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One: why it is one, the transactions that are guilty, for a cycle the step from each, and
    who saw what these steps follow from.
    """

    why: str
    guilty: Sequence[Transaction]
    steps: Sequence[str] = ()
    witnesses: Sequence[Transaction] = ()

    def evidence(self) -> dict[str, Any]:
        """Return it as JSON-able data."""
        return {"why": self.why,
                "transactions": [t.evidence() for t in (*self.guilty, *self.witnesses)],
                "cycle": list(self.steps)}


@dataclass(frozen=True, slots=True)
class Seen:
    """A transaction read what another wrote (or nobody: the initial value)."""

    reader: Transaction
    key: Hashable
    writer: Transaction | None
    value: Any


@dataclass(slots=True)
class Findings:
    """Dependencies, anomalies by name, and who read from whom.

    versions: of each key in their order, where that is known.
    """

    transactions: Transactions
    edges: Edges
    anomalies: dict[str, list[Anomaly]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    writers: dict[Hashable, list[tuple[Transaction, Any]]] = field(default_factory=dict)
    versions: dict[Hashable, Sequence[Hashable]] = field(default_factory=dict)

    @classmethod
    def of(cls, transactions: Transactions, limits: Limits) -> Findings:
        """Return nothing found yet."""
        return cls(transactions, Edges(len(transactions), limits))

    def each(self, transactions: Sequence[Transaction]) -> Iterator[Transaction]:
        """Take transactions one by one, as long as time and memory last."""
        for i, transaction in enumerate(transactions):
            if i % LOOK_EVERY == 0 and self.edges.limits is not None:
                self.edges.limits.look()
            yield transaction

    def report(self, name: str, why: str, *guilty: Transaction) -> None:
        """Add an anomaly."""
        self.counts[name] = self.counts.get(name, 0) + 1
        if self.counts[name] <= MOST_OF_A_KIND:
            self.anomalies.setdefault(name, []).append(Anomaly(why, guilty))


def lost_updates(findings: Findings) -> None:
    """Two that read the same version of a key and both wrote it: one did not see the other.

    (Berenson et al., A Critique of ANSI SQL Isolation Levels, 1995: P4.)
    """
    wrote = {(transaction.number, key) for key, writers in findings.writers.items()
             for transaction, _ in writers if transaction.ok}
    first: dict[tuple[Hashable, int, Any], Seen] = {}
    for seen in findings.seen:
        if (seen.reader.number, seen.key) not in wrote:
            continue
        version = seen.key, -1 if seen.writer is None else seen.writer.number, seen.value
        other = first.setdefault(version, seen)
        if other.reader is not seen.reader:
            findings.report("lost-update", f"both read the same version of {seen.key} and "
                            "wrote it", other.reader, seen.reader)
