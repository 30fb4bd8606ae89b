"""Who takes part, one node at a time: each test is a paragraph of the thesis or somebody's bug."""
from __future__ import annotations

from typing import Any

import pytest

from seatrial.core.membership import BadConfiguration, Change, Configuration
from seatrial.core.replica import Replica
from tests.core.test_raft import ELECTION_NS, FORCED, GRANTED, MS, Node, entry

CONFIG = 3


def config(index: int, term: int, configuration: Configuration) -> bytes:
    return entry(index, term, configuration.encode(), CONFIG)


def leading(members: int = 3, **options: Any) -> tuple[Node, int]:
    """A leader whose first entry is committed."""
    node = Node(members, **options)
    term = node.lead()
    for peer in range(2, members // 2 + 2):
        node.acknowledge(term, node.status["last_index"], peer=peer)
    assert node.status["commit"] == node.status["last_index"]
    return node, term


def change(node: Node, *wishes: tuple[str, int], **details: Any) -> None:
    assert node.replica.change([Change(kind, who, **details) for kind, who in wishes])
    for _, who in wishes:
        if who != 1:
            node.replica.peer_up(who, node.now)
    node.poll()


# ---- one at a time (thesis, 4.1) -----------------------------------------------------------------


def test_a_configuration_is_in_force_as_soon_as_it_is_appended() -> None:
    """Thesis, 4.1: a server uses the latest configuration in its log, committed or not."""
    node, term = leading()
    change(node, ("voter", 4))
    assert node.status["configuration"] == "voters=(1 2 3 4)"
    node.acknowledge(term, 2)
    assert node.status["commit"] == 1               # two of four
    node.acknowledge(term, 2, peer=4)
    assert node.status["commit"] == 2


def test_a_follower_goes_by_what_it_appends_and_goes_back_when_that_is_cut() -> None:
    """The configuration comes from the log, never from the state machine (etcd-io/etcd#7625,
    where a leader that applies late counts by an old one)."""
    node = Node(term=1)
    node.receive("append", 2, 1, records=entry(1, 1) + config(2, 1, Configuration([1, 2])))
    assert (node.status["configuration"], node.status["commit"]) == ("voters=(1 2)", 0)
    node.receive("append", 3, 2, index=1, log_term=1, records=entry(2, 2))
    assert node.status["configuration"] == "voters=(1 2 3)"


def test_a_restarted_node_goes_by_the_newest_configuration_in_its_log() -> None:
    replica = Replica(1, [1, 2, 3], seed=1, now_ns=0, heartbeat_ns=10 * MS,
                      election_ns=ELECTION_NS)
    replica.restore(3, 0, entry(1, 1) + config(2, 1, Configuration([1, 2, 3, 4]))
                    + config(3, 2, Configuration([1, 3, 4])) + entry(4, 3))
    assert replica.status()["configuration"] == "voters=(1 3 4)"


def test_no_change_before_an_entry_of_the_leaders_own_term_is_committed() -> None:
    """Ongaro, "bug in single-server membership changes" (raft-dev, 10 July 2015)."""
    node = Node()
    term = node.lead()
    with pytest.raises(BadConfiguration, match="has not committed an entry of its term"):
        node.replica.change([Change("voter", 4)])
    node.acknowledge(term, 1)
    assert node.replica.change([Change("voter", 4)])


def test_one_change_at_a_time() -> None:
    node, term = leading()
    change(node, ("voter", 4))
    with pytest.raises(BadConfiguration, match="not committed yet"):
        node.replica.change([Change("remove", 3)])
    node.acknowledge(term, 2)
    node.acknowledge(term, 2, peer=4)
    change(node, ("remove", 3))
    assert node.status["configuration"] == "voters=(1 2 4)"


def test_only_a_leader_changes_the_configuration() -> None:
    assert not Node().replica.change([Change("voter", 4)])


def test_a_new_member_is_sent_the_whole_log() -> None:
    node, term = leading()
    change(node, ("learner", 4))
    probe = node.last("append")
    assert (probe["receiver"], probe["index"]) == (4, 2)
    node.receive("append-reply", 4, term, flags=1, commit=2, index=0)
    sent = node.last("append")
    assert (sent["receiver"], sent["index"], sent["count"]) == (4, 0, 2)


def test_who_is_removed_hears_nothing_more_and_does_not_count() -> None:
    node, term = leading(3)
    change(node, ("remove", 3))
    node.sent.clear()
    node.time_out()
    assert {m["receiver"] for _, m in node.sent} == {2}
    node.acknowledge(term, 2, peer=3)
    assert node.status["commit"] == 1
    node.acknowledge(term, 2)
    assert node.status["commit"] == 2


def test_a_leader_that_is_removed_leads_until_that_is_committed_and_does_not_count() -> None:
    """Thesis, 4.2.2."""
    node, term = leading()
    change(node, ("remove", 1))
    assert (node.status["role"], node.status["configuration"]) == ("leader", "voters=(2 3)")
    node.acknowledge(term, 2)
    assert (node.status["role"], node.status["commit"]) == ("leader", 1)
    node.acknowledge(term, 2, peer=3)
    assert (node.status["role"], node.status["commit"]) == ("follower", 2)
    for _ in range(5):
        node.time_out()
    assert (node.status["role"], node.status["term"]) == ("follower", term)


@pytest.mark.parametrize("kind", ["remove", "learner"])
def test_a_leader_whose_own_removal_is_not_committed_stands_again(kind: str) -> None:
    """Thesis, 4.2.2: only it may hold that entry, and then nobody else can be elected. Found by
    review: a majority lived, and nobody led any more."""
    node, term = leading()
    change(node, (kind, 1))
    node.time_out()
    while node.status["role"] == "leader":
        node.now = node.replica.deadline_ns()
        node.replica.tick(node.now)
        node.poll()
    node.time_out()
    node.receive("pre-vote-reply", 3, term, flags=GRANTED, round=node.last("pre-vote")["round"])
    assert node.status["role"] == "candidate"
    for peer in (2, 3):
        node.receive("vote-reply", peer, term + 1, flags=GRANTED)
    assert node.status["role"] == "leader"
    node.acknowledge(term + 1, 3)
    node.acknowledge(term + 1, 3, peer=3)
    assert (node.status["role"], node.status["commit"]) == ("follower", 3)


def test_the_last_voter_can_not_be_removed() -> None:
    node, _ = leading(1)
    with pytest.raises(BadConfiguration, match="removed all voters"):
        node.replica.change([Change("remove", 1)])


def test_a_single_voter_adds_another() -> None:
    node, term = leading(1)
    change(node, ("voter", 2))
    assert node.status["commit"] == 1
    node.acknowledge(term, 2)
    assert node.status["commit"] == 2


# ---- learners (thesis, 4.2.1) --------------------------------------------------------------------


def test_a_learner_counts_for_nothing() -> None:
    node, term = leading()
    change(node, ("learner", 4))
    node.acknowledge(term, 2, peer=4)
    assert node.status["commit"] == 1
    node.request(1, "read")
    node.receive("heartbeat-reply", 4, term, round=node.last("heartbeat")["round"])
    assert node.answers == []


def test_a_learner_does_not_stand_for_election() -> None:
    node = Node(term=1)
    node.receive("append", 2, 1, records=config(1, 1, Configuration([2, 3], learners=[1])),
                 commit=1)
    for _ in range(5):
        node.time_out()
    node.receive("timeout-now", 2, 1)
    assert (node.status["role"], node.count("vote"), node.count("pre-vote")) == ("follower", 0, 0)


def test_who_does_not_stand_knows_no_leader_either_after_a_long_silence() -> None:
    """Found by review: a member that was removed kept its leader for ever, and with it the reads
    that nobody would let it answer."""
    node = Node(term=1)
    node.receive("append", 2, 1, records=config(1, 1, Configuration([2, 3], learners=[1])),
                 commit=1)
    node.request(1, "read", any_node=True)
    assert (node.status["leader"], node.answers) == (2, [])
    node.time_out()
    assert node.status["leader"] == 0
    assert [answer[:2] for answer in node.answers] == [(1, "not-leader")]


def test_a_learner_votes_when_it_is_asked() -> None:
    """It may have been promoted and not know it yet (etcd-io/raft: a learner must vote, or a
    cluster whose voter was promoted late can't elect anybody)."""
    node = Node(term=1)
    node.receive("append", 2, 1, records=config(1, 1, Configuration([2, 3], learners=[1])))
    node.now += ELECTION_NS
    node.receive("pre-vote", 3, 1, index=1, log_term=1, round=1)
    assert node.last("pre-vote-reply")["flags"] == GRANTED
    node.receive("vote", 3, 2, index=1, log_term=1)
    assert node.last("vote-reply")["flags"] == GRANTED


def test_a_node_that_is_no_member_yet_votes_and_follows() -> None:
    """Thesis, 4.1: requests are served whoever they come from; configurations may lag behind."""
    node = Node(term=1, members=3)
    node.replica.peer_up(9, node.now)
    node.receive("vote", 9, 2, index=0, log_term=0)
    assert node.last("vote-reply")["receiver"] == 9
    node.receive("heartbeat", 9, 2)
    assert node.status["leader"] == 9


def test_leadership_goes_to_voters_only() -> None:
    node, term = leading()
    change(node, ("learner", 4))
    node.acknowledge(term, 2)
    node.acknowledge(term, 2, peer=4)
    assert not node.transfer(4)


# ---- joint consensus (thesis, 4.3) ---------------------------------------------------------------


def test_several_voters_at_once_go_by_way_of_a_joint_configuration() -> None:
    node, term = leading()
    change(node, ("voter", 4), ("voter", 5), ("remove", 2), ("remove", 3))
    assert node.status["configuration"] == "voters=(1 4 5)&&(1 2 3) autoleave"
    node.acknowledge(term, 2, peer=4)
    assert node.status["commit"] == 1               # (1 4) of the new, (1) of the old
    node.acknowledge(term, 2, peer=3)
    assert node.status["commit"] == 2
    assert node.status["configuration"] == "voters=(1 4 5)"     # and it has left it by itself
    assert node.status["last_index"] == 3
    node.acknowledge(term, 3, peer=3)
    assert node.status["commit"] == 2
    node.acknowledge(term, 3, peer=5)
    assert node.status["commit"] == 3


def test_a_joint_election_needs_both_majorities() -> None:
    joint = Configuration([1, 4, 5], outgoing=[1, 2, 3], auto_leave=True)
    node = Node(term=1)
    for peer in (4, 5):
        node.replica.peer_up(peer, node.now)
    node.receive("append", 2, 1, records=config(1, 1, joint))
    node.now = node.replica.deadline_ns()
    node.replica.tick(node.now)
    node.poll()
    asked = node.last("pre-vote")["round"]
    assert {m["receiver"] for _, m in node.sent if m["type"] == "pre-vote"} == {2, 3, 4, 5}
    for peer in (4, 5):
        node.receive("pre-vote-reply", peer, 1, flags=GRANTED, round=asked)
    assert node.status["role"] == "pre-candidate"
    node.receive("pre-vote-reply", 3, 1, flags=GRANTED, round=asked)
    assert node.status["role"] == "candidate"
    for peer in (2, 3):
        node.receive("vote-reply", peer, 2, flags=GRANTED)
    assert node.status["role"] == "candidate"
    node.receive("vote-reply", 5, 2, flags=GRANTED)
    assert node.status["role"] == "leader"


def test_a_new_leader_leaves_the_joint_configuration_that_it_found() -> None:
    joint = Configuration([1, 2], outgoing=[1, 2, 3], auto_leave=True)
    node = Node(term=1)
    node.receive("append", 2, 1, records=config(1, 1, joint))
    term = node.lead()
    assert node.status["configuration"] == str(joint)
    node.acknowledge(term, 2)
    assert node.status["configuration"] == "voters=(1 2)"


def test_a_voter_that_becomes_a_learner_decides_until_the_joint_configuration_is_left() -> None:
    node, term = leading(5)
    change(node, ("learner", 5), ("learner", 4))
    assert node.status["configuration"] == (
        "voters=(1 2 3)&&(1 2 3 4 5) learners_next=(4 5) autoleave")
    node.acknowledge(term, 2)
    assert node.status["commit"] == 1
    node.acknowledge(term, 2, peer=4)
    assert node.status["configuration"] == "voters=(1 2 3) learners=(4 5)"


def test_a_configuration_that_no_node_can_read_stops_the_node() -> None:
    node = Node(term=1)
    with pytest.raises(Exception, match="a version of configurations that this node does not know"):
        node.receive("append", 2, 1, records=entry(1, 1, b"\x09" + bytes(30), CONFIG))


# ---- priorities ----------------------------------------------------------------------------------


def test_a_leader_hands_over_to_a_voter_of_a_higher_priority_that_has_kept_up() -> None:
    node, term = leading()
    change(node, ("update", 2), priority=9)
    node.acknowledge(term, 2, peer=3)
    node.receive("append-reply", 2, term, index=1)
    for _ in range(20):
        node.time_out()
        node.receive("heartbeat-reply", 3, term, round=node.last("heartbeat")["round"])
    assert node.count("timeout-now") == 0
    node.acknowledge(term, 2)
    node.time_out()
    assert node.last("timeout-now")["receiver"] == 2


def test_who_should_rather_follow_waits_longer_before_it_stands() -> None:
    first = Configuration([1, 2, 3], details={2: ("", 1)})
    waits = []
    for configuration in (Configuration([1, 2, 3]), first):
        node = Node(term=1)
        node.receive("append", 2, 1, records=config(1, 1, configuration))
        node.receive("heartbeat", 2, 1)
        waits.append(node.replica.deadline_ns() - node.now)
    assert waits[1] - waits[0] == ELECTION_NS // 2


def test_frames_of_a_node_that_has_no_place_yet_are_taken() -> None:
    node = Node(term=4)
    node.replica.peer_up(60000, node.now)
    node.receive("pre-vote", 60000, 4, index=1, log_term=4, round=3)
    assert node.last("pre-vote-reply")["receiver"] == 60000


def test_places_are_used_again() -> None:
    node = Node(term=4)
    for stranger in range(100, 300):
        node.receive("vote", stranger, 5, index=0, log_term=0, flags=FORCED)
    node.receive("heartbeat", 2, 6)
    assert node.last("heartbeat-reply")["receiver"] == 2


def test_a_node_that_gets_the_place_of_one_removed_begins_from_nothing() -> None:
    """Found by review: it took over next_index 0 and read before the log's beginning."""
    node, _ = leading(31)
    for stranger in range(100, 132):
        node.replica.peer_up(stranger, node.now)
    node.replica.peer_down(31, node.now)
    change(node, ("remove", 31), ("learner", 300))
    sent = [m for _, m in node.sent if m["receiver"] == 300]
    assert [m["index"] for m in sent if m["type"] == "append"] == [2]
    assert all(m["index"] <= 2 for m in sent)


def test_the_place_of_a_leader_is_not_taken_from_it() -> None:
    """Found by review: an acknowledgement to a leader that had no place any more."""
    node = Node(term=4)
    for stranger in range(100, 170):
        node.replica.peer_up(stranger, node.now)
    node.replica.peer_up(9, node.now)
    unknown = Configuration([1, 2, 3, 9], learners=[400])
    node.receive("append", 9, 5, records=config(1, 5, unknown), sync=False)
    for stranger in range(500, 570):
        node.receive("pre-vote", stranger, 5, index=9, log_term=9, round=1, sync=False)
    node.poll()
    assert node.last("append-reply")["index"] == 1
    assert node.status["configuration"] == str(unknown)
