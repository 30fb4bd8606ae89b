"""What the online monitor's memory is made of: pools of cells, and rows of operations."""
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

from seatrial.checker.online.engine cimport (
    NOBODY, Call, Cluster, Engine, Flight, Pool, Row, Rows, Zone,
)
from seatrial.checker.tokens cimport INF

cdef enum:
    SPACING = 4             # positions handed on leave room for those that are made up


cdef inline int32_t take(Pool* p) noexcept nogil:
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


cdef inline void pool_free(Pool* p) noexcept nogil:
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


cdef inline bint add_row(Rows* to, int32_t key, const Call* call) noexcept nogil:
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
