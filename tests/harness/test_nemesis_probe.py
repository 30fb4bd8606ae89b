"""The probe: what readings of the beacons prove, and what they don't."""
from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from seatrial.harness.nemesis.fault import Fault
from seatrial.harness.nemesis.hosts import HostScene
from seatrial.harness.nemesis.partition import watch
from seatrial.harness.nemesis.probe import Pair, Probe, Verdict, View, Views

ADDRESSES = {"a": ("10.0.0.1", "fd::1"), "b": ("10.0.0.2", "fd::2"), "c": ("10.0.0.3", "fd::3")}


class Net:
    """Three residents that beat in step, and a network that may lose what they send."""

    def __init__(self) -> None:
        self.number = 0
        self.lost: set[tuple[str, str]] = set()      # (receiver's address, sender's address)
        self.unsent: set[str] = set()                # names of those that can't send
        self.sent: dict[str, dict[str, int]] = {name: {} for name in ADDRESSES}
        self.heard: dict[str, dict[str, int]] = {name: {} for name in ADDRESSES}
        self.shown: Views = {}
        self.beat()

    def cut(self, receiver: str, sender: str, versions: tuple[int, ...] = (0, 1)) -> None:
        self.lost |= {(ADDRESSES[receiver][v], ADDRESSES[sender][v]) for v in versions}

    def beat(self, times: int = 1) -> Views:
        """Let everybody show a view, then send; return the views."""
        for _ in range(times):
            self.number += 1
            self.shown = {name: View(self.number, dict(self.sent[name]), dict(self.heard[name]))
                          for name in ADDRESSES}
            for sender in ADDRESSES.keys() - self.unsent:
                for receiver in ADDRESSES.keys() - {sender}:
                    self._send(sender, receiver)
        return self.shown

    def _send(self, sender: str, receiver: str) -> None:
        for to, source in zip(ADDRESSES[receiver], ADDRESSES[sender], strict=True):
            self.sent[sender][to] = self.number
            if (to, source) not in self.lost:
                self.heard[receiver][source] = self.number


def judge(net: Net, probe: Probe, flowing: set[Pair], beats: int = 20) -> Verdict:
    """Read until the probe is sure, or for so many beats."""
    verdict = probe.add(net.shown, flowing)
    for _ in range(beats):
        if verdict.final:
            break
        verdict = probe.add(net.beat(), flowing)
    return verdict


SILENT = {("a", "b")}
REST = {("b", "a"), ("a", "c"), ("c", "a"), ("b", "c"), ("c", "b")}


def test_a_cut_is_proven_when_beacons_sent_after_it_are_not_heard() -> None:
    net = Net()
    net.beat(5)
    net.cut("a", "b")
    assert judge(net, Probe(ADDRESSES, SILENT), REST).proven


def test_a_cut_that_is_not_there_is_refuted_by_the_first_beacon() -> None:
    net = Net()
    verdict = judge(net, Probe(ADDRESSES, SILENT), REST)
    assert verdict.final
    assert not verdict.proven
    assert verdict.reason == "a still hears b at 10.0.0.2"


def test_a_cut_of_one_ip_version_is_no_cut() -> None:
    net = Net()
    net.cut("a", "b", versions=(0,))
    assert judge(net, Probe(ADDRESSES, SILENT), REST).reason == "a still hears b at fd::2"


def test_silence_of_one_who_does_not_send_proves_nothing() -> None:
    net = Net()
    net.cut("a", "b")
    net.unsent.add("b")
    verdict = judge(net, Probe(ADDRESSES, SILENT), set())
    assert not verdict.final
    assert verdict.reason == "b has not sent enough to a at 10.0.0.1"


def test_silence_of_one_whose_receiver_shows_no_new_view_proves_nothing() -> None:
    net = Net()
    net.cut("a", "b")
    probe = Probe(ADDRESSES, SILENT)
    frozen = net.shown["a"]
    assert not any(probe.add({**net.beat(), "a": frozen}, set()).proven for _ in range(20))


def test_a_fault_that_cuts_more_than_it_should_is_not_proven() -> None:
    net = Net()
    net.cut("a", "b")
    net.cut("c", "b")
    verdict = judge(net, Probe(ADDRESSES, SILENT), REST)
    assert not verdict.proven
    assert verdict.reason == "c doesn't hear b at 10.0.0.2"


def test_beacons_that_arrived_before_the_cut_do_not_refute_it() -> None:
    net = Net()
    net.beat(3)
    net.cut("a", "b")
    assert net.heard["a"]["10.0.0.2"] == net.number      # shown only after the cut
    assert judge(net, Probe(ADDRESSES, SILENT), REST).proven


def test_recovery_is_proven_by_beacons_sent_after_it_over_both_ip_versions() -> None:
    net = Net()
    net.cut("a", "b")
    net.beat(5)
    net.lost = {(ADDRESSES["a"][1], ADDRESSES["b"][1])}
    probe = Probe(ADDRESSES, set())
    assert not judge(net, probe, SILENT).proven
    net.lost = set()
    net.beat(2)
    assert probe.add(net.beat(), SILENT).proven


def test_hosts_without_ipv6_are_judged_by_ipv4_alone() -> None:
    net = Net()
    addresses = {**ADDRESSES, "b": ("10.0.0.2",)}
    net.cut("a", "b", versions=(0,))
    assert judge(net, Probe(addresses, SILENT), REST).proven


def test_a_cut_that_another_lane_makes_during_a_proof_is_not_held_against_it() -> None:
    net = Net()
    net.cut("a", "b")
    mine = Fault("0-0", "partition-one-way", "omission", grudge={"a": frozenset("b")})
    other = Fault("1-0", "partition-one-way", "omission", grudge={"c": frozenset("a")})
    readings = 0

    async def views() -> Views:
        nonlocal readings
        readings += 1
        if readings == 2:
            scene.active["1-0"] = other
            net.cut("c", "a")
        return net.beat()

    agents: Any = SimpleNamespace(addresses=ADDRESSES, views=views)
    scene = HostScene(SimpleNamespace(nodes=[]), ())           # type: ignore[arg-type]
    scene.agents, scene.active = agents, {"0-0": mine}
    asyncio.run(watch(scene, SILENT, REST, limit_s=5))
    assert readings > 2
