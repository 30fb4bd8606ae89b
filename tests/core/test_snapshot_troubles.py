"""Troubles with snapshots that a review found, each told as a story over real logs' bytes."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from seatrial.core import codec
from seatrial.core.errors import ProtocolError
from seatrial.core.membership import Change, Configuration
from seatrial.core.replica import Replica

from .snapshot_group import MS, DiskGroup, Group

SNAPSHOT = next(number for number, name in codec.MESSAGE_TYPES.items() if name == "snapshot")
NEVER = 1 << 40                 # bytes of log, until a snapshot
NOBODY = 1 << 31                # no client's connection


def status(group: Group, node: int) -> dict[str, Any]:
    """What a node says of itself."""
    return group.replicas[node].status()


def roles(group: Group) -> tuple[int, int, int]:
    """The leader of a group of three, then the others."""
    leader = group.leader().raft.node
    first, second = (node for node in group.ids if node != leader)
    return leader, first, second


def until(condition: Callable[[], bool], step: Callable[[], None]) -> None:
    """Do it until that is so."""
    for _ in range(3000):
        if condition():
            return
        step()
    raise AssertionError("it does not come about")


def fill(group: Group, entries: int, size: int = 200) -> None:
    """Log a lot about a hundred keys."""
    group.write(((group.requests + k) % 100 for k in range(entries)), size=size)


def takes_one_when_asked(group: Group, node: int) -> None:
    """A node's snapshots come when somebody wants one, and hold all that there is."""
    assert group.replicas[node].request_snapshot(NOBODY, 0)
    group.settle()
    assert status(group, node)["snapshot_index"] == status(group, node)["applied"]


def write_own_chunks(group: DiskGroup, node: int) -> None:
    """Have a node be in the middle of its own snapshot, whose next chunk is not synced yet."""
    def step() -> None:
        group.sync(node)
        fill(group, 1)

    group.held.add(node)
    until(lambda: group.at_chunk(node, 2000), step)


# ---- logs that conflict ------------------------------------------------------------------


def test_a_conflicting_tail_that_ends_where_the_leaders_log_begins_is_replaced() -> None:
    """The leader asked for the entry before its first, was refused with a hint at that same entry,
    and asked again, without end."""
    group = DiskGroup(snapshot_bytes=4000, keep_bytes=500)
    group.write(range(3))
    old, first, second = roles(group)
    group.isolate(old)
    for key in range(500):                      # never committed
        group.propose(old, 9000 + key)
    group.settle()
    group.pass_time(50)
    group.answers.clear()
    group.write(range(300), size=50)
    # the next leader knows nothing of the old one's log
    group.hand_over(first if group.leader().raft.node == second else second)
    leader = group.leader().raft.node
    assert 200 < status(group, leader)["first_index"] < status(group, old)["last_index"]
    group.rejoin(old)
    group.agree()
    assert b"k9000" not in group.replicas[old].kv.items()


# ---- a member's own snapshots ------------------------------------------------------------


def test_a_node_killed_while_it_wrote_its_snapshot_makes_snapshots_again() -> None:
    """What was on its disk of the broken one counted as one that it is being sent, for ever."""
    group = DiskGroup(snapshot_bytes=20_000, chunk_bytes=512, keep_bytes=500)
    group.write(range(100), size=100)
    _, victim, _ = roles(group)
    write_own_chunks(group, victim)
    group.stop(victim)
    group.held.clear()
    group.start(victim)
    assert group.found[victim].partial is not None
    group.agree()
    before = status(group, victim)["commit"]
    fill(group, 1000, 100)
    assert status(group, victim)["snapshot_index"] > before
    takes_one_when_asked(group, victim)


@pytest.mark.parametrize("who", ["follower", "leader"])
def test_a_node_whose_disk_is_slower_than_the_majoritys_gets_its_snapshots(who: str) -> None:
    """Under a steady load what it has applied is always ahead of its own disk, and it waited for a
    moment when that is not so."""
    group = DiskGroup(snapshot_bytes=20_000, keep_bytes=500, chunk_bytes=1024)
    group.write(range(3))
    leader, follower, _ = roles(group)
    victim = leader if who == "leader" else follower
    group.held.add(victim)
    for _ in range(300):
        fill(group, 3)
        group.sync(victim)                      # one sync for every three entries
    assert status(group, victim)["snapshot_index"] > 400


# ---- what keeps a leader from snapshots --------------------------------------------------


def behind(group: DiskGroup) -> tuple[int, int]:
    """Who leads, and a member that needs its snapshot and does not run."""
    group.write(range(3))
    leader, victim, _ = roles(group)
    group.stop(victim)
    fill(group, 300)
    assert status(group, leader)["first_index"] > 10
    return leader, victim


def test_a_follower_whose_disk_stands_still_does_not_keep_its_leader_from_snapshots() -> None:
    """It answers heartbeats, so it counted as one that is being sent the snapshot."""
    group = DiskGroup(snapshot_bytes=20_000, keep_bytes=500, chunk_bytes=1024)
    leader, victim = behind(group)
    group.held.add(victim)
    group.start(victim)
    group.pass_time(200)                        # twenty election timeouts without any progress
    before = status(group, leader)["snapshot_index"]
    fill(group, 500)
    assert status(group, leader)["snapshot_index"] > before + 200


def test_a_follower_in_a_crash_loop_does_not_keep_its_leader_from_snapshots() -> None:
    """Each of its connections was a new beginning, and so counted as progress."""
    group = DiskGroup(snapshot_bytes=20_000, keep_bytes=500, chunk_bytes=1024)
    leader, victim = behind(group)
    group.start(victim)
    group.lose_chunks(victim)
    before = status(group, leader)["snapshot_index"]
    for _ in range(10):
        group.reconnect(leader, victim)
        for _ in range(50):                     # five election timeouts
            fill(group, 1)
            group.pass_time()
    assert status(group, leader)["snapshot_index"] > before + 200


# ---- transfers ---------------------------------------------------------------------------


def test_a_snapshot_that_the_leader_completes_during_a_transfer_takes_its_place() -> None:
    """It was begun before the follower came. The transfer went on with the numbers of the old
    one's chunks, which meant nothing in the new one."""
    group = DiskGroup(snapshot_bytes=20_000, keep_bytes=500, chunk_bytes=1024)
    leader, victim = behind(group)
    before = status(group, leader)["snapshot_index"]
    write_own_chunks(group, leader)
    assert status(group, leader)["snapshot_index"] == before
    group.lose_chunks(victim, after=5)
    group.start(victim)
    group.settle()
    assert group.sent.count((victim, "snapshot")) == 5
    group.release(leader)
    group.settle()
    assert status(group, leader)["snapshot_index"] > before
    group.lose_nothing()
    group.agree()


def test_a_leaders_snapshot_may_come_while_ones_own_is_being_written() -> None:
    """The chunks of both went to the log in turns, and it refused the second."""
    group = DiskGroup(snapshot_bytes=20_000, keep_bytes=500, chunk_bytes=1024)
    group.write(range(3))
    leader, victim, _ = roles(group)
    write_own_chunks(group, victim)
    group.isolate(victim)                       # its disk is slow just now, and it is cut off
    fill(group, 400)
    assert status(group, leader)["first_index"] > status(group, victim)["last_index"]
    group.rejoin(victim)
    group.settle()
    group.release(victim)
    group.agree()


@pytest.mark.parametrize("theirs", ["older", "cut-differently"])
def test_a_chunk_that_is_being_synced_does_not_count_for_a_transfer_that_began_meanwhile(
        theirs: str) -> None:
    """Another leader begins to send an older snapshot, or the same one in other pieces, whose
    first chunk is not on the disk when the one that was on its way there is."""
    group = DiskGroup(4, snapshot_bytes=NEVER, keep_bytes=100, chunk_bytes=1024)
    group.write(range(3))
    leader = group.leader().raft.node
    victim, heir = [node for node in group.ids if node != leader][:2]
    older = theirs == "older"
    group.restart(heir, snapshot_bytes=33_000 if older else 20_000,
                  chunk_bytes=1024 if older else 1500)
    group.restart(leader, snapshot_bytes=20_000)
    group.hand_over(leader)
    group.stop(victim)
    until(lambda: 0 < status(group, heir)["snapshot_index"]
          <= status(group, leader)["snapshot_index"] - 5 * older, lambda: fill(group, 1))
    group.held.add(victim)
    group.start(victim)

    def step() -> None:
        group.sync(victim)
        group.settle()

    until(lambda: group.at_chunk(victim, 2000), step)
    group.hand_over(heir)
    group.sent.clear()
    until(lambda: (victim, "snapshot") in group.sent, step)
    assert victim in group.pending
    assert group.at_chunk(victim, 2000)
    group.release(victim)
    group.agree()
    assert group.replicas[victim].snapshots_installed == 1


def test_what_was_received_of_a_snapshot_that_the_log_overtook_is_forgotten() -> None:
    """The next leader still has the log. The broken transfer kept its receiver from snapshots of
    its own."""
    group = DiskGroup(snapshot_bytes=20_000, keep_bytes=500, chunk_bytes=1024)
    group.write(range(3))
    leader, victim, heir = roles(group)
    group.restart(heir, keep_bytes=1 << 30)
    group.agree()
    group.stop(victim)
    fill(group, 300)
    group.lose_chunks(victim, after=5)
    group.start(victim)
    group.settle()
    assert status(group, victim)["snapshot_received"] > 0
    group.lose_nothing()
    group.isolate(leader)
    assert group.leader().raft.node == heir
    fill(group, 50)
    group.rejoin(leader)
    group.agree()
    assert group.replicas[victim].snapshots_installed == 0
    before = status(group, victim)["applied"]
    takes_one_when_asked(group, victim)
    fill(group, 500)
    assert status(group, victim)["snapshot_index"] > before


# ---- streams of one state that differ ----------------------------------------------------


def broken_off(group: DiskGroup, victim: int, heir: int) -> None:
    """A member is sent a part of a snapshot; then another leads, and sends the same state's."""
    leader = group.leader().raft.node
    group.stop(victim)
    fill(group, 400, 300)
    assert status(group, leader)["snapshot_index"] == status(group, heir)["snapshot_index"] > 0
    group.lose_chunks(victim, after=4)
    group.start(victim)
    group.settle()
    assert group.sent.count((victim, "snapshot")) == 4
    group.hand_over(heir)
    group.lose_nothing()
    group.agree()
    assert group.leader().raft.node == heir
    assert group.replicas[victim].snapshots_installed == 1


def test_a_transfer_begins_anew_when_the_next_leader_cuts_its_chunks_differently() -> None:
    """A member of another version or setting. None of its chunks began where the receiver was."""
    group = DiskGroup(snapshot_bytes=60_000, keep_bytes=500, chunk_bytes=1024)
    group.write(range(3))
    _, victim, heir = roles(group)
    group.restart(heir, chunk_bytes=1500)
    group.agree()
    broken_off(group, victim, heir)


def test_a_transfer_begins_anew_when_the_next_leaders_stream_is_not_the_same() -> None:
    """Members' own files spelled the addresses differently, which went into their snapshots."""
    def members(address: str) -> Configuration:
        return Configuration([1, 2, 3],
                             details={node: (address % node, 0) for node in (1, 2, 3)})

    theirs = members("host%d:7000")
    group = DiskGroup(snapshot_bytes=60_000, keep_bytes=500, chunk_bytes=1024,
                      files={1: members("10.0.0.%d:7000"), 2: theirs, 3: theirs})
    group.write(range(3))
    group.hand_over(1)
    broken_off(group, victim=2, heir=3)


# ---- configurations ----------------------------------------------------------------------


def test_a_joined_nodes_snapshot_holds_the_clusters_configuration_not_its_files() -> None:
    """Where the log had no configuration yet, only the members' files told of it; and the file of
    one that joins names whom it asks. Whoever was sent its snapshot elected itself."""
    group = DiskGroup(4, members=[1, 2, 3], files={4: Configuration([1])}, snapshot_bytes=NEVER,
                      chunk_bytes=1024, keep_bytes=100, own={4: {"snapshot_bytes": 10_000}})
    group.hand_over(2)
    group.stop(1)
    group.write(range(100), size=100)
    leader = group.leader()
    assert leader.change([Change("learner", 4)])
    joined = status(group, leader.raft.node)["last_index"]
    group.lose = lambda target, frame: (    # for now it gets nothing of its own joining
        target == 4 and status(group, 4)["last_index"] >= 70)
    group.settle()
    group.pass_time(5)
    assert 0 < status(group, 4)["snapshot_index"] < joined
    group.lose_nothing()
    group.pass_time(30)
    assert leader.change([Change("voter", 4)])
    group.settle()
    group.pass_time(5)
    assert 0 < status(group, 4)["snapshot_index"] < joined
    group.hand_over(4)
    group.lose = lambda target, frame: (    # only the snapshot gets through
        target == 1 and status(group, 1)["snapshot_index"] > 0
        and codec.decode_message(frame)["type"] != "snapshot")
    group.start(1)
    group.settle()
    one = group.replicas[1].status()
    assert one["snapshot_index"] == status(group, 4)["snapshot_index"]
    assert one["configuration"] == "voters=(1 2 3)"
    group.pass_time(100)
    assert group.replicas[1].status()["role"] != "leader"


def test_a_joint_configuration_that_lies_in_a_snapshot_is_left() -> None:
    """The new leader found nothing of it in its log, which begins after the snapshot."""
    group = DiskGroup(5, members=[1, 2, 3], snapshot_bytes=NEVER, keep_bytes=0)
    group.write(range(20))
    old = group.leader()
    heir = next(node for node in (1, 2, 3) if node != old.raft.node)
    joint = old.status()["last_index"] + 1

    def after_it(target: int, frame: bytes) -> bool:
        message = codec.decode_message(frame)
        return bool(message["type"] == "append" and message["index"] + message["count"] > joint)

    group.lose = after_it
    assert old.change([Change("voter", 4), Change("voter", 5)])
    group.settle()
    group.pass_time(4)
    replica: Replica = group.replicas[heir]
    replica.request_snapshot(NOBODY, 0)
    group.settle()
    found = replica.status()
    assert (found["snapshot_index"], found["first_index"]) == (joint, joint + 1)
    assert found["configuration"] == "voters=(1 2 3 4 5)&&(1 2 3) autoleave"
    group.stop(old.raft.node)
    group.lose_nothing()
    group.now += 300 * MS
    replica.tick(group.now)                     # it is the first to stand
    group.settle()
    assert replica.status()["role"] == "leader"
    assert replica.status()["configuration"] == "voters=(1 2 3 4 5)"
    group.agree()


# ---- bad input, damaged disks ------------------------------------------------------------


def test_a_snapshot_frame_without_a_record_is_refused() -> None:
    """It was read beyond its end."""
    group = Group()
    group.write(range(5))
    leader, victim, _ = roles(group)
    frame = codec.encode_message(SNAPSHOT, leader, victim, group.replicas[leader].raft.term,
                                 index=50, log_term=1)
    with pytest.raises(ProtocolError, match="SNAPSHOT of entry 50 holds 0 records, not one"):
        group.replicas[victim].receive_peer(leader, frame, group.now)


def test_a_damaged_snapshot_is_replaced_by_an_older_one_of_the_leaders() -> None:
    """The simulated disk still counted on the newest snapshot that it had ever been given, and
    refused an older one, which the one that was damaged could not but be followed by."""
    group = DiskGroup(snapshot_bytes=30_000, keep_bytes=100, chunk_bytes=1024,
                      segment_bytes=16 << 10)
    group.write(range(3))
    leader, victim, _ = roles(group)
    group.restart(victim, snapshot_bytes=22_000)
    until(lambda: 0 < status(group, leader)["snapshot_index"]
          < status(group, victim)["snapshot_index"] - 5
          and not group.chunks[victim] and status(group, victim)["first_index"] > 20,
          lambda: fill(group, 1))
    group.stop(victim)
    group.damage(victim, lambda found: found.snapshot is None)
    group.start(victim)
    group.agree()
    assert group.replicas[victim].snapshots_installed == 1
    assert status(group, victim)["damaged_until"] == 0


def test_two_damaged_members_of_three_elect_the_third_which_holds_all_that_they_lost() -> None:
    """Members that lost something voted for nobody, so two of three were no cluster any more,
    though nothing was lost (protocol-aware recovery: Alagappan and others, FAST 2018)."""
    group = DiskGroup(snapshot_bytes=NEVER)
    group.write(range(50))
    group.agree()
    for node in group.ids:
        group.stop(node)
    for node in (1, 2):
        lost = group.damage(node, lambda found: True)
        assert lost.last_index < lost.damaged_until
    for node in group.ids:
        group.start(node)
    assert group.leader().raft.node == 3
    group.agree()
    assert [status(group, node)["damaged_until"] for node in group.ids] == [0, 0, 0]
