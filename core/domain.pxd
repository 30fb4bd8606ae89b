from libc.stdint cimport uint16_t, uint32_t, uint64_t

from seatrial.core.children cimport Children
from seatrial.core.codec cimport LinkMessage
from seatrial.core.mirror cimport Coordinates

cdef class Domain(Children):
    cdef bytes initial_tree         # what the root's first leader logs; None: one domain
    cdef tuple initial_parent       # (node, address): before our log holds a tree
    cdef uint64_t watched_ns
    cdef uint64_t marked_ns

    cdef int receive_link(self, uint32_t connection, const char* p, size_t size,
                          uint64_t now_ns) except -1
    cdef int receive_uplink(self, const char* p, size_t size, uint64_t now_ns) except -1
    cdef bint _is_above(self, uint16_t domain, uint16_t below) noexcept nogil
    cdef int on_mark(self, uint32_t sender, const char* frame) except -1 nogil
    cdef int begin(self, uint64_t now_ns) except -1 nogil
    cdef int finish(self, uint64_t applied, uint64_t now_ns) except -1 nogil
    cdef int _note_applied(self) noexcept nogil
    cdef int _plant_first(self) except -1
    cdef int _tell_members(self) except -1 nogil
    cdef int _ask_for_tickets(self) noexcept nogil
    cdef int _answer_tickets(self) except -1 nogil
    cdef uint64_t age_at(self, uint64_t now_ns) noexcept nogil
    cdef uint64_t bound_ns(self) noexcept nogil
    cdef int _add_counted(self, int first, uint16_t parent, uint64_t end, uint16_t* domains,
                          uint64_t* until, int many) noexcept nogil
    cdef bint _counts_throughout(self, int first, int place, uint64_t end) noexcept nogil
    cdef int confirmers(self, uint64_t rindex, uint16_t* domains) noexcept nogil
    cdef uint64_t read_floor(self) noexcept nogil
    cdef int take_output(self, list out) except -1
    cdef uint64_t deadline_ns(self) noexcept nogil
