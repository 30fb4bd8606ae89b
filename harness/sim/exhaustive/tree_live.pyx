# distutils: language = c++
"""A trace of a tree once more: core/invariants.pyx judges each domain, core/domain_invariants.pyx
all of them."""
from libc.stdint cimport uint32_t

from seatrial.core.domain_invariants cimport DomainInvariants
from seatrial.harness.sim.exhaustive.actions cimport (
    ACCEPT,
    BEAT,
    BREAK,
    CRASH,
    DIAL,
    DOWN,
    DROP,
    LOSE,
    UP,
    WAIT,
)
from seatrial.harness.sim.exhaustive.live cimport Live
from seatrial.harness.sim.exhaustive.member cimport Disks, Member
from seatrial.harness.sim.exhaustive.tree_member cimport (
    clock_of,
    DOWNWARD,
    TreeMember,
    UPWARD,
)
from seatrial.harness.sim.exhaustive.tree_space cimport TreeSpace


cdef class TreeLive(Live):
    cdef TreeSpace links        # the space, as what it is
    cdef uint32_t time
    cdef DomainInvariants tree

    def __init__(self, TreeSpace space):
        self.links = space
        Live.__init__(self, space)

    def _watch(self, Disks disks):
        self.tree = DomainInvariants(disks)
        for member in self.members:
            self.tree.add_node(member.node, member.domain)

    def agrees(self) -> bool:
        """Whether nodes, connections, links and the time are as in that trace."""
        return Live.agrees(self) and self.time == self.links.reached[self.links.time]

    def _as_reached(self, int i, Member m):
        """Whether it is the same as would be written now: what is gone by may have gone by since
        its newest step."""
        cdef TreeMember other = <TreeMember>self.links.transitions.members[i]
        m.now_ns = other.clock_ns = clock_of(self.time)
        if m.replica is not None:
            m.replica.raft.now_ns = m.now_ns
        other.decode(self.links.transitions.locals_bytes[self.links.reached[i]].data())
        return self.links.transitions.number(m) == self.links.transitions.number(other)

    # ---- what happens --------------------------------------------------------------------

    def _take(self, int kind, uint32_t node, uint32_t other):
        if kind == BEAT:
            self.time += 1
        elif kind == WAIT:
            self.time = (self.time >> 4) + 1 << 4
        elif kind == UP:
            message = self._up(other).pop(0)
            if message == self.links.tree_messages.close:
                self._act(node, DROP, other)
            else:
                self._act(node, UP, other, message)
        elif kind == DOWN:
            self._act(node, DOWN, self._parent(node), self._down(node).pop(0))
        elif kind == DIAL:
            self._forget_link(node)
            self._act(other, ACCEPT, node)
            self._act(node, DIAL, other)
        elif kind == BREAK:
            self._forget_link(node)
        else:
            Live._take(self, kind, node, other)

    def _crash(self, uint32_t node):
        Live._crash(self, node)
        self._forget_link(node)
        for child in [i + 1 for i in self.links._children(node - 1)]:
            if self._parent(child) == node:
                self._forget_link(child)
            elif not any(self._holds_link(i, child) for i in self._peers(node)):
                self._up(child).clear()

    def _forget_link(self, uint32_t node):
        self._down(node).clear()
        if self._parent(node):
            self._act(node, LOSE, 0)
        for i in range(1, self.links.nodes + 1):
            if self._holds_link(i, node):
                self._act(i, DROP, node)
        self._up(node).clear()

    def _parent(self, int node):
        """Return the node that a node's uplink leads to; 0: none."""
        cdef TreeMember m = self.members[node - 1]
        if m.replica is None or not m.replica.domain.up:
            return 0
        return m.replica.domain.parent_node

    def _holds_link(self, int node, int child):
        cdef TreeMember m = self.members[node - 1]
        return m.replica is not None and m.replica.domain.downlink(child) is not NULL

    def _up(self, int node):
        return self.queues[self.links.up + node - 1]

    def _down(self, int node):
        return self.queues[self.links.down + node - 1]

    # ---- a step --------------------------------------------------------------------------

    def _act(self, uint32_t node, int kind, uint32_t other, message=None):
        cdef TreeMember m = self.members[node - 1]
        parent = self._parent(node)
        m.clock_ns = clock_of(self.time)
        Live._act(self, node, kind, other, message)
        if parent and kind != CRASH and not self._parent(node):
            self._down(node).clear()    # it has given the link up; what it sent is on its way
            if self._holds_link(parent, node):
                self._up(node).append(self.links.tree_messages.close)

    def _gone(self, uint32_t node):
        Live._gone(self, node)
        self.tree.crashed(node)

    def _judge(self, Member m):
        self.tree.stepped(m.replica)
        Live._judge(self, m)

    def _send(self, uint32_t node, uint32_t to, message):
        if to < UPWARD:
            Live._send(self, node, to, message)
        elif to == UPWARD:
            self._up(node).append(message)
        elif self._parent(to - DOWNWARD) == node:
            self._down(to - DOWNWARD).append(message)
