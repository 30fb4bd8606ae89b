# distutils: language = c++
from libc.stdint cimport uint32_t, uint64_t
from libcpp.vector cimport vector

from seatrial.core.buffer cimport Buffer
from seatrial.core.codec cimport Record
from seatrial.core.invariants cimport Durability
from seatrial.core.raft cimport Raft
from seatrial.core.raft_encoding cimport RaftEncoding
from seatrial.core.replica cimport Replica
from seatrial.harness.sim.exhaustive.messages cimport Messages

cdef struct Sent:
    uint32_t node
    uint32_t message

cdef struct Stored:             # what a disk holds: the newest hard state, a snapshot, entries
    uint64_t term
    uint32_t vote
    uint32_t snapshot           # record number + 1; 0: none
    uint64_t first              # index of the first entry

cdef struct Writing:            # a group write on its way to the disk
    bint on
    uint64_t term
    uint32_t vote
    uint64_t base
    uint32_t chunk              # record number + 1; 0: none

cdef class Member:
    cdef readonly uint32_t node
    cdef object configuration               # that it is started with
    cdef RaftEncoding states
    cdef Messages messages
    cdef bint slow_disk                     # a group write ends when the explorer says so
    cdef bint trusted                       # somebody else judges what it says
    cdef uint64_t now_ns
    cdef readonly Replica replica           # None: it does not run
    cdef object spare
    cdef Stored disk
    cdef vector[uint32_t] entries           # record numbers on the disk
    cdef Writing write
    cdef vector[uint32_t] write_entries
    cdef uint64_t said_term                 # the newest term in which it spoke,
    cdef uint32_t said_vote                 # and whom it voted for there
    cdef vector[Sent] sent                  # in the newest step
    cdef Buffer scratch

    cdef int act(self, int kind, uint32_t other, const char* message) except -1
    cdef int encode(self, Buffer* out, const uint32_t* names) except -1
    cdef int decode(self, const char* p) except -1
    cdef bint linked(self, uint32_t node) noexcept

    cdef int _input(self, int kind, uint32_t other, const char* message) except -1
    cdef int _start(self, uint32_t running) except -1
    cdef int _bound(self) except -1
    cdef int _settle(self) except -1
    cdef int _hand_out(self) except -1
    cdef int _synced(self) except -1
    cdef int _chunk_synced(self) except -1
    cdef int _snapshot(self) except -1
    cdef int _change(self, int kind, uint32_t other) except -1
    cdef int _speak(self) except -1
    cdef int _said(self, const char* frame) except -1
    cdef int _put_numbers(self, Buffer* out, vector[uint32_t]* numbers,
                          const uint32_t* names) except -1
    cdef int _get_numbers(self, const char** p, vector[uint32_t]* numbers) except -1

cdef class Disks(Durability):
    cdef list members
