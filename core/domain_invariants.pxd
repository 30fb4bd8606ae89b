# distutils: language = c++
from libc.stdint cimport uint32_t, uint64_t
from libcpp.map cimport map as sorted_map
from libcpp.vector cimport vector

from seatrial.core.codec cimport Record
from seatrial.core.invariants cimport Durability
from seatrial.core.log cimport Log
from seatrial.core.replica cimport Replica

cdef struct RootEntry:      # what every mirror that holds an entry of these coordinates must hold
    uint64_t epoch
    uint64_t rterm
    uint64_t previous_epoch     # the coordinates of the entry before it
    uint64_t previous_rterm
    uint32_t crc
    uint32_t node           # who had it first; 0: nobody yet
    uint32_t tree           # that holds from it on: trees[tree - 1]; 0: none was seen
    uint32_t rival          # an entry of another rterm at this rindex: rivals[rival - 1]; 0: none

cdef struct Logged:         # an entry of a domain's log, as far as the mirror goes
    uint64_t term
    uint64_t rindex         # of a root entry; of an adoption: what it keeps; of a base: its end
    uint64_t epoch
    uint64_t rterm
    uint32_t crc
    uint32_t kind

cdef struct Place:          # an entry of a mirror
    uint64_t epoch          # 0: not known, it came in a snapshot
    uint64_t rterm
    uint64_t index          # where the log has it

cdef cppclass View:         # a node as it was after its newest step
    void* replica           # NULL: it does not run
    uint64_t applied        # rindex
    uint64_t commit         # local
    vector[Logged] log      # entry i is at i - 1
    vector[Place] mirror    # rindex r is at r - 1

cdef struct Happened:       # an entry that the root has committed
    uint64_t epoch
    uint64_t rterm
    uint64_t hash           # of the state after it
    uint32_t node           # who was seen in that state first; 0: nobody
    uint32_t tree

cdef class DomainInvariants:
    cdef Durability durability
    cdef vector[View] views             # by node id
    cdef vector[int] domain_of          # by node id; 0: none
    cdef dict members                   # domain -> its node ids
    cdef dict logs                      # domain -> CommittedLog
    cdef vector[RootEntry] entries      # rindex r is at r - 1
    cdef vector[RootEntry] rivals
    cdef vector[Happened] history       # the same
    cdef sorted_map[uint64_t, uint64_t] epochs      # number -> domain
    cdef dict applied_in                # domain -> the largest rindex that a node of it applied
    cdef list trees
    cdef dict tree_numbers
    cdef readonly uint64_t checks, voided, adoptions, bases

    cpdef uint64_t applied(self, uint32_t node) noexcept
    cdef uint64_t committed(self) noexcept
    cdef int stepped(self, Replica r) except -1
    cpdef int crashed(self, uint32_t node) except -1

    cdef int _follow_log(self, View* v, Replica r, int domain) except -1
    cdef int _restart_log(self, View* v, Log log, int domain) except -1
    cdef int _gained(self, View* v, Replica r, int domain, uint64_t index) except -1
    cdef int _root_entry(self, View* v, Replica r, int domain, const Record* record) except -1
    cdef RootEntry* _known(self, uint64_t rindex, uint64_t epoch, uint64_t rterm,
                           bint make) except NULL
    cdef int _assigned(self, const RootEntry* entry, uint64_t rindex, int domain) except -1
    cdef int _voids(self, View* v, Replica r, int domain, uint64_t keep) except -1
    cdef int _applies(self, View* v, Replica r, int domain, uint64_t rindex) except -1
    cdef int _root_commits(self, View* v, Replica r, uint64_t rindex) except -1
    cdef bint confirmed_by(self, int domain, uint64_t rindex) except -1
    cdef bint _on_majority(self, int domain, uint64_t rindex) except -1
    cdef int _held_as_told(self, object tree, int domain, uint64_t rindex) except -1


cdef class CommittedLog:        # of one domain
    cdef vector[Logged] entries
