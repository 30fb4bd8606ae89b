"""Whose data a directory holds, and of which life of the cluster: checked at every start.

Without it a node started on another's directory would vote with that one's past, and a node
whose log was removed by mistake would start as if it had never promised anything.

``store`` is a number that no other directory has. Members remember each other's (stores.py), so a
node that comes back with an empty directory under its old number is known to have forgotten.
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
    store: str = ""             # "": written before there were such numbers
    life: int = 0               # recoveries from the loss of the majority (quorum_recovery.py)
    mark: int = 0
    unfinished: bool = False    # one of those was begun and is to be finished
    domain: int = 1             # whose log it holds


def new_identity(cluster: str, node: int, domain: int = 1) -> Identity:
    """Return the identity of a directory that was not used before."""
    return Identity(cluster, node, os.urandom(8).hex(), domain=domain)


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


def check_identity(data: Path, cluster: str, node: int, domain: int = 1) -> Identity | None:
    """Return the directory's identity; None: it was not used before. ConfigError if it is
    another node's, or another domain's."""
    found = read_identity(data)
    if found is None:
        return None
    if (found.cluster, found.node) != (cluster, node):
        raise ConfigError(
            f"data: {data} belongs to node {found.node} of cluster {found.cluster!r},"
            f" this is node {node} of {cluster!r}")
    if found.domain != domain:
        raise ConfigError(f"data: {data} holds the log of domain {found.domain}, this node is of"
                          f" domain {domain}: a node does not change its domain")
    if found.unfinished:
        raise NodeError(f"data: a recovery of {data} was begun and not finished:"
                        " give `recover apply` again")
    return found


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
