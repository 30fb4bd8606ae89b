# distutils: language = c++
"""All states that a small cluster of one domain can come to, breadth first.

A node's clock stands still, but for the actions that are about time. Beside what can happen in any
cluster, members are changed here, leadership is transferred, and snapshots are taken.
"""
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from seatrial.core.codec cimport FORCED, PRE_VOTE, VOTE
from seatrial.core.raft_encoding cimport RaftEncoding
from seatrial.core.raft_state cimport LEADER
from seatrial.harness.sim.exhaustive.actions cimport (
    CONNECT,
    CRASH,
    CUT,
    DELIVER,
    DEPOSE,
    HEARTBEAT,
    LATE,
    PROPOSE,
    REPLACE,
    SNAPSHOT,
    SYNC,
    TIMEOUT,
    TOGGLE,
    TRANSFER,
)
from seatrial.harness.sim.exhaustive.hashing cimport mixed, Print
from seatrial.harness.sim.exhaustive.member cimport Member
from seatrial.harness.sim.exhaustive.messages cimport Kind, Messages
from seatrial.harness.sim.exhaustive.symmetry cimport Symmetry
from seatrial.harness.sim.exhaustive.transitions cimport Local, Transitions

from seatrial.core.membership import Configuration


cdef class Space(Cluster):
    def __cinit__(self, scope, uint64_t limit):
        self.used = self.pasts + 1
        self.words = self.used + 2
        self.symmetry = Symmetry((range(1, scope.voters + 1),
                                  range(scope.voters + 1, scope.nodes + 1)), scope.symmetry)
        self.states = RaftEncoding()
        self.messages = Messages(self.states, self.symmetry)
        self.transitions = Transitions(self.members(), self.messages, self.symmetry)
        self.properties = Properties(self.transitions, self.symmetry, scope.nodes)
        self._try_each(self._peers, DELIVER, LATE)
        self._try_each(self._itself, SYNC, TIMEOUT, DEPOSE, CRASH, SNAPSHOT)
        self._try_each(self._peers, CUT, CONNECT)
        self._try_each(self._itself, HEARTBEAT, PROPOSE, leads=True)
        self._try_each(self._all, TOGGLE, REPLACE, leads=True)
        self._try_each(self._peers, TRANSFER, leads=True)
        self._begin([1])

    def _all(self, node):
        return range(self.nodes)

    def members(self) -> list:
        """Return the nodes, none of which runs."""
        configuration = Configuration(range(1, self.scope.voters + 1))
        return [Member(node, configuration, self.states, self.messages, self.scope.slow_disks)
                for node in range(1, self.nodes + 1)]

    def _settle(self):
        """Let node 1 be elected, if so wanted, and its first entry come to all, and all be heard
        of."""
        if self.scope.elected:
            self._first(TIMEOUT, 0, 0)
            while self._goes_on():
                pass

    def _goes_on(self):
        """Let the first thing happen that can, of what goes on by itself; False: nothing can."""
        return any(self._first(kind, i, j) for i in range(self.nodes) for j in range(self.nodes)
                   for kind in ([SYNC] if i == j else [LATE, DELIVER]))

    cdef int _happens(self, uint32_t* s, int kind, int node, int other) except -1 nogil:
        cdef const Local* m = self._local(s, node)
        cdef bint leads = m.role == LEADER
        if kind == LATE:
            return self._late(s, node, other) and self._arrives(s, kind, node, other)
        if kind == TIMEOUT:
            return not leads and self._step(s, node, kind, 0, 0)
        if kind == SNAPSHOT:
            return m.commit >= m.first and self._step(s, node, kind, 0, 0)
        return leads and self._step(s, node, kind, other + 1, 0)

    cdef bint _late(self, const uint32_t* s, int node, int other) noexcept nogil:
        """Whether it matters when a message comes: a node may have promised its silence."""
        cdef const Local* m = self._local(s, node)
        cdef uint32_t queue = s[self.queues[other][node]]
        cdef Kind kind
        if queue == 0 or not m.withholds or m.role == LEADER:
            return False
        kind = self.messages.kinds[self.messages.queues[queue].first]
        return kind.type == PRE_VOTE or kind.type == VOTE and not kind.flags & FORCED

    cdef int _source(self, int kind, int node, int other) noexcept nogil:
        return self.queues[other][node] if kind == DELIVER or kind == LATE else 0

    cdef int _stepped(self, uint32_t* s, int kind, int node, uint32_t before) except -1 nogil:
        if s[node] != before:
            s[self.pasts] = self.properties.changed(s, s[self.pasts], before, s[node])
        return 1

    cdef Print _rest(self, const uint32_t* s, int numbering) noexcept nogil:
        cdef uint64_t used
        memcpy(&used, s + self.used, sizeof(used))
        return mixed(self.properties.prints[s[self.pasts] * self.symmetry.count + numbering], used)
