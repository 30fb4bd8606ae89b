"""From a command line to a verdict: the part of a run that stays outside the lab.

::

    launch                                     run.py, in a child inside the lab
      read and validate, without a host
      make the hosts
      run_inside(...)  ----------------------> install, disturb, measure, judge, save
      remove the hosts, whatever happened
      the verdict      <---------------------- Done

Everything that can be known to be wrong is found before the first host is made. From then on
the lab is removed on every way out; only a lab that was there before, or that ``--keep`` wants
to be looked at after a violation, stays.
"""
from __future__ import annotations

import secrets
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

from . import registry, schedule
from .administration import Administered
from .errors import BadInput
from .hosts.inside import run_inside
from .hosts.inventory import is_inventory
from .hosts.labs import LabWorld, attach
from .hosts.local import LocalWorld
from .hosts.plan import LOCAL, VM
from .hosts.state import require_root
from .hosts.vm.prepared import Ready
from .hosts.vm.world import VirtualWorld
from .nemesis.catalogue import CATALOGUE, parameters
from .protocols import Preinstalled, System, Workload
from .testfile import SEED_MAX, Spec, validated
from .topology.runnable import not_yet
from .watch import Watched
from .yamlfile import At, Document, suggestion

SIM = "sim"
__all__ = ["LOCAL", "SIM", "VM", "WORLDS", "Done", "Plan", "Request", "hosts_for", "launch", "plan",
           "plan_of", "prepare"]
WORLDS = (LOCAL, VM, SIM)
POOLS = ("clients",)            # where the topology names none


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for. overrides: option -> (key of the test file, value)."""

    file: Path
    store: Path
    world: str = "local"
    lab: str | None = None
    keep: bool = False
    overrides: dict[str, tuple[At, Any]] = field(default_factory=dict)

    @property
    def command(self) -> list[str]:
        """The words that run the same again, when a seed is among the overrides."""
        words = ["seatrial", "run", str(self.file), "--on", self.world]
        for option, (_, value) in self.overrides.items():
            words += [option] if value is True else [
                option, f"{value:g}" if isinstance(value, float) else str(value)]
        if self.lab is not None:
            words += ["--lab", self.lab]
        if self.store != Path("store").absolute():
            words += ["--store", str(self.store)]
        return words

    def seeded(self, seed: int) -> Request:
        """Return the request for this seed."""
        return replace(self, overrides={**self.overrides, "--seed": (("seed",), seed)})


@dataclass(frozen=True, slots=True)
class Plan:
    """A validated request: everything that a run is made from, and no host yet."""

    request: Request
    spec: Spec
    seed: int
    system: System
    workload: Workload


@dataclass(frozen=True, slots=True)
class Done:
    """How a run ended. violated: whether hosts may be worth keeping.

    details: what else a person is told, heading -> line.
    """

    verdict: str
    exit_code: int
    summary: str
    folder: Path
    command: list[str]
    violated: bool
    details: dict[str, str] = field(default_factory=dict)


def launch(request: Request) -> Done:
    """Run a test and return its verdict. BadInput and HarnessFailure end it without one."""
    request = _with_seed(request)
    chosen = plan(request)
    prepare(chosen)
    if request.world == SIM:
        return _simulate(chosen)
    with hosts_for(chosen) as run:
        return run()


def prepare(chosen: Plan) -> None:
    """Do what comes before the first host: build what is to be installed there."""
    if chosen.request.world in (LOCAL, VM):
        require_root()
    build = getattr(chosen.system, "prepare", None)
    if build is not None:
        build()


@contextmanager
def hosts_for(chosen: Plan) -> Iterator[Callable[[], Done]]:
    """Make real hosts for a plan; what is returned runs it on them, as often as it is called.

    They are removed on every way out, but for those that are to be looked at.
    """
    request = chosen.request
    if is_inventory(request.world):
        from .run import on_inventory

        yield lambda: on_inventory(request)
        return
    with _ended_by_interrupt():
        world = _world(chosen)
        keep = request.lab is not None

        def run() -> Done:
            nonlocal keep
            done = run_inside(world.lab, "seatrial.harness.run:inside", request, world.plan.lab)
            assert isinstance(done, Done)
            keep = keep or (request.keep and done.violated)
            return done

        try:
            if request.lab is None:
                world.make()
            yield run
        finally:
            with _undisturbed():
                world.keep() if keep else world.destroy()


def plan(request: Request) -> Plan:
    """Validate a request as far as that is possible without hosts."""
    return plan_of(Document.load(request.file), request)


def plan_of(document: Document, request: Request) -> Plan:
    """Validate a request, its test file being read already."""
    for option, (at, value) in request.overrides.items():
        document.override(at, value, option)
        if request.world == SIM and at == ("time_limit",):
            document.override(("sim", "time_limit"), value, option)
    document, spec = validated(document)
    if request.world == SIM:
        spec = spec.in_simulation()
    for number, name in enumerate(spec.faults.names):
        if name not in CATALOGUE:
            raise document.error(("faults", "names", number),
                                 f"unknown fault {name!r}; {suggestion(name, CATALOGUE)}")
    for name, given in spec.faults.parameters.items():
        if name not in spec.faults.names:
            raise document.error(("faults", "parameters", name), "expected one of faults.names: "
                                 + (", ".join(spec.faults.names) or "there are none"))
        try:
            parameters(name, given)
        except BadInput as error:
            raise document.error(("faults", "parameters", name), str(error)) from None
    if (wrong := not_yet(
            spec.topology.tree(), request.world,
            shared_hosts=spec.topology.shared_hosts)) is not None:
        raise document.error(("topology", *wrong[0]), wrong[1])
    system = registry.make(registry.SYSTEMS, spec.system, document, "system")
    if request.world == SIM:
        system = _simulated(system, document)
        if spec.coverage.min_ok_per_window and spec.topology.spares:
            raise document.error(("coverage", "min_ok_per_window"), (
                "not with topology.spares in the simulated world: members change there faster "
                "than anybody could say whose majority must get on"))
    elif spec.topology.spares and not isinstance(system, Administered):
        raise document.error(("topology", "spares"), (
            f"{spec.system.name!r} can't be administered, so no node could join"))
    workload = registry.make(registry.WORKLOADS, spec.workload, document, "workload")
    for name, pool in spec.topology.pools.items():
        if pool.does != "all" and not getattr(workload, "heeds_pools", False):
            raise document.error(("topology", "pools", name, "does"), (
                f"expected 'all': the workload {spec.workload.name!r} does not heed it"))
    for part, section in ((system, "system"), (workload, "workload")):
        try:
            if hasattr(part, "validate"):
                part.validate(spec, system)
        except ValueError as error:
            raise document.error((section, "options"), str(error)) from None
    if (spec.checks.online or spec.checks.stop) and not isinstance(workload, Watched):
        raise document.error(("checks", "stop" if spec.checks.stop else "online"), (
            f"the workload {spec.workload.name!r} is judged as a whole; only one whose history is "
            "that of registers can be judged while it runs"))
    schedule.validate(document, spec, workload)
    assert spec.seed is not None
    return Plan(request, spec, spec.seed, system, workload)


def _simulated(system: Any, document: Document) -> Any:
    """Return a system as the simulated world runs it, where it can."""
    if not hasattr(system, "simulated"):
        raise document.error(("system", "name"), (
            f"--on sim exists for our own node, whose state machines it drives; {system.name!r} "
            "can only run on real hosts (it has no 'simulated')"))
    return system.simulated()


def _simulate(chosen: Plan) -> Done:
    """Run one seed in the simulated world: here, or in a process with the node's other build."""
    from .sim.run import done, run
    from .sim.worker import run_in_child

    folder = chosen.system.python_path()         # type: ignore[attr-defined]  # see _simulated
    found = run(chosen) if folder is None else run_in_child(chosen.request, chosen.seed, folder)
    return done(found, chosen.request)


def _with_seed(request: Request) -> Request:
    """Return the request with a seed: the file's own, or one drawn now."""
    data = Document.load(request.file).data
    if "--seed" in request.overrides or data.get("seed") is not None:
        return request
    drawn = secrets.randbelow(min(SEED_MAX, 1 << 32))
    return replace(request, overrides={"--seed": (("seed",), drawn), **request.overrides})


def _world(chosen: Plan) -> LabWorld:
    """Claim a new lab, or the one that was asked for."""
    request, spec = chosen.request, chosen.spec
    nodes = spec.topology.nodes
    if request.lab is None:
        pools = tuple(spec.topology.pools) or POOLS
        if request.world == VM:
            return VirtualWorld.create(nodes, pools, machine=spec.topology.machine.machine,
                                       ready=_ready(chosen.system))
        return LocalWorld.create(nodes, pools, masked=[request.store])
    world = attach(request.lab)
    if complaint := _not_as_asked(world, request, spec):
        world.keep()
        raise BadInput(f"--lab {request.lab}: {complaint}")
    return world


def _ready(system: System) -> Ready | None:
    """Return what of a system may be installed before the run, where it tells."""
    if not isinstance(system, Preinstalled):
        return None
    return Ready(system.preinstalled_key(), system.preinstall)


def _not_as_asked(world: LabWorld, request: Request, spec: Spec) -> str | None:
    """Return in what a lab differs from what the request needs, or None."""
    nodes = spec.topology.nodes
    if world.name != request.world:
        return f"its hosts are of the world '{world.name}': say --on {world.name}"
    if len(world.hosts) != nodes:
        return f"has {len(world.hosts)} hosts, but {request.file} asks for {nodes} (topology.nodes)"
    for pool in spec.topology.pools:
        if pool not in world.pools:
            return (f"expected a client pool {pool!r}, as topology.pools says; it has "
                    + ", ".join(sorted(world.pools)))
    return None


@contextmanager
def _ended_by_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP end a run the way ^C does, so that hosts are removed."""
    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt)
              for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Removing the hosts takes a moment and is not to be interrupted half-way."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
