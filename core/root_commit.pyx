"""What the root has committed, and what a domain may acknowledge: one rule for both.

An rindex c is *gated* when this domain's own majority has committed it (Raft) and every child that
the tree as of c, c included, counts has acknowledged it; with policy ``any k``, any k of them. In
the root that is the commit index; elsewhere it is what is acknowledged to the parent. Everything
below c goes with it. So a tree that excludes a child unblocks older entries only together with its
own entry, and one that includes a child needs it from its own entry on.

* An acknowledgement names coordinates, and the T under which they were held. It counts while our
  mirror holds exactly that entry under the same T: a child that held an entry may have cut it for
  a later leader, whose successor brings us the same entry again (as in figure 8 of the paper).
  Those of two leaders of one child are both true.
* An acknowledgement that goes beyond an entry by which less is asked of domains further below (one
  ceases to count; one more does under ``any k``, so that it may be another k) may rest on that
  entry, and unblocks nothing before it (``_relies_on_later``). Else the root could commit what a
  domain, which counts until then, does not hold.
* An entry by which a child ceases to count passes only when every lease that this leader gave has
  run out, and those that leaders before it may have given: until then the child may answer reads
  without us (``_may_pass``).
* The commit index travels down as coordinates, a *mark*. A domain applies up to a mark when the
  committed part of its mirror holds exactly that entry, under the same T as the sender's or a later
  one. A mark that doesn't match is kept: it may match later.
"""
from libc.string cimport memset

from seatrial.core.buffer cimport buffer_size
from seatrial.core.invariant cimport must
from seatrial.core.mirror cimport Adopted, compare_terms, same
from seatrial.core.mutant cimport (
    ACK_OF_EARLIER_TERM,
    ACK_RESTS_ON_LATER_EXCLUSION,
    ANY_K_COUNTS_EXCLUDED,
    CATCHING_UP_GATES,
    CHILD_NOT_WAITED_FOR,
    DEGRADES_SILENTLY,
    DOMAIN_MAJORITY_NOT_WAITED_FOR,
    EXCLUSION_ACTS_ON_OLDER,
    EXCLUSION_FORGETS_EARLIER_LEADER,
    EXCLUSION_WAITS_BEFORE_PROPOSING,
    EXCLUSION_WITHOUT_WAITING,
    INCLUSION_ACTS_LATE,
    LINK_ACK_BY_RINDEX,
    MARK_BY_RINDEX,
    MUTANT,
    ONLY_EXCLUSION_WAITS,
    seatrial_arm,
    SERVES_HEARD_TERM,
)
from seatrial.core.raft_state cimport LEADER
from seatrial.core.tree cimport DRIFT_PERCENT, NO_CHILD, place_of


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


cdef class RootCommit:
    # ---- who we are ----------------------------------------------------------------------

    cdef bint plain(self) noexcept nogil:
        """Whether there is no other domain, so that what is committed here is committed."""
        cdef int i
        if not self.is_root():
            return False
        for i in range(self.mirror.tree_count()):
            if self.mirror.tree_number(i).view.count > 1:
                return False
        return True

    cdef bint is_root(self) noexcept nogil:
        """Whether writes come to this domain, as far as its log tells."""
        cdef const TreeView* tree = self.mirror.tree()
        if tree is NULL:
            return not self.raft.child
        return tree.domains[tree.root].id == self.domain

    cdef int my_place(self, const TreeView* tree) noexcept nogil:
        """Our place in a tree; -1: we are not in it."""
        cdef int i
        for i in range(tree.count):
            if tree.domains[i].id == self.domain:
                return i
        return -1

    # ---- children ------------------------------------------------------------------------

    cdef Child* known_child(self, uint16_t domain) noexcept nogil:
        cdef int i
        for i in range(self.child_places):
            if self.children[i].domain == domain:
                return &self.children[i]
        return NULL

    cdef Child* child(self, uint16_t domain) except NULL nogil:
        """What we know of a child; nothing yet, if it is the first that we hear."""
        cdef Child* c = self.known_child(domain)
        if c is not NULL:
            return c
        c = self.known_child(0)
        if c is NULL:
            must(self.child_places < MAX_CHILDREN, b"more children than a tree has", domain)
            c = &self.children[self.child_places]
            self.child_places += 1
        memset(c, 0, sizeof(Child))
        c.domain = domain
        c.heard_ns = c.current_ns = c.sample_ns = self.now_ns
        return c

    cdef RootTerm served_term(self) noexcept nogil:
        """T of what our children are served."""
        cdef RootTerm mine
        if self.raft.role == LEADER and self.raft.assigning:
            mine.epoch = self.raft.epoch()
            mine.term = self.raft.term
            return mine
        return self.mirror.adopted_at(self.raft.log.last() if MUTANT(SERVES_HEARD_TERM)
                                      else self.raft.commit)

    cdef uint64_t acked_by(self, const Child* c) noexcept nogil:
        """How far a child has acknowledged what our mirror holds."""
        cdef uint64_t best = 0
        cdef RootTerm t = self.served_term()
        cdef int i
        if c is NULL:
            return 0
        for i in range(ACKS):
            if (c.acks[i].rindex > best
                    and (compare_terms(c.ack_terms[i], t) >= 0 or MUTANT(ACK_OF_EARLIER_TERM))
                    and (self.mirror.holds(c.acks[i]) or MUTANT(LINK_ACK_BY_RINDEX))):
                best = c.acks[i].rindex
        return best

    cdef int take_ack(self, Child* c, Coordinates at, RootTerm t) noexcept nogil:
        """Keep an acknowledgement: in the place of one of the same term, which it goes on from."""
        cdef int i, newer
        for i in range(ACKS):
            if c.acks[i].rindex and compare_terms(c.acks[i].rterm, at.rterm) == 0:
                newer = compare_terms(t, c.ack_terms[i])
                if newer > 0 or newer == 0 and at.rindex > c.acks[i].rindex:
                    c.acks[i], c.ack_terms[i] = at, t
                return 0
        i = c.next_ack % ACKS
        c.acks[i], c.ack_terms[i] = at, t
        c.next_ack += 1
        return 0

    cdef bint counts(self, const TreeView* tree, int place) noexcept nogil:
        """Whether a domain counts in its parent's sync policy."""
        return tree.domains[place].sync and tree.domains[place].included

    # ---- the rule ------------------------------------------------------------------------

    cdef uint64_t _wait_ns(self, const TreeView* tree) noexcept nogil:
        """How long a lease may last by our clock, whatever the other's does."""
        return tree.lease_ns + tree.lease_ns * DRIFT_PERCENT // 100

    cdef bint _may_hold_a_lease(self, const TreeView* before, const TreeView* after) noexcept nogil:
        """Whether a child of ours that counts in one tree, and no longer in the next, may still
        hold a lease, of ours or of a leader before us. Leases are given under policy ``all`` only.
        """
        cdef int me = self.my_place(before), now = self.my_place(after), i, j
        cdef const Child* c
        if me < 0 or before.domains[me].any_k:
            return False
        for i in range(before.count):
            if before.domains[i].parent != me or not self.counts(before, i):
                continue
            for j in range(after.count):
                if (after.domains[j].id == before.domains[i].id and after.domains[j].parent == now
                        and now >= 0 and self.counts(after, j) and not after.domains[now].any_k):
                    break
                if (MUTANT(ONLY_EXCLUSION_WAITS) and after.domains[j].id == before.domains[i].id
                        and not after.domains[j].sync):
                    break
            else:
                c = self.known_child(before.domains[i].id)
                if (self.now_ns < self.elected_ns + self._wait_ns(before)
                        and not MUTANT(EXCLUSION_FORGETS_EARLIER_LEADER)) or (
                        c is not NULL and self.now_ns < c.granted_until_ns):
                    return True
        return False

    cdef bint _may_pass(self, int number) noexcept nogil:
        """Whether entries up to that tree's may be committed or acknowledged: no child that it
        ceases to count can still hold a lease. (Others are given theirs all the time.)"""
        cdef const Planted* after
        cdef int i = number
        if MUTANT(EXCLUSION_WITHOUT_WAITING) or MUTANT(EXCLUSION_WAITS_BEFORE_PROPOSING):
            return True
        while i > 0:
            after = self.mirror.tree_number(i)
            if after.rindex <= self.committed:
                break
            i -= 1
            if self._may_hold_a_lease(&self.mirror.tree_number(i).view, &after.view):
                return False
        return True

    cdef bint _relies_on_later(self, int number, uint64_t acked) noexcept nogil:
        """Whether an acknowledgement that goes beyond a tree may rest on a later one by which less
        is asked of some domain further below: then it unblocks nothing before that one."""
        cdef int i
        if MUTANT(ACK_RESTS_ON_LATER_EXCLUSION):
            return False
        for i in range(number + 1, self.mirror.tree_count()):
            if self.mirror.tree_number(i).rindex > acked:
                return False
            if self._asks_less(&self.mirror.tree_number(i - 1).view,
                               &self.mirror.tree_number(i).view):
                return True
        return False

    cdef bint _asks_less(self, const TreeView* before, const TreeView* after) noexcept nogil:
        """Whether, below our children, some domain no longer counts, counts elsewhere or under
        another policy; or one more does under policy ``any k``, so that k may be others."""
        cdef int i, j
        for i in range(before.count):
            if self._counts_below(before, i):
                j = place_of(after, before.domains[i].id)
                if j < 0 or not self._counts_alike(before, i, after, j):
                    return True
        for i in range(after.count):
            if self._counts_below(after, i) and after.domains[after.domains[i].parent].any_k:
                j = place_of(before, after.domains[i].id)
                if j < 0 or not self._counts_alike(before, j, after, i):
                    return True
        return False

    cdef bint _counts_below(self, const TreeView* tree, int place) noexcept nogil:
        """Whether a domain counts in another one's policy than ours."""
        cdef int parent = tree.domains[place].parent
        return (parent >= 0 and tree.domains[parent].id != self.domain
                and self.counts(tree, place))

    cdef bint _counts_alike(self, const TreeView* before, int i, const TreeView* after,
                            int j) noexcept nogil:
        """Whether a domain counts in both, for the same parent and under the same policy."""
        cdef int p = before.domains[i].parent, q = after.domains[j].parent
        return (p >= 0 and q >= 0 and self.counts(before, i) and self.counts(after, j)
                and before.domains[p].id == after.domains[q].id
                and before.domains[p].any_k == after.domains[q].any_k)

    cdef uint64_t _counted(self, int number, uint64_t until) noexcept nogil:
        """How far the children have acknowledged, as this tree counts them; at most ``until``."""
        cdef const TreeView* tree = &self.mirror.tree_number(number).view
        cdef int me = self.my_place(tree), i, j, many = 0, needed
        cdef uint64_t[64] acked
        cdef uint64_t one
        cdef const Child* c
        if me < 0 or tree.domains[me].any_k == NO_CHILD or MUTANT(CHILD_NOT_WAITED_FOR):
            return until
        for i in range(tree.count):
            if tree.domains[i].parent != me or not (
                    self.counts(tree, i) or tree.domains[i].sync and (
                        MUTANT(CATCHING_UP_GATES)
                        or MUTANT(ANY_K_COUNTS_EXCLUDED) and tree.domains[me].any_k)):
                continue
            c = self.known_child(tree.domains[i].id)
            if MUTANT(DEGRADES_SILENTLY) and (
                    c is NULL or self.now_ns > c.heard_ns + self.raft.election_ns):
                continue
            one = self.acked_by(c)
            if one > until and self._relies_on_later(number, one):
                one = self.committed
            j = many
            while j > 0 and acked[j - 1] < one:     # the greatest first
                acked[j] = acked[j - 1]
                j -= 1
            acked[j] = one
            many += 1
        needed = many
        if tree.domains[me].any_k:
            needed = min(many, <int>tree.domains[me].any_k)
        return min(until, acked[needed - 1]) if needed else until

    cdef uint64_t gated(self) noexcept nogil:
        """The largest rindex that is committed here and acknowledged by whom it needs."""
        cdef uint64_t end = self.mirror.end_at(self.raft.commit), high, low, reached
        cdef int n = self.mirror.tree_count() - 1
        cdef const Planted* planted
        if MUTANT(DOMAIN_MAJORITY_NOT_WAITED_FOR) and not self.is_root():
            end = self.mirror.end
        high = end
        while n >= 0:
            planted = self.mirror.tree_number(n)
            low = planted.rindex
            if low <= high or MUTANT(EXCLUSION_ACTS_ON_OLDER):
                if self._may_pass(n):
                    reached = self._counted(n, high)
                    if reached >= low or MUTANT(EXCLUSION_ACTS_ON_OLDER):
                        return reached
                high = low if MUTANT(INCLUSION_ACTS_LATE) else low - 1 if low else 0
            n -= 1
        return min(high, end)       # before the first tree nobody else counts

    # ---- what may be applied ---------------------------------------------------------------

    cdef int note_mark(self, Mark mark) noexcept nogil:
        """Keep a mark until it can be applied; of too many the last gives way."""
        cdef int at = self.mark_count
        if mark.at.rindex <= self.committed:
            return 0
        if at and same(self.marks[at - 1].at, mark.at) and compare_terms(
                self.marks[at - 1].rterm, mark.rterm) >= 0:
            return 0
        if at == MARKS:
            at -= 1
        self.marks[at] = mark
        self.mark_count = at + 1
        return 0

    cdef int _use_marks(self) except -1 nogil:
        """Take the marks that the committed part of our mirror matches."""
        cdef uint64_t end = self.mirror.end_at(self.raft.commit)
        cdef RootTerm mine = self.mirror.adopted_at(self.raft.commit)
        cdef int i, kept = 0
        for i in range(self.mark_count):
            if (self.marks[i].at.rindex > self.committed and self.marks[i].at.rindex <= end
                    and (compare_terms(mine, self.marks[i].rterm) >= 0
                         and self.mirror.holds(self.marks[i].at) or MUTANT(MARK_BY_RINDEX))):
                self.committed = self.marks[i].at.rindex
        for i in range(self.mark_count):
            if self.marks[i].at.rindex > self.committed:
                self.marks[kept] = self.marks[i]
                kept += 1
        self.mark_count = kept
        return 0

    cdef int advance(self, uint64_t now_ns) except -1 nogil:
        """See what the root has committed, as far as this node can tell."""
        cdef uint64_t reached
        self.now_ns = now_ns
        if self.raft.role != LEADER:
            self.led_term = 0
        elif self.led_term != self.raft.term:
            self.led_term = self.raft.term
            self.elected_ns = now_ns
            self.elected_rindex = self.mirror.end
            memset(self.children, 0, sizeof(self.children))
            self.child_places = 0
        if self.raft.role == LEADER and self.raft.assigning:
            if self.raft.commit >= self.raft.term_start:
                reached = self.gated()
                if reached > self.committed:
                    self.committed = reached
            return 0
        return self._use_marks()

    cdef bint voided_for_now(self, uint64_t rindex, uint64_t index) noexcept nogil:
        """Whether a root entry of the log's committed part no longer holds, but what says so is
        not committed yet, and may be cut."""
        cdef const Adopted* adopted
        cdef size_t i
        if self.mirror.index_of(rindex) == index:
            return False
        adopted = <const Adopted*>(self.mirror.adoptions.data + self.mirror.adoptions.start)
        i = buffer_size(&self.mirror.adoptions) // sizeof(Adopted)
        while i > 0 and adopted[i - 1].index > self.raft.commit:
            i -= 1
            if adopted[i].cuts:
                return True
        return False

    cdef uint64_t quorum_left_ns(self) noexcept nogil:
        """For how long nobody else can be elected in this domain, by our clock: a majority heard us
        (what transfer gives up is gone)."""
        cdef uint64_t until = self.raft.confirmed_ns + self.raft.quorum_lease_ns
        if (self.raft.role != LEADER or self.raft.lease_void or self.raft.confirmed_ns == 0
                or until <= self.now_ns):
            return 0
        return until - self.now_ns
