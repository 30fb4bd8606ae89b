"""The client's further operations: what leaves, and what their answers are taken for."""
from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from seatrial.core import client, commands
from seatrial.core.client_machine import ClientMachine, Connect, Done, Send
from seatrial.core.codec import OPS, STATUSES, decode_request, encode_response
from seatrial.core.errors import ProtocolError, Refused, Unknown
from tests.core.kv_tools import Log, S

NAMES = {number: name for name, number in OPS.items()}


class Direct(client.Operations):
    """A client of one state machine, with nothing between them."""

    def __init__(self, log: Log) -> None:
        super().__init__(ClientMachine([1], iter(range(1001, 2000)).__next__), timeout_s=5,
                         clock=lambda: 1)
        self.log = log

    def _settle(self) -> None:
        while effects := self._machine.take_effects():
            for effect in effects:
                if isinstance(effect, Connect):
                    self._machine.connected(1, 1)
                elif isinstance(effect, Done):
                    self._conclude(effect)
                elif isinstance(effect, Send):
                    self._machine.received(1, self._answer(effect.data), 1)

    def _answer(self, frame: bytes) -> bytes:
        request, who, sequence, op, key, value, expected = decode_request(frame)
        name = NAMES[op]
        if name == "open-session":
            return encode_response(request, 0, self.log.open(who).to_bytes(8, "little"), 1)
        if name in ("read", "scan", "holder"):
            status, answer = self.log.ask(name, key, value)
        else:
            status, answer = self.log.do(who, name, key, value, expected, sequence=sequence)
        return encode_response(request, STATUSES.index(status), answer, 1, self.log.index)


def play(script: Callable[[Direct, Log], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        log = Log()
        await script(Direct(log), log)

    asyncio.run(main())


def test_counters() -> None:
    async def script(me: Direct, log: Log) -> None:
        assert [await me.add(b"n"), await me.add(b"n", -5)] == [1, -4]
        await me.write(b"text", b"t")
        with pytest.raises(client.NotACounter):
            await me.add(b"text")
        await me.write(b"n", commands.encode_i64((1 << 63) - 1))
        with pytest.raises(client.CounterOverflow):
            await me.add(b"n")
        with pytest.raises(OverflowError):
            await me.add(b"n", 1 << 63)

    play(script)


def test_scans() -> None:
    async def script(me: Direct, log: Log) -> None:
        for key in (b"a", b"b", b"c"):
            await me.write(key, key * 2)
        page = await me.scan(b"a", b"c")
        assert page == ([(b"a", b"aa"), (b"b", b"bb")], None)
        page = await me.scan(limit=1)
        assert page.more == b"b"

    play(script)


def test_transactions() -> None:
    async def script(me: Direct, log: Log) -> None:
        found = await me.transact(
            [commands.is_absent(b"owner")], [commands.put(b"owner", b"me"), commands.add(b"n", 1)],
            [commands.get(b"owner")])
        assert found == (True, [("ok", None), ("ok", commands.encode_i64(1))])
        found = await me.transact(
            [commands.is_absent(b"owner")], [], [commands.get(b"owner")])
        assert found == (False, [("ok", b"me")])
        with pytest.raises(client.NotTransacted, match="command 1: not-a-counter") as error:
            await me.transact(then=[commands.delete(b"n"), commands.add(b"owner", 1)])
        assert (error.value.place, error.value.status) == (1, "not-a-counter")
        assert (await me.read(b"n")).value == commands.encode_i64(1)
        with pytest.raises(ValueError, match="compares only"):
            await me.transact([commands.get(b"a")])
        with pytest.raises(ValueError, match="commands only"):
            await me.transact(then=[commands.is_absent(b"a")])

    play(script)


def test_locks() -> None:
    async def script(me: Direct, log: Log) -> None:
        token = await me.acquire(b"l", b"me", 5.0)
        assert await me.holder(b"l") == (token, 5 * S, 5 * S, b"me")
        with pytest.raises(client.LockHeld) as held:
            await me.acquire(b"l", b"you", 5.0)
        assert (held.value.holder, held.value.token) == (b"me", token)
        await me.keep_alive(b"l", token)
        await me.write_if_token(b"k", b"v", token)
        await me.release(b"l", token)
        assert await me.holder(b"l") is None
        with pytest.raises(client.LockLost):
            await me.keep_alive(b"l", token)
        newer = await me.acquire(b"l", b"you", 5.0)
        assert newer > token
        await me.write_if_token(b"k", b"w", newer)
        with pytest.raises(client.StaleToken) as stale:
            await me.write_if_token(b"k", b"v", token)
        assert stale.value.newest == newer
        assert isinstance(stale.value, Refused), "it certainly did not happen"

    play(script)


@pytest.mark.parametrize("decode", [commands.decode_page, commands.decode_transacted])
def test_answers_that_are_not_whole_are_the_nodes_fault(decode: Callable[[bytes], Any]) -> None:
    log = Log()
    me = log.open()
    log.do(me, "write", b"k", b"v")
    _, page = log.ask("scan", b"", bytes(4))
    _, done = log.do(me, "transact", b"", commands.encode_transaction([], [commands.get(b"k")], []))
    whole = (page if decode is commands.decode_page else done) or b""
    decode(whole)
    for cut in range(8, 16):
        with pytest.raises(ProtocolError):
            decode(whole[:cut])


def test_an_answer_that_makes_no_sense_leaves_a_write_unknown() -> None:
    """It may have happened: what the node says of it is all that is known."""
    machine = ClientMachine([1], lambda: 1001)
    handle = machine.start(1, "acquire", 1000, b"l", commands.encode_acquire(b"me", 5))
    machine.take_effects()
    machine.connected(1, 1)
    for status, value in ((0, bytes(8)[:7] + b"\1"), (11, b"short")):
        sent = [e for e in machine.take_effects() if isinstance(e, Send)]
        request = decode_request(sent[0].data)[0]
        machine.received(1, encode_response(request, status, value, 1), 1)
    machine.tick(1000)
    done = [e for e in machine.take_effects() if isinstance(e, Done)]
    assert done[0].handle == handle
    assert isinstance(done[0].outcome, Unknown)
