"""Sessions and log time: a write happens once, whatever late copies come, and all agree when."""
from __future__ import annotations

import struct

import pytest

from seatrial.core import codec
from seatrial.core.errors import InvariantViolation
from seatrial.core.kv import KeyValue
from seatrial.core.replica import Replica
from tests.core.kv_tools import KINDS, Log, S

MS = 1_000_000


def test_a_repeated_opening_gives_the_same_id_while_the_session_lives() -> None:
    log = Log()
    me = log.open(77)
    assert me == 1
    other = log.open(78)
    assert other == 2
    assert log.open(77) == me
    log.do(me, "append", b"k", b"x")
    assert log.open(77) == me
    assert log.do(me, "append", b"k", b"x", sequence=1)[0] == "ok"
    assert log.kv.get(b"k") == b"x"


@pytest.mark.parametrize("end", ["evicted", "expired"])
def test_late_copies_of_opening_and_write_never_execute_the_write_twice(end: str) -> None:
    """The opening's copy opens a session of its own, which the write's copy does not mean."""
    log = Log()
    me = log.open(77, ttl_ns=10 * S)
    assert log.do(me, "append", b"k", b"x", sequence=1)[0] == "ok"
    if end == "evicted":
        log.open(78, limit=1)
    else:
        log.clock(10 * S)
    late = log.open(77)
    assert late != me
    assert log.do(me, "append", b"k", b"x", sequence=1) == ("session-lost", None)
    assert log.kv.get(b"k") == b"x"


def test_over_their_number_the_session_unused_for_longest_goes() -> None:
    log = Log()
    first, second = log.open(1, limit=2), log.open(2, limit=2)
    log.do(first, "write", b"k")
    third = log.open(3, limit=2)
    assert log.do(second, "write", b"k")[0] == "session-lost"
    assert log.do(first, "write", b"k")[0] == log.do(third, "write", b"k")[0] == "ok"


def test_a_session_ends_when_it_was_not_used_for_its_own_time() -> None:
    log = Log()
    short, long, ever = log.open(1, ttl_ns=5 * S), log.open(2, ttl_ns=50 * S), log.open(3)
    log.clock(4 * S)
    log.do(short, "write", b"k")
    log.clock(9 * S - 1)
    assert log.kv.session_count() == 3
    log.clock(9 * S)
    assert log.kv.session_count() == 2
    assert log.do(short, "write", b"k")[0] == "session-lost"
    log.clock(50 * S)
    assert log.do(long, "write", b"k")[0] == "session-lost"
    log.clock(10_000 * S)
    assert log.do(ever, "write", b"k")[0] == "ok"


def test_a_member_whose_state_differs_from_the_leaders_stops() -> None:
    log = Log()
    log.open()
    log.clock(1 * S)
    index, hashed = log.index, log.kv.hash()
    log.clock(2 * S, index, hashed)
    with pytest.raises(InvariantViolation, match="differs from the leader's"):
        log.clock(3 * S, index, hashed ^ 1)


def test_of_states_too_long_ago_nothing_is_said() -> None:
    log = Log()
    log.clock(1)
    for i in range(2, 30):
        log.clock(i)
    log.clock(30, 1, 12345)
    log.clock(31, 5000, 12345)


def test_equal_states_hash_equally_and_any_difference_shows() -> None:
    def hashed(*steps: tuple[str, bytes, bytes]) -> int:
        log = Log()
        me = log.open()
        for op, key, value in steps:
            log.do(me, op, key, value)
        return log.kv.keys_hash()

    a, b = ("write", b"a", b"1"), ("write", b"b", b"2")
    assert hashed(a, b) == hashed(b, a) == hashed(("write", b"a", b"x"), b, a)
    assert hashed(a) == hashed(a, b, ("delete", b"b", b""))
    text = bytes(range(200))
    for cut in range(0, 200, 7):
        assert hashed(("write", b"k", text[:cut]), ("append", b"k", text[cut:])) == hashed(
            ("write", b"k", text)), cut
    seen = {hashed(), hashed(a), hashed(b), hashed(("write", b"a", b"2")),
            hashed(("write", b"", b"a1")), hashed(("write", b"a1", b"")), hashed(a, b),
            hashed(("write", b"a", b"1\0")), hashed(("write", b"a", b"1" + bytes(7)))}
    assert len(seen) == 9


# ---- through a leader


class Alone:
    """The only member of a cluster, whose clock and disk are at hand."""

    def __init__(self, **settings: int) -> None:
        self.replica = Replica(1, [1], seed=1, now_ns=0, heartbeat_ns=10 * MS,
                               election_ns=100 * MS, **settings)
        self.replica.client_up(1)
        self.now = 0
        self.request = 0
        while self.replica.status()["role"] != "leader":
            self.wait(10 * MS)

    def wait(self, ns: int) -> None:
        self.now += ns
        self.replica.tick(self.now)
        self.settle()

    def settle(self) -> list[tuple[str, bytes | None]]:
        heard = []
        while True:
            self.replica.poll(self.now)
            write = self.replica.take_persist()
            for _, _, data in self.replica.take_output():
                for frame in codec.split_frames(bytearray(data)):
                    _, status, value, *_ = codec.decode_response(frame)
                    heard.append((codec.STATUSES[status], value))
            if write is None:
                return heard
            self.replica.persisted(write[0], self.now)

    def ask(self, op: str, key: bytes = b"", value: bytes = b"", *, client: int = 0,
            sequence: int = 0) -> tuple[str, bytes | None]:
        self.request += 1
        self.replica.receive_client(1, codec.encode_request(
            self.request, client, sequence, codec.OPS[op], key, value), self.now)
        return self.settle()[0]

    def kinds(self) -> list[int]:
        log = self.replica.raft.log
        return [log.bytes_of(i)[64] for i in range(1, len(log) + 1)]


def test_the_leader_lets_log_time_pass_while_something_can_expire_and_only_then() -> None:
    node = Alone(session_ttl_ns=3 * S)
    for _ in range(50):
        node.wait(100 * MS)
    assert node.kinds() == [KINDS["config"]]
    node.ask("open-session", client=5)
    for _ in range(100):
        node.wait(100 * MS)
    assert node.replica.kv.session_count() == 0
    assert node.kinds()[2:] == [KINDS["clock"]] * 3
    assert node.replica.kv.log_time_ns == 3 * S


def test_a_session_opened_after_a_long_rest_lives_its_whole_time() -> None:
    node = Alone(session_ttl_ns=3 * S)
    node.wait(1000 * S)
    node.ask("open-session", client=5)
    for _ in range(25):
        node.wait(100 * MS)
    assert node.replica.kv.session_count() == 1


def test_a_cluster_whose_sessions_live_for_ever_keeps_its_log_still() -> None:
    node = Alone(session_ttl_ns=0)
    node.ask("open-session", client=5)
    for _ in range(50):
        node.wait(100 * MS)
    assert node.kinds() == [KINDS["config"], KINDS["open-session"]]


def test_queries_are_answered_by_the_leader_like_reads() -> None:
    node = Alone()
    _, value = node.ask("open-session", client=5)
    me = int.from_bytes(value or b"", "little")
    node.ask("write", b"a", b"1", client=me, sequence=1)
    assert node.ask("acquire", b"l", struct.pack("<Q", 5 * S) + b"x", client=me,
                    sequence=2)[0] == "ok"
    assert node.ask("scan", b"", bytes(4)) == (
        "ok", struct.pack("<IIHI", 1, 0, 1, 1) + b"a1")
    status, found = node.ask("holder", b"l")
    assert status == "ok"
    assert (found or b"").endswith(b"x")
    assert node.replica.status()["served_reads"] == 2


def test_a_transaction_that_no_node_would_execute_is_refused_before_the_log() -> None:
    node = Alone(max_key_bytes=10)
    _, value = node.ask("open-session", client=5)
    me = int.from_bytes(value or b"", "little")
    before = len(node.kinds())
    head = struct.pack("<HHHH", 0, 1, 0, 0)
    assert node.ask("transact", b"", head, client=me, sequence=1)[0] == "bad-request"
    long = struct.pack("<BBHIII", codec.OPS["delete"], 0, 11, 0, 0, 0) + b"k" * 11
    assert node.ask("transact", b"", head + long, client=me, sequence=2)[0] == "too-large"
    assert len(node.kinds()) == before


def test_members_that_apply_the_same_entries_agree_on_everything() -> None:
    log = Log(KeyValue(), KeyValue())
    me = log.open(1, ttl_ns=S)
    log.do(me, "write", b"k", b"v")
    log.clock(5 * S)
    assert log.machines[0].hash() == log.machines[1].hash()
