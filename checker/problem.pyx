"""One key's operations made ready for the search (see problem.pxd for the fields).

A crashed operation (one that never completed) may be left out of an order, so it is kept only
while somebody could need its value: ``until`` is the last event at which an answer shows it.
Leaving an unobserved write out of a legal order keeps it legal, for the next operation that
looks at the value does not look at that write. Only an observation of "not this value" could
be satisfied by any write; where there are such, all are kept up to the last of those.

By the same argument values that nobody sees any more are all alike: ``other`` stands for them,
and what is appended to it stays it.

Where the model is a step function (steps.pyx) equal operations get equal numbers, and a crashed
operation is left out only if it put in an element that nobody ever saw.
"""
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

from seatrial.checker.problem cimport (
    LIST, LOOK, NEVER, STEP, Problem, path_of,
)
from seatrial.checker.pairs cimport ABSENT, pairs_get
from seatrial.checker.roles cimport (
    ADD, APPEND, CAS, LEFT_OUT, NOT, PEEK, READ, TAKE, WRITE,
)
from seatrial.checker.states cimport (
    state_child, state_find, state_walk, states_free, states_init, states_number, states_reset,
)
from seatrial.checker.steps cimport (
    BAG, FIFO, PRIORITY, STACK, VALUE, steps_begin, steps_free, steps_number, steps_only_look,
    steps_start,
)
from seatrial.checker.tokens cimport NIL, OBJECTS


cdef void problem_init(Problem* p) noexcept nogil:
    memset(p, 0, sizeof(Problem))
    states_init(&p.states)


cdef void problem_free(Problem* p) noexcept nogil:
    """Free what grows with keys; the arrays by operation belong to the caller."""
    free(p.bound)
    free(p.write_from)
    free(p.seen)
    free(p.element)
    free(p.trail)
    states_free(&p.states)
    steps_free(&p.steps)


cdef int32_t state_for(Problem* p, const int64_t* token) noexcept nogil:
    """Return a value's state; -1 when there is no memory.

    What is appended to is read again and again, a little longer each time: where a value begins as
    the one before, its states are known.
    """
    cdef int64_t length, same = 0
    cdef int32_t state = 0
    cdef const int64_t* path = path_of(p, token, &length)
    if path == token:
        return state_walk(&p.states, 0, path, length)
    while same < length and same < p.trail_length and path[same] == p.trail_path[same]:
        same += 1
    if same == length:
        return p.trail[length - 1] if length else 0
    if same:
        state = p.trail[same - 1]
    if length <= p.trail_length and same < p.trail_length // 2:
        return state_walk(&p.states, state, path + same, length - same)     # keep the long one
    return leave_trail(p, path, length, same, state)


cdef int32_t leave_trail(Problem* p, const int64_t* path, int64_t length, int64_t same,
                         int32_t state) noexcept nogil:
    """Walk on from the first ``same`` symbols, and remember the way; -1 without memory."""
    cdef int64_t i
    cdef void* moved
    if length > p.trail_room:
        moved = realloc(p.trail, <size_t>length * 2 * sizeof(int32_t))
        if moved is NULL:
            return -1
        p.trail = <int32_t*>moved
        p.trail_room = length * 2
    p.trail_length = 0
    for i in range(same, length):
        state = state_child(&p.states, state, path[i])
        if state < 0:
            return -1
        p.trail[i] = state
    p.trail_path, p.trail_length = path, length
    return state


cdef bint intern_values(Problem* p) noexcept nogil:
    """Fill role, x, y, start, stop; False when there is no memory."""
    cdef int32_t i, op
    for i in range(p.n_events):
        op = p.events[i] >> 1
        if p.events[i] & 1:
            p.stop[op] = i
            continue
        p.start[op] = i
        p.stop[op] = NEVER
        p.role[op] = p.kind[op]
        p.x[op] = p.y[op] = 0
        if p.kind[op] != APPEND:
            p.x[op] = state_for(p, p.a + op)
        if p.kind[op] == CAS:
            p.y[op] = state_for(p, p.b + op)
        if p.x[op] < 0 or p.y[op] < 0:
            return False
    for i in range(p.n_events):
        op = p.events[i] >> 1
        if p.role[op] == CAS and p.x[op] == p.y[op]:        # changes nothing
            p.role[op] = LEFT_OUT if p.stop[op] == NEVER else READ
    return True


cdef bint by_state(Problem* p) noexcept nogil:
    """Make room for the arrays by state; False without memory."""
    cdef size_t room = 2 * <size_t>p.states.n
    cdef void* moved
    if <size_t>p.states.n <= p.state_room:
        return True
    moved = realloc(p.seen, room * sizeof(int32_t))
    if moved is NULL:
        return False
    p.seen = <int32_t*>moved
    moved = realloc(p.element, room * sizeof(int32_t))
    if moved is NULL:
        return False
    p.element = <int32_t*>moved
    p.state_room = room
    return True


cdef inline bint answers(const Problem* p, int32_t op) noexcept nogil:
    """Whether an operation's return says something about the value in place."""
    return p.role[op] == READ or p.role[op] == NOT or (
        p.role[op] == CAS and p.stop[op] != NEVER)


cdef void see_values(Problem* p, int32_t last_answer) noexcept nogil:
    """Fill ``seen``. A crashed CAS sees its expected value as long as its result is seen."""
    cdef bint changed = True
    cdef int32_t i, op, parent
    for i in range(p.states.n):
        p.seen[i] = -1
    for i in range(p.n_events):
        op = p.events[i] >> 1
        if answers(p, op):
            p.seen[p.x[op]] = max(p.seen[p.x[op]], p.stop[op])
        elif p.role[op] == CAS and p.appends:       # its result may be seen in what grows from it
            p.seen[p.x[op]] = last_answer
    while changed and not p.appends:
        changed = False
        for i in range(p.n_events - 1, -1, -1):     # chains mostly run forward
            op = p.events[i] >> 1
            if (p.role[op] == CAS and p.stop[op] == NEVER
                    and p.seen[p.y[op]] > p.seen[p.x[op]]):
                p.seen[p.x[op]] = p.seen[p.y[op]]
                changed = True
    for i in range(p.states.n - 1, 0, -1):
        parent = p.states.nodes[i].parent
        if p.appends:                               # who sees a list sees its beginnings
            p.seen[parent] = max(p.seen[parent], p.seen[i])


cdef bint see_elements(Problem* p) noexcept nogil:
    """Fill ``element``: by the list that holds it alone, the last event at which an element is
    seen in any list. False without memory."""
    cdef int32_t i, alone, n = p.states.n
    for i in range(1, n):
        if state_child(&p.states, 0, p.states.nodes[i].symbol) < 0:
            return False
    if not by_state(p):
        return False
    for i in range(n, p.states.n):
        p.seen[i] = -1                              # these were made just now
    for i in range(p.states.n):
        p.element[i] = -1
    for i in range(1, n):
        alone = state_child(&p.states, 0, p.states.nodes[i].symbol)
        p.element[alone] = max(p.element[alone], p.seen[i])
    return True


cdef int32_t append_until(const Problem* p, int32_t op) noexcept nogil:
    """Last event at which all of what op appends is seen; -1 when some of it never is."""
    cdef int64_t length, i
    cdef const int64_t* path = path_of(p, p.a + op, &length)
    cdef int32_t alone, least = NEVER
    for i in range(length):
        alone = state_find(&p.states, 0, path[i])
        least = min(least, p.element[alone] if alone >= 0 else -1)
    return least if length else -1                  # appending nothing changes nothing


cdef bint leave_out_unseen(Problem* p) noexcept nogil:
    """Fill ``seen`` and ``until``, and leave out crashed operations that nobody can need.

    False without memory.
    """
    cdef int32_t i, op
    cdef int32_t last_answer = -1, last_not = -1, pending = 0
    for i in range(p.n_events):
        op = p.events[i] >> 1
        if p.events[i] & 1 and answers(p, op):
            last_answer = i
            if p.role[op] == NOT:
                last_not = i
        pending += p.stop[op] == NEVER
    if not by_state(p):
        return False
    see_values(p, last_answer)
    if pending and p.appends and not see_elements(p):
        return False
    for i in range(p.n_events):
        op = p.events[i] >> 1
        if p.stop[op] != NEVER or p.role[op] == LEFT_OUT:
            continue
        if p.role[op] == APPEND:
            p.until[op] = append_until(p, op)
        else:
            p.until[op] = p.seen[p.x[op] if p.role[op] == WRITE else p.y[op]]
        p.until[op] = max(p.until[op], last_not)
        if p.until[op] < p.start[op]:
            p.role[op] = LEFT_OUT
    return True


cdef bint by_event(Problem* p) noexcept nogil:
    """Make room for the arrays by event; False without memory."""
    cdef size_t room = <size_t>p.n_events + 1
    cdef void* moved
    if room <= p.event_room:
        return True
    room *= 2
    moved = realloc(p.bound, room * sizeof(int32_t))
    if moved is NULL:
        return False
    p.bound = <int32_t*>moved
    moved = realloc(p.write_from, room * sizeof(int32_t))
    if moved is NULL:
        return False
    p.write_from = <int32_t*>moved
    p.event_room = room
    return True


cdef void measure_masks(Problem* p) noexcept nogil:
    """Count how many operations are in flight at most (uses ``bound`` as scratch)."""
    cdef int32_t i, op
    cdef int32_t flying = 0, most = 0, crashed = 0, most_crashed = 0
    cdef int32_t* leaving = p.bound                 # crashed operations that end to matter here
    memset(leaving, 0, (<size_t>p.n_events + 1) * sizeof(int32_t))
    for i in range(p.n_events):
        crashed -= leaving[i]
        op = p.events[i] >> 1
        if p.role[op] == LEFT_OUT:
            continue
        if p.events[i] & 1:
            flying -= 1
        elif p.stop[op] != NEVER:
            flying += 1
            most = max(most, flying)
        else:
            crashed += 1
            most_crashed = max(most_crashed, crashed)
            leaving[p.until[op] + 1] += 1
    p.words = (most + 63) >> 6
    p.crashed = (most_crashed + 63) >> 6


cdef void look_ahead(Problem* p) noexcept nogil:
    """Fill ``bound`` and ``write_from``."""
    cdef int32_t i, op
    cdef int32_t first = -1, write = NEVER
    for i in range(p.n_events - 1, -1, -1):
        p.bound[i] = first
        p.write_from[i] = write
        op = p.events[i] >> 1
        if p.events[i] & 1 or p.role[op] == LEFT_OUT:
            continue
        if p.role[op] == READ and (first < 0 or p.stop[op] < p.stop[first]):
            first = op
        if p.role[op] == WRITE or p.role[op] == CAS:
            write = i


cdef bint unseen(const Problem* p, int32_t op) noexcept nogil:
    """Whether a crashed operation put in an element that nobody saw: it only stood in the way."""
    cdef int family = p.steps.family
    return (p.kind[op] == ADD
            and (family == FIFO or family == BAG or family == STACK or family == PRIORITY)
            and pairs_get(&p.steps.numbers, TAKE, p.a[op]) == ABSENT
            and pairs_get(&p.steps.numbers, PEEK, p.a[op]) == ABSENT)


cdef int prepare_steps(Problem* p, const int64_t* initial, size_t bytes) noexcept nogil:
    """Make a key ready whose model is a step function; below 0 when that fails."""
    cdef int32_t i, op
    cdef int64_t length, value
    cdef const int64_t* path
    p.appends = False
    if not steps_begin(&p.steps, bytes):
        return -1
    p.start_state = steps_start(&p.steps, initial[0])
    if p.start_state < 0:
        return p.start_state
    for i in range(p.n_events):
        op = p.events[i] >> 1
        if p.events[i] & 1:
            p.stop[op] = i
            continue
        p.start[op], p.stop[op], p.until[op] = i, NEVER, p.n_events - 1
        path, length = NULL, 0
        if p.a[op] >= OBJECTS and p.shape[p.a[op] - OBJECTS] == LIST:
            value = p.a[op] - OBJECTS
            path = p.symbols + p.path_start[value]
            length = p.path_start[value + 1] - p.path_start[value]
        p.x[op] = steps_number(&p.steps, p.kind[op], p.a[op], path, length)
        p.y[op] = 0
        if p.x[op] < 0:
            return p.x[op]
        p.role[op] = LOOK if steps_only_look(&p.steps, p.x[op]) else STEP
    for i in range(p.n_events):
        op = p.events[i] >> 1
        if p.stop[op] == NEVER and (p.role[op] == LOOK or unseen(p, op)):
            p.role[op] = LEFT_OUT
    measure_masks(p)
    return 0


cdef int problem_prepare(Problem* p, const int64_t* initial, size_t state_bytes) noexcept nogil:
    """Make a key ready; below 0 when there is no memory (or a user's model raised: RAISED)."""
    cdef int64_t unheard_of = NIL                   # no value has it as a symbol
    p.trail_length = 0
    if states_reset(&p.states, state_bytes) < 0 or not by_event(p):
        return -1
    if p.steps.family != VALUE:
        return prepare_steps(p, initial, state_bytes)
    p.start_state = state_for(p, initial)
    p.other = state_child(&p.states, 0, unheard_of)
    if p.start_state < 0 or p.other < 0:
        return -1
    if not intern_values(p) or not leave_out_unseen(p):
        return -1
    measure_masks(p)
    if p.appends:
        states_number(&p.states)
        look_ahead(p)
    return 0
