"""Healing: by the dead-man, by a run's end, and by somebody who knows nothing of the run."""
from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seatrial.harness.errors import HarnessFailure
from seatrial.harness.nemesis import FaultNemesis, heal
from seatrial.harness.nemesis.agents import STATE, VIEW
from seatrial.harness.protocols import Host

from .listener import Story, eventually, state_of, who_hears_whom
from .rig import Rig, all_rules, fall_silent, restart, rig_of, start, stop, tell

pytestmark = [pytest.mark.cluster, pytest.mark.netns]

ROOT = Path(__file__).parents[2]
A_RUN = """
import asyncio, sys, time
from types import SimpleNamespace
from seatrial.harness.hosts import LocalWorld
from seatrial.harness.nemesis import FaultNemesis
from seatrial.harness.op import Op
from tests.integration.listener import ListenerSystem

world = LocalWorld.view(sys.argv[1])
test = SimpleNamespace(nodes=world.hosts, world=world, system=ListenerSystem(),
                       now_ns=time.monotonic_ns)

async def run():
    nemesis = FaultNemesis(sys.argv[2:], targets=["one"])
    await nemesis.setup(test, lambda op: None)
    for i, name in enumerate(sys.argv[2:]):
        await nemesis.invoke(test, Op(name, {"action": "start", "id": f"0-{i}", "seed": i}))
    print("in force:", *(fault.name for fault in nemesis.faults if fault.effective_ns), flush=True)
    await asyncio.sleep(600)

asyncio.run(run())
"""


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with rig_of(5) as five:
        yield five


def test_when_the_controller_falls_silent_every_host_heals_itself(rig: Rig) -> None:
    async def body(nemesis: FaultNemesis, story: Story) -> None:
        cut = await start(nemesis, story, "partition-halves", id="0-0")
        paused = await start(nemesis, story, "pause", id="0-1")
        assert cut.effective_ns
        assert paused.effective_ns
        fall_silent(nemesis)

        async def healed() -> bool:
            left = [await host.run(["ls", f"{STATE}/journal"]) for host in rig.hosts]
            return not any(result.stdout for result in left)

        await eventually(healed)
        for host in rig.hosts:
            assert "SEATRIAL" not in await all_rules(host)
            for pid in await rig.system.pids(None, host):
                assert await state_of(host, pid) == "S"

        async def ended() -> bool:
            return not any([await residents(host) for host in rig.hosts])

        await eventually(ended)
        fault = await start(nemesis, story, "partition-halves", id="0-2")
        assert "dead-man process doesn't run here" in str(fault.error)
        await stop(nemesis, story, cut)
        assert cut.error == "had been undone early on n1, n2, n3, n4, n5"

    tell(rig, ["partition-halves", "pause"], body, deadline_s=2.0)


def test_what_a_run_killed_by_signal_9_left_is_undone_by_the_heal_command(rig: Rig) -> None:
    names = ["partition-majority", "pause", "kill"]
    lab = rig.world.plan.lab
    with subprocess.Popen([sys.executable, "-c", A_RUN, lab, *names], stdout=subprocess.PIPE,
                          cwd=ROOT, text=True) as run:
        try:
            assert run.stdout is not None
            assert run.stdout.readline() == f"in force: {' '.join(names)}\n"
        finally:
            run.kill()

    def heal_command() -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "seatrial.harness", "heal", "--lab", lab],
                              capture_output=True, text=True, check=False)

    first = heal_command()
    assert (first.returncode, first.stderr) == (0, "")
    assert [line.split(": ")[1] for line in first.stdout.splitlines()] == [
        "n1", "n2", "n3", "n4", "n5"]
    assert first.stdout.count("partition-majority") == 5
    assert first.stdout.count("pause") == 1
    assert first.stdout.count("kill (the node stays down)") == 1
    second = heal_command()
    assert second.returncode == 0
    assert second.stdout.count("nothing to undo") == 5

    async def nothing_is_left() -> None:
        for host in rig.hosts:
            assert "SEATRIAL" not in await all_rules(host)
            assert (await host.run(["ls", STATE, VIEW], check=False)).stdout == ""
            assert await residents(host) == []
        assert await who_hears_whom(rig.hosts, "after-heal", False) == rig.links

    restart(rig)
    asyncio.run(nothing_is_left())


def test_two_living_runs_can_not_hold_the_same_hosts(rig: Rig) -> None:
    async def body(nemesis: FaultNemesis, story: Story) -> None:
        second = FaultNemesis(["pause"], targets=["one"])
        with pytest.raises(HarnessFailure, match="is at work on this host"):
            await second.setup(story.test, story.events.append)

    tell(rig, ["pause"], body)


def test_heal_tells_which_host_it_could_not_reach(rig: Rig) -> None:
    class Unreachable:
        name = "n9"

        async def run(self, *args: Any, **options: Any) -> Any:
            raise HarnessFailure("n9: no route to host")

    async def body() -> None:
        healed = await heal([rig.hosts[0], Unreachable()])  # type: ignore[list-item]
        assert [(host.host, host.error) for host in healed] == [
            ("n1", None), ("n9", "n9: no route to host")]

    asyncio.run(body())


async def residents(host: Host) -> list[str]:
    """Return the command lines of agents that run on a host."""
    found = await host.run(["grep", "-las", "seatrial-agent", "--", *(
        f"/proc/{pid}/cmdline" for pid in (await host.run(["ls", "/proc"])).stdout.split()
        if pid.isdecimal())], check=False)
    return [path for path in found.stdout.split() if "grep" not in path]


def test_a_dead_man_who_can_not_heal_at_first_tries_again(rig: Rig) -> None:
    """A tool that fails, here because it is not there for a while."""
    n1 = rig.hosts[0]
    tool = "/usr/sbin/iptables-restore"

    async def body(nemesis: FaultNemesis, story: Story) -> None:
        cut = await start(nemesis, story, "partition-halves", id="0-0")
        paused = await start(nemesis, story, "pause", id="0-1")
        assert cut.effective_ns
        assert paused.effective_ns
        await n1.run(["mv", tool, f"{tool}.hidden"])
        fall_silent(nemesis)

        async def has_complained() -> bool:
            log = await n1.run(["cat", f"{STATE}/resident.log"])
            return "could not heal, will try again" in log.stdout

        await eventually(has_complained)
        assert "SEATRIAL" in await all_rules(n1)
        await n1.run(["mv", f"{tool}.hidden", tool])

        async def has_healed() -> bool:
            return "SEATRIAL" not in await all_rules(n1)

        await eventually(has_healed)

    tell(rig, ["partition-halves", "pause"], body, deadline_s=2.0)
