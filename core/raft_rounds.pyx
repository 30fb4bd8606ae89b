"""Raft's chapter on leadership rounds: heartbeats that prove who leads, and the reads they allow.

* A leader answers reads after a majority confirmed it in a round that began after the read
  came, at an index no smaller than its term's first entry (thesis, 6.4).
* A lease stands on what its followers promised: not to vote for an election timeout after they
  heard the leader, by their clocks; the leader counts from when it *sent* what they answered,
  less the drift of both clocks (``holds_lease``). It is void for the rest of the term once
  somebody was asked to stand for election.
* A follower asks the leader for such an index, one ticket for all reads that wait.
"""
from libc.string cimport memset

from seatrial.core.codec cimport HEARTBEAT, READ_INDEX, READ_INDEX_REPLY
from seatrial.core.marks cimport mark, READ_ASKED_LEADER_AGAIN
from seatrial.core.mutant cimport (
    LEASE_FROM_ANSWER,
    MUTANT,
    READ_BEFORE_NOOP,
    READ_JOINS_ASKED_TICKET,
    READ_OLD_ROUND,
    seatrial_arm,
)
from seatrial.core.quorum cimport joint_committed
from seatrial.core.raft_state cimport LEADER, ROUNDS


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


cdef class RaftRounds(RaftSnapshots):
    cdef uint64_t _heard_majority_ns(self, uint64_t now_ns) noexcept nogil:
        """When a leader had last heard from a majority."""
        cdef uint64_t[64] contact
        cdef int i
        for i in range(self.places):
            contact[i] = now_ns if i == self.me else self.peers[i].contact_ns
        return joint_committed(contact, self.voters, self.outgoing)

    cdef int _send_heartbeat(self, Progress* p) except -1 nogil:
        cdef Message m
        memset(&m, 0, sizeof(m))
        m.header.type = HEARTBEAT
        m.index = p.next_index - 1      # what it should hold by now, if nothing was lost
        m.log_term = self.durable_index
        m.commit = self.commit
        m.round = self.round_sent
        return self._emit(p, &m)

    cdef int _begin_round(self, uint64_t now_ns) except -1 nogil:
        """Ask all members whether they still follow; a majority of answers confirms the round."""
        cdef int i
        self.round_sent += 1
        self.round_ns[self.round_sent % ROUNDS] = now_ns
        if self._alone():
            self._confirm_rounds()
        for i in range(self.places):
            if i != self.me and self.replicas >> i & 1:
                self._send_heartbeat(&self.peers[i])
        return 0

    cdef int _broadcast_heartbeat(self, uint64_t now_ns) except -1 nogil:
        self.heartbeat_deadline_ns = now_ns + self.heartbeat_ns
        return self._begin_round(now_ns)

    cdef int _confirm_rounds(self) except -1 nogil:
        """See which round a majority has answered by now."""
        cdef uint64_t[64] rounds
        cdef int i
        for i in range(self.places):
            rounds[i] = self.round_sent if i == self.me else self.peers[i].round
        self.round_confirmed = joint_committed(rounds, self.voters, self.outgoing)
        if self.round_confirmed and self.round_sent - self.round_confirmed < ROUNDS:
            self.confirmed_ns = self.round_ns[self.round_confirmed % ROUNDS]
            self.lease_end_ns = self.confirmed_ns + self.lease_ns
            if MUTANT(LEASE_FROM_ANSWER):
                self.lease_end_ns = self._heard_majority_ns(self.now_ns) + self.lease_ns
        return 0

    cdef uint64_t want_round(self) noexcept nogil:
        """Ask for a confirmation of leadership that begins now; return its number."""
        if MUTANT(READ_OLD_ROUND) and self.round_confirmed:
            return self.round_confirmed
        self.round_wanted = self.round_sent + 1
        return self.round_wanted

    cdef bint holds_lease(self, uint64_t now_ns) noexcept nogil:
        """Whether nobody else can have been elected yet (thesis, 6.4.1): a majority answered what
        we sent less than a lease ago, and withholds its votes for longer than that."""
        return (self.role == LEADER and self.lease_ns > 0 and not self.lease_void
                and now_ns < self.lease_end_ns)

    cdef uint64_t read_floor(self) noexcept nogil:
        """The index a linearizable read must see applied (thesis, 6.4, steps 1 and 2)."""
        if MUTANT(READ_BEFORE_NOOP):
            return self.commit
        return self.commit if self.commit > self.term_start else self.term_start

    cdef uint64_t ask_read_index(self) noexcept nogil:
        """Number a read that came to this follower; it may be answered once ``ticket_answered``
        is that large and ``ticket_index`` is applied. One question at a time is on its way."""
        if self.ticket == self.ticket_asked and not (MUTANT(READ_JOINS_ASKED_TICKET)
                                                     and self.ticket > self.ticket_answered):
            self.ticket += 1
        return self.ticket

    cdef int _repeat_ticket(self, uint64_t now_ns) except -1 nogil:
        """Ask the leader, and again where nothing comes back."""
        cdef Message m
        if self.leader == 0 or self.ticket_answered == self.ticket:
            return 0
        if (self.ticket_asked > self.ticket_answered and self.ticket_ns
                and now_ns < self.ticket_ns + self.election_ns):
            return 0
        if self.ticket_asked == self.ticket:
            mark(READ_ASKED_LEADER_AGAIN)
        self.ticket_asked = self.ticket
        self.ticket_ns = now_ns
        memset(&m, 0, sizeof(m))
        m.header.type = READ_INDEX
        m.round = self.ticket
        return self._emit(&self.peers[self._peer(self.leader)], &m)

    cdef int _on_read_index(self, Progress* p, const Message* m) except -1 nogil:
        if self.role == LEADER and m.round > p.ticket:
            p.ticket = m.round
            p.ticket_round = self.want_round()
            p.ticket_index = self.read_floor()
        return 0

    cdef int _answer_tickets(self) except -1 nogil:
        cdef Message m
        cdef Progress* p
        cdef int i
        for i in range(self.places):
            p = &self.peers[i]
            if p.ticket and self.round_confirmed >= p.ticket_round:
                memset(&m, 0, sizeof(m))
                m.header.type = READ_INDEX_REPLY
                m.round = p.ticket
                m.index = p.ticket_index
                p.ticket = 0
                self._emit(p, &m)
        return 0

    cdef int _on_read_index_reply(self, const Message* m) except -1 nogil:
        if self.ticket_answered < m.round <= self.ticket_asked:
            self.ticket_answered = m.round
            self.ticket_index = m.index
        return 0
