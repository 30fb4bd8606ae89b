"""The node's errors, in three families that are never mixed.

* ``NodeError``: this node or command can't go on. One line for a person, naming the file,
  key or address and what was expected; ``exit_code`` says whose fault it is (254 what the
  user gave, 255 what the machine did).
* ``OperationError``: how one client operation ended other than well. The line that matters
  runs between ``Refused`` (certainly did not happen, nor will) and ``Unknown`` (it may have
  happened, or may yet): a checker's verdict rests on the first never being said in doubt.
* ``InvariantViolation``: a bug of ours. It carries the numbers and stops the node.
"""
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seatrial.core.client_machine import Answer


class InvariantViolation(Exception):
    """Something that can't be is: the node must stop before it does harm."""


class ProtocolError(Exception):
    """The other end of a connection broke the protocol: close that connection."""


class CorruptSnapshot(ProtocolError):
    """A snapshot's stream is not what a member wrote; nothing of it was taken."""


class NodeError(Exception):
    """Base of all errors that end a command with one clear line."""

    exit_code = 255


class ConfigError(NodeError):
    """A configuration or a command line asks for what can't be (exit code 254)."""

    exit_code = 254


class HandshakeRefused(NodeError):
    """The other end would not have us: another cluster, key or protocol."""


class WrongNode(HandshakeRefused):
    """Another node of the cluster is there than the one that was expected."""

    def __init__(self, node: int, expected: int) -> None:
        super().__init__(f"it is node {node}, expected node {expected}")
        self.node = node


class OtherLife(HandshakeRefused):
    """The other end, which proved its key, is of another life of the cluster: ``life``."""

    def __init__(self, line: str, life: tuple[int, int]) -> None:
        super().__init__(line)
        self.life = life


class Fenced(NodeError):
    """This node's data may take part no more: the cluster went on without it."""


class WalError(NodeError):
    """The write-ahead log can't be opened."""


class CorruptSegment(WalError):
    """A segment holds bytes that no crash can leave behind: refused, never repaired."""

    def __init__(self, path: str | Path, offset: int, what: str) -> None:
        super().__init__(f"corrupt segment {path} at offset {offset}: {what}")
        self.path = Path(path)
        self.offset = offset
        self.what = what


class MissingSegment(WalError):
    """A segment that must exist does not: somebody removed part of the log."""


class UnknownFormat(WalError):
    """A segment was written by another version of this software."""


class DirectoryInUse(WalError):
    """Another process has this log open."""


class OperationError(Exception):
    """Base of the ways in which a client operation does not succeed.

    answer: of what the state itself declined, when it was executed: where in history that stands.
    """

    answer: Answer | None = None


class CasMismatch(OperationError):
    """The compare-and-set found ``seen`` (None: no value) and changed nothing."""

    def __init__(self, seen: bytes | None) -> None:
        super().__init__(f"found {seen!r}")
        self.seen = seen


class Refused(OperationError):
    """The operation certainly did not happen, and never will."""


class NotLeader(Refused):
    """The node does not lead; ``leader`` is the node it believes does (0: none known)."""

    def __init__(self, leader: int) -> None:
        super().__init__(f"not the leader; leader is {leader or 'unknown'}")
        self.leader = leader


class SessionLost(Refused):
    """The cluster does not know this session (any more)."""


class NotACounter(Refused):
    """The key holds something else than a counter: a value that is not of 8 bytes."""


class CounterOverflow(Refused):
    """The sum does not fit 64 bits; the counter is what it was."""


class LockHeld(Refused):
    """Somebody else holds the lock: ``holder``, under ``token``."""

    def __init__(self, holder: bytes, token: int) -> None:
        super().__init__(f"held by {holder!r} under token {token}")
        self.holder = holder
        self.token = token


class LockLost(Refused):
    """The lock is not held under this token (any more)."""


class StaleToken(Refused):
    """A newer token, ``newest``, has written this key."""

    def __init__(self, newest: int) -> None:
        super().__init__(f"the newest token is {newest}")
        self.newest = newest


class NotTransacted(Refused):
    """A command of the transaction did not succeed, so none took effect; ``status``: its answer."""

    def __init__(self, place: int, status: str) -> None:
        super().__init__(f"command {place}: {status}")
        self.place = place
        self.status = status


class NotRoot(Refused):
    """Writes go to the root: domain ``root`` (0: unknown), whose nodes are at ``addresses``."""

    def __init__(self, root: int, addresses: list[str]) -> None:
        super().__init__(f"this domain takes no writes; domain {root or '?'} does: "
                         + (", ".join(addresses) or "no node of it is known"))
        self.root = root
        self.addresses = addresses


class DomainFenced(Refused):
    """This domain can't answer linearizable reads now: no lease, and no way to ask the root."""


class TooOld(Refused):
    """What the node holds is older than the read allows, or than the session has seen."""


class TokenLost(Refused):
    """What the session's token names was lost: this log holds something else in its place."""


class Unknown(OperationError):
    """The operation may have happened, may yet happen, or never will: nobody can tell."""
