# distutils: language = c++
"""Transactions on several keys: compares, then one of two lists of commands.

One entry of the log, so it is atomic and isolated by itself: nothing runs beside it (the
minitransactions of Sinfonia: Aguilera and others, SOSP 2007; the form is that of etcd's Txn). If
all compares hold, the first list is executed, else the second. A command of it that answers
anything but ok (a counter that would overflow, a stale token, a failed cas) undoes all that came
before it.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memset
from libcpp.string cimport string

from seatrial.core.codec cimport (
    COMMAND_SIZE,
    HAS_VALUE,
    OP_IS_PRESENT,
    OP_IS_VALUE,
    OP_READ,
    OP_TRANSACT,
    STATUS_BAD_REQUEST,
    STATUS_NOT_TRANSACTED,
    STATUS_OK,
    STATUS_TOO_LARGE,
    Transaction,
    command_size,
)
from seatrial.core.keys cimport MAX_ANSWER_BYTES
from seatrial.core.outcome cimport answer, answer_with

cdef packed struct Part:        # of the answer: 8 bytes, then the value
    uint8_t status
    uint8_t flags
    uint16_t reserved
    uint32_t value_length


cdef const Transaction* body_of(const Command* c) noexcept nogil:
    return <const Transaction*>(<const char*>(c + 1) + c.key_length)


cdef const Command* after(const Command* c) noexcept nogil:
    return <const Command*>(<const char*>c + command_size(c))


cdef bint sound(const Command* c) noexcept nogil:
    """Whether a transaction, whose own parts add up, is made of such compares and commands."""
    cdef const Transaction* t = body_of(c)
    cdef const Command* part = <const Command*>(t + 1)
    cdef size_t left = c.value_length
    cdef int i, count
    if left < sizeof(Transaction):
        return False
    left -= sizeof(Transaction)
    count = <int>t.compares + t.then_count + t.else_count
    if count > MAX_PARTS:
        return False
    for i in range(count):
        if left < COMMAND_SIZE or command_size(part) > left:
            return False
        if i < t.compares:
            if not OP_IS_VALUE <= part.op <= OP_IS_PRESENT:
                return False
        elif not OP_READ <= part.op < OP_TRANSACT:
            return False
        left -= command_size(part)
        part = after(part)
    return left == 0


cdef size_t largest_key(const Command* c) noexcept nogil:
    """The size of the longest key in a sound transaction."""
    cdef const Transaction* t = body_of(c)
    cdef const Command* part = <const Command*>(t + 1)
    cdef size_t largest = 0
    cdef int _i
    for _i in range(<int>t.compares + t.then_count + t.else_count):
        largest = max(largest, <size_t>part.key_length)
        part = after(part)
    return largest


cdef void transact(Keys keys, const Command* c, Outcome* out) noexcept nogil:
    """Execute a transaction. It answers 1 (all held) or 0 and the answer of each command."""
    cdef const Transaction* t = body_of(c)
    cdef const Command* part = <const Command*>(t + 1)
    cdef uint32_t head[2]       # did all compares hold; how many answers follow
    cdef string said
    cdef Part told
    cdef Outcome one
    cdef uint8_t status = STATUS_OK
    cdef int _i, count
    if not sound(c):
        answer(out, STATUS_BAD_REQUEST)
        return
    head[0], head[1] = 1, 0
    for _i in range(t.compares):
        if not keys.holds(part):
            head[0] = 0
        part = after(part)
    count = t.then_count
    if head[0] == 0:
        for _i in range(t.then_count):
            part = after(part)
        count = t.else_count
    said.append(<const char*>head, sizeof(head))
    keys.undoable = True
    for _i in range(count):
        keys.execute(part, &one)
        part = after(part)
        memset(&told, 0, sizeof(told))
        told.status = one.status
        told.flags = HAS_VALUE if one.has_value else 0
        told.value_length = <uint32_t>one.value_length
        said.append(<const char*>&told, sizeof(told))
        said.append(one.value, one.value_length)
        head[1] += 1
        if said.size() > MAX_ANSWER_BYTES:
            status = STATUS_TOO_LARGE
        elif one.status != STATUS_OK:
            status = STATUS_NOT_TRANSACTED
        if status != STATUS_OK:
            break
    if status != STATUS_OK:
        keys.roll_back()
    keys.undoable = False
    keys.undo.clear()
    if status == STATUS_TOO_LARGE:
        answer(out, status)
        return
    said.replace(0, sizeof(head), <const char*>head, sizeof(head))
    keys.said.swap(said)
    answer_with(out, status, keys.said.data(), keys.said.size())
