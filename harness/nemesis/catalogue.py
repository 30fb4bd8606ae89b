"""The closed list of fault names that a test file may use, and what each is in each world.

A name that exists somewhere may stand in every test file; where it can't work it is told as
impossible, with the reason.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import BadInput
from . import (
    clocks,
    disks,
    domains,
    members,
    partition,
    pools,
    power,
    process,
    rolling,
    shaping,
    sim,
    trees,
)
from .hosts import HostScene
from .kind import Absent, Kind
from .scene import Scene
from .sim.scene import SimScene

if TYPE_CHECKING:
    from ..test import Test

SIM = "sim"
HOST_KINDS: dict[str, Kind[Any]] = {
    kind.name: kind for kind in (
        *process.KINDS, *partition.KINDS, *domains.KINDS, *pools.KINDS, *members.KINDS,
        *trees.KINDS, *rolling.KINDS, *power.KINDS, *shaping.KINDS, *clocks.KINDS, *disks.KINDS)}
MACHINES_ONLY = frozenset(kind.name for kind in (
    *power.KINDS, domains.DomainPowerLoss(), *shaping.KINDS, *clocks.KINDS, *disks.KINDS))
"""What a namespace host shares with the machine that it is on, and so can't be hit alone."""
SIM_KINDS: dict[str, Kind[Any]] = {kind.name: kind for kind in sim.KINDS}
CATALOGUE: dict[str, Kind[Any]] = HOST_KINDS | {
    name: kind for name, kind in SIM_KINDS.items() if name not in HOST_KINDS}
NOT_ON_HOSTS = "exists only in the simulated world"
NOT_IN_SIM = "does not exist in the simulated world"


def checked(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names, each once; BadInput for one that doesn't exist."""
    for name in names:
        if name not in CATALOGUE:
            raise BadInput(f"unknown fault {name!r}; expected one of {', '.join(CATALOGUE)}")
    return tuple(dict.fromkeys(names))


def kinds(names: Iterable[str], world: str) -> dict[str, Kind[Any]]:
    """Return what these names are in a world."""
    here, reason = (SIM_KINDS, NOT_IN_SIM) if world == SIM else (HOST_KINDS, NOT_ON_HOSTS)
    return {name: here[name] if name in here else Absent(name, CATALOGUE[name].cls, reason)
            for name in checked(names)}


def scene_of(test: Test, targets: Sequence[str], deadline_s: float) -> Scene:
    """Return where the faults of this run happen. deadline_s: see HostScene."""
    if test.world.name == SIM:
        return SimScene(test, targets)
    return HostScene(test, targets, deadline_s)


def parameters(name: str, given: Mapping[str, int]) -> dict[str, int]:
    """Return a fault's given parameters if it has such; BadInput for others."""
    known = CATALOGUE[name].parameters
    for parameter in given:
        if parameter not in known:
            raise BadInput(f"fault {name!r} has no parameter {parameter!r}; expected "
                           f"{', '.join(known) or 'none'}")
    return dict(given)
