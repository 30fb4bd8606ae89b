"""The frontier search of one key: its working memory, and the call (frontier.pyx)."""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from seatrial.checker.configs cimport Configs
from seatrial.checker.problem cimport Problem

cdef enum Status:
    OK = 0
    VIOLATION = 1
    OUT_OF_TIME = 2
    OUT_OF_MEMORY = 3
    OUT_OF_EFFORT = 4
    INTERRUPTED = 5
    MODEL_RAISED = 6        # what it raised is in the UserSteps

cdef struct Flight:
    # What is in flight: slots are bits of the masks, crashed operations above ``words`` * 64.
    int32_t* op             # by slot
    int32_t* free           # stack of free slots, and one of free crashed slots
    int n_free
    int32_t* free_crashed
    int n_free_crashed
    int32_t* movers         # slots of operations that change the value, by their return
    int n_movers
    int32_t* readers
    int n_readers
    int writers             # movers that are a write or CAS
    # By mover, recomputed when configurations are explored.
    uint64_t* before        # equal operations that must be placed first
    uint64_t* served        # observers that its result satisfies at once
    uint64_t* wanted        # those, and each CAS that expects its result
    uint64_t* growers       # one mask: all appends
    size_t slot_room
    size_t mask_room

cdef struct Work:
    Problem problem
    Flight flight
    Configs now             # before this event
    Configs next            # after it
    Configs open            # in which the operation that returns is still to be placed
    uint64_t* from_
    uint64_t* to
    size_t config_room
    bint looks_ahead        # drop states that the next read can't grow out of, forget values
    int64_t deadline_ns
    int64_t signals_ns      # when to look for signals again
    uint64_t effort         # explorations allowed
    uint64_t explored
    uint32_t peak           # largest number of configurations
    int32_t event           # where it ended
    int32_t op


cdef void work_init(Work* w) noexcept nogil
cdef void work_free(Work* w) noexcept nogil
cdef int search_key(Work* w, size_t memory, const int64_t* initial, bint anywhere) noexcept nogil
