"""The link to the parent: whom a child's leader dials, by turns, as named, and when again."""
from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from seatrial.core.config import Address
from seatrial.core.errors import HandshakeRefused, ProtocolError
from seatrial.core.handshake import ListenerHandshake
from seatrial.core.journal import Journal
from seatrial.core.transport import REDIAL_S
from seatrial.core.uplinks import MOVES, Uplink

from .nodes import run_async

KEYS = {"link": b"l" * 16}


class FakeMachine:
    """What the replica would be: says what it wants, and notes what it is told."""

    def __init__(self) -> None:
        self.wanted = True
        self.nodes: list[tuple[int, str]] = []
        self.move: tuple[int, str] | None = None
        self.told: list[tuple[Any, ...]] = []

    def uplink_wanted(self) -> bool:
        return self.wanted

    def parent_nodes(self) -> list[tuple[int, str]]:
        return self.nodes

    def uplink_up(self, node: int, now_ns: int) -> None:
        self.told.append(("up", node))

    def uplink_down(self, now_ns: int) -> None:
        self.told.append(("down",))

    def receive_uplink(self, data: bytes, now_ns: int) -> None:
        self.told.append(("data", data))
        if data == b"nonsense":
            raise ProtocolError("this is nonsense")

    def take_uplink_move(self) -> tuple[int, str] | None:
        move, self.move = self.move, None
        return move


class FakeShell:
    """What the node would be."""

    cluster = "lab"
    protocol_max = 2

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = Journal(1, path=path)
        self.uplink: Uplink | None = None

    def wake(self) -> None:
        """Look again after everything, as the node's flush does."""
        asyncio.get_running_loop().call_soon(self.follow)

    def follow(self) -> None:
        if self.uplink is not None:
            self.uplink.follow()


class ParentNode(asyncio.Protocol):
    """A connection to a node of the parent, which only shakes hands."""

    def __init__(self, parent: Parent) -> None:
        self.parent = parent
        self.input = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.handshake = ListenerHandshake(
            self.parent.cluster, self.parent.node, KEYS, b"L" * 32, domains=self.parent.domains)

    def data_received(self, data: bytes) -> None:
        if self.handshake.done:
            self.input += data
            return
        try:
            out = self.handshake.receive(data)
        except HandshakeRefused:
            self.transport.write(self.handshake.farewell)
            self.transport.close()
            return
        self.transport.write(out + (self.parent.greeting if self.handshake.done else b""))
        if self.handshake.done:
            self.parent.links.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self in self.parent.links:
            self.parent.links.remove(self)


class Parent:
    """A node of the parent that listens."""

    def __init__(self, node: int, cluster: str = "lab") -> None:
        self.node = node
        self.cluster = cluster
        self.domains = {2}
        self.greeting = b""
        self.links: list[ParentNode] = []
        self.where = ""
        self.server: asyncio.Server

    async def listen(self) -> None:
        self.server = await asyncio.get_running_loop().create_server(
            lambda: ParentNode(self), "127.0.0.1", 0)
        host, port = self.server.sockets[0].getsockname()
        self.where = str(Address(host, port))


async def come(condition: Callable[[], Any]) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def linked(tmp_path: Path, *parents: Parent) -> AsyncIterator[tuple[FakeMachine, Uplink]]:
    """A link that wants to be up, and what it dials."""
    shell, machine = FakeShell(tmp_path / "journal"), FakeMachine()
    for parent in parents:
        await parent.listen()
    machine.nodes = [(parent.node, parent.where) for parent in parents]
    uplink = shell.uplink = Uplink(
        shell, machine, 2, KEYS["link"], clock=lambda: 0, user_timeout_ms=1000,
        max_unsent_bytes=1 << 20)
    uplink.follow()
    try:
        yield machine, uplink
    finally:
        await uplink.stop()
        shell.uplink = None
        for parent in parents:
            parent.server.close()
        shell.journal.close()


def complaints(tmp_path: Path) -> str:
    return (tmp_path / "journal").read_text()


def test_the_parents_nodes_are_dialled_by_turns_until_one_lets_us_in(tmp_path: Path) -> None:
    async def story() -> None:
        stranger, parent = Parent(10, cluster="other"), Parent(11)
        async with linked(tmp_path, stranger, parent) as (machine, uplink):
            await come(lambda: machine.told == [("up", 11)])
            assert uplink.node == 11
            uplink.send(b"hello")
            await come(lambda: parent.links[0].input == b"hello")
            parent.links[0].transport.write(b"entries")
            await come(lambda: ("data", b"entries") in machine.told)
        assert machine.told[-1] == ("down",)
        assert "it belongs to another cluster" in complaints(tmp_path)

    run_async(story())


def test_what_follows_the_handshake_at_once_is_heard(tmp_path: Path) -> None:
    async def story() -> None:
        parent = Parent(10)
        parent.greeting = b"welcome"
        async with linked(tmp_path, parent) as (machine, _):
            await come(lambda: machine.told == [("up", 10), ("data", b"welcome")])

    run_async(story())


def test_a_redirect_is_followed_even_to_a_node_that_was_not_known(tmp_path: Path) -> None:
    async def story() -> None:
        follower, leader = Parent(10), Parent(12)
        await leader.listen()
        async with linked(tmp_path, follower) as (machine, uplink):
            await come(lambda: follower.links)
            machine.move = 12, leader.where
            uplink.follow()
            await come(lambda: leader.links)
            assert machine.told == [("up", 10), ("down",), ("up", 12)]
            await come(lambda: not follower.links)
        leader.server.close()

    run_async(story())


def test_a_redirect_to_nobody_leads_to_the_next_node(tmp_path: Path) -> None:
    async def story() -> None:
        one, two = Parent(10), Parent(11)
        async with linked(tmp_path, one, two) as (machine, uplink):
            for expected in (10, 11, 10):
                await come(lambda node=expected: uplink.node == node)
                machine.move = 0, ""
                uplink.follow()
            await come(lambda: machine.told.count(("down",)) == 3)

    run_async(story())


def test_nodes_that_send_us_in_a_circle_are_not_dialled_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = []
    sleep = asyncio.sleep

    async def counted(delay: float) -> None:
        pauses.extend([delay] if delay == REDIAL_S else [])
        await sleep(delay)

    monkeypatch.setattr(asyncio, "sleep", counted)

    async def story() -> None:
        one, two = Parent(10), Parent(11)
        async with linked(tmp_path, one, two) as (machine, uplink):
            for moves in range(1, 2 * MOVES + 3):
                await come(lambda times=moves: ups(machine) == times)
                machine.move = (11, two.where) if uplink.node == 10 else (10, one.where)
                uplink.follow()
            await come(lambda: ups(machine) == 2 * MOVES + 3)
            assert len(pauses) == 2     # one after each MOVES + 1

    run_async(story())


def ups(machine: FakeMachine) -> int:
    return sum(what[0] == "up" for what in machine.told)


def test_a_lost_link_is_dialled_again(tmp_path: Path) -> None:
    async def story() -> None:
        parent = Parent(10)
        async with linked(tmp_path, parent) as (machine, _):
            await come(lambda: parent.links)
            parent.links[0].transport.abort()
            await come(lambda: machine.told == [("up", 10), ("down",), ("up", 10)])

    run_async(story())


def test_what_breaks_the_protocol_is_left(tmp_path: Path) -> None:
    async def story() -> None:
        parent = Parent(10)
        async with linked(tmp_path, parent) as (machine, _):
            await come(lambda: parent.links)
            parent.links[0].transport.write(b"nonsense")
            await come(lambda: machine.told.count(("up", 10)) == 2)
            assert "this is nonsense" in complaints(tmp_path)

    run_async(story())


def test_who_leads_no_more_hangs_up_and_dials_again_when_it_leads(tmp_path: Path) -> None:
    async def story() -> None:
        parent = Parent(10)
        async with linked(tmp_path, parent) as (machine, uplink):
            await come(lambda: parent.links)
            machine.wanted = False
            uplink.follow()
            assert machine.told == [("up", 10), ("down",)]
            await come(lambda: not parent.links)
            uplink.send(b"lost")
            machine.wanted = True
            uplink.follow()
            await come(lambda: machine.told == [("up", 10), ("down",), ("up", 10)])
            assert parent.links[0].input == b""

    run_async(story())


@pytest.mark.parametrize(("change", "reason"), [
    (lambda uplink, parent: setattr(uplink, "key", b"x" * 16),
     "it does not hold the key that was given here"),
    (lambda uplink, parent: parent.domains.clear(), "its tree has no such domain"),
    (lambda uplink, parent: setattr(parent, "cluster", "other"), "it belongs to another cluster"),
    (lambda uplink, parent: setattr(parent, "node", 99), "it is node 99, expected node 10"),
])
def test_a_refusal_is_told_once_and_tried_again(
    tmp_path: Path, change: Callable[[Uplink, Parent], None], reason: str
) -> None:
    async def story() -> None:
        parent = Parent(10)
        async with linked(tmp_path, parent) as (machine, uplink):
            change(uplink, parent)
            await come(lambda: reason in complaints(tmp_path))
            assert machine.told == []
            parent.domains, parent.cluster, parent.node = {2}, "lab", 10
            uplink.key = KEYS["link"]
            await come(lambda: machine.told == [("up", 10)])
        assert complaints(tmp_path).count(reason) == 1

    run_async(story())


def test_addresses_that_are_none_are_passed_over(tmp_path: Path) -> None:
    async def story() -> None:
        parent = Parent(10)
        async with linked(tmp_path, parent) as (machine, uplink):
            await come(lambda: parent.links)
            machine.nodes = [(9, "nowhere"), (10, parent.where)]
            machine.move = 9, "nowhere either"
            uplink.follow()
            await come(lambda: machine.told == [("up", 10), ("down",), ("up", 10)])
            assert "'nowhere either' is not host:port" in complaints(tmp_path)

    run_async(story())
