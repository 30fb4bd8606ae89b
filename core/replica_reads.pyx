# distutils: language = c++
"""A replica's chapter on linearizable reads: queued until it is known who leads, answered in order
(thesis, 6.4)."""
from seatrial.core.buffer cimport buffer_size
from libc.string cimport memcpy

from seatrial.core.codec cimport (
    BOUNDED,
    COMMAND_SIZE,
    PREFIX,
    STATUS_BUSY,
    STATUS_FENCED,
    STATUS_LOST,
    STATUS_TOO_OLD,
)
from seatrial.core.marks cimport (
    BUSY_WITH_OUTPUT,
    BUSY_WITH_READS,
    mark,
    READ_AFTER_LEASE_ENDED,
    READ_AT_FOLLOWER,
    READ_BY_LEASE,
    READ_BY_ROUND,
    READ_LOST,
)
from seatrial.core.mutant cimport (
    DOMAIN_READ_OF_APPLIED,
    DOMAIN_READ_OLD_CLOCK,
    DOMAIN_READ_UNCONFIRMED,
    DOMAIN_READ_WITHOUT_LEASE,
    FOLLOWER_READ_UNAPPLIED,
    MUTANT,
    READ_FROM_FOLLOWER,
    READ_UNCONFIRMED,
    seatrial_arm,
    TOKEN_IGNORED,
)
from seatrial.core.mirror cimport Coordinates, same
from seatrial.core.outcome cimport Outcome
from seatrial.core.raft_state cimport LEADER
from seatrial.core.replica_state cimport BY_DOMAIN_LEASE, BY_LEADERSHIP, BY_ROOT

cdef enum:
    PATIENCE = 4                    # election timeouts that a read waits for other domains
    MAX_OUTPUT_BYTES = 4 << 20      # to one client at a time: small questions, large answers
    MAX_WAITING_READS = 1 << 16
    BY_LEASE_OR_ROOT = 3            # Read.way, until the next time that the clock is read

cdef uint64_t UNANSWERED = <uint64_t>-1     # Read.index of one that asked


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


cdef class ReplicaReads(ReplicaSnapshots):
    cdef int _read(self, Connection* c, const Request* r, const Command* q) except -1 nogil:
        """Queue a linearizable read: at the leader until it is sure that it leads, at a follower
        until the leader said what it must have applied (thesis, 6.4)."""
        cdef const char* key = <const char*>q + COMMAND_SIZE
        cdef Read read
        cdef Outcome out
        if r.header.flags & (PREFIX | BOUNDED):
            return self._read_prefix(c, r, q)
        if MUTANT(READ_UNCONFIRMED) or MUTANT(READ_FROM_FOLLOWER) and self.raft.role != LEADER:
            self.kv.query(q.op, key, q.key_length, key + q.key_length, q.value_length, &out)
            return self._respond(c, r.request, out.status, out.has_value, out.value,
                                 out.value_length, self.kv.applied)
        if self.raft.role != LEADER and self.raft.leader == 0:
            return self._not_leader(c, r.request)
        if self.reads.size() >= MAX_WAITING_READS:
            mark(BUSY_WITH_READS)
            self.refused += 1
            return self._respond(c, r.request, STATUS_BUSY, False, NULL, 0, 0)
        read.connection = c.id
        read.request = r.request
        read.term = self.raft.term
        read.round = read.index = read.ticket = read.deadline_ns = read.bound_ns = 0
        read.way = BY_LEADERSHIP
        if self.raft.role != LEADER:
            if not self.domain.is_root():
                return self._not_leader(c, r.request)   # (who asks the root, asks for all)
            read.ticket = self.raft.ask_read_index()
            read.index = UNANSWERED
        elif not self.raft.assigning:
            read.way = BY_LEASE_OR_ROOT     # which, is known when the time is: _confirm_reads
        else:
            read.index = self.raft.read_floor()
            if self.raft.lease_ns == 0:
                read.round = self.raft.want_round()
        read.op = q.op
        read.key.assign(key, q.key_length)
        read.argument.assign(key + q.key_length, q.value_length)
        self.reads.push_back(read)
        return 0

    cdef int _confirm_reads(self, uint64_t now_ns) except -1 nogil:
        """Reads that came while we held a lease and wait: without it they need a round.

        In a child: may those that came since the last time be answered here? The clock was read
        after they came, so whatever was acknowledged before they were asked, our mirror holds if
        our lease still runs. (The time of the step before would not do: we may have been paused.)
        """
        cdef size_t i = self.reads.size()
        cdef bint leased
        if i and self.reads[i - 1].way == BY_LEASE_OR_ROOT and self.raft.role == LEADER:
            if not MUTANT(DOMAIN_READ_OLD_CLOCK):
                self.domain.now_ns = max(self.domain.now_ns, now_ns)
            leased = self.domain.holds_domain_lease() or MUTANT(DOMAIN_READ_WITHOUT_LEASE)
            while i > 0 and self.reads[i - 1].way == BY_LEASE_OR_ROOT:
                i -= 1
                if leased:
                    self.reads[i].way = BY_DOMAIN_LEASE
                    self.reads[i].index = (self.kv.applied if MUTANT(DOMAIN_READ_OF_APPLIED)
                                           else self.raft.mirror.end)
                    self.reads[i].round = self.raft.want_round()
                else:
                    self.reads[i].way = BY_ROOT
                    self.reads[i].ticket = self.domain.ask_root()
                    self.reads[i].index = UNANSWERED
                    self.reads[i].deadline_ns = now_ns + PATIENCE * self.raft.election_ns
            i = self.reads.size()
        if self.raft.lease_ns == 0 or self.raft.role != LEADER or self.raft.holds_lease(now_ns):
            return 0
        while i > 0 and self.reads[i - 1].round == 0:
            i -= 1
            self.reads[i].round = self.raft.want_round()
            mark(READ_AFTER_LEASE_ENDED)
        return 0

    cdef bint _read_lost(self, const Read* r) noexcept nogil:
        """Who was to vouch for it no longer does."""
        if r.way != BY_LEADERSHIP:
            return self.raft.term != r.term or self.raft.role != LEADER
        if self.raft.term != r.term or (r.ticket == 0) != (self.raft.role == LEADER):
            return True
        return self.raft.leader == 0

    cdef bint _read_ready(self, Read* r, uint64_t now_ns) noexcept nogil:
        if r.way == BY_ROOT:            # (each later answer will do, too)
            return r.index != UNANSWERED and (
                self.kv.applied >= min(r.index, self.domain.ticket_rindex))
        if r.way == BY_DOMAIN_LEASE:    # (a cut mirror never gets further than it is)
            if r.index > self.raft.mirror.end:
                r.index = self.raft.mirror.end
            return self.kv.applied >= r.index and (self.raft.round_confirmed >= r.round
                                                   or MUTANT(DOMAIN_READ_UNCONFIRMED))
        if r.ticket:
            return r.index != UNANSWERED and (self.kv.applied >= r.index
                                              or MUTANT(FOLLOWER_READ_UNAPPLIED))
        if self.kv.applied < r.index:
            return False
        if r.round == 0:
            return self.raft.holds_lease(now_ns)
        return self.raft.round_confirmed >= r.round

    cdef int _learn_indexes(self) noexcept nogil:
        """Give reads that asked what must be applied for them, as soon as that is answered: what
        later answers name moves on with the writes, and who applies slowly would never get there.
        """
        cdef size_t i
        cdef Read* r
        if (self.domain.ticket_answered == self.seen_answer[0]
                and self.raft.ticket_answered == self.seen_answer[1]):
            return 0
        self.seen_answer[0] = self.domain.ticket_answered
        self.seen_answer[1] = self.raft.ticket_answered
        for i in range(self.reads.size()):
            r = &self.reads[i]
            if r.ticket == 0 or r.index != UNANSWERED:
                continue
            if r.way == BY_ROOT:
                if self.domain.ticket_answered >= r.ticket:
                    r.index = self.domain.ticket_rindex
            elif self.raft.ticket_answered >= r.ticket:
                r.index = self.raft.ticket_index
        return 0

    cdef int _serve_reads(self, uint64_t now_ns) except -1 nogil:
        """Answer the reads that may be answered now, in order."""
        cdef Read* r
        cdef Connection* c
        cdef Outcome out
        cdef bint lost, late
        self._serve_waiting(now_ns)
        self._learn_indexes()
        while not self.reads.empty():
            r = &self.reads.front()
            lost = self._read_lost(r)
            late = r.deadline_ns and now_ns > r.deadline_ns
            if not lost and not late and not self._read_ready(r, now_ns):
                break
            c = self._connection(r.connection)
            if c is not NULL:
                if late and not lost and not self._read_ready(r, now_ns):
                    self.refused += 1
                    self._respond(c, r.request, STATUS_FENCED, False, NULL, 0, 0)
                elif lost:
                    mark(READ_LOST)
                    self._not_leader(c, r.request)
                elif buffer_size(&c.output) > MAX_OUTPUT_BYTES:
                    mark(BUSY_WITH_OUTPUT)
                    self.refused += 1
                    self._respond(c, r.request, STATUS_BUSY, False, NULL, 0, 0)
                else:
                    self.kv.query(r.op, r.key.data(), r.key.size(), r.argument.data(),
                                  r.argument.size(), &out)
                    self._respond(c, r.request, out.status, out.has_value, out.value,
                                  out.value_length, self.kv.applied)
                    self.served_reads += 1
                    mark(READ_AT_FOLLOWER if r.ticket else READ_BY_ROUND if r.round
                         else READ_BY_LEASE)
            self.reads.pop_front()
        return 0

    # ---- reads of a prefix -----------------------------------------------------------------------

    cdef int _read_prefix(self, Connection* c, const Request* r, const Command* q) except -1 nogil:
        """Answer from what is applied here: as far as the session has seen already (its token),
        and, if it is to be bounded, not older than asked for."""
        cdef const char* key = <const char*>q + COMMAND_SIZE
        cdef const char* more = key + q.key_length + q.value_length
        cdef Coordinates token
        cdef uint64_t bound_ns = 0
        cdef Read read
        token.rindex = 0
        if q.expected_length >= sizeof(token):
            memcpy(&token, more, sizeof(token))
        if q.expected_length >= sizeof(token) + sizeof(bound_ns):
            memcpy(&bound_ns, more + sizeof(token), sizeof(bound_ns))
        if r.header.flags & BOUNDED:
            if bound_ns == 0:
                bound_ns = self.domain.bound_ns()
            if bound_ns == 0:
                self.refused += 1
                return self._respond(c, r.request, STATUS_TOO_OLD, False, NULL, 0, 0)
        if self._token_lost(token):
            self.refused += 1
            return self._respond(c, r.request, STATUS_LOST, False, NULL, 0, 0)
        read.connection, read.request = c.id, r.request
        read.op = q.op
        read.index = 0 if MUTANT(TOKEN_IGNORED) else token.rindex
        read.token = token
        read.deadline_ns = self.raft.now_ns + PATIENCE * self.raft.election_ns
        read.key.assign(key, q.key_length)
        read.argument.assign(key + q.key_length, q.value_length)
        read.bound_ns = bound_ns
        if self.kv.applied >= read.index and not bound_ns:
            return self._answer_read(c, &read)
        if self.waiting.size() >= MAX_WAITING_READS:
            mark(BUSY_WITH_READS)
            self.refused += 1
            return self._respond(c, r.request, STATUS_BUSY, False, NULL, 0, 0)
        self.waiting.push_back(read)
        return 0

    cdef bint _token_lost(self, Coordinates token) noexcept nogil:
        """Whether what a session has seen is not in the root's log any more: what is applied here,
        which all domains share, has another entry there. (What is only held here may be behind.)"""
        cdef Coordinates mine
        return (token.rindex != 0 and token.rindex <= self.kv.applied
                and self.raft.mirror.coordinates(token.rindex, &mine) and not same(mine, token))

    cdef int _answer_read(self, Connection* c, Read* r) except -1 nogil:
        cdef Outcome out
        self.kv.query(r.op, r.key.data(), r.key.size(), r.argument.data(), r.argument.size(), &out)
        self.served_reads += 1
        return self._respond(c, r.request, out.status, out.has_value, out.value, out.value_length,
                             self.kv.applied)

    cdef int _serve_waiting(self, uint64_t now_ns) except -1 nogil:
        """Answer the reads whose token is reached, if what they would show is not too old for
        them; give those up that have waited long enough."""
        cdef size_t n = self.waiting.size()
        cdef Connection* c
        cdef Read read
        for _ in range(n):
            read = self.waiting.front()
            self.waiting.pop_front()
            c = self._connection(read.connection)
            if c is NULL:
                continue
            if self._token_lost(read.token):
                self.refused += 1
                self._respond(c, read.request, STATUS_LOST, False, NULL, 0, 0)
            elif self.kv.applied >= read.index and (
                    read.bound_ns == 0 or self.domain.age_at(now_ns) <= read.bound_ns):
                self._answer_read(c, &read)
            elif now_ns > read.deadline_ns or self.kv.applied >= read.index:
                self.refused += 1
                self._respond(c, read.request, STATUS_TOO_OLD, False, NULL, 0, 0)
            else:
                self.waiting.push_back(read)
        return 0
