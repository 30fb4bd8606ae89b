"""``seatrial down``: remove labs and what crashes left of labs.

| command          | removes                                                               |
|------------------|-----------------------------------------------------------------------|
| ``down``         | the lab that ``up`` makes when none is named, and all dead labs       |
| ``down --lab X`` | lab X, dead or kept                                                   |
| ``down --all``   | all labs, dead or kept                                                |

A lab that a living process uses is never touched. One whose owner was killed gets time to heal
its hosts first (hosts/inside.py).
"""
from __future__ import annotations

import click

from ..errors import HarnessFailure
from ..hosts import state
from ..hosts.lab import Lab
from ..hosts.state import Condition


@click.command("down")
@click.option("--lab", metavar="NAME", help="Remove this lab.")
@click.option("--all", "everything", is_flag=True, help="Remove all labs nobody uses.")
def command(lab: str | None, everything: bool) -> None:
    """Remove labs, dead ones too, and all that is left of them."""
    if lab is not None and everything:
        raise click.UsageError("--lab and --all: expected one of them")
    state.require_root()
    if lab is not None:
        _remove(lab)
        return
    names = state.names()
    failures = 0
    for name in names:
        try:
            _remove_unless_wanted(name, everything)
        except HarnessFailure as failure:
            if name in state.names():  # else somebody removed it before us
                click.echo(f"seatrial: {failure}", err=True)
                failures += 1
    state.remove_unborn()
    if not names:
        click.echo("no labs")
    if failures:
        raise HarnessFailure(f"{failures} of {len(names)} labs could not be removed")


def _remove_unless_wanted(name: str, everything: bool) -> None:
    match state.condition(name):
        case Condition.IN_USE if not state.owner_died(name):
            click.echo(f"lab {name}: in use, left alone")
        case Condition.KEPT if not everything and name != state.DEFAULT:
            click.echo(f"lab {name}: kept (seatrial down --lab {name})")
        case _:
            _remove(name)


def _remove(name: str) -> None:
    condition = state.condition(name)
    Lab.reclaim(name).destroy()
    click.echo(f"lab {name}: removed ({condition.value})")
