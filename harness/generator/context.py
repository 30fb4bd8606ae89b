"""What a generator may know when it is asked for an operation: time, threads, processes.

*Threads* are the workers of a run: clients 0 to n-1, then the lanes of the nemesis. Each thread
does one thing at a time under a logical *process* id; a client thread whose operation ended
in info goes on as process + n, so ``process % n`` is always its thread. Lanes keep their ids,
which are negative (``lane_process``).

Sets of threads are the bits of an int, thread t being bit t: narrowing a context to the threads
that a combinator owns is one ``&``, whatever their number. A context is a value. The one
exception is ``rng``, a scratch stream that is only valid where a combinator positioned it
(protocol.py says how draws stay pure).
"""
from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence

import msgspec

from ..op import NEMESIS
from ..rng import Rng

Thread = int | str
"""A thread's public name: a client's number, ``nemesis`` or ``nemesis:x``."""

NEMESIS_LANE = "nemesis"


def lane_process(lane: int) -> int:
    """Return the process id of the nemesis lane with this number: -1, -3, -4... (-2: unset)."""
    return NEMESIS if lane == 0 else -2 - lane


def lowest(mask: int) -> int:
    """Return the lowest thread of a mask; the mask holds at least one."""
    return (mask & -mask).bit_length() - 1


def bits(mask: int) -> Iterator[int]:
    """Yield the threads of a mask, lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


class Roster:
    """The threads of a run, which never change."""

    __slots__ = ("_masks", "all_mask", "client_mask", "clients", "lane_mask", "lanes", "names",
                 "rng")

    def __init__(self, clients: int, lanes: Sequence[str] = (NEMESIS_LANE,)) -> None:
        self.clients = clients
        self.lanes = tuple(lanes)
        self.names: tuple[Thread, ...] = (*range(clients), *self.lanes)
        self.client_mask = (1 << clients) - 1
        self.all_mask = (1 << len(self.names)) - 1
        self.lane_mask = self.all_mask ^ self.client_mask
        self.rng = Rng(0)
        self._masks: dict[Hashable, int] = {}

    def thread_of(self, process: int) -> int:
        """Return the thread that runs a process."""
        if process >= 0:
            return process % self.clients
        return self.clients if process == NEMESIS else self.clients - process - 2

    def select(self, wanted: Callable[[Thread], bool]) -> int:
        """Return the mask of the threads whose names satisfy a predicate; asked once each."""
        mask = self._masks.get(wanted)
        if mask is None:
            mask = sum(1 << t for t, name in enumerate(self.names) if wanted(name))
            self._masks[wanted] = mask
        return mask


class Context(msgspec.Struct, frozen=True, gc=False):
    """One moment of a run, as seen by the generator that owns ``threads``.

    time_ns: since the start of the run.
    free: those of ``threads`` that have nothing to do.
    threads: those this generator may give work to.
    last: the thread that was given work last; the next free one after it is asked first, so
      that work goes round also where there is little of it.
    processes: thread -> process.
    """

    time_ns: int
    free: int
    threads: int
    last: int
    processes: tuple[int, ...]
    roster: Roster

    @classmethod
    def start(cls, clients: int, lanes: Sequence[str] = (NEMESIS_LANE,)) -> Context:
        """Return the context in which a run begins: time 0, everything free."""
        roster = Roster(clients, lanes)
        processes = (*range(clients), *(lane_process(i) for i in range(len(lanes))))
        return cls(0, roster.all_mask, roster.all_mask, -1, processes, roster)

    @property
    def rng(self) -> Rng:
        """The scratch stream: in a function that makes operations, draws that the seed decides."""
        return self.roster.rng

    @property
    def all_free(self) -> bool:
        """Whether nothing is going on in these threads."""
        return self.free == self.threads

    @property
    def workers(self) -> dict[Thread, int]:
        """Thread name -> process."""
        return {self.roster.names[t]: self.processes[t] for t in bits(self.threads)}

    @property
    def free_threads(self) -> list[Thread]:
        """Names of the free threads."""
        return [self.roster.names[t] for t in bits(self.free)]

    def free_thread(self) -> int:
        """Return the next free thread in turn; at least one is free."""
        later = self.free >> (self.last + 1)
        return lowest(later) + self.last + 1 if later else lowest(self.free)

    def thread_of(self, process: int) -> int:
        """Return the thread that runs a process."""
        return self.roster.thread_of(process)

    def only(self, mask: int) -> Context:
        """Return this context narrowed to the threads in ``mask``."""
        if not self.threads & ~mask:
            return self
        return Context(self.time_ns, self.free & mask, self.threads & mask, self.last,
                       self.processes, self.roster)

    def at(self, time_ns: int) -> Context:
        """Return this context at another time."""
        return Context(time_ns, self.free, self.threads, self.last, self.processes, self.roster)

    def took(self, thread: int, time_ns: int) -> Context:
        """Return the context after a thread was given work."""
        return Context(time_ns, self.free & ~(1 << thread), self.threads, thread,
                       self.processes, self.roster)

    def freed(self, thread: int, time_ns: int) -> Context:
        """Return the context after a thread got nothing to do."""
        return Context(time_ns, self.free | 1 << thread, self.threads, self.last,
                       self.processes, self.roster)

    def crashed(self, thread: int) -> Context:
        """Return the context after a client thread moved on to its next process."""
        processes = list(self.processes)
        processes[thread] += self.roster.clients
        return Context(self.time_ns, self.free, self.threads, self.last, tuple(processes),
                       self.roster)
