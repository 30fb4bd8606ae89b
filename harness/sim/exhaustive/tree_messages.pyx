# distutils: language = c++
"""Messages of a tree of domains: members' frames, marks, and the frames of links."""
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memset

from seatrial.core.buffer cimport buffer_consume, buffer_size
from seatrial.core.codec cimport (
    ATTACH,
    FrameHeader,
    LINK_APPEND,
    LINK_SIZE,
    LINK_SNAPSHOT,
    LinkMessage,
    MARK,
    set_length,
)
from seatrial.core.raft_encoding cimport get

cdef enum:
    CLOSE = 255                 # type of ``close``


cdef class TreeMessages(Messages):
    def __init__(self, states, symmetry, DomainEncoding rest):
        cdef LinkMessage none
        self.rest = rest
        memset(&none, 0, LINK_SIZE)
        none.header.type = CLOSE
        set_length(&none.header, LINK_SIZE)
        self.close = self.number(<const char*>&none)

    cdef int put_frame(self, const char* frame, const uint32_t* names) except -1:
        """Write a frame of either kind into ``scratch``."""
        cdef const FrameHeader* h = <const FrameHeader*>frame
        buffer_consume(&self.scratch, buffer_size(&self.scratch))
        if h.type == MARK or h.type >= ATTACH:
            return self.rest.encode_frame(frame, &self.scratch, names)
        return self.states.encode_frame(frame, &self.scratch, names)

    cdef dict fields(self, uint32_t number):
        """Return what a message says; of entries, their terms."""
        cdef const char* p = self.messages[number].data()
        cdef uint8_t type = <uint8_t>p[0]
        if type != MARK and type < ATTACH:
            return Messages.fields(self, number)
        found = {name: get(&p) for name in (
            "type", "flags", "domain", "about", "term", "epoch", "adopted", "rindex", "at_epoch",
            "rterm", "mark", "mark_epoch", "mark_term", "end", "end_epoch", "end_term", "sent",
            "echo", "lease", "include", "round", "count")}
        if type != LINK_APPEND and type != LINK_SNAPSHOT:
            return found | {"entries": []}
        return found | {"entries": [self.states.record(get(&p)).term
                                    for _ in range(found["count"])]}
