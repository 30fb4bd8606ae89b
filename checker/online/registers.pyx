"""The online monitor of registers and compare-and-set chains: judges a history as it arrives.

It asks what zones.pyx asks. A chain's first return f is known from its first return on, and its
last invocation s only ever moves up, so there is something to find only when s moves, to the
invocation of an operation that returns now: is there a zone Y with f(Y) < s and s(Y) > f?

What may be forgotten: an operation that returns later was invoked at the oldest invocation in
flight or after it. A chain X is over when a zone Z with f(X) < s(Z) returned before that
moment, for whoever sees a value of X from now on contradicts Z; so is a value inside a chain that
was replaced before it. So memory is in proportion to the operations in flight, to the writes that
crashed unseen, and to the number of keys; not to the length.

Zones that returned before the oldest invocation in flight (old ones) are all before whoever
returns later: of them only the largest s counts, and the largest of the others. The young ones are
in a tree (young.pxd).

A value that is written again after its first time is over is a new value. One written twice
while it may still be there makes the key one that others judge: what is remembered of it is turned
into operations, and it and all that follows on the key are handed on. Those operations explain
the same futures: whatever was forgotten lies before the largest s of a forgotten zone, and
all that is remembered returned after it.

Sources: Gibbons and Korach 1997, Golab, Li and Shah 2011 (zones); the chains, and what may be
forgotten when, are ours.
"""
from libc.stdint cimport int8_t, int32_t, int64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

cimport cython

from seatrial.checker.online.engine cimport (
    AT_START, BOTH_WAYS, BROKEN, CIRCLE, FAILED_SEEN, FINE, KEPT, LEFT_TWICE, NEVER_INVOKED,
    NEVER_THERE, NO_MEMORY, NOBODY, REPLACED, TWICE_INVOKED, WATCHED,
    Call, Cluster, Engine, Flight, Found, Key, Pool, Row, Rows, Zone,
)
from seatrial.checker.online.live cimport ABSENT, live_drop, live_free, live_get, live_put
from seatrial.checker.online.young cimport (
    young_before, young_free, young_latest, young_make_room, young_raise,
)
from seatrial.checker.tokens cimport NIL

import numpy as np

cdef enum:
    READ = 0                # roles of models.py
    NOT = 1
    WRITE = 2
    CAS = 3

cdef enum:
    INVOKE = 0              # types of history.py
    OK = 1
    FAIL = 2

cdef enum:
    SPACING = 4             # positions handed on leave room for those that are made up

cdef int64_t INF = 0x7FFFFFFFFFFFFFFF
cdef int64_t GONE = NIL + 3     # and those above it: values that nobody ever reads

ROW = np.dtype([("a", "i8"), ("b", "i8"), ("inv", "i8"), ("ret", "i8"), ("row", "i8"),
                ("done", "i8"), ("process", "i4"), ("key", "i4"), ("role", "i1")], align=True)
TROUBLES = ("", "there was no such value, or not any more", "it had been replaced before",
            "another value was there both before and after it",
            "another compare-and-set had replaced the same value",
            "compare-and-sets expect each other's results",
            "somebody saw what it would have written")


# --- memory -------------------------------------------------------------------------------------

cdef int32_t take(Pool* p) noexcept nogil:
    """The number of a free cell; NOBODY when there is no memory."""
    cdef void* moved
    if p.n_free:
        p.n_free -= 1
        return p.free[p.n_free]
    if p.n >= p.room:
        moved = realloc(p.cells, (2 * <size_t>p.room + 64) * p.size)
        if moved is NULL:
            return NOBODY
        p.cells = <char*>moved
        moved = realloc(p.free, (2 * <size_t>p.room + 64) * sizeof(int32_t))
        if moved is NULL:
            return NOBODY
        p.free = <int32_t*>moved
        p.room = 2 * p.room + 64
    p.n += 1
    return p.n - 1


cdef void pool_free(Pool* p) noexcept nogil:
    free(p.cells)
    free(p.free)


cdef inline void give(Pool* p, int32_t i) noexcept nogil:
    p.free[p.n_free] = i
    p.n_free += 1


cdef inline Cluster* cluster_at(Engine* e, int32_t i) noexcept nogil:
    return &(<Cluster*>e.clusters.cells)[i]


cdef inline Zone* zone_at(Engine* e, int32_t i) noexcept nogil:
    return &(<Zone*>e.zones.cells)[i]


cdef inline Flight* flight_at(Engine* e, int32_t i) noexcept nogil:
    return &(<Flight*>e.flights.cells)[i]


cdef bint add_row(Rows* to, int32_t key, const Call* call) noexcept nogil:
    cdef void* moved
    cdef Row* row
    if to.n >= to.room:
        moved = realloc(to.rows, (2 * to.room + 256) * sizeof(Row))
        if moved is NULL:
            return False
        to.rows = <Row*>moved
        to.room = 2 * to.room + 256
    row = &to.rows[to.n]
    memset(row, 0, sizeof(Row))
    row.a, row.b, row.process, row.key, row.role = call.a, call.b, call.process, key, call.role
    row.inv, row.row = SPACING * call.inv, call.inv
    row.ret = INF if call.ret == INF else SPACING * call.ret
    row.done = -1 if call.ret == INF else call.ret
    to.n += 1
    return True


cdef bint key_room(Engine* e, int32_t n) noexcept nogil:
    """Make keys up to n; each begins with the initial value."""
    cdef void* moved
    if n > e.key_room:
        moved = realloc(e.keys, 2 * <size_t>n * sizeof(Key))
        if moved is NULL:
            return False
        e.keys = <Key*>moved
        e.key_room = 2 * n
    while e.n_keys < n:
        if not begin_key(e, e.n_keys):
            return False
        e.n_keys += 1
    return True


cdef bint begin_key(Engine* e, int32_t key) noexcept nogil:
    cdef Key* k = &e.keys[key]
    cdef Call nobody
    cdef int32_t c, z
    memset(k, 0, sizeof(Key))
    k.first = k.last = k.clusters = NOBODY
    k.sweep_at = 16
    k.latest = k.second = -2
    k.latest_zone = NOBODY
    memset(&nobody, 0, sizeof(Call))
    nobody.a, nobody.inv, nobody.ret = e.initial, -1, -1
    nobody.process, nobody.role = AT_START, WRITE
    c = new_cluster(e, key, e.initial, &nobody)
    z = take(&e.zones)
    if c < 0 or z < 0:
        return False
    begin_zone(zone_at(e, z), -1, &nobody)
    cluster_at(e, c).zone = z
    grow_old(k, z, -1)
    return True


cdef int32_t new_cluster(Engine* e, int32_t key, int64_t value, const Call* writer) noexcept nogil:
    """The cluster of a value that is written for the first time; NOBODY without memory."""
    cdef int32_t i = take(&e.clusters)
    cdef Key* k = &e.keys[key]
    cdef Cluster* c
    if i < 0 or not live_put(&e.values, key, value, i):
        return NOBODY
    c = cluster_at(e, i)
    memset(c, 0, sizeof(Cluster))
    c.value, c.left, c.writer, c.zone = value, INF, writer[0], NOBODY
    c.first_read.ret, c.last_read.inv = INF, -2
    c.before, c.after, c.expected, c.result = NOBODY, k.clusters, NOBODY, NOBODY
    if k.clusters != NOBODY:
        cluster_at(e, k.clusters).before = i
    k.clusters = i
    k.n_clusters += 1
    return i


cdef void forget_cluster(Engine* e, int32_t key, int32_t i) noexcept nogil:
    cdef Cluster* c = cluster_at(e, i)
    cdef Key* k = &e.keys[key]
    cdef Zone* z
    live_drop(&e.values, key, c.value)
    if c.before != NOBODY:
        cluster_at(e, c.before).after = c.after
    else:
        k.clusters = c.after
    if c.after != NOBODY:
        cluster_at(e, c.after).before = c.before
    k.n_clusters -= 1
    if c.expected != NOBODY:
        cluster_at(e, c.expected).result = NOBODY
    if c.left != INF and c.result != NOBODY:
        cluster_at(e, c.result).expected = NOBODY
    if c.zone != NOBODY:
        z = zone_at(e, c.zone)
        z.clusters -= 1
        z.lost_first = min(z.lost_first, min(c.writer.ret, c.first_read.ret))
        z.lost_last = max(z.lost_last, max(c.writer.inv, c.last_read.inv))
        if z.clusters == 0 and z.place == NOBODY:
            forget_zone(e, k, c.zone)
    give(&e.clusters, i)


cdef void forget_zone(Engine* e, Key* k, int32_t z) noexcept nogil:
    if k.latest_zone == z:
        k.latest_zone = NOBODY                      # what it forbids, it goes on forbidding
    give(&e.zones, z)


# --- zones, young and old -----------------------------------------------------------------------

cdef void begin_zone(Zone* z, int64_t now, const Call* writer) noexcept nogil:
    memset(z, 0, sizeof(Zone))
    z.f, z.s, z.s_call, z.clusters, z.place = now, writer.inv, writer[0], 1, NOBODY
    z.f_call = writer[0]
    z.lost_first, z.lost_last = INF, -2


cdef inline void grow_old(Key* k, int32_t z, int64_t s) noexcept nogil:
    """An old zone's last invocation is this, or one came to be old."""
    if z == k.latest_zone:
        k.latest = s
    elif s > k.latest:
        k.second, k.latest, k.latest_zone = k.latest, s, z
    elif s > k.second:
        k.second = s


cdef void retire(Engine* e, Key* k) noexcept nogil:
    """Zones that returned before the oldest invocation in flight are old."""
    cdef int64_t oldest = INF if k.first == NOBODY else flight_at(e, k.first).call.inv
    cdef int32_t i
    cdef Zone* z
    while k.young.first < k.young.end and k.young.f[k.young.first] < oldest:
        i = k.young.zone[k.young.first]
        k.young.first += 1
        z = zone_at(e, i)
        z.place = NOBODY
        grow_old(k, i, z.s)
        if z.clusters == 0:
            forget_zone(e, k, i)


cdef bint add_young(Engine* e, Key* k, int32_t i) noexcept nogil:
    """A zone that returned now; False when there is no memory."""
    cdef Zone* z = zone_at(e, i)
    cdef int32_t place
    if k.young.end >= k.young.room:
        if not young_make_room(&k.young):
            return False
        for place in range(k.young.end):
            zone_at(e, k.young.zone[place]).place = place
    z.place = k.young.end
    k.young.zone[z.place] = i
    k.young.f[z.place] = z.f
    k.young.end += 1
    young_raise(&k.young, z.place, z.s)
    return True


cdef inline int64_t forbids(const Key* k, int32_t z) noexcept nogil:
    """The last invocation of all old zones but this one: what returned first before it is over."""
    return k.second if k.latest_zone == z else k.latest


cdef int move(Engine* e, Key* k, int32_t i, int64_t s, const Call* call) noexcept nogil:
    """A zone's last invocation is s now: FINE, or BOTH_WAYS."""
    cdef Zone* z = zone_at(e, i)
    cdef int32_t end, own
    cdef int64_t latest
    if s <= z.s:
        return FINE
    retire(e, k)
    if forbids(k, i) > z.f:
        return BOTH_WAYS
    if k.young.first < k.young.end and k.young.tree[1] > z.f:
        end = young_before(&k.young, s)
        own = min(z.place, end) if z.place != NOBODY else end
        latest = young_latest(&k.young, k.young.first, own)
        if own + 1 < end:
            latest = max(latest, young_latest(&k.young, own + 1, end))
        if latest > z.f:
            return BOTH_WAYS
    z.s, z.s_call = s, call[0]
    if z.place == NOBODY:
        grow_old(k, i, s)
    else:
        young_raise(&k.young, z.place, s)
    return FINE


cdef inline bint is_over(Engine* e, Key* k, const Cluster* c) noexcept nogil:
    """Whether who sees this value from now on is wrong."""
    cdef int64_t oldest = INF if k.first == NOBODY else flight_at(e, k.first).call.inv
    if c.zone == NOBODY:
        return False
    return c.left < oldest or forbids(k, c.zone) > zone_at(e, c.zone).f


cdef void sweep(Engine* e, int32_t key) noexcept nogil:
    """Forget the values that are over."""
    cdef Key* k = &e.keys[key]
    cdef int32_t i = k.clusters, after
    retire(e, k)
    while i != NOBODY:
        after = cluster_at(e, i).after
        if is_over(e, k, cluster_at(e, i)):
            forget_cluster(e, key, i)
        i = after
    k.sweep_at = 2 * k.n_clusters + 16


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
        z = live_get(&e.values, key, c.writer.a)
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
    cdef int32_t i = live_get(&e.values, key, call.a)
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
    if live_get(&e.processes, call.process, 0) != ABSENT:
        return TWICE_INVOKED
    i = take(&e.flights)
    if i < 0 or not live_put(&e.processes, call.process, 0, i):
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
    j = live_get(&e.values, key, value)
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
    live_drop(&e.processes, flight.call.process, 0)
    give(&e.flights, i)


cdef int completed(Engine* e, int32_t process, int type_, int64_t a, int64_t b,
                   int64_t now) noexcept nogil:
    """An operation ended; a: what it saw, b: whether a compare-and-set that failed says so."""
    cdef int32_t i = live_get(&e.processes, process, 0)
    cdef int32_t key, cluster
    cdef int found = FINE
    cdef Call call
    cdef Key* k
    if i == ABSENT:
        return NEVER_INVOKED
    call = flight_at(e, i).call
    key, cluster = flight_at(e, i).key, flight_at(e, i).cluster
    k = &e.keys[key]
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


# --- keys that are handed on, and those that are broken -----------------------------------------

cdef int hand_on(Engine* e, int32_t key) noexcept nogil:
    """Turn what is remembered of a key into operations; FINE, or NO_MEMORY."""
    cdef Key* k = &e.keys[key]
    sweep(e, key)
    if not tell(e, key, NULL, &e.kept):
        return NO_MEMORY
    empty_key(e, key)
    k.status = KEPT
    return FINE


cdef bint in_flight(Engine* e, const Call* call) noexcept nogil:
    """Whether it will be heard of again."""
    cdef int32_t i = live_get(&e.processes, call.process, 0)
    return i != ABSENT and flight_at(e, i).call.inv == call.inv


cdef bint tell(Engine* e, int32_t key, const Call* but, Rows* to) noexcept nogil:
    """Write down the operations that stand for a key's past; False when there is no memory.

    ``but``: an operation that is not to be among them; NULL: none of those in flight is.
    """
    cdef int32_t i = e.keys[key].clusters
    cdef Cluster* c
    cdef Call call
    cdef bint begun = False, told
    while i != NOBODY:
        c = cluster_at(e, i)
        call = c.writer
        begun = begun or call.process == AT_START
        told = call.process != AT_START and not (
            in_flight(e, &call) if but is NULL else call.inv == but.inv)
        if told and call.role == CAS and c.zone != NOBODY and c.expected == NOBODY:
            told = tell_lost(e, key, zone_at(e, c.zone), &call, to)
            if not told:
                return False
        if told and not add_row(to, key, &call):
            return False
        if c.first_read.ret != INF and not add_row(to, key, &c.first_read):
            return False
        if c.last_read.inv > c.first_read.inv and not add_row(to, key, &c.last_read):
            return False
        i = c.after
    if begun:
        return True
    memset(&call, 0, sizeof(Call))                  # the initial value is over
    call.a, call.inv, call.ret, call.process, call.role = GONE, -2, -1, AT_START, WRITE
    return add_row(to, key, &call)


cdef bint tell_lost(Engine* e, int32_t key, const Zone* z, Call* writer, Rows* to) noexcept nogil:
    """The forgotten beginning of a chain: one value that this writer replaced, that was written by
    the first return, and seen by whoever was invoked last."""
    cdef Call made
    e.synthetic += 1
    memset(&made, 0, sizeof(Call))
    made.a, made.process, made.role = GONE + e.synthetic, AT_START, WRITE
    made.inv, made.ret = min(z.lost_last, z.lost_first), z.lost_first
    writer.a = made.a
    if not add_row(to, key, &made):
        return False
    if made.ret != INF:
        to.rows[to.n - 1].inv -= 2
        to.rows[to.n - 1].ret -= 1
    if z.lost_last < z.lost_first:
        return True
    made.inv = made.ret = z.lost_last
    made.role = READ
    if not add_row(to, key, &made):
        return False
    to.rows[to.n - 1].inv += 1
    to.rows[to.n - 1].ret += 2
    return True


cdef void empty_key(Engine* e, int32_t key) noexcept nogil:
    """Forget everything about a key but what is in flight."""
    cdef Key* k = &e.keys[key]
    cdef int32_t i = k.first
    while i != NOBODY:
        flight_at(e, i).cluster = NOBODY
        i = flight_at(e, i).after
    while k.clusters != NOBODY:
        forget_cluster(e, key, k.clusters)
    while k.young.first < k.young.end:
        give(&e.zones, k.young.zone[k.young.first])
        k.young.first += 1
    young_free(&k.young)


cdef bint break_(Engine* e, int32_t key, int trouble, int64_t now, Call* culprit) noexcept nogil:
    """Remember a violation, with what is known of the key; False when there is no memory."""
    cdef void* moved
    cdef Found* found
    if e.n_found >= e.found_room:
        moved = realloc(e.found, (2 * e.found_room + 16) * sizeof(Found))
        if moved is NULL:
            return False
        e.found = <Found*>moved
        e.found_room = 2 * e.found_room + 16
    found = &e.found[e.n_found]
    found.key, found.trouble, found.event, found.culprit = key, trouble, now, culprit[0]
    found.first_row = e.evidence.n
    if not tell(e, key, culprit, &e.evidence):
        return False
    culprit.ret = now
    if trouble != FAILED_SEEN and not add_row(&e.evidence, key, culprit):
        return False
    found.end_row = e.evidence.n
    e.n_found += 1
    empty_key(e, key)
    e.keys[key].status = BROKEN
    return True


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
        live_free(&self.e.processes)
        live_free(&self.e.values)
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

        role, key and what was asked (a, b) are those of invocations; of a completion a is what it
        saw, and b whether a compare-and-set that failed says what it saw. The GIL is released.
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
            raise ValueError("invokes again before its last operation ended"
                             if found == TWICE_INVOKED else
                             "completes an operation that it never invoked")
        return i

    cdef int _event(self, int32_t process, int type_, int8_t role, int32_t key, int64_t a,
                    int64_t b, int64_t now) noexcept nogil:
        cdef Call call
        if type_ != INVOKE:
            return completed(&self.e, process, type_, a, b, now)
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
            if e.values.entries[i].used:
                alive.append(e.values.entries[i].b)
                alive.append(cluster_at(e, e.values.entries[i].value).writer.a)
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
