"""Transactions, taken from a history: what each did, when, and how it ended.

The value of an event with f ``txn`` is a list of operations ``[f, key, value]``: ``r`` reads,
``w`` writes, ``append`` appends to a list.
"""
from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from ..history import FAIL, INFO, INT64_MAX, NONE, OK, History
from .limits import Limits

READ, WRITE, APPEND = "r", "w", "append"
LOOK_EVERY = 1 << 10        # transactions
MOST_SHOWN = 120            # characters of a transaction in a message

Operation = tuple[str, Hashable, Any]


@dataclass(slots=True)
class Transaction:
    """One transaction; of one that did not end well the reads say nothing."""

    number: int                     # among those that may have happened; -1: it did not
    process: int
    outcome: int                    # OK, FAIL, INFO
    operations: list[Operation]
    invoked: int                    # row
    returned: int                   # row; INT64_MAX: nobody knows

    @property
    def ok(self) -> bool:
        """Whether it committed for certain."""
        return self.outcome == OK

    def text(self) -> str:
        """Return it as a person writes it."""
        said = ", ".join(f"{f} {key}" + (f" -> {_show(value)}" if f == READ else f" {_show(value)}")
                         for f, key, value in self.operations
                         if f != READ or self.ok)
        return said if len(said) <= MOST_SHOWN else said[:MOST_SHOWN - 4] + " ..."

    def evidence(self) -> dict[str, Any]:
        """Return it as JSON-able data."""
        return {"process": self.process, "invoked_row": self.invoked,
                "completed_row": self.returned if self.returned != INT64_MAX else None,
                "operations": [list(operation) for operation in self.operations]}


@dataclass(slots=True)
class Transactions:
    """All of a history: those that may have happened, and those that did not."""

    happened: list[Transaction] = field(default_factory=list)
    failed: list[Transaction] = field(default_factory=list)
    timed: bool = True
    where: History | None = None

    def __len__(self) -> int:
        return len(self.happened)


def transactions_of(history: History, known: Sequence[str], limits: Limits) -> Transactions:
    """Take the clients' transactions out of a history. known: operations that the check knows.

    Raises OutOfLimits.
    """
    found = Transactions(timed=history.timed, where=history)
    rest, ints = history.values[2], history.values[1]
    for invoked, completed in zip(*(rows.tolist() for rows in history.pairs), strict=True):
        if (len(found.happened) + len(found.failed)) % LOOK_EVERY == 0:
            limits.look()
        outcome = INFO if completed == NONE else int(history.type[completed])
        row = completed if outcome == OK else invoked
        value = rest.get(row)
        if not isinstance(value, list) or ints[row]:
            raise history.bad(f"{history.fs[history.f[row]]!r} has the value {history.value(row)!r}"
                              "; expected a transaction: a list of [f, key, value]", row)
        operations = [_operation(history, operation, row, known) for operation in value]
        happened = outcome != FAIL
        transaction = Transaction(
            len(found.happened) if happened else -1, int(history.process[invoked]), outcome,
            operations, invoked, completed if outcome != INFO else INT64_MAX)
        (found.happened if happened else found.failed).append(transaction)
    return found


def _operation(history: History, operation: Any, row: int, known: Sequence[str]) -> Operation:
    if not isinstance(operation, list) or len(operation) != 3 or operation[0] not in known:
        raise history.bad(f"{_show(operation)} in a transaction; expected [f, key, value], f one "
                          f"of {', '.join(known)}", row)
    f, key, value = operation
    return f, hashable(key), value


def hashable(value: Any) -> Hashable:
    """Return a key or value as something that can be looked up; equal if the values are."""
    if isinstance(value, list):
        return tuple(map(hashable, value))
    if isinstance(value, dict):
        return frozenset((key, hashable(cell)) for key, cell in value.items())
    return cast(Hashable, value)


def _show(value: Any) -> str:
    text = "nil" if value is None else repr(value)
    return text if len(text) <= 40 else f"{text[:16]} ... {text[-19:]}"
