"""A single seed with all that a run leaves behind: a folder with history, results and report.

It needs no hosts, no root and no other process.
"""
from __future__ import annotations

import shlex
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import msgspec
from rich.console import Console

from seatrial.checker import Verdict
from seatrial.checker.history import metadata

from ..domain_checks import carried
from ..errors import HarnessFailure
from ..history import HistoryWriter
from ..launch import Done, Plan, Request
from ..op import Op
from ..progress import Progress, duration
from ..report import render_report
from ..results import VERDICTS, build, commit, write_results
from ..store import RunFolder, Store
from .answer import Answer, answer
from .hosts import NAME
from .simulation import Simulation


def run(chosen: Plan, *, console: Console | None = None) -> Answer:
    """Run one seed in this process. console: where its progress is shown; default: stderr."""
    folder = Store(chosen.request.store).begin(chosen.spec.name)
    started = datetime.now(UTC)
    progress = Progress(f"{chosen.spec.name}, seed {chosen.seed}, {NAME}",
                        time_limit_s=chosen.spec.time_limit, console=console)
    simulation = recorded(chosen, folder, progress)
    folder.write_json(folder.test.name, simulation.test.options)
    with progress, _interrupts(simulation.stop):
        try:
            outcome = simulation.run()
            results = build(
                outcome.history, outcome.checks, test=chosen.spec.name, world=NAME,
                seed=chosen.seed, nodes=[host.name for host in simulation.test.nodes],
                started=started.isoformat(), command=chosen.request.command, error=outcome.error)
            results.trace_digest = outcome.digest
            results.events = outcome.events
            results.wall_ns = outcome.wall_ns
            results.environment = msgspec.to_builtins(outcome.environment)
            write_results(folder, results)
            render_report(folder)
        except KeyboardInterrupt:
            raise HarnessFailure(f"interrupted while {progress.phase}; what was recorded is in "
                                 f"{folder.path}") from None
        progress.set_verdict(results.verdict)
    return answer(outcome, folder)


class WholeBatches(HistoryWriter):
    """Writes a history in whole batches only: virtual time is no reason to hurry."""

    def flush(self) -> None:
        """Wait until there is more."""


def recorded(chosen: Plan, folder: RunFolder, progress: Progress) -> Simulation:
    """Return a simulation whose history goes to a folder."""
    def hear(op: Op) -> None:
        progress.on_event(op)
        if "phase" in op.value:
            folder.note_fault({"fault": op.f, "time_ns": op.time_ns} | op.value)

    simulation = Simulation(chosen, listeners=(progress.on_event,), on_event=hear,
                            on_phase=progress.set_phase)
    simulation.history = WholeBatches(
        folder.history, metadata(chosen.seed, simulation.test.options,
                                 carried(chosen.spec)),
        digest=simulation.digest)
    return simulation


def done(found: Answer, request: Request) -> Done:
    """Return how a run ended as its command tells it."""
    assert found.folder is not None, f"seed {found.seed} has no folder"
    virtual_s, wall_s = found.virtual_ns / 1e9, max(found.wall_ns / 1e9, 1e-9)
    details = {
        "digest": f"{found.digest} (commit {commit()})",
        "time": f"{virtual_s:.1f} virtual seconds in {duration(found.wall_ns)}, "
                f"{virtual_s / wall_s:,.0f} times faster than the clock; "
                f"{found.events:,} events",
    }
    if VERDICTS[found.verdict] is Verdict.VIOLATION:
        details |= {"replay": shlex.join(replays(found, request)),
                    "shrink": shlex.join(["seatrial", "shrink", found.folder])}
    return Done(found.verdict, VERDICTS[found.verdict].exit_code, found.summary,
                Path(found.folder), request.command, violated=False, details=details)


def replays(found: Answer, request: Request) -> list[str]:
    """Return the words that run the same again, anywhere, and prove that it is the same."""
    words = ["seatrial", "replay", str(request.file)]
    for option, (_, value) in request.seeded(found.seed).overrides.items():
        words += [option, f"{value:g}" if isinstance(value, float) else str(value)]
    return [*words, "--digest", found.digest, "--commit", commit()]


@contextmanager
def _interrupts(stop: Callable[[], None]) -> Iterator[None]:
    """Let the first ^C end the phases early; the second one raises KeyboardInterrupt."""
    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stop()

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
