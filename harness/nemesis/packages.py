"""Packages: a nemesis with the generators that drive it, composable as Jepsen's.

``packages(names, options)`` makes one of the catalogue's faults, all lanes alike, ``campaign`` one
whose lanes differ; ``compose`` joins it with packages of a user's own, whose nemesis understands
other operations.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import chain

from .. import generator as gen
from ..errors import BadInput
from ..generator import Generator
from .catalogue import CATALOGUE
from .compose import ComposedNemesis
from .lane import Lane, Rhythm
from .nemesis import HEAL, FaultNemesis, Nemesis
from .process import MINORITY, ONE, PRIMARIES, TARGETS

LANE = "nemesis"


@dataclass(frozen=True, slots=True)
class Options:
    """How faults follow each other.

    duration_s, gap_s: mean hold of a fault, and mean peace before it; jitter: how far off a
      single one may be, as a share.
    lanes: how many faults may be in force at once.
    targets: from which kill and pause draw how many they hit (process.py).
    parameters: what is not drawn of them, for each name.
    deadline_s: after how long without the controller hosts heal themselves.
    time_limit_s: how long faults may go on; one that could not be held in full isn't started.
    """

    duration_s: float = 4.0
    gap_s: float = 2.0
    jitter: float = 0.2
    lanes: int = 1
    targets: Sequence[str] = (ONE, MINORITY, PRIMARIES)
    deadline_s: float = 30.0
    time_limit_s: float | None = None
    parameters: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("duration_s", "gap_s", "deadline_s"):
            if not getattr(self, name) > 0:
                raise BadInput(f"faults: {name} is {getattr(self, name)}; expected more than 0")
        if not 0 <= self.jitter < 1:
            raise BadInput(f"faults: jitter is {self.jitter}; expected 0 to 1, without 1")
        if self.lanes < 1:
            raise BadInput(f"faults: lanes is {self.lanes}; expected at least 1")
        if not self.targets or not set(self.targets) <= set(TARGETS):
            raise BadInput(f"faults: targets is {list(self.targets)}; expected some of "
                           + ", ".join(TARGETS))


@dataclass(frozen=True, slots=True)
class Course:
    """What one lane does. parameters: what is fixed of them, for each name.

    bursts, quiet_s: see Rhythm (lane.py).
    """

    names: tuple[str, ...]
    duration_s: float
    gap_s: float
    jitter: float
    bursts: float = 0.0
    quiet_s: float = 0.0
    parameters: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Perf:
    """What plots must know of a fault: its name in the history, and its class."""

    name: str
    cls: str


@dataclass(frozen=True, slots=True)
class Package:
    """A nemesis, the operations for it while the test runs, and those that heal at its end.

    lanes: names of the nemesis threads that the generators use; the driver must have them.
    """

    nemesis: Nemesis
    generator: Generator
    final_generator: Generator
    perf: tuple[Perf, ...]
    lanes: tuple[str, ...] = (LANE,)


def packages(names: Sequence[str], options: Options | None = None) -> Package:
    """Return the package of these faults; BadInput for a name that doesn't exist."""
    options = options or Options()
    course = Course(tuple(names), options.duration_s, options.gap_s, options.jitter,
                    parameters=options.parameters)
    return campaign([course] * options.lanes, options)


def campaign(courses: Sequence[Course], options: Options) -> Package:
    """Return the package in which each lane has a course of its own.

    Of the options it takes targets, deadline and time limit.
    """
    names = tuple(dict.fromkeys(name for course in courses for name in course.names))
    nemesis = FaultNemesis(names, targets=options.targets, deadline_s=options.deadline_s)
    if not names:
        return Package(nemesis, gen.NOTHING, gen.NOTHING, ())
    lanes = tuple(LANE if i == 0 else f"{LANE}:{i}" for i in range(len(courses)))
    each = [gen.on_threads(lane, _lane(i, course, options.time_limit_s))
            for i, (lane, course) in enumerate(zip(lanes, courses, strict=True))]
    return Package(
        nemesis, gen.any(*each), gen.on_threads(LANE, {"f": HEAL, "value": {"action": HEAL}}),
        tuple(Perf(name, CATALOGUE[name].cls) for name in names), lanes)


def _lane(number: int, course: Course, limit_s: float | None) -> Lane:
    rhythm = Rhythm(course.duration_s, course.gap_s, course.jitter, limit_s, course.bursts,
                    course.quiet_s)
    return Lane(number, tuple(dict.fromkeys(course.names)), rhythm, course.parameters)


def compose(parts: Sequence[Package]) -> Package:
    """Return one package that does what all of these do."""
    if not parts:
        return packages(())
    return reduce(_join, parts)


def _join(a: Package, b: Package) -> Package:
    return Package(
        ComposedNemesis((a.nemesis, b.nemesis)), gen.any(a.generator, b.generator),
        gen.concat(a.final_generator, b.final_generator), a.perf + b.perf,
        tuple(dict.fromkeys(chain(a.lanes, b.lanes))))
