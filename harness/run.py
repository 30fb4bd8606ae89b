"""The life of a run, inside the lab: install, disturb, measure, heal, judge, save.

::

    system.setup, nemesis.setup
    running, healing, final reads        phases.py
    nemesis.teardown, logs fetched, history closed
    checks, coverage -> results.json, report.html -> verdict

Whatever breaks, every later step that still makes sense is done: hosts are healed, logs are
fetched, and what the history holds is judged. A violation stays one when the run broke after
it. ^C once ends the phases early and goes on from there; ^C twice ends at once and leaves
the faults' journal on the hosts for ``seatrial heal``. Before them and while checks judge,
when there is nothing to heal, the first ^C ends the run.
"""
from __future__ import annotations

import asyncio
import shutil
import signal
import threading
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar, cast

from seatrial.checker import CheckerError, CheckResult, History, Verdict
from seatrial.checker.history import metadata
from seatrial.checker.online import Violation
from seatrial.checker.split_brain import split_brain_checks

from . import coverage
from .availability import availability_check
from .control import on_nodes
from .domain_checks import carried, domain_checks
from .errors import HarnessFailure, SeatrialError, told
from .history import HistoryWriter
from .hosts.inventory import InventoryWorld
from .hosts.labs import view
from .launch import Done, Plan, Request, plan
from .log_checks import log_checks, logs_of_run
from .op import Op
from .phases import Phases, faults_of
from .progress import Progress
from .protocols import Consoles, Host, World
from .report import render_report
from .results import VERDICTS, build, write_results
from .store import RunFolder, Store
from .test import Test
from .watch import Watch, Watched

T = TypeVar("T")
INSTALLING, CHECKING = "installing", "checking"


def inside(request: Request, lab: str) -> Done:
    """Run a validated request with the hosts of a lab that somebody else owns."""
    return asyncio.run(_inside(request, lab))


def on_inventory(request: Request) -> Done:
    """Run a validated request with hosts that exist already."""
    InventoryWorld.enter(Path(request.world))
    return asyncio.run(_on_inventory(request))


async def _on_inventory(request: Request) -> Done:
    chosen = plan(request)
    world = InventoryWorld(Path(request.world), chosen.spec.topology.nodes)
    try:
        await world.up()
        return await Run(chosen, world).live()
    finally:
        world.close()


async def _inside(request: Request, lab: str) -> Done:
    world = view(lab)
    try:
        await world.up()
        return await Run(plan(request), world).live()
    finally:
        world.close()


async def in_background(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function in a thread that, unlike asyncio's own, nobody waits for at the end:
    a run that is interrupted does not last as long as its checks would."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(cast(T, result))

    def body() -> None:
        result, failure = None, None
        try:
            result = function(*arguments)
        except Exception as error:
            failure = error
        with suppress(RuntimeError):     # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=body, name=function.__name__, daemon=True).start()
    return await future


class Run:
    """One run, from installed hosts to a verdict."""

    def __init__(self, chosen: Plan, world: World) -> None:
        spec = chosen.spec
        self.request = chosen.request
        self.test = Test(spec, chosen.seed, world, chosen.system, chosen.workload)
        self.folder: RunFolder = Store(chosen.request.store).begin(spec.name)
        self.started = datetime.now(UTC)
        self.progress = Progress(f"{spec.name}, seed {chosen.seed}, {world.name}",
                                 time_limit_s=spec.time_limit)
        self.faults = faults_of(spec)
        self.history: HistoryWriter | None = None
        self.hosts_may_be_hurt = False
        self.judged: History | None = None
        self.checks: list[CheckResult] = []
        self.phases: Phases | None = None
        self.watch: Watch | None = None
        self.interrupts = 0
        self.error: str | None = None

    async def live(self) -> Done:
        """Do everything; return the verdict."""
        self.folder.write_json(self.folder.test.name, self.test.options)
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._interrupt, task)
        with self.progress:
            try:
                await self._attempt(self._disturb)
                await self._attempt(self._leave)
                await self._attempt(self._judge)
                if not (self.request.keep and self._is_violated()):
                    await self._attempt(self._tear_down)
                return self._conclude()
            except asyncio.CancelledError:
                raise HarnessFailure(self._how_interrupted()) from None

    async def _attempt(self, step: Callable[[], Awaitable[None]]) -> None:
        """Do a step; if it breaks, remember the first reason and let the next step go on."""
        try:
            await step()
        except (SeatrialError, OSError) as error:
            self.error = self.error or told(error)
        except Exception as error:
            traceback.print_exc()
            self.error = self.error or f"internal error: {type(error).__name__}: {error}"

    def _interrupt(self, task: asyncio.Task[Done]) -> None:
        """^C: first end the phases early, then end at once."""
        self.interrupts += 1
        if self.interrupts > 1 or self.progress.phase in (INSTALLING, CHECKING):
            task.cancel()
        elif self.phases is not None:
            self.phases.stop()

    def _how_interrupted(self) -> str:
        """Return what to know after a run that was ended at once."""
        recorded = f"what was recorded is in {self.folder.path}"
        if self.hosts_may_be_hurt:
            return ("interrupted twice: faults may still be in force on the hosts; undo them with "
                    f"'seatrial heal'; {recorded}")
        return f"interrupted while {self.progress.phase}; {recorded}"

    def record(self, op: Op) -> None:
        """Take an event that does not come from the scheduler: a fault's life, a leader."""
        assert self.history is not None
        self.history.append(op)
        self.progress.on_event(op)
        if "phase" in op.value:
            self.folder.note_fault({"fault": op.f, "time_ns": op.time_ns} | op.value)

    # Disturb

    async def _disturb(self) -> None:
        """Set everything up and do the three phases."""
        test = self.test
        self.progress.set_phase(INSTALLING)
        await test.system.setup(test)
        test = self.test = test.begun()
        if isinstance(test.workload, Watched) and (test.spec.checks.online
                                                   or test.spec.checks.stop):
            self.watch = Watch(test.workload.online_model, test.spec.checks,
                               on_violation=partial(self._violated, asyncio.get_running_loop()),
                               on_verdict=self.progress.set_verdict)
        self.history = HistoryWriter(self.folder.history,
                                     metadata(test.seed, test.options, carried(test.spec)),
                                     on_batch=self.watch.take if self.watch else None)
        if self.faults.perf:
            self.hosts_may_be_hurt = True
        self.phases = Phases(test, self.faults, self.history, self.record,
                             listeners=(self.progress.on_event,),
                             on_phase=self.progress.set_phase)
        await self.phases.run()

    def _violated(self, loop: asyncio.AbstractEventLoop, violation: Violation) -> None:
        """Hear of the first violation while the run goes on, from the thread that judges."""
        if self.test.spec.checks.stop and self.phases is not None:
            with suppress(RuntimeError):     # the loop is closed: it is over already
                loop.call_soon_threadsafe(self.phases.stop)

    # Leave

    async def _leave(self) -> None:
        """Heal the hosts, fetch their logs, close the history: each also when another fails."""
        self.progress.set_phase("fetching logs")
        for step in (self._heal, self._fetch_logs, self._close_history):
            await self._attempt(step)

    async def _heal(self) -> None:
        if not self.hosts_may_be_hurt:
            return
        for host in await self.faults.nemesis.teardown(self.test):
            if host.error:
                raise HarnessFailure(f"{host.host}: not healed: {host.error}")
        self.hosts_may_be_hurt = False

    async def _fetch_logs(self) -> None:
        async def fetch(host: Host) -> None:
            for path in self.test.system.log_files(self.test, host):
                if (await host.run(["test", "-e", path], check=False)).code == 0:
                    name = PurePosixPath(path).name
                    await host.get(path, self.folder.node(host.name) / name)

        await on_nodes(self.test.nodes, fetch)
        if isinstance(self.test.world, Consoles):
            for host in self.test.nodes:
                shutil.copyfile(self.test.world.console(host.name),
                                self.folder.node(host.name) / "console.log")

    async def _close_history(self) -> None:
        if self.history is not None:
            self.history.close()

    async def _tear_down(self) -> None:
        await self.test.system.teardown(self.test)

    # Conclude

    async def _judge(self) -> None:
        """Let the checks say what the history shows."""
        if self.history is None:
            return
        self.progress.set_phase(CHECKING)
        try:
            self.judged = History.read(self.folder.history)
            self.checks = await in_background(self._checks, self.judged)
        except CheckerError as error:
            raise HarnessFailure(f"the history can't be judged: {error}") from error

    def _checks(self, history: History) -> list[CheckResult]:
        """Return what the workload's checks, coverage and an early end say."""
        names = [host.name for host in self.test.nodes]
        found = list(self.test.workload.check(self.test, history))
        found += domain_checks(self.test.spec, history)
        if carried(self.test.spec) is None:
            found += split_brain_checks(history)
        found += log_checks(self.test.spec.checks.logs, logs_of_run(self.folder.nodes))
        found.append(availability_check(self.test.spec, history, names))
        found.append(coverage.check(history, self.test.spec.coverage.model_dump(), names,
                                    self.test.spec.faults.shortest_ns,
                                    self.test.spec.topology.tree()))
        if self.watch is not None:
            found.append(self.watch.finish())
        if self.interrupts:
            found.append(CheckResult("interrupted", Verdict.NO_COVERAGE, "the run was ended by ^C"))
        return found

    def _is_violated(self) -> bool:
        return any(check.verdict is Verdict.VIOLATION for check in self.checks)

    def _conclude(self) -> Done:
        """Write results and report."""
        command = self.request.command
        results = build(
            self.judged, self.checks, test=self.test.name, world=self.test.world.name,
            seed=self.test.seed, nodes=[host.name for host in self.test.nodes],
            started=self.started.isoformat(), command=command, error=self.error,
        )
        write_results(self.folder, results)
        render_report(self.folder)
        self.progress.set_verdict(results.verdict)
        return Done(results.verdict, VERDICTS[results.verdict].exit_code, results.summary,
                    self.folder.path, command, self._is_violated())
