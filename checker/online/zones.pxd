"""Values and their chains: what the online monitor remembers of a key, and what it forgets.

A chain's zone goes from its first return f to its last invocation s. Zones that returned before
the oldest invocation in flight are old: of those only the largest s counts, and the largest of
the others. The young ones are in a tree (young.pxd).
"""
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport realloc
from libc.string cimport memset

from seatrial.checker.online.engine cimport (
    AT_START, BOTH_WAYS, FINE, NOBODY, Call, Cluster, Engine, Key, Zone,
)
from seatrial.checker.online.memory cimport cluster_at, flight_at, give, take, zone_at
from seatrial.checker.online.young cimport (
    young_before, young_latest, young_make_room, young_raise,
)
from seatrial.checker.pairs cimport pairs_drop, pairs_put
from seatrial.checker.roles cimport WRITE
from seatrial.checker.tokens cimport INF


cdef inline bint key_room(Engine* e, int32_t n) noexcept nogil:
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


cdef inline bint begin_key(Engine* e, int32_t key) noexcept nogil:
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


cdef inline int32_t new_cluster(Engine* e, int32_t key, int64_t value,
                                const Call* writer) noexcept nogil:
    """The cluster of a value that is written for the first time; NOBODY without memory."""
    cdef int32_t i = take(&e.clusters)
    cdef Key* k = &e.keys[key]
    cdef Cluster* c
    if i < 0 or not pairs_put(&e.values, key, value, i):
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


cdef inline void forget_cluster(Engine* e, int32_t key, int32_t i) noexcept nogil:
    cdef Cluster* c = cluster_at(e, i)
    cdef Key* k = &e.keys[key]
    cdef Zone* z
    pairs_drop(&e.values, key, c.value)
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


cdef inline void forget_zone(Engine* e, Key* k, int32_t z) noexcept nogil:
    if k.latest_zone == z:
        k.latest_zone = NOBODY                      # what it forbids, it goes on forbidding
    give(&e.zones, z)


cdef inline void begin_zone(Zone* z, int64_t now, const Call* writer) noexcept nogil:
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


cdef inline void retire(Engine* e, Key* k) noexcept nogil:
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


cdef inline bint add_young(Engine* e, Key* k, int32_t i) noexcept nogil:
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


cdef inline int move(Engine* e, Key* k, int32_t i, int64_t s, const Call* call) noexcept nogil:
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


cdef inline void sweep(Engine* e, int32_t key) noexcept nogil:
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
