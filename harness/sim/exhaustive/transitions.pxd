# distutils: language = c++
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libcpp.string cimport string
from libcpp.unordered_map cimport unordered_map
from libcpp.vector cimport vector

from seatrial.core.buffer cimport Buffer
from seatrial.core.raft_encoding cimport RaftEncoding
from seatrial.harness.sim.exhaustive.actions cimport MAX_ENTRIES, MAX_MEMBERS
from seatrial.harness.sim.exhaustive.hashing cimport Print
from seatrial.harness.sim.exhaustive.member cimport Member, Sent
from seatrial.harness.sim.exhaustive.messages cimport Messages
from seatrial.harness.sim.exhaustive.symmetry cimport Symmetry

cdef struct Local:              # what the cluster's side wants to know of a node's state
    uint8_t node
    bint runs
    uint8_t role
    uint8_t vote
    uint8_t leader
    uint8_t transfer_to
    bint withholds
    bint writes
    uint8_t connected           # masks over node ids - 1
    uint8_t voters
    uint8_t outgoing
    uint8_t first               # of the log; entry i is at [i]
    uint8_t last
    uint8_t commit
    uint8_t disk_first
    uint8_t disk_last
    uint32_t term
    uint32_t disk_term
    uint8_t disk_vote
    uint16_t[24] entries        # record numbers
    uint16_t[24] disk

cdef struct Step:               # one node's, from one state by one input
    uint32_t next               # local state
    uint32_t sent               # where its messages begin
    uint32_t count              # how many there are
    int wrong                   # index into ``violations`` + 1
    bint possible

cdef class Transitions:
    cdef RaftEncoding states
    cdef Messages messages
    cdef Symmetry symmetry
    cdef list members
    cdef unordered_map[string, uint32_t] numbers
    cdef vector[string] locals_bytes
    cdef vector[Local] locals
    cdef vector[Print] prints               # symmetry.count for each
    cdef unordered_map[uint64_t, uint32_t] known    # of steps
    cdef vector[Step] steps
    cdef vector[Sent] sent
    cdef list violations
    cdef Buffer scratch

    cdef uint32_t number(self, Member m) except *
    cdef uint32_t step(self, uint32_t local, uint32_t time, int kind, uint32_t other,
                       uint32_t message) except? 0 nogil
    cdef size_t memory_bytes(self)
    cdef int _set_clock(self, Member m, uint32_t time) except -1
    cdef uint32_t _new_step(self, uint32_t local, uint32_t time, int kind, uint32_t other,
                            uint32_t message) except? 0
    cdef int _describe(self, Member m, Local* s) except -1
