"""A story's clients: each asks for one thing, and what it is told is part of the story."""
from __future__ import annotations

import struct
from collections.abc import Callable

from seatrial.core import codec
from seatrial.harness.sim.domain_world import DomainWorld

from .trees import MS

AGAIN_NS = 50 * MS


class Answer:
    """What a node said: its status, and what belongs to it."""

    def __init__(self, frame: bytes) -> None:
        _, status, self.value, self.node, self.rindex, self.epoch, self.term = (
            codec.decode_response(frame))
        self.status = codec.STATUSES[status]
        self.domain, self.confirmed = codec.response_domains(frame)


class Asking:
    """One request: to one host, or to whoever of a domain leads.

    hosts: those of the domain, in the order in which they are tried; of one host alone it is not
    sent on. A write is sent once; a read again, if the connection breaks.
    """

    def __init__(self, world: DomainWorld, hosts: list[int], request: bytes, *,
                 repeats: bool) -> None:
        self.world, self.hosts, self.request, self.repeats = world, hosts, request, repeats
        self.at = 0
        self.sent = self.broken = False
        self.answer: Answer | None = None
        self.connection = 0
        self._dial()

    @property
    def over(self) -> bool:
        """Whether nothing more is going to be heard."""
        return self.answer is not None or self.broken

    def _dial(self) -> None:
        self.connection = self.world.connect(0, self.hosts[self.at], self)

    def _turn(self, host: int = -1) -> None:
        """Ask another host of the domain, or the one that is said to lead."""
        self.at = self.hosts.index(host) if host in self.hosts else (self.at + 1) % len(self.hosts)
        self.world.close(self.connection)
        self.connection = 0
        self.world.call_at(self.world.now_ns + AGAIN_NS, self._dial)

    def connected(self, connection: int) -> None:
        if connection == self.connection:
            self.sent = True
            self.world.send(connection, self.request)

    def received(self, connection: int, data: bytes) -> None:
        if connection != self.connection or self.over:
            return
        answer = Answer(data)
        if answer.status == "not-leader" and len(self.hosts) > 1:
            self.sent = False
            self._turn(int.from_bytes((answer.value or b"")[:8], "little") - 1)
            return
        self.answer = answer

    def closed(self, connection: int) -> None:
        if connection != self.connection or self.over:
            return
        if len(self.hosts) == 1 or (self.sent and not self.repeats):
            self.broken = True
        else:
            self._turn()


class Requests:
    """Makes the requests of a story's one session."""

    def __init__(self, world: DomainWorld) -> None:
        self.world = world
        self.session = self.sequence = self.number = 0
        self.token = bytes(24)      # the newest that the session was told of

    def seen(self, answer: Answer) -> None:
        """Remember what an answer reflects."""
        if answer.status == "ok" and answer.rindex >= int.from_bytes(self.token[:8], "little"):
            self.token = struct.pack("<QQQ", answer.rindex, answer.epoch, answer.term)

    def open(self, hosts: list[int], run_until: Callable[[Callable[[], bool]], bool]) -> None:
        """Open the session."""
        asking = Asking(self.world, hosts, codec.encode_request(1, 1, 0, codec.OPS["open-session"]),
                        repeats=True)
        run_until(lambda: asking.over)
        assert asking.answer is not None
        assert asking.answer.status == "ok"
        self.session = int.from_bytes(asking.answer.value or b"", "little")

    def write(self, hosts: list[int], key: str, value: str) -> Asking:
        """Write a value."""
        self.sequence += 1
        return Asking(self.world, hosts, codec.encode_request(
            self.sequence, self.session, self.sequence, codec.OPS["write"], key.encode(),
            value.encode()), repeats=False)

    def read(self, hosts: list[int], key: str, *, kind: str = "", bound_ns: int = 0) -> Asking:
        """Read a value: linearizable, ``prefix``, ``session`` (a prefix that holds what was seen
        here before), or ``bounded``."""
        self.number += 1
        expected = None
        if kind:
            expected = self.token if kind == "session" else bytes(24)
            expected += struct.pack("<Q", bound_ns) if kind == "bounded" else b""
        return Asking(self.world, hosts, codec.encode_request(
            self.number, 2, 0, codec.OPS["read"], key.encode(), expected=expected,
            any_node=bool(kind), prefix=bool(kind), bounded=kind == "bounded"), repeats=True)
