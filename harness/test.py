"""What one run is about: the value that every part is handed.

A ``Test`` is made once, when the hosts stand, and holds them together with the system, the
workload, the seed and the clock. Parts read it and never change it; what the test file said
is ``spec``. Time in a run is nanoseconds since ``origin_ns`` on the run's clock, so that
operations, faults and samples can be laid over each other; in simulation that clock shows virtual
time, and nothing that takes part in a run may look at another one.
"""
from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .protocols import Host, System, Workload, World
from .rng import Rng
from .testfile import Spec

SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Test:
    """One run's constants. Draws come from ``rng(name)``: a stream of its own per component.

    clock: returns ns; every part of the run that needs the time asks this one.
    """

    __test__ = False  # pytest: not a test case

    spec: Spec
    seed: int
    world: World
    system: System
    workload: Workload
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("seatrial.run"))
    clock: Callable[[], int] = time.monotonic_ns
    origin_ns: int = -1                 # by default now

    def __post_init__(self) -> None:
        if self.origin_ns < 0:
            object.__setattr__(self, "origin_ns", self.clock())

    @property
    def name(self) -> str:
        """The test's name, as the store uses it."""
        return self.spec.name

    @property
    def nodes(self) -> Sequence[Host]:
        """The hosts under test; a host's index is its position here."""
        return self.world.hosts

    @property
    def pools(self) -> Mapping[str, tuple[str, str | None]]:
        """Client pools: name -> source addresses."""
        return self.world.pools

    @property
    def concurrency(self) -> int:
        """How many clients work at a time."""
        return self.spec.clients

    @property
    def stretch(self) -> float:
        """How many times longer than the test says all timeouts are on these hosts."""
        return float(getattr(self.world, "stretch", 1.0))

    @property
    def op_timeout_ns(self) -> int:
        """How long an operation may take before its outcome is unknown."""
        return int(self.spec.op_timeout * self.stretch * SECOND_NS)

    @property
    def options(self) -> Mapping[str, Any]:
        """The whole test file as plain values, as it goes to the store."""
        return {**self.spec.model_dump(mode="json", by_alias=True), "seed": self.seed}

    def now_ns(self) -> int:
        """Return nanoseconds since the start of the run."""
        return self.clock() - self.origin_ns

    def begun(self) -> Test:
        """Return this test with its time starting now."""
        return replace(self, origin_ns=self.clock())

    def rng(self, component: str) -> Rng:
        """Return the stream of draws that belongs to a component."""
        return Rng(self.seed).split(component)
