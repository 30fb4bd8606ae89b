"""Binding to the Go archive that holds porcupine (porcupine/bridge.go).

Import it in a worker process only: a Go runtime starts with it, and does not survive a fork.
"""
from libc.stdint cimport int8_t, int64_t, uint8_t


cdef extern from "porcupine.h" nogil:
    int seatrial_porcupine_key(
        int64_t n, int8_t* kind, int64_t* a, int64_t* b, int64_t* inv, int64_t* ret, uint8_t mode,
        int64_t objects, int8_t* shape, int64_t* path_start, int64_t* symbols,
        int64_t initial, int64_t timeout)
    int seatrial_porcupine_version(char* buffer, int room)

VERDICTS = ("ok", "violation", "time")


def version():
    """Return the version of the Go module that was linked in."""
    cdef char[64] buffer
    cdef int n = seatrial_porcupine_version(buffer, 64)
    return buffer[:n].decode()


def check_key(const int8_t[::1] kind, const int64_t[::1] a, const int64_t[::1] b,
              const int64_t[::1] inv, const int64_t[::1] ret, *, uint8_t mode,
              const int8_t[::1] shape, const int64_t[::1] path_start,
              const int64_t[::1] symbols, int64_t initial, int64_t timeout_ns):
    """Judge one key: ``ok``, ``violation`` or ``time``. The GIL is released."""
    cdef int64_t n = len(kind), objects = len(shape)
    cdef const int8_t* shapes = &shape[0] if objects else NULL
    cdef const int64_t* path = &symbols[0] if len(symbols) else NULL
    cdef int verdict
    if not (len(a) == len(b) == len(inv) == len(ret) == n) or len(path_start) != objects + 1:
        raise ValueError("columns of different lengths")
    if timeout_ns <= 0:
        return "time"
    if n == 0:
        return "ok"
    with nogil:
        verdict = seatrial_porcupine_key(
            n, <int8_t*>&kind[0], <int64_t*>&a[0], <int64_t*>&b[0], <int64_t*>&inv[0],
            <int64_t*>&ret[0], mode, objects, <int8_t*>shapes, <int64_t*>&path_start[0],
            <int64_t*>path, initial, timeout_ns)
    return VERDICTS[verdict]
