from libc.stdint cimport uint16_t, uint64_t

from seatrial.core.downlinks cimport Downlink
from seatrial.core.root_commit cimport Child
from seatrial.core.tree cimport DomainView, TreeView
from seatrial.core.uplink cimport Uplink

cdef class Children(Uplink):
    cdef uint64_t stalled_until_ns      # a child lags too far: writers wait
    cdef uint64_t throttled_until_ns
    cdef uint64_t throttled
    cdef readonly uint64_t exclusions
    cdef readonly uint64_t inclusions

    cdef int watch(self) except -1 nogil
    cdef int _forget_children(self, const TreeView* tree, int me) noexcept nogil
    cdef int _watch_child(self, const TreeView* tree, int place) except -1 nogil
    cdef uint64_t _lag_ns(self, const Child* c, uint64_t acked, uint64_t end) noexcept nogil
    cdef uint64_t lag_bytes(self, uint64_t acked, uint64_t end) noexcept nogil
    cdef bint _lags(self, const DomainView* view, const Child* c, uint64_t acked, uint64_t end,
                    uint64_t lag_ns) noexcept nogil
    cdef bint _may_come_back(self, const DomainView* view, const Child* c, uint64_t acked,
                             uint64_t end, uint64_t lag_ns) noexcept nogil
    cdef bint _is_near(self, const DomainView* view, const Child* c, uint64_t acked,
                       uint64_t end, uint64_t lag_ns) noexcept nogil
    cdef const Downlink* _link_in(self, uint16_t domain, int state) noexcept nogil
    cdef bint _takes_snapshot(self, uint16_t domain) noexcept nogil
    cdef bint _all_sent(self, uint16_t domain, uint64_t end) noexcept nogil
    cdef int _watch_gap(self, Child* c, uint64_t gap) noexcept nogil
    cdef bint _is_stuck(self, const DomainView* view, const Child* c) noexcept nogil
    cdef int conclude(self, int kind, uint16_t domain) except -1 nogil
    cdef int _change(self, int kind, uint16_t domain) except -1
    cdef bint holds_writers_up(self) noexcept nogil
