# distutils: language = c++
from libc.stdint cimport uint32_t

from seatrial.core.domain_encoding cimport DomainEncoding
from seatrial.harness.sim.exhaustive.messages cimport Messages

cdef class TreeMessages(Messages):
    cdef DomainEncoding rest
    cdef uint32_t close         # a message that is none: the other end closed the link
