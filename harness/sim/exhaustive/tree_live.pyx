# distutils: language = c++
"""A trace of a tree once more, with replicas that live on, under the simulation's own checkers.

As live.pyx: core/invariants.pyx judges each domain, core/domain_invariants.pyx all of them; and
replicas that were never written and read back must come to the states that the exploration says.
"""
from libc.stdint cimport uint32_t

from seatrial.core.codec cimport GRANTED, VOTE_REPLY
from seatrial.core.domain_invariants cimport DomainInvariants
from seatrial.core.invariants cimport ClusterInvariants
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
    LOSE,
    RESTART,
    SYNC,
    UP,
    WAIT,
)
from seatrial.harness.sim.exhaustive.member cimport Disks
from seatrial.harness.sim.exhaustive.tree_member cimport (
    clock_of,
    DOWNWARD,
    TreeMember,
    UPWARD,
)
from seatrial.harness.sim.exhaustive.tree_space cimport TreeSpace

from seatrial.core.errors import InvariantViolation, ProtocolError
from seatrial.harness.sim.exhaustive.tree_space import NAMES, tree_members

UP_QUEUE, DOWN_QUEUE = "up", "down"


cdef class TreeLive:
    """The nodes of a space's scope, all running and none elected."""

    cdef TreeSpace space
    cdef list members
    cdef dict queues            # (sender, receiver), or (UP_QUEUE, child's node) -> messages
    cdef uint32_t time
    cdef list groups            # ClusterInvariants of each domain
    cdef DomainInvariants tree

    def __init__(self, TreeSpace space):
        cdef Disks disks = Disks()
        self.space = space
        self.members = disks.members = tree_members(space.scope, space.messages)
        self.queues = {}
        self.groups = [ClusterInvariants(disks) for _ in space.scope.domains]
        self.tree = DomainInvariants(disks)
        for member in self.members:
            (<TreeMember>member).trusted = True     # the invariants judge it
            self.tree.add_node(member.node, member.domain)
        for node in range(1, space.nodes + 1):
            self._act(node, RESTART, sum([2 << i for i in range(space.nodes)
                                          if self._domain(i + 1) == self._domain(node)]))

    def play(self, actions) -> str | None:
        """Take actions as TreeSpace.play does; return the violation that they come to."""
        try:
            for name, node, other in actions:
                self._take(NAMES[name], node, other)
        except (InvariantViolation, ProtocolError) as violation:
            return str(violation)
        return None

    def agrees(self) -> bool:
        """Whether nodes and connections are as those of the trace that the space played last."""
        cdef TreeMember m
        cdef int i, j
        for i, m in enumerate(self.members):
            m.now_ns = clock_of(self.time)      # what is gone by may have gone by since its step
            if m.replica is not None:
                m.replica.raft.now_ns = m.now_ns
            if self.space.transitions.number(m) != self._reached(i):
                return False
            for j in range(self.space.nodes):
                if self.space.queues[i][j] and self.queues.get(
                        (i + 1, j + 1), []) != self._expected(self.space.queues[i][j]):
                    return False
            if (self.queues.get((UP_QUEUE, i + 1), []) != self._expected(self.space.up + i)
                    or self.queues.get((DOWN_QUEUE, i + 1), [])
                    != self._expected(self.space.down + i)):
                return False
        return self.time == self.space.reached[self.space.time]

    def _reached(self, int i):
        """Return the number of the state that the exploration says, as it would be written now."""
        cdef TreeMember other = <TreeMember>self.space.transitions.members[i]
        other.clock_ns = clock_of(self.time)
        other.decode(self.space.transitions.locals_bytes[self.space.reached[i]].data())
        return self.space.transitions.number(other)

    def _expected(self, int place):
        cdef uint32_t queue = self.space.reached[place]
        found = []
        while queue:
            found.append(self.space.messages.queues[queue].first)
            queue = self.space.messages.queues[queue].rest
        return found

    def _domain(self, int node):
        return (<TreeMember>self.members[node - 1]).domain

    def _running(self, int domain):
        cdef TreeMember m
        return [m.node for m in self.members if m.replica is not None and m.domain == domain]

    def _parent(self, int node):
        """Return the node that a node's uplink leads to; 0: none."""
        cdef TreeMember m = self.members[node - 1]
        if m.replica is None or not m.replica.domain.up:
            return 0
        return m.replica.domain.parent_node

    def _holds_link(self, int node, int child):
        cdef TreeMember m = self.members[node - 1]
        return m.replica is not None and m.replica.domain.downlink(child) is not NULL

    def _take(self, int kind, uint32_t node, uint32_t other):
        if kind == BEAT:
            self.time += 1
        elif kind == WAIT:
            self.time = (self.time >> 4) + 1 << 4
        elif kind == DELIVER:
            self._act(node, kind, other, self.queues[other, node].pop(0))
        elif kind == UP:
            message = self.queues[UP_QUEUE, other].pop(0)
            if message == self.space.messages.close:
                self._act(node, DROP, other)
            else:
                self._act(node, UP, other, message)
        elif kind == DOWN:
            self._act(node, DOWN, self._parent(node), self.queues[DOWN_QUEUE, node].pop(0))
        elif kind == DIAL:
            self._forget_link(node)
            self._act(other, ACCEPT, node)
            self._act(node, DIAL, other)
        elif kind == BREAK:
            self._forget_link(node)
        elif kind == CRASH:
            self._crash(node)
        elif kind == RESTART:
            running = self._running(self._domain(node))
            self._act(node, RESTART, sum([1 << i for i in running]))
            for i in running:
                self._act(i, CONNECT, node)
        else:
            if kind == CUT:
                self.queues[node, other] = []
            self._act(node, kind, other)

    def _crash(self, uint32_t node):
        self._act(node, CRASH, 0)
        self.groups[self._domain(node) - 1].crashed(node)
        self.tree.crashed(node)
        self._forget_link(node)
        for i in range(1, self.space.nodes + 1):
            if i != node and self._domain(i) == self._domain(node):
                self.queues[node, i], self.queues[i, node] = [], []
                if (<TreeMember>self.members[i - 1]).linked(node):
                    self._act(i, CUT, node)
            if self._parent(i) == node:
                self._forget_link(i)
            elif self._domain(i) == self._domain(node) + 1 and not any(
                    self._holds_link(j, i) for j in range(1, self.space.nodes + 1)):
                self.queues[UP_QUEUE, i] = []

    def _forget_link(self, uint32_t node):
        self.queues[DOWN_QUEUE, node] = []
        if self._parent(node):
            self._act(node, LOSE, 0)
        for i in range(1, self.space.nodes + 1):
            if self._holds_link(i, node):
                self._act(i, DROP, node)
        self.queues[UP_QUEUE, node] = []

    def _act(self, uint32_t node, int kind, uint32_t other, message=None):
        """A node's step, and what the invariants say of it before anybody hears of it."""
        cdef TreeMember m = self.members[node - 1]
        cdef ClusterInvariants group = self.groups[m.domain - 1]
        cdef const char* p = NULL
        cdef size_t i
        cdef int parent = self._parent(node)
        if message is not None:
            p = self.space.messages.messages[message].data()
        m.clock_ns = clock_of(self.time)
        if not m.act(kind, other, p):
            raise InvariantViolation(f"node {node} can't do that")
        if m.replica is None:
            return
        for i in range(m.sent.size()):
            if m.sent[i].node < UPWARD and self._grants(m.sent[i].message):
                group.granted(node, m.replica.raft.term, m.sent[i].node)
        self.tree.stepped(m.replica)
        group.stepped(m.replica)
        if kind == SYNC:
            group.disk_shrank()
        for i in range(m.sent.size()):
            self._send(node, m.sent[i].node, m.sent[i].message)
        if parent and not self._parent(node):
            self.queues[DOWN_QUEUE, node] = []
            if self._holds_link(parent, node):
                self.queues.setdefault((UP_QUEUE, node), []).append(self.space.messages.close)

    def _send(self, uint32_t node, uint32_t to, message):
        if to == UPWARD:
            self.queues.setdefault((UP_QUEUE, node), []).append(message)
        elif to < UPWARD:
            self.queues.setdefault((node, to), []).append(message)
        elif self._parent(to - DOWNWARD) == node:
            self.queues.setdefault((DOWN_QUEUE, to - DOWNWARD), []).append(message)

    def _grants(self, uint32_t message):
        return (self.space.messages.kinds[message].type == VOTE_REPLY
                and self.space.messages.kinds[message].flags & GRANTED)
