"""Hosts that exist already: what an inventory may say, and a run on one."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from seatrial.harness.cli import main
from seatrial.harness.errors import BadInput
from seatrial.harness.hosts import LocalWorld
from seatrial.harness.hosts.inventory import InventoryWorld, read, write_lab

ROOT = Path(__file__).resolve().parents[2]
Inventory = Callable[[str], Path]


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    """Write an inventory; return its path."""
    def write(text: str) -> Path:
        path = tmp_path / "hosts.yml"
        path.write_text(text)
        return path

    return write


def test_groups_hand_their_variables_down_and_hosts_have_the_last_word(
    inventory: Inventory,
) -> None:
    path = inventory("""
all:
  vars: {ansible_user: a, ansible_port: 22}
  children:
    one: {vars: {ansible_user: b}, hosts: {n1: , n2: {ansible_user: c}}}
    two: {hosts: {n3: {ansible_host: 127.0.0.3}}}
""")
    assert read(path) == {
        "n1": {"ansible_user": "b", "ansible_port": 22},
        "n2": {"ansible_user": "c", "ansible_port": 22},
        "n3": {"ansible_user": "a", "ansible_port": 22, "ansible_host": "127.0.0.3"}}


def test_a_world_of_an_inventory_knows_what_it_was_told(inventory: Inventory) -> None:
    path = inventory("""
all:
  vars: {ansible_user: admin, seatrial_clocks: true, seatrial_data_disk: [data, /data]}
  hosts:
    n1: {ansible_host: 127.0.0.1, ansible_port: 2222, seatrial_ipv6: "fd00::1"}
    n2: {ansible_host: 127.0.0.2, seatrial_ipv4: 10.0.0.2, ansible_become_password: secret}
    n3: {ansible_host: 127.0.0.3}
""")
    world = InventoryWorld(path, 2)
    try:
        assert [(host.name, host.ipv4, host.ipv6) for host in world.hosts] == [
            ("n1", "127.0.0.1", "fd00::1"), ("n2", "10.0.0.2", None)]
        assert world.hosts[0].target.port == 2222
        assert world.hosts[1].target.sudo_password == "secret"
        assert (world.clocks, world.disk) == (True, ("data", "/data"))
        assert "secret" not in repr(world.hosts[1])
    finally:
        world.close()


def test_a_slow_host_makes_a_world_patient(inventory: Inventory) -> None:
    path = inventory("""
all:
  hosts:
    n1: {ansible_host: 127.0.0.1, seatrial_patience: 4.5}
    n2: {ansible_host: 127.0.0.2}
""")
    world = InventoryWorld(path)
    world.close()
    assert world.stretch == 4.5
    assert [host.patience for host in world.hosts] == [4.5, 4.5]


def test_clocks_and_disks_are_left_alone_unless_all_hosts_allow_it(inventory: Inventory) -> None:
    path = inventory("""
all:
  hosts:
    n1: {ansible_host: 127.0.0.1, seatrial_clocks: true, seatrial_data_disk: [data, /data]}
    n2: {ansible_host: 127.0.0.2}
""")
    world = InventoryWorld(path)
    world.close()
    assert (world.clocks, world.disk) == (False, None)


@pytest.mark.parametrize(("text", "complaint"), [
    ("", "expected groups of hosts"),
    ("all: {hosts: {}}", "no hosts in it"),
    ("all: {host: {n1: {}}}", "all: expected children, hosts, vars"),
    ("all: {hosts: [n1]}", "all.hosts: expected a mapping"),
    ("all: {hosts: {n1: root}}", "all.hosts.n1: expected variables, got 'root'"),
    ("all: {hosts: {n1: {seatrial_clock: true}}}", "n1: unknown seatrial_clock; expected one of"),
    ("all: [", "expected"),
])
def test_an_inventory_that_makes_no_sense_is_told_in_one_line(
    inventory: Inventory, text: str, complaint: str,
) -> None:
    path = inventory(text)
    with pytest.raises(BadInput) as error:
        read(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    assert text.endswith("[") or complaint in str(error.value)


@pytest.mark.parametrize(("host", "complaint"), [
    ("{ansible_host: 127.0.0.1, ansible_port: ssh}", "ansible_port: expected a number, got 'ssh'"),
    ("{ansible_host: '::1'}", "give seatrial_ipv4"),
    ("{ansible_host: 127.0.0.1, seatrial_ipv6: 10.0.0.1}", "expected an IPv6 address"),
    ("{ansible_host: 127.0.0.1, seatrial_patience: no}",
     "seatrial_patience: expected a number from 1 to 100, got False"),
])
def test_an_address_that_is_none_is_told(
    inventory: Inventory, host: str, complaint: str,
) -> None:
    with pytest.raises(BadInput, match=complaint):
        InventoryWorld(inventory(f"all: {{hosts: {{n1: {host}}}}}"))


def test_too_few_hosts_for_a_test_are_told_before_one_is_touched(
    inventory: Inventory, capsys: pytest.CaptureFixture[str], tmp_path: Path,
) -> None:
    path = inventory("all: {hosts: {n1: {ansible_host: 127.0.0.1}}}")
    assert main(["run", str(ROOT / "examples/register.yml"), "--on", str(path),
                 "--store", str(tmp_path / "store")]) == 254
    assert "has 1 hosts, but the test asks for 5 (topology.nodes)" in capsys.readouterr().err


def test_options_of_labs_make_no_sense_with_an_inventory(
    inventory: Inventory, capsys: pytest.CaptureFixture[str],
) -> None:
    path = inventory("all: {hosts: {n1: {ansible_host: 127.0.0.1}}}")
    assert main(["run", str(ROOT / "examples/register.yml"), "--on", str(path), "--keep"]) == 254
    assert main(["heal", "--on", str(path), "--all"]) == 254
    assert main(["run", str(ROOT / "examples/register.yml"), "--on", "moon"]) == 254
    assert "'moon' is not local, vm, sim or an inventory (a .yml file)" in capsys.readouterr().err


@pytest.mark.netns
@pytest.mark.cluster
@pytest.mark.slow
def test_a_run_on_hosts_that_exist_uses_them_and_leaves_them(
    world: LocalWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_lab(world)
    test = tmp_path / "small.yml"
    test.write_text("""
name: small
topology: {nodes: 3}
system: {name: node, options: {election_ms: 1000}}
workload: {name: register, options: {keys_at_a_time: 2, ops_per_key: 40}}
clients: 4
rate: 40
time_limit: 12
faults: {names: [kill, power-loss, clock-bump], duration: 1, gap: 0.5, targets: [one]}
coverage: {min_ok: 20, min_faults_by_name: {kill: 1}}
""")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(str(Path(path).absolute()) for path in sys.path if path)}
    for argv in (["doctor", "--on", str(path)], ["plan", str(test), "--on", str(path)],
                 ["run", str(test), "--on", str(path), "--store", str(tmp_path / "store"),
                  "--seed", "1"],
                 ["heal", "--on", str(path)]):
        done = subprocess.run([sys.executable, "-m", "seatrial.harness", *argv], check=False,
                              capture_output=True, text=True, cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(next((tmp_path / "store").glob("small/2*/results.json")).read_text())
    assert (results["verdict"], results["world"]) == ("pass", "inventory")
    assert not any(fault["effective_ns"] for fault in results["faults"]
                   if fault["name"] in ("power-loss", "clock-bump")), "these are not ours to break"
