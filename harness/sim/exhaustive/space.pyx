# distutils: language = c++
"""All states that a small cluster can come to, breadth first.

A state of the cluster is a few numbers: of each node's state (transitions.pyx), of what is on its
way on each connection (messages.pyx), of what is past (properties.pyx), and counters of what is
bounded. Connections are as TCP's: in order, nothing lost but all at once, when one breaks or an end
crashes. Connections to whom runs come back at will.
"""
from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libc.string cimport memcpy, memset

from seatrial.core.codec cimport FORCED, PRE_VOTE, VOTE
from seatrial.core.raft_state cimport LEADER
from seatrial.core.raft_encoding cimport get
from seatrial.harness.sim.exhaustive.actions cimport (
    ACTIONS,
    CONNECT,
    CRASH,
    CUT,
    DELIVER,
    DEPOSE,
    HEARTBEAT,
    LATE,
    MAX_NUMBERINGS,
    PROPOSE,
    REPLACE,
    RESTART,
    SNAPSHOT,
    SYNC,
    TIMEOUT,
    TOGGLE,
    TRANSFER,
)
from seatrial.harness.sim.exhaustive.hashing cimport mixed, Print
from seatrial.harness.sim.exhaustive.member cimport Member, Sent
from seatrial.harness.sim.exhaustive.search cimport MAX_WORDS
from seatrial.harness.sim.exhaustive.symmetry cimport Symmetry
from seatrial.harness.sim.exhaustive.transitions cimport Step
from seatrial.harness.sim.exhaustive.visited cimport Visited

from seatrial.core.errors import InvariantViolation
from seatrial.core.membership import Configuration
from seatrial.core.raft import ROLES

cdef enum:
    UNBOUNDED = 8

cdef int[ACTIONS] COUNTERS          # kind -> its counter
for _kind in range(ACTIONS):
    COUNTERS[_kind] = UNBOUNDED
for _kind, _counter in ((TIMEOUT, 0), (DEPOSE, 0), (HEARTBEAT, 1), (PROPOSE, 2), (CUT, 3),
                        (CRASH, 4), (TOGGLE, 5), (REPLACE, 5), (TRANSFER, 6), (SNAPSHOT, 7)):
    COUNTERS[_kind] = _counter

NAMES = {
    "deliver": DELIVER, "late": LATE, "sync": SYNC, "timeout": TIMEOUT, "depose": DEPOSE,
    "heartbeat": HEARTBEAT, "propose": PROPOSE, "toggle": TOGGLE, "replace": REPLACE,
    "transfer": TRANSFER, "snapshot": SNAPSHOT, "crash": CRASH, "restart": RESTART, "cut": CUT,
    "connect": CONNECT,
}
KINDS = {kind: name for name, kind in NAMES.items()}


cdef class Space(Search):
    """The space of a scope. limit: how many states there is room for."""

    def __cinit__(self, scope, uint64_t limit):
        cdef int i
        self.scope = scope
        self.nodes = scope.nodes
        self.past = self.nodes * self.nodes         # after nodes and connections
        self.used = self.past + 1
        self.words = self.used + 2
        for i, bound in enumerate(scope.bounds().values()):
            self.bounds[i] = bound
        self.kinds = KINDS
        self.limit = limit
        self.visited = Visited(limit)
        self.symmetry = Symmetry((range(1, scope.voters + 1),
                                  range(scope.voters + 1, scope.nodes + 1)), scope.symmetry)
        self.states = RaftEncoding()
        self.messages = Messages(self.states, self.symmetry)
        self.transitions = Transitions(members(scope, self.states, self.messages), self.messages,
                                       self.symmetry)
        self.properties = Properties(self.transitions, self.symmetry, scope.nodes)
        self.prefix = []
        self._begin()

    def _begin(self):
        """Start all nodes, elect one if so wanted, and make that the first state."""
        cdef Member m
        cdef int i
        memset(self.start, 0, sizeof(self.start))
        for i, m in enumerate(members(self.scope, self.states, self.messages)):
            m.act(RESTART, (2 << self.nodes) - 2, NULL)
            self.start[i] = self.transitions.number(m)
        self.start[self.past] = 1
        self.origin = self.start
        if self.scope.elected:
            self._elect()
        self.visited.add(self._print(self.start))
        self.numbered = self.orbit
        for i in range(self.words):
            self.frontier.push_back(self.start[i])

    def _elect(self):
        """Let node 1 be elected, and its first entry come to all, and all be heard of."""
        cdef int i, j, kind
        self._first(TIMEOUT, 0, 0)
        while True:
            for i in range(self.nodes):
                for j in range(self.nodes):
                    for kind in (SYNC, LATE, DELIVER):
                        if (kind == SYNC) == (i == j) and self._first(kind, i, j):
                            break
                    else:
                        continue
                    break
                else:
                    continue
                break
            else:
                break
        memset(&self.start[self.used], 0, 8)

    def _first(self, int kind, int i, int j):
        cdef uint8_t[8] bounds = self.bounds
        self.bounds[0] = 1                          # an election costs no timeout here
        done = self._take(self.start, kind, i, j)
        self.bounds = bounds
        if done:
            self.prefix.append((KINDS[kind], i + 1, j + 1))
        return done

    # ---- exploring -----------------------------------------------------------------------

    @property
    def local_states(self) -> int:
        """How many states single nodes were in."""
        return self.transitions.locals.size()

    @property
    def local_steps(self) -> int:
        """How many steps the machines took."""
        return self.transitions.steps.size() - 1

    @property
    def memory_bytes(self) -> int:
        """About how much memory all that takes."""
        return (self.visited.count * sizeof(Print) * 4 // 3
                + 4 * (self.frontier.capacity() + self.found.capacity()
                       + self.parents.capacity()) + 2 * self.actions.capacity()
                + self.transitions.locals.size() * (sizeof(Local) + 250
                                                    + 16 * self.symmetry.count)
                + self.transitions.steps.size() * 80
                + self.messages.queues.size() * (60 + 16 * self.symmetry.count))

    cdef int _expand(self, const uint32_t* s) except -1 nogil:
        """Try all that can happen in a state."""
        cdef int i
        for i in range(self.nodes):
            self._expand_node(s, i)
        return 0

    cdef int _expand_node(self, const uint32_t* s, int i) except -1 nogil:
        cdef const Local* m = self._local(s, i)
        cdef bint runs = m.runs, leads = m.runs and m.role == LEADER
        cdef int j
        if not runs:
            return self._try(s, RESTART, i, i)
        for j in range(self.nodes):
            if j != i and s[self._queue(j, i)]:
                self._try(s, DELIVER, i, j)
                self._try(s, LATE, i, j)
        self._try(s, SYNC, i, i)
        self._try(s, DEPOSE if leads else TIMEOUT, i, i)
        self._try(s, CRASH, i, i)
        self._try(s, SNAPSHOT, i, i)
        for j in range(self.nodes):
            if j != i:
                self._try(s, CUT, i, j)
                self._try(s, CONNECT, i, j)
        if leads:
            self._try(s, HEARTBEAT, i, i)
            self._try(s, PROPOSE, i, i)
            for j in range(self.nodes):
                self._try(s, TOGGLE, i, j)
                self._try(s, REPLACE, i, j)
                if i != j:
                    self._try(s, TRANSFER, i, j)
        return 0

    cdef Print _print(self, const uint32_t* s) noexcept nogil:
        """The least fingerprint under all numberings of the nodes."""
        cdef Print[MAX_NUMBERINGS] all_prints
        cdef Print least, p, part
        cdef int count = self.symmetry.count, k, i, j
        cdef bint repeated
        cdef uint32_t queue
        cdef uint64_t used
        memcpy(&used, s + self.used, sizeof(used))
        least.high = least.low = ~<uint64_t>0
        self.orbit = 0
        for k in range(count):
            p = mixed(self.properties.prints[s[self.past] * count + k], used)
            for i in range(self.nodes):
                part = self.transitions.prints[s[i] * count + k]
                p.high += part.high
                p.low += part.low
            for i in range(self.nodes):
                for j in range(self.nodes):
                    if i == j:
                        continue
                    queue = s[self._queue(i, j)]
                    if queue:
                        part = mixed(self.messages.queue_prints[queue * count + k],
                                     self.symmetry.names[k][i + 1] << 8
                                     | self.symmetry.names[k][j + 1])
                        p.high += part.high
                        p.low += part.low
            if p.high < least.high or p.high == least.high and p.low < least.low:
                least = p
            repeated = False
            for i in range(self.orbit):
                repeated = repeated or all_prints[i].high == p.high and all_prints[i].low == p.low
            if not repeated:
                all_prints[self.orbit] = p
                self.orbit += 1
        return least

    # ---- what happens --------------------------------------------------------------------

    cdef int _queue(self, int sender, int receiver) noexcept nogil:
        """Where in a state a connection is."""
        return (self.nodes + sender * (self.nodes - 1)
                + (receiver if receiver < sender else receiver - 1))

    cdef const Local* _local(self, const uint32_t* s, int node) noexcept nogil:
        return &self.transitions.locals[s[node]]

    cdef bint _may(self, uint32_t* s, int kind) noexcept nogil:
        """Count what is bounded; False: it has happened as often as it may."""
        cdef int counter = COUNTERS[kind]
        cdef uint8_t* used = <uint8_t*>(s + self.used)
        if counter == UNBOUNDED:
            return True
        if used[counter] >= self.bounds[counter]:
            return False
        used[counter] += 1
        return True

    cdef int _step(self, uint32_t* s, int node, int kind, uint32_t other,
                   uint32_t message) except -1 nogil:
        """A node's own step; what it sends is on its way. 0: it can't take it."""
        cdef Step step = self.transitions.steps[self.transitions.step(s[node], kind, other,
                                                                      message)]
        cdef uint32_t before = s[node], i
        cdef Sent sent
        if step.wrong:
            with gil:
                raise InvariantViolation(self.transitions.violations[step.wrong - 1])
        if not step.possible:
            return 0
        s[node] = step.next
        if self.told is not None:
            with gil:
                self._tell(step)
        for i in range(step.sent, step.sent + step.count):
            sent = self.transitions.sent[i]
            other = self._queue(node, sent.node - 1)
            s[other] = self.messages.pushed(s[other], sent.message)
        if step.next != before:
            s[self.past] = self.properties.changed(s, s[self.past], before, step.next)
        return 1

    cdef bint _late(self, const uint32_t* s, int node, uint32_t message) noexcept nogil:
        """Whether it matters when a message comes: a node may have promised its silence."""
        cdef const Local* m = self._local(s, node)
        cdef uint8_t type = self.messages.kinds[message].type
        if type != PRE_VOTE and (type != VOTE or self.messages.kinds[message].flags & FORCED):
            return False
        return m.withholds and m.role != LEADER

    cdef int _take(self, uint32_t* s, int kind, int node, int other) except -1 nogil:
        """Let something happen. 0: it can't; then the state is no longer one."""
        cdef const Local* m = self._local(s, node)
        cdef bint leads = m.runs and m.role == LEADER, linked = m.connected >> other & 1
        cdef int place
        cdef uint32_t message
        if m.runs == (kind == RESTART) or not self._may(s, kind):
            return 0
        if kind == DELIVER or kind == LATE:
            place = self._queue(other, node)
            if s[place] == 0:
                return 0
            message = self.messages.queues[s[place]].first
            if kind == LATE and not self._late(s, node, message):
                return 0
            s[place] = self.messages.queues[s[place]].rest
            return self._step(s, node, kind, other + 1, message)
        if kind == SYNC:
            return m.writes and self._step(s, node, kind, 0, 0)
        if kind == TIMEOUT:
            return not leads and self._step(s, node, kind, 0, 0)
        if kind == CRASH:
            return self._crash(s, node)
        if kind == RESTART:
            return self._restart(s, node)
        if kind == SNAPSHOT:
            return m.commit >= m.first and self._step(s, node, kind, 0, 0)
        if kind == CUT:
            if not linked:
                return 0
            s[self._queue(node, other)] = 0
            return self._step(s, node, kind, other + 1, 0)
        if kind == CONNECT:
            return (not linked and self._local(s, other).runs
                    and self._step(s, node, kind, other + 1, 0))
        return leads and self._step(s, node, kind, other + 1, 0)

    cdef int _crash(self, uint32_t* s, int node) except -1 nogil:
        """The process is gone; those that were connected to it notice."""
        cdef int i
        self._step(s, node, CRASH, 0, 0)
        for i in range(self.nodes):
            if i == node:
                continue
            s[self._queue(node, i)] = s[self._queue(i, node)] = 0
            if self._local(s, i).connected >> node & 1:
                self._step(s, i, CUT, node + 1, 0)
        return 1

    cdef int _restart(self, uint32_t* s, int node) except -1 nogil:
        """It dials those that run, and they dial it."""
        cdef uint32_t running = 0
        cdef int i
        for i in range(self.nodes):
            if self._local(s, i).runs:
                running |= <uint32_t>2 << i
        self._step(s, node, RESTART, running, 0)
        for i in range(self.nodes):
            if running >> (i + 1) & 1:
                self._step(s, i, CONNECT, node + 1, 0)
        return 1

    # ---- telling -------------------------------------------------------------------------

    def play(self, actions) -> list:
        """Take these actions from the beginning on, whatever the bounds. Return what each did:
        (its message, the nodes' steps, the violation); the last may be one that can't be taken."""
        cdef uint32_t[MAX_WORDS] s = self.origin
        cdef uint8_t[8] bounds = self.bounds
        cdef int node, other, i
        played = []
        self.bounds = [255, 255, 255, 255, 255, 255, 255, 255]
        try:
            for name, node, other in actions:
                self.told, message, violation = [], None, None
                if name in ("deliver", "late") and s[self._queue(other - 1, node - 1)]:
                    message = self._message(
                        self.messages.queues[s[self._queue(other - 1, node - 1)]].first)
                try:
                    if not self._take(s, NAMES[name], node - 1, other - 1):
                        violation = "can't happen here"
                except InvariantViolation as found:
                    violation = str(found)
                played.append((message, self.told, violation))
                if violation is not None:
                    break
        finally:
            self.bounds = bounds
            self.told = None
        for i in range(self.words):
            self.reached[i] = s[i]
        return played

    def _tell(self, Step step):
        """Keep what a node is after a step, and what it sent."""
        cdef const Local* s = &self.transitions.locals[step.next]
        cdef uint32_t i
        sent = [(self.transitions.sent[i].node, self._message(self.transitions.sent[i].message))
                for i in range(step.sent, step.sent + step.count)]
        entries = [self._term(s.entries[i]) for i in range(s.first, s.last + 1)] if s.runs else []
        disk = [self._term(s.disk[i]) for i in range(s.disk_first, s.disk_last + 1)]
        self.told.append({
            "node": s.node, "runs": s.runs, "role": ROLES[<int>s.role], "term": s.term,
            "vote": s.vote, "leader": s.leader, "first": s.first, "log": entries,
            "commit": s.commit, "disk_term": s.disk_term, "disk_vote": s.disk_vote,
            "disk": disk, "sent": sent})

    def _term(self, uint16_t record):
        return self.states.record(record).term

    def _message(self, uint32_t number):
        """Return a message's fields."""
        cdef const char* p = self.messages.messages[number].data()
        fields = {name: get(&p) for name in ("type", "flags", "term", "index", "log_term", "commit",
                                             "round", "count")}
        return fields | {"entries": [self.states.record(get(&p)).term
                                     for _ in range(fields["count"])]}


def members(scope, RaftEncoding states, Messages messages) -> list:
    """Return the nodes of a small cluster, none of which runs."""
    configuration = Configuration(range(1, scope.voters + 1))
    return [Member(node, configuration, states, messages, scope.slow_disks)
            for node in range(1, scope.nodes + 1)]
