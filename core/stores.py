"""Which directory each member had when it was last heard: who comes with another one has forgotten.

A member that acknowledged entries and then lost its disk must not come back under its number: what
it acknowledged would be counted, and it would vote a second time. Each member remembers, durably,
the numbers of the others' directories (identity.py), and tells each what it remembers of it
(notice.py). A node that hears another number than its own stops before it answers anything. Who
leaves the configuration is forgotten, so it may be made a member again, as one that holds nothing.
"""
from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import msgspec

from seatrial.core.errors import NodeError
from seatrial.core.segment_files import sync_directory

NAME = "members.json"


class Stores:
    """What one node remembers of the others."""

    def __init__(self, data: Path) -> None:
        self._path = data / NAME
        try:
            self._known = msgspec.json.decode(self._path.read_bytes(), type=dict[int, str])
        except FileNotFoundError:
            self._known = {}
        except OSError as error:
            raise NodeError(f"can't read {self._path}: {error.strerror}") from None
        except msgspec.DecodeError as error:
            raise NodeError(f"{self._path} is damaged: {error}") from None

    def of(self, node: int) -> str:
        """Return the number of a node's directory; empty: not known."""
        return self._known.get(node, "")

    def heard(self, node: int, store: str, *, newer: bool = False) -> bool:
        """Take what a member says of itself; False: it had another directory before. ``newer``: it
        knows of a later configuration than we do, by which it may have been made a new member."""
        if not store or self._known.get(node) == store:
            return True
        if node in self._known and not newer:
            return False
        self._known[node] = store
        self._write()
        return True

    def keep(self, members: Collection[int]) -> None:
        """Forget who is no member."""
        gone = self._known.keys() - set(members)
        if gone:
            for node in gone:
                del self._known[node]
            self._write()

    def _write(self) -> None:
        unfinished = self._path.with_suffix(".tmp")
        try:
            with unfinished.open("wb") as file:
                file.write(msgspec.json.encode(self._known) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            unfinished.rename(self._path)
            sync_directory(self._path.parent)
        except OSError as error:
            raise NodeError(f"can't write {self._path}: {error.strerror}") from None
