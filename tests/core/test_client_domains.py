"""The client in a tree of domains: kinds of read, tokens, who confirmed, what is refused."""
from __future__ import annotations

import asyncio
from typing import Any

import pytest

from seatrial.core.client import Operations
from seatrial.core.client_machine import MS, RETRY_NS, Answer, ClientMachine, Done, Send
from seatrial.core.codec import (
    STATUSES,
    decode_request,
    decode_response,
    encode_response,
    response_domains,
)
from seatrial.core.commands import Token, decode_root, encode_bound
from seatrial.core.errors import (
    CasMismatch,
    DomainFenced,
    NotRoot,
    OperationError,
    ProtocolError,
    Refused,
    TokenLost,
    TooOld,
    Unknown,
)

from .nodes import run_async
from .test_client_machine import OK, Script

CAS_MISMATCH, NOT_ROOT, FENCED, TOO_OLD, LOST = map(
    STATUSES.index, ("cas-mismatch", "not-root", "fenced", "too-old", "lost"))
EPOCH = 1 << 16 | 3
FLAGS = 9                       # their offset in a frame
ANY_NODE, PREFIX, BOUNDED = 1, 2, 4
ROOT = (3).to_bytes(2, "little") + b"h:7\nh:8"


def words(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(8, "little") for number in numbers)


class Cluster(Operations):
    """Operations whose requests are answered by what ``serve`` returns for each."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        super().__init__(ClientMachine([1, 2], lambda: 99), timeout_s=5, clock=lambda: self.now)
        self.now = 1
        self.answers = list(answers)
        self.frames: list[bytes] = []

    def _settle(self) -> None:
        self._loop.call_soon(self._work)

    def _work(self) -> None:
        for effect in self._machine.take_effects():
            if isinstance(effect, Done):
                self._conclude(effect)
            elif isinstance(effect, Send):
                self.frames.append(effect.data)
                self._machine.received(effect.node, self._answer(effect), self.now)
                self._settle()
            else:
                self._machine.connected(effect.node, self.now)
                self._settle()

    def _answer(self, sent: Send) -> bytes:
        request, _, _, op, *_ = decode_request(sent.data)
        if op == 16:
            return encode_response(request, OK, words(5), sent.node)
        return encode_response(request, **({"node": sent.node} | self.answers.pop(0)))

    def expected(self) -> bytes | None:
        """Return what went with the newest request, and check its flags."""
        bound = decode_request(self.frames[-1])[6]
        assert bound is None or isinstance(bound, bytes)
        return bound


def ok(rindex: int, term: int = 2, **more: Any) -> dict[str, Any]:
    return {"status": OK, "rindex": rindex, "epoch": EPOCH, "term": term, "domain": 2} | more


def test_a_write_names_the_domains_that_confirmed_it() -> None:
    async def story() -> None:
        cluster = Cluster(ok(10, value=b"old", confirmed=(2, 65535)), ok(11))
        answer = await cluster.write(b"k", b"v")
        assert answer == Answer(b"old", 1, 10, EPOCH, 2, 2, (2, 65535))
        assert (await cluster.write(b"k", b"v")).confirmed == ()

    run_async(story())


def test_a_prefix_read_names_what_the_session_has_seen() -> None:
    async def story() -> None:
        cluster = Cluster(ok(10), ok(10), ok(12), ok(11), ok(14, term=3))
        await cluster.read(b"k", reads="prefix")
        assert cluster.expected() is None       # a session that has seen nothing
        assert cluster.frames[-1][FLAGS] == PREFIX
        await cluster.write(b"k", b"v")
        await cluster.read(b"k", reads="prefix", any_node=True)
        assert cluster.expected() == words(10, EPOCH, 2)
        assert cluster.frames[-1][FLAGS] == PREFIX | ANY_NODE
        assert cluster.token == Token(EPOCH, 2, 12)
        await cluster.read(b"k")
        assert cluster.expected() is None       # the newest value is never too old
        assert cluster.frames[-1][FLAGS] == 0
        assert cluster.token == Token(EPOCH, 2, 12), "a session's token never goes back"
        cluster.token = Token(EPOCH, 2, 40)     # of somebody else, who wrote
        await cluster.read(b"k", reads="prefix")
        assert cluster.expected() == words(40, EPOCH, 2)
        assert cluster.token == Token(EPOCH, 3, 14)

    run_async(story())


def test_what_a_failed_compare_and_set_saw_is_seen_by_its_session() -> None:
    async def story() -> None:
        cluster = Cluster(ok(10), ok(20, value=b"other") | {"status": CAS_MISMATCH}, ok(21))
        await cluster.write(b"k", b"v")
        with pytest.raises(CasMismatch) as found:
            await cluster.cas(b"k", b"v", b"w")
        assert found.value.answer == Answer(b"other", 1, 20, EPOCH, 2, 2)
        await cluster.read(b"k", reads="prefix")
        assert cluster.expected() == words(20, EPOCH, 2)

    run_async(story())


def test_a_bounded_read_says_how_old_its_answer_may_be() -> None:
    async def story() -> None:
        cluster = Cluster(ok(10), ok(12), ok(13))
        await cluster.read(b"k", reads="bounded")
        assert cluster.expected() == words(0, 0, 0, 0)
        assert cluster.frames[-1][FLAGS] == PREFIX | BOUNDED
        await cluster.read(b"k", reads="bounded", max_lag_s=1.5)
        assert cluster.expected() == words(10, EPOCH, 2, 1_500_000_000)
        with pytest.raises(ValueError, match="a lag of -1 s"):
            await cluster.read(b"k", reads="bounded", max_lag_s=-1)

    run_async(story())


def test_a_read_can_be_pinned_to_a_node() -> None:
    async def story() -> None:
        cluster = Cluster(ok(10), ok(10))
        assert (await cluster.read(b"k", reads="prefix", node=2)).node == 2
        assert (await cluster.read(b"k", reads="prefix", node=1)).node == 1

    run_async(story())


@pytest.mark.parametrize(("status", "value", "error", "line"), [
    (NOT_ROOT, ROOT, NotRoot, "this domain takes no writes; domain 3 does: h:7, h:8"),
    (NOT_ROOT, b"\3\0", NotRoot, "domain 3 does: no node of it is known"),
    (NOT_ROOT, b"\0\0", NotRoot, r"domain \? does: no node of it is known"),
    (LOST, None, TokenLost, "what the session has seen is not in this domain's log"),
])
def test_what_asking_again_would_not_change_is_said_at_once(
    status: int, value: bytes | None, error: type[Refused], line: str
) -> None:
    async def story() -> None:
        cluster = Cluster({"status": status, "value": value})
        with pytest.raises(error, match=line):
            await cluster.read(b"k", reads="bounded")
        assert len(cluster.frames) == 1

    run_async(story())


def test_a_write_at_a_child_names_the_roots_nodes() -> None:
    async def story() -> None:
        cluster = Cluster({"status": NOT_ROOT, "value": ROOT})
        with pytest.raises(NotRoot) as refusal:
            await cluster.write(b"k", b"v")
        assert (refusal.value.root, refusal.value.addresses) == (3, ["h:7", "h:8"])

    run_async(story())


def test_a_write_that_may_have_happened_is_not_refused_by_a_child() -> None:
    """Its first copy went to the root, which became a child since."""
    script = Script()
    handle, _ = script.writing()
    script.machine.disconnected(1, script.now)
    script.effects()
    script.connect(2)
    script.answer(script.only(), NOT_ROOT, ROOT)
    script.effects()
    assert isinstance(script.ended[handle], Unknown)


def reading(script: Script, reads: str) -> int:
    """Bring a read to where its request is on its way to node 1."""
    handle = script.machine.start(script.now, "read", script.now + 1000 * MS, b"k", reads=reads)
    script.effects()
    script.connect(1)
    return handle


def ended(script: Script, handle: int) -> Answer | OperationError:
    script.wait(2000 * MS)
    script.effects()
    return script.ended[handle]


def test_a_read_of_a_fenced_domain_is_tried_again_until_its_time_ends() -> None:
    script = Script(1)
    handle = reading(script, "")
    script.answer(script.only(), FENCED)
    script.wait(RETRY_NS)
    script.answer(script.only(), FENCED)
    script.wait(RETRY_NS)
    script.answer(script.only(), OK, b"x")
    script.effects()
    assert isinstance(script.ended[handle], Answer)
    handle = script.machine.start(script.now, "read", script.now + 1000 * MS, b"k")
    script.answer(script.only(), FENCED)
    script.wait(RETRY_NS)
    script.answer(script.only(), FENCED)
    script.effects()
    script.machine.abandon(handle)
    script.effects()
    assert isinstance(script.ended[handle], DomainFenced)


def test_a_node_that_lacks_what_the_session_saw_sends_a_prefix_read_to_the_next() -> None:
    script = Script(2)
    handle = reading(script, "prefix")
    script.answer(script.only(), TOO_OLD)
    script.wait(RETRY_NS)
    script.effects()
    script.connect(2)
    asked = script.only()
    assert asked.node == 2
    script.answer(asked, TOO_OLD)
    script.effects()
    script.machine.abandon(handle)
    script.effects()
    assert isinstance(script.ended[handle], TooOld)


def test_a_bounded_read_asks_each_node_once() -> None:
    """Followers may know less than their leader of how old they are."""
    async def story() -> None:
        cluster = Cluster(*[{"status": TOO_OLD, "value": None}] * 2, ok(9, value=b"x"),
                          *[{"status": TOO_OLD, "value": None}] * 2)
        with pytest.raises(TooOld, match="older than the read allows"):
            await cluster.read(b"k", reads="bounded")
        assert (await cluster.read(b"k", reads="bounded", node=2)).node == 2
        with pytest.raises(TooOld):
            await cluster.read(b"k", reads="bounded", node=2)
        with pytest.raises(TooOld):
            await cluster.read(b"k", reads="bounded", node=1)
        assert not cluster.answers

    run_async(story())


def test_the_domains_of_a_response_are_read_back() -> None:
    frame = encode_response(1, OK, b"abc", 4, 7, EPOCH, 2, domain=65535, confirmed=(1, 300))
    assert decode_response(frame) == (1, OK, b"abc", 4, 7, EPOCH, 2)
    assert response_domains(frame) == (65535, (1, 300))
    assert response_domains(encode_response(1, OK)) == (0, ())


def test_half_a_domain_at_the_end_of_a_response_is_refused() -> None:
    good = encode_response(1, OK, b"abc", confirmed=(1,))
    with pytest.raises(ProtocolError):
        decode_response(good[:-1])


@pytest.mark.parametrize("value", [None, b"\3", b"\3\0\xff"])
def test_a_description_of_the_root_that_is_not_whole_is_refused(value: bytes | None) -> None:
    with pytest.raises(ProtocolError, match="not whole"):
        decode_root(value)


def test_a_bound_is_only_sent_where_there_is_one() -> None:
    assert encode_bound(None) is None
    assert encode_bound(Token(1, 2, 3)) == words(3, 1, 2)
    assert encode_bound(None, 0) == words(0, 0, 0, 0)


def test_a_canceled_prefix_read_leaves_the_token_as_it_was() -> None:
    async def story() -> None:
        cluster = Cluster()
        cluster.token = Token(1, 1, 1)
        task = asyncio.ensure_future(cluster.read(b"k", reads="prefix"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert cluster.token == Token(1, 1, 1)

    run_async(story())
