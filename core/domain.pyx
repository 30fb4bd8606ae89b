"""One node's part in the tree of domains: the doors to links, exclusion, and what members are told.

A cluster of domains is a tree of Raft groups. The root assigns an order to writes, each leader
passes it on to the leaders of its children, and what must be held by whom before a write is
acknowledged follows from the tree (root_commit.pyx). The chapters, each building on the one before:

    root_commit     what the root has committed; what we may acknowledge; marks
    downlinks       the parent's end of links, leases given
    uplink          the child's end, leases held
    domain          this: frames in and out, the watch over children, the root's decisions

Pure, as Raft is: bytes and times go in; proposals to our own Raft and frames come out. ``begin``
comes once an iteration before Raft's ``pump``, ``finish`` after what is committed was applied.

A child that counts and does not confirm for ``exclude_after`` is excluded by the root's leader, or
reported to it, link by link; one that has caught up is included again, unless an operator excluded
it. One that does not catch up, though it is linked, is said to be so, and writers are throttled for
it where the tree says so. The tree itself is log
content, so both are entries like any other, and so is every change that people ask for.
"""
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memset

from seatrial.core.buffer cimport (
    Buffer,
    buffer_append,
    buffer_consume,
    buffer_free,
    buffer_init,
    buffer_reserve,
    buffer_size,
)
from seatrial.core.codec cimport (
    KIND_TREE,
    LINK_READ_REPLY,
    LINK_REPORT,
    LINK_SIZE,
    MARK,
    next_frame,
    plain_crc,
    Record,
    set_length,
)
from seatrial.core.downlinks cimport (
    Downlink,
    MAX_DOWNLINKS,
    PROBING,
    SENDING_SNAPSHOT,
    STREAMING,
    WAITING,
)
from seatrial.core.invariant cimport must
from seatrial.core.mutant cimport (
    CONFIRMERS_FROM_TREE,
    EXCLUSION_WAITS_BEFORE_PROPOSING,
    LAG_BY_HEARTBEAT,
    MUTANT,
    READMIT_BEFORE_CAUGHT_UP,
    ROOT_READ_BEFORE_ELECTED_END,
    seatrial_arm,
)
from seatrial.core.raft cimport Raft
from seatrial.core.raft_state cimport LEADER
from seatrial.core.root_commit cimport Child, Mark, MAX_CHILDREN
from seatrial.core.tree cimport (
    DomainView,
    LAG_EXCLUDES,
    LAG_STALLS,
    LAG_THROTTLES,
    place_of,
    TreeView,
)
from seatrial.core.uplink cimport LAGGING, READY, SILENT, STUCK

from operator import methodcaller

from seatrial.core.errors import ProtocolError
from seatrial.core.tree import BadTree, Tree

cdef enum:
    SMALL_GAP = 256             # entries: who lacks no more has caught up
    PATIENCE = 8                # election timeouts without a parent
    GAP_ELECTIONS = 8           # timeouts, after which a greater gap must have become smaller
    MOST_REPLACED = 2           # snapshots before they had come: the link does not carry the writes
    GIVES_UP = 8                # times: writers are throttled no longer for who stays as far behind

UPLINK_STATES = ("detached", "attaching", "catching-up", "streaming", "snapshot")


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


cdef class Domain(Uplink):
    def __cinit__(self, Raft raft, uint16_t domain, tree, parent, size_t max_batch_bytes,
                  size_t max_inflight_bytes):
        self.raft = raft
        self.mirror = raft.mirror
        self.domain = domain
        self.initial_tree = tree.encode() if tree is not None else None
        self.initial_parent = tuple(parent)
        self.max_batch_bytes = max_batch_bytes
        self.max_inflight_bytes = max_inflight_bytes
        self.move_address = ""
        memset(self.downlinks, 0, sizeof(self.downlinks))
        memset(self.children, 0, sizeof(self.children))
        buffer_init(&self.up_input)
        buffer_init(&self.up_out)
        # answers to what an earlier life of this node asked must not fit a question of this one
        if domain:
            self.ticket = self.ticket_asked = self.ticket_answered = raft.draw() >> 1

    def __dealloc__(self):
        cdef int i
        for i in range(MAX_DOWNLINKS):
            buffer_free(&self.downlinks[i].input)
            buffer_free(&self.downlinks[i].out)
        buffer_free(&self.up_input)
        buffer_free(&self.up_out)

    # ---- bytes in --------------------------------------------------------------------------

    cdef int receive_link(self, uint32_t connection, const char* p, size_t size,
                          uint64_t now_ns) except -1:
        """Take bytes of a child's link. Raises ProtocolError: close it."""
        cdef Downlink* link = self.downlink(connection)
        cdef const LinkMessage* m
        cdef Py_ssize_t n
        if link is NULL or connection == 0:
            raise ProtocolError("a link that is not known")
        self.now_ns = now_ns
        buffer_append(&link.input, p, size)
        while True:
            p = link.input.data + link.input.start
            n = next_frame(p, buffer_size(&link.input))
            if n == 0:
                break
            m = <const LinkMessage*>p
            if n != LINK_SIZE or plain_crc(p) != m.header.crc:
                raise ProtocolError("child's frame: check failed: bytes were altered on the way")
            if m.header.type == LINK_REPORT and self._is_above(link.domain, m.root):
                self._conclude(m.header.flags, m.root)
            self.from_child(link, m)
            buffer_consume(&link.input, n)
        return 0

    cdef int receive_uplink(self, const char* p, size_t size, uint64_t now_ns) except -1:
        """Take bytes of the link to our parent. Raises ProtocolError: close it."""
        cdef Py_ssize_t n
        self.now_ns = self.heard_ns = now_ns    # (a large frame may take long to be whole)
        buffer_append(&self.up_input, p, size)
        while self.up:
            p = self.up_input.data + self.up_input.start
            n = next_frame(p, buffer_size(&self.up_input))
            if n == 0:
                break
            self.from_parent(p)
            buffer_consume(&self.up_input, min(<size_t>n, buffer_size(&self.up_input)))
        return 0

    cdef bint _is_above(self, uint16_t domain, uint16_t below) noexcept nogil:
        """Whether a child of ours is another domain's parent, or further above it."""
        cdef const TreeView* tree = self.mirror.tree()
        cdef int at
        if not self.is_child(domain):
            return False
        at = place_of(tree, below)
        while at >= 0:
            at = tree.domains[at].parent
            if at >= 0 and tree.domains[at].id == domain:
                return True
        return False

    cdef int on_mark(self, uint32_t sender, const char* frame) except -1 nogil:
        """Our leader tells what the root has committed."""
        cdef const LinkMessage* m = <const LinkMessage*>frame
        cdef Mark mark
        if m.header.length != LINK_SIZE or plain_crc(frame) != m.header.crc \
                or m.sender != sender:
            with gil:
                raise ProtocolError("MARK: check failed: bytes were altered on the way")
        mark.at.rindex = m.mark_rindex
        mark.at.rterm.epoch, mark.at.rterm.term = m.mark_epoch, m.mark_term
        mark.rterm.epoch, mark.rterm.term = m.adopted_epoch, m.adopted_term
        return self.note_mark(mark)

    # ---- once an iteration -------------------------------------------------------------------

    cdef int begin(self, uint64_t now_ns) except -1 nogil:
        """Before Raft's pump: see what is committed, and propose what is due."""
        cdef bint led = self.led_term != 0
        self.advance(now_ns)
        if led and self.led_term == 0:
            with gil:
                self.dismiss()
        self._ask_for_tickets()
        if self.raft.role != LEADER or self.raft.transfer_to:
            return 0
        if self.initial_tree is not None and self.raft.assigning and self.mirror.tree() is NULL:
            with gil:
                self._plant_first()
        if now_ns >= self.watched_ns + self.raft.heartbeat_ns:
            self.watched_ns = now_ns
            self._watch()
        return 0

    cdef int finish(self, uint64_t applied, uint64_t now_ns) except -1 nogil:
        """After applying: tell parent, children and members."""
        self.applied = applied
        if applied != self.applied_at.rindex:
            self._note_applied()
        self.freshen()
        self.acknowledge()
        if self.plain():        # (a member may still hold older trees, in which it is not)
            return self._tell_members() if self.mirror.tree() is not NULL else 0
        self._answer_tickets()
        self.serve()
        return self._tell_members()

    cdef int _note_applied(self) noexcept nogil:
        """Keep the coordinates of what is applied: as the mirror knows them, or our snapshot, of
        what our log begins with again after a restart."""
        cdef const Record* r
        if (self.mirror.coordinates(self.applied, &self.applied_at)
                or not self.raft.snapshot.complete):
            return 0
        r = self.raft.snapshot.chunk(0)
        if r.rindex == self.applied:
            self.applied_at.rindex = r.rindex
            self.applied_at.rterm.epoch, self.applied_at.rterm.term = r.epoch, r.rterm
        return 0

    cdef int _plant_first(self) except -1:
        """The root's first leader says in the log what until now only its members' files did."""
        self.raft.propose(KIND_TREE, 0, 0, self.initial_tree, len(self.initial_tree), 0, 0)
        return 0

    cdef int _tell_members(self) except -1 nogil:
        """Send the members of our own domain what is applied here, when it is news and, in case it
        was lost, with every heartbeat."""
        cdef Mark mark
        cdef LinkMessage* m
        cdef Buffer* out
        cdef int i
        if self.raft.role != LEADER or self.applied == 0:
            return 0
        if self.applied == self.told.rindex and (
                self.now_ns < self.marked_ns + self.raft.heartbeat_ns):
            return 0
        if not self.mirror.coordinates(self.applied, &mark.at):
            return 0
        self.told = mark.at
        self.marked_ns = self.now_ns
        mark.rterm = self.mirror.adopted_at(self.raft.commit)
        for i in range(self.raft.places):
            if i == self.raft.me or not self.raft.replicas >> i & 1 \
                    or not self.raft.peers[i].connected:
                continue
            out = &self.raft.peers[i].out
            m = <LinkMessage*>buffer_reserve(out, LINK_SIZE)
            memset(m, 0, LINK_SIZE)
            set_length(&m.header, LINK_SIZE)
            m.header.type = MARK
            m.sender = self.raft.node
            m.domain = self.domain
            m.term = self.raft.term
            m.mark_rindex = mark.at.rindex
            m.mark_epoch, m.mark_term = mark.at.rterm.epoch, mark.at.rterm.term
            m.adopted_epoch, m.adopted_term = mark.rterm.epoch, mark.rterm.term
            m.header.crc = plain_crc(<const char*>m)
            out.end += LINK_SIZE
        return 0

    cdef uint64_t read_floor(self) noexcept nogil:
        """The root's leader: what a linearizable read must see applied."""
        return self.committed if MUTANT(ROOT_READ_BEFORE_ELECTED_END) else max(
            self.committed, self.elected_rindex)

    cdef int _ask_for_tickets(self) noexcept nogil:
        """Before Raft's pump: have what children ask confirmed, here or further up."""
        cdef Downlink* link
        cdef int i
        if self.raft.role != LEADER or self.linked == 0:
            return 0
        for i in range(self.link_places):
            link = &self.downlinks[i]
            if link.connection == 0 or link.ticket == 0:
                continue
            if self.raft.assigning:
                if link.ticket_round == 0:
                    link.ticket_round = self.raft.want_round()
                    link.ticket_rindex = self.read_floor()
            elif link.ticket_up == 0:
                link.ticket_up = self.ask_root()
        return 0

    cdef int _answer_tickets(self) except -1 nogil:
        """Answer children who ask what a read of theirs must see."""
        cdef Downlink* link
        cdef LinkMessage m
        cdef int i
        if self.raft.role != LEADER:
            return 0
        for i in range(self.link_places):
            link = &self.downlinks[i]
            if link.connection == 0 or link.ticket == 0:
                continue
            if self.raft.assigning:
                if link.ticket_round == 0 or self.raft.round_confirmed < link.ticket_round:
                    continue
            else:
                if link.ticket_up == 0 or self.ticket_answered < link.ticket_up:
                    continue
                link.ticket_rindex = self.ticket_rindex
            self._fill(link, &m, LINK_READ_REPLY)
            m.round = link.ticket
            m.rindex = link.ticket_rindex
            link.ticket = link.ticket_next
            link.ticket_next = link.ticket_round = link.ticket_up = 0
            self._send(link, &m, NULL, 0)
        return 0

    # ---- the watch over children ---------------------------------------------------------------

    cdef int _watch(self) except -1 nogil:
        """Once a heartbeat: which child has fallen silent, which has caught up?"""
        cdef const TreeView* tree = self.mirror.tree()
        cdef uint64_t version = self.mirror.version
        cdef int i, me
        if tree is NULL:
            return 0
        me = self.my_place(tree)
        self._forget_children(tree, me)
        for i in range(tree.count):
            if me >= 0 and tree.domains[i].parent == me:
                self._watch_child(tree, i)
                if self.mirror.version != version:
                    return 0            # (the tree is another one now)
        return 0

    cdef int _forget_children(self, const TreeView* tree, int me) noexcept nogil:
        """What those acknowledged that are children no longer: they may come again, with less."""
        cdef int i, place
        for i in range(self.child_places):
            if self.children[i].domain == 0:
                continue
            place = place_of(tree, self.children[i].domain)
            if place < 0 or tree.domains[place].parent != me:
                memset(self.children[i].acks, 0, sizeof(self.children[i].acks))
                if self.now_ns > self.children[i].granted_until_ns:
                    self.children[i].domain = 0
        return 0

    cdef int _watch_child(self, const TreeView* tree, int place) except -1 nogil:
        cdef const DomainView* view = &tree.domains[place]
        cdef Child* c = self.child(view.id)
        cdef uint64_t acked = self.acked_by(c), end, lag_ns
        self.offered(&end)
        if acked >= min(c.sample_rindex, end):  # (our mirror may have been cut)
            c.measured = c.measured or c.sample_rindex != 0
            c.current_ns = c.sample_ns
            c.sample_rindex, c.sample_ns = end, self.now_ns
        lag_ns = self.now_ns - c.current_ns
        if ((acked >= end or MUTANT(LAG_BY_HEARTBEAT))
                and self.now_ns < c.heard_ns + 2 * self.raft.election_ns):
            lag_ns = 0
        if self.counts(tree, place):
            if lag_ns > view.exclude_after_ns and not view.block:
                return self._conclude(SILENT, view.id)
            if (view.readmit_throttle and lag_ns > view.exclude_after_ns // 2
                    and self.now_ns < c.heard_ns + self.raft.election_ns):
                self._conclude(STUCK, view.id)      # (or it goes again as soon as it has come)
        elif view.sync and not view.held and (
                acked and self._is_near(view, c, acked, end, lag_ns)
                and lag_ns <= view.exclude_after_ns     # (or it would go at once)
                and (view.on_lag != LAG_EXCLUDES or c.lagged_ns == 0
                     or self.now_ns >= c.lagged_ns + PATIENCE * self.raft.election_ns)
                or MUTANT(READMIT_BEFORE_CAUGHT_UP)) \
                and self.now_ns < c.heard_ns + self.raft.election_ns:
            c.gap_ns = c.stuck = 0
            return self._conclude(READY, view.id)
        if (not view.sync or view.included or view.held or c.next_ack == 0
                or self.now_ns >= c.heard_ns + self.raft.election_ns
                or self._takes_snapshot(view.id)):
            c.gap_ns = c.stuck = c.slowed = 0
        else:
            self._watch_gap(c, end - acked)
            if c.slowed and c.stuck < GIVES_UP and view.readmit_throttle:
                self._conclude(STUCK, view.id)
        if view.held or self.now_ns >= c.heard_ns + 2 * self.raft.election_ns:
            return 0            # (who is dead does not lag; nobody waits for who is held)
        if view.max_lag_ns and lag_ns > view.max_lag_ns:
            c.lagged_ns = self.now_ns
            return self._conclude(LAGGING, view.id)
        # (it is not known yet: we are new, have followed another leader of the root, or know by
        # a snapshot only what the child's word refers to)
        if acked == 0 and lag_ns <= view.exclude_after_ns:
            return 0
        if (view.max_lag_entries and end > acked + view.max_lag_entries
                or view.max_lag_bytes and self.lag_bytes(acked, end) > view.max_lag_bytes):
            c.lagged_ns = self.now_ns
            return self._conclude(LAGGING, view.id)
        return 0

    cdef uint64_t lag_bytes(self, uint64_t acked, uint64_t end) noexcept nogil:
        """How many bytes of our log a child lacks; at least so many, if not all are kept here."""
        cdef uint64_t after = self.mirror.index_of(acked) + 1, last = self.mirror.index_of(end)
        if acked >= end or last == 0:
            return 0
        after = max(after, self.raft.log.first)
        return self.raft.log.offset_of(last + 1) - self.raft.log.offset_of(after)

    cdef bint _takes_snapshot(self, uint16_t domain) noexcept nogil:
        """Whether a child is sent one, and there is reason to think that it will get it."""
        cdef int i
        for i in range(self.link_places):
            if (self.downlinks[i].connection and self.downlinks[i].domain == domain
                    and self.downlinks[i].state == SENDING_SNAPSHOT):
                return self.downlinks[i].replaced < MOST_REPLACED
        return False

    cdef bint _is_near(self, const DomainView* view, const Child* c, uint64_t acked,
                       uint64_t end, uint64_t lag_ns) noexcept nogil:
        """Whether an excluded child lacks so little that it may count again: entries, or what is
        on its way all the time over a long link. Half of what it would be excluded for at once."""
        if (acked + small_gap(view) < end
                and (view.max_lag_entries or not c.measured
                     or lag_ns > view.exclude_after_ns // 2 or not self._all_sent(view.id, end))):
            return False
        if view.on_lag == LAG_EXCLUDES and view.max_lag_ns and lag_ns > view.max_lag_ns // 2:
            return False
        return view.max_lag_bytes == 0 or self.lag_bytes(acked, end) <= view.max_lag_bytes // 2

    cdef bint _all_sent(self, uint16_t domain, uint64_t end) noexcept nogil:
        """Whether a child was sent what there is, but for the newest."""
        cdef int i
        for i in range(self.link_places):
            if (self.downlinks[i].connection and self.downlinks[i].domain == domain
                    and self.downlinks[i].state == STREAMING):
                return self.downlinks[i].next_rindex + SMALL_GAP > end
        return False

    cdef int _watch_gap(self, Child* c, uint64_t gap) noexcept nogil:
        """Whether an excluded child that is linked lacks fewer entries than some time ago."""
        if c.gap_ns == 0:
            c.gap_ns, c.gap = self.now_ns, gap
        if self.now_ns >= c.gap_ns + GAP_ELECTIONS * self.raft.election_ns:
            c.stuck = c.stuck + 1 if gap >= c.gap else 0
            c.slowed = c.slowed or c.stuck
            c.gap_ns, c.gap = self.now_ns, gap
        return 0

    cdef bint _is_stuck(self, const DomainView* view, const Child* c) noexcept nogil:
        """Whether it can't be readmitted as things are: it does not catch up, although writers
        were slowed down for it if they are to be."""
        return c.stuck > (1 if view.readmit_throttle else 0)

    cdef int _conclude(self, int kind, uint16_t domain) except -1 nogil:
        """Decide, in the root; elsewhere let the parent know."""
        cdef LinkMessage m
        if self.raft.role != LEADER or self.raft.transfer_to:
            return 0
        if not self.raft.assigning:
            self._say(LINK_REPORT, &m)
            m.header.flags = <uint8_t>kind
            m.root = domain
            return self.up_send(&m)
        with gil:
            return self._change(kind, domain)

    cdef int _change(self, int kind, uint16_t domain) except -1:
        """The root's leader: exclude, include, or have writers wait."""
        cdef const TreeView* tree = self.mirror.tree()
        cdef int i
        if tree is NULL or self.raft.commit < self.raft.term_start:
            return 0
        for i in range(tree.count):
            if tree.domains[i].id == domain:
                break
        else:
            return 0
        if kind == SILENT and self.counts(tree, i) and not tree.domains[i].block:
            if MUTANT(EXCLUSION_WAITS_BEFORE_PROPOSING) and self.known_child(domain) is not NULL \
                    and self.now_ns < self.known_child(domain).granted_until_ns:
                return 0
            self.exclusions += 1
            self._propose(methodcaller("exclude", domain), 0, 0)
        elif kind == READY and tree.domains[i].sync and not tree.domains[i].included \
                and not tree.domains[i].held:
            self.inclusions += 1
            self._propose(methodcaller("readmit", domain, self.mirror.end + 1), 0, 0)
        elif kind == STUCK and tree.domains[i].readmit_throttle:
            self.throttled_until_ns = self.now_ns + 3 * self.raft.heartbeat_ns
        elif kind == LAGGING:
            if tree.domains[i].on_lag == LAG_STALLS:
                self.stalled_until_ns = self.now_ns + 3 * self.raft.heartbeat_ns
            elif tree.domains[i].on_lag == LAG_THROTTLES:
                self.throttled_until_ns = self.now_ns + 3 * self.raft.heartbeat_ns
            elif tree.domains[i].on_lag == LAG_EXCLUDES:
                return self._change(SILENT, domain)
        return 0

    def _propose(self, change, uint32_t connection, uint64_t request):
        payload = change(self.newest_tree()).encode()
        self.raft.propose(KIND_TREE, 0, 0, payload, len(payload), connection, request)

    def newest_tree(self) -> Tree:
        """Return the newest tree in the log. Raises BadTree where there is none."""
        payload = self.mirror.tree_payload()
        if payload is None:
            raise BadTree("this cluster has one domain, and no tree: see the configuration file")
        return Tree.decode(payload)

    def change_tree(self, change, uint32_t connection, uint64_t request) -> None:
        """Propose another tree; its root commit answers the request. Raises BadTree: it can't be,
        or not now."""
        must(self.raft.role == LEADER and self.raft.assigning, b"changes the tree without leading")
        if self.raft.commit < self.raft.term_start:
            raise BadTree("this leader has not committed an entry of its term yet")
        if self.raft.transfer_to:
            raise BadTree("leadership is being handed over")
        self._propose(change, connection, request)

    cdef bint holds_writers_up(self) noexcept nogil:
        """Whether a write is to come again later, because a child lags too far."""
        if self.now_ns < self.stalled_until_ns:
            return True
        if self.now_ns < self.throttled_until_ns:
            self.throttled += 1
            return self.throttled % 4 != 0
        return False

    cdef uint64_t age_at(self, uint64_t now_ns) noexcept nogil:
        """How old what we have applied may be by now."""
        self.now_ns = max(self.now_ns, now_ns)
        return self.age_ns()

    cdef uint64_t bound_ns(self) noexcept nogil:
        """How old it may be at most, by the newest tree; 0: nothing is said."""
        cdef const TreeView* tree = self.mirror.tree()
        cdef int me
        if tree is NULL:
            return 0
        me = self.my_place(tree)
        return tree.domains[me].max_lag_ns if me >= 0 else 0

    cdef int confirmers(self, uint64_t rindex, uint16_t* domains) noexcept nogil:
        """Which domains are known to hold an entry that the root has committed; how many.

        A leader knows which of its children acknowledged it. Any node knows that those hold it
        that counted throughout, from the entry's own tree on: without them it would not be
        committed. And a child speaks for those that count throughout for it."""
        cdef uint64_t[MAX_CHILDREN] until       # how far each is known to hold what we hold
        cdef int first = self.mirror.number_at(rindex), i, at = 0, many = 0
        if first < 0:
            return 0
        if self.raft.role == LEADER:
            for i in range(self.child_places):
                if self.children[i].domain == 0:
                    continue
                until[many] = self.acked_by(&self.children[i])
                if until[many] >= rindex or MUTANT(CONFIRMERS_FROM_TREE):
                    domains[many] = self.children[i].domain
                    many += 1
        else:
            many = self._add_counted(first, self.domain, self.committed, domains, until, many)
        while at < many:
            many = self._add_counted(first, domains[at], until[at], domains, until, many)
            at += 1
        return many

    cdef int _add_counted(self, int first, uint16_t parent, uint64_t end, uint16_t* domains,
                          uint64_t* until, int many) noexcept nogil:
        """Add the children for which a domain waited with all up to ``end``; how many there are
        then."""
        cdef const TreeView* tree = &self.mirror.tree_number(first).view
        cdef int i, p
        for i in range(tree.count):
            p = tree.domains[i].parent
            if (p >= 0 and tree.domains[p].id == parent and tree.domains[p].any_k == 0
                    and many < MAX_CHILDREN and self._counts_throughout(first, i, end)):
                domains[many], until[many] = tree.domains[i].id, end
                many += 1
        return many

    cdef bint _counts_throughout(self, int first, int place, uint64_t end) noexcept nogil:
        """Whether a domain counts alike in each tree, from that one to the newest at ``end``."""
        cdef const TreeView* tree = &self.mirror.tree_number(first).view
        cdef int n, now
        for n in range(first + 1, self.mirror.tree_count()):
            if self.mirror.tree_number(n).rindex > end:
                break
            now = place_of(&self.mirror.tree_number(n).view, tree.domains[place].id)
            if now < 0 or not self._counts_alike(tree, place, &self.mirror.tree_number(n).view,
                                                 now):
                return False
        return self.counts(tree, place)

    def root_nodes(self) -> bytes:
        """Return the root's id (u16) and its nodes' addresses, by newlines, as our tree knows
        them."""
        try:
            tree = self.newest_tree()
        except BadTree:
            return b"\0\0"
        nodes = tree.domains[tree.root].nodes
        return tree.root.to_bytes(2, "little") + "\n".join(where for _, where in nodes).encode()

    # ---- for shells ----------------------------------------------------------------------------

    def uplink_wanted(self) -> bool:
        """Whether this node shall dial its domain's parent."""
        return self.wanted()

    def parent_nodes(self) -> list:
        """Return the parent's nodes: (node, address), as the newest tree that was committed says,
        as far as we hold it or were told of it; and those that our newest says, which may yet be.
        After long silence, of our parent or of the root through it, the root's too: it knows whose
        child we are by now. Before there is any tree, and after long silence, as our file does."""
        cdef uint64_t at
        cdef bint silent = self.now_ns > max(self.heard_ns, self.elected_ns) + (
            PATIENCE * self.raft.election_ns)
        found = {}
        for payload in (self.committed_tree(&at), self.mirror.tree_payload()):
            if payload:
                tree = Tree.decode(payload)
                mine = tree.domains.get(self.domain)
                if mine is not None and mine.parent in tree.domains:
                    found.update(tree.domains[mine.parent].nodes)
                if silent or self.now_ns < self.sought_ns + self.raft.election_ns:
                    found.update(tree.domains[tree.root].nodes)
        if silent or not found:
            found.update(self.initial_parent)
        return list(found.items())

    def take_move(self) -> tuple | None:
        """Return and forget which node shall be dialled instead."""
        if not self.moving:
            return None
        self.moving = False
        return self.move_node, self.move_address

    cdef int take_output(self, list out) except -1:
        """Move out what is to be sent to other domains."""
        cdef int i
        if buffer_size(&self.up_out):
            out.append((2, 0, self.up_out.data[self.up_out.start:self.up_out.end]))
            buffer_consume(&self.up_out, buffer_size(&self.up_out))
        if not self.linked:
            return 0
        for i in range(self.link_places):
            if self.downlinks[i].connection and buffer_size(&self.downlinks[i].out):
                out.append((3, self.downlinks[i].connection, self.downlinks[i].out.data[
                    self.downlinks[i].out.start:self.downlinks[i].out.end]))
                buffer_consume(&self.downlinks[i].out, buffer_size(&self.downlinks[i].out))
        return 0

    cdef uint64_t deadline_ns(self) noexcept nogil:
        """When something is due that no input brings about."""
        if self.up:
            return self.asked_ns + self.raft.heartbeat_ns
        return <uint64_t>-1

    def status(self, uint64_t now_ns) -> dict:
        """Return what this node knows of its domain, for people and metrics.

        A lag is what it was by the last word of the other end, ``told_ns`` ago; None: nobody told
        this leader yet.
        """
        cdef Child* c
        cdef Downlink* link
        cdef uint64_t end, acked
        cdef int i, j
        cdef const TreeView* tree = self.mirror.tree()
        self.now_ns = max(self.now_ns, now_ns)
        age = self.age_ns()
        children = {}
        self.offered(&end)
        if tree is not NULL and self.raft.role == LEADER:
            for i in range(tree.count):
                j = tree.domains[i].parent
                if j < 0 or tree.domains[j].id != self.domain:
                    continue
                c = self.known_child(tree.domains[i].id)
                acked = self.acked_by(c)
                state = "detached"
                for j in range(self.link_places):
                    link = &self.downlinks[j]
                    if link.connection and link.domain == tree.domains[i].id:
                        state = ("attaching" if link.state == WAITING or link.state == PROBING
                                 else "snapshot" if link.state == SENDING_SNAPSHOT
                                 else "catching-up" if acked + SMALL_GAP < end else "streaming")
                excluded = tree.domains[i].sync and not tree.domains[i].included
                told = c is not NULL and c.next_ack != 0
                children[tree.domains[i].id] = {
                    "state": "excluded" if excluded and state in ("detached", "streaming")
                    else state,
                    "link": state, "sync": bool(tree.domains[i].sync), "included": not excluded,
                    "acked": acked, "lag_entries": max(end, acked) - acked if told else None,
                    "lag_ns": None if not told else 0 if acked >= end
                    else self.now_ns - c.current_ns,
                    "lag_bytes": self.lag_bytes(acked, end) if told else None,
                    "told_ns": self.now_ns - c.heard_ns if told else None,
                    "held": bool(tree.domains[i].held),
                    "cannot_readmit": bool(c is not NULL and self._is_stuck(&tree.domains[i], c)),
                    "lease_left_ns": 0 if c is NULL or c.granted_until_ns < self.now_ns
                    else c.granted_until_ns - self.now_ns}
        told = self.raft.role == LEADER and self.their_end_ns != 0 and not self.is_root()
        return {
            "id": self.domain, "root": bool(self.is_root()),
            "adopted": list(self.mirror.adopted), "mirror_end": self.mirror.end,
            "committed": self.committed, "applied_rindex": self.applied,
            "age_ns": None if age == <uint64_t>-1 else age,
            "lease": bool(self.holds_domain_lease()),
            "lease_left_ns": self.own_lease_left_ns(),
            "uplink": {"state": UPLINK_STATES[self.state], "node": self.parent_node,
                       "their_end": self.their_end.rindex,
                       "lag_entries": max(0, <int64_t>(self.their_end.rindex - self.applied))
                       if told else None,
                       "told_ns": self.now_ns - self.their_end_ns if told else None},
            "exclusions": self.exclusions, "inclusions": self.inclusions, "children": children,
        }


cdef uint64_t small_gap(const DomainView* view) noexcept nogil:
    """What an excluded domain may lack when it is included: it must not lag too far at once."""
    return min(<uint64_t>SMALL_GAP, view.max_lag_entries // 2) if view.max_lag_entries \
        else SMALL_GAP
