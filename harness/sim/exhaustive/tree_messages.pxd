# distutils: language = c++
from seatrial.core.domain_encoding cimport DomainEncoding
from seatrial.harness.sim.exhaustive.messages cimport Messages

cdef class TreeMessages(Messages):
    cdef DomainEncoding rest
    cdef readonly int close     # a message that is none: the other end closed the link
