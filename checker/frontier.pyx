"""Frontier search: is there one order of a key's operations that explains every answer?

The events of a key are taken one by one, so the search is online: memory holds what may be
true now, never the past. What may be true is a set of configurations (configs.pxd): the value
in place, and which operations in flight have been placed in the order.

- A read is placed as soon as its value is in place: that never does harm.
- A write is placed only when an operation that must be placed now (it returns) needs it: it is
  that operation, or an unplaced read in flight saw its value, or a CAS in flight expects it.
- A write that returns unplaced may have been *hidden*: overwritten at once by a later blind
  write, unseen. It was hidden if the last blind write was placed after its invocation.
- Of equal operations in flight, the one that returns first is placed first.
- A crashed operation is never forced; it is forgotten when nobody can need it any more.
- Values that no later answer shows are all alike, and are kept as one.
- Where values are appended to, a state that the next read can't grow out of is dropped.
- Where the model is a step function (steps.pyx) nothing is known of what an operation is for, so
  any order of those in flight is tried; the rest holds there, too.

A key is not linearizable exactly when the set becomes empty; that happens at the return of the
operation that can't be placed, at the first moment it is certain.

Sources: Lowe, "Testing for linearizability", CCPE 2017 (just-in-time linearization); Wing and
Gong, JPDC 1993; Herlihy and Wing, TOPLAS 1990 (keys are independent).
"""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from seatrial.checker.configs cimport (
    Configs, add, config_at, configs_clear, configs_free, configs_init, configs_insert,
    configs_shape, has, is_dead, last_of, remove, set_head, state_of,
)
from seatrial.checker.frontier cimport (
    INTERRUPTED, MODEL_RAISED, OK, OUT_OF_EFFORT, OUT_OF_MEMORY, OUT_OF_TIME, VIOLATION, Flight,
    Work,
)
from seatrial.checker.problem cimport (
    LOOK, NEVER, Problem, path_of, problem_free, problem_init, problem_prepare,
)
from seatrial.checker.roles cimport APPEND, CAS, LEFT_OUT, NOT, READ, WRITE
from seatrial.checker.states cimport state_begins, state_find, state_walk
from seatrial.checker.steps cimport (
    RAISED, REFUSED, VALUE, steps_full, steps_keep, steps_take,
)


cdef extern from "Python.h":
    int check_signals "PyErr_CheckSignals"()

cdef enum:
    SIGNALS_EVERY_NS = 50_000_000
    MASKS_EACH = 3          # of a mover: before, served, wanted
    MANY = 512              # movers or configurations, after each of which time may have run out

cdef int64_t now_ns() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return t.tv_sec * 1_000_000_000 + t.tv_nsec


cdef int may_go_on(Work* w) noexcept nogil:
    """OK, or why to stop: asked every now and then, so that ^C and deadlines work."""
    cdef int64_t now = now_ns()
    if now > w.deadline_ns:
        return OUT_OF_TIME
    if now > w.signals_ns:
        w.signals_ns = now + SIGNALS_EVERY_NS
        with gil:
            if check_signals() < 0:
                return INTERRUPTED
    return OK


# --- memory -----------------------------------------------------------------------------------

cdef bint room_for(void** block, size_t bytes) noexcept nogil:
    cdef void* moved = realloc(block[0], bytes)
    if moved is NULL:
        return False
    block[0] = moved
    return True


cdef int why_not(int failed) noexcept nogil:
    return MODEL_RAISED if failed == RAISED else OUT_OF_MEMORY


cdef bint flight_shape(Work* w, size_t memory) noexcept nogil:
    """Empty the slots and fit them to the key's masks; False when that needs more memory."""
    cdef Flight* f = &w.flight
    cdef int i, returning = w.problem.words * 64, crashed = w.problem.crashed * 64
    cdef size_t slots = <size_t>(returning + crashed)
    cdef size_t mask = <size_t>(w.problem.words + w.problem.crashed)
    cdef size_t masks = slots * mask
    if masks * MASKS_EACH * 8 > memory:
        return False
    if slots > f.slot_room:
        if not (room_for(<void**>&f.op, slots * 4) and room_for(<void**>&f.free, slots * 4)
                and room_for(<void**>&f.free_crashed, slots * 4)
                and room_for(<void**>&f.movers, slots * 4)
                and room_for(<void**>&f.readers, slots * 4)):
            return False
        f.slot_room = slots
    if masks > f.mask_room:
        if not (room_for(<void**>&f.before, masks * 8) and room_for(<void**>&f.served, masks * 8)
                and room_for(<void**>&f.wanted, masks * 8)
                and room_for(<void**>&f.growers, mask * 8)):
            return False
        f.mask_room = masks
    if mask + 2 > w.config_room:
        if not (room_for(<void**>&w.from_, (mask + 2) * 8)
                and room_for(<void**>&w.to, (mask + 2) * 8)):
            return False
        w.config_room = mask + 2
    f.n_free = returning
    f.n_free_crashed = crashed
    for i in range(returning):
        f.free[i] = returning - 1 - i
    for i in range(crashed):
        f.free_crashed[i] = returning + crashed - 1 - i
    f.n_movers = f.n_readers = f.writers = 0
    return True


cdef void work_init(Work* w) noexcept nogil:
    memset(w, 0, sizeof(Work))
    problem_init(&w.problem)
    configs_init(&w.now)
    configs_init(&w.next)
    configs_init(&w.open)


cdef void work_free(Work* w) noexcept nogil:
    """Free what belongs to the search; the problem's arrays by operation are the caller's."""
    problem_free(&w.problem)
    configs_free(&w.now)
    configs_free(&w.next)
    configs_free(&w.open)
    free(w.flight.op)
    free(w.flight.free)
    free(w.flight.free_crashed)
    free(w.flight.movers)
    free(w.flight.readers)
    free(w.flight.before)
    free(w.flight.served)
    free(w.flight.wanted)
    free(w.flight.growers)
    free(w.from_)
    free(w.to)


# --- slots ------------------------------------------------------------------------------------

cdef inline bint looks(int role) noexcept nogil:
    """Whether an operation only says what it saw."""
    return role == READ or role == NOT or role == LOOK


cdef void take_off(Work* w, int32_t op) noexcept nogil:
    """Give an operation a slot, and a place among the movers (by return) or the readers."""
    cdef Flight* f = &w.flight
    cdef Problem* p = &w.problem
    cdef int slot, i
    if p.stop[op] == NEVER:
        if f.n_free_crashed == 0:
            forget_crashed(w, p.start[op])
        f.n_free_crashed -= 1
        slot = f.free_crashed[f.n_free_crashed]
    else:
        f.n_free -= 1
        slot = f.free[f.n_free]
    f.op[slot] = op
    if looks(p.role[op]):
        f.readers[f.n_readers] = slot
        f.n_readers += 1
        return
    i = f.n_movers
    while i > 0 and p.stop[f.op[f.movers[i - 1]]] > p.stop[op]:
        f.movers[i] = f.movers[i - 1]
        i -= 1
    f.movers[i] = slot
    f.n_movers += 1
    f.writers += p.role[op] != APPEND


cdef int slot_of(const Work* w, int32_t op) noexcept nogil:
    cdef int i
    if looks(w.problem.role[op]):
        for i in range(w.flight.n_readers):
            if w.flight.op[w.flight.readers[i]] == op:
                return w.flight.readers[i]
    for i in range(w.flight.n_movers):
        if w.flight.op[w.flight.movers[i]] == op:
            return w.flight.movers[i]
    return -1


cdef void take_out(int32_t* slots, int* n, int slot) noexcept nogil:
    cdef int i = 0
    while slots[i] != slot:
        i += 1
    n[0] -= 1
    while i < n[0]:
        slots[i] = slots[i + 1]
        i += 1


cdef void land(Work* w, int slot) noexcept nogil:
    """Free the slot of an operation that returned, or that nobody can need any more."""
    cdef Flight* f = &w.flight
    cdef int role = w.problem.role[f.op[slot]]
    if looks(role):
        take_out(f.readers, &f.n_readers, slot)
    else:
        take_out(f.movers, &f.n_movers, slot)
        f.writers -= role != APPEND
    if slot >= w.problem.words * 64:
        f.free_crashed[f.n_free_crashed] = slot
        f.n_free_crashed += 1
    else:
        f.free[f.n_free] = slot
        f.n_free += 1


cdef void forget_crashed(Work* w, int32_t event) noexcept nogil:
    """Drop crashed operations that no answer from this event on can show."""
    cdef Flight* f = &w.flight
    cdef int i = f.n_movers - 1, slot
    cdef uint32_t c
    while i >= 0:
        slot = f.movers[i]
        i -= 1
        if slot < w.problem.words * 64:
            return                                  # crashed ones come last
        if w.problem.until[f.op[slot]] < event:
            land(w, slot)
            for c in range(w.now.n):
                remove(config_at(&w.now, c), slot)


# --- configurations ---------------------------------------------------------------------------

cdef inline int32_t settled(const Work* w, int32_t state, int32_t event) noexcept nogil:
    """A state as it counts from this event on: one for all values that nobody sees any more."""
    if w.looks_ahead and w.problem.steps.family == VALUE and w.problem.seen[state] < event:
        return w.problem.other
    return state


cdef inline bint satisfied(int role, int32_t x, int32_t state) noexcept nogil:
    return (state == x) == (role == READ)


cdef int observe(Work* w, int slot) noexcept nogil:
    """A read was invoked: it is placed wherever its value is in place already."""
    cdef int32_t x = w.problem.x[w.flight.op[slot]]
    cdef int role = w.problem.role[w.flight.op[slot]]
    cdef int32_t after
    cdef uint32_t i
    cdef uint64_t* c
    for i in range(w.now.n):
        c = config_at(&w.now, i)
        if role != LOOK:
            if satisfied(role, x, state_of(c)):
                add(c, slot)
            continue
        after = steps_take(&w.problem.steps, state_of(c), x, 0)
        if after >= 0:
            add(c, slot)
        elif after != REFUSED:
            return why_not(after)
    return OK


cdef inline bint unplaced(const uint64_t* mask, const uint64_t* config, int n) noexcept nogil:
    """Whether some slot of the mask is not placed in config."""
    cdef int i
    for i in range(n):
        if mask[i] & ~config[2 + i]:
            return True
    return False


cdef inline void mark(uint64_t* mask, int slot) noexcept nogil:
    mask[slot >> 6] |= <uint64_t>1 << (slot & 63)


cdef int relate_movers(Work* w) noexcept nogil:
    """Say of every mover which operations go before it, are served by it, or want it; returns a
    Status: the work grows with the square of their number."""
    cdef Flight* f = &w.flight
    cdef Problem* p = &w.problem
    cdef int n = p.words + p.crashed
    cdef int i, j, slot, status
    cdef int32_t op, other, result
    memset(f.before, 0, <size_t>f.n_movers * <size_t>n * 8)
    memset(f.served, 0, <size_t>f.n_movers * <size_t>n * 8)
    memset(f.growers, 0, <size_t>n * 8)
    for i in range(f.n_movers):
        if i >= MANY and (i & 63) == 0:
            status = may_go_on(w)
            if status != OK:
                return status
        op = f.op[f.movers[i]]
        for j in range(i):
            other = f.op[f.movers[j]]
            if equal(p, op, other):
                mark(f.before + i * n, f.movers[j])
        if p.steps.family != VALUE:
            continue
        if p.role[op] == APPEND:
            mark(f.growers, f.movers[i])
            continue
        result = p.y[op] if p.role[op] == CAS else p.x[op]
        for j in range(f.n_readers):
            slot = f.readers[j]
            if satisfied(p.role[f.op[slot]], p.x[f.op[slot]], result):
                mark(f.served + i * n, slot)
    if p.steps.family != VALUE:
        return OK
    memcpy(f.wanted, f.served, <size_t>f.n_movers * <size_t>n * 8)
    for i in range(f.n_movers):
        if i >= MANY and (i & 63) == 0:
            status = may_go_on(w)
            if status != OK:
                return status
        op = f.op[f.movers[i]]
        if p.role[op] == APPEND:
            continue
        result = p.y[op] if p.role[op] == CAS else p.x[op]
        for j in range(f.n_movers):
            other = f.op[f.movers[j]]
            if p.role[other] == CAS and p.x[other] == result:
                mark(f.wanted + i * n, f.movers[j])
    return OK


cdef inline bint equal(const Problem* p, int32_t op, int32_t other) noexcept nogil:
    return (p.role[op] == p.role[other] and p.x[op] == p.x[other] and p.y[op] == p.y[other]
            and (p.role[op] != APPEND or p.a[op] == p.a[other]))


cdef bint can_grow(Work* w, const uint64_t* c, int32_t event) noexcept nogil:
    """Whether every read that must see the value before it is replaced can still grow from it."""
    cdef Problem* p = &w.problem
    cdef Flight* f = &w.flight
    cdef int i
    cdef int32_t op
    if f.writers:
        return True
    for i in range(f.n_readers):
        op = f.op[f.readers[i]]
        if (p.role[op] == READ and p.stop[op] < p.write_from[event] and not has(c, f.readers[i])
                and not state_begins(&p.states, state_of(c), p.x[op])):
            return False
    op = p.bound[event]
    return (op < 0 or p.stop[op] > p.write_from[event]
            or state_begins(&p.states, state_of(c), p.x[op]))


cdef int32_t grown(Work* w, int32_t op, int32_t state) noexcept nogil:
    """The state after an append; -1 when there is no memory."""
    cdef int64_t length, i
    cdef const int64_t* path = path_of(&w.problem, w.problem.a + op, &length)
    if not w.looks_ahead:
        return state_walk(&w.problem.states, state, path, length)
    for i in range(length):
        state = state_find(&w.problem.states, state, path[i])
        if state < 0:
            return w.problem.other                  # the history never shows it
    return state


cdef int32_t result_of(Work* w, int32_t op, int32_t state, int32_t event) noexcept nogil:
    """The state after placing op; -1 when there is no memory."""
    if w.problem.role[op] == WRITE:
        return settled(w, w.problem.x[op], event)
    if w.problem.role[op] == CAS:
        return settled(w, w.problem.y[op], event)
    state = grown(w, op, state)
    return settled(w, state, event) if state >= 0 else state


cdef inline bint worth_placing(const Work* w, int i, const uint64_t* c,
                               int returning) noexcept nogil:
    """Whether mover i may be placed next in c, and anybody could gain by it."""
    cdef const Flight* f = &w.flight
    cdef int n = w.problem.words + w.problem.crashed
    cdef int slot = f.movers[i]
    cdef int32_t op = f.op[slot]
    cdef int role = w.problem.role[op]
    if has(c, slot) or unplaced(f.before + i * n, c, n):
        return False
    if role == APPEND or slot == returning:
        return role != CAS or state_of(c) == w.problem.x[op]
    if role == CAS:
        if state_of(c) != w.problem.x[op]:
            return False
        if slot < w.problem.words * 64:
            return True                             # it needs its value while that is there
    return (unplaced(f.wanted + i * n, c, n)
            or (w.problem.appends and unplaced(f.growers, c, n)))


cdef int place(Work* w, const uint64_t* c, int i, int returning, int32_t event) noexcept nogil:
    """Place mover i in configuration c and keep what comes out; -1 when there is no memory."""
    cdef Flight* f = &w.flight
    cdef Problem* p = &w.problem
    cdef int n = p.words + p.crashed
    cdef int slot = f.movers[i], j
    cdef int32_t op = f.op[slot]
    cdef int32_t state = result_of(w, op, state_of(c), event)
    if state < 0:
        return -1
    memcpy(w.to, c, <size_t>w.now.stride * 8)
    set_head(w.to, state, event if p.role[op] == WRITE else last_of(c))
    add(w.to, slot)
    if p.role[op] == APPEND:
        for j in range(f.n_readers):
            if satisfied(p.role[f.op[f.readers[j]]], p.x[f.op[f.readers[j]]], state):
                add(w.to, f.readers[j])
    else:
        for j in range(n):
            w.to[2 + j] |= f.served[i * n + j]
    if p.appends and w.looks_ahead and not can_grow(w, w.to, event):
        return 0
    if has(w.to, returning):
        remove(w.to, returning)
        return configs_insert(&w.next, w.to)
    return configs_insert(&w.open, w.to)


cdef int place_step(Work* w, const uint64_t* c, int i, int returning) noexcept nogil:
    """Place mover i in configuration c with each of its outcomes; returns a Status."""
    cdef Flight* f = &w.flight
    cdef Problem* p = &w.problem
    cdef int slot = f.movers[i], choice = 0, j
    cdef int32_t state, after
    if has(c, slot) or unplaced(f.before + i * (p.words + p.crashed), c, p.words + p.crashed):
        return OK
    while True:
        state = steps_take(&p.steps, state_of(c), p.x[f.op[slot]], choice)
        if state < 0:
            return OK if state == REFUSED else why_not(state)
        choice += 1
        memcpy(w.to, c, <size_t>w.now.stride * 8)
        set_head(w.to, state, -1)
        add(w.to, slot)
        for j in range(f.n_readers):
            after = steps_take(&p.steps, state, p.x[f.op[f.readers[j]]], 0)
            if after >= 0:
                add(w.to, f.readers[j])
            elif after != REFUSED:
                return why_not(after)
        if has(w.to, returning):
            remove(w.to, returning)
            if configs_insert(&w.next, w.to) < 0:
                return OUT_OF_MEMORY
        elif configs_insert(&w.open, w.to) < 0:
            return OUT_OF_MEMORY


cdef int place_all(Work* w, const uint64_t* c, int returning, int32_t event) noexcept nogil:
    """Place each mover that may come next in configuration c; returns a Status."""
    cdef int i, status
    for i in range(w.flight.n_movers):
        if w.problem.steps.family != VALUE:
            status = place_step(w, c, i, returning)
            if status != OK:
                return status
        elif worth_placing(w, i, c, returning) and place(w, c, i, returning, event) < 0:
            return OUT_OF_MEMORY
    return OK


cdef int explore(Work* w, int returning, int32_t event) noexcept nogil:
    """Fill ``next`` with all that may be true once the returning operation is placed."""
    cdef Problem* p = &w.problem
    cdef int32_t op = w.flight.op[returning]
    cdef bint hideable = p.role[op] == WRITE or p.role[op] == APPEND
    cdef uint64_t* c
    cdef uint32_t k
    cdef int status
    status = relate_movers(w)
    if status != OK:
        return status
    configs_clear(&w.next)
    configs_clear(&w.open)
    for k in range(w.now.n):
        c = config_at(&w.now, k)
        if is_dead(c):
            continue
        if (k & 63) == 63:                          # each is compared with many where many crashed
            status = may_go_on(w)
            if status != OK:
                return status
        set_head(c, settled(w, state_of(c), event), last_of(c))
        if has(c, returning):
            remove(c, returning)
            if configs_insert(&w.next, c) < 0:
                return OUT_OF_MEMORY
            continue
        if hideable and p.start[op] < last_of(c) and configs_insert(&w.next, c) < 0:
            return OUT_OF_MEMORY
        if configs_insert(&w.open, c) < 0:
            return OUT_OF_MEMORY
    k = 0
    while k < w.open.n:
        if not is_dead(config_at(&w.open, k)):
            w.explored += 1
            if w.explored >= w.effort:
                return OUT_OF_EFFORT
            if (w.explored & 1023) == 0 or w.flight.n_movers >= MANY or w.open.n >= MANY:
                status = may_go_on(w)
                if status != OK:
                    return status
            memcpy(w.from_, config_at(&w.open, k), <size_t>w.now.stride * 8)
            status = place_all(w, w.from_, returning, event)
            if status != OK:
                return status
        k += 1
    w.peak = max(w.peak, max(w.next.n, w.open.n))
    return OK if w.next.n else VIOLATION


cdef bint all_placed(const Configs* s, int slot) noexcept nogil:
    cdef uint32_t i
    for i in range(s.n):
        if not has(config_at(s, i), slot) and not is_dead(config_at(s, i)):
            return False
    return True


cdef int search_return(Work* w, int32_t op, int32_t event) noexcept nogil:
    cdef Configs swap
    cdef uint32_t i
    cdef int status
    cdef int slot = slot_of(w, op)
    if all_placed(&w.now, slot):
        for i in range(w.now.n):
            remove(config_at(&w.now, i), slot)
    else:
        forget_crashed(w, event)
        status = explore(w, slot, event)
        if status != OK:
            return status
        swap = w.now
        w.now = w.next
        w.next = swap
    land(w, slot)
    return OK


cdef int keep_states(Work* w) noexcept nogil:
    """Forget all states but those of the configurations; returns a Status."""
    cdef Configs swap
    cdef uint32_t i
    cdef int status = OK
    cdef int32_t* states = <int32_t*>malloc(<size_t>w.now.n * sizeof(int32_t))
    if states is NULL:
        return OUT_OF_MEMORY
    for i in range(w.now.n):
        states[i] = state_of(config_at(&w.now, i))
    configs_clear(&w.next)
    if not steps_keep(&w.problem.steps, states, w.now.n):
        status = OUT_OF_MEMORY
    for i in range(w.now.n):
        if status == OK and not is_dead(config_at(&w.now, i)):
            set_head(config_at(&w.now, i), states[i], -1)
            if configs_insert(&w.next, config_at(&w.now, i)) < 0:
                status = OUT_OF_MEMORY
    free(states)
    swap = w.now
    w.now = w.next
    w.next = swap
    return status


cdef int search_events(Work* w) noexcept nogil:
    cdef Problem* p = &w.problem
    cdef int32_t i, op
    cdef int status
    for i in range(p.n_events):
        op = p.events[i] >> 1
        if p.role[op] == LEFT_OUT:
            continue
        w.event = i
        w.op = op
        if p.events[i] & 1:
            status = search_return(w, op, i)
            if status != OK:
                return status
        else:
            take_off(w, op)
            if looks(p.role[op]):
                status = observe(w, w.flight.readers[w.flight.n_readers - 1])
                if status != OK:
                    return status
        if (i & 1023) == 1023 and p.steps.family != VALUE and steps_full(&p.steps):
            status = keep_states(w)
            if status != OK:
                return status
        if (i & 4095) == 0:
            status = may_go_on(w)
            if status != OK:
                return status
    return OK


cdef bint start_from(Work* w, bint anywhere) noexcept nogil:
    """Put the first configurations in place; False when there is no memory.

    ``anywhere``: the value at the start is unknown, one of the history's or any other.
    """
    cdef int32_t first = w.problem.start_state, after = first + 1, state
    if anywhere:
        first, after = 0, w.problem.states.n
    for state in range(first, after):
        memset(w.to, 0, <size_t>w.now.stride * 8)
        set_head(w.to, settled(w, state, 0), -1)
        if configs_insert(&w.now, w.to) < 0:
            return False
    return True


cdef int search_key(Work* w, size_t memory, const int64_t* initial, bint anywhere) noexcept nogil:
    """Judge the key that ``w.problem`` names; returns a Status.

    A quarter of the memory goes to each table. After INTERRUPTED a Python exception is set.
    """
    cdef Problem* p = &w.problem
    cdef int shaped, failed
    w.explored = 0
    w.peak = 1
    w.event = w.op = 0
    failed = problem_prepare(p, initial, memory // 4)
    if failed < 0:
        return why_not(failed)
    if not flight_shape(w, memory // 4):
        return OUT_OF_MEMORY
    shaped = (configs_shape(&w.now, p.words, p.crashed, memory // 4)
              + configs_shape(&w.next, p.words, p.crashed, memory // 4)
              + configs_shape(&w.open, p.words, p.crashed, memory // 4))
    if shaped < 0 or not start_from(w, anywhere):
        return OUT_OF_MEMORY
    return search_events(w)
