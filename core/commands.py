"""The commands beyond read and write, as bytes: what goes into a request and what its answer says.

A transaction is built from parts, none of which is sent before it is whole:

    transact(when=[is_absent(b"owner")], then=[put(b"owner", b"me"), add(b"taken", 1)],
             otherwise=[get(b"owner")])

Layouts: docs/formats.md.
"""
from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from seatrial.core.codec import OPS, STATUSES
from seatrial.core.errors import ProtocolError

MAX_PARTS = 128                 # of a transaction
MAX_TTL_NS = 1 << 62
COMMAND = struct.Struct("<BBHIII")
TRANSACTION = struct.Struct("<HHHH")
HEAD = struct.Struct("<II")
PART = struct.Struct("<BBHI")
ITEM = struct.Struct("<HI")
LOCK = struct.Struct("<QQQ")
BOUND = struct.Struct("<QQQ")
HAS_EXPECTED = HAS_VALUE = 1


class Part(NamedTuple):
    """One compare or command of a transaction, encoded."""

    compare: bool
    data: bytes


class PartAnswer(NamedTuple):
    """What one command of a transaction answered."""

    status: str
    value: bytes | None


class Transacted(NamedTuple):
    """A transaction that was executed: whether all compares held, and the answers in order."""

    held: bool
    answers: list[PartAnswer]


class Page(NamedTuple):
    """A part of a range of keys; ``more``: the key to go on from, None at the range's end."""

    items: list[tuple[bytes, bytes]]
    more: bytes | None


class Holder(NamedTuple):
    """Who holds a lock. ``left_ns``: at least so much of its time is left, in log time."""

    token: int
    ttl_ns: int
    left_ns: int
    holder: bytes


def part(
    op: str, key: bytes, value: bytes = b"", expected: bytes | None = None
) -> Part:
    """Encode one part of a transaction."""
    flags = 0 if expected is None else HAS_EXPECTED
    wanted = expected or b""
    head = COMMAND.pack(OPS[op], flags, len(key), len(value), len(wanted), 0)
    return Part(op.startswith("is-"), head + key + value + wanted)


def is_value(key: bytes, value: bytes) -> Part:
    """Compare: the key holds this value."""
    return part("is-value", key, value)


def is_absent(key: bytes) -> Part:
    """Compare: the key is absent."""
    return part("is-absent", key)


def is_present(key: bytes) -> Part:
    """Compare: the key has a value."""
    return part("is-present", key)


def get(key: bytes) -> Part:
    """Read a key."""
    return part("read", key)


def put(key: bytes, value: bytes) -> Part:
    """Set a key."""
    return part("write", key, value)


def put_if_token(key: bytes, value: bytes, token: int) -> Part:
    """Set a key, unless a newer token has."""
    return part("write-if-token", key, value, encode_u64(token))


def append(key: bytes, value: bytes) -> Part:
    """Add bytes to a key's value."""
    return part("append", key, value)


def delete(key: bytes) -> Part:
    """Make a key absent."""
    return part("delete", key)


def add(key: bytes, delta: int) -> Part:
    """Add a number to a counter."""
    return part("add", key, encode_i64(delta))


def encode_transaction(
    when: Sequence[Part], then: Sequence[Part], otherwise: Sequence[Part]
) -> bytes:
    """Return a transaction's bytes. Raises ValueError for one that no node takes."""
    if not all(each.compare for each in when):
        raise ValueError("when: expected compares only")
    if any(each.compare for each in (*then, *otherwise)):
        raise ValueError("then, otherwise: expected commands only, no compares")
    if (count := len(when) + len(then) + len(otherwise)) > MAX_PARTS:
        raise ValueError(f"a transaction of {count} parts: expected at most {MAX_PARTS}")
    return TRANSACTION.pack(len(when), len(then), len(otherwise), 0) + b"".join(
        each.data for each in (*when, *then, *otherwise))


def decode_transacted(value: bytes | None) -> Transacted:
    """Return what a transaction answered."""
    try:
        held, count = HEAD.unpack_from(value or b"")
        at = HEAD.size
        answers = []
        for _ in range(count):
            status, flags, _, length = PART.unpack_from(value or b"", at)
            at += PART.size
            answers.append(PartAnswer(
                STATUSES[status], (value or b"")[at:at + length] if flags & HAS_VALUE else None))
            at += length
    except (struct.error, IndexError):
        at = -1
    if at != len(value or b""):
        raise ProtocolError("a transaction's answer is not whole")
    return Transacted(bool(held), answers)


def encode_scan(end: bytes, limit: int) -> bytes:
    """Return what goes with a scan's first key."""
    return struct.pack("<I", limit) + end


def decode_page(value: bytes | None) -> Page:
    """Return what a scan answered."""
    data = value or b""
    items = []
    try:
        count, more = HEAD.unpack_from(data)
        at = HEAD.size
        for _ in range(count + more):
            key_length, length = ITEM.unpack_from(data, at)
            at += ITEM.size
            items.append((data[at:at + key_length],
                          data[at + key_length:at + key_length + length]))
            at += key_length + length
    except struct.error:
        at = -1
    if at != len(data):
        raise ProtocolError("a scan's answer is not whole")
    return Page(items[:count], items[count][0] if more else None)


def decode_holder(value: bytes | None) -> Holder | None:
    """Return who holds a lock, None for nobody."""
    if value is None:
        return None
    if len(value) < LOCK.size:
        raise ProtocolError("a lock's description is not whole")
    token, ttl_ns, left_ns = LOCK.unpack_from(value)
    return Holder(token, ttl_ns, left_ns, value[LOCK.size:])


def encode_acquire(holder: bytes, ttl_s: float) -> bytes:
    """Return what goes with a lock's name."""
    ttl_ns = int(ttl_s * 1e9)
    if not 0 < ttl_ns <= MAX_TTL_NS:
        raise ValueError(f"a lock held for {ttl_s} s: expected a positive number of seconds")
    return encode_u64(ttl_ns) + holder


class Token(NamedTuple):
    """Where in the root's log a session stands: an entry's coordinates."""

    epoch: int
    term: int
    rindex: int


def encode_bound(token: Token | None, max_lag_s: float | None = None) -> bytes | None:
    """Return how old the answer to a read may be: not older than the token, nor, of a bounded
    read, than ``max_lag_s`` (0: the bound of the tree)."""
    if token is None and max_lag_s is None:
        return None
    epoch, term, rindex = token or (0, 0, 0)
    bound = BOUND.pack(rindex, epoch, term)
    if max_lag_s is None:
        return bound
    if not 0 <= max_lag_s * 1e9 <= MAX_TTL_NS:
        raise ValueError(f"a lag of {max_lag_s} s: expected a number of seconds")
    return bound + encode_u64(int(max_lag_s * 1e9))


def decode_root(value: bytes | None) -> tuple[int, list[str]]:
    """Return the root's id and its nodes' addresses, as far as they are known."""
    data = value or b""
    try:
        text = data[2:].decode()
    except UnicodeDecodeError:
        text = "\0"
    if len(data) < 2 or "\0" in text:
        raise ProtocolError("the description of the root is not whole")
    return int.from_bytes(data[:2], "little"), text.split("\n") if text else []


def encode_u64(number: int) -> bytes:
    """Return a token."""
    return number.to_bytes(8, "little")


def encode_i64(number: int) -> bytes:
    """Return a counter's value. Raises OverflowError."""
    return number.to_bytes(8, "little", signed=True)


def decode_u64(value: bytes | None) -> int:
    """Return a token or a session's id."""
    if value is None or len(value) != 8:
        raise ProtocolError("expected a number of 8 bytes")
    return int.from_bytes(value, "little")


def decode_i64(value: bytes | None) -> int:
    """Return a counter's value; an absent one is 0."""
    if value is not None and len(value) != 8:
        raise ProtocolError("expected a counter of 8 bytes")
    return int.from_bytes(value or b"", "little", signed=True)
