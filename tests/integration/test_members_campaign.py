"""An administrator at work on real nodes: a whole campaign, and what a killed one leaves."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seatrial.harness.hosts.cgroup import Cgroup

from .campaigns import going, in_force, nothing_left, recorded, results, seatrial

pytestmark = [pytest.mark.cluster, pytest.mark.netns]

FILE = """\
name: members
system:
  name: node
  options: {heartbeat_ms: 60, election_ms: 400, snapshot_bytes: 20000, keep_bytes: 2000}
topology: {nodes: 4, spares: 1}
workload:
  name: register
  options: {keys_at_a_time: 3, ops_per_key: 100}
clients: 6
rate: 100
op_timeout: 3
time_limit: 25
faults:
  names: [member-add, member-remove, member-replace, transfer-leader, snapshot, rolling-restart]
  duration: 0.3
  gap: 0.2
coverage: {min_ok: 300, min_faults: 4, min_fault_names: 4, min_ok_per_window: 5}
"""
LIST = """
site=$(ls -d /opt/seatrial/*/ | head -n 1)
PYTHONPATH=$site python3 -s -m seatrial.core member list --json --config /data/seatrial/node.yml
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def write(folder: Path, old: str = "", new: str = "") -> Path:
    path = folder / "members.yml"
    assert old in FILE
    path.write_text(FILE.replace(old, new) if old else FILE)
    return path


def test_clients_get_on_while_members_come_and_go(tmp_path: Path, store: Path) -> None:
    with nothing_left():
        ended = seatrial("run", write(tmp_path), "--seed", "3", "--store", store)
    assert ended.code == 0, ended.err + ended.out
    found = results(store)
    assert all(fault["recovered_ns"] is not None and fault["error"] is None
               for fault in found["faults"])
    windows = found["checks"]["coverage"]["evidence"]["windows"]
    assert all(window["majority"] for window in windows)
    history = recorded(store)
    assert history is not None
    told = [history.value(row) for row in range(len(history))
            if history.fs[history.f[row]] == "members"]
    assert told[0]["voters"] == ["n1", "n2", "n3"]
    assert len(told) > 3


def test_nodes_are_upgraded_one_by_one_and_go_back(tmp_path: Path, store: Path) -> None:
    file = write(tmp_path, FILE[FILE.index("  names"):FILE.index("  duration")],
                 "  names: [rolling-upgrade]\n")
    text = file.read_text().replace("election_ms: 400", "election_ms: 400, protocol: 1")
    file.write_text(text.replace("min_faults: 4, min_fault_names: 4", "min_faults: 1"))
    ended = seatrial("run", file, "--seed", "3", "--store", store)
    assert ended.code == 0, ended.err + ended.out
    assert all(fault["recovered_ns"] is not None for fault in results(store)["faults"])


def voters(lab: str) -> list[int]:
    """Return the numbers of those who vote, as the cluster says."""
    told = seatrial("ssh", "--lab", lab, "n1", "--", "sh", "-c", LIST)
    assert told.code == 0, told.err
    found: dict[str, Any] = json.loads(told.out)
    assert not found["joint"]
    assert found["learners"] == []
    return list(found["voters"])


@pytest.mark.parametrize("name", [
    "member-replace", *(pytest.param(name, marks=pytest.mark.slow)
                        for name in ("member-add", "member-remove"))])
def test_what_a_killed_controller_had_changed_is_brought_back_by_heal(
    name: str, tmp_path: Path, store: Path,
) -> None:
    lab = f"test-{name}"
    file = write(tmp_path, FILE[FILE.index("faults:"):],
                 f"faults: {{names: [{name}], duration: 500, gap: 0.2}}\n")
    file.write_text(file.read_text().replace("time_limit: 25", "time_limit: 900"))
    with nothing_left(lab):
        assert seatrial("up", "--nodes", "4", "--lab", lab).code == 0
        try:
            with going("run", file, "--lab", lab, "--seed", "1", "--store", store) as campaign:
                campaign.wait_for(lambda: in_force(store))
                during = voters(lab) if name == "member-add" else None
                Cgroup.of_lab(lab).child("inside").kill()
                assert campaign.end().code == 255
            healed = seatrial("heal", "--lab", lab)
            assert healed.code == 0, healed.err
            assert name in healed.out
            assert "stays as it is" not in healed.out
            after = voters(lab)
            gone = seatrial("ssh", "--lab", lab, "n4", "--", "ls", "/data/seatrial")
        finally:
            assert seatrial("down", "--lab", lab).code == 0
    assert sorted((number - 1) % 100 for number in after) == [0, 1, 2]
    assert during is None or len(during) == 4
    assert (max(after) > 100) == (name != "member-add")     # who came back came as a new node
    assert "node.yml" not in gone.out
    assert "data" not in gone.out.split()
