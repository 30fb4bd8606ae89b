"""What one run is about: the value that every part is handed.

A ``Test`` is made once, when the hosts stand, and holds them together with the system, the
workload, the seed and the clock. Parts read it and never change it; what the test file said
is ``spec``. Time in a run is nanoseconds since ``origin_ns`` on the monotonic clock, so that
operations, faults and samples can be laid over each other.
"""
from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .protocols import Host, System, Workload, World
from .rng import Rng
from .testfile import Spec

SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Test:
    """One run's constants. Draws come from ``rng(name)``: a stream of its own per component."""

    __test__ = False  # pytest: not a test case

    spec: Spec
    seed: int
    world: World
    system: System
    workload: Workload
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("seatrial.run"))
    origin_ns: int = field(default_factory=time.monotonic_ns)

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
    def op_timeout_ns(self) -> int:
        """How long an operation may take before its outcome is unknown."""
        return int(self.spec.op_timeout * SECOND_NS)

    @property
    def options(self) -> Mapping[str, Any]:
        """The whole test file as plain values, as it goes to the store."""
        return {**self.spec.model_dump(mode="json"), "seed": self.seed}

    def now_ns(self) -> int:
        """Return nanoseconds since the start of the run."""
        return time.monotonic_ns() - self.origin_ns

    def rng(self, component: str) -> Rng:
        """Return the stream of draws that belongs to a component."""
        return Rng(self.seed).split(component)
