"""Drives the state machine by records of its own making, without Raft."""
from __future__ import annotations

import struct
from collections.abc import Iterable

from seatrial.core import codec
from seatrial.core.codec import OPS
from seatrial.core.kv import KeyValue

KINDS = {name: number for number, name in enumerate(codec.KINDS)}
S = 1_000_000_000
Answer = tuple[str, bytes | None]
Chunk = tuple[bytes, int, bool]


def command(op: str, key: bytes = b"", value: bytes = b"", expected: bytes | None = None) -> bytes:
    """Return a command's bytes, as a record carries them."""
    return codec.encode_request(0, 0, 0, OPS[op], key, value, expected)[40:]


class Log:
    """Makes records one after the other, and applies each to all its machines."""

    def __init__(self, *machines: KeyValue) -> None:
        self.machines = list(machines or [KeyValue()])
        self.index = 0
        self.records: list[bytes] = []
        self.sequences: dict[int, int] = {}

    @property
    def kv(self) -> KeyValue:
        return self.machines[0]

    def entry(
        self, kind: str, payload: bytes = b"", *, client: int = 0, sequence: int = 0
    ) -> Answer:
        """Apply one entry; return the answer, which must be the same of all machines."""
        self.index += 1
        self.records.append(codec.encode_record(
            self.index, 1, KINDS[kind], payload, client=client, sequence=sequence,
            rindex=self.index, epoch=1 << 16, rterm=1))
        return self.replay(self.records[-1], self.machines)

    @staticmethod
    def replay(record: bytes, machines: Iterable[KeyValue]) -> Answer:
        """Apply one entry to machines."""
        answers = {machine.execute(record) for machine in machines}
        assert len(answers) == 1, answers
        status, value = answers.pop()
        return codec.STATUSES[status], value

    def open(self, nonce: int = 1, *, limit: int = 100, ttl_ns: int = 0) -> int:
        """Open a session; return its id."""
        status, value = self.entry(
            "open-session", struct.pack("<QQ", limit, ttl_ns), client=nonce)
        assert status == "ok"
        return int.from_bytes(value or b"", "little")

    def do(self, session: int, op: str, key: bytes = b"", value: bytes = b"",
           expected: bytes | None = None, *, sequence: int = 0) -> Answer:
        """Execute a command under a session, with its next sequence or this one."""
        self.sequences[session] = sequence or self.sequences.get(session, 0) + 1
        return self.entry("command", command(op, key, value, expected), client=session,
                          sequence=self.sequences[session])

    def clock(self, log_time_ns: int, hashed_index: int = 0, state_hash: int = 0) -> None:
        """Let log time pass."""
        self.entry("clock", struct.pack("<QQQ", log_time_ns, hashed_index, state_hash))

    def ask(self, op: str, key: bytes, argument: bytes = b"") -> Answer:
        """Answer a query."""
        status, value = self.kv.ask(OPS[op], key, argument)
        return codec.STATUSES[status], value


def chunks_of(kv: KeyValue, size: int = 1 << 16) -> list[Chunk]:
    """Return the rest of a snapshot that was begun."""
    found = []
    while not found or not found[-1][2]:
        found.append(kv.next_chunk(size))
    return found


def whole(kv: KeyValue, block: bytes = b"") -> bytes:
    """Return a snapshot's bytes."""
    kv.begin_snapshot(block)
    return b"".join(data for data, _, _ in chunks_of(kv))
