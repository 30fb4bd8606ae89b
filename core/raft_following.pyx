"""Raft's chapter on following: a leader's entries taken into the log, and acknowledged.

* An APPEND_REPLY counts what the follower's own disk holds *and* what was verified against
  this leader (``_flush_ack``).
* A log is cut only at a real conflict, never by a short or late message (``_on_append``).
* Followers stop believing in a leader whose disk stands still (``_follow``).
"""
from libc.stdint cimport uint32_t
from libc.string cimport memset

from seatrial.core.codec cimport (
    APPEND_REPLY,
    DAMAGED,
    HEARTBEAT_REPLY,
    MESSAGE_SIZE,
    Record,
    REJECTED,
)
from seatrial.core.invariant cimport must
from seatrial.core.marks cimport (
    DAMAGED_REPAIRED_BY_ENTRIES,
    DAMAGED_REPAIRED_BY_LATER_TERM,
    DAMAGED_REPAIRED_BY_SNAPSHOT,
    LOG_APPEND_INTO_SNAPSHOT,
    LOG_APPEND_REFUSED,
    LOG_END_CUT,
    mark,
)
from seatrial.core.mutant cimport (
    ACK_BEFORE_DURABLE,
    ACK_UNVERIFIED,
    COMMIT_BEYOND_VERIFIED,
    CONFLICT_NOT_TRUNCATED,
    DAMAGED_TRUSTED_EARLY,
    MATCH_FROM_HEARTBEAT,
    MUTANT,
    OLD_WRITE_COUNTS,
    PREVIOUS_TERM_UNCHECKED,
    seatrial_arm,
    SNAPSHOT_BEFORE_IT_REFUSED,
    STALE_APPEND_ACCEPTED,
    TRUNCATE_WITHOUT_CONFLICT,
    VOTE_NOT_PERSISTED,
)
from seatrial.core.raft_state cimport FOLLOWER, PRE_CANDIDATE

from seatrial.core.errors import ProtocolError


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


cdef class RaftFollowing(RaftMembers):
    cdef int _follow(self, const Message* m, uint64_t now_ns) except -1 nogil:
        """A leader of our term spoke: follow it."""
        cdef bint stalled
        if now_ns > self.spoken_ns + self.election_ns:      # silence is no standstill
            self.leader_durable_ns = now_ns
        self.spoken_ns = now_ns
        stalled = now_ns >= self.leader_durable_ns + 3 * self.election_ns
        if stalled and self.role == PRE_CANDIDATE:
            return 0                    # its disk stands still, and it does not see that
        if self.role != FOLLOWER or self.leader != m.sender:
            must(self.leader == 0 or self.leader == m.sender or MUTANT(VOTE_NOT_PERSISTED)
                 or MUTANT(STALE_APPEND_ACCEPTED),
                 b"two leaders in one term", self.term, self.leader, m.sender)
            self._become_follower(self.term, m.sender, now_ns)
        if not stalled:
            self.heard_ns = now_ns
            self._reset_election_timer(now_ns)
        return 0

    cdef int _verified(self, uint64_t index) noexcept nogil:
        """Entries up to ``index`` are the leader's. A disk that lost some is whole again when they
        are back, or when an entry of a later term came after where they were: that term's leader
        held all of them that were committed (leader completeness)."""
        if index > self.verified:
            self.verified = index
        if self.damaged_until and (self.verified >= self.damaged_until
                                   or MUTANT(DAMAGED_TRUSTED_EARLY)
                                   or self.log.term_at(self.verified) > self.damaged_term):
            mark(DAMAGED_REPAIRED_BY_SNAPSHOT if self.log.first > self.verified
                 else DAMAGED_REPAIRED_BY_ENTRIES if self.verified >= self.damaged_until
                 else DAMAGED_REPAIRED_BY_LATER_TERM)
            self.damaged_until = 0
        return 0

    cdef uint64_t _sure(self) noexcept nogil:
        """What this member may acknowledge: verified against the leader, and on our disk."""
        if MUTANT(ACK_BEFORE_DURABLE):
            return self.verified
        if MUTANT(ACK_UNVERIFIED):
            return self.durable_index
        return self.verified if self.verified < self.durable_index else self.durable_index

    cdef int _flush_ack(self) except -1 nogil:
        """Acknowledge what is verified and on our own disk, once for all that came together."""
        cdef Message m
        cdef uint64_t sure
        cdef int i
        if not self.ack_owed or self.leader == 0:
            return 0
        sure = self._sure()
        if sure <= self.acked and self.durable_index < self.verified:
            return 0
        i = self._peer(self.leader)
        memset(&m, 0, sizeof(m))
        m.header.type = APPEND_REPLY
        m.index = sure
        self._emit(&self.peers[i], &m)
        self.acked = sure
        self.ack_owed = self.durable_index < self.verified
        return 0

    cdef int _truncate(self, uint64_t index) except -1 nogil:
        """Cut a conflicting suffix, which can't be committed, out of log and write queue."""
        if not MUTANT(TRUNCATE_WITHOUT_CONFLICT):
            must(index > self.commit, b"cuts a committed entry", index, self.commit, self.term)
        self.log.truncate(index)
        self.mirror.truncated(index)
        self._unconfigured(index)
        if self.durable_index >= index:
            self.durable_index = index - 1
        if self.writing and self.writing_last >= index and not MUTANT(OLD_WRITE_COUNTS):
            self.writing_last = index - 1
        if self.next_persist > index:
            self.next_persist = index
        self.conflicts += 1
        mark(LOG_END_CUT)
        return 0

    cdef int _reply_append(self, const Message* m, bint rejected, uint64_t index,
                           uint64_t log_term) except -1 nogil:
        cdef Message r
        memset(&r, 0, sizeof(r))
        r.header.type = APPEND_REPLY
        r.header.flags = REJECTED if rejected else 0
        if rejected and self.damaged_until:
            r.header.flags |= DAMAGED
        r.index = index
        r.log_term = log_term
        r.commit = m.index              # which question this answers
        return self._emit(&self.peers[self._peer(m.sender)], &r)

    cdef uint64_t _guess_match(self, uint64_t index, uint64_t term) noexcept nogil:
        """The largest index <= ``index`` whose term is <= ``term``: skips whole terms of
        conflict (paper, end of 5.3)."""
        if index > self.log.last():
            index = self.log.last()
        while index > 0 and index + 1 >= self.log.first and self.log.term_at(index) > term:
            index -= 1
        return index

    cdef int _on_append(self, const Message* m, uint64_t now_ns) except -1 nogil:
        cdef const char* p = <const char*>m + MESSAGE_SIZE
        cdef const Record* r
        cdef uint64_t index, end = m.index + m.count
        cdef uint32_t i
        self._follow(m, now_ns)
        if MUTANT(SNAPSHOT_BEFORE_IT_REFUSED) and m.index + 1 < self.log.first:
            return self._reply_append(m, True, m.index, m.log_term)
        if m.index > self.log.last() or (m.index + 1 >= self.log.first
                                         and self.log.term_at(m.index) != m.log_term
                                         and not MUTANT(PREVIOUS_TERM_UNCHECKED)):
            index = self._guess_match(m.index, m.log_term)
            mark(LOG_APPEND_REFUSED)
            return self._reply_append(m, True, index, self.log.term_at(index))
        if MUTANT(TRUNCATE_WITHOUT_CONFLICT) and end < self.log.last():
            self._truncate(end + 1)
            if self.verified > end:
                self.verified = end
        for i in range(m.count):
            r = <const Record*>p
            index = m.index + 1 + i
            if r.index != index or r.term > m.term:
                with gil:
                    raise ProtocolError(f"APPEND of term {m.term} holds entry {r.index} of term "
                                        f"{r.term}: expected entry {index}")
            if index < self.log.first:      # our snapshot holds it: it is committed
                mark(LOG_APPEND_INTO_SNAPSHOT)
                p += r.length
                continue
            if (self.log.holds(index) and self.log.term_at(index) != r.term
                    and not MUTANT(CONFLICT_NOT_TRUNCATED)):
                must(index > self.verified, b"leader contradicts itself", index, self.verified,
                     self.term)
                self._truncate(index)
            if not self.log.holds(index):
                self._configured(self.log.append(r))
            p += r.length
        self._verified(max(end, self.log.first - 1))
        self.ack_owed = True
        if m.commit > self.commit:      # never beyond what is known to be the leader's
            index = m.commit if m.commit < self.verified else self.verified
            if MUTANT(COMMIT_BEYOND_VERIFIED):
                index = min(m.commit, self.log.last())
            if index > self.commit:
                self.commit = index
        return 0

    cdef int _on_heartbeat(self, const Message* m, uint64_t now_ns) except -1 nogil:
        cdef Message r
        cdef uint64_t index
        if m.log_term != self.leader_durable or m.log_term >= self.acked:
            self.leader_durable = m.log_term
            self.leader_durable_ns = now_ns
        self._follow(m, now_ns)
        index = m.commit if m.commit < self.verified else self.verified
        if MUTANT(COMMIT_BEYOND_VERIFIED):
            index = min(m.commit, self.log.last())
        if index > self.commit:
            self.commit = index
        memset(&r, 0, sizeof(r))
        r.header.type = HEARTBEAT_REPLY
        r.index = self.verified
        r.log_term = self._sure()       # an acknowledgement may have been lost
        if MUTANT(MATCH_FROM_HEARTBEAT):
            r.log_term = self.verified
        r.commit = m.index
        r.round = m.round if self.heard_ns == now_ns else 0     # a promise not to vote (leases)
        return self._emit(&self.peers[self._peer(m.sender)], &r)
