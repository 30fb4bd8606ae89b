"""Faults of domains and of client pools on real hosts: two domains of listeners."""
from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from seatrial.harness import topology
from seatrial.harness.hosts import LocalWorld
from seatrial.harness.nemesis import FaultNemesis
from seatrial.harness.nemesis.agents import call
from seatrial.harness.nemesis.fault import Fault
from seatrial.harness.nemesis.grudge import pairs
from seatrial.harness.protocols import Host
from seatrial.harness.yamlfile import Document

from .listener import PORT, ListenerSystem, Story, connects, who_hears_whom
from .rig import Rig, Sabotaged, restart, start, stop

pytestmark = [pytest.mark.cluster, pytest.mark.netns]

TREE = topology.tree_of(Document.parse("t.yml", """
domains:
  A: {nodes: 3}
  B: {nodes: 2, parent: A, mode: async}
"""))
LIFE = ["requested", "effective", "ended", "recovered"]
CUT = {"domain-cut": (["n1", "n2", "n3"], ["n4", "n5"]), "link-cut": (["n2"], ["n5"]),
       "domain-island": (["n1", "n2", "n3"], ["n4", "n5"])}
KILLED = {"domain-kill": (["n1", "n2", "n3"], ["n4", "n5"]), "child-leader-kill": (["n5"],),
          "both-leaders-kill": (["n2", "n5"],)}


class Led(ListenerSystem):
    """Listeners of which n2 and n5 say that they lead."""

    async def primaries(self, test: Any) -> list[Host]:
        return [host for host in test.nodes if host.name in ("n2", "n5")]


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    world = LocalWorld.create(5, ("east", "west"))
    try:
        made = Rig(world, Led())
        asyncio.run(world.up())
        restart(made)
        yield made
    finally:
        world.destroy()


def told(rig: Rig, name: str, body: Any, **own: Any) -> Story:
    """Run a story on hosts that are two domains."""
    story = Story(rig.world, rig.system)
    story.test.spec = SimpleNamespace(topology=SimpleNamespace(tree=lambda: TREE, spares=0))
    story.test.pools = rig.world.pools

    async def run() -> None:
        nemesis = FaultNemesis([name], targets=("one",), **own)
        try:
            await nemesis.setup(story.test, story.events.append)
            await body(nemesis, story)
        finally:
            for healed in await nemesis.teardown(story.test):
                assert healed.error is None

    asyncio.run(run())
    return story


@pytest.mark.parametrize("name", CUT)
def test_a_cut_follows_the_borders_of_domains_on_both_ip_versions(rig: Rig, name: str) -> None:
    async def body(nemesis: FaultNemesis, story: Story) -> None:
        fault = await start(nemesis, story, name)
        assert fault.error is None
        cut = pairs(fault.grudge)
        one, other = CUT[name]
        assert cut == {pair for a in one for b in other for pair in ((a, b), (b, a))}
        for ipv6 in (False, True):
            heard = await who_hears_whom(rig.hosts, f"{name}-cut-{ipv6}", ipv6)
            assert heard == rig.links - cut
        await stop(nemesis, story, fault)
        for ipv6 in (False, True):
            assert await who_hears_whom(rig.hosts, f"{name}-healed-{ipv6}", ipv6) == rig.links

    assert [phase for _, phase in told(rig, name, body).phases] == LIFE


@pytest.mark.parametrize("name", KILLED)
def test_all_that_is_aimed_at_is_killed_and_started_again(rig: Rig, name: str) -> None:
    async def body(nemesis: FaultNemesis, story: Story) -> None:
        before = {host.name: await rig.system.pids(None, host) for host in rig.hosts}
        fault = await start(nemesis, story, name)
        assert fault.error is None
        assert fault.targets in KILLED[name]
        for host in rig.hosts:
            there = [] if host.name in fault.targets else before[host.name]
            assert await rig.system.pids(None, host) == there
        await stop(nemesis, story, fault)
        assert all([await rig.system.pids(None, host) for host in rig.hosts])

    assert [phase for _, phase in told(rig, name, body).phases] == LIFE


async def reached(rig: Rig, pool: str) -> list[bool]:
    """Return, for each host and IP version, whether the pool's clients get an answer there."""
    async def ask(source: str | None, to: str | None) -> bool:
        assert source is not None
        assert to is not None
        family = socket.AF_INET6 if ":" in to else socket.AF_INET
        with rig.world.open_socket(family, socket.SOCK_STREAM) as client:
            client.setblocking(False)
            client.bind((source, 0))
            try:
                async with asyncio.timeout(1.0):
                    await asyncio.get_running_loop().sock_connect(client, (to, PORT))
            except TimeoutError:
                return False
        return True

    ipv4, ipv6 = rig.world.pools[pool]
    return list(await asyncio.gather(*(ask(source, to) for host in rig.hosts for source, to in
                                       ((ipv4, host.ipv4), (ipv6, host.ipv6)))))


def test_a_pool_is_cut_off_from_every_host_and_nobody_else_is(rig: Rig) -> None:
    async def body(nemesis: FaultNemesis, story: Story) -> None:
        fault = await start(nemesis, story, "pool-cut")
        assert fault.error is None
        (target,) = fault.targets
        cut = target.removeprefix("pool:")
        (other,) = {"east", "west"} - {cut}
        assert not any(await reached(rig, cut))
        assert all(await reached(rig, other))
        assert await connects(rig.hosts[0], rig.hosts[4], ipv6=False)
        await stop(nemesis, story, fault)
        assert all(await reached(rig, cut))

    assert [phase for _, phase in told(rig, "pool-cut", body).phases] == LIFE


@pytest.mark.parametrize("everywhere", [True, False], ids=["everywhere", "on one host"])
def test_a_pool_cut_undone_behind_its_back_is_ineffective(rig: Rig, everywhere: bool) -> None:
    from seatrial.harness.nemesis.catalogue import HOST_KINDS

    async def undo(scene: Any, fault: Fault) -> None:
        hosts: Sequence[Host] = scene.test.nodes if everywhere else scene.test.nodes[:1]
        for host in hosts:
            await call(host, "stop", id=fault.id)

    async def body(nemesis: FaultNemesis, story: Story) -> None:
        fault = await start(nemesis, story, "pool-cut")
        assert fault.effective_ns is None
        assert fault.error is not None
        assert fault.error.endswith("still heard")

    kind = Sabotaged(HOST_KINDS["pool-cut"], undo)
    story = told(rig, "pool-cut", body, own={"pool-cut": kind})
    assert [phase for _, phase in story.phases][:2] == ["requested", "ineffective"]
