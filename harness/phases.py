"""What happens between the first operation and the last one, the same in every world.

::

    running       clients and fault lanes together, for the time limit   } one scheduler,
    healing       all faults ended, and their recovery proved            } one history
    final reads   every key that was used

A schedule says itself what is read, and when: then the first two are all. Who leads is watched
all the time.
"""
from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from . import generator as gen
from . import schedule
from .leaders import watch_leaders
from .nemesis import Options, Package, packages
from .op import Op
from .scheduler import NEMESIS_TIMEOUT_NS, Scheduler
from .test import Test
from .testfile import Spec

RUNNING, HEALING, FINAL_READS = "running", "healing", "final reads"
FINAL_LIMIT_S = 60.0     # final reads give up after so long; coverage tells which keys lack one


def faults_of(spec: Spec) -> Package:
    """Return the faults of a test: those of its schedule, or those that lanes draw."""
    if spec.schedule is not None:
        return schedule.package(spec)
    faults = spec.faults
    return packages(faults.names, Options(
        duration_s=faults.duration, gap_s=faults.gap, jitter=faults.jitter, lanes=faults.lanes,
        targets=faults.targets, time_limit_s=spec.time_limit, parameters=faults.parameters))


class Events(Protocol):
    """What takes the run's events: a history that is being written."""

    def append(self, op: Op) -> None:
        """Add an event."""

    def flush(self) -> None:
        """Write what was added."""


def nemesis_limit_ns(test: Test) -> int:
    """Return how long a fault may take to begin or to end: a slow host's boot is in it."""
    return int(NEMESIS_TIMEOUT_NS * test.stretch)


async def at_once() -> bool:
    """Go on with the final reads as soon as everything is healed."""
    return True


class Phases:
    """The phases of one run, one after the other.

    record: takes what does not come from the scheduler: a fault's life, a leader.
    listeners: hear every operation. on_phase: is told each phase's name.
    recovered: awaited after healing; False: the run ends there.
    """

    def __init__(
        self, test: Test, faults: Package, history: Events, record: Callable[[Op], None], *,
        listeners: Sequence[Callable[[Op], Any]] = (), on_phase: Callable[[str], None],
        recovered: Callable[[], Awaitable[bool]] = at_once,
    ) -> None:
        self.test = test
        self.faults = faults
        self.history = history
        self.record = record
        self.listeners = listeners
        self.on_phase = on_phase
        self.recovered = recovered
        self.stopped = False
        self._scheduler: Scheduler | None = None

    def stop(self) -> None:
        """End all phases early."""
        self.stopped = True
        if self._scheduler is not None:
            self._scheduler.stop()

    async def run(self) -> None:
        """Do all three, unless they are stopped."""
        test, faults = self.test, self.faults
        if faults.perf:
            await faults.nemesis.setup(test, self.record)
        async with (
            watch_leaders(test, self.record),
            Scheduler(
                test, test.workload.client(test), self.history.append,
                nemeses=dict.fromkeys(faults.lanes, faults.nemesis), flush=self.history.flush,
                nemesis_timeout_ns=nemesis_limit_ns(test),
                listeners=self.listeners, clock=test.clock, origin_ns=test.origin_ns,
            ) as self._scheduler,
        ):
            await self._do(RUNNING, self._running())
            await self._do(HEALING, self._healing())
            if not self.stopped and await self.recovered() and test.spec.schedule is None:
                await self._do(FINAL_READS, self._final_reads())

    async def _do(self, phase: str, generator: gen.Generator) -> None:
        if self.stopped:
            return
        assert self._scheduler is not None
        self.on_phase(phase)
        await self._scheduler.run(generator)

    def _running(self) -> gen.Generator:
        spec = self.test.spec
        if spec.schedule is not None:
            return schedule.generator(spec, self.test.now_ns())
        load = self.test.workload.generator(self.test)
        if spec.rate is not None:
            load = gen.stagger(1 / spec.rate, load)
        return gen.time_limit(spec.time_limit, gen.clients(load, self.faults.generator))

    def _healing(self) -> gen.Generator:
        return gen.phases(self.faults.final_generator,
                          gen.nemesis(gen.sleep(self.test.spec.faults.settle)))

    def _final_reads(self) -> gen.Generator:
        """Made when its time comes: only then is it known which keys were used."""
        reads = self.test.workload.final_generator(self.test)
        return gen.time_limit(FINAL_LIMIT_S * self.test.stretch, gen.clients(reads))
