"""Trees of domains on real nodes: cut, killed, excluded and readmitted while clients run."""
from __future__ import annotations

from pathlib import Path

import pytest

from .campaigns import nothing_left, results, seatrial

pytestmark = [pytest.mark.cluster, pytest.mark.netns]

FILE = """\
name: domains
system: {name: node, options: {heartbeat_ms: 60, election_ms: 400}}
topology:
  domains:
    A: {nodes: 3}
    B: {nodes: 2, parent: A, mode: sync}
    C: {nodes: 1, parent: B, mode: async}
  pools: {near-a: {domain: A}, near-b: {domain: B}, near-c: {domain: C}}
  timers: {lease: 0.3, promise: 0.3, exclude_after: 1}
workload:
  name: register
  options: {keys_at_a_time: 3, ops_per_key: 100}
clients: 6
rate: 100
op_timeout: 4
time_limit: 25
faults: {names: [domain-cut, both-leaders-kill], duration: 2.5, gap: 2, settle: 10}
coverage: {min_ok: 300, min_faults: 3, min_fault_names: 2}
"""


def test_a_sync_child_is_excluded_when_it_is_cut_off_and_readmitted_when_it_is_back(
    tmp_path: Path,
) -> None:
    path = tmp_path / "domains.yml"
    path.write_text(FILE)
    store = tmp_path / "store"
    with nothing_left():
        ended = seatrial("run", path, "--seed", "3", "--store", store)
    assert ended.code == 0, ended.err + ended.out
    checks = results(store)["checks"]
    assert {name for name in checks if name.startswith("domain-")} >= {
        "domain-linearizable", "domain-visibility", "domain-prefix", "domain-confirmation"}
    confirmed = checks["domain-confirmation"]["evidence"]["confirmed"]
    assert any("B" in names.split() for names in confirmed), confirmed
    assert any("B" not in names.split() for names in confirmed), confirmed
