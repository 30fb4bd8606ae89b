"""Trees of domains on real nodes: cut, killed, excluded, changed and brought back while clients
run."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seatrial.harness.hosts.cgroup import Cgroup

from .campaigns import going, in_force, nothing_left, results, seatrial

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


CHANGES = ["domain-exclude", "domain-mode", "domain-policy", "domain-reparent", "domain-leave"]
LIST = """
site=$(ls -d /opt/seatrial/*/ | head -n 1)
PYTHONPATH=$site python3 -s -m seatrial.core domain list --json --config /data/seatrial/node.yml
"""


def write(folder: Path, names: list[str], **faults: float) -> Path:
    """Write a test with these changes of the tree as its faults."""
    path = folder / "domains.yml"
    section = ", ".join([f"names: [{', '.join(names)}]",
                         *(f"{key}: {value}" for key, value in faults.items())])
    text = FILE[:FILE.index("faults:")].replace("parent: B", "parent: A")
    path.write_text(f"{text}faults: {{{section}}}\n"
                    f"coverage: {{min_ok: 300, min_faults: {len(names)}, "
                    f"min_fault_names: {len(names)}}}\n")
    return path


def test_the_tree_is_changed_in_every_way_and_brought_back_while_clients_run(
    tmp_path: Path,
) -> None:
    file = write(tmp_path, CHANGES, duration=0.5, gap=0.5, settle=8)
    file.write_text(file.read_text().replace("time_limit: 25", "time_limit: 30"))
    store = tmp_path / "store"
    with nothing_left():
        ended = seatrial("run", file, "--seed", "1", "--store", store)
    assert ended.code == 0, ended.err + ended.out
    found = results(store)
    assert {fault["name"] for fault in found["faults"]} == set(CHANGES)
    assert all(fault["recovered_ns"] is not None and fault["error"] is None
               for fault in found["faults"])
    assert {"n4,n5", "n6"} >= {",".join(fault["targets"]) for fault in found["faults"]
                               if fault["name"] != "domain-policy"}


def tree_of(lab: str) -> dict[str, Any]:
    """Return the domains as the root's leader shows them, but whether they count."""
    told = seatrial("ssh", "--lab", lab, "n6", "--", "sh", "-c", LIST)
    assert told.code == 0, told.err
    found: dict[str, dict[str, Any]] = json.loads(told.out)["tree"]["domains"]
    return {domain.pop("name"): {key: value for key, value in domain.items()
                                 if key not in ("included", "include_rindex")}
            for domain in found.values()}


@pytest.mark.parametrize("name", [
    "domain-leave", *(pytest.param(name, marks=pytest.mark.slow) for name in CHANGES[:-1])])
def test_a_tree_that_a_killed_controller_had_changed_is_brought_back_by_heal(
    name: str, tmp_path: Path,
) -> None:
    lab, store = f"test-{name}", tmp_path / "store"
    file = write(tmp_path, [name], duration=500, gap=0.2)
    file.write_text("".join(line for line in file.read_text().replace(
        "time_limit: 25", "time_limit: 900").splitlines(True) if "pools:" not in line))
    with nothing_left(lab):
        assert seatrial("up", "--nodes", "6", "--lab", lab).code == 0
        try:
            with going("run", file, "--lab", lab, "--seed", "1", "--store", store) as campaign:
                campaign.wait_for(lambda: in_force(store))
                during = tree_of(lab)
                Cgroup.of_lab(lab).child("inside").kill()
                assert campaign.end().code == 255
            healed = seatrial("heal", "--lab", lab)
            assert healed.code == 0, healed.err
            assert name in healed.out
            assert "stays as it is" not in healed.out
            after = tree_of(lab)
        finally:
            assert seatrial("down", "--lab", lab).code == 0
    assert during != after
    assert set(after) == {"A", "B", "C"}
    assert (after["B"]["mode"], after["B"]["exclusion"], after["B"]["held"]) == (
        "sync", "exclude", False)
    assert (after["C"]["mode"], after["C"]["parent"], after["B"]["parent"]) == ("async", 1, 1)
    assert {domain["policy"] for domain in after.values()} == {"all"}
