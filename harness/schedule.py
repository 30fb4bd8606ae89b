"""A schedule: a run in which every operation and every fault is written down, one by one.

Where a test file has one, it stands in for the workload's generator, the lanes of faults and
the final reads, in every world; the workload's client and checks stay, and so do healing and
all that is judged. Shrinking (shrink.py) works on schedules, and ends in one that a person can
read and run.

Nothing is drawn but what a fault leaves open: one without targets is aimed when it strikes, so
"whoever leads then" can be said, and means the same on real hosts. Each fault has a lane of its
own, and so its start is never late because another one is slow.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from seatrial.checker.history import INVOKE, NEMESIS, History

from . import generator as gen
from .errors import BadInput
from .generator import PENDING, Answer, Context, Generator
from .generator.context import bits
from .generator.protocol import SLEEP
from .nemesis.catalogue import CATALOGUE, parameters
from .nemesis.nemesis import HEAL, FaultNemesis
from .nemesis.packages import LANE, Package, Perf
from .op import Op
from .testfile import Faults, PlannedFault, PlannedOperation, Requirements, Schedule, Spec
from .yamlfile import Document, suggestion

SECOND_NS = 1_000_000_000


def ns(seconds: float) -> int:
    """Return seconds as ns."""
    return round(seconds * SECOND_NS)


# ---- carried out


class Planned(Generator, frozen=True, gc=False):
    """Operations whose times and threads are given. Those due at one moment start in their order.

    queues: by thread, what it does one after the other; taken: how many of each were.
    """

    hears = False

    queues: tuple[tuple[Op, ...], ...]
    taken: tuple[int, ...]

    def op(self, test: Any, ctx: Context) -> Answer:
        first = self._waiting(ctx.threads & ~ctx.free)
        best: Op | None = None
        at = 0
        for thread in bits(ctx.free):
            if self.taken[thread] < len(self.queues[thread]):
                op = self.queues[thread][self.taken[thread]]
                waits = op.time_ns in first and first[op.time_ns] < op.index
                if not waits and (best is None or (op.time_ns, op.index) < (
                        best.time_ns, best.index)):
                    best, at = op, thread
        if best is None:
            over = all(map(len_is, self.queues, self.taken))
            return None if over else PENDING
        taken = (*self.taken[:at], self.taken[at] + 1, *self.taken[at + 1:])
        op = Op(best.f, best.value, best.key, best.type, ctx.processes[at], best.time_ns)
        return op, Planned(self.queues, taken)

    def _waiting(self, busy: int) -> dict[int, int]:
        """Return, for moments at which busy threads have something due, the first one's index."""
        first: dict[int, int] = {}
        for thread in bits(busy):
            if self.taken[thread] < len(self.queues[thread]):
                op = self.queues[thread][self.taken[thread]]
                first[op.time_ns] = min(op.index, first.get(op.time_ns, op.index))
        return first


def len_is(queue: Sequence[Op], taken: int) -> bool:
    """Return whether all of a queue was taken."""
    return len(queue) == taken


def generator(spec: Spec, began_ns: int) -> Generator:
    """Return the schedule of a test as what is to be done from this moment to the time limit."""
    plan = planned(spec)
    queues: list[list[Op]] = [[] for _ in range(spec.clients + 1 + len(plan.faults))]
    for index, operation in enumerate(sorted(plan.operations, key=lambda each: each.at)):
        key = None if operation.key is None else operation.key.encode()
        queues[operation.client].append(Op(operation.f, operation.value, key, index=index,
                                           time_ns=began_ns + ns(operation.at)))
    clock, lanes = queues[spec.clients], queues[spec.clients + 1:]
    clock.append(Op(SLEEP, 0.0, type=SLEEP, time_ns=began_ns + ns(spec.time_limit)))
    for number, (fault, lane) in enumerate(zip(plan.faults, lanes, strict=True)):
        lane += [Op(fault.name, value, time_ns=began_ns + ns(at))
                 for at, value in fault_steps(fault, str(number))]
    return Planned(tuple(map(tuple, queues)), (0,) * len(queues))


def fault_steps(fault: PlannedFault, id: str) -> Iterator[tuple[float, dict[str, Any]]]:
    """Yield what the nemesis is asked for, and when (nemesis.py knows what it means)."""
    aim = {"targets": fault.targets, "grudge": fault.grudge, "parameters": fault.parameters}
    given = {name: value for name, value in aim.items() if value}
    yield fault.at, {"action": "start", "id": id, "seed": fault.seed} | given
    if fault.hold is not None:
        yield fault.at + fault.hold, {"action": "stop", "id": id}


def package(spec: Spec) -> Package:
    """Return the nemesis that carries out the faults of a schedule, and what heals at its end.

    The faults themselves are in ``generator``, beside the operations.
    """
    names = dict.fromkeys(fault.name for fault in planned(spec).faults)
    nemesis = FaultNemesis(names, targets=spec.faults.targets)
    heal = gen.on_threads(LANE, {"f": HEAL, "value": {"action": HEAL}}) if names else gen.NOTHING
    lanes = (LANE, *(f"{LANE}:{n}" for n in range(1, len(planned(spec).faults) + 1)))
    return Package(nemesis, gen.NOTHING, heal,
                   tuple(Perf(name, CATALOGUE[name].cls) for name in names), lanes)


def planned(spec: Spec) -> Schedule:
    """Return the schedule of a test that has one."""
    assert spec.schedule is not None, f"{spec.name} has no schedule"
    return spec.schedule


# ---- validated


def validate(document: Document, spec: Spec, workload: Any) -> None:
    """Refuse a schedule that can't be carried out.

    A workload that has ``refusal(f, key, value)`` is asked about each operation; it returns
    what is wrong, or None.
    """
    if spec.schedule is None:
        return
    for section, given in (("rate", spec.rate), ("faults", spec.faults.names)):
        if given:
            raise document.error((section,), "expected nothing here beside a schedule, which says "
                                             "what happens and when")
    nodes = [f"n{number}" for number in range(1, spec.topology.nodes + 1)]
    refusal = getattr(workload, "refusal", lambda f, key, value: None)
    for i, operation in enumerate(spec.schedule.operations):
        at = ("schedule", "operations", i)
        if operation.client >= spec.clients:
            raise document.error((*at, "client"), f"expected less than clients ({spec.clients}), "
                                                  f"got {operation.client}")
        _before_the_end(document, (*at, "at"), operation.at, spec)
        if wrong := refusal(operation.f, operation.key, operation.value):
            raise document.error(at, wrong)
    for i, fault in enumerate(spec.schedule.faults):
        at = ("schedule", "faults", i)
        if fault.name not in CATALOGUE:
            raise document.error((*at, "name"), f"unknown fault {fault.name!r}; "
                                                f"{suggestion(fault.name, CATALOGUE)}")
        _before_the_end(document, (*at, "at"), fault.at, spec)
        try:
            parameters(fault.name, fault.parameters)
        except BadInput as error:
            raise document.error((*at, "parameters"), str(error)) from None
        pools = fault.name == "pool-cut" and not fault.grudge
        for name in _named(fault):
            if name not in nodes and not (pools and name.startswith("pool:")):
                raise document.error(at, f"unknown node {name!r}, expected one of "
                                         + ", ".join(nodes))


def _before_the_end(document: Document, at: tuple[str | int, ...], moment: float,
                    spec: Spec) -> None:
    if moment >= spec.time_limit:
        raise document.error(at, f"expected less than time_limit ({spec.time_limit:g}), "
                                 f"got {moment:g}")


def _named(fault: PlannedFault) -> Iterator[str]:
    """Yield the nodes that a fault names."""
    yield from fault.targets or ()
    for node, dropped in (fault.grudge or {}).items():
        yield node
        yield from dropped


# ---- rebuilt


def from_history(history: History, spec: Spec, *, seed: int,
                 environment: Mapping[str, Any] | None = None) -> Spec:
    """Return the test whose schedule is what happened in a run.

    seed: the run's. environment: what its simulated cluster ran on, where it was one.
    Operations and faults get the times at which they began; all targets are named. Where they
    are left open later, a crash or pause hits whoever leads then.
    """
    if spec.schedule is None:
        began_ns = _began_ns(history)
        changes: dict[str, Any] = {
            "schedule": Schedule(operations=_operations(history, spec.clients, began_ns),
                                 faults=_faults(history, began_ns)),
            "time_limit": max((int(history.time.max(initial=0)) - began_ns) / SECOND_NS, 1e-3),
            "rate": None,
            "faults": Faults(targets=["primaries"], settle=spec.faults.settle),
            "coverage": Requirements(final_reads=False),
        }
    else:
        changes = {}
    sim = spec.sim.model_copy(update={
        "swarm": False,
        "environment": dict(spec.sim.environment if environment is None else environment)})
    return spec.model_copy(update=changes | {"seed": seed, "sim": sim})


def _began_ns(history: History) -> int:
    """Return when clients began; a schedule's times count from there."""
    first = np.flatnonzero(history.process != NEMESIS)
    return int(history.time[first[0]]) if len(first) else 0


def _operations(history: History, clients: int, began_ns: int) -> list[PlannedOperation]:
    """Return the operations at the times when they were started. An operation that waited for
    its client has an earlier time in the history; its place there tells when it came to it."""
    rows = np.flatnonzero((history.type == INVOKE) & (history.process != NEMESIS)).tolist()
    started = np.maximum.accumulate(history.time)
    keys: list[str | None] = [*map(_text, history.keys), None]       # NONE is -1: the last one
    return [PlannedOperation(
        at=max(int(started[row]) - began_ns, 0) / SECOND_NS,
        client=int(history.process[row]) % clients, f=history.fs[history.f[row]],
        key=keys[history.key[row]], value=history.value(row)) for row in rows]


def _text(key: bytes) -> str:
    """Return a key as a test file writes it."""
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise BadInput(f"key {key!r}: a schedule holds keys that are text only") from None


@dataclass(slots=True)
class _Life:
    """What a history tells of one fault."""

    name: str
    start_ns: int
    seed: int
    stop_ns: int | None = None
    targets: list[str] = field(default_factory=list)
    grudge: dict[str, list[str]] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)


def _faults(history: History, began_ns: int) -> list[PlannedFault]:
    """Return the faults that hit somebody, in the order in which they did, as a file has them.

    (One that found no target changed nothing.)
    """
    lives: dict[str, _Life] = {}
    for row in np.flatnonzero(history.process == NEMESIS).tolist():
        value: Any = history.value(row)
        if not isinstance(value, dict) or "id" not in value:
            continue
        id, time_ns = str(value["id"]), int(history.time[row])
        if value.get("action") == "start":
            lives.setdefault(id, _Life(history.fs[history.f[row]], time_ns, int(value["seed"])))
        elif id not in lives:
            continue
        elif value.get("action") == "stop" and lives[id].stop_ns is None:
            lives[id].stop_ns = time_ns
        elif value.get("phase") == "requested":
            lives[id].start_ns = time_ns          # whom to hit may have taken time to find out
            for name in ("targets", "grudge", "parameters"):
                setattr(lives[id], name, value.get(name) or getattr(lives[id], name))
    return [_planned_fault(life, began_ns)
            for life in sorted(lives.values(), key=lambda life: life.start_ns)
            if life.targets or life.grudge]


def _planned_fault(life: _Life, began_ns: int) -> PlannedFault:
    hold = None if life.stop_ns is None else (life.stop_ns - life.start_ns) / SECOND_NS
    return PlannedFault.model_validate({
        "at": max(life.start_ns - began_ns, 0) / SECOND_NS, "for": hold, "name": life.name,
        "targets": life.targets or None, "grudge": life.grudge or None,
        "parameters": life.parameters, "seed": life.seed})
