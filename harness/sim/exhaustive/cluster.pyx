# distutils: language = c++
"""What both spaces have: nodes, connections between the members of a domain, and what is bounded.

A state of a cluster is a few numbers: of each node's state (transitions.pyx), of what is on its way
on each connection (messages.pyx), of what is past (properties.pyx), and counters of what is
bounded. Connections are as TCP's: in order, nothing lost but all at once, when one breaks or an end
crashes. Connections to whom runs come back at will.

A space (space.pyx: one domain, tree_space.pyx: several) says at whom and with whom each action is
tried, and what the actions do that only it has.
"""
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memset

from seatrial.core.raft_state cimport LEADER
from seatrial.harness.sim.exhaustive.actions cimport (
    BEAT,
    BREAK,
    CONNECT,
    CRASH,
    CUT,
    DELIVER,
    DEPOSE,
    DIAL,
    DOWN,
    EXCLUDE,
    HEARTBEAT,
    LATE,
    MAX_NUMBERINGS,
    PROPOSE,
    READMIT,
    REPLACE,
    RESTART,
    SNAPSHOT,
    SYNC,
    TICK,
    TIMEOUT,
    TOGGLE,
    TRANSFER,
    UP,
    WAIT,
)
from seatrial.harness.sim.exhaustive.hashing cimport mixed
from seatrial.harness.sim.exhaustive.member cimport Member, Sent
from seatrial.harness.sim.exhaustive.search cimport MAX_WORDS
from seatrial.harness.sim.exhaustive.visited cimport Visited

from seatrial.core.errors import InvariantViolation
from seatrial.core.raft import ROLES

cdef enum:
    UNBOUNDED = 8

KINDS = {
    "deliver": DELIVER, "late": LATE, "sync": SYNC, "timeout": TIMEOUT, "depose": DEPOSE,
    "heartbeat": HEARTBEAT, "propose": PROPOSE, "toggle": TOGGLE, "replace": REPLACE,
    "transfer": TRANSFER, "snapshot": SNAPSHOT, "crash": CRASH, "restart": RESTART, "cut": CUT,
    "connect": CONNECT, "tick": TICK, "exclude": EXCLUDE, "readmit": READMIT, "dial": DIAL,
    "up": UP, "down": DOWN, "break": BREAK, "beat": BEAT, "wait": WAIT,
}
NAMES = {kind: name for name, kind in KINDS.items()}
BOUNDED = {     # by which bound; in a tree whoever does not lead has a timeout by a tick
    "timeouts": (TIMEOUT, DEPOSE), "heartbeats": (HEARTBEAT, BEAT), "proposals": (PROPOSE,),
    "losses": (CUT, BREAK), "crashes": (CRASH,), "changes": (TOGGLE, REPLACE, EXCLUDE, READMIT),
    "transfers": (TRANSFER,), "snapshots": (SNAPSHOT,), "pauses": (WAIT,),
}


cdef class Cluster(Search):
    """The space of a scope. limit: how many states there is room for."""

    def __cinit__(self, scope, uint64_t limit):
        cdef int i, j, at
        self.scope = scope
        self.nodes = at = scope.nodes
        for i, nodes in enumerate(scope.members()):
            for j in nodes:
                self.domain_of[j - 1] = i
        for i in range(self.nodes):
            for j in range(self.nodes):
                if i != j and self.domain_of[i] == self.domain_of[j]:
                    self.queues[i][j] = at
                    self.senders[at], self.receivers[at] = i + 1, j + 1
                    at += 1
        self.connected = self.pasts = at
        self.moves.resize(self.nodes)
        for i in range(ACTIONS):
            self.counters[i] = UNBOUNDED
        for i, (name, bound) in enumerate(scope.bounds().items()):
            self.bounds[i] = bound
            for j in BOUNDED[name]:
                self.counters[j] = i
        self.kinds = NAMES
        self.limit = limit
        self.visited = Visited(limit)
        self.prefix = []

    def _try_each(self, whom, *kinds, leads=False):
        """Try these at each node that runs, in this order; with each of those it returns for it."""
        cdef Move move
        cdef int i
        move.leads = leads
        for i in range(self.nodes):
            for move.other in whom(i):
                for move.kind in kinds:
                    move.source = self._source(move.kind, i, move.other)
                    self.moves[i].push_back(move)

    def _itself(self, node):
        return [node]

    def _peers(self, node):
        """Return the other nodes of a node's domain."""
        return [i for i in range(self.nodes) if self.queues[node][i]]

    def _begin(self, after_queues):
        """Start all nodes, go on to where the space begins, and make that the first state; the
        state's words ``after_queues`` say what is past."""
        cdef Member m
        cdef int i
        memset(self.start, 0, sizeof(self.start))
        for i, m in enumerate(self.members()):
            m.act(RESTART, sum([2 << j for j in [i, *self._peers(i)]]), NULL)
            self.start[i] = self.transitions.number(m)
        for i, past in enumerate(after_queues):
            self.start[self.pasts + i] = past
        self.origin = self.start
        try:
            self._settle()
        except InvariantViolation as violation:
            self.violation = str(violation)     # (then there is nothing to explore)
            return
        memset(&self.start[self.used], 0, 8)
        self.visited.add(self._print(self.start))
        self.numbered = self.orbit
        for i in range(self.words):
            self.frontier.push_back(self.start[i])

    def _first(self, int kind, int i, int j):
        """Let something happen before the first state, whatever the bounds; whether it can."""
        cdef uint32_t[MAX_WORDS] before = self.start
        cdef uint8_t[8] bounds = self.bounds
        self.bounds = [255, 255, 255, 255, 255, 255, 255, 255]
        self.prefix.append((NAMES[kind], i + 1, j + 1))
        try:
            done = self._take(self.start, kind, i, j)
        finally:
            self.bounds = bounds
        if not done:
            self.prefix.pop()
            self.start = before
        return bool(done)

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
                + self.transitions.memory_bytes() + self.messages.memory_bytes())

    cdef int _expand(self, const uint32_t* s) except -1 nogil:
        """Try all that can happen in a state."""
        cdef const Move* move
        cdef bint leads
        cdef size_t k
        cdef int i
        for i in range(self.nodes):
            if not self._local(s, i).runs:
                self._try(s, RESTART, i, i)
                continue
            leads = self._local(s, i).role == LEADER
            for k in range(self.moves[i].size()):
                move = &self.moves[i][k]
                if (leads or not move.leads) and (move.source == 0 or s[move.source]):
                    self._try(s, move.kind, i, move.other)
        return 0

    cdef Print _print(self, const uint32_t* s) noexcept nogil:
        """The least fingerprint under all numberings of the nodes."""
        cdef Print[MAX_NUMBERINGS] all_prints
        cdef Print least, p, part
        cdef int[MAX_WORDS] busy            # where there is something on a connection
        cdef int count = self.symmetry.count, in_use = 0, k, i
        cdef const uint32_t* names
        cdef bint repeated
        for i in range(self.nodes, self.connected):
            busy[in_use] = i
            in_use += s[i] != 0
        least.high = least.low = ~<uint64_t>0
        self.orbit = 0
        for k in range(count):
            names = self.symmetry.names[k]
            p = self._rest(s, k)
            for i in range(self.nodes):
                part = self.transitions.prints[s[i] * count + k]
                p.high += part.high
                p.low += part.low
            for i in range(in_use):
                part = mixed(self.messages.queue_prints[s[busy[i]] * count + k],
                             names[self.senders[busy[i]]] << 8 | names[self.receivers[busy[i]]])
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

    cdef const Local* _local(self, const uint32_t* s, int node) noexcept nogil:
        return &self.transitions.locals[s[node]]

    cdef bint _may(self, uint32_t* s, int kind) noexcept nogil:
        """Count what is bounded; False: it has happened as often as it may."""
        cdef int counter = self.counters[kind]
        cdef uint8_t* used = <uint8_t*>(s + self.used)
        if counter == UNBOUNDED:
            return True
        if used[counter] >= self.bounds[counter]:
            return False
        used[counter] += 1
        return True

    cdef int _take(self, uint32_t* s, int kind, int node, int other) except -1 nogil:
        """Let something happen. 0: it can't; then the state is no longer one."""
        cdef const Local* m = self._local(s, node)
        cdef bint linked = m.connected >> other & 1
        if m.runs == (kind == RESTART) or not self._may(s, kind):
            return 0
        if kind == DELIVER:
            return self._arrives(s, kind, node, other)
        if kind == SYNC:
            return m.writes and self._step(s, node, kind, 0, 0)
        if kind == CRASH:
            return self._crash(s, node)
        if kind == RESTART:
            return self._restart(s, node)
        if kind == CUT:
            if not linked:
                return 0
            s[self.queues[node][other]] = 0
            return self._step(s, node, kind, other + 1, 0)
        if kind == CONNECT:
            return (not linked and self.queues[node][other] and self._local(s, other).runs
                    and self._step(s, node, kind, other + 1, 0))
        return self._happens(s, kind, node, other)

    cdef int _arrives(self, uint32_t* s, int kind, int node, int other) except -1 nogil:
        """A node takes the first message of a queue."""
        cdef int place = self._source(kind, node, other)
        cdef uint32_t message
        if place == 0 or s[place] == 0:
            return 0
        message = self.messages.queues[s[place]].first
        s[place] = self.messages.queues[s[place]].rest
        return self._step(s, node, kind, other + 1, message)

    cdef int _step(self, uint32_t* s, int node, int kind, uint32_t other,
                   uint32_t message) except -1 nogil:
        """A node's own step; what it sends is on its way. 0: it can't take it."""
        cdef Step step = self.transitions.steps[self.transitions.step(
            s[node], s[self.time] if self.time else 0, kind, other, message)]
        cdef uint32_t before = s[node], i
        cdef Sent sent
        cdef int place
        if step.wrong:
            with gil:
                raise InvariantViolation(self.transitions.violations[step.wrong - 1])
        if not step.possible:
            return 0
        s[node] = step.next
        if self.told is not None:
            with gil:
                self.told.append(self._told(&step))
        for i in range(step.sent, step.sent + step.count):
            sent = self.transitions.sent[i]
            place = self._target(s, node, sent.node)
            if place:
                s[place] = self.messages.pushed(s[place], sent.message)
        self._stepped(s, kind, node, before)
        return 1

    cdef int _cut_off(self, uint32_t* s, int node) except -1 nogil:
        """Those that were connected to a node notice that it is gone."""
        cdef int i
        for i in range(self.nodes):
            if self.queues[node][i]:
                s[self.queues[node][i]] = s[self.queues[i][node]] = 0
                if self._local(s, i).connected >> node & 1:
                    self._step(s, i, CUT, node + 1, 0)
        return 1

    cdef int _restart(self, uint32_t* s, int node) except -1 nogil:
        """It dials those of its domain that run, and they dial it."""
        cdef uint32_t running = 0
        cdef int i
        for i in range(self.nodes):
            if self.queues[node][i] and self._local(s, i).runs:
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
        cdef int node, other, place
        played = []
        self.bounds = [255, 255, 255, 255, 255, 255, 255, 255]
        try:
            for name, node, other in actions:
                self.told, message, violation = [], None, None
                place = self._source(KINDS[name], node - 1, other - 1)
                if place and s[place]:
                    message = self.messages.fields(self.messages.queues[s[place]].first)
                try:
                    if not self._take(s, KINDS[name], node - 1, other - 1):
                        violation = "can't happen here"
                except InvariantViolation as found:
                    violation = str(found)
                played.append((message, self.told, violation))
                if violation is not None:
                    break
        finally:
            self.bounds = bounds
            self.told = None
        self.reached = s
        return played

    def fingerprint(self) -> tuple[int, int]:
        """Return that of the state which the newest trace came to."""
        cdef Print p = self._print(self.reached)
        return p.high, p.low

    # ---- what there is in one space and not in the other -----------------------------------

    def members(self) -> list:
        """Return the nodes, none of which runs."""
        raise NotImplementedError

    def _settle(self):
        """Go on to where the space begins."""

    cdef int _happens(self, uint32_t* s, int kind, int node, int other) except -1 nogil:
        """Let something happen at a node that runs. 0: it can't."""
        return 0

    cdef int _crash(self, uint32_t* s, int node) except -1 nogil:
        """The process is gone; those that were connected to it notice."""
        self._step(s, node, CRASH, 0, 0)
        return self._cut_off(s, node)

    cdef int _source(self, int kind, int node, int other) noexcept nogil:
        """Where in a state is what an action takes a message from; 0: it takes none."""
        return self.queues[other][node] if kind == DELIVER else 0

    cdef int _target(self, const uint32_t* s, int node, uint32_t to) noexcept nogil:
        """Where in a state what a node sends is on its way; 0: nowhere any more."""
        return self.queues[node][to - 1]

    cdef int _stepped(self, uint32_t* s, int kind, int node, uint32_t before) except -1 nogil:
        """A node has taken a step: what comes of it, and what its past is now."""
        return 0

    cdef Print _rest(self, const uint32_t* s, int numbering) noexcept nogil:
        """A fingerprint, under a numbering, of what a state holds beside nodes and connections."""
        cdef Print none
        none.high = none.low = 0
        return none

    cdef dict _told(self, const Step* step):
        """Return what a node is after a step, and what it sent."""
        cdef const Local* s = &self.transitions.locals[step.next]
        cdef uint32_t i
        return {
            "node": s.node, "runs": s.runs, "role": ROLES[<int>s.role], "term": s.term,
            "vote": s.vote, "leader": s.leader, "commit": s.commit,
            "log": [self._term(s.entries[i]) for i in range(s.first, s.last + 1)] if s.runs else [],
            "disk_term": s.disk_term, "disk_vote": s.disk_vote,
            "disk": [self._term(s.disk[i]) for i in range(s.disk_first, s.disk_last + 1)],
            "sent": [(self.transitions.sent[i].node,
                      self.messages.fields(self.transitions.sent[i].message))
                     for i in range(step.sent, step.sent + step.count)]}

    def _term(self, uint32_t record):
        return self.states.record(record).term
