"""Kills and pauses of real processes."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from seatrial.harness.nemesis import FaultNemesis
from seatrial.harness.nemesis.fault import Fault
from seatrial.harness.op import NEMESIS, Op

from .listener import Story, state_of
from .rig import Rig, Sabotaged, restart, rig_of, start, stop, tell

pytestmark = [pytest.mark.cluster, pytest.mark.netns]


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with rig_of(5) as five:
        yield five


def test_a_paused_node_is_stopped_and_then_goes_on_as_the_same_process(rig: Rig) -> None:
    async def body(nemesis: FaultNemesis, story: Story) -> None:
        fault = await start(nemesis, story, "pause")
        (name,) = fault.targets
        host = next(host for host in rig.hosts if host.name == name)
        (pid,) = await rig.system.pids(None, host)
        assert fault.effective_ns is not None
        assert await state_of(host, pid) == "T"
        await stop(nemesis, story, fault)
        assert fault.recovered_ns is not None
        assert await rig.system.pids(None, host) == [pid]
        assert await state_of(host, pid) == "S"

    tell(rig, ["pause"], body)


def test_a_killed_node_is_gone_and_is_started_again_as_another_process(rig: Rig) -> None:
    rig.system.leader = rig.hosts[3]

    async def body(nemesis: FaultNemesis, story: Story) -> None:
        n4 = rig.hosts[3]
        (before,) = await rig.system.pids(None, n4)
        fault = await start(nemesis, story, "kill")
        assert fault.targets == ["n4"]
        assert fault.effective_ns is not None
        assert await state_of(n4, before) is None
        await stop(nemesis, story, fault)
        assert fault.recovered_ns is not None
        (after,) = await rig.system.pids(None, n4)
        assert after != before

    tell(rig, ["kill"], body, targets=["primaries"])


def test_a_minority_is_killed_at_once_and_no_node_is_hit_by_two_faults(rig: Rig) -> None:
    async def body(nemesis: FaultNemesis, story: Story) -> None:
        killed = await start(nemesis, story, "kill", id="0-0")
        paused = await start(nemesis, story, "pause", id="1-0")
        assert len(killed.targets) == len(paused.targets) == 2
        assert not set(killed.targets) & set(paused.targets)
        assert killed.effective_ns is not None
        assert paused.effective_ns is not None
        await nemesis.invoke(story.test, Op("heal", process=NEMESIS))
        assert killed.recovered_ns is not None
        assert paused.recovered_ns is not None

    tell(rig, ["kill", "pause"], body, targets=["minority"])


def test_a_node_that_someone_wakes_behind_our_back_is_not_called_paused(rig: Rig) -> None:
    async def body(nemesis: FaultNemesis, story: Story) -> None:
        async def wake(scene: Any, fault: Fault) -> None:
            (host,) = scene.hosts(fault.targets)
            for pid in await rig.system.pids(None, host):
                await host.run(["kill", "-CONT", str(pid)])

        nemesis.kinds["pause"] = Sabotaged(nemesis.kinds["pause"], wake)
        fault = await start(nemesis, story, "pause")
        assert fault.effective_ns is None
        assert fault.error == f"{fault.targets[0]}: paused, but a process still runs"

    tell(rig, ["pause"], body)


def test_a_node_that_is_down_already_can_not_be_killed(rig: Rig) -> None:
    async def body(nemesis: FaultNemesis, story: Story) -> None:
        for host in rig.hosts:
            await rig.system.kill(None, host)
        fault = await start(nemesis, story, "kill")
        assert fault.error == f"{fault.targets[0]}: no process to kill"
        await stop(nemesis, story, fault)
        assert fault.recovered_ns is not None

    try:
        tell(rig, ["kill"], body)
    finally:
        restart(rig)
