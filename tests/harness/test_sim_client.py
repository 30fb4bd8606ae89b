"""The client in a simulated world: what the machine wants is done, at the right virtual times."""
from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine
from typing import Any

import pytest

from seatrial.core.codec import OPS, STATUSES, decode_request, encode_response
from seatrial.core.errors import CasMismatch, Refused, Unknown
from seatrial.harness.sim.client import SimClient
from seatrial.harness.sim.loop import SimLoop

from .sim_timeline import Timeline

MS = 1_000_000
POOL = 3
OK, MISMATCH, NOT_LEADER = (STATUSES.index(name) for name in ("ok", "cas-mismatch", "not-leader"))


class Cluster(Timeline):
    """Three nodes that answer after a millisecond; the first leads and holds the keys.

    deaf: hosts that nothing reaches; mute: hosts that hear everything and say nothing; refusing:
    hosts that don't let anybody connect.
    """

    def __init__(self) -> None:
        super().__init__()
        self.deaf: set[int] = set()
        self.mute: set[int] = set()
        self.refusing: set[int] = set()
        self.values: dict[bytes, bytes] = {}
        self.numbers = itertools.count(1)
        self.open: dict[int, tuple[int, Any]] = {}
        self.asked: list[tuple[int, str, int]] = []     # host, operation, when

    def later(self, callback: Any, *args: Any) -> None:
        self.call_at(self.now_ns + MS, callback, *args)

    def connect(self, pool: int, host: int, client: Any) -> int:
        assert pool == POOL
        connection = next(self.numbers)
        self.open[connection] = host, client
        if host in self.refusing:
            self.later(self.tell, connection, "closed")
        elif host not in self.deaf:
            self.later(self.tell, connection, "connected")
        return connection

    def tell(self, connection: int, what: str, *args: Any) -> None:
        if connection in self.open:
            getattr(self.open[connection][1], what)(connection, *args)
            if what == "closed":
                self.open.pop(connection, None)

    def close(self, connection: int) -> None:
        del self.open[connection]

    def send(self, connection: int, data: bytes) -> None:
        host, _ = self.open[connection]
        if host in self.deaf:
            return
        request, _, _, op, key, value, expected = decode_request(data)
        name = next(name for name, number in OPS.items() if number == op)
        self.asked.append((host, name, self.now_ns))
        if host in self.mute:
            return
        status, answer = self.answer(host, name, key, value, expected)
        self.later(self.tell, connection, "received",
                   encode_response(request, status, answer, host + 1, 7, 1 << 16, 2))

    def answer(self, host: int, name: str, key: bytes, value: bytes,
               expected: bytes | None) -> tuple[int, bytes | None]:
        if name == "status":
            return OK, b'{"node": %d}' % (host + 1)
        if name == "open-session":
            return OK, (9).to_bytes(8, "little")
        if name == "ping":
            return OK, None
        if host:
            return NOT_LEADER, (1).to_bytes(8, "little")
        if name == "cas" and self.values.get(key) != expected:
            return MISMATCH, self.values.get(key)
        if name != "read":
            self.values[key] = value
        return OK, self.values.get(key)


def play(cluster: Cluster, script: Any, *, prefer: int = 1, timeout_s: float = 3.0) -> Any:
    """Run ``script(client)`` and return its result."""
    loop = SimLoop(cluster)

    async def main() -> Any:
        client = SimClient(cluster, POOL, 3, random_u64=lambda: 42, timeout_s=timeout_s,
                           prefer=prefer)
        try:
            return await script(client)
        finally:
            await client.close()

    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


async def ended(coroutine: Coroutine[Any, Any, Any]) -> Exception:
    try:
        await coroutine
    except Exception as error:
        return error
    raise AssertionError("it ended well")


def test_operations_have_the_real_clients_answers_and_errors() -> None:
    async def script(client: SimClient) -> None:
        await client.write(b"k", b"1")
        answer = await client.read(b"k")
        assert (answer.value, answer.node, answer.rindex, answer.term) == (b"1", 1, 7, 2)
        await client.cas(b"k", b"1", b"2")
        with pytest.raises(CasMismatch) as found:
            await client.cas(b"k", b"1", b"3")
        assert found.value.seen == b"2"
        assert await client.status(3) == {"node": 3}

    cluster = Cluster()
    play(cluster, script)
    assert cluster.open == {}


def test_a_follower_that_names_the_leader_is_left_for_it() -> None:
    cluster = Cluster()
    play(cluster, lambda client: client.write(b"k", b"1"), prefer=3)
    assert [(host, name) for host, name, _ in cluster.asked] == [
        (2, "open-session"), (2, "write"), (0, "write")]
    assert cluster.values == {b"k": b"1"}


def test_a_node_that_nothing_reaches_costs_as_long_as_a_real_connect() -> None:
    cluster = Cluster()
    cluster.deaf = {0}
    error = play(cluster, lambda client: ended(client.read(b"k")), timeout_s=0.9)
    assert isinstance(error, Refused)
    assert cluster.asked[0] == (1, "read", 501 * MS)
    assert cluster.now_ns == 900 * MS


def test_a_node_that_refuses_is_dialled_again_later() -> None:
    cluster = Cluster()
    cluster.refusing = {0, 1, 2}
    cluster.call_at(700 * MS, cluster.refusing.clear)
    play(cluster, lambda client: client.write(b"k", b"1"))
    assert cluster.values == {b"k": b"1"}
    assert 700 * MS < cluster.asked[0][2] < 2_000 * MS


def test_a_silent_node_is_pinged_and_given_up() -> None:
    cluster = Cluster()
    cluster.mute = {0}
    error = play(cluster, lambda client: ended(client.read(b"k")), timeout_s=1.5)
    assert isinstance(error, Refused)
    assert cluster.asked[:3] == [(0, "read", 1 * MS), (0, "ping", 251 * MS), (1, "read", 502 * MS)]


def test_a_write_without_an_answer_may_have_happened() -> None:
    cluster = Cluster()

    async def script(client: SimClient) -> Exception:
        await client.write(b"k", b"1")
        cluster.mute = {0, 1, 2}
        return await ended(client.write(b"k", b"2"))

    error = play(cluster, script, timeout_s=1.0)
    assert isinstance(error, Unknown)
    assert cluster.now_ns < 1_100 * MS


def test_a_broken_connection_is_noticed_at_once() -> None:
    cluster = Cluster()

    async def script(client: SimClient) -> None:
        await client.read(b"k")
        cluster.mute = {0}
        reading = asyncio.create_task(client.read(b"k"))
        await asyncio.sleep(0.1)
        cluster.mute = set()
        cluster.tell(next(iter(cluster.open)), "closed")
        await reading

    play(cluster, script)
    assert cluster.now_ns < 300 * MS


def test_an_operation_that_is_cancelled_ends_at_once() -> None:
    cluster = Cluster()
    cluster.mute = {0, 1, 2}

    async def script(client: SimClient) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.read(b"k"), 0.1)

    play(cluster, script)
    assert cluster.now_ns == 100 * MS


def test_operations_that_are_answered_set_no_timers() -> None:
    cluster = Cluster()
    timers: list[int] = []
    plain = cluster.call_at

    def counted(when_ns: int, callback: Any, *args: Any) -> Any:
        if callback.__name__ == "_ring":
            timers.append(when_ns)
        return plain(when_ns, callback, *args)

    cluster.call_at = counted           # type: ignore[method-assign]

    async def script(client: SimClient) -> None:
        for number in range(200):
            await client.write(b"k", b"%d" % number)

    play(cluster, script)
    assert len(timers) <= 4             # 400 virtual ms: one for each silence that could have been


def test_a_closed_client_refuses() -> None:
    async def script(client: SimClient) -> Exception:
        await client.close()
        return await ended(client.read(b"k"))

    assert "closed" in str(play(Cluster(), script))
