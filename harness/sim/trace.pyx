# distutils: language = c++
"""What happened in a simulated world: always as a digest, when asked also as entries to read.

The digest covers every event in order: its time, its kind, whom it concerns, and all bytes that
it carried. Two runs with one digest were the same run. It is no cryptographic hash: nobody
tries to deceive us, and 128 bits make an accident impossible.
"""
from seatrial.core.crc cimport crc32c
from seatrial.harness.sim.chance cimport mixed
from seatrial.harness.sim.packet cimport content

from seatrial.core.codec import (
    OPS,
    STATUSES,
    decode_message,
    decode_request,
    decode_response,
    split_frames,
)

from seatrial.core.errors import ProtocolError

OP_NAMES = {number: name for name, number in OPS.items()}


cdef list read_frames(Packet* p):
    """Return a packet's frames; none when it is damaged so much that they can't be told apart."""
    try:
        return split_frames(bytearray(content(p)[:p.size]))
    except ProtocolError:
        return []


cdef class Trace:
    def __cinit__(self, uint64_t seed, bint record):
        self.low = mixed(seed)
        self.high = mixed(seed + 1)
        self.entries = [] if record else None

    cdef void happened(self, uint64_t now_ns, uint64_t what, Packet* p) noexcept:
        """Add an event to the digest."""
        if p is not NULL:
            what ^= <uint64_t>crc32c(p.size, content(p), p.size) << 8
        self.low = mixed(self.low + now_ns) ^ what
        self.high = mixed(self.high ^ what) + now_ns

    def digest(self) -> str:
        """Return 32 hexadecimal digits."""
        return f"{mixed(self.low):016x}{mixed(self.high):016x}"

    def read(self) -> list:
        """Return the entries; ValueError if none were kept."""
        if self.entries is None:
            raise ValueError("this world does not record")
        return self.entries

    cdef int note(self, uint64_t now_ns, str kind, int a, int b, detail) except -1:
        if self.entries is not None:
            self.entries.append((now_ns, kind, a, b, detail))
        return 0

    cdef int frames(self, uint64_t now_ns, str kind, int sender, int receiver,
                    Packet* p) except -1:
        """Note each frame of a member's packet."""
        if self.entries is None:
            return 0
        for frame in read_frames(p):
            detail = decode_message(frame)
            del detail["records"]
            detail["sent_ns"] = p.sent_ns
            self.entries.append((now_ns, kind, sender, receiver, detail))
        return 0

    cdef int request(self, uint64_t now_ns, int connection, int host, Packet* p) except -1:
        """Note each frame that a client sent."""
        if self.entries is None:
            return 0
        for frame in read_frames(p):
            try:
                request, session, sequence, op, key, value, expected = decode_request(frame)
            except ProtocolError:
                continue
            self.entries.append((now_ns, "request", connection, host, {
                "sent_ns": p.sent_ns, "request": request, "session": session,
                "sequence": sequence, "op": OP_NAMES.get(op, str(op)), "key": key,
                "value": value, "expected": expected}))
        return 0

    cdef int response(self, uint64_t now_ns, int connection, int host, Packet* p) except -1:
        """Note each frame that a client got."""
        if self.entries is None:
            return 0
        for frame in read_frames(p):
            try:
                request, status, value, _, rindex, _, term = decode_response(frame)
            except ProtocolError:
                continue
            self.entries.append((now_ns, "response", host, connection, {
                "sent_ns": p.sent_ns, "request": request, "status": STATUSES[status],
                "value": value, "rindex": rindex, "term": term}))
        return 0
