"""Frames and records: the byte layouts, their checks, and the Python-level encoders.

One record format serves wire, WAL and memory, so that appending, relaying and recovering
copy bytes and never re-encode (layouts: codec.pxd). Two checks divide the work:

* a record's own ``crc`` covers everything that stays the same wherever it travels (root
  coordinates, session, payload). It is computed once, by the leader that first appends
  the record, and verified by everybody else.
* a frame's ``crc`` covers the frame's fixed part. For APPEND (and for a group write in the
  WAL) it also covers the first 24 bytes of every record it carries: length, crc and the
  local coordinates, which another domain's leader would assign anew. Thus every byte is
  under exactly one check, and payloads are summed once.

Every length is validated before it is used; a frame that lies raises ProtocolError. A length
whose bits flipped on the way would not lie for long if all of the frame came; but on a stream the
receiver would wait for bytes that nobody sends, deaf to all that follows. So a header carries a
check of the length alone, which is looked at first.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stddef cimport size_t
from libc.string cimport memcpy, memset

from seatrial.core.crc cimport crc32c

from seatrial.core.errors import ProtocolError

OPS = {
    "read": OP_READ, "write": OP_WRITE, "cas": OP_CAS, "append": OP_APPEND,
    "delete": OP_DELETE, "add": OP_ADD, "write-if-token": OP_WRITE_IF_TOKEN,
    "transact": OP_TRANSACT, "acquire": OP_ACQUIRE, "keep-alive": OP_KEEP_ALIVE,
    "release": OP_RELEASE, "scan": OP_SCAN, "holder": OP_HOLDER,
    "open-session": OP_OPEN_SESSION, "ping": OP_PING, "status": OP_STATUS,
    "change": OP_CHANGE, "transfer": OP_TRANSFER, "snapshot": OP_SNAPSHOT,
    "tree": OP_TREE,
    "is-value": OP_IS_VALUE, "is-absent": OP_IS_ABSENT, "is-present": OP_IS_PRESENT,
}
STATUSES = (
    "ok", "cas-mismatch", "not-leader", "session-lost", "bad-request", "too-large", "busy",
    "unknown", "not-a-counter", "overflow", "stale-token", "lock-held", "lock-lost",
    "not-transacted", "not-root", "fenced", "too-old", "lost",
)
MESSAGE_TYPES = {
    VOTE: "vote", VOTE_REPLY: "vote-reply", APPEND: "append", APPEND_REPLY: "append-reply",
    HEARTBEAT: "heartbeat", HEARTBEAT_REPLY: "heartbeat-reply",
    PRE_VOTE: "pre-vote", PRE_VOTE_REPLY: "pre-vote-reply", TIMEOUT_NOW: "timeout-now",
    READ_INDEX: "read-index", READ_INDEX_REPLY: "read-index-reply",
    SNAPSHOT: "snapshot", SNAPSHOT_REPLY: "snapshot-reply",
}
KINDS = ("no-op", "command", "open-session", "config", "clock", "snapshot", "tree", "adopt",
         "piece", "base")

assert sizeof(Record) == RECORD_SIZE and sizeof(Command) == COMMAND_SIZE
assert sizeof(Transaction) == 8 and sizeof(SessionTerms) == 16 and sizeof(ClockTime) == 24
assert sizeof(FrameHeader) == HEADER_SIZE and sizeof(Message) == MESSAGE_SIZE
assert sizeof(Request) == REQUEST_SIZE and sizeof(Response) == RESPONSE_SIZE


cdef uint32_t record_crc(const Record* r) noexcept nogil:
    """The check of a record whose length is already known to be sound."""
    return crc32c(0, <const char*>r + PREFIX_SIZE, r.length - PREFIX_SIZE)


cdef uint32_t plain_crc(const char* frame) noexcept nogil:
    """The check of a frame that carries no records."""
    return crc32c(0, frame + 8, (<const FrameHeader*>frame).length - 8)


cdef uint32_t append_crc(const char* frame, size_t fixed) noexcept nogil:
    """The check of a frame with records: its fixed part, then each record's first 24 bytes."""
    cdef uint32_t crc = crc32c(0, frame + 8, fixed - 8)
    cdef size_t at = fixed
    cdef size_t end = (<const FrameHeader*>frame).length
    while at < end:
        crc = crc32c(crc, frame + at, PREFIX_SIZE)
        at += (<const Record*>(frame + at)).length
    return crc


cdef size_t records_fit(const char* data, size_t size, uint32_t* count) noexcept nogil:
    """Walk concatenated records; return the bytes of whole, plausible ones and their count."""
    cdef size_t at = 0
    cdef uint32_t length
    count[0] = 0
    while size - at >= RECORD_SIZE:
        length = (<const Record*>(data + at)).length
        if length < RECORD_SIZE or length > size - at:
            break
        at += length
        count[0] += 1
    return at


cdef size_t records_sound(const char* data, size_t size, uint32_t* count) noexcept nogil:
    """As records_fit, and stop at the first record whose own check fails."""
    cdef size_t at = 0, end = records_fit(data, size, count)
    count[0] = 0
    while at < end and record_crc(<const Record*>(data + at)) == (<const Record*>(data + at)).crc:
        at += (<const Record*>(data + at)).length
        count[0] += 1
    return at


cdef size_t command_size(const Command* c) noexcept nogil:
    return <size_t>COMMAND_SIZE + c.key_length + c.value_length + c.expected_length


cdef Py_ssize_t next_frame(const char* data, size_t size) except -1 nogil:
    """Return the length of the whole frame at ``data``, 0 while it is incomplete.

    Raises ProtocolError for a length that was altered, or is out of bounds.
    """
    cdef uint32_t length
    if size < HEADER_SIZE:
        return 0
    length = (<const FrameHeader*>data).length
    if (<const FrameHeader*>data).length_check != folded(length):
        with gil:
            raise ProtocolError("frame's length: check failed: bytes were altered on the way")
    if length < HEADER_SIZE or length > MAX_FRAME_BYTES:
        with gil:
            raise ProtocolError(f"frame of {length} bytes: expected 16 to {MAX_FRAME_BYTES}")
    return length if length <= size else 0


def encode_request(request: int, client: int, sequence: int, op: int, bytes key=b"",
                   bytes value=b"", expected: bytes | None = None, *,
                   bint any_node=False, bint prefix=False, bint bounded=False) -> bytes:
    """Return a REQUEST frame. ``expected`` None with op cas means: expect the key absent;
    ``any_node``: a follower may answer this read; ``prefix``, ``bounded``: any node may, from
    what it has applied, ``expected`` says how old that may be."""
    cdef bytes wanted = b"" if expected is None else expected
    cdef size_t size = REQUEST_SIZE + COMMAND_SIZE + len(key) + len(value) + len(wanted)
    if len(key) > 0xFFFF or size > MAX_FRAME_BYTES:
        raise ValueError(f"request of {size} bytes with a key of {len(key)} is too large")
    cdef bytes frame = PyBytes_FromStringAndSize(NULL, size)
    cdef char* p = PyBytes_AS_STRING(frame)
    cdef Request* r = <Request*>p
    cdef Command* c = <Command*>(p + REQUEST_SIZE)
    memset(p, 0, REQUEST_SIZE + COMMAND_SIZE)
    set_length(&r.header, size)
    r.header.type = REQUEST
    r.header.flags = ((ANY_NODE if any_node else 0) | (PREFIX if prefix else 0)
                      | (BOUNDED if bounded else 0))
    r.request = request
    r.client = client
    r.sequence = sequence
    c.op = op
    c.flags = HAS_EXPECTED if expected is not None else 0
    c.key_length = <uint16_t>len(key)
    c.value_length = <uint32_t>len(value)
    c.expected_length = <uint32_t>len(wanted)
    p += REQUEST_SIZE + COMMAND_SIZE
    memcpy(p, PyBytes_AS_STRING(key), len(key))
    memcpy(p + len(key), PyBytes_AS_STRING(value), len(value))
    memcpy(p + len(key) + len(value), PyBytes_AS_STRING(wanted), len(wanted))
    r.header.crc = plain_crc(<char*>r)
    return frame


def decode_request(bytes frame) -> tuple:
    """Return (request, client, sequence, op, key, value, expected or None) of a REQUEST frame."""
    cdef const Request* r = <const Request*>checked(frame, REQUEST, REQUEST_SIZE + COMMAND_SIZE)
    cdef const Command* c = <const Command*>(<const char*>r + REQUEST_SIZE)
    cdef const char* p = <const char*>c + COMMAND_SIZE
    if REQUEST_SIZE + command_size(c) != r.header.length:
        raise ProtocolError("request's parts do not add up to its length")
    key = p[:c.key_length]
    value = p[c.key_length:c.key_length + c.value_length]
    p += c.key_length + c.value_length
    expected = p[:c.expected_length] if c.flags & HAS_EXPECTED else None
    return r.request, r.client, r.sequence, c.op, key, value, expected


def encode_notice(bytes body) -> bytes:
    """Return a NOTICE frame: what one node's shell tells another's."""
    cdef bytes frame = PyBytes_FromStringAndSize(NULL, HEADER_SIZE + len(body))
    cdef char* p = PyBytes_AS_STRING(frame)
    cdef FrameHeader* h = <FrameHeader*>p
    memset(p, 0, HEADER_SIZE)
    set_length(h, HEADER_SIZE + len(body))
    h.type = NOTICE
    memcpy(p + HEADER_SIZE, PyBytes_AS_STRING(body), len(body))
    h.crc = plain_crc(p)
    return frame


def encode_response(request: int, status: int, value: bytes | None = None, node: int = 0,
                    rindex: int = 0, epoch: int = 0, term: int = 0, *, domain: int = 0,
                    confirmed: tuple = ()) -> bytes:
    """Return a RESPONSE frame (tests and scripted servers; the node writes them in C)."""
    cdef bytes body = b"" if value is None else value
    cdef bytes ids = b"".join([id.to_bytes(2, "little") for id in confirmed])
    cdef size_t size = RESPONSE_SIZE + len(body) + len(ids)
    cdef bytes frame = PyBytes_FromStringAndSize(NULL, size)
    cdef char* p = PyBytes_AS_STRING(frame)
    cdef Response* r = <Response*>p
    memset(p, 0, RESPONSE_SIZE)
    set_length(&r.header, size)
    r.header.type = RESPONSE
    r.header.reserved32 = domain
    r.request, r.rindex, r.epoch, r.term = request, rindex, epoch, term
    r.status, r.node = status, node
    r.flags = HAS_VALUE if value is not None else 0
    r.value_length = <uint32_t>len(body)
    memcpy(p + RESPONSE_SIZE, PyBytes_AS_STRING(body), len(body))
    memcpy(p + RESPONSE_SIZE + len(body), PyBytes_AS_STRING(ids), len(ids))
    r.header.crc = plain_crc(p)
    return frame


def decode_response(bytes frame) -> tuple:
    """Return (request, status, value or None, node, rindex, epoch, term) of a RESPONSE frame."""
    cdef const Response* r = <const Response*>checked(frame, RESPONSE, RESPONSE_SIZE)
    cdef size_t end = <size_t>RESPONSE_SIZE + r.value_length
    if end > r.header.length or (r.header.length - end) % sizeof(uint16_t):
        raise ProtocolError("response's parts do not add up to its length")
    value = None
    if r.flags & HAS_VALUE:
        value = (<const char*>r)[RESPONSE_SIZE:end]
    return r.request, r.status, value, r.node, r.rindex, r.epoch, r.term


def response_domains(bytes frame) -> tuple:
    """Return of a sound RESPONSE frame the domain that answers (0: of no tree), and the domains
    that confirmed the write."""
    cdef const Response* r = <const Response*>PyBytes_AS_STRING(frame)
    ids = frame[RESPONSE_SIZE + r.value_length:]
    return r.header.reserved32, tuple([
        int.from_bytes(ids[at:at + 2], "little") for at in range(0, len(ids), 2)])


cdef const char* checked(bytes frame, uint8_t type, size_t least) except NULL:
    """Return the frame's bytes after its length, type and check were verified."""
    cdef const char* p = PyBytes_AS_STRING(frame)
    cdef const FrameHeader* h = <const FrameHeader*>p
    if <size_t>len(frame) < least or h.length != <size_t>len(frame):
        raise ProtocolError(f"frame of {len(frame)} bytes: expected at least {least}")
    if h.type != type:
        raise ProtocolError(f"frame type {h.type}: expected {type}")
    if plain_crc(p) != h.crc:
        raise ProtocolError("frame check failed: bytes were altered on the way")
    return p


def encode_message(type: int, sender: int, receiver: int, term: int, *, index: int = 0,
                   log_term: int = 0, commit: int = 0, round: int = 0, flags: int = 0,
                   bytes records=b"") -> bytes:
    """Return a frame between members (tests; the machine writes them in place)."""
    cdef uint32_t count
    cdef size_t size = MESSAGE_SIZE + len(records)
    cdef bytes frame = PyBytes_FromStringAndSize(NULL, size)
    cdef char* p = PyBytes_AS_STRING(frame)
    cdef Message* m = <Message*>p
    if records_fit(PyBytes_AS_STRING(records), len(records), &count) != <size_t>len(records):
        raise ValueError("the records are not whole")
    memset(p, 0, MESSAGE_SIZE)
    set_length(&m.header, size)
    m.header.type, m.header.flags = type, flags
    m.sender, m.receiver, m.term = sender, receiver, term
    m.index, m.log_term, m.commit, m.round, m.count = index, log_term, commit, round, count
    memcpy(p + MESSAGE_SIZE, PyBytes_AS_STRING(records), len(records))
    m.header.crc = append_crc(p, MESSAGE_SIZE)
    return frame


def decode_message(bytes frame) -> dict:
    """Return the fields of a frame between members; ``records`` as bytes. Unverified."""
    cdef const Message* m = <const Message*>PyBytes_AS_STRING(frame)
    if <size_t>len(frame) < MESSAGE_SIZE or m.header.length != <size_t>len(frame):
        raise ProtocolError(f"frame of {len(frame)} bytes is not a member's")
    return {
        "type": MESSAGE_TYPES.get(m.header.type, m.header.type), "flags": m.header.flags,
        "sender": m.sender, "receiver": m.receiver, "term": m.term, "index": m.index,
        "log_term": m.log_term, "commit": m.commit, "round": m.round, "count": m.count,
        "records": frame[MESSAGE_SIZE:],
    }


def frame_type(bytes frame) -> int:
    """Return the type byte of a whole frame."""
    if len(frame) < HEADER_SIZE:
        raise ProtocolError(f"frame of {len(frame)} bytes: expected at least {HEADER_SIZE}")
    return (<const FrameHeader*>PyBytes_AS_STRING(frame)).type


def split_frames(bytearray data) -> list:
    """Take the whole frames off the front of ``data``; an incomplete one stays."""
    cdef list out = []
    cdef size_t at = 0
    cdef Py_ssize_t n
    cdef const char* p = data
    cdef size_t size = len(data)
    while True:
        n = next_frame(p + at, size - at)
        if n == 0:
            break
        out.append(PyBytes_FromStringAndSize(p + at, n))
        at += n
    if at:
        del data[:at]
    return out


def encode_record(index: int, term: int, kind: int, bytes payload=b"", *, client: int = 0,
                  sequence: int = 0, rindex: int = 0, epoch: int = 0, rterm: int = 0,
                  flags: int = 0) -> bytes:
    """Return a record with its check (tools and tests; the leader writes them in place)."""
    cdef size_t size = RECORD_SIZE + len(payload)
    cdef bytes out = PyBytes_FromStringAndSize(NULL, size)
    cdef Record* r = <Record*>PyBytes_AS_STRING(out)
    memset(r, 0, RECORD_SIZE)
    r.length = <uint32_t>size
    r.index, r.term, r.kind = index, term, kind
    r.rindex, r.epoch, r.rterm = rindex, epoch, rterm
    r.client, r.sequence, r.flags = client, sequence, flags
    memcpy(<char*>r + RECORD_SIZE, PyBytes_AS_STRING(payload), len(payload))
    r.crc = record_crc(r)
    return out


def split_records(bytes data) -> list:
    """Return the records concatenated in ``data``, each verified.

    Raises ProtocolError naming the offset of the first bad one.
    """
    cdef list out = []
    cdef size_t at = 0, size = len(data)
    cdef const char* p = PyBytes_AS_STRING(data)
    cdef const Record* r
    while at < size:
        r = <const Record*>(p + at)
        if size - at < RECORD_SIZE or r.length < RECORD_SIZE or r.length > size - at:
            raise ProtocolError(f"record at byte {at}: not whole")
        if record_crc(r) != r.crc:
            raise ProtocolError(f"record at byte {at}: check failed")
        out.append(PyBytes_FromStringAndSize(p + at, r.length))
        at += r.length
    return out


def describe_record(bytes record) -> dict:
    """Return a record's fields for people: names for kinds and ops, sizes, key and value."""
    cdef const Record* r = <const Record*>PyBytes_AS_STRING(record)
    cdef const Command* c
    cdef const ClockTime* clock
    if len(record) < RECORD_SIZE or r.length != <size_t>len(record):
        raise ProtocolError(f"record of {len(record)} bytes is not whole")
    out = {
        "index": r.index, "term": r.term, "rindex": r.rindex, "epoch": r.epoch, "rterm": r.rterm,
        "client": r.client, "sequence": r.sequence, "length": r.length, "crc": r.crc,
        "kind": KINDS[r.kind] if r.kind < len(KINDS) else f"kind-{r.kind}",
    }
    if r.kind == KIND_COMMAND and r.length >= RECORD_SIZE + COMMAND_SIZE:
        c = <const Command*>(<const char*>r + RECORD_SIZE)
        names = {number: name for name, number in OPS.items()}
        body = record[RECORD_SIZE + COMMAND_SIZE:]
        out["op"] = names.get(c.op, f"op-{c.op}")
        out["key"] = body[:c.key_length]
        out["value"] = body[c.key_length:c.key_length + c.value_length]
        if c.flags & HAS_EXPECTED:
            out["expected"] = body[c.key_length + c.value_length:]
    elif r.kind == KIND_CLOCK and r.length == RECORD_SIZE + sizeof(ClockTime):
        clock = <const ClockTime*>(<const char*>r + RECORD_SIZE)
        out["log_time_ns"], out["hashed_index"] = clock.log_time_ns, clock.hashed_index
        out["state_hash"] = f"{clock.state_hash:016x}"
    return out
