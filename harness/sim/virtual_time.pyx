# distutils: language = c++
"""Virtual time: a queue of everything that will happen, and a record of what did.

``advance`` takes the earliest event and lets it happen; what that means, subclasses say
(``_happen``). Callbacks of the harness are events as others are; they are kept in a dict, not
in the queue, where Python's garbage collector would not see that a world and who waits for it
hold each other.
"""
from libc.stdlib cimport free

from seatrial.core.errors import InvariantViolation

cdef uint64_t NEVER = <uint64_t>1 << 63

KINDS = ("calls", "arrives", "synced", "rings", "goes-on", "dials", "joins", "parts", "gives-up",
         "starts", "knocks", "opens", "asks", "answers", "closes", "leaves", "forsakes",
         "link-dials", "link-knocks", "link-fails", "link-opens", "link-bytes", "link-ends",
         "link-breaks", "link-forsakes")


cdef void discard(Event* e) noexcept:
    """Let go of what an event owns."""
    free(e.payload)
    e.payload = NULL


cdef void release(vector[Event]* events) noexcept:
    """Forget events that will not happen."""
    cdef size_t i
    for i in range(events.size()):
        discard(&events[0][i])
    events.clear()


cdef class Timer:
    """A call that the harness is owed; ``cancel`` lets it be."""

    def cancel(self) -> None:
        """Do not call."""
        self.callback = None
        self.args = ()


cdef class Timeline:
    def __cinit__(self, uint64_t seed, int hosts, environment, *, bint record=False,
                  int pools=1):
        self.now_ns = self.events = self.order = 0
        self.calls = {}
        self.log = Trace(seed, record)
        self.record = record

    def __dealloc__(self):
        cdef Event e
        while not self.queue.empty():
            e = self.queue.top()
            self.queue.pop()
            discard(&e)

    def call_at(self, uint64_t when_ns, callback, *args) -> Timer:
        """Call back at a moment; at once, but not within this call, if that is past."""
        cdef Timer t = Timer()
        t.callback, t.args = callback, args
        t.when_ns = when_ns if when_ns > self.now_ns else self.now_ns
        self._at(t.when_ns, CALLS, 0, 0, 0, NULL)
        self.calls[self.order] = t
        return t

    cdef void _at(self, uint64_t when_ns, uint8_t kind, int to, int sender, uint32_t number,
                  void* payload) noexcept:
        cdef Event e
        self.order += 1
        e.time_ns, e.order, e.payload = when_ns, self.order, payload
        e.number, e.to, e.sender, e.kind = number, to, sender, kind
        self.queue.push(e)

    def advance(self) -> bool:
        """Let the next event happen; False when there is none.

        Raises InvariantViolation, with the time and the number of the event.
        """
        cdef Event e
        if self.violation is not None:
            raise self.violation
        if self.queue.empty():
            return False
        e = self.queue.top()
        self.queue.pop()
        self.now_ns = e.time_ns
        self.events += 1
        self._digest(&e)
        try:
            self._happen(&e)
        except InvariantViolation as violation:
            raise self._told(violation, e.to, KINDS[e.kind]) from None
        finally:
            discard(&e)
        return True

    cdef object _told(self, violation, int host, str when):
        """Remember a violation, with where and when it was."""
        if self.violation is None:
            self._note("violation", host, -1, str(violation))
            self.violation = InvariantViolation(
                f"{violation} (event {self.events}: {when} on n{host + 1}, "
                f"at {self.now_ns / 1e9:.6f} s)")
        return self.violation

    def run(self, ready, uint64_t until_ns=NEVER) -> bool:
        """Let events happen while ``ready`` (a deque) is empty, but none after ``until_ns``.

        Returns False when there is no event left that could fill it.
        """
        while not ready:
            if self.queue.empty() or self.queue.top().time_ns > until_ns:
                return False
            self.advance()
        return True

    cdef int _happen(self, Event* e) except -1:
        """Let an event happen; all but calls are a subclass's."""
        cdef Timer t
        if e.kind == CALLS:
            t = self.calls.pop(e.order)
            if t.callback is not None:
                t.callback(*t.args)
        return 0

    cdef void _digest(self, Event* e) noexcept:
        self.log.happened(e.time_ns, <uint64_t>e.kind << 56 | <uint64_t>e.to << 48
                          | <uint64_t>e.sender << 40 | e.number, <Packet*>e.payload)

    def digest(self) -> str:
        """Return a digest of everything that happened so far, in hexadecimal."""
        return self.log.digest()

    def trace(self) -> list:
        """Return what happened as (time_ns, kind, a, b, detail); see world.pyi."""
        return self.log.read()

    cdef int _note(self, str kind, int a, int b, detail) except -1:
        return self.log.note(self.now_ns, kind, a, b, detail)
