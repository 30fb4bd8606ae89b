"""What the leader knows of one member (Raft's next_index and match_index, and a window).

PROBE: the match point is not known; one APPEND at a time. STREAM: it is; APPENDs are
pipelined while the bytes sent beyond match_index stay within the window. SNAPSHOTTED: it lacks
what the log no longer holds, and is sent a snapshot.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from seatrial.core.buffer cimport Buffer

cdef enum:
    PROBE = 0
    STREAM = 1
    SNAPSHOTTED = 2

cdef struct Progress:
    uint32_t node           # 0: the place is free
    uint8_t priority        # who is to lead rather than others
    bint connected          # our connection to it is up
    int state
    bint probing            # PROBE: an APPEND is out and unanswered ...
    uint64_t probe_ns       # ... since then
    uint64_t next_index
    uint64_t match_index
    uint64_t snapshot_index     # SNAPSHOTTED: which snapshot it is sent,
    uint64_t snapshot_next  # number of the next chunk to send,
    uint64_t snapshot_held  # and how many it has on its disk
    uint64_t snapshot_ns    # when it last got on
    uint64_t snapshot_again_ns  # when chunks were last sent again
    uint64_t round          # newest leadership round that it confirmed
    uint64_t contact_ns     # when it last answered in this term
    uint64_t ticket         # READ_INDEX: its newest question, 0 when answered,
    uint64_t ticket_round   # and the round that must be confirmed first
    uint64_t ticket_index   # and what the answer will be
    bint voted              # it answered our RequestVote
    int granted             # its vote in our election: 1, or 0
    Buffer input            # bytes of an incomplete frame from it
    Buffer out              # frames ready to leave
    Buffer held             # frames that must wait until term and vote are durable
