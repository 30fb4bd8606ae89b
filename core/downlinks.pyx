"""The parent's end of links: a domain's leader serves the mirror to the leaders of its children.

APPEND semantics (Raft paper, 5.3) in root coordinates: what precedes, root entries, and T *of
exactly the prefix that is served*, never one that was merely heard of. The root's leader serves
what it has appended; others serve what their own majority has committed. Entries are pipelined
while the bytes that the child has not committed stay within a window. A child too far behind is
sent our newest snapshot, chunk by chunk.

Each frame may carry a *lease* for a child that counts: for so long from the child's own sending
time of the frame that it answers, on the child's clock, we promise that no write is acknowledged
without the child. So it is never longer than we are sure to lead ourselves (``quorum_left_ns``),
nor, in a domain that is no root, than our own lease from our parent (Gray and Cheriton, SOSP 1989,
for leases; nesting is this protocol's).
"""
from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset

from seatrial.core.buffer cimport (
    buffer_free,
    buffer_init,
    buffer_reserve,
)
from seatrial.core.codec cimport (
    append_crc,
    ATTACH,
    LINK_ACK,
    LINK_APPEND,
    LINK_ASKS,
    LINK_BASE,
    LINK_READ,
    LINK_REDIRECT,
    LINK_REFUSED,
    LINK_REPORT,
    LINK_SIZE,
    LINK_SNAPSHOT,
    plain_crc,
    Record,
    REJECTED,
    set_length,
)
from seatrial.core.invariant cimport must
from seatrial.core.mirror cimport compare_terms, Planted
from seatrial.core.mutant cimport (
    LEASE_BEFORE_INCLUSION,
    LEASE_BEYOND_OWN,
    LEASE_BEYOND_QUORUM,
    LEASE_TO_EXCLUDED,
    MUTANT,
    seatrial_arm,
    SNAPSHOT_WITHOUT_TREE,
)
from seatrial.core.raft_state cimport LEADER
from seatrial.core.tree cimport DRIFT_PERCENT, place_of, read_tree, TreeView

from seatrial.core.errors import ProtocolError
from seatrial.core.tree import BadTree, Tree


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


cdef class Downlinks(RootCommit):
    cdef Downlink* downlink(self, uint32_t connection) noexcept nogil:
        cdef int i
        for i in range(MAX_DOWNLINKS):
            if self.downlinks[i].connection == connection:
                return &self.downlinks[i]
        return NULL

    cdef int link_up(self, uint32_t connection, uint16_t domain) except -1:
        """A child's leader connected: it says next where its mirror ends."""
        cdef Downlink* link = self.downlink(0)
        if link is NULL:
            raise ProtocolError("too many links are connected already")
        memset(link, 0, sizeof(Downlink))
        buffer_init(&link.input)
        buffer_init(&link.out)
        link.connection = connection
        link.domain = domain
        self.linked += 1
        self.link_places = max(self.link_places, <int>(link - &self.downlinks[0]) + 1)
        return 0

    cdef int link_down(self, uint32_t connection) except -1:
        cdef Downlink* link = self.downlink(connection)
        if link is not NULL and connection:
            buffer_free(&link.input)
            buffer_free(&link.out)
            memset(link, 0, sizeof(Downlink))
            self.linked -= 1
            while self.link_places and self.downlinks[self.link_places - 1].connection == 0:
                self.link_places -= 1
        return 0

    # ---- what a child says -----------------------------------------------------------------

    cdef bint is_child(self, uint16_t domain) noexcept nogil:
        """Whether it is a child of ours, by the newest tree that we hold or were told of."""
        cdef const TreeView* tree = self.mirror.tree()
        cdef int i, me
        if tree is NULL:
            return False
        if self.told_rindex > self.mirror.planted(self.mirror.end).rindex:
            tree = &self.told_view
        me = self.my_place(tree)
        for i in range(tree.count):
            if tree.domains[i].id == domain:
                return me >= 0 and tree.domains[i].parent == me
        return False

    cdef int from_child(self, Downlink* link, const LinkMessage* m) except -1 nogil:
        """Take a frame of a child's leader."""
        if m.domain != link.domain:
            with gil:
                raise ProtocolError(f"domain {link.domain}'s link speaks for domain {m.domain}")
        if self.raft.role != LEADER:
            with gil:
                return self._refuse(link, LINK_REDIRECT)
        if not self.is_child(link.domain):
            with gil:
                return self._refuse(link, LINK_REFUSED)
        self.child(link.domain).heard_ns = self.now_ns
        link.their_ns = m.sent_ns
        link.owed = link.owed or m.header.flags & LINK_ASKS
        if m.header.type == ATTACH or m.header.type == LINK_ACK:
            link.pieces[0], link.pieces[1], link.pieces[2] = (m.include_rindex, m.round,
                                                              m.lease_ns)
        if m.header.type == ATTACH:
            return self._attach(link, m)
        if m.header.type == LINK_ACK:
            return self._acked(link, m)
        if m.header.type == LINK_READ:
            if link.ticket == 0:
                link.ticket = m.round
            elif m.round > link.ticket:     # (the one under way is answered first)
                link.ticket_next = m.round
            return 0
        if m.header.type == LINK_REPORT:
            return 0                    # (domain.pyx has read it)
        with gil:
            raise ProtocolError(f"frame type {m.header.type}: not one that a child sends")

    cdef bytes committed_tree(self, uint64_t* at):
        """Return the newest tree that we know the root to have committed, or None."""
        cdef size_t size
        cdef const char* tree = self.mirror.tree_bytes(
            max(self.committed, self.applied, self.mirror.floor.rindex), &size, at)
        if self.told_rindex > at[0]:
            at[0] = self.told_rindex
            return self.told_tree
        return tree[:size] if tree is not NULL else None

    cdef int note_tree(self, uint64_t rindex, bytes tree) except -1:
        """We were told of a tree that the root has committed. Raises ProtocolError."""
        try:
            Tree.decode(tree)
        except BadTree as error:
            raise ProtocolError(f"refused, with a tree that is none: {error}") from None
        if rindex > self.told_rindex:
            self.told_rindex = rindex
            self.told_tree = tree
            read_tree(tree, len(tree), &self.told_view)
        return 0

    cdef int _refuse(self, Downlink* link, int type) except -1:
        """Say who leads here; or that this is no child of ours, and what the root has committed.

        So news of a tree reach those whose old ones go round in a circle: each one's parent is
        the next one's child. Uncommitted trees would contradict each other; these are in order.
        """
        cdef LinkMessage m
        cdef bytes said = b""
        cdef uint64_t at
        self._fill(link, &m, type)
        if type == LINK_REDIRECT:
            m.round = self.raft.leader
            details = self.raft.configuration().details.get(self.raft.leader)
            said = details[0].encode() if details else b""
        else:
            said = self.committed_tree(&at) or b""
            m.rindex = at
        self._send(link, &m, said, len(said))
        link.state = WAITING
        return 0

    cdef int _attach(self, Downlink* link, const LinkMessage* m) except -1 nogil:
        cdef uint64_t end
        self.offered(&end)
        link.state = PROBING
        link.probing = False
        link.verified = link.committed = 0
        link.next_rindex = min(m.rindex, end) + 1
        link.piece_next = link.piece_held = 0
        link.snapshot_index = 0
        return 0

    cdef uint64_t _agree_below(self, Coordinates hint) noexcept nogil:
        """The largest rindex <= the hint's whose term is no later than the hint's: skips whole
        terms (paper, end of 5.3)."""
        cdef Coordinates mine
        cdef uint64_t at, end
        self.offered(&end)
        at = min(hint.rindex, end)
        while at > 0 and self.mirror.coordinates(at, &mine) \
                and compare_terms(mine.rterm, hint.rterm) > 0:
            at -= 1
        return at

    cdef int _acked(self, Downlink* link, const LinkMessage* m) except -1 nogil:
        """An acknowledgement, or a refusal with a hint; either is a sign of life."""
        cdef Child* c = self.child(link.domain)
        cdef Coordinates at
        cdef RootTerm t
        at.rindex, at.rterm.epoch, at.rterm.term = m.rindex, m.epoch, m.rterm
        if link.state == WAITING:
            return 0
        if m.header.flags & REJECTED:
            if link.state == SENDING_SNAPSHOT:
                return 0
            link.next_rindex = self._agree_below(at) + 1
            link.state = PROBING
            link.probing = False
            return 0
        link.committed = max(link.committed, m.mark_rindex)
        if at.rindex:
            t.epoch, t.term = m.adopted_epoch, m.adopted_term
            self.take_ack(c, at, t)
        if link.state == SENDING_SNAPSHOT:
            if m.end_rindex < self._snapshot_end(link):
                return self._see_pieces(link)
            link.state = PROBING
            link.probing = False
            link.replaced = 0
            link.next_rindex = m.end_rindex + 1
        if m.end_rindex > link.verified:
            link.verified = m.end_rindex
        if link.state == PROBING and m.count and m.end_rindex + 1 >= link.next_rindex:
            link.state = STREAMING      # (count: it verified what we sent)
            link.probing = False
            link.next_rindex = m.end_rindex + 1
        self.sample(c)
        return 0

    cdef int sample(self, Child* c) noexcept nogil:
        """Once a child holds all that there was when this was asked before, ask anew."""
        cdef uint64_t end
        self.offered(&end)
        if self.acked_by(c) >= min(c.sample_rindex, end):   # (our mirror may have been cut)
            c.measured = c.measured or c.sample_rindex != 0
            c.current_ns = c.sample_ns
            c.sample_rindex, c.sample_ns = end, self.now_ns
        return 0

    cdef int _see_pieces(self, Downlink* link) noexcept nogil:
        """How much of the snapshot that it is sent the child's log holds."""
        cdef uint64_t held = 0
        if link.pieces[1] and link.pieces[0] == self._snapshot_end(link):
            held = self.raft.snapshot.number_at(link.pieces[1])
            if held and self.raft.snapshot.chunk(held - 1).client != link.pieces[2]:
                held = 0                # of another stream
        if held > link.piece_held:
            link.piece_ns = self.now_ns
            link.piece_window += min(held - link.piece_held, link.piece_window)
        link.piece_held = held
        link.piece_next = max(link.piece_next, held)
        return 0

    cdef uint64_t _snapshot_end(self, const Downlink* link) noexcept nogil:
        if self.raft.snapshot.index != link.snapshot_index or self.raft.snapshot.count() == 0:
            return 0
        return self.raft.snapshot.chunk(0).rindex

    # ---- what a child is told --------------------------------------------------------------

    cdef RootTerm offered(self, uint64_t* end) noexcept nogil:
        """How far we serve our mirror, and T of exactly that."""
        if self.raft.role == LEADER and self.raft.assigning:
            end[0] = self.mirror.end
        else:
            end[0] = self.mirror.end_at(self.raft.commit)
        return self.served_term()

    cdef int _fill(self, Downlink* link, LinkMessage* m, int type) noexcept nogil:
        memset(m, 0, LINK_SIZE)
        m.header.type = <uint8_t>type
        m.sender = self.raft.node
        m.domain = link.domain
        m.term = self.raft.term
        m.sent_ns = self.now_ns
        m.echo_ns = link.their_ns
        return 0

    cdef int _send(self, Downlink* link, LinkMessage* m, const char* records,
                   size_t size) except -1 nogil:
        """Complete a frame and put it into the link's output."""
        cdef char* p = buffer_reserve(&link.out, LINK_SIZE + size)
        set_length(&m.header, LINK_SIZE + size)
        memcpy(p, m, LINK_SIZE)
        if size:
            memcpy(p + LINK_SIZE, records, size)
        if m.header.type == LINK_APPEND or m.header.type == LINK_SNAPSHOT:
            (<LinkMessage*>p).header.crc = append_crc(p, LINK_SIZE)
        else:
            (<LinkMessage*>p).header.crc = plain_crc(p)
        link.out.end += LINK_SIZE + size
        link.sent_ns = self.now_ns
        return 0

    cdef bint waits_for(self, const TreeView* tree, int place) noexcept nogil:
        """Whether a tree has our writes wait for that domain, which is a child of ours there."""
        cdef int parent
        if place < 0:
            return False
        parent = tree.domains[place].parent
        return (parent >= 0 and tree.domains[parent].id == self.domain
                and tree.domains[parent].any_k == 0 and self.counts(tree, place))

    cdef uint64_t own_lease_left_ns(self) noexcept nogil:
        """What is left of our own lease from our parent (uplink.pyx)."""
        return 0

    cdef uint64_t age_ns(self) noexcept nogil:
        """How old what we have applied may be (uplink.pyx)."""
        return 0

    cdef uint64_t grant_ns(self, uint16_t domain, uint64_t* inclusion) noexcept nogil:
        """For how long a child may answer linearizable reads by itself; 0: not at all.

        Only while every write waits for it: by the tree that is applied here and by each one after
        it, up to the newest, it counts since the same inclusion, and under policy ``all``. (Some
        write between two trees that agree may not have waited for it.)
        """
        cdef const TreeView* tree = self.mirror.tree()
        cdef const Planted* one
        cdef Child* c
        cdef uint64_t left, since = 0
        cdef int n = self.mirror.tree_count(), i
        if self.raft.role != LEADER or self.mirror.planted(self.applied) is NULL:
            return 0
        while n > 0:
            n -= 1
            one = self.mirror.tree_number(n)
            if MUTANT(LEASE_TO_EXCLUDED) and one.rindex > self.applied:
                continue
            i = place_of(&one.view, domain)
            if not self.waits_for(&one.view, i) or since and (
                    one.view.domains[i].include_rindex != since):
                return 0
            since = one.view.domains[i].include_rindex
            if one.rindex <= self.applied or MUTANT(LEASE_BEFORE_INCLUSION):
                break
        left = tree.lease_ns if MUTANT(LEASE_BEYOND_QUORUM) else min(tree.lease_ns,
                                                                     self.quorum_left_ns())
        if not self.raft.assigning and not MUTANT(LEASE_BEYOND_OWN):
            left = min(left, self.own_lease_left_ns())
        elif self.raft.assigning and self.raft.commit < self.raft.term_start:
            return 0
        if left == 0:
            return 0
        c = self.known_child(domain)
        if c is NULL:
            return 0
        c.granted_until_ns = max(c.granted_until_ns,
                                 self.now_ns + left + left * DRIFT_PERCENT // 100)
        inclusion[0] = since
        return left

    cdef int _append(self, Downlink* link, uint64_t end, RootTerm rterm,
                     uint64_t limit) except -1 nogil:
        """Send root entries from ``next_rindex`` on, as many as are one run of bytes, at most up
        to ``limit``; none, if there are none. Return how many."""
        cdef LinkMessage m
        cdef Coordinates before, mark, last
        cdef uint64_t index, until, first, inclusion = 0
        cdef const char* records = NULL
        cdef size_t size = 0
        self._fill(link, &m, LINK_APPEND)
        must(self.mirror.coordinates(link.next_rindex - 1, &before),
             b"serves what it does not hold", link.next_rindex, self.mirror.floor.rindex)
        m.adopted_epoch, m.adopted_term = rterm.epoch, rterm.term
        m.rindex, m.epoch, m.rterm = before.rindex, before.rterm.epoch, before.rterm.term
        if link.next_rindex <= limit:
            index = self.mirror.index_of(link.next_rindex)
            until = self.raft.log.range_end(index, self.max_batch_bytes)
            first = until - 1                   # the last of them that is of this run
            while self.mirror.index_of(link.next_rindex + (first - index)) != first:
                first -= 1
            first = min(first, index + (limit - link.next_rindex))
            records = self.raft.log.range_bytes(index, first + 1, &size)
            m.count = <uint32_t>(first + 1 - index)
        mark.rindex = min(self.applied, m.rindex + m.count)
        if mark.rindex and self.mirror.coordinates(mark.rindex, &mark):
            m.mark_rindex, m.mark_epoch, m.mark_term = (mark.rindex, mark.rterm.epoch,
                                                        mark.rterm.term)
            link.told = mark
        if end and self.mirror.coordinates(end, &last):
            m.end_rindex, m.end_epoch, m.end_term = last.rindex, last.rterm.epoch, last.rterm.term
        # (what ends before what is applied here is as old as nobody knows)
        m.age_ns = self.age_ns() if mark.rindex == self.applied else <uint64_t>-1
        if link.their_ns:
            m.lease_ns = self.grant_ns(link.domain, &inclusion)
            m.include_rindex = inclusion
        link.owed = False
        self._send(link, &m, records, size)
        return <int>m.count

    cdef int _serve(self, Downlink* link) except -1 nogil:
        """Send what the link's state and window allow."""
        cdef uint64_t end, unacked, index
        cdef bint again
        cdef RootTerm rterm = self.offered(&end)
        if link.state == WAITING:
            return 0
        if link.next_rindex - 1 > end:          # (our mirror was cut)
            link.next_rindex = end + 1
            link.state = PROBING
            link.probing = False
        if link.next_rindex <= self.mirror.floor.rindex and link.state != SENDING_SNAPSHOT:
            link.state = SENDING_SNAPSHOT
            link.snapshot_index = 0
        if link.state == SENDING_SNAPSHOT:
            return self._serve_snapshot(link, rterm)
        if link.state == PROBING:
            if (link.probing and self.now_ns < link.probe_ns + self.raft.election_ns
                    and not link.owed):
                return 0
            again = link.probing
            link.probing = True
            link.probe_ns = self.now_ns
            # (over a slow link the first one's entries may still be on their way)
            return self._append(link, end, rterm, 0 if again else end)
        while link.next_rindex <= end:
            # (it may have committed what we have yet to verify, or what was cut since)
            index = self.mirror.index_of(min(
                max(link.committed, self.mirror.floor.rindex) + 1, link.next_rindex))
            unacked = self.raft.log.offset_of(self.mirror.index_of(link.next_rindex)) \
                - self.raft.log.offset_of(index) if index else 0
            if unacked >= self.max_inflight_bytes:
                break
            link.next_rindex += self._append(link, end, rterm, end)
        if (link.owed
                or link.told.rindex < min(self.applied, link.next_rindex - 1)):
            self._append(link, end, rterm, 0)
        return 0

    cdef int _serve_snapshot(self, Downlink* link, RootTerm rterm) except -1 nogil:
        """Send our newest snapshot, as far as the window allows; with its end the tree that held
        there, and where the mirror goes on. The window grows with what arrives, as in TCP's slow
        start: what a slow link has yet to carry must not be sent twice (RFC 5681, 3.1)."""
        cdef const Record* r
        cdef LinkMessage m
        cdef uint64_t at
        cdef size_t size
        cdef const char* tree
        if not self._servable():
            if link.owed:               # it is being made (replica_snapshots.pyx)
                link.owed = False
                self._fill(link, &m, LINK_SNAPSHOT)
                self._send(link, &m, NULL, 0)
            return 0
        if link.snapshot_index != self.raft.snapshot.index:
            link.replaced += link.snapshot_index != 0
            link.snapshot_index = self.raft.snapshot.index
            link.piece_next = link.piece_held = 0
            link.piece_ns = self.now_ns
            link.piece_window = 1
            link.piece_patience_ns = max(link.piece_patience_ns, self.raft.election_ns)
            self._see_pieces(link)
        if (link.piece_held < link.piece_next
                and self.now_ns > link.piece_ns + link.piece_patience_ns):
            link.piece_next = link.piece_held
            link.piece_ns = self.now_ns
            link.piece_window = 1
            link.piece_patience_ns *= 2
        while link.piece_next < min(self.raft.snapshot.count(),
                                    link.piece_held + link.piece_window):
            r = self.raft.snapshot.chunk(link.piece_next)
            if link.piece_next > link.piece_held and (
                    r.sequence - self.raft.snapshot.chunk(link.piece_held).sequence
                    >= self.max_inflight_bytes):
                break
            self._fill(link, &m, LINK_SNAPSHOT)
            m.adopted_epoch, m.adopted_term = rterm.epoch, rterm.term
            m.rindex, m.epoch, m.rterm = r.rindex, r.epoch, r.rterm
            m.count = 1
            self._send(link, &m, <const char*>r, r.length)
            link.piece_next += 1
            link.owed = False
        if link.piece_held == self.raft.snapshot.count() and link.owed:
            r = self.raft.snapshot.chunk(0)
            tree = self.mirror.tree_bytes(r.rindex, &size, &at)
            if MUTANT(SNAPSHOT_WITHOUT_TREE):
                size = 0
            self._fill(link, &m, LINK_BASE)
            m.adopted_epoch, m.adopted_term = rterm.epoch, rterm.term
            m.rindex, m.epoch, m.rterm = r.rindex, r.epoch, r.rterm
            m.include_rindex = at
            self._send(link, &m, tree, size)
            link.owed = False
        if link.owed:
            link.owed = False
            self._fill(link, &m, LINK_SNAPSHOT)
            self._send(link, &m, NULL, 0)
        return 0

    cdef bint sending_snapshot(self) noexcept nogil:
        """Whether some child is being sent the newest snapshot."""
        cdef int i
        if not self._servable():
            return False
        for i in range(self.link_places):
            if (self.downlinks[i].connection
                    and self.downlinks[i].state == SENDING_SNAPSHOT
                    and self.downlinks[i].snapshot_index == self.raft.snapshot.index):
                return True
        return False

    cdef bint lacks_snapshot(self) noexcept nogil:
        """Whether some child waits for one, and there is none from which it could go on."""
        cdef int i
        for i in range(self.link_places):
            if self.downlinks[i].connection and self.downlinks[i].state == SENDING_SNAPSHOT:
                return not self._servable()
        return False

    cdef bint _servable(self) noexcept nogil:
        """Whether our newest snapshot goes as far as what our mirror begins after."""
        return (self.raft.snapshot.complete
                and self.raft.snapshot.chunk(0).rindex >= self.mirror.floor.rindex)

    # ---- once an iteration -----------------------------------------------------------------

    cdef int serve(self) except -1 nogil:
        """Send all children what is new for them."""
        cdef int i
        cdef Downlink* link
        if self.raft.role != LEADER:
            return 0
        for i in range(self.link_places):
            link = &self.downlinks[i]
            if link.connection == 0:
                continue
            if link.state != WAITING and not self.is_child(link.domain):
                with gil:
                    self._refuse(link, LINK_REFUSED)
                continue
            self._serve(link)
        return 0

    cdef int dismiss(self) except -1:
        """We lead no longer: our children look for who does."""
        cdef int i
        for i in range(self.link_places):
            if self.downlinks[i].connection and self.downlinks[i].state != WAITING:
                self._refuse(&self.downlinks[i], LINK_REDIRECT)
        return 0
