# distutils: language = c++
"""A trace once more, with machines that live on from step to step, under core/invariants.pyx.

Two things are checked by that. A violation that the exploration found is judged a second time, by
the checker that knows nothing of states and bytes. And whatever the trace, machines that were never
written and read back must come to the very states that the exploration says (``agrees``).
"""
from libc.stdint cimport uint32_t

from seatrial.core.codec cimport GRANTED, VOTE_REPLY
from seatrial.core.invariants cimport ClusterInvariants
from seatrial.harness.sim.exhaustive.actions cimport (
    CONNECT,
    CRASH,
    CUT,
    DELIVER,
    LATE,
    RESTART,
    SYNC,
)
from seatrial.harness.sim.exhaustive.cluster cimport Cluster
from seatrial.harness.sim.exhaustive.member cimport Disks, Member

from seatrial.core.errors import InvariantViolation, ProtocolError
from seatrial.harness.sim.exhaustive.cluster import KINDS


cdef class Live:
    """The nodes of a space's scope, all running and none elected."""

    def __init__(self, Cluster space):
        cdef Disks disks = Disks()
        self.space = space
        self.members = disks.members = space.members()
        self.queues = [[] for _ in range(space.words)]
        self.groups = [ClusterInvariants(disks) for _ in space.scope.members()]
        self._watch(disks)
        for member in self.members:
            (<Member>member).trusted = True     # the invariants judge it
        for node in range(1, space.nodes + 1):
            self._act(node, RESTART, sum([1 << i for i in [node, *self._peers(node)]]))

    def play(self, actions) -> str | None:
        """Take actions as Cluster.play does; return the violation that they come to."""
        try:
            for name, node, other in actions:
                self._take(KINDS[name], node, other)
        except (InvariantViolation, ProtocolError) as violation:
            return str(violation)
        return None

    def agrees(self) -> bool:
        """Whether nodes and connections are as those of the trace that the space played last."""
        return (all(self._as_reached(i, m) for i, m in enumerate(self.members))
                and all(self.queues[place] == self._expected(place)
                        for place in range(self.space.nodes, self.space.pasts)))

    def _as_reached(self, int i, Member m):
        return self.space.transitions.number(m) == self.space.reached[i]

    def _expected(self, int place):
        cdef uint32_t queue = self.space.reached[place]
        found = []
        while queue:
            found.append(self.space.messages.queues[queue].first)
            queue = self.space.messages.queues[queue].rest
        return found

    def _watch(self, disks):
        """Let further invariants judge the nodes, too."""

    # ---- what happens --------------------------------------------------------------------

    def _take(self, int kind, uint32_t node, uint32_t other):
        if kind == DELIVER or kind == LATE:
            self._act(node, kind, other, self._queue(other, node).pop(0))
        elif kind == CRASH:
            self._crash(node)
        elif kind == RESTART:
            running = [i for i in self._peers(node) if self._runs(i)]
            self._act(node, RESTART, sum([1 << i for i in running]))
            for i in running:
                self._act(i, CONNECT, node)
        else:
            if kind == CUT:
                self._queue(node, other).clear()
            self._act(node, kind, other)

    def _crash(self, uint32_t node):
        self._act(node, CRASH, 0)
        self._gone(node)
        for i in self._peers(node):
            self._queue(node, i).clear()
            self._queue(i, node).clear()
            if (<Member>self.members[i - 1]).linked(node):
                self._act(i, CUT, node)

    def _runs(self, int node):
        return (<Member>self.members[node - 1]).replica is not None

    def _queue(self, int sender, int receiver):
        return self.queues[self.space.queues[sender - 1][receiver - 1]]

    def _peers(self, int node):
        """Return the other nodes of a node's domain."""
        return [i + 1 for i in self.space._peers(node - 1)]

    def _group(self, int node):
        return self.groups[self.space.domain_of[node - 1]]

    # ---- a step --------------------------------------------------------------------------

    def _act(self, uint32_t node, int kind, uint32_t other, message=None):
        """A node's step, and what the invariants say of it before anybody hears of it."""
        cdef Member m = self.members[node - 1]
        cdef const char* p = NULL
        cdef size_t i
        if message is not None:
            p = self.space.messages.messages[message].data()
        if not m.act(kind, other, p):
            raise InvariantViolation(f"node {node} can't do that")
        if m.replica is None:
            return
        self._judge(m)
        if kind == SYNC:
            (<ClusterInvariants>self._group(node)).disk_shrank()
        for i in range(m.sent.size()):
            self._send(node, m.sent[i].node, m.sent[i].message)

    def _gone(self, uint32_t node):
        (<ClusterInvariants>self._group(node)).crashed(node)

    def _judge(self, Member m):
        cdef ClusterInvariants group = self._group(m.node)
        cdef size_t i
        for i in range(m.sent.size()):
            if self._grants(m.sent[i].message):
                group.granted(m.node, m.replica.raft.term, m.sent[i].node)
        group.stepped(m.replica)

    def _grants(self, uint32_t message):
        return (self.space.messages.kinds[message].type == VOTE_REPLY
                and self.space.messages.kinds[message].flags & GRANTED)

    def _send(self, uint32_t node, uint32_t to, message):
        self._queue(node, to).append(message)
