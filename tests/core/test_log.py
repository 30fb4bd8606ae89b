"""The in-memory log: entries go at the end, and at the beginning when a snapshot holds them."""
from __future__ import annotations

import os
import time

import pytest

from seatrial.core import codec
from seatrial.core.errors import InvariantViolation
from seatrial.core.log import Log
from seatrial.core.replica import Replica
from seatrial.harness.rng import Rng

from .test_invariants import Group, entries

MS = 1_000_000
SLICE_BYTES = 4 << 20               # buffer.pxd
SLOT_BYTES = 32                     # log.pxd


def append(node: Replica, index: int, term: int, log_term: int, *, count: int = 1,
           size: int = 0, commit: int = 0) -> None:
    """Have a leader of ``term`` append entries after ``index``, which is of ``log_term``."""
    node.receive_peer(2, codec.encode_message(
        3, 2, 1, term, index=index, log_term=log_term, commit=commit,
        records=entries(*[term] * count, first=index + 1, payload=bytes(size))), 0)


def new_node() -> Replica:
    return Replica(1, (1, 2, 3), seed=1, now_ns=0, heartbeat_ns=10 * MS, election_ns=100 * MS)


def held(log: Log) -> list[tuple[int, int]]:
    """Return (index, term) of all entries, each compared with its record."""
    found = []
    for index in range(log.first_index, log.last_index + 1):
        record = codec.describe_record(log.bytes_of(index))
        assert (record["index"], record["term"]) == (index, log.term(index))
        found.append((index, log.term(index)))
    return found


def gone(before: tuple[int, int], log: Log) -> int:
    """How many bytes less are held than before, of the two blocks the one that lost more."""
    return max(before[0] - log.capacities[0], (before[1] - log.capacities[1]) * SLOT_BYTES)


def give_back(node: Replica) -> int:
    """Let a node go on until it gives no memory back any more; return how often it did."""
    log, turns = node.raft.log, 0
    while True:
        before = log.capacities
        node.poll(0)
        if log.capacities == before:
            return turns
        assert gone(before, log) <= SLICE_BYTES
        turns += 1


def test_what_is_compacted_is_gone_and_the_term_before_the_first_entry_stays() -> None:
    node = new_node()
    node.restore(3, 0, entries(1, 1, 2, 2, 3))
    log = node.raft.log
    log.compact(3)
    assert (log.first_index, log.last_index, len(log)) == (4, 5, 2)
    assert [log.term(index) for index in range(7)] == [0, 0, 0, 2, 2, 3, 0]
    assert held(log) == [(4, 2), (5, 3)]
    with pytest.raises(IndexError, match="entry 3: the log holds 4 to 5"):
        log.bytes_of(3)
    log.compact(3)                                      # nothing is left of it
    append(node, 5, 3, 3)
    assert held(log) == [(4, 2), (5, 3), (6, 3)]


def test_a_log_compacted_to_its_end_is_empty_and_goes_on() -> None:
    node = new_node()
    node.restore(4, 0, entries(1, 4))
    log = node.raft.log
    log.compact(2)
    assert (log.first_index, log.last_index, len(log), log.term(2)) == (3, 2, 0, 4)
    append(node, 2, 4, 4, count=3)
    assert held(log) == [(3, 4), (4, 4), (5, 4)]
    append(node, 2, 5, 4)                               # cut back to where it begins
    assert held(log) == [(3, 5)]


@pytest.mark.parametrize("index", [1, 6, 2**63])
def test_compaction_outside_of_the_log_is_a_bug(index: int) -> None:
    node = new_node()
    node.restore(1, 0, entries(1, 1, 1, 1, 1))
    node.raft.log.compact(2)
    with pytest.raises(InvariantViolation, match="compaction outside of the log"):
        node.raft.log.compact(index)


def test_a_log_restarted_after_a_snapshot_holds_nothing_and_goes_on_there() -> None:
    node = new_node()
    node.restore(1, 0, entries(1, 1, 1))
    log = node.raft.log
    log.restart(10, 4)
    node.raft.mirror.begin_after(10, 10)
    assert (log.first_index, log.last_index, len(log)) == (11, 10, 0)
    assert [log.term(index) for index in (3, 9, 10, 11)] == [0, 0, 4, 0]
    append(node, 10, 5, 4, count=2)
    assert held(log) == [(11, 5), (12, 5)]
    with pytest.raises(InvariantViolation, match="restart before its beginning"):
        log.restart(9, 4)


def test_memory_of_what_was_compacted_is_given_back() -> None:
    node = new_node()
    log = node.raft.log
    for begin in range(0, 8192, 8):
        append(node, begin, 1, 1 if begin else 0, count=8, size=1024)
    most = log.capacities
    assert most[0] > 8192 * 1024
    log.compact(8000)
    give_back(node)
    assert log.capacities[0] < most[0] // 8
    assert log.capacities[1] < most[1] // 8
    assert held(log) == [(index, 1) for index in range(8001, 8193)]
    log.compact(8192)
    give_back(node)
    assert log.capacities[0] <= 1 << 16
    assert log.capacities[1] == 64


def test_a_large_logs_memory_is_given_back_in_slices() -> None:
    """All of it at once keeps the kernel busy for 30 ms with 256 MiB, and commits waiting."""
    node = new_node()
    log = node.raft.log
    for begin in range(0, 300_000, 300):
        append(node, begin, 1, 1 if begin else 0, count=300, size=60)
    most = log.capacities
    assert most[0] > 8 * SLICE_BYTES
    assert most[1] * SLOT_BYTES > 2 * SLICE_BYTES
    log.compact(200_000)
    assert gone(most, log) <= SLICE_BYTES
    log.compact(299_990)                                # before all of that is given back
    turns = give_back(node)
    assert turns >= most[0] // SLICE_BYTES - 4
    assert log.capacities[0] <= 1 << 16
    assert log.capacities[1] == 64
    assert held(log) == [(index, 1) for index in range(299_991, 300_001)]


def test_a_log_that_is_compacted_as_it_grows_stays_as_small_as_what_it_holds() -> None:
    node = new_node()
    log = node.raft.log
    for begin in range(0, 40_000, 50):
        append(node, begin, 1, 1 if begin else 0, count=50, size=100)
        if begin >= 500:
            log.compact(begin - 450)
        assert log.capacities[0] <= 8 * 550 * 172
        assert log.capacities[1] <= 8 * 550
    assert len(log) == 500


@pytest.mark.randomised
def test_a_log_holds_what_a_list_would() -> None:
    seed = int(os.environ.get("SEED", "0")) or time.time_ns() % 10**9
    print(f"seed {seed}: SEED={seed} python -m pytest {__file__} -k list")
    rng = Rng(seed)
    node = new_node()
    log, first, terms, term = node.raft.log, 1, [0], 1      # terms[0] is that of first - 1
    for _ in range(2000):
        what = rng.below(8)
        last = first + len(terms) - 2
        if what < 5:
            keep = rng.below(min(4, len(terms))) if what == 0 else 0
            term += keep > 0
            count = rng.below(60)
            append(node, last - keep, term, terms[len(terms) - 1 - keep], count=count,
                   size=rng.choice([0, 0, 50, 3000]))
            if count:
                terms = terms[:len(terms) - keep] + [term] * count
        elif what < 7:
            index = first - 1 + rng.below(len(terms))
            log.compact(index)
            terms, first = terms[index + 1 - first:], index + 1
        elif rng.below(10) == 0:
            first, terms = last + rng.below(50) + 1, [term]
            log.restart(first - 1, term)
            node.raft.mirror.begin_after(first - 1, first - 1)
        assert held(log) == list(enumerate(terms[1:], first))
        assert log.term(first - 1) == terms[0]


# ---- what the checker of a cluster makes of it -------------------------------------------------


def test_a_compacted_log_is_checked_as_before() -> None:
    group = Group()
    for node in (1, 2):
        group.receive(node, "append", 3, 1, records=entries(1, 1, 1, 1))
        group.receive(node, "append", 3, 1, index=4, log_term=1, commit=4)
    group.check()
    group.replicas[1].raft.log.compact(3)
    group.check()
    group.receive(1, "append", 3, 1, index=4, log_term=1, records=entries(1, 1, first=5))
    group.replicas[1].raft.log.compact(4)
    group.check()
    group.receive(2, "append", 3, 2, index=4, log_term=1, records=entries(2, first=5))
    group.check()
    group.start(2, term=2, log=entries(1, 1, 1, 1) + entries(1, first=5, payload=b"other"))
    assert group.broken() == "log matching: nodes 1 and 2 hold different entries 5 of term 1"


def test_a_snapshot_that_ends_with_another_term_than_what_was_committed_is_found() -> None:
    group = Group()
    for node in (1, 2):
        group.receive(node, "append", 3, 2, records=entries(1, 1, 2, 2))
        group.receive(node, "append", 3, 2, index=4, log_term=2, commit=4)
    group.check()
    for term in (2, 1):
        group.start(3, first=4, base_term=term)
        group.receive(3, "append", 2, 2, index=3, log_term=term, records=entries(2, first=4))
        if term == 2:
            group.check()
        else:
            assert group.broken().startswith("log matching: entry 4 of term 2 follows one of")
