"""One node at a time, by meaning: each test is a paragraph of the paper or somebody's bug."""
from __future__ import annotations

from typing import Any

import pytest

from seatrial.core import codec
from seatrial.core.errors import InvariantViolation, ProtocolError
from seatrial.core.replica import Replica

MS = 1_000_000
TYPES = {name: number for number, name in codec.MESSAGE_TYPES.items()}
OPS = codec.OPS
REJECTED = GRANTED = FORCED = 1
ELECTION_NS = 100 * MS


def entry(index: int, term: int, payload: bytes = b"", kind: int = 0) -> bytes:
    return codec.encode_record(index, term, kind, payload, rindex=index, epoch=1 << 16, rterm=term)


class Node:
    """A replica whose peers, disk and clock are this test's own hands."""

    def __init__(self, members: int = 3, *, term: int = 0, vote: int = 0,
                 log: tuple[int, ...] = (), leases: bool = False) -> None:
        self.now = ELECTION_NS          # long enough after its start that it may vote
        self.replica = Replica(1, range(1, members + 1), seed=5, now_ns=0, heartbeat_ns=10 * MS,
                               election_ns=ELECTION_NS, leases=leases)
        self.replica.restore(term, vote, b"".join(entry(i + 1, t) for i, t in enumerate(log)))
        self.members = members
        self.sent: list[tuple[int, dict[str, Any]]] = []
        self.answers: list[tuple[int, str, bytes | None]] = []
        self.written: list[tuple[int, int, int, bytes]] = []
        self.unsynced = 0
        self.opening: dict[int, int] = {}               # request -> nonce
        self.sessions: dict[int, int] = {}              # nonce -> the id that the log gave
        for peer in range(2, members + 1):
            self.replica.peer_up(peer, 0)
        self.replica.client_up(1)
        self.poll()

    def poll(self, *, sync: bool = True) -> None:
        """Run until nothing more is to be done; with ``sync`` the disk is immediate."""
        while True:
            self.replica.poll(self.now)
            if self.unsynced and sync:
                seq, self.unsynced = self.unsynced, 0
                self.replica.persisted(seq, self.now)
                continue
            write = None if self.unsynced else self.replica.take_persist()
            if write is not None:
                self.unsynced = write[0]
                self.written.append((write[1], write[2], write[3], write[4]))
                continue
            out = self.replica.take_output()
            for kind, target, data in out:
                for frame in codec.split_frames(bytearray(data)):
                    if kind == 0:
                        self.sent.append((target, codec.decode_message(frame)))
                    else:
                        request, status, value, *_ = codec.decode_response(frame)
                        if request in self.opening and value is not None and status == 0:
                            self.sessions[self.opening.pop(request)] = int.from_bytes(
                                value, "little")
                            value = None
                        self.answers.append((request, codec.STATUSES[status], value))
            if not out:
                return

    def receive(self, kind: str, sender: int, term: int, *, sync: bool = True,
                **fields: Any) -> None:
        self.replica.receive_peer(
            sender, codec.encode_message(TYPES[kind], sender, 1, term, **fields), self.now)
        self.poll(sync=sync)

    def request(self, request: int, op: str, key: bytes = b"k", value: bytes = b"", *,
                sequence: int = 0, client: int = 9, sync: bool = True,
                expected: bytes | None = None, any_node: bool = False) -> None:
        if op == "open-session":
            self.opening[request] = client
        else:
            client = self.sessions.get(client, client)
        self.replica.receive_client(1, codec.encode_request(
            request, client, sequence, OPS[op], key, value, expected, any_node=any_node), self.now)
        self.poll(sync=sync)

    def transfer(self, target: int) -> bool:
        accepted = self.replica.transfer(target, self.now)
        self.poll()
        return accepted

    def time_out(self, *, sync: bool = True) -> None:
        """Reach the next deadline; where that asks for pre-votes, node 2 and up give them."""
        self.now = self.replica.deadline_ns()
        self.replica.tick(self.now)
        self.poll(sync=sync)
        if self.status["role"] == "pre-candidate":
            for peer in range(2, self.members // 2 + 2):
                self.receive("pre-vote-reply", peer, self.replica.raft.term, flags=GRANTED,
                             round=self.last("pre-vote")["round"], sync=sync)

    def lead(self) -> int:
        """Win the next election with the votes of nodes 2 and up; return the term."""
        self.time_out()
        term = self.replica.raft.term
        majority = range(2, self.members // 2 + 2)
        for peer in majority:
            self.receive("vote-reply", peer, term, flags=GRANTED)
        assert self.status["role"] == "leader"
        for peer in majority:
            self.confirm(term, peer=peer)
        self.sent.clear()
        return term

    def confirm(self, term: int, *, peer: int = 2) -> None:
        """Have a member answer the newest round."""
        self.receive("heartbeat-reply", peer, term, round=self.last("heartbeat")["round"])

    def acknowledge(self, term: int, index: int, *, peer: int = 2) -> None:
        self.receive("append-reply", peer, term, index=index)

    @property
    def status(self) -> dict[str, Any]:
        return self.replica.status()

    def last(self, kind: str) -> dict[str, Any]:
        return [m for _, m in self.sent if m["type"] == kind][-1]

    def count(self, kind: str) -> int:
        return sum(m["type"] == kind for _, m in self.sent)


def test_a_candidate_asks_only_after_its_own_vote_is_durable() -> None:
    node = Node()
    node.time_out(sync=False)
    assert node.status["role"] == "candidate"
    assert node.count("vote") == 0
    assert node.written[-1][:2] == (1, 1)
    node.poll()
    assert node.count("vote") == 2


def test_a_vote_is_answered_only_after_it_is_durable() -> None:
    node = Node()
    node.receive("vote", 2, 4, index=0, log_term=0, sync=False)
    assert node.count("vote-reply") == 0
    assert node.written[-1][:2] == (4, 2)
    node.poll()
    assert node.last("vote-reply")["flags"] == GRANTED


def test_one_vote_a_term_and_a_repeated_question_gets_the_same_answer() -> None:
    node = Node()
    node.receive("vote", 2, 4)
    node.receive("vote", 3, 4)
    assert node.last("vote-reply")["flags"] == 0
    node.receive("vote", 2, 4)
    assert node.last("vote-reply")["flags"] == GRANTED


def test_a_restarted_node_remembers_its_vote() -> None:
    node = Node(term=4, vote=2)
    node.receive("vote", 3, 4)
    assert node.last("vote-reply")["flags"] == 0


@pytest.mark.parametrize(("index", "log_term", "granted"), [
    (2, 3, True), (3, 3, True), (1, 3, False), (9, 2, False), (1, 4, True)])
def test_a_vote_goes_only_to_a_log_at_least_as_up_to_date(index: int, log_term: int,
                                                          granted: bool) -> None:
    """Raft paper, 5.4.1: the later last term wins, then the longer log."""
    node = Node(term=3, log=(1, 3))
    node.receive("vote", 2, 5, index=index, log_term=log_term)
    assert node.last("vote-reply")["flags"] == int(granted)


def test_an_old_terms_entry_never_commits_by_counting() -> None:
    """Raft paper, 5.4.2 and figure 8: it commits only with an entry of the leader's term."""
    node = Node(term=2, log=(1, 2))
    term = node.lead()
    node.acknowledge(term, 2)
    assert node.status["commit"] == 0
    node.acknowledge(term, 3)
    assert node.status["commit"] == 3


def test_a_short_late_append_truncates_nothing() -> None:
    """A matching prefix says nothing of what follows it (found in PySyncObj)."""
    node = Node(term=2, log=(1, 1, 1))
    node.receive("append", 2, 2, index=0, log_term=0, records=entry(1, 1))
    assert node.status["last_index"] == 3
    node.receive("append", 2, 2, index=1, log_term=1)
    assert node.status["last_index"] == 3


def test_a_conflict_is_cut_and_replaced() -> None:
    node = Node(term=2, log=(1, 1, 1))
    node.receive("append", 2, 3, index=1, log_term=1, records=entry(2, 3))
    assert node.status["last_index"] == 2
    assert node.replica.raft.log.term(2) == 3
    assert node.last("append-reply")["index"] == 2


def test_a_committed_entry_is_never_cut() -> None:
    node = Node(term=2, log=(1, 1))
    node.receive("append", 2, 2, index=2, log_term=1, commit=2)
    assert node.status["commit"] == 2
    with pytest.raises(InvariantViolation, match="cuts a committed entry"):
        node.receive("append", 3, 3, index=1, log_term=1, records=entry(2, 3))


def test_a_follower_acknowledges_only_what_its_disk_holds() -> None:
    node = Node()
    node.receive("append", 2, 1)
    node.sent.clear()
    node.receive("append", 2, 1, records=entry(1, 1) + entry(2, 1), sync=False)
    assert node.count("append-reply") == 0
    node.poll()
    assert node.last("append-reply")["index"] == 2


def test_a_follower_commits_no_further_than_it_verified() -> None:
    """Entries beyond the ones this leader sent may be somebody else's."""
    node = Node(term=1, log=(1, 1, 1))
    node.receive("heartbeat", 2, 2, commit=3)
    assert node.status["commit"] == 0
    node.receive("append", 2, 2, index=1, log_term=1, commit=3)
    assert node.status["commit"] == 1


def test_a_mismatch_is_answered_with_where_to_look_next() -> None:
    """Raft paper, end of 5.3: the answer skips the whole conflicting term."""
    node = Node(term=4, log=(1, 1, 4, 4, 4))
    node.receive("append", 2, 5, index=5, log_term=3)
    reply = node.last("append-reply")
    assert reply["flags"] == REJECTED
    assert (reply["index"], reply["log_term"]) == (2, 1)


def test_the_leader_finds_the_match_point_and_then_streams() -> None:
    node = Node(term=4, log=(1, 1, 4))
    term = node.lead()
    node.receive("append-reply", 2, term, flags=REJECTED, index=2, log_term=1, commit=3)
    probe = node.last("append")
    assert (probe["index"], probe["log_term"], probe["count"]) == (2, 1, 2)
    node.acknowledge(term, 4)
    assert node.status["peers"][2]["state"] == "stream"


def test_a_refusal_from_before_the_match_is_ignored() -> None:
    node = Node()
    term = node.lead()
    node.acknowledge(term, 1)
    node.receive("append-reply", 2, term, flags=REJECTED, index=0, log_term=0, commit=0)
    assert node.status["peers"][2]["state"] == "stream"


def test_a_lost_acknowledgement_is_repaired_by_the_next_heartbeat() -> None:
    node = Node()
    term = node.lead()
    node.receive("heartbeat-reply", 2, term, index=1, log_term=1, commit=0)
    assert node.status["commit"] == 1


def test_bytes_in_flight_are_bounded() -> None:
    node = Node()
    node.replica = Replica(1, [1, 2, 3], seed=5, now_ns=0, heartbeat_ns=10 * MS,
                           election_ns=100 * MS, max_batch_bytes=1000, max_inflight_bytes=3000)
    for peer in (2, 3):
        node.replica.peer_up(peer, 0)
    node.replica.client_up(1)
    term = node.lead()
    node.acknowledge(term, 1)
    node.request(1, "open-session")
    node.acknowledge(term, 2)
    node.sent.clear()
    for i in range(40):
        node.request(i + 2, "write", value=b"v" * 400, sequence=i + 1)
    sent = sum(len(m["records"]) for to, m in node.sent if to == 2)
    assert 3000 <= sent <= 4000
    before = sent
    node.acknowledge(term, 5)
    assert sum(len(m["records"]) for to, m in node.sent if to == 2) > before


def test_a_read_waits_for_a_majority_to_confirm_the_leader() -> None:
    """Raft thesis, 6.4: a deposed leader must not answer from its own old state."""
    node = Node()
    term = node.lead()
    node.acknowledge(term, 1)
    node.request(7, "read")
    assert node.answers == []
    round_ = node.last("heartbeat")["round"]
    node.receive("heartbeat-reply", 2, term, round=round_ - 1)
    assert node.answers == []
    node.receive("heartbeat-reply", 2, term, round=round_)
    assert node.answers == [(7, "ok", None)]


def test_a_read_that_came_after_a_round_began_waits_for_the_next_round() -> None:
    node = Node()
    term = node.lead()
    node.acknowledge(term, 1)
    node.request(7, "read")
    first = node.last("heartbeat")["round"]
    node.request(8, "read")
    node.receive("heartbeat-reply", 2, term, round=first)
    assert [request for request, *_ in node.answers] == [7]
    node.receive("heartbeat-reply", 2, term, round=node.last("heartbeat")["round"])
    assert [request for request, *_ in node.answers] == [7, 8]


def test_a_new_leader_answers_reads_only_after_its_terms_first_entry_is_applied() -> None:
    node = Node(term=1, log=(1,))
    term = node.lead()
    node.request(7, "read")
    node.receive("heartbeat-reply", 2, term, round=node.last("heartbeat")["round"])
    assert node.answers == []
    node.acknowledge(term, 2)
    assert node.answers == [(7, "ok", None)]


def test_a_deposed_leader_refuses_waiting_reads_and_cannot_tell_of_waiting_writes() -> None:
    node = Node()
    term = node.lead()
    node.acknowledge(term, 1)
    node.request(1, "open-session")
    node.request(2, "read")
    node.receive("heartbeat", 3, term + 1)
    assert sorted((r, s) for r, s, _ in node.answers) == [(1, "unknown"), (2, "not-leader")]


def test_a_leader_without_a_quorum_steps_down() -> None:
    """Raft thesis, 6.2: its clients must look elsewhere."""
    node = Node()
    node.lead()
    for _ in range(30):
        node.time_out()
    assert node.status["role"] != "leader"


def test_a_leader_with_a_quorum_stays() -> None:
    node = Node()
    term = node.lead()
    for _ in range(60):
        node.time_out()
        node.receive("heartbeat-reply", 3, term, round=0)
    assert node.status["role"] == "leader"
    assert node.status["term"] == term


def test_candidates_that_can_not_win_do_not_keep_the_one_that_could_from_its_turn() -> None:
    """Raft paper, 5.2: only a leader's word and a vote that is granted make a node wait anew.
    Found when three nodes of five stayed without a leader for as long as they were cut off."""
    node = Node(term=3, log=(1, 3))
    turn = node.replica.deadline_ns()
    for term, candidate in enumerate((2, 3) * 10, start=4):
        node.now = ELECTION_NS + (turn - ELECTION_NS) * (term - 3) // 21
        node.receive("vote", candidate, term, index=1, log_term=3)
        assert node.last("vote-reply")["flags"] == 0
    assert node.replica.deadline_ns() == turn
    node.time_out()
    assert node.status["role"] == "candidate"


def test_a_vote_that_is_granted_makes_a_node_wait_anew() -> None:
    node = Node(term=3, log=(1, 3))
    node.now = node.replica.deadline_ns() - 1
    node.receive("vote", 2, 4, index=2, log_term=3)
    assert node.replica.deadline_ns() > node.now + 100 * MS - 1


def test_a_deposed_leader_waits_before_it_stands_again() -> None:
    node = Node()
    term = node.lead()
    for _ in range(15):
        node.time_out()
        node.receive("heartbeat-reply", 3, term, round=0)
    node.receive("heartbeat-reply", 2, term + 1)
    assert node.status["role"] == "follower"
    assert node.replica.deadline_ns() >= node.now + ELECTION_NS


# ---- pre-vote and what belongs to it (thesis, 9.6 and 4.2.3) ---------------------------------


def test_who_hears_nobody_asks_first_and_changes_no_term() -> None:
    """Thesis, 9.6: a node that is cut off can't raise terms that would unseat a leader later."""
    node = Node(term=3, log=(3,))
    for _ in range(10):
        node.now = node.replica.deadline_ns()
        node.replica.tick(node.now)
        node.poll()
    assert (node.status["role"], node.status["term"]) == ("pre-candidate", 3)
    assert node.count("pre-vote") == 20
    assert node.count("vote") == 0
    assert node.written == []


def test_an_answer_to_an_older_question_is_no_pre_vote() -> None:
    node = Node(term=3, log=(3,))
    for _ in range(2):
        node.now = node.replica.deadline_ns()
        node.replica.tick(node.now)
        node.poll()
    latest = node.last("pre-vote")["round"]
    node.receive("pre-vote-reply", 2, 3, flags=GRANTED, round=latest - 1)
    assert node.status["role"] == "pre-candidate"
    node.receive("pre-vote-reply", 2, 3, flags=GRANTED, round=latest)
    assert (node.status["role"], node.status["term"]) == ("candidate", 4)


@pytest.mark.parametrize(("term", "index", "log_term", "granted"), [
    (5, 2, 3, True), (4, 2, 3, False), (9, 2, 3, True), (9, 1, 3, False), (5, 9, 2, False)])
def test_a_pre_vote_is_what_the_vote_would_be_and_binds_nobody(
    term: int, index: int, log_term: int, granted: bool
) -> None:
    node = Node(term=5, vote=3, log=(1, 3))
    node.receive("pre-vote", 2, term, index=index, log_term=log_term, round=8)
    answer = node.last("pre-vote-reply")
    assert (answer["flags"], answer["term"], answer["round"]) == (int(granted), 5, 8)
    assert (node.status["term"], node.status["vote"]) == (5, 3)
    assert node.written == []


@pytest.mark.parametrize("kind", ["vote", "pre-vote"])
def test_who_hears_a_leader_votes_for_nobody_else(kind: str) -> None:
    """Thesis, 4.2.3; etcd's check-quorum. Without it a node that can't hear the leader (Cloudflare,
    November 2020: a switch that let some pairs of nodes down) unseats it again and again."""
    node = Node(term=4, log=(4,))
    node.receive("heartbeat", 2, 4)
    node.now += ELECTION_NS - 1
    node.receive(kind, 3, 9, index=9, log_term=9)
    assert (node.status["term"], node.status["leader"]) == (4, 2)
    assert all(m["flags"] == 0 for _, m in node.sent)
    node.now += 1
    node.receive(kind, 3, 9, index=9, log_term=9)
    assert node.last(kind + "-reply")["flags"] == GRANTED


def test_a_leader_grants_nothing_until_it_steps_down_by_itself() -> None:
    node = Node()
    term = node.lead()
    node.now += 5 * ELECTION_NS
    node.receive("pre-vote", 3, term, index=9, log_term=9)
    node.receive("vote", 3, term + 1, index=9, log_term=9)
    assert node.last("pre-vote-reply")["flags"] == 0
    assert (node.status["role"], node.status["term"]) == ("leader", term)


def test_a_restarted_node_does_not_vote_before_an_election_timeout_has_passed() -> None:
    """It may have heard a leader just before: that leader may answer reads by its lease."""
    node = Node(term=4, vote=2, log=(4,))
    node.now = ELECTION_NS - 1
    node.receive("vote", 3, 5, index=1, log_term=4)
    assert (node.status["term"], node.count("vote-reply")) == (4, 0)


def test_a_node_of_a_later_term_comes_back() -> None:
    """etcd-io/etcd#8501: with pre-vote it never asks for votes itself, so the leader's stale
    frames must be answered with the later term, or it stays out for ever."""
    node = Node(term=9, log=(4,))
    node.receive("append", 2, 4, index=1, log_term=4)
    answer = node.last("append-reply")
    assert (answer["term"], answer["flags"]) == (9, REJECTED)


def test_who_asked_for_pre_votes_in_vain_still_knows_what_it_shares_with_its_leader() -> None:
    """Found by simulation: it forgot what was verified, the leader had no reason to verify it
    again, and its commit index stood still for as long as nothing was written."""
    node = Node(term=3)
    node.receive("append", 2, 3, commit=0, records=entry(1, 3))
    node.now = node.replica.deadline_ns()
    node.replica.tick(node.now)
    node.poll()
    assert node.status["role"] == "pre-candidate"
    node.receive("heartbeat", 2, 3, index=1, commit=1)
    assert node.status["commit"] == 1
    assert node.last("heartbeat-reply")["index"] == 1


@pytest.mark.parametrize("flags", [0, FORCED])
def test_a_vote_is_withheld_in_a_nodes_own_term_too(flags: int) -> None:
    """A frame of a later term from anybody brings a node into that term without a leader there;
    what it promised to the leader before still holds. Found by review: a stale read by lease."""
    node = Node(term=4, log=(4,))
    node.receive("heartbeat", 2, 4)
    node.receive("pre-vote-reply", 3, 5)
    assert (node.status["term"], node.status["leader"]) == (5, 0)
    node.receive("vote", 3, 5, index=1, log_term=4, flags=flags)
    assert node.last("vote-reply")["flags"] == flags
    node.now += ELECTION_NS
    node.receive("vote", 3, 5, index=1, log_term=4)
    assert node.last("vote-reply")["flags"] == GRANTED


def test_who_follows_a_leader_votes_for_nobody_else_in_that_term() -> None:
    """It may follow a leader that it did not vote for; a late candidate of the same term can't win
    any more. Found beside etcd's Raft."""
    node = Node(term=4, log=(4,))
    node.receive("heartbeat", 2, 5)
    node.now += 5 * ELECTION_NS
    node.receive("vote", 3, 5, index=1, log_term=4)
    assert node.last("vote-reply")["flags"] == 0


def test_a_pre_candidate_that_gives_its_vote_away_is_no_rival_any_more() -> None:
    node = Node(term=3, log=(3,))
    node.now = node.replica.deadline_ns()
    node.replica.tick(node.now)
    node.poll()
    asked = node.last("pre-vote")["round"]
    node.receive("vote", 2, 4, index=1, log_term=3)
    assert node.last("vote-reply")["flags"] == GRANTED
    node.receive("pre-vote-reply", 3, 3, flags=GRANTED, round=asked)
    assert (node.status["role"], node.status["term"]) == ("follower", 4)


def test_a_stale_leader_is_told_the_newer_term() -> None:
    node = Node(term=7)
    node.receive("heartbeat", 2, 3)
    assert node.last("heartbeat-reply")["term"] == 7
    assert node.status["leader"] == 0


def test_two_leaders_in_one_term_stop_the_node() -> None:
    node = Node()
    node.receive("heartbeat", 2, 3)
    with pytest.raises(InvariantViolation, match="two leaders in one term"):
        node.receive("heartbeat", 3, 3)


def test_a_single_node_leads_alone_and_serves() -> None:
    node = Node(members=1)
    node.time_out()
    assert node.status["role"] == "leader"
    node.request(1, "open-session")
    node.request(2, "write", value=b"v", sequence=1)
    node.request(3, "read")
    assert node.answers == [(1, "ok", None), (2, "ok", None), (3, "ok", b"v")]


def alone() -> Node:
    node = Node(members=1)
    node.time_out()
    node.request(1, "open-session")
    node.answers.clear()
    return node


def test_a_retried_write_is_answered_again_and_applied_once() -> None:
    node = alone()
    node.request(2, "append", value=b"x", sequence=1)
    node.request(3, "append", value=b"x", sequence=1)
    node.request(4, "read")
    assert node.answers[-1] == (4, "ok", b"x")
    assert node.status["duplicates"] == 1


def test_a_retried_failed_cas_gets_its_first_answer() -> None:
    node = alone()
    node.request(2, "write", value=b"a", sequence=1)
    node.request(3, "cas", value=b"c", expected=b"b", sequence=2)
    node.request(4, "write", value=b"b", sequence=1, client=9)
    node.request(5, "cas", value=b"c", expected=b"b", sequence=2)
    assert node.answers[1] == (3, "cas-mismatch", b"a")
    assert node.answers[3] == (5, "cas-mismatch", b"a")


def test_cas_compares_and_tells_what_it_saw() -> None:
    node = alone()
    node.request(2, "cas", value=b"a", sequence=1)
    node.request(3, "cas", value=b"b", sequence=2)
    node.request(4, "cas", value=b"b", expected=b"a", sequence=3)
    node.request(5, "delete", sequence=4)
    node.request(6, "cas", value=b"z", expected=b"b", sequence=5)
    assert [(s, v) for _, s, v in node.answers] == [
        ("ok", None), ("cas-mismatch", b"a"), ("ok", None), ("ok", None), ("cas-mismatch", None)]


def test_an_unknown_session_is_not_served() -> None:
    node = alone()
    node.request(2, "write", value=b"v", sequence=1, client=1234)
    assert node.answers == [(2, "session-lost", None)]


def test_the_session_unused_for_longest_is_forgotten_first() -> None:
    node = Node(members=1)
    node.replica = Replica(1, [1], seed=5, now_ns=0, heartbeat_ns=10 * MS, election_ns=100 * MS,
                           max_sessions=2)
    node.replica.client_up(1)
    node.time_out()
    node.request(1, "open-session", client=1)
    node.request(2, "open-session", client=2)
    node.request(3, "write", client=1, sequence=1)
    node.request(4, "open-session", client=3)
    node.request(5, "write", client=2, sequence=1)
    node.request(6, "write", client=1, sequence=2)
    assert [s for _, s, _ in node.answers] == ["ok"] * 4 + ["session-lost", "ok"]


def test_a_follower_names_the_leader_it_follows() -> None:
    node = Node()
    node.receive("heartbeat", 3, 1)
    node.request(2, "read")
    request, status, value = node.answers[-1]
    assert (request, status) == (2, "not-leader")
    assert int.from_bytes(value or b"", "little") == 3


def test_oversized_keys_and_values_are_refused_before_the_log() -> None:
    node = alone()
    before = node.status["last_index"]
    node.request(2, "write", value=b"v" * ((1 << 20) + 1), sequence=1)
    node.request(3, "write", key=b"k" * 5000, sequence=1)
    assert [s for _, s, _ in node.answers] == ["too-large", "too-large"]
    assert node.status["last_index"] == before


def test_what_a_cas_expects_is_limited_like_any_value() -> None:
    """Unlimited, it made a record too large for a group write and for any frame to a follower."""
    node = alone()
    before = node.status["last_index"]
    node.request(2, "cas", value=b"v", expected=b"e" * ((1 << 20) + 1), sequence=1)
    assert node.answers == [(2, "too-large", None)]
    assert node.status["last_index"] == before


def test_no_request_makes_a_record_that_no_frame_can_carry() -> None:
    node = Node(members=1)
    node.replica = Replica(1, [1], seed=5, now_ns=0, heartbeat_ns=10 * MS, election_ns=100 * MS,
                           max_value_bytes=16 << 20)
    node.replica.client_up(1)
    node.time_out()
    half = (1 << 24) - 40           # together with the request's header: just a frame
    node.request(2, "cas", value=b"v" * half, expected=b"e" * half, sequence=1)
    assert node.answers == [(2, "too-large", None)]


def test_a_batch_must_fit_a_frame() -> None:
    with pytest.raises(ValueError, match="does not fit a frame"):
        Replica(1, [1], seed=5, now_ns=0, heartbeat_ns=MS, election_ns=9 * MS,
                max_batch_bytes=1 << 25)


def test_a_write_without_a_sequence_is_not_taken_for_a_retry() -> None:
    """A fresh session stands at 0: such a write was answered ok and never executed."""
    node = alone()
    node.request(2, "write", value=b"v", sequence=0)
    node.request(3, "read")
    assert node.answers == [(2, "bad-request", None), (3, "ok", None)]


def test_waiting_reads_are_bounded() -> None:
    node = Node()
    node.lead()
    frame = codec.encode_request(7, 0, 0, OPS["read"], b"k")
    node.replica.receive_client(1, frame * ((1 << 16) + 3), node.now)
    node.poll()
    assert node.answers == [(7, "busy", None)] * 3


def test_how_many_sessions_live_is_the_logs_word_and_not_a_members_own() -> None:
    """Members configured differently must forget the same session, or they apply differently."""
    leader = Node(members=1)
    leader.replica = Replica(1, [1], seed=5, now_ns=0, heartbeat_ns=10 * MS,
                             election_ns=100 * MS, max_sessions=2)
    leader.replica.client_up(1)
    leader.time_out()
    for client in (1, 2, 3):
        leader.request(client, "open-session", client=client)
    follower = Node()
    log = b"".join(leader.replica.raft.log.bytes_of(i) for i in range(1, 5))
    follower.receive("append", 2, leader.replica.raft.term, records=log, commit=4)
    assert follower.status["applied"] == leader.status["applied"] == 4
    assert follower.status["sessions"] == leader.status["sessions"] == 2


def test_an_entry_of_a_later_term_than_its_leaders_is_refused() -> None:
    node = Node()
    with pytest.raises(ProtocolError, match="holds entry 1 of term 9"):
        node.receive("append", 2, 3, records=entry(1, 9))
    assert node.status["last_index"] == 0


@pytest.mark.parametrize("size", [16, 24, 71])
def test_a_members_frame_shorter_than_a_message_is_refused_by_its_length(size: int) -> None:
    """Its sender and receiver lie beyond its end and must not be looked at."""
    node = Node()
    frame = bytearray(bytes(10) + b"\xff\xff" + bytes(size - 12))
    frame[0] = size
    frame[10] ^= size
    with pytest.raises(ProtocolError, match=f"frame of {size} bytes: expected at least 72"):
        node.replica.receive_peer(2, bytes(frame), 0)


def test_altered_frames_close_the_connection() -> None:
    node = alone()
    frame = bytearray(codec.encode_request(1, 9, 1, OPS["write"], b"k", b"v"))
    frame[-1] ^= 1
    with pytest.raises(ProtocolError, match="not a sound request"):
        node.replica.receive_client(1, bytes(frame), 0)
    two = Node()
    message = bytearray(codec.encode_message(TYPES["append"], 2, 1, 3, records=entry(1, 1)))
    for at in range(8, len(message)):
        bad = bytes(message[:at]) + bytes([message[at] ^ 4]) + bytes(message[at + 1:])
        with pytest.raises(ProtocolError):
            two.replica.receive_peer(2, bad, 0)
        two.replica.peer_reset(2)
    assert two.status["last_index"] == 0


def test_frames_may_arrive_in_any_pieces() -> None:
    node = Node()
    frames = (codec.encode_message(TYPES["append"], 2, 1, 1, records=entry(1, 1))
              + codec.encode_message(TYPES["append"], 2, 1, 1, index=1, log_term=1,
                                     records=entry(2, 1) + entry(3, 1)))
    for at in range(0, len(frames), 7):
        node.replica.receive_peer(2, frames[at:at + 7], 0)
    node.poll()
    assert node.status["last_index"] == 3


def test_a_truncation_during_a_write_takes_back_its_durability() -> None:
    node = Node()
    node.receive("append", 2, 1, records=entry(1, 1) + entry(2, 1), sync=False)
    node.receive("append", 3, 2, index=0, records=entry(1, 2), sync=False)
    assert node.status["durable_index"] == 0
    node.replica.persisted(1, 0)
    assert node.status["durable_index"] == 0
    node.unsynced = 0
    node.poll()
    assert node.status["durable_index"] == 1
    assert node.last("append-reply")["index"] == 1


def test_a_leader_that_contradicts_itself_stops_the_node() -> None:
    node = Node()
    node.receive("append", 2, 1, records=entry(1, 1))
    node.receive("append", 2, 2, index=0, records=entry(1, 2))
    with pytest.raises(InvariantViolation, match="leader contradicts itself"):
        node.receive("append", 2, 2, index=0, records=entry(1, 1))


# ---- leases (thesis, 6.4.1) ------------------------------------------------------------------

LEASE_NS = ELECTION_NS * 85 // 115     # one clock slow, the other fast, by 15 % each


def holder() -> tuple[Node, int]:
    """A leader with a lease from now on, its first entry committed."""
    node = Node(leases=True)
    term = node.lead()
    node.acknowledge(term, 1)
    node.time_out()
    node.confirm(term)
    return node, term


def test_a_leader_with_a_lease_answers_reads_at_once_until_it_runs_out() -> None:
    """Thesis, 6.4.1, with the drift of clocks: without that bound, a leader whose clock is slow
    reads while the others elect another."""
    node, term = holder()
    sent = node.now
    node.request(1, "read")
    assert node.answers == [(1, "ok", None)]
    node.now = sent + LEASE_NS - 1
    node.request(2, "read")
    assert node.answers[1:] == [(2, "ok", None)]
    node.now = sent + LEASE_NS
    node.request(3, "read")
    assert len(node.answers) == 2
    node.confirm(term)
    assert node.answers[2:] == [(3, "ok", None)]


def test_a_lease_counts_from_the_sending_of_what_was_answered() -> None:
    node, term = holder()
    sent = node.now
    asked = node.last("heartbeat")["round"]
    node.now = sent + LEASE_NS - 1
    node.receive("heartbeat-reply", 3, term, round=asked)
    node.now = sent + LEASE_NS
    node.request(1, "read")
    assert node.answers == []


def test_without_leases_every_read_asks() -> None:
    node = Node()
    term = node.lead()
    node.acknowledge(term, 1)
    node.request(1, "read")
    assert node.answers == []


def test_a_leader_that_asked_another_to_stand_has_no_lease_any_more() -> None:
    """Votes that a transfer forces are given at once, so nobody's silence can be relied on."""
    node, term = holder()
    node.transfer(2)
    node.acknowledge(term, 1)
    assert node.count("timeout-now") == 1
    node.request(1, "read")
    assert node.answers == []
    node.confirm(term)
    assert node.answers == [(1, "ok", None)]


# ---- reads at followers (thesis, 6.4) ---------------------------------------------------------


def test_a_follower_answers_a_read_once_it_applied_what_the_leader_says() -> None:
    node = Node(term=4)
    node.receive("heartbeat", 2, 4)
    node.request(1, "read", any_node=True)
    asked = node.last("read-index")
    node.receive("read-index-reply", 2, 4, round=asked["round"], index=1)
    assert node.answers == []
    node.receive("append", 2, 4, commit=1, records=entry(1, 4))
    assert node.answers == [(1, "ok", None)]


def test_a_read_never_joins_a_question_that_was_asked_before_it_came() -> None:
    """The leader's answer may be older than a write that the reader saw acknowledged."""
    node = Node(term=4)
    node.receive("heartbeat", 2, 4)
    node.request(1, "read", any_node=True)
    first = node.last("read-index")["round"]
    node.request(2, "read", any_node=True)
    assert node.count("read-index") == 1
    node.receive("read-index-reply", 2, 4, round=first, index=0)
    assert node.answers == [(1, "ok", None)]
    second = node.last("read-index")["round"]
    assert second > first
    node.receive("read-index-reply", 2, 4, round=second, index=0)
    assert node.answers[1:] == [(2, "ok", None)]


def test_a_restarted_follower_takes_no_answer_to_what_it_asked_before() -> None:
    before, after = Node(term=4), Node(term=4)
    after.replica = Replica(1, range(1, 4), seed=6, now_ns=0, heartbeat_ns=10 * MS,
                            election_ns=ELECTION_NS)
    after.replica.restore(4, 0, b"")
    after.replica.peer_up(2, 0)
    after.replica.client_up(1)
    for node in (before, after):
        node.receive("heartbeat", 2, 4)
        node.request(1, "read", any_node=True)
    old = before.last("read-index")["round"]
    assert old != after.last("read-index")["round"]
    after.receive("read-index-reply", 2, 4, round=old, index=0)
    assert after.answers == []


def test_a_lost_question_is_asked_again_and_a_lost_leader_sends_the_reader_away() -> None:
    node = Node(term=4)
    node.receive("heartbeat", 2, 4)
    node.request(1, "read", any_node=True)
    asked = node.last("read-index")["round"]
    node.now += ELECTION_NS // 2
    node.receive("heartbeat", 2, 4)
    node.now += ELECTION_NS // 2
    node.receive("heartbeat", 2, 4)
    assert (node.count("read-index"), node.last("read-index")["round"]) == (2, asked)
    node.receive("heartbeat", 3, 5)
    assert [answer[:2] for answer in node.answers] == [(1, "not-leader")]


def test_a_leader_answers_a_follower_after_a_round_that_began_later() -> None:
    node = Node()
    term = node.lead()
    node.acknowledge(term, 1)
    node.receive("read-index", 3, term, round=77)
    assert node.count("read-index-reply") == 0
    node.confirm(term)
    answer = node.last("read-index-reply")
    assert (answer["round"], answer["index"], answer["receiver"]) == (77, 1, 3)


# ---- leadership transfer (thesis, 3.10) ------------------------------------------------------


def test_a_transfer_waits_for_the_other_log_and_takes_no_writes_meanwhile() -> None:
    node = Node()
    term = node.lead()
    assert node.transfer(2)
    assert node.count("timeout-now") == 0
    node.request(1, "write", sequence=1)
    assert [answer[:2] for answer in node.answers] == [(1, "busy")]
    node.acknowledge(term, 1)
    assert node.last("timeout-now")["receiver"] == 2
    node.receive("vote", 2, term + 1, index=1, log_term=term, flags=FORCED)
    assert node.status["role"] == "follower"
    assert node.last("vote-reply")["flags"] == GRANTED


def test_a_transfer_that_comes_to_nothing_ends_after_an_election_timeout() -> None:
    node = Node()
    term = node.lead()
    began = node.now
    node.transfer(2)
    while node.now < began + ELECTION_NS:
        node.time_out()
        node.receive("heartbeat-reply", 3, term, round=node.last("heartbeat")["round"])
    node.request(1, "write", sequence=1)
    assert node.answers == []
    node.acknowledge(term, 2)
    assert [answer[:2] for answer in node.answers] == [(1, "session-lost")]


def test_who_is_not_connected_is_told_when_it_comes_back() -> None:
    node = Node()
    term = node.lead()
    node.acknowledge(term, 1)
    node.replica.peer_down(2, node.now)
    assert node.transfer(2)
    assert node.count("timeout-now") == 0
    node.replica.peer_up(2, node.now)
    node.poll()
    assert node.count("timeout-now") == 1


@pytest.mark.parametrize("target", [1, 9])
def test_a_transfer_to_oneself_or_a_stranger_is_refused(target: int) -> None:
    node = Node()
    node.lead()
    assert not node.transfer(target)
    node.request(1, "write", sequence=1)
    assert node.answers == []


def test_who_is_told_to_stand_does_so_at_once_and_is_voted_for_though_a_leader_lives() -> None:
    node = Node(term=4, log=(4,))
    node.receive("heartbeat", 2, 4, index=1)
    node.receive("timeout-now", 2, 4)
    assert (node.status["role"], node.status["term"]) == ("candidate", 5)
    assert node.last("vote")["flags"] == FORCED
    other = Node(term=4, log=(4,))
    other.receive("heartbeat", 2, 4, index=1)
    other.receive("vote", 3, 5, index=1, log_term=4, flags=FORCED)
    assert other.last("vote-reply")["flags"] == GRANTED


# ---- disks that stand still ------------------------------------------------------------------


def test_a_leader_whose_disk_is_slower_than_the_election_timeout_steps_down() -> None:
    node = Node()
    term = node.lead()
    node.acknowledge(term, 1)
    node.request(1, "write", sequence=1, sync=False)
    began = node.now
    while node.status["role"] == "leader":
        assert node.now <= began + 2 * ELECTION_NS
        node.now = node.replica.deadline_ns()
        node.replica.tick(node.now)
        node.poll(sync=False)
        node.receive("heartbeat-reply", 3, term, round=node.last("heartbeat")["round"], sync=False)
    node.now = node.replica.deadline_ns()
    node.replica.tick(node.now)
    node.poll(sync=False)
    assert node.status["role"] == "follower"    # and it does not stand while the disk is stuck
    node.poll()
    node.time_out()
    assert node.status["role"] == "candidate"


def test_a_leader_that_was_not_heard_of_for_long_is_none_whose_disk_stands_still() -> None:
    """Found beside etcd's Raft: the first APPEND after a long silence was kept, but its sender was
    not followed."""
    node = Node(term=4)
    node.receive("append", 2, 4, records=entry(1, 4))
    node.now += 10 * ELECTION_NS
    node.replica.tick(node.now)
    node.poll()
    node.receive("append", 2, 4, index=1, log_term=4, records=entry(2, 4))
    assert (node.status["role"], node.status["leader"]) == ("follower", 2)
    assert node.last("append-reply")["index"] == 2


def test_followers_leave_a_leader_whose_disk_gets_nowhere() -> None:
    """The leader's heartbeats tell what its own disk holds. One that does not see that its writes
    are stuck would lead for ever, from memory only."""
    node = Node(term=4)
    node.receive("append", 2, 4, records=entry(1, 4))
    began = node.now
    while node.now < began + 3 * ELECTION_NS:
        node.now += 10 * MS
        node.receive("heartbeat", 2, 4, index=1, log_term=0)
    turn = node.replica.deadline_ns()
    node.receive("heartbeat", 2, 4, index=1, log_term=0, round=7)
    assert node.replica.deadline_ns() == turn
    assert node.last("heartbeat-reply")["round"] == 0       # nor does it confirm any lease
    node.time_out()
    assert node.status["role"] == "candidate"
    other = Node(term=4)
    other.receive("append", 2, 4, records=entry(1, 4))
    for _ in range(31):
        other.now += 10 * MS
        other.receive("heartbeat", 2, 4, index=1, log_term=0)
    other.now = other.replica.deadline_ns()
    other.replica.tick(other.now)
    other.poll()
    other.receive("heartbeat", 2, 4, index=1, log_term=0)
    assert other.status["role"] == "pre-candidate"          # it goes on asking the others
    other.receive("heartbeat", 2, 4, index=1, log_term=1)
    assert other.status["role"] == "follower"
