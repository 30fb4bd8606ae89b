"""Notices between shells: what is told, and what is refused."""
from __future__ import annotations

import pytest

from seatrial.core.codec import frame_type, split_frames
from seatrial.core.config import Address
from seatrial.core.errors import ProtocolError
from seatrial.core.notice import Notice, decode_notice
from seatrial.core.replica import Replica

MS = 1_000_000


def replica() -> Replica:
    return Replica(1, [1, 2, 3], seed=1, now_ns=0, heartbeat_ns=10 * MS, election_ns=100 * MS)


def test_a_notice_reaches_the_other_shell_and_not_its_raft() -> None:
    told = Notice("[fd00::2]:7000", 9, frozenset({2, 3}))
    frame = told.encode()
    assert (len(split_frames(bytearray(frame))), frame_type(frame)) == (1, 31)
    ours = replica()
    ours.receive_peer(2, frame + frame[:20], 0)
    ours.receive_peer(2, frame[20:], 0)
    (peer, body), (_, again) = ours.take_notices()
    assert (peer, decode_notice(body), body) == (2, told, again)
    assert told.where == Address("fd00::2", 7000)
    assert ours.take_notices() == []


def test_a_later_protocol_may_say_more() -> None:
    assert decode_notice(b'{"address": "h:1", "weather": "fair"}') == Notice("h:1")


@pytest.mark.parametrize("body", [
    b"", b"[]", b"{}", b'{"address": 7}', b'{"address": "here"}', b"\xff\xfe",
    b'{"address": "h:1", "nodes": [""]}', b'{"address": "h:1", "config_index": -1.5}',
])
def test_what_is_no_notice_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="NOTICE: "):
        decode_notice(body)


def test_an_altered_notice_is_refused() -> None:
    frame = bytearray(Notice("h:1").encode())
    frame[-1] ^= 1
    with pytest.raises(ProtocolError, match="bytes were altered on the way"):
        replica().receive_peer(2, bytes(frame), 0)
