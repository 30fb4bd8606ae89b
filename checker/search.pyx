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

A key is not linearizable exactly when the set becomes empty; that happens at the return of the
operation that can't be placed, at the first moment it is certain.

Sources: Lowe, "Testing for linearizability", CCPE 2017 (just-in-time linearization); Wing and
Gong, JPDC 1993; Herlihy and Wing, TOPLAS 1990 (keys are independent).
"""
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from seatrial.checker.configs cimport (
    Configs, add, config_at, configs_clear, configs_free, configs_init, configs_insert,
    configs_shape, has, is_dead, last_of, remove, set_head, state_of,
)
from seatrial.checker.problem cimport (
    APPEND, CAS, LEFT_OUT, NEVER, NOT, READ, WRITE, Problem, path_of, problem_free,
    problem_init, problem_prepare,
)
from seatrial.checker.states cimport state_begins, state_find, state_walk

import numpy as np


cdef extern from "Python.h":
    int check_signals "PyErr_CheckSignals"()

cdef enum:
    SIGNALS_EVERY_NS = 50_000_000

cdef enum Status:
    OK = 0
    VIOLATION = 1
    OUT_OF_TIME = 2
    OUT_OF_MEMORY = 3
    OUT_OF_EFFORT = 4
    INTERRUPTED = 5

STATUSES = ("ok", "violation", "time", "memory", "effort")

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


cdef int pass_on() except -1:
    """Raise what a signal's handler raised: check_signals left it set."""
    return -1


# --- memory -----------------------------------------------------------------------------------

cdef bint room_for(void** block, size_t bytes) noexcept nogil:
    cdef void* moved = realloc(block[0], bytes)
    if moved is NULL:
        return False
    block[0] = moved
    return True


cdef bint flight_shape(Work* w) noexcept nogil:
    """Empty the slots and fit them to the key's masks; False when there is no memory."""
    cdef Flight* f = &w.flight
    cdef int i, returning = w.problem.words * 64, crashed = w.problem.crashed * 64
    cdef size_t slots = <size_t>(returning + crashed)
    cdef size_t mask = <size_t>(w.problem.words + w.problem.crashed)
    cdef size_t masks = slots * mask
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


cdef void work_free(Work* w) noexcept nogil:
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
    if p.role[op] == READ or p.role[op] == NOT:
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
    if w.problem.role[op] == READ or w.problem.role[op] == NOT:
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
    if role == READ or role == NOT:
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
    if w.looks_ahead and w.problem.seen[state] < event:
        return w.problem.other
    return state


cdef inline bint satisfied(int role, int32_t x, int32_t state) noexcept nogil:
    return (state == x) == (role == READ)


cdef void observe(Work* w, int slot) noexcept nogil:
    """A read was invoked: it is placed wherever its value is in place already."""
    cdef int32_t x = w.problem.x[w.flight.op[slot]]
    cdef int role = w.problem.role[w.flight.op[slot]]
    cdef uint32_t i
    cdef uint64_t* c
    for i in range(w.now.n):
        c = config_at(&w.now, i)
        if satisfied(role, x, state_of(c)):
            add(c, slot)


cdef inline bint unplaced(const uint64_t* mask, const uint64_t* config, int n) noexcept nogil:
    """Whether some slot of the mask is not placed in config."""
    cdef int i
    for i in range(n):
        if mask[i] & ~config[2 + i]:
            return True
    return False


cdef inline void mark(uint64_t* mask, int slot) noexcept nogil:
    mask[slot >> 6] |= <uint64_t>1 << (slot & 63)


cdef void relate_movers(Work* w) noexcept nogil:
    """Say of every mover which operations go before it, are served by it, or want it."""
    cdef Flight* f = &w.flight
    cdef Problem* p = &w.problem
    cdef int n = p.words + p.crashed
    cdef int i, j, slot
    cdef int32_t op, other, result
    memset(f.before, 0, <size_t>(f.n_movers * n) * 8)
    memset(f.served, 0, <size_t>(f.n_movers * n) * 8)
    memset(f.growers, 0, <size_t>n * 8)
    for i in range(f.n_movers):
        op = f.op[f.movers[i]]
        for j in range(i):
            other = f.op[f.movers[j]]
            if equal(p, op, other):
                mark(f.before + i * n, f.movers[j])
        if p.role[op] == APPEND:
            mark(f.growers, f.movers[i])
            continue
        result = p.y[op] if p.role[op] == CAS else p.x[op]
        for j in range(f.n_readers):
            slot = f.readers[j]
            if satisfied(p.role[f.op[slot]], p.x[f.op[slot]], result):
                mark(f.served + i * n, slot)
    memcpy(f.wanted, f.served, <size_t>(f.n_movers * n) * 8)
    for i in range(f.n_movers):
        op = f.op[f.movers[i]]
        if p.role[op] == APPEND:
            continue
        result = p.y[op] if p.role[op] == CAS else p.x[op]
        for j in range(f.n_movers):
            other = f.op[f.movers[j]]
            if p.role[other] == CAS and p.x[other] == result:
                mark(f.wanted + i * n, f.movers[j])


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


cdef int explore(Work* w, int returning, int32_t event) noexcept nogil:
    """Fill ``next`` with all that may be true once the returning operation is placed."""
    cdef Problem* p = &w.problem
    cdef int32_t op = w.flight.op[returning]
    cdef bint hideable = p.role[op] == WRITE or p.role[op] == APPEND
    cdef uint64_t* c
    cdef uint32_t k
    cdef int i, status
    relate_movers(w)
    configs_clear(&w.next)
    configs_clear(&w.open)
    for k in range(w.now.n):
        c = config_at(&w.now, k)
        if is_dead(c):
            continue
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
            if (w.explored & 1023) == 0:
                status = may_go_on(w)
                if status != OK:
                    return status
            memcpy(w.from_, config_at(&w.open, k), <size_t>w.now.stride * 8)
            for i in range(w.flight.n_movers):
                if (worth_placing(w, i, w.from_, returning)
                        and place(w, w.from_, i, returning, event) < 0):
                    return OUT_OF_MEMORY
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
            if p.role[op] == READ or p.role[op] == NOT:
                observe(w, w.flight.readers[w.flight.n_readers - 1])
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
    """Judge the key that ``w.problem`` names. A quarter of the memory goes to each table."""
    cdef Problem* p = &w.problem
    cdef int shaped
    w.explored = 0
    w.peak = 1
    w.event = w.op = 0
    if not problem_prepare(p, initial, memory // 4) or not flight_shape(w):
        return OUT_OF_MEMORY
    shaped = (configs_shape(&w.now, p.words, p.crashed, memory // 4)
              + configs_shape(&w.next, p.words, p.crashed, memory // 4)
              + configs_shape(&w.open, p.words, p.crashed, memory // 4))
    if shaped < 0 or not start_from(w, anywhere):
        return OUT_OF_MEMORY
    return search_events(w)


# --- Python -----------------------------------------------------------------------------------

cdef bint place_events(int64_t n, const int32_t* key, const int64_t* inv, const int64_t* ret,
                       int64_t positions, int64_t keys, int32_t* at, int64_t* start,
                       int32_t* events) noexcept nogil:
    """Sort events by key, then position, by counting; False when positions clash or run out.

    ``at`` (by position) is scratch; the events of key k are [start[k], start[k + 1]).
    """
    cdef int64_t i, k
    for i in range(positions):
        at[i] = -1
    for i in range(n):
        if not 0 <= inv[i] < positions or ret[i] <= inv[i] or not 0 <= key[i] < keys:
            return False
        if at[inv[i]] >= 0:
            return False
        at[inv[i]] = <int32_t>(2 * i)
        start[key[i] + 1] += 1
        if ret[i] < positions:
            if at[ret[i]] >= 0:
                return False
            at[ret[i]] = <int32_t>(2 * i + 1)
            start[key[i] + 1] += 1
    for k in range(keys):
        start[k + 1] += start[k]
    for i in range(positions):
        if at[i] >= 0:
            k = key[at[i] >> 1]
            events[start[k]] = at[i]
            start[k] += 1
    for k in range(keys, 0, -1):                    # each start has moved on to its end
        start[k] = start[k - 1]
    start[0] = 0
    return True


cdef class Search:
    """The search over one history's operations (see operations.py for what the arrays mean).

    Not thread-safe: one object's calls share their working memory. The GIL is released.
    """

    cdef Work work
    cdef int64_t n, keys
    cdef int32_t* events
    cdef int64_t* starts
    cdef const uint8_t[::1] modes
    cdef tuple held                                 # the arrays that pointers point into

    def __cinit__(self, object operations):
        cdef const int8_t[::1] kind = operations.kind
        cdef const int32_t[::1] key = operations.key
        cdef const int64_t[::1] a = operations.a, b = operations.b
        cdef const int64_t[::1] inv = operations.inv, ret = operations.ret
        cdef const int8_t[::1] shape = operations.shape
        cdef const int64_t[::1] path_start = operations.path_start
        cdef const int64_t[::1] symbols = operations.symbols
        cdef int64_t positions = operations.positions, events
        cdef Problem* p = &self.work.problem
        cdef int32_t* at
        cdef bint placed
        problem_init(p)
        configs_init(&self.work.now)
        configs_init(&self.work.next)
        configs_init(&self.work.open)
        self.n = kind.shape[0]
        self.keys = len(operations.modes)
        self.modes = operations.modes
        if not (len(key) == len(a) == len(b) == len(inv) == len(ret) == self.n):
            raise ValueError("operations: columns of different lengths")
        if self.n >= 1 << 29 or positions >= 1 << 31:
            raise ValueError(f"{self.n} operations are more than one search can number")
        self.held = (kind, key, a, b, inv, ret, shape, path_start, symbols)
        events = 2 * self.n + 1
        self.events = <int32_t*>malloc(<size_t>events * 4)
        self.starts = <int64_t*>calloc(<size_t>self.keys + 2, 8)
        at = <int32_t*>malloc(<size_t>positions * 4 + 4)
        p.role = <int8_t*>malloc(<size_t>events)
        p.x = <int32_t*>malloc(<size_t>events * 2)
        p.y = <int32_t*>malloc(<size_t>events * 2)
        p.start = <int32_t*>malloc(<size_t>events * 2)
        p.stop = <int32_t*>malloc(<size_t>events * 2)
        p.until = <int32_t*>malloc(<size_t>events * 2)
        if (self.events is NULL or self.starts is NULL or at is NULL or p.role is NULL
                or p.x is NULL or p.y is NULL or p.start is NULL or p.stop is NULL
                or p.until is NULL):
            free(at)
            raise MemoryError(f"no memory for {self.n} operations")
        if self.n:
            p.kind, p.a, p.b = &kind[0], &a[0], &b[0]
            with nogil:
                placed = place_events(self.n, &key[0], &inv[0], &ret[0], positions, self.keys,
                                      at, self.starts, self.events)
            if not placed:
                free(at)
                raise ValueError("operations: two events at one position, or one out of range")
        free(at)
        p.path_start = &path_start[0]
        if len(shape):
            p.shape = &shape[0]
        if len(symbols):
            p.symbols = &symbols[0]

    def __dealloc__(self):
        cdef Problem* p = &self.work.problem
        free(p.role)
        free(p.x)
        free(p.y)
        free(p.start)
        free(p.stop)
        free(p.until)
        free(self.events)
        free(self.starts)
        work_free(&self.work)

    cdef void _choose(self, int64_t key) noexcept nogil:
        cdef Problem* p = &self.work.problem
        p.events = self.events + self.starts[key]
        p.n_events = <int32_t>(self.starts[key + 1] - self.starts[key])
        p.appends = self.modes[key] != 0
        p.text = self.modes[key] == 2

    def run(self, keys, int64_t initial, *, int64_t deadline_ns, size_t memory, uint64_t effort):
        """Judge many keys: arrays of status, operation, event, explored, peak, one cell a key.

        operation and event say where a key's search ended. Deadline: of CLOCK_MONOTONIC.
        """
        cdef const int64_t[::1] chosen = np.ascontiguousarray(keys, dtype=np.int64)
        cdef Py_ssize_t i, n = len(chosen)
        status = np.zeros(n, dtype=np.int8)
        numbers = np.zeros((4, n), dtype=np.int64)
        cdef int8_t[::1] status_ = status
        cdef int64_t[:, ::1] numbers_ = numbers
        for key in chosen:
            if not 0 <= key < self.keys:
                raise IndexError(f"key {key} of {self.keys}")
        self.work.deadline_ns = deadline_ns
        self.work.effort = effort
        self.work.looks_ahead = True
        with nogil:
            for i in range(n):
                self._choose(chosen[i])
                status_[i] = <int8_t>search_key(&self.work, memory, &initial, False)
                numbers_[0, i] = self.work.op
                numbers_[1, i] = self.work.event
                numbers_[2, i] = <int64_t>self.work.explored
                numbers_[3, i] = self.work.peak
                if status_[i] == INTERRUPTED:
                    break
        if n and status_[i] == INTERRUPTED:
            pass_on()
        return status, *numbers

    def probe(self, int64_t key, int64_t initial, *, bint anywhere=False, bint look_ahead=True,
              int64_t deadline_ns, size_t memory, uint64_t effort):
        """Judge one key and look closer: status, operation, and the values possible at the end.

        A value is a tuple of symbols. ``anywhere``: the value at the start is unknown.
        ``look_ahead=False``: where values are appended to, end at the answer that contradicts,
        not already where the contradiction can be foreseen (slower).
        """
        cdef int status
        if not 0 <= key < self.keys:
            raise IndexError(f"key {key} of {self.keys}")
        self.work.deadline_ns = deadline_ns
        self.work.effort = effort
        self.work.looks_ahead = look_ahead
        with nogil:
            self._choose(key)
            status = search_key(&self.work, memory, &initial, anywhere)
        if status == INTERRUPTED:
            pass_on()
        return STATUSES[status], self.work.op, self._values(status)

    cdef list _values(self, int status):
        cdef Configs* s = &self.work.open if status == VIOLATION else &self.work.now
        cdef uint32_t i
        cdef int32_t state
        seen = {}
        for i in range(s.n):
            if not is_dead(config_at(s, i)):
                seen[state_of(config_at(s, i))] = True
        found = []
        for state in seen:
            path = []
            while state > 0:
                path.append(self.work.problem.states.nodes[state].symbol)
                state = self.work.problem.states.nodes[state].parent
            found.append(tuple(reversed(path)))
        return found
