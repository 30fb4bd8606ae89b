# distutils: language = c++
from seatrial.core.codec cimport Request
from seatrial.core.replica_reads cimport ReplicaReads
from seatrial.core.replica_state cimport Connection

cdef class ReplicaRequests(ReplicaReads):
    cdef int _request(self, Connection* c, const Request* r) except -1 nogil
    cdef int _tell_orphans(self) except -1 nogil
    cdef int _apply(self) except -1 nogil
