"""Planted bugs that the swarm can't show, or only by rare luck, each told by a story.

With the bug the story ends wrong; with none it ends well. The bugs are compiled into a build of
their own, so each story runs in a process that imports that build.
"""
from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import patch

import pytest

from seatrial.core import commands, mutants
from seatrial.core.clock import boottime_ns
from seatrial.core.errors import CorruptSnapshot
from seatrial.core.kv import KeyValue
from seatrial.harness.mutants import ELSEWHERE, MUTANTS
from seatrial.workloads.systems.planted import mutants_folder
from tests.core import domain_stories, snapshot_stories
from tests.core.kv_tools import Log, S, chunks_of
from tests.core.test_raft import GRANTED, LEASE_NS, Node, holder


def late_copies() -> bool:
    """A session is forgotten; copies of its opening and of its write arrive late."""
    log = Log()
    me = log.open(77)
    log.do(me, "append", b"k", b"x", sequence=1)
    log.open(78, limit=1)
    log.open(77)
    log.do(me, "append", b"k", b"x", sequence=1)
    return log.kv.get(b"k") == b"x"


def old_holder() -> bool:
    """A holder's time is over while it sleeps; another writes, then it wakes up and writes."""
    log = Log()
    me = log.open()
    _, old = log.do(me, "acquire", b"l", commands.encode_acquire(b"old", 1))
    log.clock(1 * S)
    log.clock(2 * S)
    _, new = log.do(me, "acquire", b"l", commands.encode_acquire(b"new", 1))
    log.do(me, "write-if-token", b"k", b"new", new)
    log.do(me, "write-if-token", b"k", b"old", old)
    return log.kv.get(b"k") == b"new"


def retry_after_loading() -> bool:
    """A write is repeated where a snapshot was loaded meanwhile."""
    log = Log()
    me = log.open()
    log.do(me, "append", b"k", b"x")
    log.kv.begin_snapshot()
    loaded = KeyValue()
    try:
        loaded.load(chunks_of(log.kv))
    except CorruptSnapshot:
        return False
    log.machines = [loaded]
    log.do(me, "append", b"k", b"x", sequence=1)
    return loaded.get(b"k") == b"x"


def write_during_a_snapshot() -> bool:
    """A key that the snapshot has not come to is written."""
    log = Log()
    me = log.open()
    for key in (b"a", b"b"):
        log.do(me, "write", key, b"then")
    log.kv.begin_snapshot()
    log.do(me, "write", b"b", b"later")
    loaded = KeyValue()
    try:
        loaded.load(chunks_of(log.kv))
    except CorruptSnapshot:
        return False
    return loaded.get(b"b") == b"then"


def vote_and_crash() -> bool:
    """A vote is asked for, and the disk has not synced it yet."""
    node = Node()
    node.receive("vote", 2, 4, index=0, log_term=0, sync=False)
    return node.count("vote-reply") == 0


def late_vote() -> bool:
    """A candidate that got no votes stands again; then a vote for its first term arrives."""
    node = Node()
    node.time_out()
    node.time_out()
    assert (node.status["role"], node.replica.raft.term) == ("candidate", 2)
    node.receive("vote-reply", 3, 1, flags=GRANTED)
    return bool(node.status["role"] == "candidate")


def late_answer() -> bool:
    """A majority's answer to a heartbeat takes nearly as long as a lease."""
    node, term = holder()
    sent, asked = node.now, node.last("heartbeat")["round"]
    node.now = sent + LEASE_NS - 1
    node.poll()
    node.receive("heartbeat-reply", 3, term, round=asked)
    node.now = sent + LEASE_NS
    node.request(1, "read")
    return node.answers == []


def transfer_under_load() -> bool:
    """Leadership is handed over while a client goes on writing; the chosen one acknowledges all
    that was there before each of its writes."""
    node = Node()
    term = node.lead()
    node.acknowledge(term, 1)
    node.request(1, "open-session")
    node.acknowledge(term, 2)
    node.request(2, "write", sequence=1)
    node.transfer(2)
    for request in range(3, 20):
        last = node.replica.raft.log.last_index
        node.request(request, "write", sequence=request)
        node.receive("append-reply", 2, term, index=last)
    return node.count("timeout-now") > 0


class TwoClocks:
    """A machine's clock, and the wall clock that an administrator sets back."""

    def __init__(self, boot_ns: int) -> None:
        self.boot_ns = boot_ns
        self.wall_ns = boot_ns

    def gettime_ns(self, which: int) -> int:
        return self.wall_ns if which == time.CLOCK_REALTIME else self.boot_ns


def wall_clock_set_back() -> bool:
    """A leader hears from nobody any more, and its wall clock is set back by what passes."""
    node, _ = holder()
    clocks = TwoClocks(node.now)
    with patch.object(time, "clock_gettime_ns", clocks.gettime_ns):
        clocks.boot_ns += LEASE_NS
        node.now = boottime_ns()
    node.request(1, "read")
    return node.answers == []


def read_after_handing_over() -> bool:
    """A leader has asked another one to stand for election, and its lease still runs."""
    node, term = holder()
    node.acknowledge(term, node.replica.raft.log.last_index)
    assert node.transfer(2)
    assert node.count("timeout-now") == 1
    node.request(1, "read")
    return node.answers == []


STORIES = {
    "vote-before-durable": vote_and_crash,
    "stale-votes-count": late_vote,
    "lease-from-answer": late_answer,
    "session-named-by-client": late_copies,
    "token-repeats": old_holder,
    "snapshot-without-sessions": retry_after_loading,
    "snapshot-reads-new-value": write_during_a_snapshot,
    "transfer-does-not-block": transfer_under_load,
    "lease-on-wall-clock": wall_clock_set_back,
    "transfer-keeps-lease": read_after_handing_over,
    **snapshot_stories.STORIES,
    **domain_stories.STORIES,
}


def test_each_of_these_bugs_is_in_the_catalogue() -> None:
    assert set(STORIES) <= {mutant.name for mutant in (*MUTANTS, *ELSEWHERE)}


@pytest.mark.parametrize("name", STORIES)
def test_a_story_ends_well_with_no_bug_planted(name: str) -> None:
    assert STORIES[name]()


@pytest.mark.slow
@pytest.mark.parametrize("name", STORIES)
def test_a_story_ends_wrong_with_its_bug_planted(name: str) -> None:
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(mutants_folder()), *(entry or str(root) for entry in sys.path)])
    ended = subprocess.run(
        [sys.executable, "-m", "tests.core.test_planted_stories", name], cwd=root, check=False,
        env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    assert ended.stdout == "wrong\n", ended.stdout + ended.stderr


if __name__ == "__main__":
    mutants.activate(sys.argv[1])
    print("well" if STORIES[sys.argv[1]]() else "wrong")
