"""Quorum arithmetic: the largest value that a majority has reached, and who won a vote.

Used for log indexes (match_index), for rounds of leadership confirmation and for contact
times alike. Members are places in an array of at most 64; a set of them is a bit mask. While a
configuration changes there are two halves, voters and outgoing voters, and each must agree
(joint consensus; Ongaro's thesis, 4.3); an empty half agrees to everything. Group commit asks
besides that at least two groups (of members that fail together) hold an entry, as raft-rs does.
Pure; n is a handful, so insertion into a sorted copy beats anything clever.
"""
from libc.string cimport memset

cdef extern from *:
    int popcount "__builtin_popcountll"(unsigned long long) noexcept nogil
    int lowest_bit "__builtin_ctzll"(unsigned long long) noexcept nogil

RESULTS = ("", "pending", "lost", "won")


cdef uint64_t majority(const uint64_t* values, int n) noexcept nogil:
    """Return the largest v such that more than half of ``values`` are >= v; 0 for none.

    ``n`` is at most 64, which the configuration guarantees.
    """
    if n <= 0 or n > 64:
        return 0
    return committed(values, <uint64_t>NO_LIMIT >> (64 - n))


cdef int rank(const uint64_t* values, uint64_t voters, int* places) noexcept nogil:
    """Fill ``places`` with the voters' places, largest value first; return how many."""
    cdef int n = 0, i, j
    while voters:
        i = lowest_bit(voters)
        voters &= voters - 1
        j = n
        while j > 0 and values[places[j - 1]] < values[i]:
            places[j] = places[j - 1]
            j -= 1
        places[j] = i
        n += 1
    return n


cdef uint64_t committed(const uint64_t* values, uint64_t voters) noexcept nogil:
    """Return the largest value that a majority of ``voters`` has reached."""
    cdef int[64] places
    cdef int n = rank(values, voters, places)
    return values[places[n // 2]] if n else <uint64_t>NO_LIMIT


cdef uint64_t joint_committed(const uint64_t* values, uint64_t voters,
                              uint64_t outgoing) noexcept nogil:
    """Return the largest value that majorities of both halves have reached."""
    return min(committed(values, voters), committed(values, outgoing))


cdef uint64_t half_group_committed(const uint64_t* values, const uint32_t* groups,
                                   uint64_t voters) noexcept nogil:
    """``group_committed`` for one half.

    Groups are counted from 1; a member of group 0 belongs to none. With one group only, and
    members that belong to none, nothing commits that some voter lacks; with one group that all
    belong to, group commit asks for nothing.
    """
    cdef int[64] places
    cdef int n = rank(values, voters, places), i
    cdef uint64_t reached
    cdef uint32_t seen
    cdef bint single = True
    if n == 0:
        return <uint64_t>NO_LIMIT
    reached = values[places[n // 2]]
    seen = groups[places[n // 2]]
    for i in range(n):
        if groups[places[i]] == 0:
            single = False
        elif seen == 0:
            seen = groups[places[i]]
        elif seen != groups[places[i]]:     # the largest value of a second group
            return min(values[places[i]], reached)
    return reached if single else values[places[n - 1]]


cdef uint64_t group_committed(const uint64_t* values, const uint32_t* groups, uint64_t voters,
                              uint64_t outgoing) noexcept nogil:
    """Return the largest value that majorities of both halves, and in each half two groups,
    have reached (raft-rs, quorum/majority.rs)."""
    return min(half_group_committed(values, groups, voters),
               half_group_committed(values, groups, outgoing))


cdef int half_result(uint64_t granted, uint64_t refused, uint64_t voters) noexcept nogil:
    cdef int needed = popcount(voters) // 2 + 1
    if voters == 0 or popcount(granted & voters) >= needed:
        return VOTE_WON
    return VOTE_PENDING if popcount(voters & ~refused) >= needed else VOTE_LOST


cdef int vote_result(uint64_t granted, uint64_t refused, uint64_t voters,
                     uint64_t outgoing) noexcept nogil:
    """Tell whether a vote is won (by both halves), lost (by one), or pending."""
    cdef int a = half_result(granted, refused, voters)
    cdef int b = half_result(granted, refused, outgoing)
    if a == b:
        return a
    return VOTE_LOST if a == VOTE_LOST or b == VOTE_LOST else VOTE_PENDING


cdef bint is_quorum(uint64_t places, uint64_t voters, uint64_t outgoing) noexcept nogil:
    """Tell whether ``places`` hold a majority of both halves."""
    return vote_result(places, 0, voters, outgoing) == VOTE_WON


# ---- for tests ---------------------------------------------------------------------------

cdef int fill(uint64_t* copy, list values) except -1:
    cdef int i
    if len(values) > 64:
        raise ValueError(f"{len(values)} members: at most 64")
    memset(copy, 0, 64 * sizeof(uint64_t))
    for i in range(len(values)):
        copy[i] = values[i]
    return 0


def majority_of(values: list) -> int:
    """Return the largest value that a majority of ``values`` (at most 64) has reached."""
    cdef uint64_t[64] copy
    fill(copy, values)
    return majority(copy, len(values))


def committed_of(values: list, uint64_t voters, uint64_t outgoing=0) -> int:
    """``joint_committed``, from Python."""
    cdef uint64_t[64] copy
    fill(copy, values)
    return joint_committed(copy, voters, outgoing)


def group_committed_of(values: list, groups: list, uint64_t voters, uint64_t outgoing=0) -> int:
    """``group_committed``, from Python."""
    cdef uint64_t[64] copy
    cdef uint64_t[64] wide
    cdef uint32_t[64] narrow
    cdef int i
    fill(copy, values)
    fill(wide, groups)
    for i in range(64):
        narrow[i] = <uint32_t>wide[i]
    return group_committed(copy, narrow, voters, outgoing)


def vote_result_of(uint64_t granted, uint64_t refused, uint64_t voters,
                   uint64_t outgoing=0) -> str:
    """``vote_result``, from Python: won, lost or pending."""
    return RESULTS[vote_result(granted, refused, voters, outgoing)]
