# distutils: language = c++
from libc.stdint cimport uint32_t, uint64_t
from libcpp.unordered_map cimport unordered_map
from libcpp.unordered_set cimport unordered_set
from libcpp.vector cimport vector

from seatrial.core.log cimport Log
from seatrial.core.raft cimport Raft
from seatrial.core.replica cimport Replica

cdef struct Entry:          # what every log that has an entry of this index and term must hold
    uint64_t term           # 0: none was ever seen
    uint64_t previous       # the term of the entry before it
    uint32_t crc
    uint32_t node           # who had it first
    uint32_t rival          # an entry of another term at this index: rivals[rival - 1]; 0: none

cdef struct Committed:
    uint64_t term           # the entry's own
    uint64_t in_term        # the term in which it was committed, or a later one

cdef struct State:          # what the state is after an entry
    uint64_t hash
    uint32_t node           # who was seen there first; 0: nobody

cdef struct Seen:           # a node as it was after its newest step, and what it promised
    void* replica           # NULL: it does not run
    int role
    uint32_t vote
    uint64_t term
    uint64_t last
    uint64_t commit
    uint64_t applied
    uint64_t snapshot       # index of its newest
    bint durable            # its term and vote were
    uint32_t promised_vote  # the newest that were durable: they outlive the process
    uint64_t promised_term

cdef struct Quorum:         # a node's configuration
    void* raft
    uint64_t version
    int places
    uint32_t[64] nodes
    uint64_t voters         # masks over the places
    uint64_t outgoing

cdef class Durability:
    """What disks would give back after a power loss now; the simulator's disks say it."""
    cdef uint64_t term_at(self, uint32_t node, uint64_t index) noexcept

cdef class AskedDurability(Durability):
    cdef object ask

cdef class Whole:
    cdef vector[Committed] committed
    cdef vector[uint32_t] crcs
    cdef dict leaders
    cdef dict known

cdef class ClusterInvariants:
    cdef Durability durability
    cdef int count
    cdef uint32_t[64] nodes             # ids of the nodes that were seen; `seen` is beside it
    cdef Quorum quorum                  # who committed the newest committed entry,
    cdef Quorum former                  # and that node's configuration before it
    cdef Seen[64] seen
    cdef list replicas                  # keeps seen[slot].replica alive
    cdef unordered_map[uint64_t, uint32_t] leaders      # term -> node
    cdef unordered_map[uint64_t, uint32_t] votes        # term << 16 | voter -> candidate
    cdef unordered_set[uint64_t] given                  # term << 32 | voter << 16 | candidate
    cdef vector[Entry] entries          # entry i is at i - 1
    cdef vector[Entry] rivals
    cdef vector[Committed] committed    # entry i is at i - 1
    cdef vector[State] states           # after entry i, at i - 1
    cdef object configuration           # the newest committed one
    cdef list configurations            # (index, configuration), as committed
    cdef Whole whole
    cdef readonly uint64_t checks

    cdef int stepped(self, Replica r) except -1
    cpdef int granted(self, uint32_t voter, uint64_t term, uint32_t candidate) except -1
    cpdef int crashed(self, uint32_t node, bint forgets=*) except -1
    cpdef int disk_shrank(self) except -1

    cdef int _slot(self, uint32_t node) except -1
    cdef int _decided_by(self, Raft raft) except -1
    cdef int _forget_votes(self, uint32_t node) except -1
    cdef int _arrived(self, Seen* s, Replica r) except -1
    cdef int _changed(self, Seen* s, Replica r) except -1
    cdef int _begins_with(self, Raft raft) except -1
    cdef int _term_and_vote(self, Seen* s, Raft raft) except -1
    cdef int _elected(self, Raft raft) except -1
    cdef int _cut(self, Seen* s, Raft raft) except -1
    cdef int _appended(self, Raft raft) except -1
    cdef int _matches(self, Raft raft, const Entry* entry, uint64_t index) except -1
    cdef int _advanced(self, Seen* s, Replica r) except -1
    cdef int _applied(self, Replica r) except -1
    cdef uint64_t _first_difference(self, Log log) noexcept
    cdef int _committed(self, Raft raft, uint64_t index) except -1
    cdef int _reconfigured(self, Raft raft, uint64_t index) except -1
    cdef int _goes_by(self, Raft raft) except -1
    cdef int _asked_for(self, Raft raft, uint64_t index) except -1
    cdef int _complete(self, Raft raft) except -1
    cdef int _durable(self, uint64_t index) except -1
    cdef bint _held_formerly(self, uint64_t index, uint64_t term) noexcept
