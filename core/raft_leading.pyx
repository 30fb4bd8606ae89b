"""Raft's chapter on leading: proposals, changes of the members, appends, the commit index.

Only entries of the current term commit by counting (``_advance_commit``; paper, 5.4.2); the
leader's own disk counts as one member's, in parallel with the others'.
"""
from cpython.bytes cimport PyBytes_AS_STRING
from libc.string cimport memcpy, memset

from seatrial.core.buffer cimport Buffer, buffer_reserve
from seatrial.core.codec cimport (
    APPEND,
    append_crc,
    DAMAGED,
    KIND_ADOPT,
    KIND_BASE,
    KIND_CONFIG,
    KIND_NOOP,
    MESSAGE_SIZE,
    Record,
    record_crc,
    RECORD_SIZE,
    REJECTED,
    set_length,
)
from seatrial.core.invariant cimport must
from seatrial.core.log cimport Slot
from seatrial.core.mirror cimport RootTerm
from seatrial.core.marks cimport (
    CHANGE_JOINT_ENTERED,
    CHANGE_JOINT_LEFT,
    CHANGE_REFUSED_AS_IMPOSSIBLE,
    CHANGE_REFUSED_AS_ONE_IS_UNDER_WAY,
    CHANGE_REFUSED_BEFORE_NOOP,
    CHANGE_REFUSED_DURING_TRANSFER,
    CHANGE_SIMPLE,
    DAMAGED_FOLLOWER_SEEN,
    LOG_LOSS_SEEN_BY_HEARTBEAT,
    LOG_PROBE_REPEATED,
    LOG_WINDOW_FULL,
    mark,
    RESIGNED_AS_REMOVED,
    SNAPSHOT_SENT,
)
from seatrial.core.mutant cimport (
    CHANGE_BEFORE_NOOP,
    CHANGES_OVERLAP,
    CHILD_ASSIGNS,
    COMMIT_OLD_TERM,
    DAMAGED_MATCH_KEPT,
    JOINT_BY_NEW_HALF_ONLY,
    LEADER_COUNTS_ITSELF,
    LEARNER_COUNTS,
    MATCH_FROM_REFUSAL,
    MUTANT,
    PROBE_NEVER_REPEATED,
    REMOVED_LEADER_STAYS,
    seatrial_arm,
)
from seatrial.core.progress cimport PROBE, SNAPSHOTTED, STREAM
from seatrial.core.quorum cimport joint_committed
from seatrial.core.raft_state cimport LEADER
from seatrial.core.tree cimport TreeView

from seatrial.core.membership import BadConfiguration


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


cdef class RaftLeading(RaftRounds):
    cdef int propose(self, uint8_t kind, uint64_t client, uint64_t sequence, const char* payload,
                     size_t size, uint32_t connection, uint64_t request) except -1 nogil:
        """Append an entry of our own term; only a leader may. Sent and written by ``pump``. In the
        root it gets the next root coordinates; elsewhere, and if it tells what the mirror is, it is
        a local one."""
        return self._propose(kind, client, sequence, payload, size, NULL, 0, connection, request)

    cdef int propose_two(self, uint8_t kind, const char* head, size_t head_size,
                         const char* rest, size_t rest_size) except -1 nogil:
        """``propose`` a payload in two parts."""
        return self._propose(kind, 0, 0, head, head_size, rest, rest_size, 0, 0)

    cdef int copy(self, const Record* theirs) except -1 nogil:
        """Append a root entry that another domain's log holds, with its coordinates."""
        cdef Record* r
        cdef uint64_t index
        must(self.role == LEADER and theirs.rindex != 0, b"copies without leading", self.role,
             theirs.rindex)
        r = self.log.reserve(theirs.length)
        index = r.index
        memcpy(r, theirs, theirs.length)    # (its check is not of its local coordinates)
        r.index = index
        r.term = self.term
        self.log.slot(index).term = self.term
        return self._configured(r)

    cdef bint assigns(self) noexcept nogil:
        """Whether this domain is the root: by the newest tree, and by its log, which holds no
        other domain's entries after its own."""
        cdef const TreeView* tree = self.mirror.tree()
        cdef RootTerm adopted = self.mirror.adopted_at(self.log.last())
        if adopted.epoch and (adopted.epoch & 0xffff) != self.domain:
            return False
        if tree is NULL:
            return not self.child or MUTANT(CHILD_ASSIGNS)
        return tree.domains[tree.root].id == self.domain

    cdef uint64_t epoch(self) noexcept nogil:
        """The epoch in which this domain assigns coordinates: its number, and who we are."""
        cdef const TreeView* tree = self.mirror.tree()
        return (tree.epoch if tree is not NULL else 1) << 16 | self.domain

    cdef int _propose(self, uint8_t kind, uint64_t client, uint64_t sequence, const char* payload,
                      size_t size, const char* rest, size_t rest_size, uint32_t connection,
                      uint64_t request) except -1 nogil:
        cdef bint local = not self.assigning or KIND_ADOPT <= kind <= KIND_BASE
        cdef Record* r
        cdef Slot* s
        must(not local or kind == KIND_NOOP or kind == KIND_CONFIG or kind >= KIND_ADOPT,
             b"assigns root coordinates in a domain that is not the root", kind, self.domain)
        must(self.role == LEADER, b"proposes without leading", self.role, self.term)
        must(self.term >= self.log.last_term(), b"log of a later term than ours", self.term,
             self.log.last_term())
        r = self.log.reserve(RECORD_SIZE + size + rest_size)
        r.term = self.term
        r.rindex = 0 if local else self.mirror.end + 1
        r.epoch = 0 if local else self.epoch()
        r.rterm = 0 if local else self.term
        r.client = client
        r.sequence = sequence
        r.kind = kind
        r.flags = 0
        r.reserved16 = 0
        r.reserved32 = 0
        if size:
            memcpy(<char*>r + RECORD_SIZE, payload, size)
        if rest_size:
            memcpy(<char*>r + RECORD_SIZE + size, rest, rest_size)
        r.crc = record_crc(r)
        s = self.log.slot(r.index)
        s.term = self.term
        s.connection = connection
        s.request = request
        return self._configured(r)

    def _propose_config(self, bytes payload, uint32_t connection, uint64_t request):
        self.propose(KIND_CONFIG, 0, 0, PyBytes_AS_STRING(payload), len(payload), connection,
                     request)

    def change(self, changes, uint32_t connection=0, uint64_t request=0) -> None:
        """Propose another configuration; more than one voter at once goes by way of a joint one,
        which the leader leaves by itself.

        Raises BadConfiguration where the change can't be made, or not now: one is under way, or
        this leader's term has no committed entry yet. Without that rule two leaders can each
        change one server and commit with majorities that don't overlap (Ongaro, "bug in
        single-server membership changes", raft-dev 2015).
        """
        must(self.role == LEADER, b"changes members without leading", self.role, self.term)
        if self.commit < self.term_start and not MUTANT(CHANGE_BEFORE_NOOP):
            mark(CHANGE_REFUSED_BEFORE_NOOP)
            raise BadConfiguration("this leader has not committed an entry of its term yet")
        if self.commit < self.config_index and not MUTANT(CHANGES_OVERLAP):
            mark(CHANGE_REFUSED_AS_ONE_IS_UNDER_WAY)
            raise BadConfiguration("the change before this one is not committed yet")
        if self.transfer_to:
            mark(CHANGE_REFUSED_DURING_TRANSFER)
            raise BadConfiguration("leadership is being handed over")
        now = self.configuration()
        try:
            after = now.enter_joint(changes, True)
            if len(after.voters ^ now.voters) <= 1:
                after = now.simple(changes)
        except BadConfiguration:
            mark(CHANGE_REFUSED_AS_IMPOSSIBLE)
            raise
        mark(CHANGE_JOINT_ENTERED if after.joint else CHANGE_SIMPLE)
        self._propose_config(after.encode(), connection, request)

    cdef int _leave_joint(self) except -1 nogil:
        """The joint configuration is committed: go on with its new half alone (thesis, 4.3)."""
        with gil:
            payload = self.configuration().leave_joint().encode()
            self._propose_config(payload, 0, 0)
        mark(CHANGE_JOINT_LEFT)
        return 0

    cdef int _send_append(self, Progress* p, uint64_t end) except -1 nogil:
        """Send entries [next_index, end) with what precedes them; ``end`` may add nothing."""
        cdef size_t size = 0
        cdef const char* records = NULL
        cdef Message* m
        cdef Buffer* to
        must(self.durable_version == self.state_version, b"leads in a term that is not durable")
        if end > p.next_index:
            records = self.log.range_bytes(p.next_index, end, &size)
        to = &p.out
        m = <Message*>buffer_reserve(to, MESSAGE_SIZE + size)
        memset(m, 0, MESSAGE_SIZE)
        if size:
            memcpy(<char*>m + MESSAGE_SIZE, records, size)
        set_length(&m.header, MESSAGE_SIZE + size)
        m.header.type = APPEND
        m.sender = self.node
        m.receiver = p.node
        m.term = self.term
        m.index = p.next_index - 1
        m.log_term = self.log.term_at(p.next_index - 1)
        m.commit = self.commit
        m.count = <uint32_t>(end - p.next_index)
        m.header.crc = append_crc(<const char*>m, MESSAGE_SIZE)
        to.end += m.header.length
        return 0

    cdef int _send_appends(self, Progress* p, uint64_t now_ns) except -1 nogil:
        """Send what the member's state and window allow."""
        cdef uint64_t end, unacked
        if not p.connected:
            return 0
        if p.state == PROBE and p.probing and (now_ns < p.probe_ns + self.election_ns
                                               or MUTANT(PROBE_NEVER_REPEATED)):
            return 0                    # it was just asked what it has
        if p.next_index < self.log.first and p.state != SNAPSHOTTED:
            must(self.snapshot.complete, b"entries are gone and no snapshot holds them",
                 p.next_index, self.log.first)
            p.state = SNAPSHOTTED
            p.snapshot_index = self.snapshot.index
            p.snapshot_next = p.snapshot_held = 0
            p.snapshot_ns = now_ns
            mark(SNAPSHOT_SENT)
        if p.state == SNAPSHOTTED:
            return self._send_snapshot(p, now_ns)
        if p.state == PROBE:
            if p.probing:
                mark(LOG_PROBE_REPEATED)
            p.probing = True
            p.probe_ns = now_ns
            end = p.next_index
            if p.next_index <= self.log.last():
                end = self.log.range_end(p.next_index, self.max_batch_bytes)
            return self._send_append(p, end)
        while p.next_index <= self.log.last():
            unacked = self.log.offset_of(p.next_index) - self.log.offset_of(p.match_index + 1)
            if unacked >= self.max_inflight_bytes:
                mark(LOG_WINDOW_FULL)
                break
            end = self.log.range_end(p.next_index, self.max_batch_bytes)
            self._send_append(p, end)
            p.next_index = end
        return 0

    cdef int _advance_commit(self) except -1 nogil:
        """Commit what a majority's disks hold, if it is of this term (paper, 5.4.2)."""
        cdef uint64_t[64] match
        cdef uint64_t reached
        cdef int i
        if self.role != LEADER:
            return 0
        for i in range(self.places):
            match[i] = self.durable_index if i == self.me else self.peers[i].match_index
            if MUTANT(LEADER_COUNTS_ITSELF) and i == self.me:
                match[i] = self.log.last()
        reached = joint_committed(
            match, self.voters | self.learners if MUTANT(LEARNER_COUNTS) else self.voters,
            0 if MUTANT(JOINT_BY_NEW_HALF_ONLY) else self.outgoing)
        if reached > self.commit and (self.log.term_at(reached) == self.term
                                      or MUTANT(COMMIT_OLD_TERM)):
            must(reached <= self.log.last(), b"commits beyond the log", reached, self.log.last())
            self.commit = reached
            if (reached >= self.config_index and not self._votes()
                    and not MUTANT(REMOVED_LEADER_STAYS)):
                mark(RESIGNED_AS_REMOVED)
                self._broadcast_heartbeat(self.now_ns)      # its last words: what is committed
                self._become_follower(self.term, 0, self.now_ns)    # removed (thesis, 4.2.2)
        return 0

    cdef int _matched(self, Progress* p, uint64_t index) except -1 nogil:
        """A member's disk holds our entries up to ``index``."""
        must(index <= self.log.last(), b"member acknowledges what was never sent", index,
             self.log.last(), p.node)
        if index > p.match_index:
            p.match_index = index
        if p.state == PROBE or p.state == SNAPSHOTTED and p.match_index + 1 >= self.log.first:
            p.state = STREAM
            p.probing = False
            p.next_index = p.match_index + 1
        elif p.next_index <= p.match_index:
            p.next_index = p.match_index + 1
        return self._advance_commit()

    cdef int _on_append_reply(self, Progress* p, const Message* m, uint64_t now_ns) except -1 nogil:
        if self.role != LEADER:
            return 0
        p.contact_ns = now_ns
        if m.header.flags & REJECTED:
            if (m.header.flags & DAMAGED and m.index < p.match_index
                    and not MUTANT(DAMAGED_MATCH_KEPT)):
                p.match_index = m.index     # its disk lost what it had acknowledged
                mark(DAMAGED_FOLLOWER_SEEN)
            elif p.state == STREAM:
                if m.commit <= p.match_index:
                    return 0            # an old refusal: it has matched beyond since
            elif p.state == SNAPSHOTTED:
                return 0
            elif m.commit != p.next_index - 1:
                return 0
            p.next_index = self._guess_match(m.index, m.log_term) + 1
            if MUTANT(MATCH_FROM_REFUSAL):
                p.match_index = p.next_index - 1
            if p.next_index <= p.match_index:
                p.next_index = p.match_index + 1
            p.state = PROBE
            p.probing = False
            return 0
        return self._matched(p, m.index)

    cdef int _on_heartbeat_reply(self, Progress* p, const Message* m,
                                 uint64_t now_ns) except -1 nogil:
        if self.role != LEADER:
            return 0
        p.contact_ns = now_ns
        if p.state == STREAM and m.index < m.commit and p.match_index < m.commit:
            p.state = PROBE             # an APPEND before this heartbeat was lost
            mark(LOG_LOSS_SEEN_BY_HEARTBEAT)
            p.probing = False
            p.next_index = p.match_index + 1
        if m.log_term > p.match_index:
            self._matched(p, m.log_term)
        if m.round > p.round:
            must(m.round <= self.round_sent, b"confirms a round that was never sent", m.round,
                 self.round_sent, p.node)
            p.round = m.round
            self._confirm_rounds()
        return 0
