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
from seatrial.harness.sim.exhaustive.member cimport Disks, Member
from seatrial.harness.sim.exhaustive.space cimport Space

from seatrial.core.errors import InvariantViolation, ProtocolError
from seatrial.harness.sim.exhaustive.space import NAMES, members


cdef class Live:
    """The nodes of a space's scope, all running and none elected."""

    cdef Space space
    cdef list members
    cdef dict queues            # (sender, receiver) -> numbers of messages
    cdef ClusterInvariants invariants

    def __init__(self, Space space):
        cdef Disks disks = Disks()
        self.space = space
        self.members = disks.members = members(space.scope, space.states, space.messages)
        for member in self.members:
            (<Member>member).trusted = True     # the invariants judge it
        self.queues = {}
        self.invariants = ClusterInvariants(disks)
        for node in range(1, space.nodes + 1):
            self._act(node, RESTART, (2 << space.nodes) - 2)

    def play(self, actions) -> str | None:
        """Take actions as Space.play does; return the violation that they come to."""
        try:
            for name, node, other in actions:
                self._take(NAMES[name], node, other)
        except (InvariantViolation, ProtocolError) as violation:
            return str(violation)
        return None

    def agrees(self) -> bool:
        """Whether nodes and connections are as those of the trace that the space played last."""
        cdef Member m
        cdef int i, j
        for i, m in enumerate(self.members):
            if self.space.transitions.number(m) != self.space.reached[i]:
                return False
            for j in range(self.space.nodes):
                if i != j and self.queues.get((i + 1, j + 1), []) != self._expected(i, j):
                    return False
        return True

    def _expected(self, int i, int j):
        cdef uint32_t queue = self.space.reached[self.space._queue(i, j)]
        found = []
        while queue:
            found.append(self.space.messages.queues[queue].first)
            queue = self.space.messages.queues[queue].rest
        return found

    def _take(self, int kind, uint32_t node, uint32_t other):
        if kind == DELIVER or kind == LATE:
            self._act(node, kind, other, self.queues[other, node].pop(0))
        elif kind == CRASH:
            self._act(node, CRASH, 0)
            self.invariants.crashed(node)
            for i in self._running():
                self.queues[node, i] = []
                self.queues[i, node] = []
                if (<Member>self.members[i - 1]).linked(node):
                    self._act(i, CUT, node)
        elif kind == RESTART:
            running = self._running()
            self._act(node, RESTART, sum(1 << i for i in running))
            for i in running:
                self._act(i, CONNECT, node)
        else:
            if kind == CUT:
                self.queues[node, other] = []
            self._act(node, kind, other)

    def _running(self):
        cdef Member m
        return [m.node for m in self.members if m.replica is not None]

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
        for i in range(m.sent.size()):
            if self._grants(m.sent[i].message):
                self.invariants.granted(node, m.replica.raft.term, m.sent[i].node)
        self.invariants.stepped(m.replica)
        if kind == SYNC:
            self.invariants.disk_shrank()
        for i in range(m.sent.size()):
            self.queues.setdefault((node, m.sent[i].node), []).append(m.sent[i].message)

    def _grants(self, uint32_t message):
        return (self.space.messages.kinds[message].type == VOTE_REPLY
                and self.space.messages.kinds[message].flags & GRANTED)
