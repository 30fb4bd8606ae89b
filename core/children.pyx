"""The watch over a domain's children, and the root's decisions about them.

A child that counts and does not confirm for ``exclude_after`` is excluded by the root's leader, or
reported to it, link by link; one that has caught up is included again, unless an operator excluded
it. One that does not catch up, though it is linked, is said to be so, and writers are throttled for
it where the tree says so; so are they, or stalled, for one that lags beyond what the tree allows.
The tree itself is log content, so each such decision is an entry like any other, and so is every
change that people ask for.
"""
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memset

from seatrial.core.codec cimport KIND_TREE, LINK_REPORT, LinkMessage
from seatrial.core.downlinks cimport PROBING, SENDING_SNAPSHOT, STREAMING, WAITING
from seatrial.core.invariant cimport must
from seatrial.core.mutant cimport (
    EXCLUSION_WAITS_BEFORE_PROPOSING,
    LAG_BY_HEARTBEAT,
    MUTANT,
    READMIT_BEFORE_CAUGHT_UP,
    seatrial_arm,
)
from seatrial.core.raft_state cimport LEADER
from seatrial.core.tree cimport LAG_EXCLUDES, LAG_STALLS, LAG_THROTTLES, place_of
from seatrial.core.uplink cimport LAGGING, READY, SILENT, STUCK

from operator import methodcaller

from seatrial.core.tree import BadTree, Tree

cdef enum:
    SMALL_GAP = 256             # entries: who lacks no more has caught up
    PATIENCE = 8                # election timeouts until one that lagged may come back
    GAP_ELECTIONS = 8           # timeouts, after which a greater gap must have become smaller
    MOST_REPLACED = 2           # snapshots before they had come: the link does not carry the writes
    GIVES_UP = 8                # times: writers are throttled no longer for who stays as far behind


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


cdef class Children(Uplink):
    # ---- once a heartbeat --------------------------------------------------------------------

    cdef int watch(self) except -1 nogil:
        """See which child has fallen silent, which has caught up, which lags."""
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
        cdef bint speaks = self.now_ns < c.heard_ns + self.raft.election_ns
        self.offered(&end)
        self.sample(c)
        lag_ns = self._lag_ns(c, acked, end)
        if self.counts(tree, place):
            if lag_ns > view.exclude_after_ns and not view.block:
                return self.conclude(SILENT, view.id)
            if view.readmit_throttle and lag_ns > view.exclude_after_ns // 2 and speaks:
                self.conclude(STUCK, view.id)       # (or it goes again as soon as it has come)
        elif (view.sync and not view.held and speaks
                and self._may_come_back(view, c, acked, end, lag_ns)):
            c.gap_ns = c.stuck = 0
            return self.conclude(READY, view.id)
        if (speaks and c.next_ack and view.sync and not view.included and not view.held
                and not self._takes_snapshot(view.id)):
            self._watch_gap(c, end - acked)
            if c.slowed and c.stuck < GIVES_UP and view.readmit_throttle:
                self.conclude(STUCK, view.id)
        else:
            c.gap_ns = c.stuck = c.slowed = 0
        if self._lags(view, c, acked, end, lag_ns):
            c.lagged_ns = self.now_ns
            return self.conclude(LAGGING, view.id)
        return 0

    # ---- one child ---------------------------------------------------------------------------

    cdef uint64_t _lag_ns(self, const Child* c, uint64_t acked, uint64_t end) noexcept nogil:
        """For how long a child has not held all that there was."""
        if ((acked >= end or MUTANT(LAG_BY_HEARTBEAT))
                and self.now_ns < c.heard_ns + 2 * self.raft.election_ns):
            return 0
        return self.now_ns - c.current_ns

    cdef uint64_t lag_bytes(self, uint64_t acked, uint64_t end) noexcept nogil:
        """How many bytes of our log a child lacks; at least so many, if not all are kept here."""
        cdef uint64_t after = self.mirror.index_of(acked) + 1, last = self.mirror.index_of(end)
        if acked >= end or last == 0:
            return 0
        after = max(after, self.raft.log.first)
        return self.raft.log.offset_of(last + 1) - self.raft.log.offset_of(after)

    cdef bint _lags(self, const DomainView* view, const Child* c, uint64_t acked, uint64_t end,
                    uint64_t lag_ns) noexcept nogil:
        """Whether a child that lives lags beyond what the tree allows; nobody waits for one that
        is held."""
        if view.held or self.now_ns >= c.heard_ns + 2 * self.raft.election_ns:
            return False
        if view.max_lag_ns and lag_ns > view.max_lag_ns:
            return True
        # (it is not known yet: we are new, have followed another leader of the root, or know by
        # a snapshot only what the child's word refers to)
        if acked == 0 and lag_ns <= view.exclude_after_ns:
            return False
        return (view.max_lag_entries and end > acked + view.max_lag_entries
                or view.max_lag_bytes and self.lag_bytes(acked, end) > view.max_lag_bytes)

    cdef bint _may_come_back(self, const DomainView* view, const Child* c, uint64_t acked,
                             uint64_t end, uint64_t lag_ns) noexcept nogil:
        """Whether an excluded child has caught up, and would not be excluded again at once."""
        if MUTANT(READMIT_BEFORE_CAUGHT_UP):
            return True
        if acked == 0 or lag_ns > view.exclude_after_ns:
            return False
        if (view.on_lag == LAG_EXCLUDES and c.lagged_ns
                and self.now_ns < c.lagged_ns + PATIENCE * self.raft.election_ns):
            return False
        return self._is_near(view, c, acked, end, lag_ns)

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

    cdef const Downlink* _link_in(self, uint16_t domain, int state) noexcept nogil:
        """A link of a child's that is in this state, or NULL."""
        cdef int i
        for i in range(self.link_places):
            if (self.downlinks[i].connection and self.downlinks[i].domain == domain
                    and self.downlinks[i].state == state):
                return &self.downlinks[i]
        return NULL

    cdef bint _takes_snapshot(self, uint16_t domain) noexcept nogil:
        """Whether a child is sent one, and there is reason to think that it will get it."""
        cdef const Downlink* link = self._link_in(domain, SENDING_SNAPSHOT)
        return link is not NULL and link.replaced < MOST_REPLACED

    cdef bint _all_sent(self, uint16_t domain, uint64_t end) noexcept nogil:
        """Whether a child was sent what there is, but for the newest."""
        cdef const Downlink* link = self._link_in(domain, STREAMING)
        return link is not NULL and link.next_rindex + SMALL_GAP > end

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

    # ---- decisions ---------------------------------------------------------------------------

    cdef int conclude(self, int kind, uint16_t domain) except -1 nogil:
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

    # ---- for people ----------------------------------------------------------------------------

    def children_status(self) -> dict:
        """Return by its id what this leader knows of each child; nothing where it does not lead.

        A lag is what it was by the child's last word, ``told_ns`` ago; None: it said nothing yet.
        """
        cdef Child* c
        cdef Downlink* link
        cdef uint64_t end, acked
        cdef int i, j
        cdef const TreeView* tree = self.mirror.tree()
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
        return children


cdef uint64_t small_gap(const DomainView* view) noexcept nogil:
    """What an excluded domain may lack when it is included: it must not lag too far at once."""
    return min(<uint64_t>SMALL_GAP, view.max_lag_entries // 2) if view.max_lag_entries \
        else SMALL_GAP
