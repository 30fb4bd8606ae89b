"""What the checks that fold over a history have in common: operations and how they ended."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .counterexample import plain
from .history import INFO, NONE, History
from .operations import show

MOST_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Done:
    """An operation of a client; ``outcome``: OK, FAIL, or INFO, also when it never ended."""

    process: int
    f: str
    invoked: int                # rows
    completed: int
    outcome: int
    key: Any = None             # None: its event names none

    def __str__(self) -> str:
        rows = f"{self.invoked}-{self.completed}" if self.completed != NONE else self.invoked
        return f"p{self.process} {self.f} (rows {rows})"

    def named(self, value: object) -> str:
        """Return a value for a person, with the key that it stands under, if there is one."""
        return show(value) if self.key is None else f"{show(self.key)} {show(value)}"

    def evidence(self) -> dict[str, Any]:
        """Return it as JSON-able data."""
        return {"process": self.process, "f": self.f, "invoked_row": self.invoked,
                "completed_row": None if self.completed == NONE else self.completed}


def operations(history: History) -> Iterator[Done]:
    """Yield a history's operations by their invocation."""
    for invoked, row in zip(*(rows.tolist() for rows in history.pairs), strict=True):
        code = int(history.key[invoked])
        yield Done(int(history.process[invoked]), history.fs[history.f[invoked]], invoked, row,
                   INFO if row == NONE else int(history.type[row]),
                   None if code == NONE else plain(history.keys[code]))
