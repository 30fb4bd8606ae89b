from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from seatrial.core.group_write cimport FrameWrite, GroupWrite, Place
from seatrial.core.retention cimport Retention
from seatrial.core.segment cimport FrameHeader

# What Disk.synced() says:
cdef enum SyncEnd:
    SYNC_RETURNED
    SYNC_STALLED                 # ask again when Disk.unstalled is called

cdef struct Image:               # one segment; what lies beyond ``held`` is zeros
    uint8_t* data                # NULL: it was freed
    size_t held
    uint64_t salt
    uint8_t* stale               # recycled: what it held before its first frame; or NULL
    size_t stale_held

cdef struct Spot:                # a place in the log: segments are numbered from 1
    uint64_t sequence
    uint64_t offset

cdef struct Times:               # of a sync
    uint64_t least_ns
    uint64_t jitter_ns
    uint64_t tail_ppm
    uint64_t tail_ns

cdef class Disk:
    cdef readonly object error   # why the last submit() said -1, or None
    cdef public object unstalled  # called when a sync that stalled may be asked for again
    cdef object directory        # a name for messages; there is no such folder
    cdef uint64_t key            # of all draws
    cdef Times times
    cdef uint64_t segment_bytes
    cdef Image* images
    cdef uint64_t count, room    # of segments, those that were freed among them
    cdef uint64_t oldest         # the first that was not
    cdef uint64_t needed         # those before are about to be
    cdef uint64_t made           # how many were made of spares
    cdef Image[8] spares
    cdef int spare_count
    # What is written, and of that what a power loss would leave.
    cdef Place tail
    cdef Spot durable
    cdef uint64_t* terms         # of the durable records, by index
    cdef uint64_t last, terms_room
    cdef Retention retention     # of the durable frames
    # The newest write: while it is in flight a frame, or a seal and a frame.
    cdef GroupWrite group
    cdef Spot[2] flights
    cdef int flying
    cdef bint running, synchronous, waiting
    # Faults, and what happened.
    cdef uint64_t factor
    cdef bint stalled, failing, full, lying
    cdef uint64_t busy_ns        # what syncs took, or are going to
    cdef uint64_t writes, syncs, errors, lies, stalls, flips, recoveries, freed, recycled
    cdef uint64_t sectors_kept, sectors_lost

    # Used by the simulated world; see disk.pyx.
    cpdef int64_t submit(self, uint64_t seq, uint64_t term, uint64_t vote, uint32_t count,
                         const char* records, size_t size, uint64_t base, uint64_t base_term,
                         const char* chunk, size_t chunk_size, uint64_t first,
                         uint64_t now_ns) except -2
    cpdef int synced(self, uint64_t seq) except -1
    cpdef int killed(self, uint64_t draw) except -1
    cpdef int power_lost(self, uint64_t draw) except -1
    cpdef uint64_t durable_term(self, uint64_t index) noexcept
    cpdef uint64_t durable_last(self) noexcept

    cdef uint64_t sync_time(self, uint64_t now_ns) noexcept nogil
    cdef int write(self, const FrameWrite* frame, uint64_t sequence) except -1
    cdef bint make_segment(self) except -1
    cdef int64_t stop(self, str what, uint64_t sequence) except -2
    cdef int settle(self, bint seal_synced) except -1
    cdef void rewind(self, Spot to) noexcept
    cdef void drop_after(self, uint64_t sequence) noexcept
    cdef void free_until(self, uint64_t sequence) noexcept
    cdef void wipe(self, Image* image, uint64_t at, uint64_t end) noexcept
    cdef void tear(self, uint64_t draw) noexcept
    cdef void lose_cache(self, uint64_t draw) noexcept
    cdef int harden(self) except -1
    cdef int index_frame(self, const FrameHeader* header, const uint8_t* records) except -1
    cdef int note_term(self, uint64_t index, uint64_t term) except -1
