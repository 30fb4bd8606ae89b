"""``seatrial plan``: what a run would do, told without a host."""
from __future__ import annotations

from pathlib import Path

import pytest

from seatrial.harness.cli import main
from seatrial.harness.hosts.state import names
from seatrial.harness.launch import Request, plan
from seatrial.harness.planned import planned

TEST = """
name: small
topology:
  domains: {A: {nodes: 2}, B: {nodes: 1, parent: A, mode: async}}
system: {name: node}
workload: {name: register}
time_limit: 12
faults: {names: [kill, domain-power-loss, clock-strobe, disk-lost-writes, disk-flip]}
"""


@pytest.mark.parametrize(("world", "impossible"), [
    ("local", {"domain-power-loss", "clock-strobe", "disk-lost-writes", "disk-flip"}),
    ("vm", {"disk-flip"})])
def test_hosts_and_faults_are_told_and_no_host_is_made(
    tmp_path: Path, world: str, impossible: set[str],
) -> None:
    file = tmp_path / "small.yml"
    file.write_text(TEST)
    before = names()
    found = planned(plan(Request(file=file, world=world, store=tmp_path,
                                 overrides={"--seed": (("seed",), 0)})))
    assert [(host.name, host.part) for host in found.hosts] == [
        ("n1", "node of A"), ("n2", "node of A"), ("n3", "node of B")]
    assert {fault.name for fault in found.faults if fault.impossible} == impossible
    assert names() == before
    assert not list(tmp_path.glob("small/*"))


def test_a_host_that_can_not_be_used_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    file, inventory, known = tmp_path / "t.yml", tmp_path / "hosts.yml", tmp_path / "known"
    file.write_text("name: t\nsystem: {name: node}\nworkload: {name: register}\n"
                    "time_limit: 9\ntopology: {nodes: 1}\n")
    known.touch()
    inventory.write_text("all: {hosts: {h: {ansible_host: 127.0.0.1, ansible_port: 1, "
                         f"seatrial_known_hosts: {known}}}}}}}\n")
    assert main(["plan", str(file), "--on", str(inventory)]) == 255
    seen = capsys.readouterr()
    assert "can't be used: h" in seen.err
    assert "no SSH within" in " ".join(seen.out.replace("│", " ").split())


def test_there_is_nothing_to_plan_in_simulation(tmp_path: Path) -> None:
    assert main(["plan", str(tmp_path / "t.yml"), "--on", "sim"]) == 254
