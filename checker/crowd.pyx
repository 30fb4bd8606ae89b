"""Simulated clients of a perfect object: the events of a history whose verdict is known.

Each client calls, its operation takes effect at one moment, it returns; at each step one client,
drawn by chance, goes on. So the history is linearizable by construction: the moments are the
order. An operation that is left pending takes effect at that moment, at a later one, or never.

A violation is a script: a few operations that one client does one after the other among the
rest, with answers that no order explains. Their values are used by nobody else.

Who asks for a mutex waits until it is free; who asks for a lease that another has is refused.
Nobody gives a mutex back for a client that crashed, so a crashed acquire never gets one.
"""
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy

NAMES = ("read", "write", "cas", "enqueue", "dequeue", "push", "pop", "insert", "poll", "add",
         "contains", "remove", "acquire", "release", "renew")

cdef enum Operation:
    READ, WRITE, CAS, ENQUEUE, DEQUEUE, PUSH, POP, INSERT, POLL, ADD    # as in NAMES
    CONTAINS, REMOVE, ACQUIRE, RELEASE, RENEW

cdef enum Phase:
    IDLE, CALLED, EFFECTIVE

cdef enum Event:
    INVOKE, OK, FAIL, INFO

cdef enum:
    MOST_STEPS = 8          # of a script
    LONGEST = 28            # bytes at most of [a, b, seen] in msgpack

cdef int64_t NIL = -(<int64_t>1 << 62) - 1

cdef struct Call:
    int8_t f
    int32_t key
    int64_t a, b, seen
    bint holds              # whether a CAS found what it expected, or who asks has the lock now

cdef struct Client:
    Call call
    int32_t process
    int8_t phase
    bint pending            # nobody will know how it ended
    bint has_lock
    bint scripted


cdef inline uint64_t draw(uint64_t* state) noexcept nogil:
    """splitmix64 (Steele, Lea, Flood 2014)."""
    cdef uint64_t z
    state[0] += <uint64_t>0x9E3779B97F4A7C15
    z = state[0]
    z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
    return z ^ (z >> 31)


cdef inline uint8_t* put_integer(uint8_t* at, int64_t value) noexcept nogil:
    """Write an integer, or nil, as msgpack."""
    cdef int i
    if value == NIL:
        at[0] = 0xc0
        return at + 1
    at[0] = 0xd3
    for i in range(8):
        at[1 + i] = <uint8_t>(<uint64_t>value >> (56 - 8 * i))
    return at + 9


cdef class Crowd:
    """Clients and the objects that they use; ``fill`` makes the next events.

    mix: of 2^32, how many operations observe, and how many of the rest are a CAS. script: steps
    (f, a, b, answer) of the violation; numbers in it stand for values of its own. keys: of a set
    its elements. unordered: who takes from a queue gets any element. lease: how long one lasts, in
    ms and in events.
    """

    cdef Client* clients
    cdef int64_t* state             # of each key, when they are registers
    cdef int64_t* items             # of the queue or stack, a ring; of a priority queue, a heap
    cdef int64_t room, first, count
    cdef Call* late                 # pending calls that take effect at some later moment
    cdef Call[MOST_STEPS] script
    cdef readonly int64_t started
    cdef int64_t operations, pending, lates, values, fresh, busy, script_at
    cdef uint64_t observe, compare
    cdef int32_t n, keys, next_process, villain
    cdef int steps, step
    cdef int8_t observation, change
    cdef bint is_set, is_lock, is_lease, unordered
    cdef int64_t lease_ms, lease_events, events, expires
    cdef uint64_t seed

    def __cinit__(self, *, str observation, str change, int64_t operations, int32_t clients,
                  int32_t keys, int64_t pending, double observe, double compare, int64_t values,
                  uint64_t seed, list script, int64_t script_at, bint unordered=False,
                  tuple lease=(0, 0)):
        cdef int32_t i
        self.n, self.keys, self.operations, self.pending = clients, keys, operations, pending
        self.observe = <uint64_t>(observe * (<uint64_t>1 << 32))
        self.compare = <uint64_t>(compare * (<uint64_t>1 << 32))
        self.observation = NAMES.index(observation)
        self.change = NAMES.index(change)
        self.values, self.seed, self.script_at = values, seed, script_at
        self.is_set, self.is_lock = self.observation == CONTAINS, self.change == ACQUIRE
        self.is_lease, self.unordered = self.observation == RENEW, unordered
        self.lease_ms, self.lease_events = lease
        self.next_process, self.villain, self.room = clients, -1, 1024
        self.clients = <Client*>calloc(clients, sizeof(Client))
        self.state = <int64_t*>malloc(keys * sizeof(int64_t))
        self.items = <int64_t*>malloc(self.room * sizeof(int64_t))
        self.late = <Call*>calloc(pending + 1, sizeof(Call))
        if not (self.clients and self.state and self.items and self.late):
            raise MemoryError
        for i in range(clients):
            self.clients[i].process = i
        for i in range(keys):
            self.state[i] = 0 if self.change == ADD else NIL    # what is not in, what was counted
        self._take(script)

    def __dealloc__(self):
        free(self.clients)
        free(self.state)
        free(self.items)
        free(self.late)

    cdef int _take(self, list script) except -1:
        """Number the script's values: above all that are drawn, or the first that are fresh."""
        cdef int64_t base = self.values
        cdef Call* call
        if len(script) > MOST_STEPS:
            raise ValueError("a script is longer than that")
        for f, a, b, seen in script:
            call = &self.script[self.steps]
            call.f = NAMES.index(f)
            call.a = NIL if a is None else base + <int64_t>a
            if self.is_lease and call.f != RELEASE:
                call.a = self.lease_ms
            call.b = NIL if b is None else base + <int64_t>b
            call.seen = (NIL if seen is None else <int64_t>seen if call.f == CONTAINS
                         else base + <int64_t>seen)
            call.holds = True
            self.steps += 1
        self.fresh = base + self.steps
        return 0

    def fill(self, int8_t[::1] types not None, int32_t[::1] processes not None,
             short[::1] fs not None, int32_t[::1] keys not None, int64_t[::1] numbers not None,
             uint8_t[::1] is_number not None, int32_t[::1] ends not None,
             uint8_t[::1] text not None):
        """Make events until the columns are full or all is done; returns how many.

        A value is a number, or lies as msgpack in ``text`` up to ``ends`` (of row + 1), or is nil.
        """
        cdef Py_ssize_t room = len(types)
        if (min(len(processes), len(fs), len(keys), len(numbers), len(is_number)) < room
                or len(ends) < room + 1 or len(text) < room * LONGEST):
            raise ValueError("columns of different lengths")
        cdef int64_t made
        if room == 0:
            return 0
        with nogil:
            made = self._fill(room, &types[0], &processes[0], &fs[0], &keys[0], &numbers[0],
                              &is_number[0], &ends[0], &text[0])
        if made < 0:
            raise MemoryError
        return made

    cdef int64_t _fill(self, int64_t room, int8_t* types, int32_t* processes, short* fs,
                       int32_t* keys, int64_t* numbers, uint8_t* is_number, int32_t* ends,
                       uint8_t* text) noexcept nogil:
        cdef int64_t row = 0
        cdef int type
        cdef int32_t process
        cdef Client* client
        cdef Call* call
        cdef uint8_t* at = text
        ends[0] = 0
        while row < room and (self.busy or self.started < self.operations):
            client = &self.clients[((draw(&self.seed) >> 32) * <uint64_t>self.n) >> 32]
            process = client.process
            if client.phase == CALLED:
                if self._must_wait(client):
                    continue
                if not self._take_effect(client):
                    return -1
                client.phase = EFFECTIVE
                continue
            if client.phase == IDLE:
                if not self._call(client):
                    continue
                type = INVOKE
            else:
                type = self._return(client)
            call = &client.call
            types[row], processes[row], fs[row], keys[row] = type, process, call.f, call.key
            is_number[row] = False
            numbers[row] = 0
            if call.f == CAS:
                at[0] = 0x93 if type == FAIL else 0x92
                at = put_integer(put_integer(at + 1, call.a), call.b)
                if type == FAIL:
                    at = put_integer(at, call.seen)
            elif call.f == CONTAINS and type == OK:
                at[0] = 0x92
                at = put_integer(at + 1, call.a)
                at[0] = 0xc3 if call.seen else 0xc2
                at += 1
            elif call.a != NIL:
                is_number[row], numbers[row] = True, call.a
            elif type == OK and call.seen != NIL:
                is_number[row], numbers[row] = True, call.seen
            row += 1
            self.events += 1
            ends[row] = <int32_t>(at - text)
        return row

    cdef bint _call(self, Client* client) noexcept nogil:
        """Let a client begin its next operation; False when it has none."""
        cdef Call* call = &client.call
        cdef int64_t left = self.operations - self.started
        cdef int32_t me = <int32_t>(client - self.clients)
        cdef uint64_t chance = draw(&self.seed) >> 32
        client.scripted = False
        client.pending = False
        if (self.step < self.steps and self.started >= self.script_at
                and (self.villain < 0 or self.villain == me)):
            if self.villain < 0:
                self.villain = me
                self.script[0].key = self._below(self.keys)
            call[0] = self.script[self.step]
            call.key = self.script[0].key
            client.scripted = True
            self.step += 1
        elif left <= self.steps - self.step:
            return False                            # the rest is the script's
        else:
            call.key = self._below(self.keys)
            call.a = call.b = call.seen = NIL
            if self.is_lock:
                self._ask_for_lock(client, left, chance)
            elif (draw(&self.seed) >> 32) * <uint64_t>left < <uint64_t>self.pending << 32:
                client.pending = True
                self.pending -= 1
                call.f, call.a = self.change, self._value()
            elif chance < self.observe:
                call.f = self.observation
            elif chance - self.observe < self.compare:
                call.f, call.a, call.b = CAS, self.state[call.key], self._value()
            else:
                call.f, call.a = self.change, self._value()
            if self.is_set:
                call.a = call.key
                if call.f == ADD and self._below(2):
                    call.f = REMOVE
        client.phase = CALLED
        self.started += 1
        self.busy += 1
        if self.lates and self._below(8) == 0:
            return self._late()
        return True

    cdef bint _take_effect(self, Client* client) noexcept nogil:
        cdef int fate
        if client.scripted:
            if client.call.f == WRITE or client.call.f == CAS:
                self.state[client.call.key] = (client.call.a if client.call.f == WRITE
                                               else client.call.b)
            elif client.call.f == ADD and not self.is_set:
                self.state[client.call.key] += client.call.a
            return True
        if self.is_lock:
            self._turn_lock(client)
            return True
        if client.pending:
            fate = self._below(4)
            if fate == 0:                           # never
                return True
            if fate == 1:
                self.late[self.lates] = client.call
                self.lates += 1
                return True
        return self._apply(&client.call)

    cdef bint _late(self) noexcept nogil:
        cdef int32_t i = self._below(<int32_t>self.lates)
        cdef Call call = self.late[i]
        self.lates -= 1
        self.late[i] = self.late[self.lates]
        return self._apply(&call)

    cdef int _return(self, Client* client) noexcept nogil:
        client.phase = IDLE
        self.busy -= 1
        if client.pending:
            client.process = self.next_process
            self.next_process += 1
            return INFO
        if client.call.f == CAS or self.is_lock:
            return OK if client.call.holds else FAIL
        return OK

    cdef bint _apply(self, Call* call) noexcept nogil:
        """The objects themselves; False without memory."""
        cdef int64_t* state = &self.state[call.key]
        if call.f == READ:
            call.seen = state[0]
        elif call.f == WRITE:
            state[0] = call.a
        elif call.f == CAS:
            call.seen = state[0]
            call.holds = state[0] == call.a
            if call.holds:
                state[0] = call.b
        elif self.is_set:
            call.seen = state[0]
            if call.f != CONTAINS:
                state[0] = call.f == ADD
        elif call.f == ADD:
            state[0] += call.a
        elif call.f == ENQUEUE or call.f == PUSH or call.f == INSERT:
            if self.count == self.room and not self._grow():
                return False
            if call.f == INSERT:
                self._rise(call.a)
                return True
            self.items[(self.first + self.count) & (self.room - 1)] = call.a
            self.count += 1
        elif self.count == 0:
            call.seen = NIL
        elif call.f == POLL:
            call.seen = self._sink()
        elif call.f == DEQUEUE:
            if self.unordered:
                self._swap(self._below(<int32_t>self.count))
            call.seen = self.items[self.first]
            self.first = (self.first + 1) & (self.room - 1)
            self.count -= 1
        else:
            self.count -= 1
            call.seen = self.items[(self.first + self.count) & (self.room - 1)]
        return True

    cdef void _swap(self, int64_t i) noexcept nogil:
        """Make the i-th of the ring the first one."""
        cdef int64_t at = (self.first + i) & (self.room - 1), value = self.items[at]
        self.items[at] = self.items[self.first]
        self.items[self.first] = value

    # --- locks ----------------------------------------------------------------------------------

    cdef void _ask_for_lock(self, Client* client, int64_t left, uint64_t chance) noexcept nogil:
        cdef Call* call = &client.call
        call.f = ACQUIRE
        if client.has_lock:
            call.f = RENEW if self.is_lease and chance < self.observe else RELEASE
        elif (draw(&self.seed) >> 32) * <uint64_t>left < <uint64_t>self.pending << 32:
            client.pending = True
            self.pending -= 1
        if self.is_lease and call.f != RELEASE:
            call.a = self.lease_ms

    cdef inline bint _is_held(self) noexcept nogil:
        return self.state[0] != NIL and (not self.is_lease or self.events < self.expires)

    cdef inline bint _must_wait(self, Client* client) noexcept nogil:
        """Whether a mutex is not free yet, and somebody may still give it back."""
        return (self.is_lock and not self.is_lease and client.call.f == ACQUIRE
                and not client.scripted and not client.pending and self._is_held()
                and self.operations - self.started > self.steps - self.step)

    cdef void _turn_lock(self, Client* client) noexcept nogil:
        cdef Call* call = &client.call
        cdef int64_t me = client.process
        if call.f == ACQUIRE:
            call.holds = not self._is_held() and (self.is_lease or not client.pending)
        else:
            call.holds = self._is_held() and self.state[0] == me
        client.has_lock = call.holds and call.f != RELEASE and not client.pending
        if not call.holds:
            return
        self.state[0] = NIL if call.f == RELEASE else me
        self.expires = self.events + self.lease_events

    # --- a heap, and a ring ---------------------------------------------------------------------

    cdef void _rise(self, int64_t value) noexcept nogil:
        """Put a value into the heap; there is room."""
        cdef int64_t at = self.count
        self.count += 1
        while at and self.items[(at - 1) >> 1] < value:
            self.items[at] = self.items[(at - 1) >> 1]
            at = (at - 1) >> 1
        self.items[at] = value

    cdef int64_t _sink(self) noexcept nogil:
        """Take the largest out of the heap, which is not empty."""
        cdef int64_t largest = self.items[0], last, at = 0, child = 1
        self.count -= 1
        last = self.items[self.count]
        while child < self.count:
            if child + 1 < self.count and self.items[child + 1] > self.items[child]:
                child += 1
            if self.items[child] <= last:
                break
            self.items[at] = self.items[child]
            at, child = child, 2 * child + 1
        self.items[at] = last
        return largest

    cdef bint _grow(self) noexcept nogil:
        cdef int64_t* items = <int64_t*>realloc(self.items, 2 * self.room * sizeof(int64_t))
        if items is NULL:
            return False
        memcpy(items + self.room, items, self.first * sizeof(int64_t))     # the ring's end
        self.items = items
        self.room *= 2
        return True

    cdef inline int64_t _value(self) noexcept nogil:
        """A value to write: one that nobody wrote before, or one of a few; 1 to add."""
        if self.change == ADD:
            return 1
        if self.values:
            return <int64_t>(draw(&self.seed) % <uint64_t>self.values)
        self.fresh += 1
        if self.change == INSERT:                   # in no order, and still never twice
            return <int64_t>((draw(&self.seed) >> 34) << 32) | (self.fresh - 1)
        return self.fresh - 1

    cdef inline int32_t _below(self, int32_t end) noexcept nogil:
        return <int32_t>(((draw(&self.seed) >> 32) * <uint64_t>end) >> 32)
