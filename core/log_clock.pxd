# distutils: language = c++
from libc.stdint cimport uint64_t

from seatrial.core.kv cimport KeyValue
from seatrial.core.raft cimport Raft

cdef class LogClock:
    cdef uint64_t term          # in which this node leads and counts; 0: it does not
    cdef uint64_t base_log_ns   # log time when it began to
    cdef uint64_t base_ns       # and its own clock then
    cdef uint64_t proposed_ns
    cdef uint64_t proposed      # rindex of its newest CLOCK

    cdef int settle(self, Raft raft, KeyValue kv, uint64_t now_ns) except -1 nogil
