"""One fault of a run, from the request to the proof that nothing of it is left."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .grudge import Grudge


class FaultError(Exception):
    """Why a fault could not be aimed, started, proven or undone: one line."""


@dataclass(slots=True)
class Fault:
    """A fault and the four times of its life, in ns of the run's clock.

    A time is None where that step did not happen: without ``effective_ns`` the fault was asked
    for and never shown to work, and ``error`` says why. ``parameters``: how strong it is.
    ``gentle``: an administrator's work, which from the request to the recovery leaves a cluster
    that has lost nothing else its majority.
    """

    id: str
    name: str
    cls: str
    targets: list[str] = field(default_factory=list)
    grudge: Grudge = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)
    gentle: bool = False
    requested_ns: int | None = None
    effective_ns: int | None = None
    ended_ns: int | None = None
    recovered_ns: int | None = None
    error: str | None = None

    @property
    def is_active(self) -> bool:
        """Whether it was asked for and not ended."""
        return self.ended_ns is None

    def value(self, phase: str) -> dict[str, Any]:
        """Return what the history says when it enters a phase."""
        value: dict[str, Any] = {"id": self.id, "phase": phase, "class": self.cls,
                                 "targets": list(self.targets)}
        if self.grudge:
            value["grudge"] = {node: sorted(self.grudge[node]) for node in sorted(self.grudge)}
        if self.parameters:
            value["parameters"] = dict(self.parameters)
        if self.gentle:
            value["gentle"] = True
        return value
