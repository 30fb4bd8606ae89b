from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    NO_LIMIT = -1               # as uint64_t: what an empty half of a quorum has reached

cdef enum:
    VOTE_PENDING = 1
    VOTE_LOST = 2
    VOTE_WON = 3

cdef uint64_t majority(const uint64_t* values, int n) noexcept nogil
cdef uint64_t committed(const uint64_t* values, uint64_t voters) noexcept nogil
cdef uint64_t joint_committed(const uint64_t* values, uint64_t voters,
                              uint64_t outgoing) noexcept nogil
cdef uint64_t group_committed(const uint64_t* values, const uint32_t* groups, uint64_t voters,
                              uint64_t outgoing) noexcept nogil
cdef int vote_result(uint64_t granted, uint64_t refused, uint64_t voters,
                     uint64_t outgoing) noexcept nogil
cdef bint is_quorum(uint64_t places, uint64_t voters, uint64_t outgoing) noexcept nogil
