"""A snapshot is the state at one moment, in the same bytes everywhere, or it is refused."""
from __future__ import annotations

import os

import pytest

from seatrial.core import commands
from seatrial.core.errors import CorruptSnapshot
from seatrial.core.kv import KeyValue
from seatrial.harness.rng import Rng
from tests.core.kv_tools import Chunk, Log, S, chunks_of, whole

SEEDS = int(os.environ.get("SEATRIAL_KV_SEEDS", "30"))


class Anything:
    """Does random things to a state, under sessions that come and go."""

    def __init__(self, log: Log, rng: Rng) -> None:
        self.log, self.rng = log, rng
        self.sessions = [log.open(1)]
        self.now = 0

    def key(self) -> bytes:
        return b"%02d" % self.rng.below(60)

    def step(self) -> None:
        log, rng, me = self.log, self.rng, self.rng.choice(self.sessions)
        value = bytes([rng.below(256)]) * rng.below(40)
        what = rng.below(12)
        if what < 4:
            log.do(me, "write", self.key(), value)
        elif what < 5:
            log.do(me, "append", self.key(), value)
        elif what < 7:
            log.do(me, "delete", self.key())
        elif what < 8:
            log.do(me, "write-if-token", self.key(), value, commands.encode_u64(1 + rng.below(9)))
        elif what < 9:
            parts = [commands.put(self.key(), value), commands.delete(self.key()),
                     commands.add(self.key(), 1)]
            log.do(me, "transact", b"", commands.encode_transaction([], parts, []))
        elif what < 10:
            log.do(me, "acquire", self.key(), commands.encode_acquire(
                b"h%d" % rng.below(3), 1 + rng.below(4)))
        elif what < 11:
            self.sessions.append(log.open(rng.below(30), limit=8, ttl_ns=rng.below(3) * 9 * S))
        else:
            self.now += rng.below(3) * S
            log.clock(self.now)


@pytest.mark.randomised
@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
def test_a_snapshot_is_the_state_at_its_beginning_whatever_happens_meanwhile(seed: int) -> None:
    print(f"SEATRIAL_KV_SEEDS={seed} python -m pytest {__file__} -k '[{seed}]'")
    rng = Rng(seed)
    log = Log(KeyValue(), KeyValue())
    anything = Anything(log, rng)
    for _ in range(rng.below(400)):
        anything.step()
    calm, busy = log.machines
    records, hashed, items = len(log.records), calm.hash(), calm.items()
    expected = whole(calm, b"block")
    busy.begin_snapshot(b"block")
    found: list[Chunk] = []
    size = 1 + rng.below(200)
    while not found or not found[-1][2]:
        for _ in range(rng.below(6)):
            anything.step()
        found.append(busy.next_chunk(size))
    assert b"".join(data for data, _, _ in found) == expected
    assert busy.pre_images() == 0
    assert calm.hash() == busy.hash(), "and nobody's state was touched"

    loaded = KeyValue()
    assert loaded.load(found) == b"block"
    assert (loaded.hash(), loaded.items(), loaded.applied) == (hashed, items, records)
    for record in log.records[records:]:
        log.replay(record, [loaded])
    assert loaded.hash() == busy.hash(), "it goes on like those who never stopped"
    assert whole(loaded) == whole(busy)


def filled() -> Log:
    log = Log()
    me = log.open(5, ttl_ns=100 * S)
    log.open(6)
    for i in range(50):
        log.do(me, "write", b"key%d" % i, b"v" * i)
    log.do(me, "write-if-token", b"guarded", b"g", commands.encode_u64(5))
    log.do(me, "delete", b"guarded")
    log.do(me, "acquire", b"l", commands.encode_acquire(b"h", 5))
    log.clock(1 * S)
    log.do(me, "acquire", b"m", commands.encode_acquire(b"h", 5))
    return log


def test_what_was_loaded_knows_sessions_locks_and_guards() -> None:
    log = filled()
    log.kv.begin_snapshot()
    loaded = KeyValue()
    loaded.load(chunks_of(log.kv))
    log.machines.append(loaded)
    assert loaded.session_count() == 2
    assert log.do(1, "append", b"key1", b"w", sequence=54)[0] == "ok", "a retry"
    assert loaded.duplicates == 1
    assert log.do(1, "write-if-token", b"guarded", b"g", commands.encode_u64(4))[0] == "stale-token"
    assert log.do(1, "acquire", b"l", commands.encode_acquire(b"i", 5))[0] == "lock-held"
    log.clock(2 * S)
    log.clock(6 * S)
    assert loaded.lock_count() == 1
    log.clock(7 * S)
    assert loaded.lock_count() == 0


def test_the_empty_state_can_be_loaded_over_another() -> None:
    log = filled()
    empty = KeyValue()
    empty.begin_snapshot(b"")
    log.kv.load(chunks_of(empty))
    assert (log.kv.items(), log.kv.session_count(), log.kv.applied) == ({}, 0, 0)


def test_a_chunk_that_was_altered_is_refused_and_nothing_changes() -> None:
    log = filled()
    log.kv.begin_snapshot(b"block")
    chunks = chunks_of(log.kv, 100)
    before = filled()
    hashed = before.kv.hash()
    for place in range(len(chunks)):
        data, crc, last = chunks[place]
        for flipped in ((data[:7] + bytes([data[7] ^ 1]) + data[8:], crc, last),
                        (data, crc ^ 1, last), (data, crc, not last), (data[:-1], crc, last)):
            with pytest.raises(CorruptSnapshot):
                before.kv.load([*chunks[:place], flipped, *chunks[place + 1:]])
        with pytest.raises(CorruptSnapshot):
            before.kv.load([*chunks[:place], *chunks[place + 1:]])
        assert before.kv.hash() == hashed
    before.kv.load(chunks)
    assert before.kv.hash() == log.kv.hash()


def test_a_stream_with_right_checks_and_wrong_content_is_refused() -> None:
    """Against a writer's bug: each byte of the content, and its check made anew."""
    from seatrial.core.crc import crc32c

    good = whole(filled().kv, b"b")
    before = KeyValue()
    for place in range(len(good)):
        if place == 24:
            continue                # the caller's own block
        bad = good[:place] + bytes([good[place] ^ 1]) + good[place + 1:]
        with pytest.raises(CorruptSnapshot):
            before.load([(bad, crc32c(bad), True)])
    assert before.hash() == KeyValue().hash()


def test_giving_up_keeps_nothing_and_another_can_begin() -> None:
    log = filled()
    log.kv.begin_snapshot()
    log.kv.next_chunk(10)
    log.do(1, "write", b"key3", b"new")
    assert log.kv.pre_images() > 0
    log.kv.end_snapshot()
    assert log.kv.pre_images() == 0
    expected = whole(log.kv)
    loaded = KeyValue()
    log.kv.begin_snapshot()
    loaded.load(chunks_of(log.kv, 9))
    assert whole(loaded) == expected


def test_large_values_travel_in_many_chunks() -> None:
    log = Log()
    me = log.open()
    log.do(me, "write", b"large", bytes(range(256)) * 10_000)
    log.kv.begin_snapshot()
    chunks = chunks_of(log.kv)
    assert max(len(data) for data, _, _ in chunks) == 1 << 16
    loaded = KeyValue()
    loaded.load(chunks)
    assert loaded.items() == log.kv.items()
