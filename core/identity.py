"""Whose data a directory holds: written once, checked at every start.

Without it a node started on another's directory would vote with that one's past, and a node
whose log was removed by mistake would start as if it had never promised anything.
"""
from __future__ import annotations

import os
from pathlib import Path

import msgspec

from seatrial.core.errors import ConfigError, NodeError
from seatrial.core.segment_files import sync_directory

NAME = "identity.json"


class Identity(msgspec.Struct, frozen=True):
    """The owner of a data directory."""

    cluster: str
    node: int


def read_identity(data: Path) -> Identity | None:
    """Return whose directory this is; None: nobody's yet."""
    path = data / NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=Identity)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NodeError(f"can't read {path}: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise NodeError(f"{path} is damaged: {error}") from None


def check_identity(data: Path, mine: Identity) -> bool:
    """Return whether this directory was used before; ConfigError if by another node."""
    found = read_identity(data)
    if found is None:
        return False
    if found != mine:
        raise ConfigError(
            f"data: {data} belongs to node {found.node} of cluster {found.cluster!r},"
            f" this is node {mine.node} of {mine.cluster!r}")
    return True


def write_identity(data: Path, mine: Identity) -> None:
    """Make the directory ours, durably. The log in it must exist already."""
    unfinished = data / f"{NAME}.tmp"
    try:
        with unfinished.open("wb") as file:
            file.write(msgspec.json.encode(mine) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(data / NAME)
        sync_directory(data)
    except OSError as error:
        raise NodeError(f"can't write {data / NAME}: {error.strerror}") from None
