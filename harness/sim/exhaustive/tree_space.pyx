# distutils: language = c++
"""All states that a small tree of domains can come to, breadth first.

Beside what any cluster's state holds (cluster.pyx): what is on its way on the links, what is past
for the whole tree (tree_properties.pyx), and the time. All nodes have one clock. It goes on when
the explorer says so: by a heartbeat's time, or by more than any timer; then each node's timer may
ring, and whatever a node takes it takes at that time. Both are bounded, beside the election timers
that ring.

A link is one connection, made by the leader of the child. When that leader gives it up, what it has
sent still arrives, until it dials again; what it was being sent is lost. A link that breaks, and
one an end of which crashes, is gone at both ends at once.
"""
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

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
    PROPOSE,
    READMIT,
    SYNC,
    TICK,
    TIMEOUT,
    UP,
    WAIT,
)
from seatrial.harness.sim.exhaustive.hashing cimport mixed
from seatrial.harness.sim.exhaustive.symmetry cimport Symmetry
from seatrial.harness.sim.exhaustive.transitions cimport Step
from seatrial.harness.sim.exhaustive.tree_member cimport (
    clock_of,
    DOWNWARD,
    TreeMember,
    UPWARD,
)

from seatrial.core.domain_encoding import DomainEncoding
from seatrial.core.errors import InvariantViolation
from seatrial.core.membership import Configuration
from seatrial.core.raft_encoding import RaftEncoding
from seatrial.core.tree import Domain, Tree
from seatrial.harness.sim.exhaustive.tree_member import (
    BEGIN_NS,
    EXCLUDE_AFTER_NS,
    JUMP_NS,
    LEASE_NS,
)

cdef enum:                      # parts of a fingerprint
    A_LINK_UP = 2 << 16
    A_LINK_DOWN = 3 << 16
    A_PAST = 4 << 16


cdef class TreeSpace(Cluster):
    def __cinit__(self, scope, uint64_t limit):
        cdef int i
        members = scope.members()
        self.domains = len(members)
        self.up = self.pasts
        self.down = self.up + self.nodes
        self.pasts = self.down + self.nodes
        self.time = self.pasts + self.domains + 1
        self.used = self.time + 1
        self.words = self.used + 2
        self.symmetry = Symmetry(members, scope.symmetry)
        self.states = RaftEncoding()
        self.messages = self.tree_messages = TreeMessages(
            self.states, self.symmetry, DomainEncoding(self.states, BEGIN_NS, JUMP_NS))
        self.transitions = self.tree_transitions = TreeTransitions(
            self.members(), self.messages, self.symmetry)
        groups = [Properties(self.transitions, self.symmetry, len(nodes), nodes[0] - 1)
                  for nodes in members]
        self.root, self.second, self.third = groups[0], groups[1], groups[-1]
        for i, group in enumerate(groups):
            self.group_prints[i] = &(<Properties>group).prints
        self.properties = TreeProperties(self.transitions, self.symmetry, members)
        self._try_each(self._parents, DIAL)
        self._try_each(self._peers, DELIVER, CUT, CONNECT)
        self._try_each(self._children, UP)
        self._try_each(self._itself, SYNC, TICK, CRASH, DOWN, BREAK)
        self._try_each(self._root, PROPOSE, leads=True)
        self._try_each(self._domains, EXCLUDE, READMIT, leads=True)
        self._begin([1] * (self.domains + 1))

    def _parents(self, node):
        """Return the nodes of a node's parent."""
        return [i for i in range(self.nodes) if self.domain_of[i] + 1 == self.domain_of[node]]

    def _children(self, node):
        return [i for i in range(self.nodes) if self.domain_of[i] == self.domain_of[node] + 1]

    def _root(self, node):
        """Return a node itself, if it is one of the root's."""
        return [] if self.domain_of[node] else [node]

    def _domains(self, node):
        """Return the domains that a node can exclude."""
        return [] if self.domain_of[node] else range(1, self.domains)

    def members(self) -> list:
        """Return the nodes, none of which runs."""
        domains = self.scope.members()
        tree = Tree({
            id: Domain(name=f"d{id}", parent=id - 1, sync=id > 1,
                       exclude_after_ns=EXCLUDE_AFTER_NS,
                       nodes=tuple((node, f"n{node}") for node in nodes))
            for id, nodes in enumerate(domains, 1)}, root=1, lease_ns=LEASE_NS)
        found = []
        for id, nodes in enumerate(domains, 1):
            options = {"domain": id, "tree": tree if id == 1 else None,
                       "parent": () if id == 1 else tree.domains[id - 1].nodes}
            found += [TreeMember(node, Configuration(nodes), self.states, self.messages,
                                 self.scope.slow_disks, self.tree_messages.rest, options)
                      for node in nodes]
        return found

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

    # ---- exploring -----------------------------------------------------------------------

    cdef int _expand(self, const uint32_t* s) except -1 nogil:
        """Try all that can happen in a state."""
        Cluster._expand(self, s)
        self._try(s, BEAT, 0, 0)
        return self._try(s, WAIT, 0, 0)

    cdef Print _rest(self, const uint32_t* s, int numbering) noexcept nogil:
        """Of the pasts, the time, and what is on the links."""
        cdef int count = self.symmetry.count, k = numbering, i
        cdef const uint32_t* names = self.symmetry.names[k]
        cdef Print p, part
        cdef uint64_t used
        memcpy(&used, s + self.used, sizeof(used))
        p = mixed(self.properties.prints[s[self.pasts + self.domains] * count + k],
                  used << 8 | s[self.time])
        for i in range(self.domains):
            part = mixed(self.group_prints[i][0][s[self.pasts + i] * count + k], A_PAST | i)
            p.high += part.high
            p.low += part.low
        for i in range(self.nodes):
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
        return p

    # ---- what happens --------------------------------------------------------------------

    cdef const Part* _part(self, const uint32_t* s, int node) noexcept nogil:
        return &self.tree_transitions.parts[s[node]]

    cdef int _take(self, uint32_t* s, int kind, int node, int other) except -1 nogil:
        if kind == BEAT or kind == WAIT:
            if not self._may(s, kind):
                return 0
            s[self.time] = s[self.time] + 1 if kind == BEAT else (s[self.time] >> 4) + 1 << 4
        elif not Cluster._take(self, s, kind, node, other):
            return 0
        self.properties.leases(s, s[self.pasts + self.domains], clock_of(s[self.time]))
        return 1

    cdef int _happens(self, uint32_t* s, int kind, int node, int other) except -1 nogil:
        cdef const Part* t = self._part(s, node)
        cdef int place
        if kind == TICK:
            return (t.due <= s[self.time]
                    and (self._local(s, node).role == LEADER or self._may(s, TIMEOUT))
                    and self._step(s, node, kind, 0, 0))
        if kind == PROPOSE:
            return t.assigns and self._step(s, node, kind, 0, 0)
        if kind == EXCLUDE or kind == READMIT:
            return t.assigns and self._step(s, node, kind, other + 1, 0)
        if kind == DIAL:
            return self._dial(s, node, other)
        if kind == UP:
            if not t.linked >> other & 1:
                return 0
            place = self.up + other
            if s[place] and self.messages.queues[s[place]].first == self.tree_messages.close:
                s[place] = self.messages.queues[s[place]].rest
                return self._step(s, node, DROP, other + 1, 0)
            return self._arrives(s, kind, node, other)
        if kind == DOWN:
            return t.parent and self._arrives(s, kind, node, t.parent - 1)
        return kind == BREAK and t.parent and self._forget_link(s, node)

    cdef int _dial(self, uint32_t* s, int node, int other) except -1 nogil:
        cdef const Part* t = self._part(s, node)
        if (not t.wants or t.parent or not self._local(s, other).runs
                or self.domain_of[other] + 1 != self.domain_of[node]):
            return 0
        self._forget_link(s, node)
        self._step(s, other, ACCEPT, node + 1, 0)
        return self._step(s, node, DIAL, other + 1, 0)

    cdef int _source(self, int kind, int node, int other) noexcept nogil:
        if kind == UP:
            return self.up + other
        return self.down + node if kind == DOWN else Cluster._source(self, kind, node, other)

    cdef int _target(self, const uint32_t* s, int node, uint32_t to) noexcept nogil:
        if to < UPWARD:
            return Cluster._target(self, s, node, to)
        if to == UPWARD:
            return self.up + node
        to -= DOWNWARD + 1
        return self.down + <int>to if self._part(s, <int>to).parent == node + 1 else 0

    cdef int _stepped(self, uint32_t* s, int kind, int node, uint32_t before) except -1 nogil:
        cdef int domain = self.domain_of[node], parent = self.tree_transitions.parts[before].parent
        if parent and not self._part(s, node).parent:
            s[self.down + node] = 0     # it has given the link up; what it sent is on its way
            if kind == LOSE or not self._part(s, parent - 1).linked >> node & 1:
                s[self.up + node] = 0
            else:
                s[self.up + node] = self.messages.pushed(s[self.up + node],
                                                         self.tree_messages.close)
        if s[node] != before:
            s[self.pasts + domain] = self._group_changed(s, domain, before, s[node])
            s[self.pasts + self.domains] = self.properties.changed(
                s, s[self.pasts + self.domains], before, s[node])
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
        cdef int i
        self._step(s, node, CRASH, 0, 0)
        self._forget_link(s, node)
        self._cut_off(s, node)
        for i in range(self.nodes):
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

    cdef dict _told(self, const Step* step):
        cdef const Part* t = &self.tree_transitions.parts[step.next]
        return Cluster._told(self, step) | {
            "mirror": [self.states.record(t.mirror[i]).rterm for i in range(1, t.end + 1)],
            "applied": t.applied, "leased": t.leased_until_ns > 0}
