"""Two real virtual machines: what a host is there, and what no other world can do to one.

The first run on a machine builds the image and boots its template, which takes a minute or more.
"""
from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator

import pytest

from seatrial.harness.errors import HarnessFailure
from seatrial.harness.hosts import VirtualWorld, state
from seatrial.harness.hosts.cgroup import Cgroup
from seatrial.harness.hosts.labs import view
from seatrial.harness.hosts.state import DISK
from seatrial.harness.hosts.vm import guest
from seatrial.harness.hosts.vm.prepared import Ready
from seatrial.harness.nemesis import FaultNemesis
from seatrial.harness.nemesis.fault import Fault
from seatrial.harness.nemesis.heal import answers, mend
from seatrial.harness.protocols import Freezable, Host, Powered, World

from .listener import ListenerSystem, Story, eventually
from .rig import Rig, fall_silent, restart, skip_without_machines, start, stop, tell

pytestmark = [pytest.mark.netns, pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], 22), 30).close()"


@pytest.fixture(scope="module")
def machines() -> Iterator[VirtualWorld]:
    """Two machines that answer."""
    skip_without_machines()

    async def install(host: Host) -> None:
        await host.run(["sh", "-c", "echo yes >/opt/installed; echo once >>/opt/runs"])

    made = VirtualWorld.create(2, ready=Ready("a test's", install))
    try:
        asyncio.run(made.up())
        yield made
    finally:
        made.destroy()
        assert not Cgroup.of_lab(made.plan.lab).path.exists()
        assert not (DISK / made.plan.lab).exists()
        assert made.plan.lab not in state.names()


def said(world: VirtualWorld, *argv: str, host: int = 0) -> str:
    """What a command on a host prints."""
    return asyncio.run(world.hosts[host].run(argv)).stdout.strip()


def test_hosts_have_a_kernel_and_a_name_of_their_own(machines: VirtualWorld) -> None:
    assert isinstance(machines, World)
    assert isinstance(machines, Powered)
    assert isinstance(machines, Freezable)
    assert all(isinstance(host, Host) for host in machines.hosts)
    assert [said(machines, "hostname", host=at) for at in (0, 1)] == ["n1", "n2"]
    assert said(machines, "uname", "-r") != os.uname().release
    assert "/data" in said(machines, "findmnt", "-n", "/dev/mapper/data")
    assert abs(float(said(machines, "date", "+%s.%N")) - time.time()) < 30


def test_what_was_installed_on_the_template_is_on_every_host(machines: VirtualWorld) -> None:
    for at in (0, 1):
        assert said(machines, "cat", "/opt/installed", "/opt/runs", host=at).split() == [
            "yes", "once"]


def test_copies_of_one_machine_draw_different_numbers(machines: VirtualWorld) -> None:
    draws = {said(machines, "od", "-An", "-tx1", "-N16", "/dev/urandom", host=at) for at in (0, 1)}
    assert len(draws) == 2
    ids = {said(machines, "cat", "/etc/machine-id", host=at) for at in (0, 1)}
    assert len(ids) == 2


def test_machines_reach_each_other_and_nothing_else(machines: VirtualWorld) -> None:
    for at, other in ((0, 1), (1, 0)):
        for address in filter(None, (machines.hosts[other].ipv4, machines.hosts[other].ipv6)):
            said(machines, "python3", "-c", CONNECT, address, host=at)
        links = said(machines, "ip", "-br", "link", "show", "eth0", host=at)
        assert guest.link_address(at + 1) in links
    assert said(machines, "ip", "route", "show", "default") == ""
    assert said(machines, "ip", "-6", "route", "show", "default") == ""


def test_a_machine_that_is_frozen_stands_still_and_then_goes_on(machines: VirtualWorld) -> None:
    machines.freeze("n1")
    assert machines.is_frozen("n1")
    assert asyncio.run(mend(machines)) == ["n1"]
    assert not machines.is_frozen("n1")
    assert abs(float(said(machines, "date", "+%s.%N")) - time.time()) < 30


def test_a_power_loss_takes_what_was_not_synced_and_leaves_the_rest(
    machines: VirtualWorld,
) -> None:
    said(machines, "sh", "-c", "echo kept >/data/synced; sync; echo gone >/data/unsynced")
    boot = said(machines, "cat", "/proc/sys/kernel/random/boot_id")
    began = time.monotonic()
    machines.power_off("n1")
    assert not machines.has_power("n1")
    other = view(machines.plan.lab)     # as 'seatrial heal' after a crash: nothing is known to it
    try:
        assert asyncio.run(mend(other)) == ["n1"]
    finally:
        other.close()
    asyncio.run(answers(machines.hosts[0]))
    print(f"off, on and booted in {time.monotonic() - began:.1f} s")
    assert said(machines, "cat", "/proc/sys/kernel/random/boot_id") != boot
    assert said(machines, "hostname") == "n1"
    assert said(machines, "cat", "/data/synced") == "kept"
    assert said(machines, "sh", "-c", "cat /data/unsynced 2>/dev/null || true") == ""


FAULTS = ("delay", "loss", "reorder", "duplicate", "corrupt", "rate", "clock-bump", "clock-back",
          "clock-strobe", "clock-drift", "clock-drift-leader", "disk-slow", "disk-stall",
          "disk-full", "disk-error", "freeze", "disk-lost-writes", "reboot")


def test_every_fault_that_only_machines_have_works_and_is_undone(machines: VirtualWorld) -> None:
    rig = Rig(machines, ListenerSystem())
    rig.system.leader = machines.hosts[0]
    restart(rig)
    seen: dict[str, Fault] = {}

    async def body(nemesis: FaultNemesis, story: Story) -> None:
        assert nemesis.impossible == {}
        for number, name in enumerate(FAULTS):
            seen[name] = fault = await start(nemesis, story, name, id=f"0-{number}")
            await stop(nemesis, story, fault)

    tell(rig, FAULTS, body)
    assert {name: fault.error for name, fault in seen.items() if fault.error} == {}
    for name, fault in seen.items():
        assert fault.effective_ns is not None, name
        assert fault.recovered_ns is not None, name
    for at in (0, 1):
        assert "5ea" not in said(machines, "tc", "qdisc", "show", host=at)
        assert " linear " in said(machines, "dmsetup", "table", "data", host=at)
        assert abs(float(said(machines, "date", "+%s.%N", host=at)) - time.time()) < 30


def test_when_the_controller_falls_silent_a_disk_that_lies_is_put_right_by_a_reboot(
    machines: VirtualWorld,
) -> None:
    """Its file system can't be told otherwise what it lost."""
    rig = Rig(machines, ListenerSystem())
    restart(rig)

    async def body(nemesis: FaultNemesis, story: Story) -> None:
        fault = await start(nemesis, story, "disk-lost-writes")
        assert fault.effective_ns, fault.error
        host = next(host for host in machines.hosts if host.name in fault.targets)

        async def boot() -> str:
            return (await host.run(["cat", "/proc/sys/kernel/random/boot_id"])).stdout

        before = await boot()
        fall_silent(nemesis)

        async def booted() -> bool:
            try:
                return await boot() != before
            except HarnessFailure:
                return False

        await eventually(booted, limit_s=600.0)
        table = (await host.run(["dmsetup", "table", "data"])).stdout
        assert " linear " in table, table
        await stop(nemesis, story, fault)
        assert fault.recovered_ns, fault.error

    tell(rig, ["disk-lost-writes"], body, deadline_s=3.0)
