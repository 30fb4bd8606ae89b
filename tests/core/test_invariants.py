"""The checker of a cluster sees every property broken, and is silent where it is only close.

Replicas are driven by hand-made frames, as if by members with the bug in question; what no frame
can bring about is written into their memory.
"""
from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

import pytest

from seatrial.core import codec
from seatrial.core.errors import InvariantViolation, ProtocolError
from seatrial.core.invariants import AskedDurability, ClusterInvariants
from seatrial.core.log import Log
from seatrial.core.replica import Replica
from seatrial.harness.rng import Rng

from . import chaos, cluster

MS = 1_000_000
TYPES = {name: number for number, name in codec.MESSAGE_TYPES.items()}
GRANTED = FORCED = 1
CASES = int(os.environ.get("SEATRIAL_RAFT_SEEDS", "60")) * 50
FOLLOWER, LEADER, PRE_CANDIDATE = 0, 2, 3


def entries(*terms: int, first: int = 1, payload: bytes = b"") -> bytes:
    """Entries from index ``first`` on, of these terms."""
    return b"".join(codec.encode_record(i, term, 0, payload, rindex=i, epoch=1 << 16,
                                         rterm=term)
                    for i, term in enumerate(terms, start=first))


def overwrite(owner: object, name: str, value: int) -> None:
    """Change a number in a compiled object's memory: find the word that ``name`` shows."""
    size = ctypes.sizeof(ctypes.c_uint32)
    words = (ctypes.c_uint32 * (type(owner).__basicsize__ // size)).from_address(id(owner))
    for i in range(object.__basicsize__ // size, len(words)):
        before = words[i]
        if before == getattr(owner, name):
            words[i] = value
            if getattr(owner, name) == value:
                return
            words[i] = before
    raise AssertionError(f"{type(owner).__name__}.{name} was not found in its memory")


class Group:
    """Three replicas whose network, disks and clocks are the test's own hands."""

    def __init__(self, size: int = 3) -> None:
        self.size = size
        self.now = 0
        self.disks: dict[int, list[int]] = {node: [] for node in range(1, size + 1)}
        self.invariants = ClusterInvariants(AskedDurability(self.term_on_disk))
        self.replicas: dict[int, Replica] = {}
        self.pre_rounds: dict[int, int] = {}
        for node in self.disks:
            self.start(node)

    def term_on_disk(self, node: int, index: int) -> int:
        terms = self.disks[node]
        return terms[index - 1] if index <= len(terms) else 0

    def start(self, node: int, *, term: int = 0, vote: int = 0, log: bytes = b"", first: int = 1,
              base_term: int = 0) -> None:
        """Begin the process anew, with what its disk is said to hold."""
        replica = Replica(node, range(1, self.size + 1), seed=node, now_ns=self.now,
                          heartbeat_ns=10 * MS, election_ns=100 * MS)
        replica.restore(max(term, base_term), vote, log, first=first, base_term=base_term)
        for peer in self.disks:
            if peer != node:
                replica.peer_up(peer, self.now)
        self.replicas[node] = replica
        self.settle(node)

    def settle(self, node: int, *, sync: bool = True) -> None:
        """Poll; with ``sync`` the disk is immediate."""
        replica = self.replicas[node]
        replica.poll(self.now)
        while sync and (write := replica.take_persist()) is not None:
            replica.persisted(write[0], self.now)
            replica.poll(self.now)
        for _, _, data in replica.take_output():
            for frame in map(codec.decode_message, codec.split_frames(bytearray(data))):
                if frame["type"] == "pre-vote":
                    self.pre_rounds[node] = frame["round"]
        if sync:
            log = replica.raft.log
            self.disks[node] = [log.term(i) for i in range(1, log.last_index + 1)]

    def receive(self, node: int, kind: str, sender: int, term: int, *, sync: bool = True,
                **fields: Any) -> None:
        frame = codec.encode_message(TYPES[kind], sender, node, term, **fields)
        self.replicas[node].receive_peer(sender, frame, self.now)
        self.settle(node, sync=sync)

    def time_out(self, node: int) -> None:
        self.now = max(self.now, self.replicas[node].deadline_ns())
        self.replicas[node].tick(self.now)
        self.settle(node)
        raft = self.replicas[node].raft
        for peer in [peer for peer in self.disks if peer != node]:
            if raft.role == PRE_CANDIDATE:
                self.receive(node, "pre-vote-reply", peer, raft.term, flags=GRANTED,
                             round=self.pre_rounds[node])

    def lead(self, node: int, *voters: int, term: int) -> None:
        """Make a node win the election of ``term`` by these nodes' votes."""
        raft = self.replicas[node].raft
        if raft.term < term - 1:
            self.receive(node, "heartbeat-reply", voters[0], term - 1)
        while raft.role == LEADER or raft.term < term:
            self.time_out(node)
        for voter in voters:
            with suppress(InvariantViolation):      # of one vote a term
                self.invariants.granted(voter, term, node)
            self.receive(node, "vote-reply", voter, term, flags=GRANTED)
        assert (raft.role, raft.term) == (LEADER, term)

    def check(self) -> None:
        self.invariants.check(list(self.replicas.values()))

    def broken(self) -> str:
        """Check, and return what is found to be broken."""
        with pytest.raises(InvariantViolation) as caught:
            self.check()
        return str(caught.value)


# ---- elections ---------------------------------------------------------------------------


def test_election_safety_two_leaders_of_a_term_are_found() -> None:
    group = Group()
    group.lead(1, 3, term=1)
    group.check()
    group.lead(2, 3, term=1)
    assert group.broken() == "election safety: nodes 1 and 2 both lead term 1"


def test_election_safety_remembers_a_leader_that_is_gone() -> None:
    group = Group()
    group.lead(1, 3, term=1)
    group.check()
    del group.replicas[1]
    group.check()
    group.lead(2, 3, term=1)
    assert group.broken().startswith("election safety")


def test_election_safety_a_leader_by_the_votes_of_a_minority_is_found() -> None:
    """As one whom a vote of an earlier term, or the same vote twice, brought to lead."""
    group = Group()
    group.invariants.granted(2, 1, 1)
    group.time_out(1)
    group.time_out(1)
    group.receive(1, "vote-reply", 2, 2, flags=GRANTED)
    assert group.replicas[1].raft.role == LEADER
    assert group.broken() == (
        "election by majority: node 1 leads term 2 by the votes of nodes [1]; its configuration "
        "is voters=(1 2 3)")


def test_election_safety_leaders_of_two_terms_at_once_are_legal() -> None:
    group = Group()
    group.lead(1, 2, term=1)
    group.check()
    group.lead(2, 3, term=2)
    group.check()
    assert group.invariants.terms_led == 2


def test_one_vote_a_term_a_second_vote_that_is_said_is_found() -> None:
    group = Group()
    group.invariants.granted(1, 5, 2)
    with pytest.raises(InvariantViolation, match="one vote a term: node 1 votes for nodes 2 "
                                                 "and 3 in term 5"):
        group.invariants.granted(1, 5, 3)


def test_one_vote_a_term_the_same_vote_again_and_other_terms_are_legal() -> None:
    invariants = ClusterInvariants()
    for vote in ((1, 5, 2), (1, 5, 2), (1, 6, 3), (1, 4, 3), (2, 5, 3)):
        invariants.granted(*vote)


@pytest.mark.parametrize(("vote", "found"), [(0, "then forgot it"), (3, "then voted for node 3")])
def test_one_vote_a_term_a_durable_vote_that_a_restart_forgets_is_found(vote: int,
                                                                        found: str) -> None:
    group = Group()
    group.receive(1, "vote", 2, 4, flags=FORCED)
    group.check()
    group.start(1, term=4, vote=vote)
    assert group.broken() == f"one vote a term: node 1 voted for node 2 in term 4, {found}"


def test_one_vote_a_term_a_node_that_changes_its_mind_is_found() -> None:
    group = Group()
    group.receive(1, "vote", 2, 4, flags=FORCED)
    group.check()
    overwrite(group.replicas[1].raft, "vote", 3)
    assert group.broken().startswith("one vote a term: node 1")


def test_one_vote_a_term_a_vote_that_was_not_durable_may_be_forgotten() -> None:
    group = Group()
    group.receive(1, "vote", 2, 4, flags=FORCED, sync=False)
    group.check()
    group.start(1)
    group.receive(1, "vote", 3, 4, flags=FORCED)
    group.check()


def test_one_vote_a_term_but_not_if_it_was_said() -> None:
    group = Group()
    group.receive(1, "vote", 2, 4, flags=FORCED, sync=False)
    group.check()
    group.invariants.granted(1, 4, 2)
    group.start(1)
    group.receive(1, "vote", 3, 4, flags=FORCED)
    assert group.broken() == "one vote a term: node 1 votes for nodes 2 and 3 in term 4"


def test_a_disk_that_lost_what_was_synced_does_not_bind_its_node() -> None:
    group = Group()
    group.receive(1, "vote", 2, 4, flags=FORCED)
    group.check()
    group.invariants.crashed(1, forgets=True)
    group.start(1)
    group.receive(1, "vote", 3, 4, flags=FORCED)
    group.check()


def test_terms_only_grow_a_durable_term_that_a_restart_forgets_is_found() -> None:
    group = Group()
    group.receive(1, "heartbeat", 2, 4)
    group.check()
    group.start(1, term=3)
    assert group.broken() == "terms only grow: node 1 went from term 4 back to 3"


def test_terms_only_grow_while_a_node_runs() -> None:
    group = Group()
    group.receive(1, "heartbeat", 2, 404)
    group.check()
    overwrite(group.replicas[1].raft, "term", 403)
    assert group.broken().startswith("terms only grow: node 1")


def test_terms_only_grow_one_that_was_not_durable_may_be_forgotten() -> None:
    group = Group()
    group.receive(1, "heartbeat", 2, 4, sync=False)
    group.check()
    group.start(1, term=3)
    group.check()


# ---- logs --------------------------------------------------------------------------------


def test_log_matching_different_entries_of_an_index_and_term_are_found() -> None:
    group = Group()
    group.start(1, term=2, log=entries(1, 2))
    group.start(2, term=2, log=entries(1) + entries(2, first=2, payload=b"other"))
    assert group.broken() == "log matching: nodes 1 and 2 hold different entries 2 of term 2"


def test_log_matching_different_predecessors_are_found() -> None:
    group = Group()
    group.start(1, term=3, log=entries(1, 1, 3))
    group.start(2, term=3, log=entries(1, 2, 3))
    assert group.broken() == ("log matching: entry 3 of term 3 follows one of term 1 on node 1, "
                              "one of term 2 on node 2")


def test_log_matching_remembers_a_log_that_is_gone() -> None:
    group = Group()
    group.receive(1, "append", 2, 2, records=entries(1, 1, 2))
    group.check()
    group.receive(1, "append", 3, 3, index=1, log_term=1, records=entries(3, first=2))
    group.check()
    group.start(3, term=2, log=entries(1, 2, 2))
    assert group.broken().startswith("log matching: entry 3 of term 2")


def test_log_matching_an_end_that_was_replaced_within_one_step_is_looked_at() -> None:
    group = Group()
    group.start(1, term=3, log=entries(1, 2, 3))
    group.start(2, term=2, log=entries(1, 1, 1))
    group.check()
    group.receive(2, "append", 3, 3, index=1, log_term=1, records=entries(1, 3, first=2))
    assert group.replicas[2].raft.log.last_index == 3
    assert group.broken().startswith("log matching: entry 3 of term 3")


def test_log_matching_ends_of_different_terms_are_legal() -> None:
    group = Group()
    group.start(1, term=4, log=entries(1, 1, 2, 2))
    group.start(2, term=4, log=entries(1, 1, 3))
    group.start(3, term=4, log=entries(1, 1, 4, 4))
    group.check()
    group.receive(2, "append", 3, 4, index=2, log_term=1, records=entries(4, 4, first=3))
    group.receive(1, "append", 3, 4, index=2, log_term=1, records=entries(4, first=3))
    group.check()


def test_leader_append_only_a_leader_that_cuts_its_log_is_found() -> None:
    """It resigns, and believes another that claims to lead the very same term."""
    group = Group()
    group.lead(1, 2, term=2)
    group.check()
    while group.replicas[1].raft.role == LEADER:
        group.time_out(1)
    group.receive(1, "append", 3, 2, records=entries(1))
    assert group.broken() == "leader append-only: node 1, leader of term 2, cut entries 1 to 1"


def test_leader_append_only_a_deposed_leader_may_be_cut() -> None:
    group = Group()
    group.lead(1, 2, term=1)
    group.check()
    group.receive(1, "append", 2, 2, records=entries(2, 2))
    group.check()
    assert group.replicas[1].raft.conflicts == 1


# ---- what is committed -------------------------------------------------------------------


def test_state_machine_safety_two_entries_committed_at_an_index_are_found() -> None:
    group = Group()
    for node in (1, 2):
        group.receive(node, "append", 3, 1, records=entries(1, 1))
    group.receive(1, "append", 3, 1, index=2, log_term=1, commit=2)
    group.check()
    group.receive(2, "append", 3, 3, index=1, log_term=1, records=entries(3, first=2), commit=2)
    assert group.broken() == ("state machine safety: node 2 commits entry 2 of term 3, another "
                              "node committed one of term 1")


def test_state_machine_safety_remembers_what_was_committed_when_all_have_restarted() -> None:
    group = Group()
    for node in (1, 2):
        group.receive(node, "append", 3, 1, records=entries(1))
    group.receive(1, "append", 3, 1, index=1, log_term=1, commit=1)
    group.check()
    for node in (1, 2, 3):
        group.start(node, term=1)
    group.check()
    group.receive(3, "append", 2, 2, records=entries(2), commit=1)
    assert group.broken().startswith("state machine safety: node 3 commits entry 1 of term 2")


def test_state_machine_safety_a_different_entry_that_is_not_committed_is_legal() -> None:
    group = Group()
    for node in (1, 2):
        group.receive(node, "append", 3, 1, records=entries(1, 1))
    group.receive(1, "append", 3, 1, index=1, log_term=1, commit=1)
    group.check()
    group.receive(2, "append", 3, 3, index=1, log_term=1, records=entries(3, first=2), commit=1)
    group.check()
    assert group.invariants.committed_count == 1


def test_state_machine_safety_a_node_that_cuts_what_it_committed_is_found() -> None:
    group = Group()
    for node in (1, 2):
        group.receive(node, "append", 3, 1, records=entries(*[1] * 9))
        group.receive(node, "append", 3, 1, index=9, log_term=1, commit=9)
    group.check()
    raft = group.replicas[2].raft
    overwrite(raft, "commit", 7)
    group.receive(2, "append", 3, 2, index=7, log_term=1, records=entries(2, 2, first=8))
    overwrite(raft, "commit", 9)
    assert group.broken() == ("state machine safety: node 2 cut its log after entry 7 in term 2, "
                              "though it had committed up to 9")


def test_commit_only_grows_while_a_node_runs() -> None:
    group = Group()
    for node in (1, 2):
        group.receive(node, "append", 3, 1, records=entries(*[1] * 9))
    group.receive(1, "append", 3, 1, index=9, log_term=1, commit=9)
    group.check()
    overwrite(group.replicas[1].raft, "commit", 8)
    assert group.broken() == ("commit only grows: node 1 went from commit 9, applied 9 back to "
                              "commit 8, applied 9")


def test_commit_only_grows_but_a_restarted_node_learns_it_anew() -> None:
    group = Group()
    for node in (1, 2):
        group.receive(node, "append", 3, 1, records=entries(*[1] * 9))
    group.receive(1, "append", 3, 1, index=9, log_term=1, commit=9)
    group.check()
    group.start(1, term=1, log=entries(*[1] * 9))
    group.check()
    group.receive(1, "append", 3, 1, index=9, log_term=1, commit=4)
    group.check()
    assert group.replicas[1].raft.commit == 4


@pytest.mark.parametrize(("owner", "name"), [("raft", "commit"), ("kv", "applied")])
def test_applied_is_never_beyond_commit_nor_commit_beyond_the_log(owner: str, name: str) -> None:
    group = Group()
    for node in (1, 2):
        group.receive(node, "append", 3, 1, records=entries(*[1] * 9))
    group.receive(1, "append", 3, 1, index=9, log_term=1, commit=7)
    group.check()
    overwrite(getattr(group.replicas[1], owner), name, 10)
    assert group.broken().startswith("applied <= commit <= last: node 1")


def test_equal_states_two_nodes_that_applied_the_same_to_another_end_are_found() -> None:
    group = Group()
    for node in (1, 2):
        group.receive(node, "append", 3, 1, records=entries(*[1] * 9))
    group.receive(1, "append", 3, 1, index=9, log_term=1, commit=7)
    group.check()
    overwrite(group.replicas[2].kv, "log_time_ns", 5)
    group.receive(2, "append", 3, 1, index=9, log_term=1, commit=6)
    group.check()                   # nobody's state after this one is known
    group.receive(2, "append", 3, 1, index=9, log_term=1, commit=7)
    hashes = [group.replicas[node].kv.hash() for node in (2, 1)]
    assert group.broken() == (
        f"equal states: after entry 7 node 2's state hashes to {hashes[0]:016x}, node 1's to "
        f"{hashes[1]:016x}")


def test_equal_states_a_state_that_is_gone_is_remembered() -> None:
    group = Group()
    for node in (1, 2):
        group.receive(node, "append", 3, 1, records=entries(*[1] * 9))
    group.receive(1, "append", 3, 1, index=9, log_term=1, commit=9)
    group.check()
    group.start(1, term=1, log=entries(*[1] * 9))
    group.check()
    overwrite(group.replicas[1].kv, "log_time_ns", 5)
    group.receive(1, "append", 3, 1, index=9, log_term=1, commit=9)
    assert group.broken().startswith("equal states: after entry 9 node 1's state")


def test_commit_by_counting_of_an_older_terms_entry_is_found() -> None:
    """Raft paper, figure 8: a majority holds it, and yet a later leader may not."""
    group = Group()
    group.receive(2, "append", 3, 1, records=entries(1, 1))
    group.start(1, term=1, log=entries(1, 1))
    group.lead(1, 2, term=2)
    group.check()
    overwrite(group.replicas[1].raft, "commit", 2)
    assert group.broken() == ("commit by counting: node 1, leader of term 2, committed entry 2 "
                              "of term 1 without one of its own")


def committed_by_node_1(group: Group) -> None:
    """Node 1 leads term 1, and commits its no-op with node 2; node 3 never hears of it."""
    group.lead(1, 2, term=1)
    group.receive(2, "append", 1, 1, records=group.replicas[1].raft.log.bytes_of(1))
    group.receive(1, "append-reply", 2, 1, index=1)
    assert group.replicas[1].raft.commit == 1


def test_leader_completeness_a_leader_without_a_committed_entry_is_found() -> None:
    group = Group()
    committed_by_node_1(group)
    group.check()
    group.lead(3, 2, term=2)
    assert group.broken() == ("leader completeness: node 3 leads term 2 without entry 1 of term "
                              "1, committed in term 1; its log differs from entry 1 on")


def test_leader_completeness_holds_of_leaders_when_an_earlier_term_commits() -> None:
    group = Group()
    group.lead(3, 2, term=2)
    group.check()
    committed_by_node_1(group)
    assert group.broken().startswith("leader completeness: node 3 leads term 2 without entry 1")


def test_leader_completeness_a_leader_may_lack_what_was_not_committed() -> None:
    group = Group()
    group.lead(1, 2, term=1)
    group.receive(2, "append", 1, 1, records=group.replicas[1].raft.log.bytes_of(1))
    group.check()
    group.lead(3, 2, term=2)
    group.check()


def test_leader_completeness_an_old_leader_may_lack_what_a_later_one_commits() -> None:
    group = Group()
    group.lead(3, 2, term=1)
    group.check()
    group.lead(1, 2, term=2)
    group.receive(2, "append", 1, 2, records=group.replicas[1].raft.log.bytes_of(1))
    group.receive(1, "append-reply", 2, 2, index=1)
    group.check()
    assert group.invariants.committed_count == 1
    assert group.replicas[3].raft.role == LEADER


# ---- disks -------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [[], [7]])
def test_durability_an_entry_committed_on_a_minority_of_disks_is_found(held: list[int]) -> None:
    group = Group()
    committed_by_node_1(group)
    group.disks[2] = held           # it answered before its disk did
    assert group.broken() == ("durability: committed entry 1 of term 1 is on the disks of nodes "
                              "[1] only, of [1, 2, 3]")


def test_durability_a_majority_is_enough() -> None:
    group = Group()
    committed_by_node_1(group)
    assert group.disks == {1: [1], 2: [1], 3: []}
    group.check()


def test_durability_disks_that_lose_a_committed_entry_are_found() -> None:
    group = Group()
    committed_by_node_1(group)
    group.receive(3, "append", 1, 1, records=group.replicas[1].raft.log.bytes_of(1))
    group.invariants.disk_shrank()
    group.check()
    group.disks[2].clear()
    group.invariants.disk_shrank()
    group.disks[1].clear()
    with pytest.raises(InvariantViolation, match=r"durability: .*nodes \[3\] only"):
        group.invariants.disk_shrank()


# ---- use ---------------------------------------------------------------------------------


def test_a_replica_belongs_to_one_checker() -> None:
    group = Group()
    group.receive(1, "append", 2, 1, records=entries(1))
    group.check()
    other = ClusterInvariants()
    other.check([group.replicas[1]])
    group.receive(1, "append", 2, 1, index=1, log_term=1, records=entries(1, first=2))
    other.check([group.replicas[1]])
    assert group.broken().startswith("invariants: another checker looks at this replica")


# ---- against the definitions -------------------------------------------------------------


class Twins(ClusterInvariants):
    """Both ways to check, side by side, of what both check: not of disks."""

    caught: ClassVar[list[tuple[str, str]]] = []    # (incremental, whole) as they were raised

    def __new__(cls, _durability: object = None) -> Twins:
        return super().__new__(cls)

    def check(self, replicas: list[Replica]) -> None:
        quick = violation(super().check, replicas)
        whole = violation(self.check_whole, replicas)
        if quick or whole:
            self.caught.append((quick, whole))
            raise InvariantViolation(quick or whole)


def violation(check: Callable[[list[Replica]], None], replicas: list[Replica]) -> str:
    try:
        check(replicas)
    except InvariantViolation as found:
        return str(found)
    return ""


@pytest.fixture
def caught(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What the twins find in clusters; filled as these run."""
    monkeypatch.setattr(cluster, "ClusterInvariants", Twins)
    monkeypatch.setattr(Twins, "caught", [])
    return Twins.caught


@pytest.mark.randomised
def test_both_checks_are_silent_on_random_clusters(caught: list[tuple[str, str]]) -> None:
    for seed in range(100, 104):
        chaos.chaos(seed, nodes=3 + 2 * (seed % 2), virtual_ms=3000)
    assert caught == []


class Anarchy(Group):
    """Members that say anything: short logs and few terms, so that lies contradict each other."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.rng = Rng(seed)
        self.invariants = Twins()

    def step(self) -> None:
        node = 1 + self.rng.below(self.size)
        others = [peer for peer in self.disks if peer != node]
        raft = self.replicas[node].raft
        draw = self.rng.below(10)
        if draw < 2:
            kept = [raft.log.bytes_of(i + 1) for i in range(self.rng.below(len(raft.log) + 1))]
            self.start(node, term=raft.term, vote=raft.vote, log=b"".join(kept))
        elif draw < 4:
            self.lead(node, self.rng.choice(others), term=raft.term + 1)
        elif draw < 6 and raft.role == LEADER:
            self.receive(node, "append-reply", self.rng.choice(others), raft.term,
                         index=1 + self.rng.below(raft.log.last_index))
        else:
            term = max(1, raft.term + self.rng.below(2))
            self.receive(node, "append", self.rng.choice(others), term,
                         **self.entries_of(term, raft.log))

    def entries_of(self, leader_term: int, log: Log) -> dict[str, Any]:
        """What follows some entry of ``log``, if one believes a leader of this term."""
        index = self.rng.below(log.last_index + 1)
        terms = [log.term(index)]
        for _ in range(self.rng.below(3)):
            terms.append(min(max(1, terms[-1] + self.rng.below(2)), leader_term))
        payload = b"other" if self.rng.below(100) == 0 else b""
        return {"index": index, "log_term": terms[0], "commit": self.rng.below(index + 2),
                "records": entries(*terms[1:], first=index + 1, payload=payload)}


@pytest.mark.randomised
def test_what_the_whole_check_finds_the_incremental_one_finds_before_it_or_with_it(
        caught: list[tuple[str, str]]) -> None:
    """In random lies; a case also ends when a node sees through them."""
    for seed in range(CASES):
        group = Anarchy(seed)
        with suppress(InvariantViolation, ProtocolError):
            for _ in range(30):
                group.step()
                group.check()
    kinds = {(quick.partition(":")[0], whole.partition(":")[0]) for quick, whole in caught}
    assert {quick for quick, _ in kinds} == {
        "one vote a term", "election safety", "log matching", "state machine safety",
        "leader completeness"}
    assert all(quick in (whole, "log matching", "one vote a term") for quick, whole in kinds), kinds
