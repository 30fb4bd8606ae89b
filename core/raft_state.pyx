"""What a Raft knows, and the few things every part of it does: frames, timers, stepping down.

The consensus machine is one class in chapters, a file each, each building on the one before:

    raft_state      the fields; sending; the election timer; becoming a follower
    raft_members    who takes part
    raft_following  a follower's log and what it acknowledges
    raft_snapshots  what those are sent who lack what the log no longer holds
    raft_rounds     heartbeats, leadership rounds, leases, reads
    raft_leading    a leader's proposals, appends and commit index
    raft_elections  votes, candidates, handing over
    raft            the doors: time, frames, the disk's word, connections
"""
from libc.string cimport memset

from seatrial.core.buffer cimport (
    buffer_append,
    buffer_consume,
    buffer_free,
    buffer_init,
    buffer_size,
)
from seatrial.core.codec cimport MESSAGE_SIZE, plain_crc, set_length, VOTE_REPLY
from seatrial.core.invariant cimport must
from seatrial.core.log cimport Slot
from seatrial.core.marks cimport mark, ROLE_FOLLOWER_TO_FOLLOWER
from seatrial.core.mutant cimport (
    MUTANT,
    seatrial_arm,
    STEP_DOWN_KEEPS_WAITERS,
    VOTE_BEFORE_DURABLE,
    VOTE_NOT_PERSISTED,
)


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


cdef class RaftState:
    def __dealloc__(self):
        cdef int i
        for i in range(self.places):
            buffer_free(&self.peers[i].input)
            buffer_free(&self.peers[i].out)
            buffer_free(&self.peers[i].held)
        buffer_free(&self.orphans)
        buffer_free(&self.configs)
        buffer_free(&self.base_config)

    cdef int _peer(self, uint32_t node) noexcept nogil:
        """The place of a node, -1 when it has none."""
        cdef int i
        for i in range(self.places):
            if self.peers[i].node == node:
                return i
        return -1

    cdef int _place(self, uint32_t node) except -1 nogil:
        """The place of a node, which gets one if need be. There are twice as many as members;
        those of other nodes are used again, of nodes that are not connected first, but never
        the leader's nor that of who is just being listened to."""
        cdef int i, place = self._peer(node)
        cdef Progress* p
        if place >= 0:
            return place
        if self.places < MAX_PLACES:
            place = self.places
            self.places += 1
        else:
            for i in range(self.places):
                if (not self.replicas >> i & 1 and i != self.me and i != self.speaking
                        and self.peers[i].node != self.leader):
                    if place < 0 or self.peers[place].connected:
                        place = i
            must(place >= 0, b"no place for another node", node)
        p = &self.peers[place]
        buffer_free(&p.input)
        buffer_free(&p.out)
        buffer_free(&p.held)
        memset(p, 0, sizeof(Progress))
        buffer_init(&p.input)
        buffer_init(&p.out)
        buffer_init(&p.held)
        p.node = node
        return place

    cdef uint64_t _random(self) noexcept nogil:
        """splitmix64 (Steele, Lea, Flood 2014)."""
        cdef uint64_t z
        self.random_state += <uint64_t>0x9E3779B97F4A7C15
        z = self.random_state
        z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
        z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
        return z ^ (z >> 31)

    cdef uint64_t draw(self) noexcept nogil:
        """A random number for what belongs to this node's machine."""
        return self._random()

    cdef void _reset_election_timer(self, uint64_t now_ns) noexcept nogil:
        """Wait for one to two election timeouts from now (paper, 5.2); where another voter should
        rather lead, give it a start of half a one."""
        cdef uint64_t start = 0
        cdef int i
        for i in range(self.places):
            if self.voters >> i & 1 and self.peers[i].priority > self.peers[self.me].priority:
                start = self.election_ns // 2
        self.election_deadline_ns = (now_ns + start + self.election_ns
                                     + self._random() % self.election_ns)

    cdef int _emit(self, Progress* p, Message* m) except -1 nogil:
        """Send a frame without records; hold it until the term it speaks in is durable."""
        cdef Buffer* to
        if not p.connected:
            return 0
        set_length(&m.header, MESSAGE_SIZE)
        m.sender = self.node
        m.receiver = p.node
        m.term = self.term
        m.header.crc = plain_crc(<const char*>m)
        to = &p.out if self.durable_version == self.state_version else &p.held
        if (MUTANT(VOTE_NOT_PERSISTED) or MUTANT(VOTE_BEFORE_DURABLE)) \
                and m.header.type == VOTE_REPLY:
            to = &p.out
        return buffer_append(to, m, MESSAGE_SIZE)

    cdef uint64_t deadline_ns(self) noexcept nogil:
        return self.heartbeat_deadline_ns if self.role == LEADER else self.election_deadline_ns

    cdef bint _disk_stalls(self, uint64_t now_ns) noexcept nogil:
        """A group write has taken longer than an election timeout, and still does."""
        return self.writing and now_ns > self.writing_since_ns + self.election_ns

    cdef int _orphan_waiters(self) except -1 nogil:
        """Nobody here can promise the entries beyond the commit index any more."""
        cdef uint64_t i
        cdef Slot* s
        cdef Orphan orphan
        for i in range(self.commit + 1, self.log.last() + 1):
            s = self.log.slot(i)
            if s.connection and not MUTANT(STEP_DOWN_KEEPS_WAITERS):
                orphan.connection = s.connection
                orphan.request = s.request
                buffer_append(&self.orphans, &orphan, sizeof(Orphan))
                s.connection = 0
        return 0

    cdef int _become_follower(self, uint64_t term, uint32_t leader,
                              uint64_t now_ns) except -1 nogil:
        """Follow ``leader`` (0: nobody yet). Who stood for election or waited to do so goes on
        waiting as long as before: a later term alone is no reason (paper, 5.2), or candidates
        that can't win would keep the one that could from its turn for ever."""
        self._enter_term(term, leader, now_ns)
        if self.role != FOLLOWER:
            self._turn(FOLLOWER)
        return 0

    cdef void _turn(self, int role) noexcept nogil:
        """Take on a role."""
        mark(ROLE_FOLLOWER_TO_FOLLOWER + 4 * self.role + role)
        self.role = role

    cdef int _enter_term(self, uint64_t term, uint32_t leader, uint64_t now_ns) except -1 nogil:
        """Go by this term and its leader, leaving what belonged to the role so far."""
        cdef int i
        must(term >= self.term, b"term goes back", term, self.term)
        if self.role == LEADER:
            self._orphan_waiters()
            self._reset_election_timer(now_ns)
            self.transfer_to = 0
        if term > self.term:
            self.term = term
            self.vote = 0
            self.verified = 0           # what a term's leader holds stays so for the whole term
            self.acked = 0
            self.leader_durable = 0
            self.leader_durable_ns = now_ns
            self.state_version += 1
            for i in range(self.places):    # what it said in older terms is void
                buffer_consume(&self.peers[i].held, buffer_size(&self.peers[i].held))
        self.leader = leader
        self.ack_owed = False
        self.ticket_ns = 0
        return 0
