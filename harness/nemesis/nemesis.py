"""The nemesis: carries out the faults that a generator asks for, and tells their lives.

Operations it understands (``f`` is the fault's name):

==========================  =======================================================
``{"action": "start",       begin a fault; ``seed`` decides whatever it has to draw
"id": ..., "seed": ...}``
``{"action": "stop",        end it
"id": ...}``
``{"action": "heal"}``      end all that are in force; ``f`` is ``heal``
==========================  =======================================================

``start`` may carry what else would be drawn: ``targets`` (names of nodes) or, for a partition,
``grudge``, then nobody is aimed at anew; and some of the kind's ``parameters``.

Each phase of a fault's life becomes an event of its own, given to ``record`` the moment it
happens: ``requested`` (targets are known), ``effective`` (a probe has seen it work) or
``ineffective`` (the reason in ``error``), ``ended``, ``recovered`` or ``unrecovered``. A fault
that can't work on these hosts is told by an ``impossible`` event at setup, and again each time
it is asked for. An operation never raises because a fault went wrong: a run goes on without it,
and coverage tells.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import SeatrialError
from ..op import INFO, NEMESIS, Op
from ..rng import Rng
from . import pools
from .catalogue import checked, kinds, scene_of
from .fault import Fault, FaultError
from .grudge import hardest_hit
from .heal import Healed
from .kind import Kind, drawn
from .scene import Scene

if TYPE_CHECKING:
    from ..test import Test

HEAL = "heal"
TROUBLE = (FaultError, SeatrialError, OSError, TimeoutError)

Record = Callable[[Op], None]


class Nemesis(Protocol):
    """What breaks things. ``fs``: the operations it understands."""

    fs: frozenset[str]

    async def setup(self, test: Test, record: Record) -> None:
        """Get ready; HarnessFailure when that is impossible."""

    async def invoke(self, test: Test, op: Op) -> Op:
        """Carry out one operation; return its completion."""

    async def teardown(self, test: Test) -> list[Healed]:
        """Undo everything, also after a failure; tell what was undone on each host."""

    @property
    def faults(self) -> list[Fault]:
        """All faults so far, in the order they were asked for."""


class FaultNemesis:
    """The nemesis of the faults in the catalogue.

    own: kinds that are not in the catalogue, by name.
    """

    def __init__(self, names: Iterable[str], *, targets: Sequence[str],
                 deadline_s: float = 30.0, own: Mapping[str, Kind[Any]] | None = None) -> None:
        self._own = own or {}
        self._names = checked(names)
        self.fs = frozenset((*self._names, *self._own, HEAL))
        self.kinds: dict[str, Kind[Any]] = {}
        """What each name is in the world of the run; known after setup."""
        self.faults: list[Fault] = []
        self.impossible: dict[str, str] = {}
        """Fault name -> why it can't work on these hosts; known after setup."""
        self._targets = targets
        self._deadline_s = deadline_s
        self._record: Record = lambda op: None
        self._scene: Scene | None = None

    async def setup(self, test: Test, record: Record) -> None:
        """Get the world's scene ready, tell what can't work in it."""
        if self.fs == {HEAL}:
            return
        self._record = record
        self.kinds = kinds(self._names, test.world.name) | dict(self._own)
        self._scene = scene_of(test, self._targets, self._deadline_s)
        await self._scene.open(self.kinds)
        for name, kind in self.kinds.items():
            if reason := kind.impossible(self._scene):
                self.impossible[name] = reason
                self._tell(test, name, {"phase": "impossible", "class": kind.cls}, reason)

    async def invoke(self, test: Test, op: Op) -> Op:
        """Start or stop a fault; the completion says how it stands."""
        if op.f == HEAL:
            await self._heal(test)
            return op.completed(INFO, op.value)
        if op.value["action"] == "start":
            fault = await self._start(test, op.f, op.value)
        else:
            fault = next(f for f in self.faults if f.id == op.value["id"])
            if fault.is_active:
                await self._stop(test, fault)
        return op.completed(INFO, op.value, fault.error)

    async def _heal(self, test: Test) -> None:
        """End all faults. A bug in one of them is told when all others have ended."""
        bug: Exception | None = None
        for fault in list(self._active().values()):
            try:
                await self._stop(test, fault)
            except Exception as error:
                bug = bug or error
        if self._scene is not None:
            await self._scene.calm()
        if bug is not None:
            raise bug

    async def teardown(self, test: Test) -> list[Healed]:
        """Heal all hosts. Faults still in force end here, with no proof of recovery."""
        if self._scene is None:
            return []
        healed = await self._scene.close()
        unreached = {host.host for host in healed if host.error}
        for fault in list(self._active().values()):
            everywhere = unreached if fault.name == pools.NAME else ()
            if unreached.isdisjoint([*fault.targets, *fault.grudge, *everywhere]):
                fault.ended_ns = self._tell_phase(test, fault, "ended")
        self._active().clear()
        return healed

    def _active(self) -> dict[str, Fault]:
        return {} if self._scene is None else self._scene.active

    async def _start(self, test: Test, name: str, asked: Mapping[str, Any]) -> Fault:
        scene = self._scene
        assert scene is not None, "setup comes first"
        kind = self.kinds[name]
        fault = Fault(str(asked["id"]), name, kind.cls)
        self.faults.append(fault)
        try:
            if name in self.impossible:
                raise FaultError(self.impossible[name])
            await self._aim(scene, fault, asked)
        except TROUBLE as error:
            fault.requested_ns = fault.ended_ns = self._tell_phase(test, fault, "requested")
            self._fail(test, fault, "ineffective", error)
            return fault
        scene.active[fault.id] = fault
        fault.requested_ns = self._tell_phase(test, fault, "requested")
        try:
            await kind.start(scene, fault)
            await kind.prove(scene, fault)
        except TROUBLE as error:
            self._fail(test, fault, "ineffective", error)
        else:
            fault.effective_ns = self._tell_phase(test, fault, "effective")
        return fault

    async def _aim(self, scene: Scene, fault: Fault, asked: Mapping[str, Any]) -> None:
        """Decide whom it hits and how hard: what the operation says, the rest by its seed."""
        kind, rng = self.kinds[fault.name], Rng(asked["seed"])
        fault.parameters = drawn(kind.parameters, asked.get("parameters") or {}, rng)
        if not (asked.get("targets") or asked.get("grudge")):
            await kind.aim(scene, fault, rng)
            return
        fault.grudge = {node: frozenset(dropped)
                        for node, dropped in (asked.get("grudge") or {}).items()}
        fault.targets = list(asked.get("targets") or hardest_hit(scene.names, fault.grudge))
        named = {*fault.targets, *fault.grudge, *(n for s in fault.grudge.values() for n in s)}
        known = pools.targets(scene) if fault.name == pools.NAME else scene.names
        if unknown := sorted(named.difference(known)):
            raise FaultError(f"no {'pool' if fault.name == pools.NAME else 'node'} is called "
                             f"{unknown[0]!r}")

    async def _stop(self, test: Test, fault: Fault) -> None:
        """End a fault. One that can't be ended stays in force, for ``heal`` to try again."""
        scene = self._scene
        assert scene is not None, "setup comes first"
        kind = self.kinds[fault.name]
        try:
            await kind.stop(scene, fault)
        except TROUBLE as error:
            self._fail(test, fault, "unrecovered", error)
            return
        scene.active.pop(fault.id, None)
        fault.ended_ns = self._tell_phase(test, fault, "ended")
        try:
            await kind.prove_recovery(scene, fault)
        except TROUBLE as error:
            self._fail(test, fault, "unrecovered", error)
        else:
            fault.recovered_ns = self._tell_phase(test, fault, "recovered")

    def _fail(self, test: Test, fault: Fault, phase: str, error: Exception) -> None:
        fault.error = str(error) or type(error).__name__
        self._tell(test, fault.name, fault.value(phase), fault.error)

    def _tell_phase(self, test: Test, fault: Fault, phase: str) -> int:
        return self._tell(test, fault.name, fault.value(phase), fault.error)

    def _tell(self, test: Test, f: str, value: dict[str, Any], error: str | None) -> int:
        """Record an event now; return its time."""
        now_ns = test.now_ns()
        self._record(Op(f, value, type=INFO, process=NEMESIS, time_ns=now_ns, error=error))
        return now_ns
