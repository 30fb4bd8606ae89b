# distutils: language = c++
"""Bytes in order: what TCP makes of packets that a network delays, loses and holds back.

Packets are numbered as they are put on a stream. One that arrives before its turn waits for the
others, as in a receiver's buffer; one that a cut keeps from arriving waits until it can be sent
again, and everything behind it waits, too.
"""
from seatrial.harness.sim.packet cimport Packet
from seatrial.harness.sim.virtual_time cimport release


cdef void restart(Stream* s) noexcept:
    """Forget everything: a new connection begins."""
    release(&s.early)
    release(&s.held)
    s.sent = s.due = 0


cdef bint in_order(Stream* s, Event* e) noexcept:
    """Tell whether it is this packet's turn; if not it is kept, and no longer the caller's."""
    if (<Packet*>e.payload).number == s.due:
        s.due += 1
        return True
    s.early.push_back(e[0])
    e.payload = NULL
    return False


cdef bint take_early(Stream* s, Event* e) noexcept:
    """Take a packet out whose turn has come, if there is one; it is the caller's then."""
    cdef size_t i
    for i in range(s.early.size()):
        if (<Packet*>s.early[i].payload).number == s.due:
            e[0] = s.early[i]
            s.early.erase(s.early.begin() + i)
            s.due += 1
            return True
    return False


cdef void hold(Stream* s, Event* e) noexcept:
    """Keep a packet until the cut ends."""
    s.held.push_back(e[0])
    e.payload = NULL
