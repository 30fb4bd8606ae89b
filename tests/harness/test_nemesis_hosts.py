"""Faults of whole hosts, their packets, clocks and disks: who is hit, and where they can't work."""
from __future__ import annotations

import asyncio
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest

from seatrial.harness.errors import HarnessFailure
from seatrial.harness.nemesis.agent import clock, disk
from seatrial.harness.nemesis.agent import shaping as agent_shaping
from seatrial.harness.nemesis.agent.errors import AgentError
from seatrial.harness.nemesis.catalogue import HOST_KINDS
from seatrial.harness.nemesis.clocks import free_of_clock_faults, rates_of
from seatrial.harness.nemesis.fault import Fault, FaultError
from seatrial.harness.nemesis.heal import answers, heal_one
from seatrial.harness.nemesis.shaping import BOTH, IN, OUT, Impairment, destinations, shapers
from seatrial.harness.phases import nemesis_limit_ns
from seatrial.harness.protocols import Result

NAMES = ("n1", "n2", "n3")


def scene(**world: Any) -> Any:
    """Three hosts with two addresses each, and a client pool."""
    nodes = [SimpleNamespace(name=name, ipv4=f"10.0.0.{i}", ipv6=f"fd00::{i}")
             for i, name in enumerate(NAMES, 1)]
    test = SimpleNamespace(nodes=nodes, pools={"clients": ("10.0.1.1", "fd00::1:1")},
                           world=SimpleNamespace(name="local", **world))
    return SimpleNamespace(
        test=test, names=list(NAMES),
        hosts=lambda names: [node for node in nodes if node.name in names],
        cannot=lambda work: "n1: no" if work in ("shape", "clock", "disk") else None,
        others=lambda fault: [])


def shaping(way: int) -> Fault:
    """A fault of packets of n1."""
    return Fault("f1", "delay", "timing", ["n1"], parameters={"way": way})


@pytest.mark.parametrize(("way", "where"), [
    (BOTH, ["n1", "n2", "n3"]), (OUT, ["n1"]), (IN, ["n2", "n3"])])
def test_packets_are_touched_where_they_leave(way: int, where: list[str]) -> None:
    assert [host.name for host in shapers(scene(), shaping(way))] == where


def test_packets_to_the_others_and_to_clients_are_touched_and_the_controllers_are_not() -> None:
    place = scene()
    of = {host.name: destinations(place, shaping(BOTH), host) for host in place.test.nodes}
    assert of["n1"] == ["10.0.0.2", "fd00::2", "10.0.0.3", "fd00::3", "10.0.1.1", "fd00::1:1"]
    assert of["n2"] == of["n3"] == ["10.0.0.1", "fd00::1"]


@pytest.mark.parametrize(("name", "given", "words"), [
    ("loss", {"loss_ppm": 125_000}, ["loss", "12.5%"]),
    ("delay", {"delay_us": 1500, "jitter_us": 20}, ["delay", "1500us", "20us"]),
    ("reorder", {"reorder_ppm": 250_000}, ["delay", "20ms", "reorder", "25%"]),
    ("duplicate", {"duplicate_ppm": 10_000}, ["duplicate", "1%"]),
    ("corrupt", {"corrupt_ppm": 1000}, ["corrupt", "0.1%"]),
    ("rate", {"bytes_per_s": 4000}, ["rate", "32000bit"]),
])
def test_parameters_become_words_of_netem(
    name: str, given: dict[str, int], words: list[str],
) -> None:
    kind = HOST_KINDS[name]
    assert isinstance(kind, Impairment)
    assert kind.netem(given) == words
    assert kind.parameters.keys() == given.keys() | {"way"}


@pytest.mark.parametrize("name", [
    "power-loss", "domain-power-loss", "reboot", "freeze", "delay", "clock-bump", "clock-back",
    "clock-strobe", "clock-drift", "clock-drift-leader", "disk-slow", "disk-stall", "disk-error",
    "disk-full", "disk-lost-writes"])
def test_where_the_world_or_the_host_can_not_do_it_a_fault_is_impossible(name: str) -> None:
    assert HOST_KINDS[name].impossible(scene())


def test_a_clock_that_another_fault_has_moved_is_not_moved_again() -> None:
    place = scene()
    place.others = lambda fault: [Fault("f0", "clock-bump", "timing", ["n1", "n2"])]
    with pytest.raises(FaultError, match="n1, n2: another fault has the clock"):
        free_of_clock_faults(place, Fault("f1", "clock-drift", "timing", ["n2"]))
    free_of_clock_faults(place, Fault("f1", "clock-drift", "timing", ["n3"]))
    apart = Fault("f1", "clock-drift", "timing", ["n3"],
                  parameters={"rate_ppm": 9000, "slow": 1, "apart": 1})
    assert rates_of(place, apart) == {"n1": 9000, "n2": 9000, "n3": -9000}
    with pytest.raises(FaultError, match="n1, n2: another fault has the clock"):
        free_of_clock_faults(place, apart)


# The agent: never what is not the host's own

def test_an_agent_that_was_not_told_so_has_neither_clock_nor_disk() -> None:
    assert clock.no_clock({}) == "the clock is not the host's own"
    assert disk.no_disk({}) == "it has no data disk of its own"
    assert "not on /dev/mapper/none-such" in str(disk.no_disk({"disk": ["none-such", "/"]})) \
        or "dmsetup isn't installed" in str(disk.no_disk({"disk": ["none-such", "/"]}))


@pytest.mark.parametrize("command", [clock.clock, disk.disk])
def test_a_command_that_comes_all_the_same_is_refused(
    command: Any, monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (clock, disk):
        monkeypatch.setattr(module, "read_json", lambda path: {"run": "x"})
    before = time.time()
    with pytest.raises(AgentError, match="may not be"):
        command({"id": "f", "name": "f", "bump_ms": 10_000_000, "how": "error"})
    assert time.time() - before < 1000


def test_what_netem_counts_is_read_from_tc(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = """\
qdisc prio 5ea7: root refcnt 2 bands 4 priomap 1 2 2 2 1 2 0 0 1 1 1 1 1 1 1 1
 Sent 9999 bytes 99 pkt (dropped 9, overlimits 0 requeues 0)
 backlog 0b 0p requeues 0
qdisc netem 5ea8: parent 5ea7:4 limit 100000 delay 10ms loss 10%
 Sent 4411 bytes 21 pkt (dropped 3, overlimits 0 requeues 0)
"""
    monkeypatch.setattr(agent_shaping, "link", lambda: "eth0")
    monkeypatch.setattr(agent_shaping, "command", lambda argv: shown)
    assert agent_shaping.shaped({}) == {"there": True, "packets": 21, "dropped": 3}
    monkeypatch.setattr(agent_shaping, "command",
                        lambda argv: "qdisc pfifo_fast 0: root refcnt 2\n")
    assert agent_shaping.shaped({}) == {"there": False, "packets": 0, "dropped": 0}


def test_a_link_that_somebody_else_shapes_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def command(argv: list[str]) -> str:
        ran.append(argv)
        return "qdisc htb 1: root refcnt 2 r2q 10 default 0\n"

    monkeypatch.setattr(agent_shaping, "link", lambda: "eth0")
    monkeypatch.setattr(agent_shaping, "command", command)
    monkeypatch.setattr(agent_shaping, "locked", lambda: __import__("contextlib").nullcontext())
    with pytest.raises(AgentError, match="eth0: its packets are shaped already"):
        agent_shaping.shape({"id": "f", "name": "delay", "to": ["10.0.0.1"], "netem": []})
    assert ran == [["tc", "qdisc", "show", "dev", "eth0"]]


class SlowHost:
    """Does what it is told after a while, as its patience says."""

    name, patience = "n1", 50.0

    def __init__(self, silent: int = 0, takes_s: float = 0.1) -> None:
        self.silent, self.takes_s, self.hung_up = silent, takes_s, 0

    async def run(self, argv: Any, timeout_s: float = 60.0, **_: Any) -> Result:
        await asyncio.sleep(self.takes_s)
        if self.silent > self.hung_up:
            raise HarnessFailure("n1: silence")
        return Result(tuple(argv), 0, '{"undone": [{"name": "kill"}]}', "")

    async def put(self, *_: Any, **__: Any) -> None:
        """No-op."""

    def hang_up(self) -> None:
        self.hung_up += 1


def test_a_slow_host_has_longer_to_heal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[heal_one.__module__], "HOST_TIMEOUT_S", 0.1)
    assert asyncio.run(heal_one(SlowHost())).undone == ["kill"]         # type: ignore[arg-type]


def test_a_host_that_boots_is_asked_over_new_connections_and_has_longer_when_slow() -> None:
    host = SlowHost(silent=3)
    asyncio.run(answers(host, 0.1))                                     # type: ignore[arg-type]
    assert host.hung_up == 3
    with pytest.raises(HarnessFailure, match="silence"):
        asyncio.run(answers(SlowHost(silent=9, takes_s=0.0), 0.0))      # type: ignore[arg-type]


def test_a_fault_may_take_as_long_as_a_slow_host_takes_to_boot() -> None:
    booting_s = sys.modules[answers.__module__].BOOT_TIMEOUT_S * SlowHost.patience
    limit_ns = nemesis_limit_ns(SimpleNamespace(stretch=SlowHost.patience))  # type: ignore[arg-type]
    assert limit_ns > booting_s * 1e9
