# distutils: language = c++
from libc.stdint cimport uint64_t

from seatrial.core.codec cimport Record, Request
from seatrial.core.replica_reads cimport ReplicaReads
from seatrial.core.replica_state cimport Connection

cdef class ReplicaRequests(ReplicaReads):
    cdef int _request(self, Connection* c, const Request* r) except -1 nogil
    cdef int _tell_orphans(self) except -1 nogil
    cdef int _apply(self) except -1 nogil
    cdef int _apply_local(self, const Record* record) except -1 nogil
    cdef int _answer_local(self) except -1 nogil
    cdef int _name_confirmers(self, Connection* c, uint64_t rindex) except -1 nogil
