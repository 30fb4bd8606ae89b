"""An administrator's work as faults: whom it means, what proves it, and what is in its way."""
from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from seatrial.harness.administration import Life, Members
from seatrial.harness.errors import HarnessFailure
from seatrial.harness.nemesis import FaultNemesis
from seatrial.harness.nemesis.fault import Fault
from seatrial.harness.op import NEMESIS, Op
from seatrial.harness.protocols import Result

FOUNDERS = ("n1", "n2", "n3", "n4", "n5")
NAMES = ["member-add", "member-remove", "member-replace", "member-churn", "transfer-leader",
         "snapshot", "rolling-restart", "rolling-upgrade", "kill"]


class Cluster:
    """What the tools do to a cluster that needs no time for it. broken: commands that fail."""

    def __init__(self, spares: int = 1, protocol: int = 1) -> None:
        names = [*FOUNDERS, *(f"n{6 + i}" for i in range(spares))]
        self.hosts = [Host(name, index, self) for index, name in enumerate(names)]
        self.now = Members("n1", 1, True, frozenset(FOUNDERS), behind=dict.fromkeys(FOUNDERS, 0))
        self.found = {name: Life(100 + i, protocol) for i, name in enumerate(FOUNDERS)}
        self.protocol, self.newer_protocol = protocol, 2 if protocol == 1 else None
        self.done: list[str] = []
        self.broken = ""
        self.journal: dict[str, dict[str, list[str]]] = {name: {} for name in names}

    async def members(self, test: Any) -> Members | None:
        return self.now

    async def lives(self, test: Any) -> dict[str, Life]:
        return dict(self.found)

    def act(self, name: str, what: str, *arguments: str) -> None:
        self.done.append(" ".join([name, what, *arguments]))
        if self.broken and what.startswith(self.broken):
            raise HarnessFailure("not done within 15 s")
        voters, learners = set(self.now.voters) - {name}, set(self.now.learners) - {name}
        if what == "join":
            (learners if arguments[0] else voters).add(name)
            self.found.setdefault(name, Life(300, self.protocol))
        elif what == "demote":
            learners.add(name)
        elif what == "leave":
            self.found.pop(name, None)
        elif what == "replace":
            voters = (voters | {name}) - {arguments[0]}
            self.found[name] = Life(300, self.protocol)
        elif what == "transfer":
            self.now = replace(self.now, leader=arguments[0] or "n2", term=self.now.term + 1)
            return
        elif what == "snapshot":
            self.found[name] = replace(self.found[name], snapshot=self.found[name].snapshot + 9)
            return
        elif what in ("restart", "speak"):
            old = self.found[name]
            self.found[name] = Life(old.pid + 1000, int(arguments[0]) if arguments else
                                    old.protocol)
            return
        else:
            return
        self.now = replace(self.now, voters=frozenset(voters), learners=frozenset(learners),
                           behind=dict.fromkeys(voters | learners, 0))

    # the commands, as the host's ``act`` reads them

    def joining(self, test: Any, host: Any, *, learner: bool = False) -> Sequence[str]:
        return ["act", "join", "learner" if learner else ""]

    def leaving(self, test: Any, host: Any) -> Sequence[str]:
        return ["act", "leave"]

    def demoting(self, test: Any, host: Any) -> Sequence[str]:
        return ["act", "demote"]

    def replacing(self, test: Any, old: Any, new: Any) -> Sequence[str]:
        return ["act", "replace", old.name]

    def handing_over(self, test: Any, host: Any, to: Any = None) -> Sequence[str]:
        return ["act", "transfer", "" if to is None else to.name]

    def starting(self, test: Any, host: Any) -> Sequence[str]:
        return ["act", "start"]

    def restarting(self, test: Any, host: Any) -> Sequence[str]:
        return ["act", "restart"]

    def speaking(self, test: Any, host: Any, protocol: int) -> Sequence[str]:
        return ["act", "speak", str(protocol)]

    def taking_snapshot(self, test: Any, host: Any) -> Sequence[str]:
        return ["act", "snapshot"]


class Host:
    """A host with an agent that knows how to journal work and to undo it, and to kill."""

    ipv6: str | None = None
    controller = ("198.18.0.1",)

    def __init__(self, name: str, index: int, cluster: Cluster) -> None:
        self.name, self.index, self.cluster = name, index, cluster
        self.ipv4 = f"198.18.1.{index + 1}"

    async def run(self, argv: Sequence[str], *, stdin: bytes | None = None,
                  **options: Any) -> Result:
        if argv[0] == "act":
            try:
                self.cluster.act(self.name, *argv[1:])
            except HarnessFailure as failure:
                return Result(tuple(argv), 1, "", f"a warning\nseatrial: {failure}\n")
            return Result(tuple(argv), 0, "", "")
        asked = json.loads(stdin) if stdin else {}
        journal = self.cluster.journal[self.name]
        answer: dict[str, Any] = {}
        match argv[-1]:
            case "install":
                answer = {"healed": [], "cannot": {}, "ports": [1]}
            case "remove":
                answer = {"undone": []}
            case "administer":
                journal[asked["id"]] = asked["undo"]
            case "stop":
                there = asked["id"] in journal
                if there and journal[asked["id"]]:
                    self.cluster.act(self.name, *journal[asked["id"]][1:])
                journal.pop(asked["id"], None)
                answer = {"undone": [asked] if there else []}
            case "check":
                answer = {"idle": [], "closed": []}
            case "aim":
                journal[asked["id"]] = []
                answer = {"pids": asked["pids"]}
            case "gone":
                answer = {"alive": []}
        return Result(tuple(argv), 0, json.dumps(answer), "")

    async def put(self, data: Any, remote: str, *, mode: int = 0o644) -> None:
        pass


class System:
    """The system under test; ``administration`` only where it has one."""

    name = "fake"

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.killed: set[str] = set()

    async def pids(self, test: Any, host: Any) -> list[int]:
        life = self.cluster.found.get(host.name)
        return [life.pid] if life and host.name not in self.killed else []

    async def kill(self, test: Any, host: Any) -> None:
        self.killed.add(host.name)

    async def start(self, test: Any, host: Any) -> None:
        self.killed.discard(host.name)

    def ports(self, test: Any) -> list[int]:
        return [7400]


class Administered(System):
    """The same, with tools."""

    @property
    def administration(self) -> Cluster:
        return self.cluster


class Play:
    """A nemesis and its cluster."""

    def __init__(self, cluster: Cluster, system: System) -> None:
        self.cluster = cluster
        self.nemesis = FaultNemesis(NAMES, targets=["minority"])
        self.events: list[Op] = []
        spec = SimpleNamespace(topology=SimpleNamespace(spares=len(cluster.hosts) - len(FOUNDERS)))
        self.test: Any = SimpleNamespace(nodes=cluster.hosts, now_ns=lambda: len(self.events),
                                         world=SimpleNamespace(name="local"), spec=spec,
                                         system=system)

    async def start(self, name: str, seed: int = 1, id: str = "0-0", **more: Any) -> Fault:
        parameters = {} if name == "kill" else {"rest_ms": 0, "draws": seed}
        await self.nemesis.invoke(self.test, Op(name, {
            "action": "start", "id": id, "seed": seed, "parameters": parameters, **more},
            process=NEMESIS))
        return self.nemesis.faults[-1]

    async def stop(self, fault: Fault) -> None:
        await self.nemesis.invoke(self.test, Op(
            fault.name, {"action": "stop", "id": fault.id}, process=NEMESIS))


def play(body: Callable[[Play], Awaitable[None]], *, spares: int = 1, protocol: int = 1,
         system: type[System] = Administered) -> Play:
    cluster = Cluster(spares, protocol)
    stage = Play(cluster, system(cluster))

    async def run() -> None:
        await stage.nemesis.setup(stage.test, stage.events.append)
        scene: Any = stage.nemesis._scene
        scene.prove_s = scene.recover_s = 0.1
        try:
            await body(stage)
        finally:
            await stage.nemesis.teardown(stage.test)

    asyncio.run(run())
    return stage


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", NAMES[:-1])
def test_each_kind_is_proved_by_the_cluster_and_brings_it_back(name: str, seed: int) -> None:
    async def body(stage: Play) -> None:
        fault = await stage.start(name, seed)
        assert fault.error is None
        assert fault.effective_ns is not None
        assert stage.cluster.done
        assert all(fault.id in stage.cluster.journal[target] for target in fault.targets)
        await stage.stop(fault)
        assert fault.error is None
        assert fault.recovered_ns is not None
        assert stage.cluster.now.voters == frozenset(FOUNDERS)
        assert stage.cluster.now.learners == frozenset()
        assert set(stage.cluster.found) == set(FOUNDERS)
        assert all(life.protocol == 1 for life in stage.cluster.found.values())
        assert not any(stage.cluster.journal.values())

    stage = play(body)
    assert all(event.value["gentle"] for event in stage.events)


def test_draws_decide_whether_a_learner_comes_first_and_whether_the_leader_hands_over() -> None:
    done: list[str] = []

    async def body(stage: Play) -> None:
        for seed in range(12):
            for name in ("member-add", "rolling-restart", "member-remove"):
                await stage.stop(await stage.start(name, seed, id=f"{name}-{seed}"))
        done.extend(stage.cluster.done)

    play(body)
    assert {"n6 join ", "n6 join learner"} <= set(done)
    assert any(" transfer" in line for line in done)
    assert len({line for line in done if line.endswith("leave")} - {"n6 leave"}) > 2


@pytest.mark.parametrize(("name", "reason"), [
    ("member-add", "needs a node that is no member at first (topology.spares)"),
    ("member-replace", "needs a node that is no member at first (topology.spares)"),
    ("rolling-upgrade", "needs nodes that begin with an older protocol (system.options.protocol)"),
    ("member-remove", None),
])
def test_what_lacks_is_told_at_the_start(name: str, reason: str | None) -> None:
    async def body(stage: Play) -> None:
        assert stage.nemesis.impossible.get(name) == reason

    play(body, spares=0, protocol=2)


def test_a_system_without_tools_can_not_be_administered() -> None:
    async def body(stage: Play) -> None:
        assert stage.nemesis.impossible == dict.fromkeys(
            NAMES[:-1], "this system can't be administered")

    play(body, system=System)


def test_what_the_cluster_does_not_show_is_not_effective() -> None:
    async def body(stage: Play) -> None:
        stage.cluster.act = lambda *words: None         # type: ignore[method-assign]
        for name, told in (("member-remove", "the leader does not show it: "),
                           ("transfer-leader", "does not lead"),
                           ("snapshot", "not all nodes show a newer snapshot"),
                           ("rolling-restart", "not all nodes say that they are new processes"),
                           ("rolling-upgrade", "not all nodes say that they speak the newer")):
            fault = await stage.start(name, id=name)
            assert fault.effective_ns is None
            assert told in str(fault.error)
            await stage.nemesis.invoke(stage.test, Op("heal", process=NEMESIS, value={}))

    play(body)


def test_work_that_fails_says_why_and_what_it_had_begun_is_brought_back() -> None:
    async def body(stage: Play) -> None:
        stage.cluster.broken = "replace"
        fault = await stage.start("member-replace")
        assert (fault.effective_ns, fault.error) == (
            None, f"{fault.targets[1]}: not done within 15 s")
        await stage.stop(fault)
        assert fault.recovered_ns is not None

    play(body)


def test_an_end_that_the_cluster_refuses_is_tried_again_when_all_is_healed() -> None:
    async def body(stage: Play) -> None:
        fault = await stage.start("member-add")
        stage.cluster.broken = "leave"
        await stage.stop(fault)
        assert fault.ended_ns is None
        assert fault.error == "not done within 15 s"
        stage.cluster.broken = ""
        await stage.nemesis.invoke(stage.test, Op("heal", process=NEMESIS, value={}))
        assert fault.recovered_ns is not None
        assert "n6" not in stage.cluster.now.voters

    play(body)


def test_nobody_is_killed_while_being_worked_on_nor_worked_on_while_down() -> None:
    async def body(stage: Play) -> None:
        churn = await stage.start("member-churn", id="0-0")
        kill = await stage.start("kill", id="1-0")
        assert not set(churn.targets) & set(kill.targets)
        assert set(kill.targets) <= set(stage.cluster.now.voters)
        rolling = await stage.start("rolling-restart", id="2-0")
        assert str(rolling.error).startswith("other faults are at work on ")
        for fault in (churn, kill):
            await stage.stop(fault)
            assert fault.recovered_ns is not None

    play(body)


def test_targets_that_are_as_they_should_become_are_no_fault() -> None:
    async def body(stage: Play) -> None:
        fault = await stage.start("member-add", targets=["n2", "n6"])
        assert (fault.effective_ns, fault.error) == (None, "n2: voter already")

    play(body)
