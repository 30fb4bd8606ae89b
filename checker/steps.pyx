"""Models by their step function: what may follow a state when an operation takes effect.

States are interned (vectors.pxd), so the search only handles their numbers, and a step that was
taken once is looked up the next time (Lowe, CCPE 2017; knossos calls it the memoised model).

=========== ==============================================================================
family      a state is
=========== ==============================================================================
FIFO        the elements, the oldest first
STACK       the elements, the last one in at the end
PRIORITY    the elements, sorted; the largest is taken first
BAG, SET    the elements, sorted
MUTEX       empty, or who holds it
LEASE       nothing; since when it is free; or who has it, the earliest and the latest moment
            since which, and for how long
COUNTER     one number
USER        a Python object that ``step`` of a user's model returned
=========== ==============================================================================

An operation may have several outcomes (a crashed ``dequeue`` from a bag takes any element);
``choice`` counts them, and the one after the last is refused.
"""
from libc.stdint cimport int8_t, int32_t, int64_t
from libc.stdlib cimport free, qsort, realloc
from libc.string cimport memcpy, memset

from seatrial.checker.pairs cimport (
    ABSENT, Cell, pairs_clear, pairs_free, pairs_get, pairs_put,
)
from seatrial.checker.roles cimport (
    ACQUIRE, ADD, ALL, COUNT, HAS, LACKS, PEEK, RELEASE, REMOVE, TAKE,
)
from seatrial.checker.steps cimport (
    BAG, COUNTER, FIFO, LEASE, NO_MEMORY, PRIORITY, RAISED, REFUSED, SET, STACK, USER,
    Operation, Steps, UserSteps,
)
from seatrial.checker.tokens cimport ANY, NIL
from seatrial.checker.vectors cimport (
    Vector, Vectors, vectors_bytes, vectors_clear, vectors_free, vectors_intern,
)

from .models import UNKNOWN, OneOf


cdef void steps_free(Steps* s) noexcept nogil:
    free(s.operations)
    free(s.scratch)
    pairs_free(&s.numbers)
    pairs_free(&s.known)
    vectors_free(&s.states)
    memset(s, 0, sizeof(Steps))


cdef bint steps_begin(Steps* s, size_t bytes) noexcept nogil:
    """Forget the last key."""
    s.n = 0
    s.limit = bytes
    s.states.limit = bytes // 2
    pairs_clear(&s.numbers)
    pairs_clear(&s.known)
    vectors_clear(&s.states)
    if s.family == USER:
        with gil:
            (<UserSteps>s.user).begin()
    return room_for(s, 64)


cdef bint room_for(Steps* s, size_t numbers) noexcept nogil:
    cdef void* moved
    if numbers > s.room:
        moved = realloc(s.scratch, 2 * numbers * 8)
        if moved is NULL:
            return False
        s.scratch = <int64_t*>moved
        s.room = 2 * numbers
    return True


cdef int32_t steps_start(Steps* s, int64_t initial) noexcept nogil:
    """The state at the start: empty, free, a counter's number, a user's ``init``."""
    cdef int64_t count = 0 if initial == NIL else initial
    if s.family == USER:
        with gil:
            return (<UserSteps>s.user).start()
    return vectors_intern(&s.states, &count, s.family == COUNTER)


cdef int ascending(const void* x, const void* y) noexcept nogil:
    cdef int64_t a = (<const int64_t*>x)[0], b = (<const int64_t*>y)[0]
    return (a > b) - (a < b)


cdef int64_t whole_set(Steps* s, const int64_t* path, int64_t length) noexcept nogil:
    """The state that holds exactly these elements."""
    cdef int32_t i, n = 0
    if not room_for(s, <size_t>length + 1):
        return NO_MEMORY
    if length:
        memcpy(s.scratch, path, <size_t>length * 8)
    qsort(s.scratch, <size_t>length, 8, ascending)
    for i in range(<int32_t>length):
        if n == 0 or s.scratch[i] != s.scratch[n - 1]:
            s.scratch[n] = s.scratch[i]
            n += 1
    return vectors_intern(&s.states, s.scratch, n)


cdef int32_t steps_number(Steps* s, int8_t kind, int64_t a, const int64_t* path,
                          int64_t length) noexcept nogil:
    """The number of an operation, the same for equal ones; NO_MEMORY."""
    cdef int32_t i = pairs_get(&s.numbers, kind, a)
    cdef void* moved
    if i >= 0:
        return i
    if s.n >= s.capacity:
        moved = realloc(s.operations, (2 * <size_t>s.capacity + 64) * sizeof(Operation))
        if moved is NULL:
            return NO_MEMORY
        s.operations = <Operation*>moved
        s.capacity = 2 * s.capacity + 64
    if not pairs_put(&s.numbers, kind, a, s.n):
        return NO_MEMORY
    if kind == ALL:
        a = whole_set(s, path, length)
        if a < 0:
            return NO_MEMORY
    s.operations[s.n].kind = kind
    s.operations[s.n].a = a
    s.operations[s.n].told = path
    s.n += 1
    return s.n - 1


cdef bint steps_only_look(const Steps* s, int32_t operation) noexcept nogil:
    """Whether an operation never changes a state."""
    cdef int8_t kind = s.operations[operation].kind
    if s.family == USER:
        with gil:
            return (<UserSteps>s.user).only_looks(s.operations[operation].a)
    return (kind == PEEK or kind == HAS or kind == LACKS or kind == ALL or kind == COUNT
            or (kind == TAKE and s.operations[operation].a == NIL))


# --- what each family does: the new state goes to ``scratch``, its length is returned -----------

cdef int32_t place_in(const int64_t* v, int32_t n, int64_t x) noexcept nogil:
    """Where x is, or belongs, in a sorted vector."""
    cdef int32_t low = 0, high = n, middle
    while low < high:
        middle = (low + high) >> 1
        if v[middle] < x:
            low = middle + 1
        else:
            high = middle
    return low


cdef int32_t with_element(int64_t* out, const int64_t* v, int32_t n, int32_t at,
                          int64_t x) noexcept nogil:
    memcpy(out, v, <size_t>at * 8)
    out[at] = x
    memcpy(out + at + 1, v + at, <size_t>(n - at) * 8)
    return n + 1


cdef int32_t without(int64_t* out, const int64_t* v, int32_t n, int32_t at) noexcept nogil:
    memcpy(out, v, <size_t>at * 8)
    memcpy(out + at, v + at + 1, <size_t>(n - at - 1) * 8)
    return n - 1


cdef int32_t same(int64_t* out, const int64_t* v, int32_t n, bint fits) noexcept nogil:
    if not fits:
        return REFUSED
    memcpy(out, v, <size_t>n * 8)
    return n


cdef int32_t step_line(int family, int8_t kind, int64_t a, const int64_t* v, int32_t n,
                       int64_t* out) noexcept nogil:
    """FIFO, STACK, PRIORITY: one end is the next to be taken."""
    cdef int32_t next_ = 0 if family == FIFO else n - 1
    if kind == ADD:
        return with_element(out, v, n, place_in(v, n, a) if family == PRIORITY else n, a)
    if a == NIL:
        return same(out, v, n, n == 0)
    if n == 0 or (a != ANY and v[next_] != a):
        return REFUSED
    return same(out, v, n, True) if kind == PEEK else without(out, v, n, next_)


cdef int32_t step_bag(int8_t kind, int64_t a, const int64_t* v, int32_t n, int choice,
                      int64_t* out) noexcept nogil:
    cdef int32_t at = place_in(v, n, a)
    if kind == ADD:
        return with_element(out, v, n, at, a)
    if a == NIL:
        return same(out, v, n, n == 0)
    if a == ANY:
        return without(out, v, n, choice) if choice < n else REFUSED
    if at == n or v[at] != a:
        return REFUSED
    return same(out, v, n, True) if kind == PEEK else without(out, v, n, at)


cdef int32_t step_set(int8_t kind, int64_t a, const int64_t* v, int32_t n,
                      int64_t* out) noexcept nogil:
    cdef int32_t at = place_in(v, n, a)
    cdef bint inside = at < n and v[at] == a
    if kind == ADD:
        return same(out, v, n, True) if inside else with_element(out, v, n, at, a)
    if kind == REMOVE:
        return without(out, v, n, at) if inside else same(out, v, n, True)
    return same(out, v, n, inside == (kind == HAS))


cdef int32_t step_lock(int8_t kind, int64_t a, const int64_t* v, int32_t n,
                       int64_t* out) noexcept nogil:
    if kind == ACQUIRE:
        return with_element(out, v, n, 0, a) if n == 0 else REFUSED
    return 0 if n and v[0] == a else REFUSED


cdef int32_t step_lease(int8_t kind, const int64_t* told, const int64_t* v, int32_t n,
                        int64_t* out) noexcept nogil:
    """What is known of the moment of an operation follows from the one before it."""
    cdef int64_t soonest = told[2], latest = told[3]
    if kind == ACQUIRE:
        if n:
            soonest = max(soonest, v[0] if n == 1 else v[1] + v[3])
    elif n < 4 or v[0] != told[0]:
        return REFUSED
    else:
        soonest, latest = max(soonest, v[1]), min(latest, v[2] + v[3])
    if soonest > latest:
        return REFUSED
    if kind == RELEASE:
        out[0] = soonest
        return 1
    out[0], out[1], out[2], out[3] = told[0], soonest, latest, told[1]
    return 4


cdef int32_t step_counter(int8_t kind, int64_t a, const int64_t* v, int64_t* out) noexcept nogil:
    if kind == COUNT:
        return same(out, v, 1, v[0] == a)
    out[0] = v[0] + a
    return 1


cdef int32_t steps_take(Steps* s, int32_t state, int32_t operation, int choice) noexcept nogil:
    """The state after an operation (its ``choice``-th outcome), REFUSED, NO_MEMORY or RAISED."""
    cdef int64_t a = s.operations[operation].a
    cdef int8_t kind = s.operations[operation].kind
    cdef int32_t n
    cdef const int64_t* v
    if choice and s.family != USER and not (s.family == BAG and a == ANY):
        return REFUSED
    n = pairs_get(&s.known, state, operation) if choice == 0 else ABSENT
    if n != ABSENT:
        return n
    if s.family == USER:
        with gil:
            n = (<UserSteps>s.user).take(state, a, choice)
    elif s.family == SET and kind == ALL:
        n = state if state == a else REFUSED
    else:
        n = s.states.vectors[state].length
        if not room_for(s, <size_t>n + 1):
            return NO_MEMORY
        v = s.states.numbers + s.states.vectors[state].start
        if s.family == BAG:
            n = step_bag(kind, a, v, n, choice, s.scratch)
        elif s.family == SET:
            n = step_set(kind, a, v, n, s.scratch)
        elif s.family == LEASE:
            n = step_lease(kind, s.operations[operation].told, v, n, s.scratch)
        elif s.family == COUNTER:
            n = step_counter(kind, a, v, s.scratch)
        elif s.family == FIFO or s.family == STACK or s.family == PRIORITY:
            n = step_line(s.family, kind, a, v, n, s.scratch)
        else:
            n = step_lock(kind, a, v, n, s.scratch)
        if n >= 0:
            n = vectors_intern(&s.states, s.scratch, n)
            if n < 0:
                return NO_MEMORY
    if choice == 0 and n != RAISED:
        if s.known.n * 2 * sizeof(Cell) > s.limit // 2:
            pairs_clear(&s.known)                   # only a memory of steps: it may forget
        if not pairs_put(&s.known, state, operation, n):
            return NO_MEMORY
    return n


# --- forgetting states that can't come back by themselves ---------------------------------------

cdef bint steps_full(const Steps* s) noexcept nogil:
    """Whether it is time to keep only the states that are needed."""
    if s.family == USER:
        with gil:
            return <size_t>len((<UserSteps>s.user).states) * 512 > s.limit // 4
    return vectors_bytes(&s.states) > s.states.limit // 2


cdef bint steps_keep(Steps* s, int32_t* states, Py_ssize_t n) noexcept nogil:
    """Keep these states only, and say their new numbers; False when there is no memory."""
    cdef Vectors old = s.states
    cdef Vector* v
    cdef Py_ssize_t i
    pairs_clear(&s.known)
    if s.family == USER:
        with gil:
            (<UserSteps>s.user).keep(states, n)
        return True
    memset(&s.states, 0, sizeof(Vectors))
    s.states.limit = old.limit
    for i in range(n + s.n):
        if i >= n and s.operations[i - n].kind != ALL:
            continue
        v = &old.vectors[states[i] if i < n else <int32_t>s.operations[i - n].a]
        if i < n:
            states[i] = vectors_intern(&s.states, old.numbers + v.start, v.length)
            if states[i] < 0:
                break
        else:
            s.operations[i - n].a = vectors_intern(&s.states, old.numbers + v.start, v.length)
            if s.operations[i - n].a < 0:
                break
    else:
        vectors_free(&old)
        return True
    vectors_free(&old)
    return False


cdef class UserSteps:
    """A user's model behind the same interface. What it raises is kept in ``error``."""

    def __cinit__(self, model, objects):
        self.model = model
        self.observers = frozenset(getattr(model, "observers", ()))
        self.objects = objects
        self.begin()

    cdef void begin(self) noexcept:
        self.states, self.numbers, self.choices, self.error = [], {}, {}, None

    def _number(self, state):
        if state not in self.numbers:
            self.numbers[state] = len(self.states)
            self.states.append(state)
        return self.numbers[state]

    cdef int32_t start(self) noexcept:
        try:
            return self._number(self.model.initial)
        except BaseException as error:
            self.error = error
            return RAISED

    cdef bint only_looks(self, int64_t token) noexcept:
        return self.objects(token)[0] in self.observers

    cdef int32_t take(self, int32_t state, int64_t token, int choice) noexcept:
        try:
            if choice:
                several = self.choices.get((state, token), ())
                return several[choice] if choice < len(several) else REFUSED
            f, value, *output = self.objects(token)
            after = self.model.step(self.states[state], f, value, output[0] if output else UNKNOWN)
            if isinstance(after, OneOf):
                several = self.choices[state, token] = [self._number(one) for one in after]
                return several[0] if several else REFUSED
            return REFUSED if after is None else self._number(after)
        except BaseException as error:
            self.error = error
            return RAISED

    cdef void keep(self, int32_t* states, Py_ssize_t n) noexcept:
        cdef Py_ssize_t i
        old, self.states, self.numbers, self.choices = self.states, [], {}, {}
        for i in range(n):
            states[i] = self._number(old[states[i]])

    cdef object value(self, int32_t state):
        return self.states[state]
