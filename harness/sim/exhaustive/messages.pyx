# distutils: language = c++
"""The messages that were ever sent, and the queues that were ever on a connection, each once.

A state of the cluster holds their numbers only. A message's number says nothing of who sent it to
whom; of each there is a fingerprint for every numbering of the nodes.
"""
from seatrial.core.buffer cimport buffer_consume, buffer_free, buffer_init, buffer_size
from seatrial.core.codec cimport FrameHeader
from seatrial.core.raft_encoding cimport get
from seatrial.harness.sim.exhaustive.hashing cimport mixed, print_of


cdef class Messages:
    def __cinit__(self, RaftEncoding states, Symmetry symmetry, *further):
        cdef Queue empty
        cdef Print none
        empty.first = empty.rest = empty.length = 0
        none.high, none.low = 0x5BF03635, 0x243F6A88
        self.states = states
        self.symmetry = symmetry
        self.queues.push_back(empty)
        for _ in range(symmetry.count):
            self.queue_prints.push_back(none)
        buffer_init(&self.scratch)

    def __dealloc__(self):
        buffer_free(&self.scratch)

    cdef int number(self, const char* frame) except -1:
        """The number of a frame."""
        cdef const FrameHeader* h = <const FrameHeader*>frame
        cdef string key
        cdef uint32_t* known
        cdef Kind kind
        cdef int i
        self.put_frame(frame, NULL)
        key = string(self.scratch.data, buffer_size(&self.scratch))
        known = &self.numbers[key]
        if known[0]:
            return <int>known[0] - 1
        kind.type, kind.flags = h.type, h.flags
        self.messages.push_back(key)
        self.kinds.push_back(kind)
        for i in range(self.symmetry.count):
            self.put_frame(frame, self.symmetry.names[i])
            self.prints.push_back(print_of(self.scratch.data, buffer_size(&self.scratch)))
        known[0] = <uint32_t>self.messages.size()
        return <int>known[0] - 1

    cdef int put_frame(self, const char* frame, const uint32_t* names) except -1:
        """Write a frame into ``scratch``."""
        buffer_consume(&self.scratch, buffer_size(&self.scratch))
        return self.states.encode_frame(frame, &self.scratch, names)

    cdef dict fields(self, uint32_t number):
        """Return what a message says; of entries, their terms."""
        cdef const char* p = self.messages[number].data()
        found = {name: get(&p) for name in ("type", "flags", "term", "index", "log_term", "commit",
                                            "round", "count")}
        return found | {"entries": [self.states.record(get(&p)).term
                                    for _ in range(found["count"])]}

    cdef size_t memory_bytes(self):
        """About how much memory the queues take."""
        return self.queues.size() * (60 + 16 * self.symmetry.count)

    cdef uint32_t pushed(self, uint32_t queue, uint32_t message) noexcept nogil:
        """The queue with one message more at its end."""
        cdef uint64_t key = <uint64_t>queue << 32 | message
        cdef unordered_map[uint64_t, uint32_t].iterator at = self.longer.find(key)
        cdef Queue made
        cdef uint32_t number
        cdef size_t count = self.symmetry.count, i
        cdef Print p
        if at != self.longer.end():
            return (&self.longer[key])[0]
        made.first, made.rest, made.length = message, 0, self.queues[queue].length + 1
        if queue:
            made.first = self.queues[queue].first
            made.rest = self.pushed(self.queues[queue].rest, message)
        number = <uint32_t>self.queues.size()
        self.queues.push_back(made)
        for i in range(count):
            p = self.prints[message * count + i]
            p = mixed(mixed(self.queue_prints[queue * count + i], p.high), p.low)
            self.queue_prints.push_back(p)
        self.longer[key] = number
        return number
