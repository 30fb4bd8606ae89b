"""What all monitors share: operations by key, the loop over keys, and its threads.

Keys are independent, so several threads may judge, each with a monitor of its own and a stretch of
the keys that holds as many operations as any other's. What they find does not depend on how many
they are. The GIL is released.
"""
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memset

from seatrial.checker.findings cimport CONTRADICTION, NO_MEMORY, UNDECIDED, guilty_free
from seatrial.checker.grouping cimport group_by_key
from seatrial.checker.keyed cimport Free, Judge, Watch

import threading

import numpy as np

MOST_POSITIONS = 0xFFFFFFF0     # sorted cells have 32 bits for one


cdef class Keys:
    """Operations, grouped by key."""

    cdef Watch columns
    cdef int32_t* order
    cdef int64_t* starts
    cdef int64_t n, n_keys
    cdef const uint8_t[::1] modes
    cdef tuple held                     # the arrays that pointers point into

    def __cinit__(self, operations, int64_t initial):
        cdef const int8_t[::1] kind = operations.kind, shape = operations.shape
        cdef const int32_t[::1] key = operations.key
        cdef const int64_t[::1] a = operations.a, b = operations.b
        cdef const int64_t[::1] inv = operations.inv, ret = operations.ret
        cdef const int64_t[::1] path_start = operations.path_start, symbols = operations.symbols
        cdef bint grouped = True
        self.n, self.n_keys, self.modes = kind.shape[0], len(operations.keys), operations.modes
        if not (len(key) == len(a) == len(b) == len(inv) == len(ret) == self.n):
            raise ValueError("operations: columns of different lengths")
        self.held = (kind, key, a, b, inv, ret, shape, path_start, symbols)
        memset(&self.columns, 0, sizeof(Watch))
        self.columns.initial, self.columns.family = initial, operations.family
        self.order = <int32_t*>malloc(<size_t>self.n * sizeof(int32_t) + 4)
        self.starts = <int64_t*>calloc(<size_t>self.n_keys + 2, sizeof(int64_t))
        if self.order is NULL or self.starts is NULL:
            raise MemoryError(f"no memory for {self.n} operations")
        self.columns.path_start = &path_start[0]
        if shape.shape[0]:
            self.columns.shape = &shape[0]
        if symbols.shape[0]:
            self.columns.symbols = &symbols[0]
        if self.n:
            self.columns.kind, self.columns.a, self.columns.b = &kind[0], &a[0], &b[0]
            self.columns.inv, self.columns.ret = &inv[0], &ret[0]
            with nogil:
                grouped = group_by_key(&key[0], self.n, self.n_keys, self.starts, self.order)
        if not grouped:
            raise ValueError("operations: a key out of range")

    def __dealloc__(self):
        free(self.order)
        free(self.starts)

    cdef int64_t size(self, int64_t key) noexcept nogil:
        return self.starts[key + 1] - self.starts[key]


cdef class Part:
    """A stretch of the keys: what one thread judges."""

    cdef Keys keys
    cdef const int64_t[::1] chosen
    cdef int8_t[::1] verdicts
    cdef Watch* monitor
    cdef Judge judge
    cdef Free free_
    cdef int64_t first, end
    cdef int32_t* guilty                # of all keys that are not linearizable, and for each
    cdef int64_t n_guilty, room         # of them how many, before them
    cdef bint starved

    def __dealloc__(self):              # not before its thread is done with it
        if self.monitor is not NULL:
            self.free_(self.monitor)
            guilty_free(&self.monitor.guilty)
            free(self.monitor)
        free(self.guilty)

    def __call__(self):
        """Judge the keys from first to end."""
        with nogil:
            self._run()

    cdef void _run(self) noexcept nogil:
        cdef int64_t i, key
        cdef Watch* m = self.monitor
        for i in range(self.first, self.end):
            key = self.chosen[i]
            m.ops = self.keys.order + self.keys.starts[key]
            m.n = self.keys.size(key)
            m.mode = self.keys.modes[key]
            m.guilty.n = 0
            self.verdicts[i] = <int8_t>self.judge(m)
            if self.verdicts[i] == NO_MEMORY or (
                    self.verdicts[i] == CONTRADICTION and not self._note(m)):
                self.starved = True
                return

    cdef bint _note(self, const Watch* m) noexcept nogil:
        cdef int32_t i
        cdef void* moved
        if self.n_guilty + m.guilty.n + 1 > self.room:
            self.room = 2 * self.room + m.guilty.n + 64
            moved = realloc(self.guilty, <size_t>self.room * sizeof(int32_t))
            if moved is NULL:
                return False
            self.guilty = <int32_t*>moved
        self.guilty[self.n_guilty] = m.guilty.n
        for i in range(m.guilty.n):
            self.guilty[self.n_guilty + 1 + i] = m.guilty.ops[i]
        self.n_guilty += m.guilty.n + 1
        return True

    cdef dict told(self):
        """The operations that show it, by key that is not linearizable."""
        cdef int64_t i, at = 0, n
        found = {}
        for i in range(self.first, self.end):
            if self.verdicts[i] != CONTRADICTION:
                continue
            n = self.guilty[at]
            found[int(self.chosen[i])] = sorted({self.guilty[j] for j in range(at + 1, at + 1 + n)})
            at += n + 1
        return found


cdef list bounds(Keys keys, const int64_t[::1] chosen, int jobs):
    """Where each thread's stretch of the keys begins, and where the last one ends."""
    cdef int64_t i, done = 0, total = 0
    for i in range(chosen.shape[0]):
        total += keys.size(chosen[i])
    cuts = [0]
    for i in range(chosen.shape[0]):
        if len(cuts) < jobs and done * jobs >= total * len(cuts):
            cuts.append(i)
        done += keys.size(chosen[i])
    return [*cuts, chosen.shape[0]]


cdef object judge_keys(object operations, object keys, int64_t initial, int jobs,
                       size_t monitor_size, Judge judge, Free free_):
    """An array of verdicts (findings.pxd), and for each key that is not linearizable the operations
    that show it."""
    cdef const int64_t[::1] chosen = np.ascontiguousarray(keys, dtype=np.int64)
    cdef Keys by_key
    cdef Part part
    cdef int64_t i
    verdicts = np.full(len(chosen), UNDECIDED, dtype=np.int8)
    guilty = {}
    if len(operations) == 0 or operations.positions >= MOST_POSITIONS:
        return verdicts, guilty
    by_key = Keys(operations, initial)
    for i in range(chosen.shape[0]):
        if not 0 <= chosen[i] < by_key.n_keys:
            raise IndexError(f"key {chosen[i]} of {by_key.n_keys}")
    parts = []
    cuts = bounds(by_key, chosen, max(jobs, 1))
    for first, end in zip(cuts, cuts[1:]):
        part = Part()
        part.keys, part.chosen, part.verdicts = by_key, chosen, verdicts
        part.first, part.end, part.judge, part.free_ = first, end, judge, free_
        part.monitor = <Watch*>calloc(1, monitor_size)
        if part.monitor is NULL:
            raise MemoryError("no memory for a monitor")
        part.monitor[0] = by_key.columns
        parts.append(part)
    threads = [threading.Thread(target=other, daemon=True) for other in parts[1:]]
    for thread in threads:
        thread.start()
    parts[0]()
    for thread in threads:
        thread.join()
    for part in parts:
        if part.starved:
            raise MemoryError(f"no memory for the operations of keys {part.first}-{part.end}")
        guilty |= part.told()
    return verdicts, guilty
