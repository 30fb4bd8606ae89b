"""A run of a schedule once more, for people: its folder in the store, and who said what to whom."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.console import Console

from seatrial.checker.history import NONE, History

from ..errors import HarnessFailure
from ..launch import Plan
from ..report import render_report
from ..report.sequence import FOREVER_NS, Story, owners, story, text
from ..report.sequence_drawing import whole_file
from ..results import Fault, Results, read_results
from ..sim.answer import Answer
from ..sim.run import run as run_with_folder
from ..store import RunFolder
from . import simulated
from .trial import VIOLATION


@dataclass(frozen=True, slots=True)
class Told:
    """What is to be looked at."""

    answer: Answer
    folder: RunFolder
    story: Story


def tell(fresh: Callable[[], Plan]) -> Told:
    """Run a test twice, with a folder and with a trace, and put the one's story into the other.

    fresh: makes the plan anew, as a run uses it up.
    """
    answer = run_with_folder(fresh(), console=Console(quiet=True))
    assert answer.folder is not None
    folder = RunFolder(Path(answer.folder))
    chosen = fresh()
    ran = simulated.run(chosen, record=True)
    if ran.outcome.digest != answer.digest:
        raise HarnessFailure(f"seed {chosen.seed} gave digest {answer.digest}, then "
                             f"{ran.outcome.digest}: a simulated run is not determined by its "
                             "seed; this is a bug of ours")
    told = story_of(ran, chosen, read_results(folder.results))
    folder.write("sequence.txt", text(told) + "\n")
    folder.write(folder.sequence.name, whole_file(told))
    render_report(folder)
    return Told(answer, folder, told)


def story_of(ran: simulated.Ran, chosen: Plan, results: Results) -> Story:
    """Return the story of a run with a trace."""
    outcome, spec = ran.outcome, chosen.spec
    began = simulated.began_ns(outcome.history, spec)
    held = {} if outcome.history is None else owners(
        outcome.trace, _operations(outcome.history, spec.clients, ran.origin_ns - began))
    wrong = [check.summary if name in check.summary else f"{name}: {check.summary}"
             for name, check in results.checks.items() if check.verdict == VIOLATION]
    certain = [failure.at_ns for failure in simulated.judged(ran, spec).failures
               if failure.at_ns is not None]
    return story(outcome.trace, nodes=results.nodes, origin_ns=ran.origin_ns, owners=held,
                 faults=[_since(fault, began) for fault in results.faults],
                 violation="; ".join(wrong), until_ns=max(certain, default=FOREVER_NS))


def _operations(history: History, clients: int, origin_ns: int,
                ) -> Sequence[tuple[int, int, int, str, bytes | None]]:
    """Return the clients' operations: begin and end in the world's time, client, f, key."""
    found = []
    for row, done in zip(*(rows.tolist() for rows in history.pairs), strict=True):
        end = FOREVER_NS if done == NONE else int(history.time[done]) + origin_ns
        key = history.key[row]
        found.append((int(history.time[row]) + origin_ns, end, int(history.process[row]) % clients,
                      history.fs[history.f[row]], None if key == NONE else history.keys[key]))
    return found


def _since(fault: Fault, began_ns: int) -> Fault:
    """Return a fault with its times counted from when clients began."""
    names = ("requested_ns", "effective_ns", "ended_ns", "recovered_ns")
    return msgspec.structs.replace(fault, **{
        name: None if (at := getattr(fault, name)) is None else at - began_ns for name in names})
