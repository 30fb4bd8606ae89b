from libc.stdint cimport uint16_t, uint32_t, uint64_t

from seatrial.core.codec cimport LinkMessage
from seatrial.core.mirror cimport Coordinates
from seatrial.core.root_commit cimport Child
from seatrial.core.tree cimport DomainView, TreeView
from seatrial.core.uplink cimport Uplink

cdef class Domain(Uplink):
    cdef bytes initial_tree         # what the root's first leader logs; None: one domain
    cdef tuple initial_parent       # (node, address): before our log holds a tree
    cdef uint64_t watched_ns
    cdef uint64_t marked_ns
    cdef uint64_t stalled_until_ns  # a child lags too far: writers wait
    cdef uint64_t throttled_until_ns
    cdef uint64_t throttled
    cdef readonly uint64_t exclusions
    cdef readonly uint64_t inclusions

    cdef int receive_link(self, uint32_t connection, const char* p, size_t size,
                          uint64_t now_ns) except -1
    cdef int receive_uplink(self, const char* p, size_t size, uint64_t now_ns) except -1
    cdef bint _is_above(self, uint16_t domain, uint16_t below) noexcept nogil
    cdef int on_mark(self, uint32_t sender, const char* frame) except -1 nogil
    cdef int begin(self, uint64_t now_ns) except -1 nogil
    cdef int finish(self, uint64_t applied, uint64_t now_ns) except -1 nogil
    cdef int _note_applied(self) noexcept nogil
    cdef int _plant_first(self) except -1
    cdef int _watch(self) except -1 nogil
    cdef int _forget_children(self, const TreeView* tree, int me) noexcept nogil
    cdef int _watch_child(self, const TreeView* tree, int place) except -1 nogil
    cdef uint64_t lag_bytes(self, uint64_t acked, uint64_t end) noexcept nogil
    cdef bint _takes_snapshot(self, uint16_t domain) noexcept nogil
    cdef bint _is_near(self, const DomainView* view, const Child* c, uint64_t acked,
                       uint64_t end, uint64_t lag_ns) noexcept nogil
    cdef bint _all_sent(self, uint16_t domain, uint64_t end) noexcept nogil
    cdef int _watch_gap(self, Child* c, uint64_t gap) noexcept nogil
    cdef bint _is_stuck(self, const DomainView* view, const Child* c) noexcept nogil
    cdef int _conclude(self, int kind, uint16_t domain) except -1 nogil
    cdef int _change(self, int kind, uint16_t domain) except -1
    cdef int _tell_members(self) except -1 nogil
    cdef int _ask_for_tickets(self) noexcept nogil
    cdef int _answer_tickets(self) except -1 nogil
    cdef bint holds_writers_up(self) noexcept nogil
    cdef uint64_t age_at(self, uint64_t now_ns) noexcept nogil
    cdef uint64_t bound_ns(self) noexcept nogil
    cdef int _add_counted(self, int first, uint16_t parent, uint64_t end, uint16_t* domains,
                          uint64_t* until, int many) noexcept nogil
    cdef bint _counts_throughout(self, int first, int place, uint64_t end) noexcept nogil
    cdef int confirmers(self, uint64_t rindex, uint16_t* domains) noexcept nogil
    cdef uint64_t read_floor(self) noexcept nogil
    cdef int take_output(self, list out) except -1
    cdef uint64_t deadline_ns(self) noexcept nogil
