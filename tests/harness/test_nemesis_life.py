"""The life of a fault as the history tells it, above all when something goes wrong."""
from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from seatrial.harness.errors import HarnessFailure
from seatrial.harness.nemesis import FaultNemesis, hosts
from seatrial.harness.nemesis.fault import FaultError
from seatrial.harness.nemesis.kind import Range, ranges
from seatrial.harness.op import INFO, NEMESIS, Op
from seatrial.harness.protocols import Result


class FakeHost:
    """A host whose agent always says yes; ``broken`` makes it unreachable."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.index = 0
        self.ipv4 = "198.18.0.2"
        self.ipv6: str | None = None
        self.controller = ("198.18.0.1",)
        self.broken = False
        self.commands: list[str] = []

    async def run(self, argv: Sequence[str], *, stdin: bytes | None = None,
                  **options: Any) -> Result:
        if self.broken:
            raise HarnessFailure(f"{self.name}: no route to host")
        self.commands.append(argv[-1])
        answer = {"install": {"healed": [], "cannot": {}, "ports": [1]},
                  "remove": {"undone": []}}.get(argv[-1], {})
        return Result(tuple(argv), 0, json.dumps(answer), "")

    async def put(self, data: bytes | Path, remote: str, *, mode: int = 0o644) -> None:
        self.commands.append("put")

    async def get(self, remote: str, local: Path) -> None:
        raise NotImplementedError

    async def read(self, remote: str) -> bytes:
        return json.dumps({"number": 1, "sent": {}, "heard": {}}).encode()


class Flood:
    """A kind of fault that goes wrong wherever a test says so."""

    name, cls = "flood", "omission"
    parameters: Mapping[str, Range] = {}

    def __init__(self) -> None:
        self.wrong: dict[str, Exception] = {}
        self.steps: list[str] = []

    def impossible(self, scene: Any) -> str | None:
        return None

    async def aim(self, scene: Any, fault: Any, rng: Any) -> None:
        fault.targets = ["n1"]
        await self.step("aim")

    async def start(self, scene: Any, fault: Any) -> None:
        await self.step("start")

    async def prove(self, scene: Any, fault: Any) -> None:
        await self.step("prove")

    async def stop(self, scene: Any, fault: Any) -> None:
        await self.step("stop")

    async def prove_recovery(self, scene: Any, fault: Any) -> None:
        await self.step("prove_recovery")

    async def step(self, name: str) -> None:
        self.steps.append(name)
        if name in self.wrong:
            raise self.wrong[name]


class Play:
    """A nemesis with one flood, and what it told."""

    def __init__(self) -> None:
        self.hosts = [FakeHost("n1"), FakeHost("n2")]
        self.flood = Flood()
        self.nemesis = FaultNemesis([], targets=["one"], own={"flood": self.flood})
        self.events: list[Op] = []
        self.time_ns = 0
        self.test: Any = SimpleNamespace(
            nodes=self.hosts, now_ns=self.tick, world=SimpleNamespace(name="local"))

    def tick(self) -> int:
        self.time_ns += 1
        return self.time_ns

    async def ask(self, action: str, **more: Any) -> Op:
        f = "heal" if action == "heal" else "flood"
        return await self.nemesis.invoke(self.test, Op(f, {
            "action": action, "id": "0-0", "seed": 1, **more}, process=NEMESIS))

    @property
    def told(self) -> list[tuple[str, str | None]]:
        return [(op.value["phase"], op.error) for op in self.events]


def play(body: Callable[[Play], Coroutine[Any, Any, None]]) -> Play:
    stage = Play()

    async def run() -> None:
        await stage.nemesis.setup(stage.test, stage.events.append)
        try:
            await body(stage)
        finally:
            await stage.nemesis.teardown(stage.test)

    asyncio.run(run())
    return stage


def test_a_fault_that_works_has_all_four_times_in_order() -> None:
    async def body(stage: Play) -> None:
        assert (await stage.ask("start")).type == INFO
        assert (await stage.ask("stop")).error is None

    stage = play(body)
    assert stage.told == [("requested", None), ("effective", None), ("ended", None),
                          ("recovered", None)]
    (fault,) = stage.nemesis.faults
    assert (fault.requested_ns, fault.effective_ns, fault.ended_ns, fault.recovered_ns) \
        == (1, 2, 3, 4)
    assert stage.events[0].value == {
        "id": "0-0", "phase": "requested", "class": "omission", "targets": ["n1"]}


@pytest.mark.parametrize("error", [
    FaultError("the sea is calm"), HarnessFailure("the sea is calm"), OSError("the sea is calm")])
@pytest.mark.parametrize("step", ["start", "prove"])
def test_a_fault_that_does_not_work_says_why_and_is_undone_all_the_same(
    step: str, error: Exception,
) -> None:
    async def body(stage: Play) -> None:
        stage.flood.wrong[step] = error
        assert (await stage.ask("start")).error == "the sea is calm"
        await stage.ask("stop")

    stage = play(body)
    assert [phase for phase, _ in stage.told] == [
        "requested", "ineffective", "ended", "recovered"]
    assert stage.told[1][1] == "the sea is calm"
    (fault,) = stage.nemesis.faults
    assert fault.effective_ns is None
    assert stage.flood.steps[-2:] == ["stop", "prove_recovery"]


def test_a_fault_without_target_is_over_before_it_began() -> None:
    async def body(stage: Play) -> None:
        stage.flood.wrong["aim"] = FaultError("nobody leads")
        await stage.ask("start")
        await stage.ask("stop")

    stage = play(body)
    assert stage.told == [("requested", None), ("ineffective", "nobody leads")]
    assert stage.flood.steps == ["aim"]


def test_a_fault_can_be_given_its_targets_and_is_not_aimed_then() -> None:
    async def body(stage: Play) -> None:
        await stage.ask("start", targets=["n2"], grudge={"n1": ["n2"]})

    stage = play(body)
    (fault,) = stage.nemesis.faults
    assert (fault.targets, fault.grudge) == (["n2"], {"n1": frozenset({"n2"})})
    assert stage.flood.steps == ["start", "prove"]
    assert stage.events[1].value == {
        "id": "0-0", "phase": "effective", "class": "omission", "targets": ["n2"],
        "grudge": {"n1": ["n2"]}}


def test_a_grudge_alone_says_whom_it_hits() -> None:
    async def body(stage: Play) -> None:
        await stage.ask("start", grudge={"n1": ["n2"], "n2": ["n1"]})

    assert play(body).nemesis.faults[0].targets == ["n1", "n2"]


def test_a_fault_with_targets_that_are_not_there_does_not_start() -> None:
    async def body(stage: Play) -> None:
        await stage.ask("start", targets=["n1", "n9"])

    stage = play(body)
    assert stage.told == [("requested", None), ("ineffective", "no node is called 'n9'")]
    assert stage.flood.steps == []


def test_parameters_are_drawn_by_the_seed_unless_they_are_given_and_are_told() -> None:
    def parameters(**more: Any) -> dict[str, int]:
        async def body(stage: Play) -> None:
            stage.flood.parameters = ranges(depth_cm=(1, 1000), salt_ppm=(0, 40_000))
            await stage.ask("start", **more)

        stage = play(body)
        assert all(event.value["parameters"] == stage.nemesis.faults[0].parameters
                   for event in stage.events)
        return stage.nemesis.faults[0].parameters

    drawn = parameters()
    assert drawn == parameters() != parameters(seed=2)
    assert parameters(parameters={"depth_cm": 7}) == drawn | {"depth_cm": 7}


@pytest.mark.parametrize(("given", "complaint"), [
    ({"width_cm": 1}, "unknown parameter 'width_cm'; expected none"),
    ({"width_cm": -1}, "unknown parameter 'width_cm'; expected none")])
def test_parameters_that_a_fault_does_not_have_are_refused(
    given: dict[str, int], complaint: str,
) -> None:
    async def body(stage: Play) -> None:
        await stage.ask("start", parameters=given)

    assert play(body).told == [("requested", None), ("ineffective", complaint)]


def test_a_fault_that_can_not_be_ended_stays_in_force_until_healing_ends_it() -> None:
    async def body(stage: Play) -> None:
        await stage.ask("start")
        stage.flood.wrong["stop"] = HarnessFailure("n1: connection lost")
        await stage.ask("stop")
        (fault,) = stage.nemesis.faults
        assert fault.is_active
        del stage.flood.wrong["stop"]
        await stage.ask("heal")
        assert fault.recovered_ns is not None

    stage = play(body)
    assert [phase for phase, _ in stage.told] == [
        "requested", "effective", "unrecovered", "ended", "recovered"]


def test_a_fault_whose_recovery_is_not_seen_is_told_as_unrecovered() -> None:
    async def body(stage: Play) -> None:
        stage.flood.wrong["prove_recovery"] = FaultError("n1: doesn't answer")
        await stage.ask("start")
        await stage.ask("stop")

    stage = play(body)
    assert stage.told[-2:] == [("ended", None), ("unrecovered", "n1: doesn't answer")]
    assert stage.nemesis.faults[0].recovered_ns is None


def test_teardown_ends_what_is_in_force_and_tells_hosts_that_are_out_of_reach() -> None:
    async def body(stage: Play) -> None:
        await stage.ask("start")
        stage.hosts[1].broken = True
        healed = await stage.nemesis.teardown(stage.test)
        assert [(host.host, host.error) for host in healed] == [
            ("n1", None), ("n2", "n2: no route to host")]

    stage = play(body)
    assert stage.told[-1] == ("ended", None)
    assert stage.hosts[0].commands.count("remove") == 2      # teardown twice is teardown once


def test_a_fault_on_a_host_out_of_reach_is_not_told_as_ended() -> None:
    async def body(stage: Play) -> None:
        await stage.ask("start")
        stage.hosts[0].broken = True
        await stage.nemesis.teardown(stage.test)

    stage = play(body)
    assert stage.told[-1] == ("effective", None)
    assert stage.nemesis.faults[0].ended_ns is None


def test_partitions_are_impossible_where_hosts_do_not_hear_each_other_to_begin_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their beacons prove nothing there; other faults go on."""
    monkeypatch.setattr(hosts, "HEARING_S", 0.1)
    stage = Play()
    stage.nemesis = FaultNemesis(["partition-one"], targets=["one"], own={"flood": Flood()})

    async def run() -> None:
        await stage.nemesis.setup(stage.test, stage.events.append)
        assert (await stage.ask("start")).error is None
        await stage.nemesis.teardown(stage.test)

    asyncio.run(run())
    phase, error = stage.told[0]
    assert phase == "impossible"
    assert error == ("n1 doesn't hear n2 at 198.18.0.2 though nothing is cut; "
                     "hosts must let each other's UDP packets in")
    assert list(stage.nemesis.impossible) == ["partition-one"]


def test_a_run_without_faults_leaves_the_hosts_alone() -> None:
    stage = Play()
    stage.nemesis = FaultNemesis([], targets=["one"])

    async def run() -> None:
        await stage.nemesis.setup(stage.test, stage.events.append)
        assert await stage.nemesis.teardown(stage.test) == []

    asyncio.run(run())
    assert stage.hosts[0].commands == []


def test_teardown_works_when_setup_never_came_to_an_end() -> None:
    stage = Play()
    stage.hosts[1].broken = True

    async def run() -> None:
        with pytest.raises(HarnessFailure, match="n2: no route to host"):
            await stage.nemesis.setup(stage.test, stage.events.append)
        await stage.nemesis.teardown(stage.test)

    asyncio.run(run())
    assert stage.hosts[0].commands[-1] == "remove"
