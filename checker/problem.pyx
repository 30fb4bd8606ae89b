"""One key's operations made ready for the search (see problem.pxd for the fields).

A crashed operation (one that never completed) may be left out of an order, so it is kept only
while somebody could need its value: ``until`` is the last event at which an answer shows it.
Leaving an unobserved write out of a legal order keeps it legal, for the next operation that
looks at the value does not look at that write. Only an observation of "not this value" could
be satisfied by any write; where there are such, all are kept up to the last of those.
"""
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

from seatrial.checker.problem cimport (
    APPEND, CAS, LEFT_OUT, NEVER, NOT, READ, WRITE, Problem, path_of,
)
from seatrial.checker.states cimport (
    state_child, state_walk, states_free, states_init, states_number, states_reset,
)


cdef void problem_init(Problem* p) noexcept nogil:
    memset(p, 0, sizeof(Problem))
    states_init(&p.states)


cdef void problem_free(Problem* p) noexcept nogil:
    """Free what grows with keys; the arrays by operation belong to the caller."""
    free(p.bound)
    free(p.write_from)
    free(p.needed)
    states_free(&p.states)


cdef int32_t state_for(Problem* p, const int64_t* token) noexcept nogil:
    """Return a value's state; -1 when there is no memory."""
    cdef int64_t length
    cdef const int64_t* path = path_of(p, token, &length)
    return state_walk(&p.states, 0, path, length)


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


cdef bint need_states(Problem* p) noexcept nogil:
    """Make room for ``needed``; new states are needed by nobody. False without memory."""
    cdef size_t room = <size_t>p.states.n
    cdef void* moved
    if room > p.state_room:
        moved = realloc(p.needed, 2 * room * sizeof(int32_t))
        if moved is NULL:
            return False
        p.needed = <int32_t*>moved
        p.state_room = 2 * room
    return True


cdef inline bint observes(const Problem* p, int32_t op) noexcept nogil:
    return p.role[op] == READ or (p.role[op] == CAS and p.stop[op] != NEVER)


cdef void need_values(Problem* p) noexcept nogil:
    """For plain values: the last event at which each is read, or expected by a CAS that
    happened, or expected by a crashed one whose own result is needed."""
    cdef bint changed = True
    cdef int32_t i, op
    for i in range(p.states.n):
        p.needed[i] = -1
    for i in range(p.n_events):
        op = p.events[i] >> 1
        if observes(p, op):
            p.needed[p.x[op]] = max(p.needed[p.x[op]], p.stop[op])
    while changed:
        changed = False
        for i in range(p.n_events - 1, -1, -1):             # chains mostly run forward
            op = p.events[i] >> 1
            if (p.role[op] == CAS and p.stop[op] == NEVER
                    and p.needed[p.y[op]] > p.needed[p.x[op]]):
                p.needed[p.x[op]] = p.needed[p.y[op]]
                changed = True


cdef bint need_elements(Problem* p, int32_t last_seen) noexcept nogil:
    """For values that are appended to: the last event at which each element is seen anywhere.

    An element's number is that of the list that holds it alone. False without memory.
    """
    cdef int32_t i, op, n, alone
    for i in range(p.states.n):
        p.needed[i] = -1
    for i in range(p.n_events):
        op = p.events[i] >> 1
        if observes(p, op):
            p.needed[p.x[op]] = max(p.needed[p.x[op]], p.stop[op])
        elif p.role[op] == CAS:                     # crashed: may need it for whoever comes last
            p.needed[p.x[op]] = last_seen
    for i in range(p.states.n - 1, 0, -1):          # who sees a list sees its beginnings
        n = p.states.nodes[i].parent
        p.needed[n] = max(p.needed[n], p.needed[i])
    n = p.states.n
    for i in range(1, n):
        if state_child(&p.states, 0, p.states.nodes[i].symbol) < 0:
            return False
    if not need_states(p):
        return False
    for i in range(n, p.states.n):
        p.needed[i] = -1
    for i in range(1, n):
        alone = state_child(&p.states, 0, p.states.nodes[i].symbol)
        p.needed[alone] = max(p.needed[alone], p.needed[i])
    return True


cdef int32_t append_until(Problem* p, int32_t op, int32_t elements) noexcept nogil:
    """Last event at which all of what op appends is seen; -1 when some of it never is.

    ``elements``: how many states ``needed`` knows.
    """
    cdef int64_t length, i
    cdef const int64_t* path = path_of(p, p.a + op, &length)
    cdef int32_t alone, least = NEVER
    for i in range(length):
        alone = state_child(&p.states, 0, path[i])
        least = min(least, p.needed[alone] if 0 <= alone < elements else -1)
    return least if length else -1                  # appending nothing changes nothing


cdef bint leave_out_unseen(Problem* p) noexcept nogil:
    """Fill ``until`` and leave out crashed operations nobody can need; False without memory."""
    cdef int32_t i, op, elements
    cdef int32_t last_seen = -1, last_not = -1, pending = 0
    for i in range(p.n_events):
        op = p.events[i] >> 1
        if p.events[i] & 1 and p.role[op] == NOT:
            last_not = i
        if p.events[i] & 1 and (observes(p, op) or p.role[op] == NOT):
            last_seen = i
        pending += p.stop[op] == NEVER
    if pending == 0:
        return True
    if not need_states(p):
        return False
    if not p.appends:
        need_values(p)
    elif not need_elements(p, last_seen):
        return False
    elements = p.states.n
    for i in range(p.n_events):
        op = p.events[i] >> 1
        if p.stop[op] != NEVER or p.role[op] == LEFT_OUT:
            continue
        if p.role[op] == APPEND:
            p.until[op] = append_until(p, op, elements)
        elif p.appends:
            p.until[op] = last_seen                 # a beginning of what is seen, perhaps
        else:
            p.until[op] = p.needed[p.x[op] if p.role[op] == WRITE else p.y[op]]
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


cdef bint problem_prepare(Problem* p, size_t state_bytes) noexcept nogil:
    """Make a key ready; False when there is no memory."""
    if states_reset(&p.states, state_bytes) < 0 or not by_event(p):
        return False
    if not intern_values(p) or not leave_out_unseen(p):
        return False
    measure_masks(p)
    if p.appends:
        states_number(&p.states)
        look_ahead(p)
    return True
