"""Partitions of real hosts: each drops what its grudge says, nothing else, never the controller."""
from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from seatrial.harness.hosts import LocalWorld
from seatrial.harness.nemesis import FaultNemesis
from seatrial.harness.nemesis.agents import call
from seatrial.harness.nemesis.catalogue import HOST_KINDS
from seatrial.harness.nemesis.fault import Fault
from seatrial.harness.nemesis.grudge import pairs
from seatrial.harness.op import NEMESIS, Op

from .listener import Story, connects, who_hears_whom
from .rig import Rig, Sabotaged, all_rules, rig_of, start, stop, tell

pytestmark = [pytest.mark.cluster, pytest.mark.netns]

PARTITIONS = [name for name in HOST_KINDS if name.startswith("partition-")]


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with rig_of(5) as five:
        yield five


@pytest.mark.parametrize("name", PARTITIONS)
def test_a_partition_drops_exactly_the_packets_of_its_grudge_on_both_ip_versions(
    rig: Rig, name: str,
) -> None:
    rig.system.leader = rig.hosts[2]

    async def body(nemesis: FaultNemesis, story: Story) -> None:
        fault = await start(nemesis, story, name)
        assert fault.error is None
        cut = pairs(fault.grudge)
        assert cut
        for ipv6 in (False, True):
            heard = await who_hears_whom(rig.hosts, f"{name}-cut-{ipv6}", ipv6)
            assert heard == rig.links - cut
        await stop(nemesis, story, fault)
        for ipv6 in (False, True):
            assert await who_hears_whom(rig.hosts, f"{name}-healed-{ipv6}", ipv6) == rig.links
        times = [fault.requested_ns, fault.effective_ns, fault.ended_ns, fault.recovered_ns]
        assert None not in times
        assert times == sorted(times)           # type: ignore[type-var]

    story = tell(rig, [name], body)
    assert story.phases == [(name, phase) for phase in
                            ("requested", "effective", "ended", "recovered")]
    assert all(op.process == NEMESIS and op.type == "info" for op in story.events)
    if name == "partition-leader":
        assert story.events[0].value["targets"] == ["n3"]


def test_a_cut_closes_tcp_between_the_two_sides_and_leaves_it_open_within_them(rig: Rig) -> None:
    async def body(nemesis: FaultNemesis, story: Story) -> None:
        fault = await start(nemesis, story, "partition-halves")
        assert fault.targets == ["n1", "n2"]
        n1, n2, n3, n4, _ = rig.hosts
        for ipv6 in (False, True):
            answers = await asyncio.gather(*(connects(a, b, ipv6) for a, b in
                                             ((n1, n2), (n3, n4), (n1, n3), (n3, n1))))
            assert answers == [True, True, False, False]

    tell(rig, ["partition-halves"], body)


def test_the_controller_is_never_cut_even_by_a_grudge_against_the_whole_world(rig: Rig) -> None:
    async def body(nemesis: FaultNemesis, story: Story) -> None:
        n1 = rig.hosts[0]
        await call(n1, "cut", id="all", name="all", sources=["0.0.0.0/0", "::/0"])
        assert not await connects(rig.hosts[1], n1, ipv6=False)
        assert not await connects(rig.hosts[1], n1, ipv6=True)
        anew = LocalWorld.view(rig.world.plan.lab)       # SSH connections of its own
        try:
            assert (await anew.hosts[0].run(["hostname"])).stdout.strip() == "n1"
        finally:
            anew.close()

    tell(rig, ["partition-one"], body)


def test_rules_of_others_are_obeyed_and_left_as_they_were(rig: Rig) -> None:
    """They accept everything before anything of ours, had we not put ourselves first."""
    n1 = rig.hosts[0]
    foreign = [["-N", "theirs"], ["-A", "theirs", "-p", "tcp", "--dport", "9", "-j", "DROP"],
               ["-A", "INPUT", "-j", "theirs"], ["-A", "INPUT", "-j", "ACCEPT"],
               ["-A", "OUTPUT", "-p", "udp", "--dport", "9", "-j", "DROP"]]

    async def body(nemesis: FaultNemesis, story: Story) -> None:
        for tool in ("iptables", "ip6tables"):
            for rule in foreign:
                await n1.run([tool, *rule])
        before = await all_rules(n1)
        fault = await start(nemesis, story, "partition-halves")
        assert fault.error is None
        during = await all_rules(n1)
        assert "SEATRIAL-IN" in during
        assert [line for line in during.splitlines() if "SEATRIAL" not in line] \
            == before.splitlines()
        await stop(nemesis, story, fault)
        assert await all_rules(n1) == before

    try:
        tell(rig, ["partition-halves"], body)
    finally:
        async def tidy() -> None:
            for tool in ("iptables", "ip6tables"):
                await n1.run([tool, "-F"])
                await n1.run([tool, "-X", "theirs"])
        asyncio.run(tidy())


def test_cuts_that_overlap_in_time_end_one_by_one(rig: Rig) -> None:
    rig.system.leader = rig.hosts[0]

    async def body(nemesis: FaultNemesis, story: Story) -> None:
        halves = await start(nemesis, story, "partition-halves", id="0-0")
        leader = await start(nemesis, story, "partition-leader", id="1-0")
        both = pairs(halves.grudge) | pairs(leader.grudge)
        assert await who_hears_whom(rig.hosts, "both", False) == rig.links - both
        await stop(nemesis, story, halves)
        assert halves.recovered_ns is not None
        left = rig.links - pairs(leader.grudge)
        assert await who_hears_whom(rig.hosts, "one-left", True) == left
        await nemesis.invoke(story.test, Op("heal", process=NEMESIS))
        assert leader.recovered_ns is not None
        assert await who_hears_whom(rig.hosts, "none-left", False) == rig.links

    tell(rig, ["partition-halves", "partition-leader"], body)


@pytest.mark.parametrize("tool", ["iptables", "ip6tables"])
def test_a_partition_whose_rule_was_taken_away_is_not_called_effective(
    rig: Rig, tool: str,
) -> None:
    """Behind the nemesis's back, for one IP version only."""
    async def body(nemesis: FaultNemesis, story: Story) -> None:
        async def take_away(scene: Any, fault: Fault) -> None:
            await rig.hosts[0].run([tool, "-D", "INPUT", "-j", "SEATRIAL-IN"])

        nemesis.kinds["partition-halves"] = Sabotaged(nemesis.kinds["partition-halves"], take_away)
        fault = await start(nemesis, story, "partition-halves")
        assert fault.effective_ns is None
        assert fault.error is not None
        assert fault.error.startswith("n1 still hears n")
        assert (":" in fault.error) == (tool == "ip6tables")
        await stop(nemesis, story, fault)
        assert fault.recovered_ns is not None

    story = tell(rig, ["partition-halves"], body)
    assert ("partition-halves", "ineffective") in story.phases
    assert ("partition-halves", "effective") not in story.phases


def test_a_fault_with_no_leader_to_hit_says_so_and_is_over(rig: Rig) -> None:
    rig.system.leader = None

    async def body(nemesis: FaultNemesis, story: Story) -> None:
        fault = await start(nemesis, story, "partition-leader")
        assert fault.effective_ns is None
        assert fault.error == "nobody leads, so no leader can be hit"
        assert fault.ended_ns is not None
        await stop(nemesis, story, fault)

    story = tell(rig, ["partition-leader"], body)
    assert story.phases == [("partition-leader", "requested"), ("partition-leader", "ineffective")]


def test_a_host_without_iptables_is_reported_before_the_first_fault(rig: Rig) -> None:
    n2 = rig.hosts[1]

    async def hide(hidden: bool) -> None:
        for folder in ("/usr/sbin", "/sbin"):
            if (await n2.run(["test", "-L", folder], check=False)).code == 0:
                continue
            a, b = f"{folder}/iptables", f"{folder}/iptables.hidden"
            await n2.run(["mv", *((a, b) if hidden else (b, a))])

    async def body(nemesis: FaultNemesis, story: Story) -> None:
        reason = "n2: iptables isn't installed"
        assert nemesis.impossible == {"partition-one": reason}
        fault = await start(nemesis, story, "partition-one")
        assert fault.error == reason
        assert story.events[0].error == reason

    asyncio.run(hide(True))
    try:
        story = tell(rig, ["partition-one", "pause"], body)
    finally:
        asyncio.run(hide(False))
    assert story.phases == [("partition-one", "impossible"), ("partition-one", "requested"),
                            ("partition-one", "ineffective")]
