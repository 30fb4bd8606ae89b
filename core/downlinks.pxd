from libc.stdint cimport uint16_t, uint32_t, uint64_t

from seatrial.core.buffer cimport Buffer
from seatrial.core.codec cimport LinkMessage
from seatrial.core.mirror cimport Coordinates, RootTerm
from seatrial.core.root_commit cimport Child, RootCommit
from seatrial.core.tree cimport TreeView

cdef enum:
    MAX_DOWNLINKS = 128

cdef enum:                  # Downlink.state
    WAITING = 0             # it has not said yet where its mirror ends
    PROBING = 1             # where both logs agree is being found
    STREAMING = 2
    SENDING_SNAPSHOT = 3

cdef struct Downlink:       # a connection of a child's leader to us
    uint32_t connection     # 0: the place is free
    uint16_t domain
    int state
    bint probing            # a probe is out and unanswered, since
    uint64_t probe_ns
    uint64_t next_rindex
    uint64_t verified       # by the child's leader, against us
    uint64_t committed      # in the child
    uint64_t their_ns       # when the newest frame left the child, by its clock
    bint owed               # that frame wants an answer
    uint64_t sent_ns
    Coordinates told        # the newest mark that it was sent
    uint64_t snapshot_index     # of our own log: which snapshot it is sent,
    uint64_t piece_next         # which of its chunks next,
    uint64_t piece_held         # and how many the child's log holds
    uint64_t piece_ns           # when that became more, or we sent again: after piece_patience_ns
    uint64_t piece_patience_ns
    uint64_t piece_window       # how many may be on their way
    uint64_t replaced           # snapshots that gave way to newer ones before they were all there
    uint64_t[3] pieces      # what it holds of one: rindex, bytes, their check
    uint64_t ticket         # its newest question for a read, 0 when answered,
    uint64_t ticket_round   # and in the root: the leadership round that must be confirmed first,
    uint64_t ticket_rindex  # and the answer;
    uint64_t ticket_up      # elsewhere: our own question that covers it
    uint64_t ticket_next    # a newer question; 0: none
    Buffer input
    Buffer out

cdef class Downlinks(RootCommit):
    cdef Downlink[128] downlinks
    cdef int linked             # how many
    cdef int link_places        # those from here on are free
    cdef size_t max_batch_bytes
    cdef size_t max_inflight_bytes
    cdef bytes told_tree        # the newest tree that the root has committed, of those that whom
    cdef uint64_t told_rindex   # we asked to be our parent told us when it refused
    cdef TreeView told_view

    cdef Downlink* downlink(self, uint32_t connection) noexcept nogil
    cdef int link_up(self, uint32_t connection, uint16_t domain) except -1
    cdef int link_down(self, uint32_t connection) except -1
    cdef int from_child(self, Downlink* link, const LinkMessage* m) except -1 nogil
    cdef RootTerm offered(self, uint64_t* end) noexcept nogil
    cdef int _fill(self, Downlink* link, LinkMessage* m, int type) noexcept nogil
    cdef int _send(self, Downlink* link, LinkMessage* m, const char* records,
                   size_t size) except -1 nogil
    cdef int _refuse(self, Downlink* link, int type) except -1
    cdef bint is_child(self, uint16_t domain) noexcept nogil
    cdef bytes committed_tree(self, uint64_t* at)
    cdef int note_tree(self, uint64_t rindex, bytes tree) except -1
    cdef int _attach(self, Downlink* link, const LinkMessage* m) except -1 nogil
    cdef int _acked(self, Downlink* link, const LinkMessage* m) except -1 nogil
    cdef uint64_t _agree_below(self, Coordinates hint) noexcept nogil
    cdef int _append(self, Downlink* link, uint64_t end, RootTerm rterm,
                     uint64_t limit) except -1 nogil
    cdef int _serve(self, Downlink* link) except -1 nogil
    cdef int _serve_snapshot(self, Downlink* link, RootTerm rterm) except -1 nogil
    cdef int sample(self, Child* c) noexcept nogil
    cdef int _see_pieces(self, Downlink* link) noexcept nogil
    cdef uint64_t _snapshot_end(self, const Downlink* link) noexcept nogil
    cdef uint64_t grant_ns(self, uint16_t domain, uint64_t* inclusion) noexcept nogil
    cdef bint waits_for(self, const TreeView* tree, int place) noexcept nogil
    cdef uint64_t own_lease_left_ns(self) noexcept nogil
    cdef uint64_t age_ns(self) noexcept nogil
    cdef bint sending_snapshot(self) noexcept nogil
    cdef bint lacks_snapshot(self) noexcept nogil
    cdef bint _servable(self) noexcept nogil
    cdef int serve(self) except -1 nogil
    cdef int dismiss(self) except -1
