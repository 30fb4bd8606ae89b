"""Small generators, and what a test looks at in the history they make."""
from __future__ import annotations

from typing import Any

from seatrial.harness import generator as gen
from seatrial.harness.generator import Generator
from seatrial.harness.op import Op

R = {"f": "read"}
W = {"f": "write"}


def values(n: int) -> list[dict[str, Any]]:
    """Return writes of 0 to n-1."""
    return [{"f": "write", "value": i} for i in range(n)]


def forever(f: str) -> Generator:
    """Return a generator that makes the same operation again and again."""
    return gen.repeat({"f": f})


def seen(history: list[Op], *fields: str) -> list[Any]:
    """Return the named fields of each operation, bare if there is one name."""
    rows = [tuple(getattr(op, name) for name in fields) for op in history]
    return [row[0] for row in rows] if len(fields) == 1 else rows
