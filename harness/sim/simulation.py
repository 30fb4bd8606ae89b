"""One seed of a test in the simulated world, from the first event to the verdict.

The three phases are those of every world (phases.py). After healing all nodes must agree within a
bound of virtual time, or liveness is violated; after the final reads they must agree again. What
the world checks after every step of a node (core/invariants.pyx) ends the run at that step.

Nothing here looks at a real clock but to tell how long it took, and all that happened goes into
one digest: the world's, of each of its events, and the history, row by row. Two runs with one
digest were the same run.
"""
from __future__ import annotations

import asyncio
import gc
import hashlib
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from seatrial.checker import CheckerError, CheckResult, History, Verdict
from seatrial.checker.split_brain import split_brain_checks
from seatrial.core import marks, mutants
from seatrial.core.errors import InvariantViolation

from .. import coverage
from ..availability import availability_check
from ..domain_checks import carried, domain_checks
from ..errors import SeatrialError, told
from ..history import HistoryInMemory, Recorder
from ..launch import Plan
from ..op import Op
from ..phases import Phases, faults_of
from ..results import Operations, judged, operations, summary_of
from ..test import Test
from ..testfile import Spec
from .environment import Environment
from .hosts import POOLS, SimulatedSystem, SimWorld
from .loop import SimLoop, Stuck
from .swarm import draw

if TYPE_CHECKING:
    from .trace import Entry
    from .world import World

T = TypeVar("T")
POLLS = 100             # looks at whether all nodes agree, in the time they have for it
MOST_EXTRA_S = 600.0    # virtual time besides the time limit: more, and something waits for ever
STORM_NS = 100_000_000  # a part of virtual time in which this many events are no work any more,
STORM_EVENTS = 50_000   # but nodes that answer each other without end
DIGEST_BYTES = 16
COLLECT_AFTER = 200_000  # objects


@dataclass(slots=True)
class Outcome:
    """How one seed ended.

    checks: everything that judged; digest: of all that happened; faults: how many took effect, by
    name; marks: what the nodes came by (core/marks.pxd); error: what broke the run itself.
    """

    seed: int
    verdict: Verdict
    summary: str
    checks: list[CheckResult]
    digest: str
    events: int
    virtual_ns: int
    wall_ns: int
    cpu_ns: int
    operations: Operations
    faults: dict[str, int]
    marks: dict[str, int]
    environment: Environment
    history: History | None = None
    error: str | None = None
    trace: list[Entry] = field(default_factory=list)


class Simulation:
    """One run of a plan. Where its events go may be changed until ``run``.

    history: takes the events and, as they come, hashes them into ``digest``.
    listeners: hear every operation; on_event: what does not come from the scheduler (a fault's
    life, a leader); on_phase: is told each phase's name. record: keep the world's trace.
    """

    def __init__(
        self, chosen: Plan, *, record: bool = False,
        listeners: Sequence[Callable[[Op], Any]] = (),
        on_event: Callable[[Op], Any] = lambda op: None,
        on_phase: Callable[[str], None] = lambda phase: None,
    ) -> None:
        swarm = draw(chosen.spec, chosen.seed)
        self.environment = swarm.environment
        self.spec = with_patience(chosen.spec, swarm.environment)
        self.system = cast(SimulatedSystem, chosen.system)
        self.faults = faults_of(chosen.spec) if chosen.spec.schedule else swarm.package(chosen.spec)
        self.record = record
        self.listeners = listeners
        self.on_event = on_event
        self.on_phase = on_phase
        around = SimWorld(chosen.seed, chosen.spec.topology.nodes, self.environment,
                          record=record, pools=tuple(chosen.spec.topology.pools) or POOLS,
                          domains=len(chosen.spec.topology.tree().domains) > 1)
        self.world = world = around.world
        self.loop = SimLoop(self.world)  # type: ignore[abstract]  # loop.py adds what it refuses
        self.test = Test(self.spec, chosen.seed, around, chosen.system, chosen.workload,
                         clock=lambda: world.now_ns)
        self.digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
        self.history: Recorder = HistoryInMemory(
            "history", self.digest, domains=carried(chosen.spec) is not None)
        self.phases: Phases | None = None
        self.checks: list[CheckResult] = []
        self.error: str | None = None

    def stop(self) -> None:
        """End the phases early; may be called by a signal's handler."""
        if self.phases is not None:
            self.loop.call_soon(self.phases.stop)

    def run(self) -> Outcome:
        """Let it happen, and judge it."""
        began_ns, began_cpu_ns = time.perf_counter_ns(), time.process_time_ns()
        mutants.activate(self.system.mutant)
        marks.clear()
        with few_collections():
            self._attempt(self._simulate)
            found = self._attempt(self.history.history)
            if found is not None:
                self._attempt(lambda: self._judge(found))
        self.digest.update(self.world.digest().encode())
        verdict = judged(self.checks, self.error)
        return Outcome(
            seed=self.test.seed, verdict=verdict,
            summary=summary_of(self.checks, verdict) or self.error or "", checks=self.checks,
            digest=self.digest.hexdigest(), events=self.world.events,
            virtual_ns=self.world.now_ns, wall_ns=time.perf_counter_ns() - began_ns,
            cpu_ns=time.process_time_ns() - began_cpu_ns,
            operations=Operations() if found is None else operations(found),
            faults=effective(self.checks), marks=marks.counts(),
            environment=self.environment, history=found, error=self.error,
            trace=self.world.trace() if self.record else [])

    def _attempt(self, step: Callable[[], T]) -> T | None:
        """Do a step; if it breaks, remember the first reason and let the next step go on."""
        try:
            return step()
        except (SeatrialError, CheckerError, OSError) as error:
            self.error = self.error or told(error)
        except Exception as error:
            traceback.print_exc()
            self.error = self.error or f"internal error: {type(error).__name__}: {error}"
        return None

    # ---- in virtual time

    def _simulate(self) -> None:
        limit_ns = int((self.spec.time_limit + MOST_EXTRA_S) * 1e9)
        self.world.call_at(limit_ns, self.loop.fail, Stuck(
            f"not over after {limit_ns / 1e9:g} virtual seconds"))
        self._look_for_storms(0)
        try:
            self.loop.run_until_complete(self._live())
        except InvariantViolation as violation:
            self._found("invariants", Verdict.VIOLATION, str(violation))
        else:
            self._found("invariants", Verdict.PASS,
                        f"held after each of {self.world.events:,} events")
        finally:
            self.loop.close()

    def _look_for_storms(self, before: int) -> None:
        """Such a run would go on for hours, to find at its end that nothing was agreed on."""
        happened = self.world.events - before
        if happened > STORM_EVENTS:
            self.loop.fail(InvariantViolation(
                f"livelock: {happened:,} events within {STORM_NS / 1e6:g} ms of virtual time, "
                f"until {self.world.now_ns / 1e9:.6f} s"))
            return
        self.world.call_at(self.world.now_ns + STORM_NS, self._look_for_storms, self.world.events)

    async def _live(self) -> None:
        await self.system.setup(self.test)
        self.test = test = self.test.begun()
        self.phases = Phases(test, self.faults, self.history, self._record,
                             listeners=self.listeners, on_phase=self.on_phase,
                             recovered=self._recovered)
        await self.phases.run()
        await self.faults.nemesis.teardown(test)
        if self.phases.stopped:
            self._found("interrupted", Verdict.NO_COVERAGE, "the run was ended by ^C")
        elif not self.checks and await self._recovered():
            self._found("liveness", Verdict.PASS, "all nodes agreed after the last fault")

    def _record(self, op: Op) -> None:
        self.history.append(op)
        self.on_event(op)

    async def _recovered(self) -> bool:
        """Wait until all nodes agree, as long as they may need; tell whether they do.

        What the environment breaks by itself ends here, as all other faults have. Nodes that are
        gone for good need not agree, and where a majority is gone nobody can; so each of them
        must have a reason to be.
        """
        world, limit_ns = self.world, self.system.recovers_within_ns
        world.calm()
        for host in range(world.hosts):
            if world.state(host) in ("down", "broken"):
                world.start(host)
        deadline_ns = world.now_ns + limit_ns
        while (reason := world.converged()) is not None:
            if world.now_ns >= deadline_ns:
                self._found("liveness", Verdict.VIOLATION, f"{limit_ns / 1e9:g} s after all "
                            f"faults had ended the nodes still don't agree: {reason}")
                return False
            await asyncio.sleep(limit_ns / POLLS / 1e9)
        if (gone := without_reason(world)) is not None:
            self._found("recovery", Verdict.VIOLATION, gone)
            return False
        return True

    # ---- afterwards

    def _judge(self, history: History) -> None:
        """Let the checks say what the history shows."""
        self.on_phase("checking")
        test = replace(self.test, spec=in_this_process(self.spec))
        self.checks += test.workload.check(test, history)
        self.checks += domain_checks(test.spec, history)
        if carried(test.spec) is None:
            self.checks += split_brain_checks(history)
        names = [host.name for host in test.nodes]
        self.checks.append(availability_check(test.spec, history, names))
        self.checks.append(coverage.check(history, self.spec.coverage.model_dump(), names,
                                          self.spec.faults.shortest_ns,
                                          self.spec.topology.tree()))

    def _found(self, check: str, verdict: Verdict, summary: str) -> None:
        self.checks.append(CheckResult(check, verdict, summary))


def without_reason(world: World) -> str | None:
    """Return which node does not run, though no bit of its disk ever changed, and no sync lied.

    Faults spare a majority of the disks (nemesis/sim/disks.py), and those that fail or are full
    are healed by now: a majority that is gone for good has such nodes.
    """
    for host in range(world.hosts):
        damage = world.disk(host).counters()
        if world.state(host) == "broken" and not (damage["flips"] or damage["lies"]):
            return f"n{host + 1} is gone, though its disk is sound: {world.trouble(host)}"
    return None


def with_patience(spec: Spec, environment: Environment) -> Spec:
    """Return a test whose clients wait as long as the environment says, if it does."""
    if not environment.op_timeout_ns:
        return spec
    return spec.model_copy(update={"op_timeout": environment.op_timeout_ns / 1e9})


def in_this_process(spec: Spec) -> Spec:
    """Return a test that is judged without worker processes, unless it asks for their engine."""
    if spec.checks.engine != "auto":
        return spec
    return spec.model_copy(update={"checks": spec.checks.model_copy(update={"engine": "search"})})


def effective(checks: Sequence[CheckResult]) -> dict[str, int]:
    """Return how many faults of each name took effect, as coverage counted them."""
    for check in checks:
        if check.name == "coverage":
            return dict(check.evidence["requirements"]["min_faults_by_name"]["got"])
    return {}


@contextmanager
def few_collections() -> Iterator[None]:
    """Let Python look for garbage in cycles less often: a run makes little of it."""
    before = gc.get_threshold()
    gc.set_threshold(COLLECT_AFTER, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
