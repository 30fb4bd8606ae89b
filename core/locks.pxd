# distutils: language = c++
from libc.stdint cimport uint8_t, uint64_t
from libcpp.set cimport set as cset
from libcpp.string cimport string
from libcpp.utility cimport pair
from libcpp.vector cimport vector

from seatrial.core.codec cimport Command
from seatrial.core.frozen_map cimport FrozenMap
from seatrial.core.outcome cimport Outcome

cdef cppclass Lock:
    string holder
    uint64_t token          # index of the entry that acquired it
    uint64_t ttl_ns
    uint64_t until_ns       # log time; 0: its time begins with the next CLOCK
    uint64_t hash

cdef class Locks:
    cdef FrozenMap[string, Lock] held
    cdef cset[pair[uint64_t, string]] ends      # (until_ns, name), soonest first
    cdef vector[string] fresh   # whose time begins with the next CLOCK
    cdef uint64_t sum           # of the hashes
    cdef string name
    cdef string said            # holds an Outcome's value

    cdef void execute(self, const Command* c, uint64_t token, uint64_t now_ns,
                      Outcome* out) noexcept nogil
    cdef void query(self, const string& name, uint64_t now_ns, Outcome* out) noexcept nogil
    cdef void expire(self, uint64_t now_ns) noexcept nogil
    cdef int restore(self, const string& name, const Lock* lock) except -1 nogil
    cdef void _acquire(self, const Command* c, const char* p, uint64_t token, uint64_t now_ns,
                       Outcome* out) noexcept nogil
    cdef void _renew(self, Lock* lock, uint64_t ttl_ns) noexcept nogil
    cdef void _release(self, Lock* lock) noexcept nogil
    cdef void _settle(self, const string& name, Lock* lock) noexcept nogil
    cdef void _describe(self, const Lock* lock, uint64_t now_ns, uint8_t status,
                        Outcome* out) noexcept nogil
