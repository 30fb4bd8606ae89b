# distutils: language = c++
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libcpp.map cimport map as sorted_map
from libcpp.pair cimport pair
from libcpp.vector cimport vector

from seatrial.core.codec cimport Request, Response
from seatrial.core.domain_invariants cimport DomainInvariants

cdef enum:                  # of a request
    WRITES = 1
    READS = 2               # linearizably
    READS_OLD = 3           # a prefix, or one that is not too old

cdef struct Asked:
    uint8_t what
    uint64_t floor          # of READS: the newest rindex that anybody was told of when it came
    uint64_t token          # of READS_OLD: what the session has seen
    uint64_t max_lag_ns     # 0: no bound

cdef class ReadInvariants:
    cdef DomainInvariants mirrors
    cdef sorted_map[pair[uint32_t, uint64_t], Asked] waiting    # (connection, request)
    cdef vector[uint64_t] committed_ns      # when the root committed rindex r, at r - 1
    cdef readonly uint64_t told             # the newest rindex that a client knows of
    cdef readonly uint64_t writes, reads, old_reads
    cdef dict reads_in                      # domain -> linearizable reads that it answered
    cdef public uint64_t drift_ppm          # by which clocks may be off; others bound nothing

    cdef int passed(self, uint64_t now_ns) except -1
    cdef int asked(self, int domain, uint32_t connection, const char* p, size_t size) except -1
    cdef int answered(self, uint32_t node, int domain, uint32_t connection, const char* p,
                      size_t size, uint64_t now_ns) except -1
    cdef int _ask(self, uint32_t connection, const Request* r, size_t size) except -1
    cdef int _confirmed(self, uint32_t node, const Response* r) except -1
    cdef int _judge(self, uint32_t node, int domain, const Asked* asked, const Response* r,
                    uint64_t now_ns) except -1
