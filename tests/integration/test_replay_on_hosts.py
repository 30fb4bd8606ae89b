"""A schedule on real hosts: carried out as it is written, several times in one lab."""
from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from seatrial.checker import History
from seatrial.harness.results import read_results
from seatrial.harness.store import RunFolder

from .campaigns import nothing_left, seatrial

pytestmark = [pytest.mark.cluster, pytest.mark.netns]
S = 1_000_000_000
SCHEDULE = """\
name: planned
system: {name: node, options: {heartbeat_ms: 60, election_ms: 300}}
topology: {nodes: 3}
workload: {name: register}
clients: 2
time_limit: 1.5
op_timeout: 2
coverage: {final_reads: false}
seed: 1
schedule:
  operations:
    - {at: 0.1, client: 0, f: write, key: k0, value: 1}
    - {at: 1.2, client: 1, f: write, key: k0, value: 2}
    - {at: 1.4, client: 0, f: read, key: k0}
  faults:
    - {at: 0.2, for: 1.1, name: partition-leader, seed: 3}
    - {at: 1.3, for: 0.1, name: kill, targets: [n2]}
"""


def test_a_schedule_is_carried_out_as_it_is_written_and_leaves_nothing(tmp_path: Path) -> None:
    file, store = tmp_path / "planned.yml", tmp_path / "store"
    file.write_text(SCHEDULE)
    with nothing_left():
        ended = seatrial("replay", file, "--on", "local", "--tries", "2", "--stretch", "2",
                         "--store", store)
    assert ended.code == 0, ended.err
    assert "reproduced in 0 of 2 tries" in ended.out
    told = json.loads(Path(re.findall(r"told in: (.*)", ended.out)[0]).read_text())
    assert [run["verdict"] for run in told["runs"]] == ["pass", "pass"], told
    for run in told["runs"]:
        as_written(RunFolder(Path(run["folder"])))


def as_written(folder: RunFolder) -> None:
    """Look at what was done when, to whom; everything takes twice as long as written."""
    history, results = History.read(folder.history), read_results(folder.results)
    done = [(row["f"], row["process"] % 2, row["value"], row["time"] / S)
            for row in history.rows() if row["process"] >= 0 and row["type"] == "invoke"]
    assert [each[:3] for each in done] == [("write", 0, 1), ("write", 1, 2), ("read", 0, None)]
    began = done[0][3] - 0.2
    assert [each[3] - began for each in done] == pytest.approx([0.2, 2.4, 2.8], abs=0.02)
    partition, kill = results.faults
    assert (partition.name, kill.name, kill.targets) == ("partition-leader", "kill", ["n2"])
    assert partition.hit_leader
    assert None not in (partition.effective_ns, partition.recovered_ns, kill.effective_ns)
    assert partition.requested_ns is not None
    assert partition.ended_ns is not None
    assert partition.requested_ns / S - began == pytest.approx(0.4, abs=0.5)
    assert partition.ended_ns / S - began == pytest.approx(2.6, abs=0.5)
