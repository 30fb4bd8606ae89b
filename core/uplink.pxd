from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from seatrial.core.buffer cimport Buffer
from seatrial.core.codec cimport LinkMessage
from seatrial.core.downlinks cimport Downlinks
from seatrial.core.mirror cimport Coordinates, RootTerm
from seatrial.core.tree cimport TreeView

cdef enum:                  # Uplink.state
    DETACHED = 0
    ATTACHING = 1
    CATCHING_UP = 2
    FOLLOWING = 3           # "streaming"
    TAKING_SNAPSHOT = 4

cdef enum:                  # LINK_REPORT's flags
    SILENT = 1
    READY = 2
    LAGGING = 3
    STUCK = 4

cdef class Uplink(Downlinks):
    cdef readonly int state
    cdef bint up
    cdef uint32_t parent_node
    cdef uint64_t heard_ns
    cdef uint64_t parent_age_ns     # how old what the parent has applied was, by its last word
    cdef uint64_t sought_ns         # when we last left a parent to look for the root
    cdef uint64_t asked_ns          # when we last sent what wants an answer
    cdef uint64_t their_ns          # their clock, when the newest frame left
    cdef bint ack_owed
    cdef bint refused               # what came did not fit:
    cdef Coordinates hint           # where they might try
    cdef uint64_t verified          # against this parent, on this link
    cdef bint verified_any
    cdef bint begun_pieces          # of a snapshot, on this link
    cdef RootTerm offered_term      # T of what they serve
    cdef Coordinates their_end
    cdef uint64_t their_end_ns      # when they said so; 0: never
    cdef uint64_t lease_until_ns
    cdef uint64_t lease_include
    cdef uint64_t fresh_ns          # what is applied was all there was at this moment, by our clock
    cdef uint64_t fresh_next_rindex
    cdef uint64_t fresh_next_ns
    cdef uint64_t[4] sent           # of the newest LINK_ACK: acked, committed, verified, received
    cdef uint64_t ticket            # numbers our questions to the root
    cdef uint64_t ticket_asked
    cdef uint64_t ticket_answered
    cdef uint64_t ticket_ns
    cdef uint64_t ticket_rindex
    cdef readonly bint moving       # to another node of the parent:
    cdef readonly uint32_t move_node
    cdef readonly object move_address
    cdef Buffer up_input
    cdef Buffer up_out

    cdef bint wanted(self) noexcept nogil
    cdef int up_send(self, LinkMessage* m) except -1 nogil
    cdef int _say(self, int type, LinkMessage* m) noexcept nogil
    cdef int from_parent(self, const char* frame) except -1 nogil
    cdef int _move(self, uint32_t node, address) except -1
    cdef int _reject(self, Coordinates hint) noexcept nogil
    cdef Coordinates _hint(self, Coordinates before) noexcept nogil
    cdef int _adopt(self, RootTerm rterm, uint64_t keep) except -1 nogil
    cdef int _on_link_append(self, const LinkMessage* m) except -1 nogil
    cdef int _on_piece(self, const LinkMessage* m) except -1 nogil
    cdef bint _has(self, Coordinates end) noexcept nogil
    cdef int _on_base(self, const LinkMessage* m) except -1 nogil
    cdef bint _acceptable(self, RootTerm rterm) except -1 nogil
    cdef int _take_lease(self, const LinkMessage* m) noexcept nogil
    cdef bint in_force(self, const TreeView* tree) noexcept nogil
    cdef bint holds_domain_lease(self) noexcept nogil
    cdef uint64_t ask_root(self) noexcept nogil
    cdef int acknowledge(self) except -1 nogil
    cdef int freshen(self) noexcept nogil
