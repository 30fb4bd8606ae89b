# distutils: language = c++
from libc.stdint cimport uint8_t, uint64_t
from libcpp.string cimport string
from libcpp.unordered_map cimport unordered_map

from seatrial.core.frozen_map cimport FrozenMap
from seatrial.core.outcome cimport Outcome

cdef cppclass Session:
    uint64_t id             # index of the entry that opened it
    uint64_t nonce          # by which its client knows it before it knows the id
    uint64_t sequence       # of the newest write applied
    uint64_t used           # index of the entry that last used the session
    uint64_t used_ns        # log time then
    uint64_t ttl_ns         # it lives so long unused; 0: for ever
    uint64_t hash
    uint8_t status          # the stored answer to that write
    bint has_value
    string value

cdef class Sessions:
    cdef FrozenMap[uint64_t, Session] by_use            # by `used`: oldest first
    cdef unordered_map[uint64_t, uint64_t] used         # id -> `used`
    cdef unordered_map[uint64_t, uint64_t] ids          # nonce -> id
    cdef uint64_t sum           # of the hashes
    cdef uint64_t expiring      # how many have a ttl
    cdef uint64_t shortest_ns   # no ttl is shorter

    cdef uint64_t open(self, uint64_t nonce, uint64_t id, uint64_t index, uint64_t now_ns,
                       uint64_t limit, uint64_t ttl_ns) noexcept nogil
    cdef Session* use(self, uint64_t id, uint64_t index, uint64_t now_ns) noexcept nogil
    cdef void answered(self, Session* s, uint64_t sequence, const Outcome* out) noexcept nogil
    cdef void settle(self, Session* s) noexcept nogil
    cdef void expire(self, uint64_t now_ns) noexcept nogil
    cdef int restore(self, const Session* s) except -1 nogil
    cdef void _enter(self, Session* s) noexcept nogil
    cdef void _forget(self, Session* s) noexcept nogil
