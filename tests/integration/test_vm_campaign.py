"""A campaign on three real virtual machines, as a user runs it: power, clocks, a partition."""
from __future__ import annotations

from pathlib import Path

import pytest

from .campaigns import nothing_left, results, seatrial
from .rig import skip_without_machines

pytestmark = [pytest.mark.netns, pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]
NAMES = ["power-loss", "clock-bump", "partition-one"]
FILE = f"""\
name: machines
system: {{name: node, options: {{heartbeat_ms: 100, election_ms: 1000}}}}
topology: {{nodes: 3}}
workload:
  name: register
  options: {{keys_at_a_time: 3, ops_per_key: 60}}
clients: 6
rate: 10
op_timeout: 4
time_limit: 150
faults: {{names: [{", ".join(NAMES)}], duration: 6, gap: 2, targets: [one]}}
coverage: {{min_ok: 100, min_fault_names: 3}}
"""


def test_a_cluster_of_machines_stands_power_losses_clocks_and_partitions(tmp_path: Path) -> None:
    skip_without_machines()
    path, store = tmp_path / "machines.yml", tmp_path / "store"
    path.write_text(FILE)
    with nothing_left():
        ended = seatrial("run", path, "--on", "vm", "--store", store, limit_s=850)
    assert ended.code == 0, ended.err + ended.out
    found = results(store)
    effective = [fault for fault in found["faults"] if fault["effective_ns"] is not None]
    assert {fault["name"] for fault in effective} == set(NAMES)
    assert all(fault["recovered_ns"] is not None for fault in effective)
    assert found["operations"]["ok"] >= 100
