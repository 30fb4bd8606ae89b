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


class Store(msgspec.Struct, frozen=True):
    """A member's directory, as one heard of it when the configuration of entry ``since`` held."""

    store: str = ""
    since: int = 0


class Stores:
    """What one node remembers of the others."""

    def __init__(self, data: Path) -> None:
        self._path = data / NAME
        try:
            self._known = msgspec.json.decode(self._path.read_bytes(), type=dict[int, Store])
        except FileNotFoundError:
            self._known = {}
        except OSError as error:
            raise NodeError(f"can't read {self._path}: {error.strerror}") from None
        except msgspec.DecodeError as error:
            raise NodeError(f"{self._path} is damaged: {error}") from None

    def of(self, node: int) -> Store:
        """Return a node's directory; an empty number: not known."""
        return self._known.get(node, Store())

    def heard(self, node: int, store: str, *, theirs: int, ours: int) -> bool:
        """Take what a member says of itself; False: it had another directory before.

        ``theirs``, ``ours``: the newest committed configuration that it, and we, know. Where it
        knows of one that came after we heard of its directory, it was made a new member since.
        """
        known = self.of(node)
        if store in ("", known.store):
            return True
        if known.store and theirs <= known.since:
            return False
        self._known[node] = Store(store, ours)
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
