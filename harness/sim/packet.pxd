"""Bytes on their way through a simulated world."""
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport malloc
from libc.string cimport memcpy

cdef struct Packet:             # what it carries follows
    uint64_t sent_ns
    uint32_t size
    uint32_t number             # of its place in its stream


cdef inline Packet* packed(const char* data, size_t size, uint64_t now_ns) except NULL:
    """Return a copy of ``data``, to be freed by whoever takes it out of the queue."""
    cdef Packet* p = <Packet*>malloc(sizeof(Packet) + size)
    if p is NULL:
        raise MemoryError("no memory for a packet")
    p.sent_ns = now_ns
    p.size = <uint32_t>size
    p.number = 0
    memcpy(<char*>p + sizeof(Packet), data, size)
    return p


cdef inline char* content(Packet* p) noexcept nogil:
    return <char*>p + sizeof(Packet)
