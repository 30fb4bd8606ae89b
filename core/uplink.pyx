"""The child's end of a link: a domain's leader takes the root's entries into its own log.

What comes is checked against the mirror like an APPEND against a log (Raft paper, 5.3), in root
coordinates, and proposed in our own log, where our own majority commits it. So the whole domain is
one follower of its parent, whose stable storage is its own replicated log.

* What an earlier leader of the root serves (T' < T) is refused.
* A later one's T' is adopted only by an entry of our log: the one that makes void what the later
  leader's log contradicts, or one that says that it contradicts nothing of our whole mirror. Until
  then nothing is acknowledged on that link, nothing applied, no lease taken. A tail beyond the end
  of what the parent holds is not cut: it waits until the parent gets there.
* Acknowledged is what is gated (root_commit.pyx), and only while the committed part of our log has
  adopted the T that this parent serves.

A link whose parent is silent, or leads no longer, is given up, and another node of the parent is
asked.
"""
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memset

from seatrial.core.buffer cimport buffer_consume, buffer_reserve, buffer_size
from seatrial.core.chunks cimport LAST_CHUNK
from seatrial.core.codec cimport (
    append_crc,
    ATTACH,
    KIND_ADOPT,
    KIND_BASE,
    KIND_PIECE,
    KIND_SNAPSHOT,
    LINK_ACK,
    LINK_APPEND,
    LINK_ASKS,
    LINK_BASE,
    LINK_READ,
    LINK_READ_REPLY,
    LINK_REDIRECT,
    LINK_REFUSED,
    LINK_SIZE,
    LINK_SNAPSHOT,
    plain_crc,
    Record,
    RECORD_SIZE,
    records_sound,
    REJECTED,
    set_length,
)
from seatrial.core.crc cimport crc32c
from seatrial.core.invariant cimport must
from seatrial.core.mirror cimport (
    Adoption,
    Base,
    compare_terms,
    later_end,
    PieceHead,
    Planted,
    same,
)
from seatrial.core.mutant cimport (
    ACK_BEFORE_ADOPTION,
    ADOPTED_AT_ONCE,
    ADOPTED_TERM_VOLATILE,
    AGE_FROM_ARRIVAL,
    DOMAIN_READ_JOINS_ASKED,
    GRANDCHILD_NOT_WAITED_FOR,
    LEASE_TAKEN_BEFORE_INCLUSION,
    LINK_LEASE_FROM_ANSWER,
    LINK_PREVIOUS_UNCHECKED,
    MARK_OF_LATER_LEADER,
    MUTANT,
    seatrial_arm,
    STALE_PARENT_TRUNCATES,
    TAIL_CUT_AT_PARENTS_END,
    TRUNCATES_TO_MARK,
)
from seatrial.core.raft_state cimport LEADER
from seatrial.core.root_commit cimport Mark
from seatrial.core.tree cimport read_tree, TreeView

from seatrial.core.errors import ProtocolError

cdef enum:
    ROOT_SILENT = 16            # election timeouts that a parent may know nothing newer of the root


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


cdef class Uplink(Downlinks):
    cdef bint wanted(self) noexcept nogil:
        """Whether we should have a link to a parent."""
        return self.raft.role == LEADER and not self.is_root()

    def uplink_up(self, uint32_t node, uint64_t now_ns) -> None:
        """The connection to a node of the parent is up."""
        cdef LinkMessage m
        self.uplink_down()
        if not self.wanted():
            return
        self.now_ns = now_ns
        self.up = True
        self.moving = False
        self.parent_node = node
        self.state = ATTACHING
        self.heard_ns = now_ns
        if MUTANT(TRUNCATES_TO_MARK) and self.mirror.end > self.committed >= self.applied:
            self._adopt(self.mirror.adopted_at(self.raft.log.last()),
                        max(self.committed, self.mirror.floor.rindex))
        self._say(ATTACH, &m)
        m.header.flags = LINK_ASKS
        self.up_send(&m)

    def uplink_down(self) -> None:
        """That connection is gone, or given up. A lease that we hold stays what it is."""
        self.up = self.ack_owed = self.refused = self.verified_any = self.begun_pieces = False
        self.state = DETACHED
        self.verified = self.their_ns = self.ticket_asked = self.ticket_ns = self.parent_age_ns = 0
        self.ticket_asked = self.ticket_answered
        memset(self.sent, 0, sizeof(self.sent))
        memset(&self.offered_term, 0, sizeof(RootTerm))
        buffer_consume(&self.up_input, buffer_size(&self.up_input))
        buffer_consume(&self.up_out, buffer_size(&self.up_out))

    # ---- saying ----------------------------------------------------------------------------

    cdef int _say(self, int type, LinkMessage* m) noexcept nogil:
        """Begin a frame to the parent."""
        cdef RootTerm mine = self.mirror.adopted_at(self.raft.commit)
        cdef Coordinates end = self.mirror.newest()
        memset(m, 0, LINK_SIZE)
        m.header.type = <uint8_t>type
        m.sender = self.raft.node
        m.domain = self.domain
        m.term = self.raft.term
        m.adopted_epoch, m.adopted_term = mine.epoch, mine.term
        m.rindex, m.epoch, m.rterm = end.rindex, end.rterm.epoch, end.rterm.term
        m.sent_ns = self.now_ns
        m.echo_ns = self.their_ns
        m.round = self.mirror.received.size
        m.include_rindex = self.mirror.received.end.rindex
        m.lease_ns = self.mirror.received.crc
        return 0

    cdef int up_send(self, LinkMessage* m) except -1 nogil:
        cdef char* p
        if not self.up:
            return 0
        p = buffer_reserve(&self.up_out, LINK_SIZE)
        set_length(&m.header, LINK_SIZE)
        memcpy(p, m, LINK_SIZE)
        (<LinkMessage*>p).header.crc = plain_crc(p)
        self.up_out.end += LINK_SIZE
        if m.header.flags & LINK_ASKS:
            self.asked_ns = self.now_ns
        return 0

    cdef int _reject(self, Coordinates hint) noexcept nogil:
        self.refused = self.ack_owed = True
        self.hint = hint
        self.verified_any = False
        return 0

    cdef int acknowledge(self) except -1 nogil:
        """Tell the parent what is new, and that we are there; ask the root."""
        cdef LinkMessage m
        cdef Coordinates at
        cdef RootTerm mine
        cdef uint64_t acked = 0
        cdef bint asks
        if not self.up:
            return 0
        if self.raft.role != LEADER or self.is_root():
            with gil:
                return self._move(0, "")
        if self.now_ns > self.heard_ns + 4 * self.raft.election_ns:
            with gil:
                return self._move(0, "")
        # (a parent that hears nothing of the root can't tell us that we are another's child now)
        if (self.parent_age_ns > ROOT_SILENT * self.raft.election_ns
                and self.now_ns > self.sought_ns + ROOT_SILENT * self.raft.election_ns):
            self.sought_ns = self.now_ns
            with gil:
                return self._move(0, "")
        mine = self.mirror.adopted_at(self.raft.commit)
        if self.state != ATTACHING and (
                compare_terms(mine, self.offered_term) == 0 or MUTANT(ACK_BEFORE_ADOPTION)
                or MUTANT(ADOPTED_TERM_VOLATILE) and self.verified >= self.mirror.end):
            acked = (self.mirror.end_at(self.raft.commit) if MUTANT(GRANDCHILD_NOT_WAITED_FOR)
                     else self.gated())
        asks = self.now_ns >= self.asked_ns + self.raft.heartbeat_ns
        if (asks or self.ack_owed or acked != self.sent[0]
                or self.mirror.end_at(self.raft.commit) != self.sent[1]
                or self.verified != self.sent[2] or self.mirror.received.size != self.sent[3]):
            self._say(LINK_ACK, &m)
            m.header.flags = (LINK_ASKS if asks else 0) | (REJECTED if self.refused else 0)
            if self.refused:
                at = self.hint
            elif not acked or not self.mirror.coordinates(acked, &at):
                memset(&at, 0, sizeof(at))
            m.rindex, m.epoch, m.rterm = at.rindex, at.rterm.epoch, at.rterm.term
            m.mark_rindex = self.mirror.end_at(self.raft.commit)
            m.end_rindex = self.verified
            m.count = self.verified_any
            self.sent[0], self.sent[1] = acked, m.mark_rindex
            self.sent[2], self.sent[3] = self.verified, m.round
            self.refused = self.ack_owed = False
            self.up_send(&m)
        if self.ticket > self.ticket_answered and (
                self.ticket_asked <= self.ticket_answered
                or self.now_ns >= self.ticket_ns + self.raft.election_ns):
            self.ticket_asked = self.ticket
            self.ticket_ns = self.now_ns
            self._say(LINK_READ, &m)
            m.round = self.ticket
            self.up_send(&m)
        return 0

    cdef uint64_t ask_root(self) noexcept nogil:
        """Number a question for what a linearizable read must see applied; one question at a time
        is on its way, and it answers those that were asked before it left."""
        if self.ticket == self.ticket_asked and not (MUTANT(DOMAIN_READ_JOINS_ASKED)
                                                     and self.ticket > self.ticket_answered):
            self.ticket += 1
        return self.ticket

    # ---- hearing ---------------------------------------------------------------------------

    cdef int _move(self, uint32_t node, address) except -1:
        """Have the shell give this connection up for another one."""
        self.moving = True
        self.move_node = node
        self.move_address = address
        self.uplink_down()
        return 0

    cdef int from_parent(self, const char* frame) except -1 nogil:
        """Take a whole frame of the parent. Raises ProtocolError."""
        cdef const LinkMessage* m = <const LinkMessage*>frame
        cdef size_t size = m.header.length, at
        cdef uint32_t count
        if not self.up:
            return 0
        if size < LINK_SIZE:
            with gil:
                raise ProtocolError(f"parent's frame of {size} bytes: expected at least "
                                    f"{LINK_SIZE}")
        if m.header.type == LINK_APPEND or m.header.type == LINK_SNAPSHOT:
            at = records_sound(frame + LINK_SIZE, size - LINK_SIZE, &count)
            if at != size - LINK_SIZE or count != m.count \
                    or append_crc(frame, LINK_SIZE) != m.header.crc:
                with gil:
                    raise ProtocolError("records: check failed: bytes were altered on the way")
        elif plain_crc(frame) != m.header.crc:
            with gil:
                raise ProtocolError("parent's frame: check failed: bytes were altered on the way")
        if m.domain != self.domain:
            with gil:
                raise ProtocolError(f"the parent speaks to domain {m.domain}, not to us")
        self.heard_ns = self.now_ns
        self.their_ns = m.sent_ns
        if self.raft.role != LEADER or self.is_root():
            return 0
        if m.header.type == LINK_APPEND:
            return self._on_link_append(m)
        if m.header.type == LINK_SNAPSHOT:
            return self._on_piece(m)
        if m.header.type == LINK_BASE:
            return self._on_base(m)
        if m.header.type == LINK_READ_REPLY:
            if self.ticket_answered < m.round <= self.ticket_asked:
                self.ticket_answered = m.round
                self.ticket_rindex = m.rindex
            return 0
        with gil:
            if m.header.type == LINK_REDIRECT:
                return self._move(<uint32_t>m.round,
                                  frame[LINK_SIZE:size].decode(errors="replace"))
            if m.header.type == LINK_REFUSED:
                if size > LINK_SIZE:
                    self.note_tree(m.rindex, frame[LINK_SIZE:size])
                return self._move(0, "")
            raise ProtocolError(f"frame type {m.header.type}: not one that a parent sends")

    cdef bint _acceptable(self, RootTerm rterm) except -1 nogil:
        """Whether we listen to what is a prefix of this leader's log."""
        if self.raft.transfer_to:       # whoever leads next has all that we took, and no more
            return False
        if (compare_terms(rterm, self.mirror.adopted_at(self.raft.log.last())) < 0
                and not MUTANT(STALE_PARENT_TRUNCATES)):
            self.state = ATTACHING
            return False
        return True

    cdef Coordinates _hint(self, Coordinates before) noexcept nogil:
        """Where the parent might find what both hold: below ``before``, of no later term."""
        cdef Coordinates c
        cdef uint64_t at = min(before.rindex - 1, self.mirror.end)
        while (at > self.mirror.floor.rindex and self.mirror.coordinates(at, &c)
               and compare_terms(c.rterm, before.rterm) > 0):
            at -= 1
        self.mirror.coordinates(at, &c)
        return c

    cdef int _adopt(self, RootTerm rterm, uint64_t keep) except -1 nogil:
        cdef Adoption adoption
        adoption.rterm = rterm
        adoption.keep = keep
        must(keep >= self.committed, b"makes void what the root committed", keep, self.committed,
             self.mirror.end)
        return self.raft.propose(KIND_ADOPT, 0, 0, <const char*>&adoption, sizeof(adoption), 0, 0)

    cdef int _on_link_append(self, const LinkMessage* m) except -1 nogil:
        cdef const char* p = <const char*>m + LINK_SIZE
        cdef const Record* r
        cdef RootTerm theirs, mine
        cdef Coordinates before, known, there
        cdef Mark mark
        cdef uint32_t i
        theirs.epoch, theirs.term = m.adopted_epoch, m.adopted_term
        before.rindex, before.rterm.epoch, before.rterm.term = m.rindex, m.epoch, m.rterm
        self.their_end.rindex = m.end_rindex
        self.their_end.rterm.epoch, self.their_end.rterm.term = m.end_epoch, m.end_term
        self.their_end_ns = self.now_ns
        if m.age_ns != <uint64_t>-1:
            self.parent_age_ns = m.age_ns
        if not self._acceptable(theirs):
            return 0
        mine = self.mirror.adopted_at(self.raft.log.last())
        self.offered_term = theirs
        if MUTANT(ADOPTED_AT_ONCE) and compare_terms(theirs, mine) > 0:
            self._adopt(theirs, self.mirror.end)
            mine = theirs
        if MUTANT(TAIL_CUT_AT_PARENTS_END) and compare_terms(theirs, mine) > 0 \
                and self.committed <= m.end_rindex < self.mirror.end:
            self._adopt(theirs, m.end_rindex)
            mine = theirs
        if compare_terms(theirs, mine) > 0 and later_end(self.mirror.newest(), self.their_end):
            self.state = ATTACHING      # our tail waits until the parent gets there
            return 0
        if before.rindex > self.mirror.end:
            return self._reject(self.mirror.newest())
        if (self.mirror.coordinates(before.rindex, &known) and not same(known, before)
                and not MUTANT(LINK_PREVIOUS_UNCHECKED)):
            return self._reject(self._hint(before))
        for i in range(m.count):
            r = <const Record*>p
            p += r.length
            if r.rindex != before.rindex + 1 + i:
                with gil:
                    raise ProtocolError(f"LINK_APPEND holds entry {r.rindex}: expected "
                                        f"{before.rindex + 1 + i}")
            there.rindex, there.rterm.epoch, there.rterm.term = r.rindex, r.epoch, r.rterm
            if r.rindex <= self.mirror.end:
                if not self.mirror.coordinates(r.rindex, &known) or same(known, there):
                    continue
                must(compare_terms(theirs, mine) > 0 or MUTANT(STALE_PARENT_TRUNCATES),
                     b"a leader of the root contradicts itself",
                     r.rindex, r.rterm, known.rterm.term)
                self._adopt(theirs, r.rindex - 1)
                mine = theirs
            elif compare_terms(theirs, mine) > 0:
                if not MUTANT(ADOPTED_TERM_VOLATILE):
                    self._adopt(theirs, self.mirror.end)
                mine = theirs
            self.raft.copy(r)
        self.verified = before.rindex + m.count
        self.verified_any = True
        if compare_terms(theirs, mine) > 0 and self.verified >= self.mirror.end:
            if not MUTANT(ADOPTED_TERM_VOLATILE):
                self._adopt(theirs, self.mirror.end)
            mine = theirs
        self.state = FOLLOWING if self.verified + 64 >= m.end_rindex else CATCHING_UP
        self.ack_owed = self.ack_owed or m.count or not self.sent[2]
        if compare_terms(theirs, mine) > 0 and not MUTANT(MARK_OF_LATER_LEADER):
            return 0                    # not adopted yet
        if m.mark_rindex:
            mark.at.rindex = m.mark_rindex
            mark.at.rterm.epoch, mark.at.rterm.term = m.mark_epoch, m.mark_term
            mark.rterm = (self.mirror.adopted_at(self.raft.log.last())
                          if MUTANT(ADOPTED_TERM_VOLATILE) or MUTANT(MARK_OF_LATER_LEADER)
                          else theirs)
            self.note_mark(mark)
        return self._take_lease(m)

    cdef int _take_lease(self, const LinkMessage* m) noexcept nogil:
        """A lease counts from when we sent what this answers."""
        cdef uint64_t until = m.lease_ns + (self.now_ns if MUTANT(LINK_LEASE_FROM_ANSWER)
                                            else m.echo_ns)
        if m.echo_ns == 0:
            return 0
        if self.fresh_next_ns == 0 or self.fresh_next_rindex <= self.applied:
            self.freshen()
            self.fresh_next_rindex = m.mark_rindex
            self.fresh_next_ns = (self.now_ns if MUTANT(AGE_FROM_ARRIVAL)
                                  else m.echo_ns - min(m.age_ns, m.echo_ns))
        if m.lease_ns and (until > self.lease_until_ns or m.include_rindex > self.lease_include):
            self.lease_until_ns = until
            self.lease_include = m.include_rindex
        return 0

    cdef int freshen(self) noexcept nogil:
        """What is applied holds all that there was at some moment."""
        if self.fresh_next_ns and self.fresh_next_rindex <= self.applied:
            self.fresh_ns = max(self.fresh_ns, self.fresh_next_ns)
            self.fresh_next_ns = 0
        return 0

    # ---- snapshots ---------------------------------------------------------------------------

    cdef int _on_piece(self, const LinkMessage* m) except -1 nogil:
        """Put a piece of the parent's snapshot into our log."""
        cdef const Record* r = <const Record*>(<const char*>m + LINK_SIZE)
        cdef RootTerm theirs
        cdef PieceHead head
        cdef size_t size
        self.state = TAKING_SNAPSHOT
        if m.count == 0:
            return 0
        theirs.epoch, theirs.term = m.adopted_epoch, m.adopted_term
        if not self._acceptable(theirs):
            return 0
        self.offered_term = theirs
        if (m.count != 1 or r.kind != KIND_SNAPSHOT or r.rindex != m.rindex or r.epoch != m.epoch
                or r.rterm != m.rterm):
            with gil:
                raise ProtocolError(f"LINK_SNAPSHOT of entry {m.rindex} holds {m.count} records, "
                                    f"of kind {r.kind}, entry {r.rindex}")
        size = r.length - RECORD_SIZE
        head.end.rindex, head.end.rterm.epoch, head.end.rterm.term = r.rindex, r.epoch, r.rterm
        if self._has(head.end):
            return 0
        head.offset = r.sequence
        head.crc = <uint32_t>r.client
        head.last = 1 if r.flags & LAST_CHUNK else 0
        if r.sequence == 0:
            if self.begun_pieces and same(head.end, self.mirror.received.end):
                return 0                # again, because we were slow
            if r.client != crc32c(0, <const char*>r + RECORD_SIZE, size):
                return 0
            self.begun_pieces = True
        elif (not same(head.end, self.mirror.received.end)
              or r.sequence != self.mirror.received.size
              or r.client != crc32c(<uint32_t>self.mirror.received.crc,
                                    <const char*>r + RECORD_SIZE, size)):
            return 0
        return self.raft.propose_two(KIND_PIECE, <const char*>&head, sizeof(head),
                                     <const char*>r + RECORD_SIZE, size)

    cdef bint _has(self, Coordinates end) noexcept nogil:
        """Whether a snapshot that ends there is needless by now; the parent is told to go on from
        its end, by log."""
        if end.rindex > self.applied and not self.mirror.holds(end):
            return False
        self.verified = max(self.verified, end.rindex)
        self.ack_owed = True
        return True

    cdef int _on_base(self, const LinkMessage* m) except -1 nogil:
        """The snapshot is whole: the mirror goes on from there, if it is the better one."""
        cdef RootTerm theirs, mine = self.mirror.adopted_at(self.raft.log.last())
        cdef Base base
        cdef TreeView tree
        if m.header.length > LINK_SIZE and not read_tree(
                <const char*>m + LINK_SIZE, m.header.length - LINK_SIZE, &tree):
            with gil:
                raise ProtocolError(f"LINK_BASE: {m.header.length - LINK_SIZE} bytes are no tree "
                                    "of domains")
        theirs.epoch, theirs.term = m.adopted_epoch, m.adopted_term
        base.end.rindex, base.end.rterm.epoch, base.end.rterm.term = m.rindex, m.epoch, m.rterm
        if not self._acceptable(theirs) or self._has(base.end) \
                or not same(base.end, self.mirror.received.end):
            return 0
        if not (compare_terms(theirs, mine) > 0 or base.end.rindex > self.mirror.end):
            return 0
        base.rterm = theirs
        base.tree_rindex = m.include_rindex
        self.verified = base.end.rindex
        self.ack_owed = True
        return self.raft.propose_two(KIND_BASE, <const char*>&base, sizeof(base),
                                     <const char*>m + LINK_SIZE, m.header.length - LINK_SIZE)

    # ---- leases ------------------------------------------------------------------------------

    cdef bint in_force(self, const TreeView* tree) noexcept nogil:
        """Whether a tree counts us, and every domain between us and the root."""
        cdef int at = self.my_place(tree)
        if at < 0:
            return False
        while tree.domains[at].parent >= 0:
            if not self.counts(tree, at) or tree.domains[tree.domains[at].parent].any_k:
                return False
            at = tree.domains[at].parent
        return True

    cdef bint holds_domain_lease(self) noexcept nogil:
        """Whether no write is acknowledged without us just now: the lease runs, what it rests on
        is applied here, and our newest tree does not take it away."""
        cdef const Planted* applied = self.mirror.planted(self.applied)
        cdef const TreeView* tree = self.mirror.tree()
        if (self.raft.role != LEADER or self.now_ns >= self.lease_until_ns or tree is NULL
                or applied is NULL or (self.applied < self.lease_include
                                       and not MUTANT(LEASE_TAKEN_BEFORE_INCLUSION))):
            return False
        if MUTANT(LEASE_TAKEN_BEFORE_INCLUSION):
            return self.in_force(tree)
        return (self.in_force(tree) and self.in_force(&applied.view)
                and applied.view.domains[self.my_place(&applied.view)].include_rindex
                == self.lease_include)

    cdef uint64_t own_lease_left_ns(self) noexcept nogil:
        return self.lease_until_ns - self.now_ns if self.holds_domain_lease() else 0

    cdef uint64_t age_ns(self) noexcept nogil:
        """How long ago what we have applied was surely all there was; for ever: nobody told."""
        cdef uint64_t since = self.fresh_ns
        if self.raft.role == LEADER and self.raft.assigning \
                and self.applied >= self.elected_rindex:
            since = self.raft.confirmed_ns      # (leaders before us told clients no more than that)
        return self.now_ns - since if since else <uint64_t>-1
