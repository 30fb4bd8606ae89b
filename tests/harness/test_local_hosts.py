"""What a namespace host is, and that it can't hurt the machine it is on."""
from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from seatrial.harness.errors import HarnessFailure
from seatrial.harness.hosts import LocalWorld, kernel
from seatrial.harness.hosts.local import CHECKOUT
from seatrial.harness.protocols import Host, Result, World

pytestmark = [pytest.mark.netns, pytest.mark.cluster]

# include/uapi/linux/capability.h
FORBIDDEN = {"sys_module": 16, "sys_rawio": 17, "sys_boot": 22, "sys_time": 25, "mknod": 27,
             "audit_write": 29, "audit_control": 30, "audit_read": 37}
DIAL = """
import socket, sys
with socket.create_connection((sys.argv[1], 22), timeout=10) as s:
    print(s.recv(4).decode())
"""


def run(world: LocalWorld, *argv: str, host: int = 0, check: bool = True) -> Result:
    """Run one command on a host."""
    return asyncio.run(world.hosts[host].run(argv, check=check))


def capability_sets(world: LocalWorld) -> dict[str, int]:
    """What a login shell on a host may do: /proc/self/status there."""
    status = run(world, "cat", "/proc/self/status").stdout
    lines = (line.split() for line in status.splitlines() if line.startswith("Cap"))
    return {name.rstrip(":"): int(value, 16) for name, value in lines}


@pytest.fixture(scope="module")
def harmless(world: LocalWorld) -> LocalWorld:
    """The lab, after it is certain that its hosts lack what could hurt. Nothing dangerous is
    tried before."""
    for name, value in capability_sets(world).items():
        for capability, bit in FORBIDDEN.items():
            if value >> bit & 1:
                pytest.fail(f"a host has {capability} in {name}: the rest is not tried")
    return world


def test_a_local_world_and_its_hosts_follow_the_protocols(world: LocalWorld) -> None:
    assert isinstance(world, World)
    assert all(isinstance(host, Host) for host in world.hosts)
    assert [(host.name, host.index) for host in world.hosts] == [("n1", 0), ("n2", 1), ("n3", 2)]


def test_no_capability_set_holds_what_could_hurt_the_machine(harmless: LocalWorld) -> None:
    sets = capability_sets(harmless)
    assert {"CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb"} <= set(sets)
    assert sets["CapBnd"] >> 12 & 1, "net_admin stays: partitions need it"


def test_a_host_cannot_set_the_clock(harmless: LocalWorld) -> None:
    result = run(harmless, "date", "-s", f"@{int(time.time())}", check=False)
    assert result.code != 0
    assert "Operation not permitted" in result.stderr


def test_a_host_cannot_reboot_the_machine(harmless: LocalWorld) -> None:
    program = "import ctypes; l = ctypes.CDLL(None, use_errno=True); " \
        "r = l.reboot(0x89ABCDEF); print(r, ctypes.get_errno())"  # CAD_ON: harmless if allowed
    assert run(harmless, "python3", "-c", program).stdout == "-1 1\n"
    assert run(harmless, "sh", "-c", "echo h > /proc/sysrq-trigger", check=False).code != 0


def test_a_host_cannot_change_the_kernel_but_can_change_its_own_network(
    harmless: LocalWorld,
) -> None:
    before = Path("/proc/sys/kernel/panic").read_text()
    refused = run(harmless, "sh", "-c", f"echo {before.strip()} > /proc/sys/kernel/panic",
                  check=False)
    assert "Read-only file system" in refused.stderr
    assert run(harmless, "sh", "-c", "echo x > /sys/power/state", check=False).code != 0
    assert run(harmless, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward").code == 0


def test_a_host_cannot_reach_a_block_device(harmless: LocalWorld, tmp_path: Path) -> None:
    made = run(harmless, "mknod", "/data/disk", "b", "7", "0", check=False)
    assert "Operation not permitted" in made.stderr
    assert run(harmless, "find", "/dev", "-type", "b").stdout == ""
    disk = Path(harmless.lab.disk, "n1", "upper", "disk")
    os.mknod(disk, 0o600 | 0o060000, os.makedev(7, 250))  # from outside, no device behind it
    opened = run(harmless, "dd", "if=/dev/zero", "of=/disk", "bs=512", "count=1",
                 "conv=notrunc", check=False)
    assert "Permission denied" in opened.stderr, "nodev makes even a made node useless"


def test_what_is_not_the_hosts_business_is_masked(world: LocalWorld) -> None:
    for folder in ("/root", "/home", "/var/lib/seatrial", str(CHECKOUT)):
        found = run(world, "find", folder, "-mindepth", "1", check=False)
        gone = folder == str(CHECKOUT) and "No such file" in found.stderr   # it was below another
        assert found.stdout == "", folder
        assert found.code == 0 or gone, found.stderr
    assert "seatrial" not in run(world, "ls", "/run").stdout
    keys = run(world, "ls", "/etc/ssh").stdout.split()
    assert sorted(keys) == ["authorized_keys", "host_key", "sshd_config"]


def test_a_host_sees_itself_only(world: LocalWorld) -> None:
    for index, host in enumerate(world.hosts):
        assert run(world, "hostname", host=index).stdout.strip() == host.name
    processes = run(world, "ps", "-eo", "pid,comm", "--no-headers").stdout.split("\n")
    assert processes[0].split() == ["1", "tini"]
    assert len(processes) < 12
    links = run(world, "ip", "-o", "link").stdout.splitlines()
    assert len(links) == 2


def test_what_a_host_writes_stays_on_the_host(world: LocalWorld) -> None:
    asyncio.run(world.hosts[0].put(b"mine\n", "/etc/of-n1"))
    assert not Path("/etc/of-n1").exists()
    assert run(world, "cat", "/etc/of-n1", host=1, check=False).code != 0
    assert run(world, "cat", "/etc/of-n1").stdout == "mine\n"


def test_data_is_on_the_machines_real_disk(world: LocalWorld) -> None:
    run(world, "sh", "-c", "echo kept > /data/file && sync /data/file")
    disk = world.lab.disk / "n1/data"
    assert (disk / "file").read_text() == "kept\n"
    host_device = run(world, "stat", "-c", "%d", "/data/file").stdout.strip()
    assert int(host_device) == disk.stat().st_dev


@pytest.mark.parametrize("version", [4, 6])
def test_hosts_reach_each_other(world: LocalWorld, version: int) -> None:
    other = world.hosts[2]
    address = other.ipv4 if version == 4 else other.ipv6
    if address is None:
        pytest.skip("no IPv6 on this machine")
    assert run(world, "python3", "-c", DIAL, address).stdout == "SSH-\n"


def test_hosts_reach_each_other_by_name(world: LocalWorld) -> None:
    assert run(world, "python3", "-c", DIAL, "n3").stdout == "SSH-\n"


def test_the_labs_network_leads_nowhere_else(world: LocalWorld) -> None:
    refused = run(world, "ip", "route", "get", "192.0.2.1", check=False)
    assert "unreachable" in refused.stderr
    here = subprocess.run(["ip", "route"], check=True, capture_output=True, text=True).stdout
    assert "198.18." not in here


def test_client_pools_have_addresses_of_their_own(world: LocalWorld) -> None:
    sources = [address for pool in world.pools.values() for address in pool if address]
    assert not set(sources) & set(world.hosts[0].controller)
    for source in sources:
        host = world.hosts[0]
        target = host.ipv6 if ":" in source else host.ipv4
        with kernel.entered(world.lab.control):
            connection = socket.create_connection((target, 22), 10, (source, 0))
        with connection:
            assert connection.recv(4) == b"SSH-"


def test_an_orphan_on_a_host_is_reaped(world: LocalWorld) -> None:
    run(world, "sh", "-c", "(sleep 0.01 &) ; true")
    deadline = time.monotonic() + 10
    while "sleep" in run(world, "ps", "-eo", "comm").stdout:
        assert time.monotonic() < deadline


def test_a_frozen_host_answers_again_when_thawed(world: LocalWorld) -> None:
    world.freeze("n2")
    try:
        with pytest.raises(HarnessFailure, match=r"n2 \(198\.18\.1\.2:22\): .*within 0\.3 s"):
            asyncio.run(world.hosts[1].run(["true"], timeout_s=0.3))
    finally:
        world.thaw("n2")
    assert run(world, "echo", "back", host=1).stdout == "back\n"


def test_the_machine_sees_no_mount_and_no_link_of_the_lab(world: LocalWorld) -> None:
    assert world.plan.lab not in Path("/proc/self/mountinfo").read_text()
    links = subprocess.run(["ip", "-o", "link"], check=True, capture_output=True, text=True)
    assert "n1" not in links.stdout
