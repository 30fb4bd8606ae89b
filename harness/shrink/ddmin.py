"""Delta debugging: from many circumstances of a failure to few that are all needed.

Source: A. Zeller, R. Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE
Transactions on Software Engineering 28(2), 2002, algorithm ddmin. The result is 1-minimal: it
fails, and with any single one of its items taken away it does not (or nobody found out how).
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def ddmin(items: Sequence[T], fails: Callable[[list[T]], bool]) -> list[T]:
    """Return a part of ``items``, in their order, that still fails; ``items`` themselves do."""
    found, parts = list(items), 2
    while len(found) >= 2:
        parts = min(parts, len(found))
        chunks = list(split(found, parts))
        one = next((chunk for chunk in chunks if fails(chunk)), None)
        if one is not None:
            found, parts = one, 2
            continue
        rest = None
        if parts > 2:                          # with two chunks, each is the other's complement
            rest = next((others for others in complements(chunks) if fails(others)), None)
        if rest is not None:
            found, parts = rest, max(parts - 1, 2)
        elif parts == len(found):
            break
        else:
            parts = 2 * parts
    return [] if len(found) == 1 and fails([]) else found


def split(items: Sequence[T], parts: int) -> Iterator[list[T]]:
    """Cut a sequence into parts whose sizes differ by at most one."""
    for i in range(parts):
        yield list(items[len(items) * i // parts:len(items) * (i + 1) // parts])


def complements(chunks: Sequence[list[T]]) -> Iterator[list[T]]:
    """Yield all chunks but one, for each one; the last is left out first."""
    for left_out in reversed(range(len(chunks))):
        yield [item for i, chunk in enumerate(chunks) if i != left_out for item in chunk]
