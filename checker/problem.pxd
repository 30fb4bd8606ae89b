"""One key's operations made ready for the search.

Preparing a key turns values into states, says of every crashed operation how long it can
still matter, counts how many operations are in flight at most (the widths of the masks), and,
where values are appended to, notes what later reads demand of the state.
"""
from libc.stdint cimport int8_t, int32_t, int64_t

from seatrial.checker.states cimport States
from seatrial.checker.steps cimport Steps
from seatrial.checker.tokens cimport NIL, OBJECTS


cdef extern from *:
    const int32_t NEVER "INT32_MAX"             # an event that does not come

cdef enum:          # in place of the roles of roles.pxd
    STEP = 32       # moves by the model's step function; x: which operation
    LOOK = 33       # the same, and never changes the state

cdef enum Shape:
    SCALAR = 0
    LIST = 1
    TEXT = 2

cdef struct Problem:
    # The history: by operation, and its values by token (see operations.py).
    const int8_t* kind
    const int64_t* a
    const int64_t* b
    const int8_t* shape                 # by object
    const int64_t* path_start           # by object, into symbols
    const int64_t* symbols
    # This key: its events in order, operation * 2 + (1 for a return).
    const int32_t* events
    int32_t n_events
    bint appends
    bint text
    # Made ready, by operation.
    int8_t* role
    int32_t* x
    int32_t* y
    int32_t* start                      # event of the invocation
    int32_t* stop                       # event of the return, or NEVER
    int32_t* until                      # last event at which a crashed one can matter
    # By event, where values are appended to.
    int32_t* bound                      # of the reads invoked later: the first to return, or -1
    int32_t* write_from                 # the next event that invokes a write or CAS, or NEVER
    size_t event_room
    # By state.
    States states
    Steps steps                         # where the model is a step function (else family VALUE)
    int32_t start_state
    int32_t other                       # stands for all values that nobody sees any more
    int32_t* seen                       # last event at which it, or what grew from it, is seen
    int32_t* element                    # scratch: the same for the only element of a list
    size_t state_room
    int32_t* trail                      # the states along the longest value of late, and that value
    const int64_t* trail_path
    int64_t trail_length
    int64_t trail_room
    int words                           # masks: 64-bit words for operations that return,
    int crashed                         # and for those that don't


cdef inline const int64_t* path_of(const Problem* p, const int64_t* token,
                                   int64_t* length) noexcept nogil:
    """Return the symbols that a value is made of (``token`` itself where it is one symbol)."""
    cdef int64_t i = token[0] - OBJECTS
    length[0] = 1
    if token[0] == NIL:
        length[0] = 0
    elif i >= 0 and p.appends and (p.shape[i] == LIST or (p.text and p.shape[i] == TEXT)):
        length[0] = p.path_start[i + 1] - p.path_start[i]
        return p.symbols + p.path_start[i]
    return token


cdef int problem_prepare(Problem* p, const int64_t* initial, size_t state_bytes) noexcept nogil
cdef void problem_init(Problem* p) noexcept nogil
cdef void problem_free(Problem* p) noexcept nogil
