"""The frontier search for Python: sorts a history's events by key and runs the kernels.

What the search does is told in frontier.pyx; how a key is made ready for it in problem.pyx.
"""
from cpython.object cimport PyObject
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc

from seatrial.checker.configs cimport Configs, config_at, is_dead, state_of
from seatrial.checker.frontier cimport (
    INTERRUPTED, MODEL_RAISED, VIOLATION, Work, search_key, work_free, work_init,
)
from seatrial.checker.problem cimport Problem
from seatrial.checker.steps cimport USER, VALUE, UserSteps
from seatrial.checker.vectors cimport Vector, Vectors

from .errors import CheckerError

STATUSES = ("ok", "violation", "time", "memory", "effort")      # by Status (frontier.pxd)


cdef struct Ended:
    int64_t key
    int status
    int32_t op
    int32_t event
    uint64_t explored
    uint32_t peak


cdef int pass_on() except -1:
    """Raise what a signal's handler raised: the interrupted search left it set."""
    return -1


def raise_from_model(UserSteps user):
    """Raise what a user's model raised, with its name; ^C and the like as they are."""
    if not isinstance(user.error, Exception):
        raise user.error
    raise CheckerError(f"the model {user.model.name} failed: {user.error!r}") from user.error


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
    cdef UserSteps user

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
        work_init(&self.work)
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
        p.steps.family = operations.family
        if p.steps.family == USER:
            self.user = UserSteps(operations.user, operations.values.value)
            p.steps.user = <PyObject*>self.user
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
        """Judge many keys: of each the status, the operation and event at which its search ended,
        how many configurations were explored, and how many there were at once.

        Deadline: of CLOCK_MONOTONIC.
        """
        cdef Py_ssize_t i, n = len(keys)
        cdef Ended* found = <Ended*>malloc((<size_t>n + 1) * sizeof(Ended))
        if found is NULL:
            raise MemoryError(f"no memory for {n} keys")
        try:
            for i in range(n):
                found[i].key = keys[i]
                if not 0 <= found[i].key < self.keys:
                    raise IndexError(f"key {keys[i]} of {self.keys}")
            self.work.deadline_ns = deadline_ns
            self.work.effort = effort
            self.work.looks_ahead = True
            with nogil:
                for i in range(n):
                    self._choose(found[i].key)
                    found[i].status = search_key(&self.work, memory, &initial, False)
                    found[i].op, found[i].event = self.work.op, self.work.event
                    found[i].explored, found[i].peak = self.work.explored, self.work.peak
                    if found[i].status == INTERRUPTED or found[i].status == MODEL_RAISED:
                        break
            if n and found[i].status == INTERRUPTED:
                pass_on()
            if n and found[i].status == MODEL_RAISED:
                raise_from_model(self.user)
            return [(found[i].status, found[i].op, found[i].event, found[i].explored,
                     found[i].peak) for i in range(n)]
        finally:
            free(found)

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
        if status == MODEL_RAISED:
            raise_from_model(self.user)
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
            if self.work.problem.steps.family != VALUE:
                found.append(self._state(state))
                continue
            path = []
            while state > 0:
                path.append(self.work.problem.states.nodes[state].symbol)
                state = self.work.problem.states.nodes[state].parent
            found.append(tuple(reversed(path)))
        return found

    cdef object _state(self, int32_t state):
        cdef Vectors* s = &self.work.problem.steps.states
        cdef Vector* v
        cdef int32_t i
        if self.user is not None:
            return (self.user.value(state),)
        v = &s.vectors[state]
        return tuple([s.numbers[v.start + <size_t>i] for i in range(v.length)])
