"""Runs schedules in the simulated world, for shrinking."""
from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from seatrial.checker.history import INVOKE, NEMESIS, History

from .. import schedule
from ..launch import Plan
from ..results import Check
from ..schedule import ns
from ..sim.simulation import Outcome, Simulation
from ..testfile import Spec
from .trial import Trial, failures

Planner = Callable[[Spec], Plan]
PROPERTY = re.compile(r"[^:(\[\d]*")      # what a message names before it goes into numbers


@dataclass(frozen=True, slots=True)
class Ran:
    """One run. origin_ns: when its clients began, in the world's time."""

    outcome: Outcome
    origin_ns: int


def run(chosen: Plan, *, record: bool = False) -> Ran:
    """Run a test once."""
    simulation = Simulation(chosen, record=record)
    outcome = simulation.run()
    return Ran(outcome, simulation.test.origin_ns + began_ns(outcome.history, chosen.spec))


def trial(chosen: Plan) -> Trial:
    """Run a test once; return what shrinking wants to know."""
    ran = run(chosen)
    return judged(ran, chosen.spec)


def judged(ran: Ran, spec: Spec) -> Trial:
    """Return what shrinking wants to know of a run."""
    outcome = ran.outcome
    began = began_ns(outcome.history, spec)
    ended = outcome.virtual_ns - (ran.origin_ns - began)
    return Trial(outcome.seed, outcome.verdict.label, outcome.digest,
                 failures(checks(outcome), spec, outcome.history, began, ended), outcome.events)


def checks(outcome: Outcome) -> dict[str, Check]:
    """Return what each check of a run said; of a violated invariant also which one it is."""
    found = {}
    for one in (one for check in outcome.checks for one in check.all()):
        evidence = one.evidence
        if one.name == "invariants" and "property" not in evidence:
            evidence = {"property": PROPERTY.match(one.summary)[0].strip()} | evidence  # type: ignore[index]
        found[one.name] = Check(one.verdict.label, one.summary, evidence, one.text)
    return found


def began_ns(history: History | None, spec: Spec) -> int:
    """Return when clients began, in the history's time."""
    if history is None:
        return 0
    rows = np.flatnonzero((history.type == INVOKE) & (history.process != NEMESIS))
    if not len(rows):
        return 0
    first = int(history.time[rows].min())
    if spec.schedule is None:
        return first
    return first - min((ns(op.at) for op in spec.schedule.operations), default=0)


def written_down(ran: Ran, spec: Spec) -> Spec:
    """Return a run as a test whose schedule says everything that happened in it."""
    assert ran.outcome.history is not None
    return schedule.from_history(
        ran.outcome.history, spec, seed=ran.outcome.seed,
        environment=fields(ran.outcome))


def fields(outcome: Outcome) -> dict[str, object]:
    """Return those fields of a run's environment that are not the default."""
    import msgspec

    from ..sim.environment import Environment
    default, own = (msgspec.to_builtins(e) for e in (Environment(), outcome.environment))
    return {name: value for name, value in own.items() if value != default[name]}
