# distutils: language = c++
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libcpp.string cimport string
from libcpp.unordered_map cimport unordered_map
from libcpp.vector cimport vector

from seatrial.core.raft_encoding cimport RaftEncoding
from seatrial.harness.sim.exhaustive.hashing cimport Print
from seatrial.harness.sim.exhaustive.symmetry cimport Symmetry
from seatrial.harness.sim.exhaustive.transitions cimport Local, Transitions

cdef struct Past:               # what nobody may ever contradict
    uint8_t[16] leaders         # who led each term
    uint8_t count               # of committed entries
    uint8_t voters              # masks over node ids - 1: by whom the newest was committed
    uint8_t outgoing
    uint16_t[24] entries        # record numbers of the committed ones
    uint8_t[24] in_term         # and the term in which each was, or a later one

cdef class Properties:
    cdef Transitions transitions
    cdef RaftEncoding states
    cdef Symmetry symmetry
    cdef int first                          # places of whose properties they are: these,
    cdef int end                            # and none from here on
    cdef unordered_map[string, uint32_t] numbers
    cdef vector[Past] pasts
    cdef vector[Print] prints               # symmetry.count for each

    cdef uint32_t number(self, const Past* past) except *
    cdef uint32_t changed(self, const uint32_t* locals_now, uint32_t past, uint32_t before,
                          uint32_t after) except? 0 nogil
    cdef int _elected(self, const uint32_t* now, Past* past, const Local* s) except -1 nogil
    cdef int _log_changed(self, const uint32_t* now, const Local* a,
                          const Local* b) except -1 nogil
    cdef int _matches(self, const Local* a, const Local* b, bint disk) except -1 nogil
    cdef int _advanced(self, const uint32_t* now, Past* past, const Local* a,
                       const Local* b) except -1 nogil
    cdef int _complete(self, const Past* past, const Local* s) except -1 nogil
    cdef int _durable(self, const uint32_t* now, const Past* past, uint8_t voters,
                      uint8_t outgoing) except -1 nogil
    cdef uint32_t _term(self, uint16_t record) noexcept nogil
