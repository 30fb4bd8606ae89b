"""The online monitor of registers and compare-and-set chains: judges a history as it arrives.

It asks what zones.pyx asks. A chain's first return f is known from its first return on, and its
last invocation s only ever moves up, so there is something to find only when s moves, to the
invocation of an operation that returns now: is there a zone Y with f(Y) < s and s(Y) > f?

What may be forgotten: an operation that returns later was invoked at the oldest invocation in
flight or after it. A chain X is over when a zone Z with f(X) < s(Z) returned before that
moment, for whoever sees a value of X from now on contradicts Z; so is a value inside a chain that
was replaced before it. So memory is in proportion to the operations in flight, to the writes that
crashed unseen, and to the number of keys; not to the length.

What is remembered is in engine.pxd; zones.pxd says what happens to chains, leaving.pxd what to keys
that others judge: on which a value is written twice while it may still be there. A value that is
written again after its first time is over is a new value.

Sources: Gibbons and Korach 1997, Golab, Li and Shah 2011 (zones); the chains, and what may be
forgotten when, are ours.
"""
from libc.stdint cimport int8_t, int32_t, int64_t
from libc.stdlib cimport free
from libc.string cimport memset

cimport cython

from seatrial.checker.online.engine cimport (
    CIRCLE, FAILED_SEEN, FINE, KEPT, LEFT_TWICE, NEVER_INVOKED, NEVER_THERE, NO_MEMORY, NOBODY,
    OTHER_ENDED, REPLACED, TWICE_INVOKED, WATCHED, Call, Cluster, Engine, Flight, Found, Key, Row,
    Rows, Zone,
)
from seatrial.checker.online.leaving cimport break_, hand_on
from seatrial.checker.online.memory cimport (
    add_row, cluster_at, flight_at, give, pool_free, take, zone_at,
)
from seatrial.checker.online.young cimport young_free
from seatrial.checker.online.zones cimport (
    add_young, begin_zone, forget_cluster, is_over, key_room, move, new_cluster, retire, sweep,
)
from seatrial.checker.pairs cimport ABSENT, pairs_drop, pairs_free, pairs_get, pairs_put
from seatrial.checker.roles cimport CAS, NOT, READ, WRITE
from seatrial.checker.tokens cimport INF, NIL

import numpy as np

cdef enum:
    INVOKE = 0              # types of history.py
    OK = 1
    FAIL = 2

ROW = np.dtype([("a", "i8"), ("b", "i8"), ("inv", "i8"), ("ret", "i8"), ("row", "i8"),
                ("done", "i8"), ("process", "i4"), ("key", "i4"), ("role", "i1")], align=True)
TROUBLES = ("", "there was no such value, or not any more", "it had been replaced before",
            "another value was there both before and after it",
            "another compare-and-set had replaced the same value",
            "compare-and-sets expect each other's results",
            "somebody saw what it would have written")
NO_HISTORY = {
    TWICE_INVOKED: "invokes again before its last operation ended",
    NEVER_INVOKED: "completes an operation that it never invoked",
    OTHER_ENDED: "ends another operation, or on another key, than it invoked",
}
ANY_KEY = -1                # of a completion that names none


# --- what happens -------------------------------------------------------------------------------

cdef int count(Engine* e, int32_t key, int32_t i, int64_t now, Call* last) noexcept nogil:
    """The value of a cluster was there: so was what its writer expected, and so on.

    ``last``: the last to be invoked of all writers that are known to have happened by that.
    """
    cdef Key* k = &e.keys[key]
    cdef int32_t j = i, z
    cdef Cluster* c = cluster_at(e, i)
    while c.zone == NOBODY and c.writer.role == CAS:
        c.visited = True
        z = pairs_get(&e.values, key, c.writer.a)
        if z == ABSENT:
            return NEVER_THERE
        cluster_at(e, z).result = j
        j = z
        c = cluster_at(e, j)
        if c.visited:
            return CIRCLE
    if c.zone == NOBODY:
        z = take(&e.zones)
        if z < 0:
            return NO_MEMORY
        begin_zone(zone_at(e, z), now, &c.writer)
        c.zone = z
        if not add_young(e, k, z):
            return NO_MEMORY
    z = c.zone
    while j != i:
        c = cluster_at(e, j)
        if c.left != INF:
            return LEFT_TWICE
        c.left = now
        cluster_at(e, c.result).expected = j
        j = c.result
        c = cluster_at(e, j)
        c.visited = False
        c.zone = z
        zone_at(e, z).clusters += 1
        if c.writer.inv > last.inv:
            last[0] = c.writer
    return FINE


cdef int saw(Engine* e, int32_t key, const Call* call) noexcept nogil:
    """Somebody saw ``call.a`` and returned."""
    cdef Key* k = &e.keys[key]
    cdef int32_t i = pairs_get(&e.values, key, call.a)
    cdef Cluster* c
    cdef Call last = call[0]
    cdef Zone* z
    cdef int found
    if i == ABSENT:
        return NEVER_THERE
    c = cluster_at(e, i)
    if c.left < call.inv:
        return REPLACED
    found = count(e, key, i, call.ret, &last)
    if found != FINE:
        return found
    c = cluster_at(e, i)
    if c.first_read.ret == INF:
        c.first_read = call[0]
    if call.inv > c.last_read.inv:
        c.last_read = call[0]
    z = zone_at(e, c.zone)
    if z.f == call.ret:
        z.f_call = call[0]
    return move(e, k, c.zone, last.inv, &last)


cdef int wrote(Engine* e, int32_t key, int32_t i, const Call* call) noexcept nogil:
    """Who wrote a cluster's value returned."""
    cdef Cluster* c = cluster_at(e, i)
    cdef Zone* z
    cdef Call last = call[0]
    cdef int found
    c.writer.ret = call.ret
    found = count(e, key, i, call.ret, &last)
    if found != FINE:
        return found
    c = cluster_at(e, i)
    z = zone_at(e, c.zone)
    if z.f == call.ret:
        z.f_call = call[0]
    return move(e, &e.keys[key], c.zone, last.inv, &last)


cdef int failed(Engine* e, int32_t key, int32_t i) noexcept nogil:
    """A write did not happen after all."""
    if cluster_at(e, i).zone != NOBODY:
        return FAILED_SEEN
    forget_cluster(e, key, i)
    return FINE


cdef inline bint writes(const Call* call) noexcept nogil:
    return call.role == WRITE or (call.role == CAS and call.a != call.b)


cdef int invoked(Engine* e, int32_t key, Call* call) noexcept nogil:
    cdef Key* k = &e.keys[key]
    cdef int32_t i, j
    cdef Flight* flight
    cdef int64_t value = call.b if call.role == CAS else call.a
    if pairs_get(&e.processes, call.process, 0) != ABSENT:
        return TWICE_INVOKED
    i = take(&e.flights)
    if i < 0 or not pairs_put(&e.processes, call.process, 0, i):
        return NO_MEMORY
    flight = flight_at(e, i)
    flight.call, flight.key, flight.cluster = call[0], key, NOBODY
    flight.before, flight.after = k.last, NOBODY
    if k.last != NOBODY:
        flight_at(e, k.last).after = i
    else:
        k.first = i
    k.last = i
    e.operations += 1
    if k.status != WATCHED:
        return FINE
    if call.role > CAS:
        return hand_on(e, key)
    if not writes(call):
        return FINE
    j = pairs_get(&e.values, key, value)
    if j != ABSENT:
        retire(e, k)
        if not is_over(e, k, cluster_at(e, j)):
            return hand_on(e, key)
        forget_cluster(e, key, j)
    flight.cluster = new_cluster(e, key, value, call)
    return NO_MEMORY if flight.cluster < 0 else FINE


cdef void land(Engine* e, int32_t i) noexcept nogil:
    """An operation is no longer in flight."""
    cdef Flight* flight = flight_at(e, i)
    cdef Key* k = &e.keys[flight.key]
    if flight.before != NOBODY:
        flight_at(e, flight.before).after = flight.after
    else:
        k.first = flight.after
    if flight.after != NOBODY:
        flight_at(e, flight.after).before = flight.before
    else:
        k.last = flight.before
    pairs_drop(&e.processes, flight.call.process, 0)
    give(&e.flights, i)


cdef int completed(Engine* e, int32_t process, int type_, int8_t role, int32_t on, int64_t a,
                   int64_t b, int64_t now) noexcept nogil:
    """An operation ended; a: what it saw, b: whether a compare-and-set that failed says so."""
    cdef int32_t i = pairs_get(&e.processes, process, 0)
    cdef int32_t key, cluster
    cdef int found = FINE
    cdef Call call
    cdef Key* k
    if i == ABSENT:
        return NEVER_INVOKED
    call = flight_at(e, i).call
    key, cluster = flight_at(e, i).key, flight_at(e, i).cluster
    k = &e.keys[key]
    if role != call.role or (on >= 0 and on != key):
        return OTHER_ENDED
    if k.status == WATCHED and type_ == FAIL and call.role == CAS and not b and e.observes:
        found = hand_on(e, key)
    if k.status == WATCHED:
        if type_ == OK or (type_ == FAIL and call.role == CAS and b):
            call.ret = now
        if type_ == FAIL and cluster != NOBODY:
            found = failed(e, key, cluster)
        if found == FINE and call.ret == now:
            if type_ == OK and writes(&call):
                found = wrote(e, key, cluster, &call)
            else:
                if type_ == FAIL or call.role == READ:
                    call.a = a
                call.b, call.role = NIL, READ
                found = saw(e, key, &call)
        if found > FINE and found < NO_MEMORY:
            found = NO_MEMORY if not break_(e, key, found, now, &call) else FINE
        elif k.n_clusters > k.sweep_at and found == FINE:
            land(e, i)
            sweep(e, key)
            return FINE
    elif k.status == KEPT and not keep(e, key, &call, type_, a, b, now):
        found = NO_MEMORY
    land(e, i)
    return found


cdef bint keep(Engine* e, int32_t key, Call* call, int type_, int64_t a, int64_t b,
               int64_t now) noexcept nogil:
    """Hand an operation on, as operations.py would have it; False when there is no memory."""
    if type_ == OK:
        call.ret = now
        if call.role == READ:
            call.a = a
    elif type_ == FAIL:
        if call.role != CAS or not (b or e.observes):
            return True
        call.ret, call.role = now, NOT
        if b:
            call.a, call.role = a, READ
        call.b = NIL
    elif call.role == READ:
        return True
    return add_row(&e.kept, key, call)


# --- for Python ---------------------------------------------------------------------------------

cdef class Registers:
    """The monitor while a history goes by. Events of processes below 0 are passed over.

    event and wrong: after ``feed`` raised ValueError, which event it was and what is wrong.
    """

    cdef Engine e
    cdef readonly int64_t events
    cdef readonly int64_t event
    cdef readonly int wrong

    def __cinit__(self, int64_t initial, *, bint observes=False):
        memset(&self.e, 0, sizeof(Engine))
        self.e.initial, self.e.observes = initial, observes
        self.e.flights.size = sizeof(Flight)
        self.e.clusters.size = sizeof(Cluster)
        self.e.zones.size = sizeof(Zone)

    def __dealloc__(self):
        cdef int32_t i
        for i in range(self.e.n_keys):
            young_free(&self.e.keys[i].young)
        pool_free(&self.e.flights)
        pool_free(&self.e.clusters)
        pool_free(&self.e.zones)
        pairs_free(&self.e.processes)
        pairs_free(&self.e.values)
        free(self.e.keys)
        free(self.e.kept.rows)
        free(self.e.evidence.rows)
        free(self.e.found)

    @property
    def operations(self):
        """How many were invoked."""
        return self.e.operations

    @property
    def n_keys(self):
        """Keys up to now."""
        return self.e.n_keys

    @property
    def remembered(self):
        """Values, zones and operations that are in memory: what its size goes by."""
        cdef Engine* e = &self.e
        return ((e.clusters.n - e.clusters.n_free) + (e.zones.n - e.zones.n_free)
                + (e.flights.n - e.flights.n_free))

    @cython.boundscheck(False)
    @cython.wraparound(False)
    def feed(self, const int32_t[::1] process, const int8_t[::1] type_, const int8_t[::1] role,
             const int32_t[::1] key, const int64_t[::1] a, const int64_t[::1] b, *,
             bint stop=False):
        """Take events; returns how many. ``stop``: not those after the first violation.

        What was asked (a, b) is that of invocations; of a completion a is what it saw, and b
        whether a compare-and-set that failed says what it saw; its key is ANY_KEY where it names
        none. The GIL is released.
        """
        cdef Py_ssize_t i = 0, n = process.shape[0]
        cdef int found = FINE
        cdef size_t before = self.e.n_found
        cdef int32_t most = -1
        if not (type_.shape[0] == role.shape[0] == key.shape[0] == a.shape[0] == b.shape[0] == n):
            raise ValueError("events: columns of different lengths")
        with nogil:
            for i in range(n):
                most = max(most, key[i])
            if not key_room(&self.e, most + 1):
                found = NO_MEMORY
            i = 0
            while i < n and found == FINE and not (stop and self.e.n_found > before):
                if process[i] >= 0:
                    found = self._event(process[i], type_[i], role[i], key[i], a[i], b[i],
                                        self.events + i)
                i += 1
        self.event = self.events + i - 1
        self.events += i
        self.wrong = found
        if found == NO_MEMORY:
            raise MemoryError(f"no memory for {self.remembered} values and operations")
        if found != FINE:
            raise ValueError(NO_HISTORY[found])
        return i

    cdef int _event(self, int32_t process, int type_, int8_t role, int32_t key, int64_t a,
                    int64_t b, int64_t now) noexcept nogil:
        cdef Call call
        if type_ != INVOKE:
            return completed(&self.e, process, type_, role, key, a, b, now)
        call.a, call.b, call.inv, call.ret = a, b, now, INF
        call.process, call.role = process, role
        return invoked(&self.e, key, &call)

    def take_kept(self):
        """Return the operations that were handed on since the last time."""
        rows = _rows(&self.e.kept, 0, self.e.kept.n)
        self.e.kept.n = 0
        return rows

    def pending(self):
        """Return the operations in flight of keys that are handed on: they may have happened."""
        cdef Rows found
        cdef int32_t key, i
        cdef Call* call
        memset(&found, 0, sizeof(Rows))
        for key in range(self.e.n_keys):
            if self.e.keys[key].status != KEPT:
                continue
            i = self.e.keys[key].first
            while i != NOBODY:
                call = &flight_at(&self.e, i).call
                if call.role != READ and not add_row(&found, key, call):
                    raise MemoryError("no memory for the operations in flight")
                i = flight_at(&self.e, i).after
        rows = _rows(&found, 0, found.n)
        free(found.rows)
        return rows

    def quiet(self, int32_t key):
        """Return whether nothing is in flight on a key."""
        return self.e.keys[key].first == NOBODY

    def found(self, size_t first=0):
        """Return the violations from a number on: key, event, what is wrong, and the operations
        that show it, the last of them the one that can't be placed."""
        cdef size_t i
        cdef Found* f
        violations = []
        for i in range(first, self.e.n_found):
            f = &self.e.found[i]
            violations.append((f.key, f.event, TROUBLES[f.trouble],
                               _rows(&self.e.evidence, f.first_row, f.end_row)))
        return violations

    def statuses(self):
        """Return how many keys are judged here, handed on, and broken."""
        cdef int32_t i
        counts = [0, 0, 0]
        for i in range(self.e.n_keys):
            counts[self.e.keys[i].status] += 1
        return tuple(counts)

    def values_alive(self):
        """Return the values that are remembered."""
        cdef size_t i
        cdef Engine* e = &self.e
        cdef int32_t key, at
        alive = []
        for i in range(e.values.room):
            if e.values.cells[i].used:
                alive.append(e.values.cells[i].b)
                alive.append(cluster_at(e, e.values.cells[i].value).writer.a)
        for key in range(e.n_keys):
            at = e.keys[key].first
            while at != NOBODY:
                alive.append(flight_at(e, at).call.a)
                alive.append(flight_at(e, at).call.b)
                at = flight_at(e, at).after
        return alive


cdef object _rows(const Rows* rows, size_t first, size_t end):
    if end <= first:
        return np.zeros(0, dtype=ROW)
    data = (<const char*>(rows.rows + first))[:(end - first) * sizeof(Row)]
    return np.frombuffer(data, dtype=ROW).copy()
