"""What a command or a query answers."""
from libc.stdint cimport uint8_t
from libcpp.string cimport string

cdef struct Outcome:        # `value` is valid until the state's next call
    uint8_t status
    bint has_value
    const char* value
    size_t value_length

cdef inline void answer(Outcome* out, uint8_t status) noexcept nogil:
    out.status = status
    out.has_value = False
    out.value = NULL
    out.value_length = 0

cdef inline void answer_with(Outcome* out, uint8_t status, const char* p,
                             size_t size) noexcept nogil:
    out.status = status
    out.has_value = True
    out.value = p
    out.value_length = size
