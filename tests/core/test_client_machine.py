"""The client's machine against a script: whom it asks, when again, and what each end means."""
from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise

import pytest

from seatrial.core.client_machine import (
    DEAD_NS,
    LEARN_NS,
    MS,
    PING_NS,
    REDIAL_NS,
    RETRY_NS,
    Answer,
    ClientMachine,
    Close,
    Connect,
    Done,
    Learn,
    Send,
)
from seatrial.core.codec import OPS, decode_request, encode_response
from seatrial.core.errors import (
    CasMismatch,
    NotLeader,
    OperationError,
    Refused,
    SessionLost,
    Unknown,
)
from seatrial.harness.rng import Rng

OK, CAS_MISMATCH, NOT_LEADER, SESSION_LOST, BAD_REQUEST, TOO_LARGE, BUSY, UNKNOWN = range(8)
NAMES = {number: name for name, number in OPS.items()}
FAR = 10_000 * MS


class Asked:
    """A request that the machine sent."""

    def __init__(self, node: int, frame: bytes) -> None:
        self.node = node
        (self.request, self.client, self.sequence, op, self.key, self.value,
         self.expected) = decode_request(frame)
        self.op = NAMES[op]


class Script:
    """Plays the network and the clock around a machine."""

    def __init__(self, nodes: int = 3, *, prefer: int = 1) -> None:
        ids: Iterator[int] = iter(range(1001, 2000))
        self.now = 1
        self.machine = ClientMachine(range(1, nodes + 1), lambda: next(ids), prefer=prefer)
        self.ended: dict[int, Answer | OperationError] = {}
        self.dialled: list[int] = []
        self.closed: list[int] = []
        self.asked_for_members: list[int] = []

    def start(
        self, kind: str, *, limit_ms: int = 10_000, node: int = 0, any_node: bool = False
    ) -> int:
        return self.machine.start(
            self.now, kind, self.now + limit_ms * MS, b"k", b"v", b"old", node=node,
            any_node=any_node)

    def effects(self) -> list[Asked]:
        """Take effects: return what was asked, note the rest."""
        asked = []
        for effect in self.machine.take_effects():
            match effect:
                case Send(node, data):
                    asked.append(Asked(node, data))
                case Connect(node):
                    self.dialled.append(node)
                case Close(node):
                    self.closed.append(node)
                case Learn(node):
                    self.asked_for_members.append(node)
                case Done(handle, outcome):
                    self.ended[handle] = outcome
        return asked

    def only(self) -> Asked:
        """Return the one request that was asked."""
        asked = self.effects()
        assert len(asked) == 1, [each.op for each in asked]
        return asked[0]

    def connect(self, node: int) -> None:
        self.machine.connected(node, self.now)

    def answer(self, asked: Asked, status: int, value: bytes | None = None) -> None:
        if asked.op == "open-session" and status == OK and value is None:
            value = (asked.client + 4000).to_bytes(8, "little")
        self.machine.received(
            asked.node, encode_response(asked.request, status, value, asked.node, 7, 1 << 16, 3),
            self.now)

    def not_leader(self, asked: Asked, leader: int) -> None:
        self.answer(asked, NOT_LEADER, leader.to_bytes(8, "little"))

    def wait(self, ns: int) -> None:
        """Let time pass, with every tick the machine asks for."""
        end = self.now + ns
        for _ in range(1000):
            due = self.machine.deadline_ns()
            if due > end:
                break
            self.now = max(self.now, due)
            self.machine.tick(self.now)
        else:
            raise AssertionError("the machine wants to be woken for ever")
        self.now = end

    def writing(self, kind: str = "write") -> tuple[int, Asked]:
        """Bring a write to where its request is on its way to node 1."""
        handle = self.start(kind)
        self.effects()
        if self.machine.connections[1].state == "connecting":
            self.connect(1)
        opening = self.only()
        assert opening.op == "open-session"
        self.answer(opening, OK)
        return handle, self.only()


def test_a_read_goes_to_the_preferred_node_and_brings_its_answer() -> None:
    script = Script(prefer=2)
    handle = script.start("read")
    assert script.effects() == []
    assert script.dialled == [2]
    script.connect(2)
    asked = script.only()
    assert (asked.node, asked.op, asked.key) == (2, "read", b"k")
    assert (asked.client, asked.sequence) == (0, 0)
    script.answer(asked, OK, b"x")
    assert script.effects() == []
    assert script.ended == {handle: Answer(b"x", 2, 7, 1 << 16, 3)}


def test_a_write_opens_a_session_first_and_the_next_one_uses_it() -> None:
    script = Script()
    first, asked = script.writing()
    assert (asked.op, asked.client, asked.sequence, asked.value) == ("write", 5001, 1, b"v")
    script.answer(asked, OK)
    second = script.start("cas")
    asked = script.only()
    assert (asked.op, asked.client, asked.sequence, asked.expected) == ("cas", 5001, 2, b"old")
    script.answer(asked, CAS_MISMATCH, b"other")
    script.effects()
    assert isinstance(script.ended[first], Answer)
    mismatch = script.ended[second]
    assert isinstance(mismatch, CasMismatch)
    assert mismatch.seen == b"other"


def test_writes_in_parallel_take_sessions_of_their_own() -> None:
    script = Script()
    script.writing()
    script.start("write")
    assert script.only().client == 1002


def test_a_redirect_is_followed_at_once_and_remembered() -> None:
    script = Script()
    handle = script.start("read")
    script.effects()
    script.connect(1)
    script.not_leader(script.only(), 3)
    assert script.effects() == []
    assert script.dialled == [1, 3]
    script.connect(3)
    asked = script.only()
    assert asked.node == 3
    script.answer(asked, OK)
    script.start("read")
    assert script.only().node == 3
    assert isinstance(script.ended[handle], Answer)


def test_without_a_leader_the_nodes_are_asked_in_turn_not_all_the_time() -> None:
    script = Script()
    script.start("read")
    asked_nodes = []
    for _ in range(5):
        script.effects()
        node = script.dialled[-1]
        if script.machine.connections[node].state == "connecting":
            script.connect(node)
            asked = script.only()
            asked_nodes.append(asked.node)
            script.not_leader(asked, 0)
            assert script.effects() == []       # not before its time
            script.wait(RETRY_NS)
    assert asked_nodes == [1, 2, 3]


def test_two_nodes_that_name_each_other_leader_are_not_asked_in_a_tight_loop() -> None:
    script = Script(2)
    script.start("read")
    script.effects()
    script.connect(1)
    asked = script.only()
    script.not_leader(asked, 2)
    script.effects()
    script.connect(2)
    asked = script.only()
    count = 0
    while True:
        script.not_leader(asked, 3 - asked.node)
        following = script.effects()
        if not following:
            break
        count += 1
        assert count < 10
        asked = following[0]
    script.wait(RETRY_NS)
    assert len(script.effects()) == 1


def test_a_redirect_to_a_node_that_cannot_be_reached_is_not_followed() -> None:
    script = Script()
    script.start("read")
    script.effects()
    script.connect(1)
    script.not_leader(script.only(), 3)
    script.effects()
    script.machine.disconnected(3, script.now)
    asked = script.only()
    assert asked.node == 1
    script.not_leader(asked, 3)
    script.effects()
    assert script.dialled == [1, 3, ]
    script.wait(RETRY_NS)
    script.effects()
    assert script.dialled == [1, 3, 2]


def test_a_refusal_by_all_until_the_end_is_refused_and_says_why() -> None:
    script = Script(1)
    handle = script.start("write", limit_ms=100)
    script.effects()
    script.connect(1)
    script.answer(script.only(), OK)
    for _ in range(4):
        script.not_leader(script.only(), 0)
        script.wait(RETRY_NS)
    assert script.effects() == []
    assert isinstance(script.ended[handle], NotLeader)


@pytest.mark.parametrize("status", [BUSY, NOT_LEADER])
def test_a_request_under_way_at_the_end_makes_a_write_unknown(status: int) -> None:
    script = Script(1)
    handle, asked = script.writing()
    script.answer(asked, status, bytes(8))
    script.wait(RETRY_NS)
    assert script.only().sequence == 1
    script.machine.abandon(handle)
    script.effects()
    assert isinstance(script.ended[handle], Unknown)


def test_a_write_that_was_never_sent_is_refused() -> None:
    script = Script()
    handle = script.start("write", limit_ms=2000)
    for _ in range(40):
        script.effects()
        for node in {1, 2, 3}:
            script.machine.disconnected(node, script.now)
        script.wait(100 * MS)
    script.effects()
    assert type(script.ended[handle]) is Refused
    assert set(script.dialled) == {1, 2, 3}


def test_a_write_whose_session_was_still_being_opened_is_refused() -> None:
    script = Script()
    handle = script.start("write")
    script.effects()
    script.connect(1)
    assert script.only().op == "open-session"
    script.machine.abandon(handle)
    script.effects()
    assert type(script.ended[handle]) is Refused


def test_a_read_without_an_answer_is_refused_because_reads_change_nothing() -> None:
    script = Script(1)
    handle = script.start("read", limit_ms=300)
    script.effects()
    script.connect(1)
    script.effects()
    script.wait(300 * MS)
    script.effects()
    assert type(script.ended[handle]) is Refused


def test_a_write_is_repeated_with_its_sequence_when_its_connection_breaks() -> None:
    script = Script(2)
    handle, asked = script.writing()
    script.machine.disconnected(1, script.now)
    script.effects()
    assert script.dialled == [1, 2]
    script.connect(2)
    again = script.only()
    assert (again.node, again.client, again.sequence) == (2, asked.client, asked.sequence)
    script.answer(again, OK)
    script.effects()
    assert isinstance(script.ended[handle], Answer)


@pytest.mark.parametrize("status", [NOT_LEADER, BUSY, BAD_REQUEST, TOO_LARGE, SESSION_LOST])
def test_no_refusal_counts_after_a_copy_whose_fate_is_unknown(status: int) -> None:
    script = Script(2)
    handle, _ = script.writing()
    script.machine.disconnected(1, script.now)
    script.effects()
    script.connect(2)
    script.answer(script.only(), status, bytes(8))
    script.machine.abandon(handle)
    script.effects()
    assert isinstance(script.ended[handle], Unknown)


@pytest.mark.parametrize("status", [BAD_REQUEST, TOO_LARGE])
def test_what_can_never_work_is_refused_at_once(status: int) -> None:
    script = Script()
    handle, asked = script.writing()
    script.answer(asked, status)
    script.effects()
    assert isinstance(script.ended[handle], Refused)


def test_a_sequence_is_not_used_again_after_a_refusal() -> None:
    """The cluster may keep a refusal as the answer to that sequence."""
    script = Script()
    _, asked = script.writing()
    script.answer(asked, TOO_LARGE)
    script.effects()
    script.start("write")
    again = script.only()
    assert (again.client, again.sequence) == (asked.client, asked.sequence + 1)


def test_the_status_unknown_is_asked_again_with_the_same_sequence() -> None:
    script = Script(1)
    handle, asked = script.writing()
    script.answer(asked, UNKNOWN)
    assert script.effects() == []
    script.wait(RETRY_NS)
    again = script.only()
    assert (again.client, again.sequence) == (asked.client, asked.sequence)
    script.not_leader(again, 0)
    script.machine.abandon(handle)
    script.effects()
    assert isinstance(script.ended[handle], Unknown)


def test_after_unknown_the_session_is_never_used_again() -> None:
    script = Script(1)
    handle, asked = script.writing()
    script.machine.abandon(handle)
    script.effects()
    script.start("write")
    opening = script.only()
    assert opening.op == "open-session"
    assert opening.client != asked.client


def test_the_answer_to_an_operation_that_ended_changes_nothing() -> None:
    script = Script(1)
    handle, asked = script.writing()
    script.machine.abandon(handle)
    script.effects()
    script.answer(asked, OK)
    assert script.effects() == []
    assert isinstance(script.ended[handle], Unknown)


def test_a_lost_session_is_replaced_when_nothing_is_in_doubt() -> None:
    script = Script(1)
    handle, asked = script.writing()
    script.answer(asked, SESSION_LOST)
    script.wait(RETRY_NS)
    opening = script.only()
    assert opening.op == "open-session"
    assert opening.client != asked.client
    script.answer(opening, OK)
    again = script.only()
    assert (again.client, again.sequence) == (opening.client + 4000, 1)
    script.answer(again, SESSION_LOST)
    script.machine.abandon(handle)
    script.effects()
    assert isinstance(script.ended[handle], SessionLost)


def test_a_node_that_falls_silent_is_pinged_then_left_for_another() -> None:
    script = Script(2)
    _, asked = script.writing()
    script.wait(PING_NS - MS)
    assert script.effects() == []
    script.wait(MS)
    assert script.only().op == "ping"
    script.wait(DEAD_NS)
    assert script.effects() == []
    assert script.closed == [1]
    assert script.dialled == [1, 2]
    script.connect(2)
    again = script.only()
    assert (again.node, again.sequence) == (2, asked.sequence)


def test_a_pong_keeps_a_slow_node_alive() -> None:
    script = Script(1)
    handle, asked = script.writing()
    for _ in range(5):
        script.wait(PING_NS)
        ping = script.only()
        assert ping.op == "ping"
        script.answer(ping, OK)
    assert script.closed == []
    script.answer(asked, OK)
    script.effects()
    assert isinstance(script.ended[handle], Answer)


def test_a_client_that_was_stopped_itself_gives_the_node_time_to_answer() -> None:
    """Found by thought: the tick after a long sleep must not both ping and give up."""
    script = Script(1)
    script.writing()
    script.now += 60 * PING_NS
    script.machine.connections[1].silent_ns = script.now - 10 * PING_NS
    script.machine._operations[1].deadline_ns = script.now + FAR
    script.machine.tick(script.now)
    script.machine.tick(script.now)
    assert script.only().op == "ping"
    assert script.closed == []


def test_a_dead_node_is_noticed_even_when_every_operation_is_short() -> None:
    script = Script(1)
    script.start("read", limit_ms=1)
    script.effects()
    script.connect(1)
    script.effects()
    for _ in range(30):
        script.start("read", limit_ms=50)
        script.wait(50 * MS)
        script.effects()
    assert script.closed == [1]


def test_a_node_that_breaks_the_protocol_loses_its_connection() -> None:
    script = Script(2)
    handle, asked = script.writing()
    script.machine.received(1, b"\xff" * 64, script.now)
    assert script.effects() == []
    assert script.closed == [1]
    script.connect(2)
    again = script.only()
    assert again.sequence == asked.sequence
    script.answer(again, OK)
    script.effects()
    assert isinstance(script.ended[handle], Answer)


def test_a_node_that_refuses_connections_is_dialled_ever_more_slowly() -> None:
    script = Script(1)
    script.start("read")
    times = []
    for _ in range(6):
        script.effects()
        while not script.dialled:
            script.wait(MS)
            script.effects()
        times.append(script.now)
        script.dialled.clear()
        script.machine.disconnected(1, script.now)
    gaps = [(b - a) // MS for a, b in pairwise(times)]
    assert gaps == [n * REDIAL_NS // MS for n in (1, 2, 4, 8, 8)]


def test_status_asks_the_node_it_is_about() -> None:
    script = Script()
    handle = script.start("status", node=3)
    script.effects()
    assert script.dialled == [3]
    script.connect(3)
    asked = script.only()
    assert (asked.node, asked.op) == (3, "status")
    script.answer(asked, OK, b"{}")
    script.effects()
    answer = script.ended[handle]
    assert isinstance(answer, Answer)
    assert answer.value == b"{}"
    assert script.machine.target == 1


def test_closing_ends_everything_by_what_is_known() -> None:
    script = Script()
    write, _ = script.writing()
    read = script.start("read")
    script.effects()
    script.machine.close()
    script.effects()
    assert isinstance(script.ended[write], Unknown)
    assert type(script.ended[read]) is Refused
    assert script.closed == [1]


def test_responses_may_arrive_in_pieces() -> None:
    script = Script()
    handle = script.start("read")
    script.effects()
    script.connect(1)
    asked = script.only()
    frame = encode_response(asked.request, OK, b"x", 1)
    for i in range(len(frame)):
        assert handle not in script.ended
        script.machine.received(1, frame[i:i + 1], script.now)
        script.effects()
    assert isinstance(script.ended[handle], Answer)


class Cluster:
    """Nodes that execute each (session, sequence) once, and a network that breaks at will.

    A copy in flight when its connection breaks may be executed at any later time.
    """

    def __init__(self, rng: Rng) -> None:
        self.rng = rng
        self.leader = 1
        self.sessions: dict[int, int] = {}      # id -> sequence of its newest write
        self.ids: dict[int, int] = {}           # nonce -> id, while the session lives
        self.opened = 0
        self.executed: dict[tuple[int, int], bytes] = {}
        self.effects: list[bytes] = []
        self.late: list[Asked] = []

    def open(self, nonce: int) -> int:
        """Apply a committed opening; return the session's id."""
        known = self.ids.get(nonce, 0)
        if known not in self.sessions:
            self.opened += 1
            known = self.ids[nonce] = self.opened
            self.sessions[known] = 0
        return known

    def execute(self, asked: Asked) -> int:
        """Apply a committed request; return the status of the answer."""
        if asked.op == "open-session":
            self.open(asked.client)
            return OK
        if asked.op in ("read", "ping"):
            return OK
        if asked.client not in self.sessions:
            return SESSION_LOST
        if asked.sequence > self.sessions[asked.client]:
            self.sessions[asked.client] = asked.sequence
            self.effects.append(asked.value)
            return OK
        return OK if asked.sequence == self.sessions[asked.client] else UNKNOWN


@pytest.mark.randomised
@pytest.mark.parametrize("base", range(8))
def test_no_outcome_is_ever_a_lie(base: int) -> None:
    """Random breaks, redirects, losses and late copies; the truth is known at the end."""
    seed = int(os.environ.get("SEED", "0")) or base * 1_000_003 + 17
    print(f"SEED={seed} python -m pytest {__file__} -k lie")
    rng = Rng(seed)
    cluster = Cluster(rng)
    script = Script()
    values: dict[int, bytes] = {}
    flying: list[Asked] = []
    outcomes: dict[int, Answer | OperationError] = script.ended
    for step in range(4000):
        if len(values) - len(outcomes) < 3 and step < 3500:
            value = b"%d" % step
            handle = script.machine.start(
                script.now, "write", script.now + (1 + rng.below(400)) * MS, b"k", value)
            values[handle] = value
        flying += script.effects()
        for node in list(dict.fromkeys(script.dialled)):
            if script.machine.connections[node].state == "connecting" and rng.below(4):
                if rng.below(5):
                    script.connect(node)
                else:
                    script.machine.disconnected(node, script.now)
        script.dialled.clear()
        for node in dict.fromkeys(script.closed):
            lose(cluster, flying, node)
        script.closed.clear()
        if flying and rng.below(3):
            deliver(script, cluster, flying.pop(rng.below(len(flying))))
        if rng.below(40) == 0:
            cluster.leader = 1 + rng.below(3)
        if rng.below(60) == 0:
            node = 1 + rng.below(3)
            lose(cluster, flying, node)
            script.machine.disconnected(node, script.now)
        if cluster.late and rng.below(20) == 0:
            cluster.execute(cluster.late.pop(rng.below(len(cluster.late))))
        if rng.below(200) == 0 and cluster.sessions:
            del cluster.sessions[rng.choice(sorted(cluster.sessions))]
        script.wait(rng.below(8) * MS)
    flying += script.effects()
    for asked in cluster.late + flying:
        cluster.execute(asked)
    assert set(outcomes) == set(values)
    counts = {value: cluster.effects.count(value) for value in values.values()}
    for handle, outcome in outcomes.items():
        happened = counts[values[handle]]
        assert happened <= 1, (handle, outcome)
        if isinstance(outcome, Answer):
            assert happened == 1, handle
        elif isinstance(outcome, Refused):
            assert happened == 0, (handle, outcome)
        else:
            assert isinstance(outcome, Unknown)
    kinds = {type(outcome).__name__ for outcome in outcomes.values()}
    assert {"Answer", "Unknown"} < kinds        # and some refusal


def lose(cluster: Cluster, flying: list[Asked], node: int) -> None:
    """Break a node's connection: what was on it may still arrive, much later."""
    for asked in [each for each in flying if each.node == node]:
        flying.remove(asked)
        if cluster.rng.below(2):
            cluster.late.append(asked)


def deliver(script: Script, cluster: Cluster, asked: Asked) -> None:
    """Let a request reach its node; the answer may come, or be lost with the connection."""
    rng = cluster.rng
    if asked.op == "ping":
        script.answer(asked, OK)
    elif asked.node != cluster.leader:
        script.not_leader(asked, rng.choice([0, 1, 2, 3, cluster.leader, cluster.leader]))
    elif rng.below(10) == 0:
        script.answer(asked, BUSY)
    elif rng.below(10) == 0:
        cluster.late.append(asked)              # in the log of a leader that lost its term
        script.answer(asked, UNKNOWN)
    else:
        status = cluster.execute(asked)
        value = None
        if asked.op == "open-session":
            value = cluster.ids[asked.client].to_bytes(8, "little")
        if rng.below(8):
            script.answer(asked, status, value)


@pytest.mark.parametrize("kind", ["read", "write"])
def test_after_an_answer_that_never_came_the_next_operation_asks_another_node(kind: str) -> None:
    """The node asked may well answer pings and lead, and not be able to commit."""
    script = Script()
    script.start(kind, limit_ms=400)
    script.effects()
    script.connect(1)
    assert script.only().node == 1
    script.wait(400 * MS)
    script.effects()
    script.start("read")
    script.effects()
    assert script.dialled == [1, 2]


def test_an_operation_for_one_node_alone_turns_nobody_elsewhere() -> None:
    script = Script()
    script.start("read", limit_ms=200, node=1)
    script.effects()
    script.connect(1)
    script.only()
    script.wait(200 * MS)
    script.start("read")
    assert script.only().node == 1


def test_reads_that_any_node_may_answer_go_by_turns_to_all() -> None:
    script = Script()
    script.start("read", any_node=True)
    assert script.effects() == []
    assert sorted(script.dialled) == [1, 2, 3]
    for node in (1, 2, 3):
        script.connect(node)
    script.answer(script.only(), OK, b"x")
    asked = []
    for _ in range(6):
        handle = script.start("read", any_node=True)
        asked.append(script.only())
        script.answer(asked[-1], OK, b"x")
        script.effects()
        assert isinstance(script.ended[handle], Answer)
    assert sorted(each.node for each in asked) == [1, 1, 2, 2, 3, 3]
    script.start("write")
    assert script.only().node == 1              # what must go to the leader is left alone


def test_a_read_that_any_node_may_answer_goes_on_to_the_next_where_one_can_not() -> None:
    script = Script()
    handle = script.start("read", any_node=True)
    script.effects()
    for node in (1, 2, 3):
        script.connect(node)
    first = script.only()
    script.not_leader(first, 0)                 # a follower that knows no leader
    script.wait(RETRY_NS)
    second = script.only()
    assert second.node != first.node
    script.machine.disconnected(second.node, script.now)
    third = script.only()
    assert third.node != second.node
    script.answer(third, OK, b"x")
    script.effects()
    assert isinstance(script.ended[handle], Answer)


def test_a_leader_that_it_has_never_heard_of_makes_it_ask_who_takes_part() -> None:
    script = Script()
    handle = script.start("read")
    script.effects()
    script.connect(1)
    script.not_leader(script.only(), 103)
    assert script.effects() == []
    assert script.asked_for_members == [1]
    script.machine.learn([1, 2, 103], script.now)
    script.wait(RETRY_NS)
    script.effects()
    assert list(script.machine.connections) == [1, 2, 103, 3]   # the last to be asked
    script.machine.learn([1, 2, 104], script.now)
    assert list(script.machine.connections) == [1, 2, 104, 3]   # 103 was down: it is forgotten
    script.machine.learn([1, 2, 103], script.now, gone=3)
    assert list(script.machine.connections) == [1, 2, 103]
    while 103 not in script.dialled:
        node = script.dialled[-1]
        script.connect(node)
        script.not_leader(script.only(), 103)
        script.effects()
    script.connect(103)
    script.answer(script.only(), OK, b"x")
    script.effects()
    assert script.ended == {handle: Answer(b"x", 103, 7, 1 << 16, 3)}


def test_it_asks_who_takes_part_once_a_second_also_when_no_leader_is_known() -> None:
    script = Script(1)
    script.start("read", limit_ms=60_000)
    script.start("read", limit_ms=60_000)
    script.effects()
    script.connect(1)
    answered = 0
    while script.now < 2 * LEARN_NS:
        for asked in script.effects():
            script.not_leader(asked, 0 if asked.request % 2 else 103)
            answered += 1
        script.wait(RETRY_NS)
    assert answered > 50
    assert script.asked_for_members == [1, 1]


def test_a_node_that_is_being_asked_is_not_forgotten_with_the_others() -> None:
    script = Script()
    handle = script.start("status", node=3)
    script.effects()
    script.machine.learn([1, 2], script.now, gone=3)
    assert list(script.machine.connections) == [1, 2, 3]
    script.connect(3)
    script.answer(script.only(), OK, b"{}")
    script.effects()
    assert isinstance(script.ended[handle], Answer)
