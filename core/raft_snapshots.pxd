from libc.stdint cimport uint32_t, uint64_t

from seatrial.core.buffer cimport Buffer
from seatrial.core.chunks cimport Chunks
from seatrial.core.codec cimport Message
from seatrial.core.mirror cimport RootTerm
from seatrial.core.progress cimport Progress
from seatrial.core.raft_following cimport RaftFollowing

cdef packed struct BlockEnd:    # 40 bytes: ends the block of a domain's snapshot
    RootTerm rterm              # T
    uint64_t tree_rindex
    uint32_t members_size       # of the parts before: members, tree
    uint32_t tree_size
    uint64_t magic

cdef class RaftSnapshots(RaftFollowing):
    cdef void _resumed(self) noexcept nogil
    cdef int _send_snapshot(self, Progress* p, uint64_t now_ns) except -1 nogil
    cdef bint sending(self, uint64_t now_ns) noexcept nogil
    cdef int _on_snapshot(self, const Message* m, uint64_t now_ns) except -1 nogil
    cdef int _flush_snapshot_ack(self) except -1 nogil
    cdef int _on_snapshot_reply(self, Progress* p, const Message* m,
                                uint64_t now_ns) except -1 nogil
    cdef int compact(self, uint64_t index) except -1 nogil
    cdef int restore_snapshot(self, const char* block, size_t size) except -1
    cdef int install(self, const char* block, size_t size) except -1
    cdef int _begin_after(self, Chunks taken, const char* block, size_t size,
                          bint configured) except -1
    cdef bint block_at(self, uint64_t index, Buffer* out) except -1 nogil
