# distutils: language = c++
"""One node of a small tree of domains: the real replica, with a disk that has no more than it must.

As member.pyx, and beside that the ends of links: who dials, accepts and closes them is the shell's
business, and so the explorer's. The clock is everybody's, and exact (core/domain_encoding.pyx): it
shows how often it has jumped by more than any timer, and how many heartbeats have passed since.

Entries of clients are empty. A node that wants another node of its parent is not told which one.
"""
from seatrial.core.buffer cimport (
    Buffer,
    buffer_append,
    buffer_consume,
    buffer_free,
    buffer_init,
    buffer_size,
)
from seatrial.core.codec cimport FrameHeader, KIND_COMMAND, MARK
from seatrial.core.domain cimport Domain
from seatrial.core.progress cimport Progress
from seatrial.core.raft cimport Raft
from seatrial.core.raft_encoding cimport get, put
from seatrial.core.raft_state cimport LEADER
from seatrial.core.replica cimport Replica
from seatrial.harness.sim.exhaustive.actions cimport (
    ACCEPT,
    CONNECT,
    CUT,
    DELIVER,
    DIAL,
    DOWN,
    DROP,
    EXCLUDE,
    LOSE,
    PROPOSE,
    READMIT,
    RESTART,
    SYNC,
    TICK,
    UP,
)
from seatrial.harness.sim.exhaustive.member cimport Sent

from operator import methodcaller

from seatrial.core.tree import BadTree

BEGIN_NS = 1 << 50
ELECTION_NS = 1 << 30
HEARTBEAT_NS = 1                # as nothing beside an election timeout, however many there are
JUMP_NS = 8 * ELECTION_NS
LEASE_NS = ELECTION_NS // 2
EXCLUDE_AFTER_NS = 2 * ELECTION_NS

cdef uint64_t BEGIN = BEGIN_NS
cdef uint64_t JUMP = JUMP_NS


cdef uint64_t clock_of(uint32_t time) noexcept nogil:
    """What the clock shows after so many jumps (time >> 4) and heartbeats since (its rest)."""
    return BEGIN + (time >> 4) * JUMP + (time & 15)


cdef uint32_t time_of(uint64_t ns) noexcept nogil:
    """The same backwards; 1 for what is long ago."""
    if ns < BEGIN:
        return 1
    return <uint32_t>((ns - BEGIN) // JUMP << 4 | (ns - BEGIN) % JUMP)


cdef class TreeMember(Member):
    def __init__(self, node, configuration, states, messages, slow_disk, rest, options):
        self.rest = rest
        self.options = options
        self.domain = options["domain"]
        self.clock_ns = BEGIN
        buffer_init(&self.more)

    def __dealloc__(self):
        buffer_free(&self.more)

    def _new(self):
        cdef Replica replica = Replica(
            self.node, self.configuration, seed=1, now_ns=self.now_ns,
            heartbeat_ns=HEARTBEAT_NS, election_ns=ELECTION_NS, **self.options)
        replica.raft.pre_round = 0
        return replica

    cdef int act(self, int kind, uint32_t other, const char* message) except -1:
        self.now_ns = self.clock_ns
        return Member.act(self, kind, other, message)

    cdef int _input(self, int kind, uint32_t other, const char* message) except -1:
        cdef Raft raft = None if self.replica is None else self.replica.raft
        buffer_consume(&self.scratch, buffer_size(&self.scratch))
        if kind == DELIVER:
            if message[0] == MARK:
                self.rest.decode_frame(message, other, &self.scratch)
            else:
                self.states.decode_frame(message, other, self.node, &self.scratch)
            self.replica.feed_peer(other, self.scratch.data + self.scratch.start,
                                   buffer_size(&self.scratch), self.now_ns)
        elif kind == SYNC:
            self._synced()
        elif kind == TICK:
            raft.tick(self.now_ns)
        elif kind == PROPOSE:
            if raft.role != LEADER or not raft.assigning:
                return 0
            raft.propose(KIND_COMMAND, 0, 0, NULL, 0, 0, 0)
        elif kind == EXCLUDE or kind == READMIT:
            return self._change_tree(kind, <uint16_t>other)
        elif kind == RESTART:
            self._start(other)
        elif kind == CUT:
            raft.peer_down(other)
        elif kind == CONNECT:
            raft.peer_up(other, self.now_ns)
        else:
            return self._linked(kind, other, message)
        return 1

    cdef int _linked(self, int kind, uint32_t other, const char* message) except -1:
        """What happens to an end of a link; a connection is numbered as the node that made it."""
        cdef Domain domain = self.replica.domain
        if message is not NULL:
            self.rest.decode_frame(message, other, &self.scratch)
        if kind == ACCEPT:
            domain.link_up(other, self.domain + 1)
        elif kind == DROP:
            domain.link_down(other)
        elif kind == DIAL:
            domain.uplink_up(other, self.now_ns)
        elif kind == LOSE:
            domain.uplink_down()
        elif kind == UP:
            domain.receive_link(other, self.scratch.data + self.scratch.start,
                                buffer_size(&self.scratch), self.now_ns)
        elif kind == DOWN:
            domain.receive_uplink(self.scratch.data + self.scratch.start,
                                  buffer_size(&self.scratch), self.now_ns)
        return 1

    cdef int _change_tree(self, int kind, uint16_t domain) except -1:
        before = self.replica.tree()
        if before is None or before.domains[domain].held == (kind == EXCLUDE):
            return 0
        change = (methodcaller("exclude", domain, held=True) if kind == EXCLUDE
                  else methodcaller("release", domain))
        try:
            return self.replica.change_tree(change)
        except BadTree:
            return 0

    # ---- what the shell does -----------------------------------------------------------------

    cdef int _settle(self) except -1:
        self.replica.settle(self.now_ns)
        while self._hand_out() and not self.slow_disk:
            self._synced()
            self.replica.settle(self.now_ns)
        self.replica.domain.take_move()
        return 0

    cdef int _speak(self) except -1:
        cdef Raft raft = self.replica.raft
        cdef Domain domain = self.replica.domain
        cdef Progress* p
        cdef Buffer* out
        cdef int i
        for i in range(raft.places):
            p = &raft.peers[i]
            self._take_frames(p.node, p.out.data + p.out.start, p.out.data + p.out.end)
            buffer_consume(&p.out, buffer_size(&p.out))
        out = &domain.up_out
        self._take_frames(UPWARD, out.data + out.start, out.data + out.end)
        buffer_consume(out, buffer_size(out))
        if domain.linked:
            for i in range(domain.link_places):
                out = &domain.downlinks[i].out
                if domain.downlinks[i].connection:
                    self._take_frames(DOWNWARD + domain.downlinks[i].connection,
                                      out.data + out.start, out.data + out.end)
                    buffer_consume(out, buffer_size(out))
        return 0

    cdef int _take_frames(self, uint32_t to, const char* p, const char* end) except -1:
        cdef Sent sent
        while p < end:
            if to < UPWARD and (<const FrameHeader*>p).type != MARK:
                self._said(p)
            sent.node = to
            sent.message = self.messages.number(p)
            self.sent.push_back(sent)
            p += (<const FrameHeader*>p).length
        return 0

    # ---- as bytes ------------------------------------------------------------------------------

    cdef int encode(self, Buffer* out, const uint32_t* names) except -1:
        """Append its state: what is of the tree, then what Member writes."""
        buffer_consume(&self.more, buffer_size(&self.more))
        if self.replica is not None:
            self.rest.encode(self.replica, self.now_ns, &self.more, names)
        put(out, buffer_size(&self.more))
        buffer_append(out, self.more.data + self.more.start, buffer_size(&self.more))
        return Member.encode(self, out, names)

    cdef int decode(self, const char* p) except -1:
        cdef size_t size = get(&p)
        Member.decode(self, p + size)
        self.now_ns = self.clock_ns
        return 0 if self.replica is None else self.rest.decode(self.replica, self.now_ns, p)
