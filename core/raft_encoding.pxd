# distutils: language = c++
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libcpp.string cimport string
from libcpp.unordered_map cimport unordered_map
from libcpp.vector cimport vector

from seatrial.core.buffer cimport Buffer
from seatrial.core.chunks cimport Chunks
from seatrial.core.codec cimport Record
from seatrial.core.progress cimport Progress
from seatrial.core.raft cimport Raft

cdef enum:
    MAX_NAMED = 64              # node ids that masks have room for

cdef int put(Buffer* out, uint64_t value) except -1 nogil
cdef uint64_t get(const char** p) noexcept nogil

cdef class RaftEncoding:
    cdef vector[string] records                     # bytes of a record, by its number
    cdef unordered_map[string, uint32_t] numbers

    cdef int number(self, const Record* r) except -1
    cdef const Record* record(self, uint64_t number) noexcept nogil
    cdef int renamed(self, int number, const uint32_t* names) except -1
    cdef int encode(self, Raft r, Buffer* out, const uint32_t* names) except -1
    cdef int decode(self, Raft r, const char* p) except -1
    cdef int encode_frame(self, const char* frame, Buffer* out, const uint32_t* names) except -1
    cdef const char* decode_frame(self, const char* p, uint32_t sender, uint32_t receiver,
                                  Buffer* out) except NULL

    cdef int _made(self, Record* head, bytes payload) except -1
    cdef int _put_record(self, Buffer* out, const Record* r, const uint32_t* names) except -1
    cdef int _put_configuration(self, Raft r, Buffer* out, const uint32_t* names) except -1
    cdef int _put_member(self, Raft r, Progress* p, bint me, Buffer* out,
                         const uint32_t* names) except -1
    cdef int _put_chunks(self, Chunks chunks, Buffer* out, const uint32_t* names) except -1
    cdef int _get_log(self, Raft r, const char** p) except -1
    cdef int _get_configuration(self, Raft r, const char** p) except -1
    cdef int _get_members(self, Raft r, const char** p) except -1
    cdef int _get_chunks(self, Chunks chunks, const char** p) except -1
