# distutils: language = c++
"""Messages of a tree of domains: members' frames, marks, and the frames of links."""
from libc.stdint cimport uint32_t
from libc.string cimport memset

from seatrial.core.buffer cimport buffer_consume, buffer_size
from seatrial.core.codec cimport ATTACH, FrameHeader, LINK_SIZE, LinkMessage, MARK, set_length


cdef class TreeMessages(Messages):
    def __init__(self, states, symmetry, DomainEncoding rest):
        cdef LinkMessage none
        self.rest = rest
        memset(&none, 0, LINK_SIZE)
        none.header.type = 255
        set_length(&none.header, LINK_SIZE)
        self.close = self.number(<const char*>&none)

    cdef int put_frame(self, const char* frame, const uint32_t* names) except -1:
        """Write a frame of either kind into ``scratch``."""
        cdef const FrameHeader* h = <const FrameHeader*>frame
        buffer_consume(&self.scratch, buffer_size(&self.scratch))
        if h.type == MARK or h.type >= ATTACH:
            return self.rest.encode_frame(frame, &self.scratch, names)
        return self.states.encode_frame(frame, &self.scratch, names)
