"""Keys that leave the online monitor: those that others judge, and those that are broken.

What is remembered of such a key is turned into operations that explain the same futures: whatever
was forgotten lies before the largest s of a forgotten zone, and all that is remembered returned
after it.
"""
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport realloc
from libc.string cimport memset

from seatrial.checker.online.engine cimport (
    AT_START, BROKEN, FAILED_SEEN, FINE, GONE, KEPT, NOBODY, NO_MEMORY, Call, Cluster, Engine,
    Found, Key, Rows, Zone,
)
from seatrial.checker.online.memory cimport add_row, cluster_at, flight_at, give, zone_at
from seatrial.checker.online.young cimport young_free
from seatrial.checker.online.zones cimport forget_cluster, sweep
from seatrial.checker.pairs cimport ABSENT, pairs_get
from seatrial.checker.roles cimport CAS, READ, WRITE
from seatrial.checker.tokens cimport INF


cdef inline int hand_on(Engine* e, int32_t key) noexcept nogil:
    """Turn what is remembered of a key into operations; FINE, or NO_MEMORY."""
    cdef Key* k = &e.keys[key]
    sweep(e, key)
    if not tell(e, key, NULL, &e.kept):
        return NO_MEMORY
    empty_key(e, key)
    k.status = KEPT
    return FINE


cdef inline bint in_flight(Engine* e, const Call* call) noexcept nogil:
    """Whether it will be heard of again."""
    cdef int32_t i = pairs_get(&e.processes, call.process, 0)
    return i != ABSENT and flight_at(e, i).call.inv == call.inv


cdef inline bint tell(Engine* e, int32_t key, const Call* but, Rows* to) noexcept nogil:
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


cdef inline bint tell_lost(Engine* e, int32_t key, const Zone* z, Call* writer,
                           Rows* to) noexcept nogil:
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


cdef inline void empty_key(Engine* e, int32_t key) noexcept nogil:
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


cdef inline bint break_(Engine* e, int32_t key, int trouble, int64_t now,
                        Call* culprit) noexcept nogil:
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
