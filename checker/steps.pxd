"""Models by their step function: what may follow a state when an operation takes effect."""
from cpython.object cimport PyObject
from libc.stdint cimport int8_t, int32_t, int64_t

from seatrial.checker.pairs cimport Pairs
from seatrial.checker.vectors cimport Vectors

cdef enum Family:           # as in models.py
    VALUE = 0
    FIFO = 1
    BAG = 2
    STACK = 3
    PRIORITY = 4
    SET = 5
    MUTEX = 6
    OWNED_MUTEX = 7
    COUNTER = 8
    USER = 9
    LEASE = 10

cdef enum:
    REFUSED = -2            # it can't have answered so in this state
    NO_MEMORY = -3
    RAISED = -4             # a user's step raised an exception

cdef struct Operation:
    int8_t kind
    int64_t a
    const int64_t* told     # of a lease: who, for how long, when invoked, when ended (leases.py)

cdef struct Steps:
    int family
    Operation* operations   # the different ones of this key
    int32_t n
    int32_t capacity
    Pairs numbers           # kind and a -> which of them
    Pairs known             # state and operation -> state: steps taken before
    Vectors states
    int64_t* scratch
    size_t room
    size_t limit            # bytes
    PyObject* user          # a UserSteps, borrowed

cdef void steps_free(Steps* s) noexcept nogil
cdef bint steps_begin(Steps* s, size_t bytes) noexcept nogil
cdef int32_t steps_start(Steps* s, int64_t initial) noexcept nogil
cdef int32_t steps_number(Steps* s, int8_t kind, int64_t a, const int64_t* path,
                          int64_t length) noexcept nogil
cdef bint steps_only_look(const Steps* s, int32_t operation) noexcept nogil
cdef int32_t steps_take(Steps* s, int32_t state, int32_t operation, int choice) noexcept nogil
cdef bint steps_full(const Steps* s) noexcept nogil
cdef bint steps_keep(Steps* s, int32_t* states, Py_ssize_t n) noexcept nogil


cdef class UserSteps:
    cdef readonly object model
    cdef frozenset observers
    cdef object objects             # by token
    cdef list states
    cdef dict numbers
    cdef dict choices               # state and operation -> the states of a OneOf
    cdef readonly object error      # what the model raised
    cdef void begin(self) noexcept
    cdef int32_t start(self) noexcept
    cdef int32_t take(self, int32_t state, int64_t token, int choice) noexcept
    cdef bint only_looks(self, int64_t token) noexcept
    cdef void keep(self, int32_t* states, Py_ssize_t n) noexcept
    cdef object value(self, int32_t state)
