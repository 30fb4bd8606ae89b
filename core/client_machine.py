"""A client as a pure machine: requests, leaders, redirects, retries, sessions, deadlines.

No I/O, no clock, no chance inside: events and times go in, effects come out. The asyncio
shell is client.py; a simulator can drive the same machine.

What an operation's end means is the whole point:

* ``Answer``: it took effect exactly once, between start and end.
* ``CasMismatch`` and what else the state itself declines (``declined``): it was executed, exactly
  once, and changed nothing.
* ``Refused``: it certainly never takes effect. Said only when every copy of the request that
  ever left was answered with a status that promises so, or when none left; and of reads.
* ``Unknown``: anything else. A copy whose connection broke counts as one that may arrive.

A write is repeated with the same (session, sequence) for as long as its time lasts: the
cluster executes it once and gives every copy the same answer. A session carries one write at
a time; writes in parallel take as many sessions. After ``Unknown`` the session is never used
again, so that a copy that arrives late meets a sequence nobody reuses. Sequences are not
reused after a refusal either: the cluster may have kept the refusal as the answer to it.

A session is opened under a nonce of the client's; its id comes from the cluster's log and is never
given twice. So a late copy of a write whose session was forgotten can't be executed, even where a
late copy of the opening arrived before it.

Members change: a redirect to nobody, or to a node that the client has never heard of, makes it ask
who takes part (``Learn``), once a second at most; ``learn`` tells it whom to ask from then on.

In a tree of domains a client talks to one of them. Its writes are refused for good (``NotRoot``)
unless that is the root; linearizable reads of a fenced one are tried again until their time ends;
a node that is too old for a read sends the client to the next.

A node is taken for dead when it owes an answer, and neither answers nor pongs for half a second.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from seatrial.core.codec import (
    OPS,
    decode_response,
    encode_request,
    response_domains,
    split_frames,
)
from seatrial.core.commands import Token, decode_holder, decode_root, decode_transacted, decode_u64
from seatrial.core.errors import (
    CasMismatch,
    CounterOverflow,
    DomainFenced,
    LockHeld,
    LockLost,
    NotACounter,
    NotLeader,
    NotRoot,
    NotTransacted,
    OperationError,
    ProtocolError,
    Refused,
    SessionLost,
    StaleToken,
    TokenLost,
    TooOld,
    Unknown,
)

MS = 1_000_000
RETRY_NS = 30 * MS              # between attempts that were refused
PING_NS = 250 * MS              # of silence while an answer is owed, then a ping
DEAD_NS = 250 * MS              # of silence after the ping, then the connection is given up
REDIAL_NS = 100 * MS            # after the first failure to connect; doubles each time
MAX_REDIAL_NS = 800 * MS
LEARN_NS = 1000 * MS            # between two questions who takes part
REDIRECTS = 3                   # followed at once before an operation waits
NEVER = (1 << 63) - 1

OK, CAS_MISMATCH, NOT_LEADER, SESSION_LOST, BAD_REQUEST, TOO_LARGE, BUSY, UNKNOWN = range(8)
NOT_A_COUNTER, OVERFLOW, STALE_TOKEN, LOCK_HELD, LOCK_LOST, NOT_TRANSACTED = range(8, 14)
NOT_ROOT, FENCED, TOO_OLD, LOST = range(14, 18)
WRITES = frozenset({
    "write", "cas", "append", "delete", "add", "write-if-token", "transact", "acquire",
    "keep-alive", "release"})
REFUSALS = {BAD_REQUEST: "the node says: bad request", TOO_LARGE: "key or value is too large"}


class Answer(NamedTuple):
    """A successful operation: its value and where in history it stands."""

    value: bytes | None
    node: int
    rindex: int
    epoch: int
    term: int
    domain: int = 0                 # which answered; 0: of no tree of domains
    confirmed: tuple[int, ...] = ()     # the domains, besides the root, that hold the write

    @property
    def token(self) -> Token:
        """What a session that has seen this may not go behind."""
        return Token(self.epoch, self.term, self.rindex)


def declined(status: int, value: bytes | None) -> OperationError | None:
    """Return what a status says that the state gave when it executed a command; None: another."""
    if status == CAS_MISMATCH:
        return CasMismatch(value)
    if status == NOT_A_COUNTER:
        return NotACounter(f"found {value!r}")
    if status == OVERFLOW:
        return CounterOverflow("the sum does not fit 64 bits")
    if status == STALE_TOKEN:
        return StaleToken(decode_u64(value))
    if status == LOCK_HELD:
        found = decode_holder(value)
        return LockHeld(found.holder, found.token) if found else LockHeld(b"", 0)
    if status == LOCK_LOST:
        return LockLost("the lock is not held under this token")
    if status == NOT_TRANSACTED:
        answers = decode_transacted(value).answers
        return NotTransacted(len(answers) - 1, answers[-1].status if answers else "unknown")
    return None


def refused_for_good(status: int, value: bytes | None) -> Refused | None:
    """Return what a status says that asking again would not change; None: another."""
    if status in REFUSALS:
        return Refused(REFUSALS[status])
    if status == NOT_ROOT:
        return NotRoot(*decode_root(value))
    if status == LOST:
        return TokenLost("what the session has seen is not in this domain's log")
    return None


class Connect(NamedTuple):
    """Effect: connect to this node, then call ``connected`` or ``disconnected``."""

    node: int


class Send(NamedTuple):
    """Effect: send to this node."""

    node: int
    data: bytes


class Close(NamedTuple):
    """Effect: drop the connection to this node; ``disconnected`` need not be called."""

    node: int


class Learn(NamedTuple):
    """Effect: ask this node who takes part, then call ``learn``."""

    node: int


class Done(NamedTuple):
    """Effect: the operation with this handle has ended."""

    handle: int
    outcome: Answer | OperationError


Effect = Connect | Send | Close | Learn | Done


@dataclass(slots=True)
class Session:
    """One session: at most one write of it is under way."""

    nonce: int                  # names it until the cluster gave it an id
    client: int = 0             # its id; 0: not opened yet
    sequence: int = 0           # of the newest write


@dataclass(slots=True, eq=False)
class Operation:
    """One operation from its start to its end."""

    handle: int
    kind: str
    key: bytes
    value: bytes
    expected: bytes | None
    deadline_ns: int
    node: int                   # the only one that may be asked; 0 for any
    spread: bool = False        # a read that any node may answer: by turns
    reads: str = ""             # prefix, bounded: from what a node has applied; "": linearizable
    session: Session | None = None
    attempt: int = 0            # request under way; 0 for none
    asked: int = 0              # the node it went to
    opening: bool = False       # the attempt opens the session, it does not yet write
    maybe: bool = False         # a copy left whose fate nobody can tell
    refusal: OperationError | None = None
    redirects: int = 0
    stale: int = 0              # nodes that were too old
    not_before_ns: int = 0


@dataclass(slots=True)
class Connection:
    """What the machine knows of its connection to one node."""

    node: int
    state: str = "down"         # down, connecting, up
    input: bytearray = field(default_factory=bytearray)
    owed: set[int] = field(default_factory=set)     # requests without an answer
    silent_ns: int = 0          # since when, while an answer is owed
    pinged_ns: int = 0          # when, since it fell silent; 0 for not yet
    failures: int = 0
    retry_ns: int = 0           # not to be dialled before

    def silence_ends_ns(self) -> int:
        """Return when to ping it or to give it up."""
        if self.state != "up" or not self.owed:
            return NEVER
        return self.pinged_ns + DEAD_NS if self.pinged_ns else self.silent_ns + PING_NS


class ClientMachine:
    """See the module's docstring."""

    def __init__(
        self, nodes: Iterable[int], random_u64: Callable[[], int], *, prefer: int = 0
    ) -> None:
        self.connections = {node: Connection(node) for node in sorted(nodes)}
        self._given = set(self.connections)             # and never forgotten
        if not self.connections:
            raise ValueError("a client needs at least one node")
        self.target = prefer if prefer in self.connections else min(self.connections)
        self.closed = False
        self._order = list(self.connections)
        self._random_u64 = random_u64
        self._operations: dict[int, Operation] = {}     # by handle
        self._attempts: dict[int, Operation] = {}       # by request under way
        self._idle: list[Session] = []
        self._requests = 0
        self._handles = 0
        self._learn_ns = 0          # not to ask before who takes part
        self._turn = 0              # whose turn it is to answer a read that any node may answer
        self._now_ns = 0            # of the newest event
        self._effects: list[Effect] = []

    # -- events -----------------------------------------------------------------------------

    def start(
        self, now_ns: int, kind: str, deadline_ns: int, key: bytes = b"", value: bytes = b"",
        expected: bytes | None = None, *, node: int = 0, any_node: bool = False,
        reads: str = "",
    ) -> int:
        """Begin an operation; return its handle. Its end is a ``Done``."""
        self._now_ns = now_ns
        self._handles += 1
        operation = Operation(
            self._handles, kind, key, value, expected, deadline_ns, node, any_node, reads)
        self._operations[operation.handle] = operation
        if kind in WRITES:
            self._enter_session(operation)
        self._advance(operation)
        return operation.handle

    def abandon(self, handle: int) -> None:
        """End an operation whose caller no longer waits: as if its time were over now."""
        operation = self._operations.get(handle)
        if operation is not None:
            self._expire(operation)

    def abandon_all(self) -> None:
        """End everything that is under way, as if its time were over now."""
        for operation in list(self._operations.values()):
            self._expire(operation)

    def connected(self, node: int, now_ns: int) -> None:
        """The connection that ``Connect`` asked for is there."""
        self._now_ns = now_ns
        connection = self.connections[node]
        connection.state = "up"
        connection.failures = 0
        connection.input.clear()
        connection.owed.clear()
        connection.pinged_ns = 0
        self._advance_all()

    def learn(self, nodes: Iterable[int], now_ns: int, gone: int = 0) -> None:
        """These take part, one at least. Others come last; they are forgotten unless the client
        began with them (whoever told may be out of date), or they are connected or being asked.
        ``gone``: a node that is known not to be there any more."""
        self._now_ns = now_ns
        wanted = set(nodes)
        self._given.discard(gone)
        pinned = {operation.node for operation in self._operations.values()}
        kept = {node for node, found in self.connections.items()
                if found.state != "down" or node in pinned or node in self._given}
        self.connections = {node: self.connections.get(node) or Connection(node)
                            for node in [*sorted(wanted), *sorted(kept - wanted)]}
        self._order = list(self.connections)
        if self.target not in wanted:
            self.target = min(wanted)
        self._advance_all()

    def disconnected(self, node: int, now_ns: int) -> None:
        """The connection is lost, or did not come to be."""
        self._now_ns = now_ns
        connection = self.connections.get(node)
        if connection is None or connection.state == "down":
            return
        wait = min(REDIAL_NS << min(connection.failures, 10), MAX_REDIAL_NS)
        connection.state = "down"
        connection.failures += 1
        connection.retry_ns = now_ns + wait
        connection.input.clear()
        self._leave(node)
        for operation in list(self._attempts.values()):
            if operation.asked == node:
                self._unanswered(operation)
        self._advance_all()

    def received(self, node: int, data: bytes, now_ns: int) -> None:
        """Bytes arrived. A node that breaks the protocol loses its connection."""
        self._now_ns = now_ns
        connection = self.connections[node]
        if connection.state != "up":
            return
        connection.silent_ns = now_ns
        connection.pinged_ns = 0
        connection.input += data
        try:
            for frame in split_frames(connection.input):
                self._answered(connection, frame)
        except ProtocolError:
            self._give_up(node)

    def tick(self, now_ns: int) -> None:
        """Let time pass: to be called no later than ``deadline_ns()``."""
        self._now_ns = now_ns
        for operation in list(self._operations.values()):
            if operation.deadline_ns <= now_ns:
                if operation.attempt and not operation.node:
                    self._leave(operation.asked)    # it may lead and not be able to commit
                self._expire(operation)
        for connection in self.connections.values():
            if connection.silence_ends_ns() <= now_ns:
                self._break_silence(connection)
        self._advance_all()

    def close(self) -> None:
        """End everything now."""
        self.closed = True
        self.abandon_all()
        for connection in self.connections.values():
            if connection.state != "down":
                connection.state = "down"
                self._effects.append(Close(connection.node))

    def take_effects(self) -> list[Effect]:
        """Return and forget what is to be done."""
        effects, self._effects = self._effects, []
        return effects

    def deadline_ns(self) -> int:
        """Return when ``tick`` must be called at the latest."""
        soonest = NEVER
        for connection in self.connections.values():
            if connection.owed:
                soonest = min(soonest, connection.silence_ends_ns())
        for operation in self._operations.values():
            soonest = min(soonest, operation.deadline_ns)
            if not operation.attempt:
                soonest = min(soonest, self._ready_ns(operation))
        return soonest

    # -- choosing whom to ask ---------------------------------------------------------------

    def _candidates(self, operation: Operation) -> list[Connection]:
        """Return the connections it may use, the target's first."""
        if operation.node:
            return [self.connections[operation.node]]
        at = self._order.index(self.target)
        return [self.connections[node] for node in self._order[at:] + self._order[:at]]

    def _choose(self, operation: Operation) -> Connection | None:
        """Return the first that is up, coming up, or may be dialled."""
        first = self.connections[operation.node or self.target]
        if first.state != "down" or first.retry_ns <= self._now_ns:
            return first
        for found in self._candidates(operation):
            if found.state != "down" or found.retry_ns <= self._now_ns:
                return found
        return None

    def _ready_ns(self, operation: Operation) -> int:
        """Return when a waiting operation can go on; NEVER while only an event can help."""
        chosen = self._choose(operation)
        if chosen is None:
            held = min(found.retry_ns for found in self._candidates(operation))
            return max(operation.not_before_ns, held)
        return NEVER if chosen.state == "connecting" else operation.not_before_ns

    def _next_after(self, node: int) -> int:
        return self._order[(self._order.index(node) + 1) % len(self._order)]

    def _leave(self, node: int) -> None:
        """Turn to another node if this one is whom we ask."""
        if self.target == node:
            self.target = self._next_after(node)

    def _advance_all(self) -> None:
        for operation in list(self._operations.values()):
            if not operation.attempt:
                self._advance(operation)

    def _advance(self, operation: Operation) -> None:
        """Send an operation that has no attempt under way, or see to it that it can be."""
        if self.closed or self._now_ns < operation.not_before_ns:
            return
        if operation.spread:
            self._take_turns(operation)
        connection = self._choose(operation)
        if connection is None:
            return
        if not operation.node:
            self.target = connection.node
        if connection.state == "down":
            connection.state = "connecting"
            self._effects.append(Connect(connection.node))
        elif connection.state == "up":
            self._attempt(operation, connection)

    def _take_turns(self, operation: Operation) -> None:
        """Ask the next node whose connection is up; those on the way are dialled meanwhile."""
        operation.node = 0
        for _ in self._order:
            self._turn = (self._turn + 1) % len(self._order)
            connection = self.connections[self._order[self._turn]]
            if connection.state == "up":
                operation.node = connection.node
                return
            if connection.state == "down" and connection.retry_ns <= self._now_ns:
                connection.state = "connecting"
                self._effects.append(Connect(connection.node))

    def _attempt(self, operation: Operation, connection: Connection) -> None:
        self._requests += 1
        operation.attempt = self._requests
        operation.asked = connection.node
        self._attempts[operation.attempt] = operation
        session = operation.session
        operation.opening = session is not None and not session.client
        if session is None:
            frame = encode_request(
                operation.attempt, 0, 0, OPS[operation.kind], operation.key, operation.value,
                operation.expected if operation.reads else None, any_node=operation.spread,
                prefix=bool(operation.reads), bounded=operation.reads == "bounded")
        elif operation.opening:
            frame = encode_request(operation.attempt, session.nonce, 0, OPS["open-session"])
        else:
            frame = encode_request(
                operation.attempt, session.client, session.sequence, OPS[operation.kind],
                operation.key, operation.value, operation.expected)
        if not connection.owed:
            connection.silent_ns = self._now_ns
            connection.pinged_ns = 0
        connection.owed.add(operation.attempt)
        self._effects.append(Send(connection.node, frame))

    # -- answers ------------------------------------------------------------------------------

    def _answered(self, connection: Connection, frame: bytes) -> None:
        request, status, value, node, rindex, epoch, term = decode_response(frame)
        connection.owed.discard(request)
        operation = self._attempts.get(request)
        if operation is None:
            return                  # a pong, or the answer to an operation that has ended
        opened = decode_u64(value) if operation.opening and status == OK else 0
        refusal = None if operation.opening else declined(status, value)
        final = refused_for_good(status, value)
        del self._attempts[request]
        operation.attempt = 0
        if status == OK:
            self.target = self.target if operation.node else connection.node
            self._succeeded(operation, Answer(
                value, node, rindex, epoch, term, *response_domains(frame)), opened)
        elif refusal is not None:
            refusal.answer = Answer(value, node, rindex, epoch, term, *response_domains(frame))
            self._finish(operation, refusal)
        elif final is not None:
            self._refuse(operation, final)
        else:
            self._refused_for_now(operation, connection.node, status, value)

    def _succeeded(self, operation: Operation, answer: Answer, opened: int) -> None:
        if operation.opening and operation.session is not None:
            operation.session.client = opened
            self._advance(operation)
        else:
            self._finish(operation, answer)

    def _refused_for_now(
        self, operation: Operation, node: int, status: int, value: bytes | None
    ) -> None:
        """Note why, and arrange the next attempt."""
        operation.not_before_ns = self._now_ns + RETRY_NS
        if status == NOT_LEADER:
            leader = int.from_bytes(value or b"", "little")
            operation.refusal = NotLeader(leader)
            self._redirect(operation, node, leader)
        elif status == SESSION_LOST:
            operation.refusal = SessionLost("the cluster has forgotten the session")
            if operation.maybe:
                self._finish(operation, self._unknown("the session was lost"))
                return
            self._enter_session(operation, anew=True)
        elif status == BUSY:
            operation.refusal = Refused("the node is busy")
        elif status == FENCED:
            operation.refusal = DomainFenced("this domain can't answer linearizable reads now")
        elif status == TOO_OLD:
            self._too_old(operation, node)
            return
        elif not operation.opening and operation.session is not None:
            operation.maybe = True          # unknown: its leader lost its term with it
        self._advance(operation)

    def _too_old(self, operation: Operation, node: int) -> None:
        """Ask another node; of a bounded read each once, since only a fault makes all too old."""
        operation.refusal = TooOld("what the node holds is older than the read allows")
        operation.stale += 1
        pinned = operation.node and not operation.spread
        if operation.reads == "bounded" and (
                pinned or operation.stale >= len(self.connections)):
            self._finish(operation, operation.refusal)
            return
        if operation.reads == "bounded":
            operation.not_before_ns = 0
        self._leave(node)
        self._advance(operation)

    def _redirect(self, operation: Operation, node: int, leader: int) -> None:
        """Turn to the leader that was named, unless it is known not to answer."""
        named = self.connections.get(leader)
        if named is None and self._now_ns >= self._learn_ns:
            self._learn_ns = self._now_ns + LEARN_NS
            self._effects.append(Learn(node))
        if self.target == node and named is not None and leader != node and (
                named.state != "down" or named.retry_ns <= self._now_ns):
            self.target = leader
        self._leave(node)
        operation.redirects += 1
        if self.target == leader and operation.redirects % (REDIRECTS + 1):
            operation.not_before_ns = 0

    # -- sessions and ends --------------------------------------------------------------------

    def _enter_session(self, operation: Operation, *, anew: bool = False) -> None:
        fresh = anew or not self._idle
        operation.session = Session(self._random_u64()) if fresh else self._idle.pop()
        operation.session.sequence += 1

    def _unanswered(self, operation: Operation) -> None:
        """The answer to the attempt under way will never come."""
        del self._attempts[operation.attempt]
        operation.attempt = 0
        if not operation.opening and operation.session is not None:
            operation.maybe = True

    def _expire(self, operation: Operation) -> None:
        """End an operation whose time is over, by what is known of its copies."""
        if operation.attempt:
            self._unanswered(operation)
        if operation.maybe:
            self._finish(operation, self._unknown("no answer in time"))
        else:
            self._finish(operation, operation.refusal or Refused("no node answered in time"))

    def _refuse(self, operation: Operation, refusal: Refused) -> None:
        """End with a refusal, unless an earlier copy may have been accepted."""
        if operation.maybe:
            self._finish(operation, self._unknown(str(refusal)))
        else:
            self._finish(operation, refusal)

    @staticmethod
    def _unknown(why: str) -> Unknown:
        return Unknown(f"{why}; it may have happened or may yet")

    def _finish(self, operation: Operation, outcome: Answer | OperationError) -> None:
        del self._operations[operation.handle]
        if operation.session is not None and not isinstance(outcome, Unknown):
            self._idle.append(operation.session)
        self._effects.append(Done(operation.handle, outcome))

    # -- dead connections ----------------------------------------------------------------------

    def _break_silence(self, connection: Connection) -> None:
        if connection.pinged_ns:
            self._give_up(connection.node)
            return
        connection.pinged_ns = self._now_ns
        self._requests += 1
        connection.owed.add(self._requests)
        self._effects.append(
            Send(connection.node, encode_request(self._requests, 0, 0, OPS["ping"])))

    def _give_up(self, node: int) -> None:
        self._effects.append(Close(node))
        self.disconnected(node, self._now_ns)
