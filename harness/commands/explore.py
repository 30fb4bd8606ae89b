"""``seatrial explore``: every interleaving of what can happen in a small cluster."""
from __future__ import annotations

import importlib
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from rich.console import Console

from ..errors import BadInput
from ..registry import SYSTEMS, known

if TYPE_CHECKING:
    from ..sim.exhaustive.cluster import Cluster
    from ..sim.exhaustive.exploration import Outcome
    from ..sim.exhaustive.scope import Scope
    from ..sim.exhaustive.tree_scope import TreeScope

LINE_S = 5.0
MIB = 1 << 20
COUNT = click.IntRange(min=0, max=15)
OF_ONE_DOMAIN = ("nodes", "spares", "transfers", "snapshots", "elected")    # options


@click.command("explore")
@click.option("--nodes", type=click.IntRange(1, 4), default=3, show_default=True,
              help="How many nodes there are.")
@click.option("--spares", type=click.IntRange(0, 3), default=0, show_default=True,
              help="How many of them are no members at first.")
@click.option("--domains", metavar="SIZES", help="A tree of domains instead, each the child of the "
              "one before: how many nodes each has (1/1/1), or how many of how many (2x2).")
@click.option("--pauses", type=click.IntRange(0, 8), default=1, show_default=True,
              help="With --domains: how often the clock goes on by more than any timer.")
@click.option("--timeouts", type=COUNT, default=1, show_default=True,
              help="How many election timers ring, and leaders lose their majority.")
@click.option("--heartbeats", type=COUNT, default=0, show_default=True,
              help="How many heartbeat timers ring.")
@click.option("--proposals", type=COUNT, default=1, show_default=True,
              help="How many entries clients ask for.")
@click.option("--losses", type=COUNT, default=1, show_default=True,
              help="How many connections break.")
@click.option("--crashes", type=COUNT, default=1, show_default=True,
              help="How many nodes lose their power.")
@click.option("--changes", type=COUNT, default=0, show_default=True,
              help="How many changes of members, or of the tree of domains, are asked for.")
@click.option("--transfers", type=COUNT, default=0, show_default=True,
              help="How many transfers of leadership are asked for.")
@click.option("--snapshots", type=COUNT, default=0, show_default=True,
              help="How many snapshots are taken.")
@click.option("--fast-disks", is_flag=True, help="A sync is over at once.")
@click.option("--elected", is_flag=True, help="Begin with a leader.")
@click.option("--no-symmetry", is_flag=True,
              help="Tell states apart that differ in the numbers of nodes only.")
@click.option("--states", type=click.IntRange(min=1), default=1_000_000, show_default=True,
              help="Stop when so many states were seen.")
@click.option("--memory", type=click.IntRange(min=1), default=2048, show_default=True,
              metavar="MIB", help="Stop when they take about so much memory.")
@click.option("--mutant", metavar="NAME", help="Plant this bug in the node.")
@click.option("--trace", metavar="ACTIONS", help="Play these instead, and tell what they do.")
def command(states: int, memory: int, mutant: str | None, trace: str | None,
            **options: Any) -> int:
    """Try everything that can happen in a small cluster of the real consensus machine.

    All orders in which messages, syncs, timeouts, losses and crashes can come, within the bounds.
    Exit code: 0 all states were seen and none is wrong, 1 a violation, 2 a cap came first.
    """
    from ..sim.exhaustive.exploration import CLOSED, VIOLATION, explore, plant

    scope = scope_of(options)
    if mutant is not None and not plant(mutant):
        from .again import again_with
        return again_with(planted(mutant))
    if trace is not None:
        return play(scope, trace)
    with Progress() as progress:
        outcome = explore(scope, states=states, memory_bytes=memory * MIB, tell=progress.tell)
    for line in report(outcome, mutant):
        click.echo(line)
    return {CLOSED: 0, VIOLATION: 1}.get(outcome.ended, 2)


def scope_of(options: dict[str, Any]) -> Scope | TreeScope:
    """Return what the options say is to be explored. Raises BadInput."""
    from ..sim.exhaustive.scope import Scope
    from ..sim.exhaustive.tree_scope import TreeScope, sizes

    options = dict(options)
    domains, pauses = options.pop("domains"), options.pop("pauses")
    options |= {"slow_disks": not options.pop("fast_disks"),
                "symmetry": not options.pop("no_symmetry")}
    given = click.get_current_context().get_parameter_source
    try:
        if domains is None:
            if given("pauses") is ParameterSource.COMMANDLINE:
                raise ValueError("--pauses: only with --domains")
            return Scope(**options)
        for name in OF_ONE_DOMAIN:
            if given(name) is ParameterSource.COMMANDLINE:
                raise ValueError(f"--{name}: not with --domains")
            del options[name]
        return TreeScope(sizes(domains), pauses, **options)
    except ValueError as wrong:
        raise BadInput(str(wrong)) from None


def planted(mutant: str) -> Path:
    """Return the folder of the node's build that holds this bug."""
    module, _, name = known(SYSTEMS)["node"].partition(":")
    system: Any = getattr(importlib.import_module(module), name)
    simulated = system(system.Options(mutant=mutant)).simulated()
    simulated.prepare()
    folder: Path = simulated.python_path()
    return folder


def play(scope: Scope | TreeScope, words: str) -> int:
    """Tell a trace."""
    from ..sim.exhaustive import story
    from ..sim.exhaustive.exploration import told

    lines, judged = told(scope, story.parse(words, scope))
    for line in lines:
        click.echo(line)
    click.echo(f"core/invariants: {judged or 'nothing is wrong'}")
    return 0 if judged is None else 1


def report(outcome: Outcome, mutant: str | None) -> list[str]:
    """Return what is to be said at the end."""
    from ..sim.exhaustive import story
    from ..sim.exhaustive.exploration import CLOSED, told

    left = "" if outcome.ended == CLOSED else f", {outcome.waiting:,} of them not gone on from"
    lines = [
        f"scope:    {outcome.scope}",
        f"ended:    {outcome.ended}",
        f"states:   {outcome.states:,}{left}; {outcome.transitions:,} transitions",
        f"symmetry: as many as {outcome.numbered:,} of numbered nodes",
        f"depth:    {outcome.depth} actions",
        f"machine:  {outcome.node_steps:,} steps, from {outcome.node_states:,} states of a node",
        f"time:     {outcome.wall_s:.1f} s ({outcome.cpu_s:.1f} s of a core), "
        f"{outcome.rate:,.0f} states/s; about {outcome.memory_bytes / MIB:,.0f} MiB",
    ]
    if outcome.violation is not None:
        trace = list(outcome.trace)
        told_as, judged = told(outcome.scope, trace)
        lines += ["", f"violation: {outcome.violation}", "", *told_as, "",
                  f"core/invariants: {judged or 'sees nothing wrong'}",
                  f"trace:    {again(outcome, mutant)} --trace {shlex.quote(story.text(trace))}"]
    return lines


def again(outcome: Outcome, mutant: str | None) -> str:
    """Return the command that plays a trace of this scope; what is bounded needs no bound then."""
    words = ["seatrial", "explore", *outcome.scope.options()]
    words += [] if outcome.scope.slow_disks else ["--fast-disks"]
    words += ["--mutant", mutant] if mutant else []
    return shlex.join(words)


class Progress:
    """A line every now and then, on a terminal the same line."""

    def __init__(self) -> None:
        self.told = time.monotonic()
        self.console = Console(stderr=True)
        self.status = self.console.status("starting")

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self.status.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.status.stop()

    def tell(self, space: Cluster, seconds: float) -> None:
        """So far it has come."""
        now = time.monotonic()
        line = (f"{space.count:,} states, {space.count / max(seconds, 1e-9):,.0f}/s, depth "
                f"{space.depth}, {space.waiting:,} waiting, "
                f"{space.memory_bytes / MIB:,.0f} MiB")
        if self.console.is_terminal:
            self.status.update(line)
        elif now - self.told >= LINE_S:
            self.told = now
            self.console.print(line, highlight=False)
