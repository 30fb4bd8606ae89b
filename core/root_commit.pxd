from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from seatrial.core.buffer cimport Buffer
from seatrial.core.codec cimport LinkMessage
from seatrial.core.mirror cimport Coordinates, Mirror, Planted, RootTerm
from seatrial.core.raft cimport Raft
from seatrial.core.tree cimport TreeView

cdef enum:
    ACKS = 4                # kept of each child: leaders of one child may differ
    MARKS = 16              # of the root's commit index, kept until one can be applied
    MAX_CHILDREN = 64

cdef struct Child:          # what a domain's leader knows of a child domain
    uint16_t domain         # 0: the place is free
    Coordinates[4] acks
    RootTerm[4] ack_terms   # T of its log when it acknowledged
    uint32_t next_ack
    uint64_t heard_ns       # when it last spoke, whoever leads it
    uint64_t current_ns     # when it last held all that we had when it was asked
    uint64_t granted_until_ns   # no lease that we gave it lasts longer
    uint64_t sample_rindex  # our end some time ago, and since when
    uint64_t sample_ns
    bint measured           # it has come to such an end since
    uint64_t gap_ns         # while it is excluded: when what it lacks was looked at last,
    uint64_t gap            # how many entries that were,
    uint32_t stuck          # and how many times in a row they had not become fewer;
    bint slowed             # they once had not, since when writers are throttled for it
    uint64_t lagged_ns      # when it was excluded, or reported, for its lag; 0: never

cdef struct Mark:
    Coordinates at
    RootTerm rterm          # the sender's T

cdef class RootCommit:
    cdef Raft raft
    cdef Mirror mirror
    cdef readonly uint16_t domain
    cdef uint64_t led_term      # the term whose leadership the fields below belong to; 0: none
    cdef uint64_t elected_ns
    cdef uint64_t elected_rindex    # the mirror's end then
    cdef Child[64] children
    cdef int child_places           # how many of these were used
    cdef Mark[16] marks
    cdef int mark_count
    cdef readonly uint64_t committed    # rindex: the root has committed up to here
    cdef readonly uint64_t applied      # rindex: the state machine's
    cdef Coordinates applied_at     # the same (a base that is not committed hides it in the mirror)
    cdef Coordinates told       # to our members, by MARK
    cdef uint64_t now_ns

    cdef bint plain(self) noexcept nogil
    cdef bint is_root(self) noexcept nogil
    cdef int my_place(self, const TreeView* tree) noexcept nogil
    cdef Child* child(self, uint16_t domain) except NULL nogil
    cdef Child* known_child(self, uint16_t domain) noexcept nogil
    cdef uint64_t acked_by(self, const Child* c) noexcept nogil
    cdef int take_ack(self, Child* c, Coordinates at, RootTerm t) noexcept nogil
    cdef RootTerm served_term(self) noexcept nogil
    cdef bint counts(self, const TreeView* tree, int place) noexcept nogil
    cdef uint64_t _wait_ns(self, const TreeView* tree) noexcept nogil
    cdef bint _may_hold_a_lease(self, const TreeView* before, const TreeView* after) noexcept nogil
    cdef bint _may_pass(self, int number) noexcept nogil
    cdef bint _relies_on_later(self, int number, uint64_t acked) noexcept nogil
    cdef bint _asks_less(self, const TreeView* before, const TreeView* after) noexcept nogil
    cdef bint _counts_below(self, const TreeView* tree, int place) noexcept nogil
    cdef bint _counts_alike(self, const TreeView* before, int i, const TreeView* after,
                            int j) noexcept nogil
    cdef uint64_t _counted(self, int number, uint64_t until) noexcept nogil
    cdef uint64_t gated(self) noexcept nogil
    cdef int note_mark(self, Mark mark) noexcept nogil
    cdef int advance(self, uint64_t now_ns) except -1 nogil
    cdef int _use_marks(self) except -1 nogil
    cdef bint voided_for_now(self, uint64_t rindex, uint64_t index) noexcept nogil
    cdef uint64_t quorum_left_ns(self) noexcept nogil
