# distutils: language = c++
"""All states that a small tree of domains can come to, breadth first.

As space.pyx, for several domains: a state is beside the nodes', what is on their connections and
what is past in each domain also what is on its way on the links, what is past for the whole tree
(tree_properties.pyx), and the time. All nodes have one clock. It goes on when the explorer says so:
by a heartbeat's time, or by more than any timer; then each node's timer may ring, and whatever a
node takes it takes at that time. Both are bounded, beside the election timers that ring.

A link is one connection, made by the leader of the child. When that leader gives it up, what it has
sent still arrives, until it dials again; what it was being sent is lost. A link that breaks, and
one an end of which crashes, is gone at both ends at once.
"""
from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libc.string cimport memcpy, memset

from seatrial.core.codec cimport ATTACH, LINK_ACK, MARK
from seatrial.core.raft_encoding cimport get
from seatrial.core.raft_state cimport LEADER
from seatrial.harness.sim.exhaustive.actions cimport (
    ACCEPT,
    BEAT,
    BREAK,
    CONNECT,
    CRASH,
    CUT,
    DELIVER,
    DIAL,
    DOWN,
    DROP,
    EXCLUDE,
    LOSE,
    MAX_NUMBERINGS,
    PROPOSE,
    READMIT,
    RESTART,
    SYNC,
    TICK,
    UP,
    WAIT,
)
from seatrial.harness.sim.exhaustive.hashing cimport mixed, Print
from seatrial.harness.sim.exhaustive.member cimport Sent
from seatrial.harness.sim.exhaustive.properties cimport Properties
from seatrial.harness.sim.exhaustive.search cimport MAX_WORDS
from seatrial.harness.sim.exhaustive.symmetry cimport Symmetry
from seatrial.harness.sim.exhaustive.transitions cimport Step
from seatrial.harness.sim.exhaustive.tree_member cimport (
    clock_of,
    DOWNWARD,
    TreeMember,
    UPWARD,
)
from seatrial.harness.sim.exhaustive.visited cimport Visited

from seatrial.core.domain_encoding import DomainEncoding
from seatrial.core.errors import InvariantViolation
from seatrial.core.membership import Configuration
from seatrial.core.raft import ROLES
from seatrial.core.raft_encoding import RaftEncoding as Encoding
from seatrial.core.tree import Domain, Tree
from seatrial.harness.sim.exhaustive.tree_member import (
    BEGIN_NS,
    EXCLUDE_AFTER_NS,
    JUMP_NS,
    LEASE_NS,
)

cdef enum:                      # counters, in the order of TreeScope.bounds
    TIMEOUTS = 0
    HEARTBEATS = 1
    PROPOSALS = 2
    LOSSES = 3
    CRASHES = 4
    CHANGES = 5
    PAUSES = 6

cdef enum:                      # parts of a fingerprint
    A_QUEUE = 1 << 16
    A_LINK_UP = 2 << 16
    A_LINK_DOWN = 3 << 16
    A_PAST = 4 << 16

NAMES = {
    "deliver": DELIVER, "sync": SYNC, "tick": TICK, "propose": PROPOSE, "exclude": EXCLUDE,
    "readmit": READMIT, "crash": CRASH, "restart": RESTART, "cut": CUT, "connect": CONNECT,
    "dial": DIAL, "up": UP, "down": DOWN, "break": BREAK, "beat": BEAT, "wait": WAIT,
}
KINDS = {kind: name for name, kind in NAMES.items()}


cdef class TreeSpace(Search):
    """The space of a scope. limit: how many states there is room for."""

    def __cinit__(self, scope, uint64_t limit):
        cdef int i, j, at
        members = scope.members()
        self.scope = scope
        self.nodes = at = scope.nodes
        self.domains = len(members)
        for i, nodes in enumerate(members):
            for j in nodes:
                self.domain_of[j - 1] = i
        for i in range(self.nodes):
            for j in range(self.nodes):
                if i != j and self.domain_of[i] == self.domain_of[j]:
                    self.queues[i][j] = at
                    at += 1
        self.up = at
        self.down = self.up + self.nodes
        self.pasts = self.down + self.nodes
        self.time = self.pasts + self.domains + 1
        self.used = self.time + 1
        self.words = self.used + 2
        for i, bound in enumerate(scope.bounds().values()):
            self.bounds[i] = bound
        self.kinds = KINDS
        self.limit = limit
        self.visited = Visited(limit)
        self.symmetry = Symmetry(members, scope.symmetry)
        self.states = Encoding()
        rest = DomainEncoding(self.states, BEGIN_NS, JUMP_NS)
        self.messages = TreeMessages(self.states, self.symmetry, rest)
        self.transitions = TreeTransitions(tree_members(scope, self.messages), self.messages,
                                           self.symmetry)
        groups = [Properties(self.transitions, self.symmetry, len(nodes), nodes[0] - 1)
                  for nodes in members]
        self.root, self.second, self.third = groups[0], groups[1], groups[-1]
        for i, group in enumerate(groups):
            self.group_prints[i] = &(<Properties>group).prints
        self.properties = TreeProperties(self.transitions, self.symmetry, members)
        self.prefix = []
        self._begin()

    def _begin(self):
        """Start all nodes, and go on until each domain has a leader, and each child counts."""
        cdef TreeMember m
        cdef int i
        memset(self.start, 0, sizeof(self.start))
        for i, m in enumerate(tree_members(self.scope, self.messages)):
            m.act(RESTART, self._group(i), NULL)
            self.start[i] = self.transitions.number(m)
        for i in range(self.domains + 1):
            self.start[self.pasts + i] = 1
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

    def _group(self, int node):
        """Return the mask of the nodes in this one's domain."""
        return sum([2 << i for i in range(self.nodes) if self.domain_of[i] == self.domain_of[node]])

    def _settle(self):
        """Elect the first node of each domain, dial, and deliver all there is; with a heartbeat
        now and then until nothing new happens."""
        cdef int i
        self._first(WAIT, 0, 0)
        for i in range(self.nodes):
            if i == 0 or self.domain_of[i] != self.domain_of[i - 1]:
                self._first(TICK, i, i)
            self._deliver_all()
        for i in range(self.nodes):
            if i and self.domain_of[i] != self.domain_of[i - 1]:
                self._first(DIAL, i, self._leader(self.domain_of[i] - 1))
                self._deliver_all()
        for _ in range(6):
            if all(self._leased(domain) for domain in range(1, self.domains)):
                break
            self._first(BEAT, 0, 0)
            for node in range(self.nodes):
                if self._local(self.start, node).role == LEADER:
                    self._first(TICK, node, node)
            self._deliver_all()
        else:
            raise InvariantViolation("exploration: the children are not included")

    def _leader(self, int domain):
        for i in range(self.nodes):
            if self.domain_of[i] == domain and self._local(self.start, i).role == LEADER:
                return i
        raise InvariantViolation(f"exploration: nobody leads domain {domain + 1}")

    def _leased(self, int domain):
        """Whether a domain's leader may answer reads by itself."""
        return self._part(self.start, self._leader(domain)).leased_until_ns > 0

    def _deliver_all(self):
        cdef int i, j
        again = True
        while again:
            again = False
            for i in range(self.nodes):
                again = self._first(SYNC, i, i) or again
                again = self._first(DOWN, i, i) or again
                for j in range(self.nodes):
                    again = (self._first(DELIVER, i, j) or self._first(UP, i, j)) or again

    def _first(self, int kind, int i, int j):
        cdef uint32_t[MAX_WORDS] before = self.start
        cdef uint8_t[8] bounds = self.bounds
        self.bounds = [255, 255, 255, 255, 255, 255, 255, 255]
        self.prefix.append((KINDS[kind], i + 1, j + 1))
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
                + self.transitions.locals.size() * (sizeof(Local) + sizeof(Part) + 700
                                                    + 16 * self.symmetry.count)
                + self.transitions.steps.size() * 100
                + self.messages.queues.size() * (60 + 16 * self.symmetry.count))

    cdef int _expand(self, const uint32_t* s) except -1 nogil:
        """Try all that can happen in a state."""
        cdef int i
        for i in range(self.nodes):
            self._expand_node(s, i)
        self._try(s, BEAT, 0, 0)
        return self._try(s, WAIT, 0, 0)

    cdef int _expand_node(self, const uint32_t* s, int i) except -1 nogil:
        cdef bint assigns = self._part(s, i).assigns   # (steps may move what it points to)
        cdef int j
        if not self._local(s, i).runs:
            return self._try(s, RESTART, i, i)
        for j in range(self.nodes):
            if self.domain_of[i] == self.domain_of[j]:
                if i != j:
                    self._try(s, DELIVER, i, j)
                    self._try(s, CUT, i, j)
                    self._try(s, CONNECT, i, j)
            elif self.domain_of[i] + 1 == self.domain_of[j]:
                self._try(s, UP, i, j)
            elif self.domain_of[i] == self.domain_of[j] + 1:
                self._try(s, DIAL, i, j)
        self._try(s, SYNC, i, i)
        self._try(s, TICK, i, i)
        self._try(s, CRASH, i, i)
        self._try(s, DOWN, i, i)
        self._try(s, BREAK, i, i)
        if assigns:
            self._try(s, PROPOSE, i, i)
            for j in range(1, self.domains):
                self._try(s, EXCLUDE, i, j)
                self._try(s, READMIT, i, j)
        return 0

    cdef Print _print(self, const uint32_t* s) noexcept nogil:
        """The least fingerprint under all numberings of the nodes."""
        cdef Print[MAX_NUMBERINGS] all_prints
        cdef Print least, p, part
        cdef int count = self.symmetry.count, k, i, j
        cdef uint32_t* names
        cdef bint repeated
        cdef uint64_t used
        memcpy(&used, s + self.used, sizeof(used))
        least.high = least.low = ~<uint64_t>0
        self.orbit = 0
        for k in range(count):
            names = self.symmetry.names[k]
            p = mixed(self.properties.prints[s[self.pasts + self.domains] * count + k],
                      used << 8 | s[self.time])
            for i in range(self.domains):
                part = mixed(self.group_prints[i][0][s[self.pasts + i] * count + k], A_PAST | i)
                p.high += part.high
                p.low += part.low
            for i in range(self.nodes):
                part = self.transitions.prints[s[i] * count + k]
                p.high += part.high
                p.low += part.low
                for j in range(self.nodes):
                    if self.queues[i][j] and s[self.queues[i][j]]:
                        part = mixed(self.messages.queue_prints[s[self.queues[i][j]] * count + k],
                                     A_QUEUE | names[i + 1] << 8 | names[j + 1])
                        p.high += part.high
                        p.low += part.low
                if s[self.up + i]:
                    part = mixed(self.messages.queue_prints[s[self.up + i] * count + k],
                                 A_LINK_UP | names[i + 1])
                    p.high += part.high
                    p.low += part.low
                if s[self.down + i]:
                    part = mixed(self.messages.queue_prints[s[self.down + i] * count + k],
                                 A_LINK_DOWN | names[i + 1])
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

    cdef const Part* _part(self, const uint32_t* s, int node) noexcept nogil:
        return &self.transitions.parts[s[node]]

    cdef bint _may(self, uint32_t* s, int counter) noexcept nogil:
        """Count what is bounded; False: it has happened as often as it may."""
        cdef uint8_t* used = <uint8_t*>(s + self.used)
        if used[counter] >= self.bounds[counter]:
            return False
        used[counter] += 1
        return True

    cdef int _step(self, uint32_t* s, int node, int kind, uint32_t other,
                   uint32_t message) except -1 nogil:
        """A node's own step; what it sends is on its way. 0: it can't take it."""
        cdef Step step = self.transitions.steps[self.transitions.step_at(
            s[node], s[self.time], kind, other, message)]
        cdef uint32_t before = s[node], i
        cdef int place, domain = self.domain_of[node], parent = self._part(s, node).parent
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
            if sent.node == UPWARD:
                place = self.up + node
            elif sent.node > DOWNWARD:
                place = self.down + <int>(sent.node - DOWNWARD) - 1
                if self._part(s, <int>(sent.node - DOWNWARD) - 1).parent != node + 1:
                    continue            # it has left
            else:
                place = self.queues[node][sent.node - 1]
            s[place] = self.messages.pushed(s[place], sent.message)
        if parent and not self._part(s, node).parent:
            s[self.down + node] = 0     # it has given the link up; what it sent is on its way
            if kind == LOSE or not self._part(s, parent - 1).linked >> node & 1:
                s[self.up + node] = 0
            else:
                s[self.up + node] = self.messages.pushed(s[self.up + node], self.messages.close)
        if step.next != before:
            s[self.pasts + domain] = self._group_changed(s, domain, before, step.next)
            s[self.pasts + self.domains] = self.properties.changed(
                s, s[self.pasts + self.domains], before, step.next)
        return 1

    cdef uint32_t _group_changed(self, const uint32_t* s, int domain, uint32_t before,
                                 uint32_t after) except? 0 nogil:
        """The past of a domain, when one of its nodes went from one state to another."""
        cdef uint32_t past = s[self.pasts + domain]
        if domain == 0:
            return self.root.changed(s, past, before, after)
        if domain == 1:
            return self.second.changed(s, past, before, after)
        return self.third.changed(s, past, before, after)

    cdef int _take(self, uint32_t* s, int kind, int node, int other) except -1 nogil:
        """Let something happen. 0: it can't; then the state is no longer one."""
        if not self._happens(s, kind, node, other):
            return 0
        self.properties.leases(s, s[self.pasts + self.domains], clock_of(s[self.time]))
        return 1

    cdef int _happens(self, uint32_t* s, int kind, int node, int other) except -1 nogil:
        cdef const Local* m = self._local(s, node)
        cdef const Part* t = self._part(s, node)
        cdef uint32_t message
        cdef int place
        if kind == BEAT:
            s[self.time] += 1
            return self._may(s, HEARTBEATS)
        if kind == WAIT:
            s[self.time] = (s[self.time] >> 4) + 1 << 4
            return self._may(s, PAUSES)
        if m.runs == (kind == RESTART):
            return 0
        if kind == DELIVER:
            place = self.queues[other][node]
            if place == 0 or s[place] == 0:
                return 0
            message = self.messages.queues[s[place]].first
            s[place] = self.messages.queues[s[place]].rest
            return self._step(s, node, kind, other + 1, message)
        if kind == SYNC:
            return m.writes and self._step(s, node, kind, 0, 0)
        if kind == TICK:
            return (t.due <= s[self.time] and (m.role == LEADER or self._may(s, TIMEOUTS))
                    and self._step(s, node, kind, 0, 0))
        if kind == PROPOSE:
            return t.assigns and self._may(s, PROPOSALS) and self._step(s, node, kind, 0, 0)
        if kind == EXCLUDE or kind == READMIT:
            return (t.assigns and self._may(s, CHANGES)
                    and self._step(s, node, kind, other + 1, 0))
        if kind == CRASH:
            return self._may(s, CRASHES) and self._crash(s, node)
        if kind == RESTART:
            return self._restart(s, node)
        if kind == CUT:
            if not m.connected >> other & 1 or not self._may(s, LOSSES):
                return 0
            s[self.queues[node][other]] = 0
            return self._step(s, node, kind, other + 1, 0)
        if kind == CONNECT:
            return (self.queues[node][other] and not m.connected >> other & 1
                    and self._local(s, other).runs and self._step(s, node, kind, other + 1, 0))
        return self._link_happens(s, kind, node, other)

    cdef int _link_happens(self, uint32_t* s, int kind, int node, int other) except -1 nogil:
        cdef const Part* t = self._part(s, node)
        cdef uint32_t message
        if kind == DIAL:
            if (not t.wants or t.parent or not self._local(s, other).runs
                    or self.domain_of[other] + 1 != self.domain_of[node]):
                return 0
            self._forget_link(s, node)
            self._step(s, other, ACCEPT, node + 1, 0)
            return self._step(s, node, DIAL, other + 1, 0)
        if kind == UP:
            if not t.linked >> other & 1 or s[self.up + other] == 0:
                return 0
            message = self.messages.queues[s[self.up + other]].first
            s[self.up + other] = self.messages.queues[s[self.up + other]].rest
            if message == <uint32_t>self.messages.close:
                return self._step(s, node, DROP, other + 1, 0)
            return self._step(s, node, UP, other + 1, message)
        if kind == DOWN:
            if t.parent == 0 or s[self.down + node] == 0:
                return 0
            message = self.messages.queues[s[self.down + node]].first
            s[self.down + node] = self.messages.queues[s[self.down + node]].rest
            return self._step(s, node, DOWN, t.parent, message)
        if kind == BREAK:
            return t.parent and self._may(s, LOSSES) and self._forget_link(s, node)
        return 0

    cdef int _forget_link(self, uint32_t* s, int node) except -1 nogil:
        """A node's link is gone, at both ends, and what is on its way on it."""
        cdef int i
        s[self.up + node] = s[self.down + node] = 0
        if self._part(s, node).parent:
            self._step(s, node, LOSE, 0, 0)
        for i in range(self.nodes):
            if self._part(s, i).linked >> node & 1:
                self._step(s, i, DROP, node + 1, 0)
        s[self.up + node] = 0
        return 1

    cdef int _crash(self, uint32_t* s, int node) except -1 nogil:
        """The process is gone; those that were connected to it notice."""
        cdef int i
        self._step(s, node, CRASH, 0, 0)
        self._forget_link(s, node)
        for i in range(self.nodes):
            if self.queues[node][i]:
                s[self.queues[node][i]] = s[self.queues[i][node]] = 0
                if self._local(s, i).connected >> node & 1:
                    self._step(s, i, CUT, node + 1, 0)
            if self._part(s, i).parent == node + 1:
                self._forget_link(s, i)
            elif self.domain_of[i] == self.domain_of[node] + 1 and not self._linked(s, i):
                s[self.up + i] = 0
        return 1

    cdef bint _linked(self, const uint32_t* s, int node) noexcept nogil:
        """Whether anybody holds the other end of a link that this node made."""
        cdef int i
        for i in range(self.nodes):
            if self._part(s, i).linked >> node & 1:
                return True
        return False

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
        cdef int node, other, i
        played = []
        self.bounds = [255, 255, 255, 255, 255, 255, 255, 255]
        try:
            for name, node, other in actions:
                self.told, violation = [], None
                message = self._taken(s, name, node - 1, other - 1)
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

    cdef object _taken(self, const uint32_t* s, name, int node, int other):
        """Return the message that an action is about."""
        cdef uint32_t queue = 0
        if name == "deliver" and self.queues[other][node]:
            queue = s[self.queues[other][node]]
        elif name == "up":
            queue = s[self.up + other]
        elif name == "down":
            queue = s[self.down + node]
        return self._message(self.messages.queues[queue].first) if queue else None

    def _tell(self, Step step):
        """Keep what a node is after a step, and what it sent."""
        cdef const Local* s = &self.transitions.locals[step.next]
        cdef const Part* t = &self.transitions.parts[step.next]
        cdef uint32_t i
        sent = [(self.transitions.sent[i].node, self._message(self.transitions.sent[i].message))
                for i in range(step.sent, step.sent + step.count)]
        self.told.append({
            "node": s.node, "runs": s.runs, "role": ROLES[<int>s.role], "term": s.term,
            "vote": s.vote, "leader": s.leader, "commit": s.commit,
            "log": [self._term(s.entries[i]) for i in range(s.first, s.last + 1)] if s.runs else [],
            "disk_term": s.disk_term, "disk_vote": s.disk_vote,
            "disk": [self._term(s.disk[i]) for i in range(s.disk_first, s.disk_last + 1)],
            "mirror": [self._rterm(t.mirror[i]) for i in range(1, t.end + 1)],
            "applied": t.applied, "parent": t.parent, "leased": t.leased_until_ns > 0,
            "sent": sent})

    def _term(self, uint16_t record):
        return self.states.record(record).term

    def _rterm(self, uint16_t record):
        return self.states.record(record).rterm

    def _message(self, uint32_t number):
        """Return a message's fields; None: the link was closed."""
        cdef const char* p = self.messages.messages[number].data()
        cdef uint8_t type = <uint8_t>get(&p)
        if number == <uint32_t>self.messages.close:
            return None
        fields = {"type": type, "flags": get(&p)}
        if type != MARK and type < ATTACH:
            fields |= {name: get(&p) for name in ("term", "index", "log_term", "commit", "round",
                                                  "count")}
        else:
            fields |= {name: get(&p) for name in (
                "domain", "about", "term", "epoch", "adopted", "rindex", "at_epoch", "rterm",
                "mark", "mark_epoch", "mark_term", "end", "end_epoch", "end_term", "sent", "echo",
                "lease", "include", "round", "count")}
        if type == LINK_ACK or type == MARK or not fields["count"]:
            return fields | {"entries": []}
        return fields | {"entries": [self.states.record(get(&p)).term
                                     for _ in range(fields["count"])]}


def tree_members(scope, TreeMessages messages) -> list:
    """Return the nodes of a small tree, none of which runs."""
    domains = scope.members()
    tree = Tree({
        id: Domain(name=f"d{id}", parent=id - 1, sync=id > 1, exclude_after_ns=EXCLUDE_AFTER_NS,
                   nodes=tuple((node, f"n{node}") for node in nodes))
        for id, nodes in enumerate(domains, 1)}, root=1, lease_ns=LEASE_NS)
    found = []
    for id, nodes in enumerate(domains, 1):
        options = {"domain": id, "tree": tree if id == 1 else None,
                   "parent": () if id == 1 else tree.domains[id - 1].nodes}
        found += [TreeMember(node, Configuration(nodes), messages.states, messages,
                             scope.slow_disks, messages.rest, options) for node in nodes]
    return found
