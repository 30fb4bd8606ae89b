"""What a review found in one node of a tree of domains, told step by step: each was so once."""
from __future__ import annotations

import asyncio
import struct
from typing import Any

import pytest

from seatrial.core import codec
from seatrial.core.crc import crc32c
from seatrial.core.errors import ProtocolError
from seatrial.core.kv import KeyValue
from seatrial.core.membership import Configuration
from seatrial.core.replica import Replica
from seatrial.core.tree import Domain, Tree
from seatrial.core.uplinks import Uplink

MS = 1_000_000
EPOCH = 1 << 16 | 1
NOOP, CONFIG, PIECE = 0, 3, 8
APPEND, MARK, REPORT, SILENT = 3, 14, 48, 1
LINK_BYTES = 176


def link_frame(kind: int, body: bytes, flags: int = 0) -> bytes:
    """Return a frame of a link: its header, and a body that zeros fill up."""
    tail = struct.pack("<BBHI", kind, flags, ~LINK_BYTES & 0xffff, 0) + body
    tail += bytes(LINK_BYTES - 16 - len(body))
    return struct.pack("<II", LINK_BYTES, crc32c(tail)) + tail


def settle(replica: Replica, now_ns: int = 0) -> None:
    """Let a node do what it can, its disk being quick."""
    for _ in range(50):
        replica.poll(now_ns)
        group = replica.take_persist()
        replica.take_output()
        if group is None:
            return
        replica.persisted(group[0], now_ns)


def root(children: dict[int, Domain]) -> tuple[Replica, int]:
    """Return the only node of a root, which leads it, and what time it is."""
    tree = Tree({1: Domain("a", nodes=((1, "a:1"),), any_k=255), **children}, 1)
    replica = Replica(1, [1], seed=1, now_ns=0, heartbeat_ns=50 * MS, election_ns=200 * MS,
                      domain=1, tree=tree)
    now_ns = 0
    while replica.status()["role"] != "leader" or replica.tree() is None:
        now_ns += 10 * MS
        replica.tick(now_ns)
        settle(replica, now_ns)
    return replica, now_ns


def test_a_domain_has_no_say_about_one_that_is_not_below_it() -> None:
    replica, now_ns = root({2: Domain("b", 1, nodes=((2, "b:1"),)),
                            3: Domain("c", 1, sync=True, included=True, nodes=((3, "c:1"),)),
                            4: Domain("d", 2, sync=True, included=True, nodes=((4, "d:1"),))})
    replica.link_up(5, 2, now_ns)
    for domain in (3, 4):
        replica.receive_link(5, link_frame(REPORT, struct.pack("<IHHQ", 9, 2, domain, 1), SILENT),
                             now_ns)
        settle(replica, now_ns)
    tree = replica.tree()
    assert tree is not None
    assert tree.domains[3].included, "b had its sibling excluded"
    assert not tree.domains[4].included


def test_so_many_links_and_no_more() -> None:
    replica, now_ns = root({2: Domain("b", 1, nodes=((2, "b:1"),))})
    for number in range(1, 129):
        replica.link_up(number, 2, now_ns)
    with pytest.raises(ProtocolError, match="too many links are connected already"):
        replica.link_up(129, 2, now_ns)
    replica.link_down(7)
    replica.link_up(130, 2, now_ns)


def test_a_stream_that_was_given_up_is_compacted_in_its_middle_and_the_tail_is_cut() -> None:
    kv = KeyValue()
    kv.begin_snapshot(b"block" * 60)
    chunks: list[Any] = []
    while not chunks or not chunks[-1][2]:
        chunks.append(kv.next_chunk(64))
    data = b"".join(chunk[0] for chunk in chunks)
    size = max(40, len(data) // 5)
    records = [codec.encode_record(1, 1, CONFIG, Configuration([1, 2, 3]).encode())]

    def add(kind: int, payload: bytes = b"", rindex: int = 0) -> None:
        terms = {"epoch": EPOCH, "rterm": 1} if rindex else {}
        records.append(codec.encode_record(len(records) + 1, 1, kind, payload, rindex=rindex,
                                           **terms))

    for rindex in range(1, 6):
        add(NOOP, rindex=rindex)
    crc = 0
    for offset in range(0, 4 * size, size):
        piece = data[offset:offset + size]
        crc = crc32c(piece, crc) if offset else crc32c(piece)
        add(PIECE, struct.pack("<QQQQII", 10, EPOCH, 1, offset, crc, 0) + piece)
    after = len(records)
    for rindex in range(6, 21):
        add(NOOP, rindex=rindex)
    keep = sum(map(len, records[after:])) + len(records[after - 1]) + len(records[after - 2])
    one = Replica(1, [1, 2, 3], seed=1, now_ns=0, heartbeat_ns=50 * MS, election_ns=200 * MS,
                  keep_bytes=keep, domain=2, parent=((9, "x:1"),))
    last = len(records)

    def append(sender: int, term: int, index: int, entries: bytes, commit: int) -> None:
        one.receive_peer(sender, codec.encode_message(
            APPEND, sender, 1, term, index=index, log_term=1 if index else 0, commit=commit,
            records=entries), 0)
        settle(one)

    one.peer_up(2, 0)
    append(2, 1, 0, b"".join(records), 0)
    append(2, 1, last, b"", last)
    one.receive_peer(2, link_frame(MARK, struct.pack(
        "<IHHQQQQQQQQQ", 2, 2, 0, 1, EPOCH, 1, 0, 0, 0, 20, EPOCH, 1)), 0)
    settle(one)
    assert one.status()["domain"]["applied_rindex"] == 20
    one.request_snapshot(0, 1)
    settle(one)
    assert 7 < after - 1 <= one.status()["first_index"] <= after, "from the middle of the pieces"
    append(2, 1, last, codec.encode_record(last + 1, 1, NOOP, rindex=21, epoch=EPOCH, rterm=1),
           last)
    one.peer_up(3, 0)
    append(3, 2, last, codec.encode_record(last + 1, 2, NOOP), last)        # and 21 is cut
    assert one.status()["domain"]["mirror_end"] == 20


class Shell:
    """What an uplink asks of its node."""

    cluster, protocol_max = "lab", 2

    def __init__(self) -> None:
        self.journal = self
        self.said: list[str] = []

    def info(self, *words: Any, **details: Any) -> None:
        self.said.append(str(details.get("reason", "")))

    warning = error = info

    def wake(self) -> None:
        """Nothing waits."""


class Machine:
    """A node that wants a parent, whose first address is none."""

    def __init__(self, bad: str) -> None:
        self.bad, self.asked = bad, 0

    def uplink_wanted(self) -> bool:
        return True

    def parent_nodes(self) -> list[tuple[int, str]]:
        self.asked += 1
        return [(1, self.bad), (2, "127.0.0.1:1")]

    def take_uplink_move(self) -> None:
        return None

    def uplink_down(self, now_ns: int) -> None:
        """It never was up."""


@pytest.mark.parametrize("bad", ["bad..name:7000", "x" * 70 + ":7000"])
def test_a_name_that_can_be_none_does_not_end_the_search_for_a_parent(bad: str) -> None:
    machine, shell = Machine(bad), Shell()

    async def search() -> None:
        uplink = Uplink(shell, machine, 2, b"k" * 16, clock=lambda: 0,      # type: ignore[arg-type]
                        user_timeout_ms=1000, max_unsent_bytes=1 << 20)
        uplink.follow()
        async with asyncio.timeout(60):
            while machine.asked < 4:
                await asyncio.sleep(0.01)
        await uplink.stop()

    asyncio.run(search())
    assert any(shell.said), "somebody is told"
