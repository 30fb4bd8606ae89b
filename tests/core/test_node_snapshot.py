"""Snapshots of real nodes: asked for, seen in status and metrics, and what comes back from them."""
from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .nodes import CLUSTER, Nodes, free_ports, run_async, until


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    """Three nodes, not yet started; none is left running."""
    cluster = Nodes(tmp_path / "nodes")
    yield cluster
    cluster.stop()


def asked(nodes: Nodes, *arguments: str | Path) -> list[dict[str, Any]]:
    """Have nodes take a snapshot; return what they say."""
    done = nodes.command("snapshot", *arguments, "--json")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def status(nodes: Nodes, n: int) -> dict[str, Any]:
    """Return what a node says of itself; nothing while it does not answer."""
    done = nodes.command("status", "--config", nodes.folder / f"node{n}.yml", "--json")
    found: dict[str, Any] = json.loads(done.stdout or "{}")
    return found


async def write(nodes: Nodes, keys: int, value: bytes = b"v") -> None:
    """Write keys k0, k1, ..."""
    client = await nodes.client()
    for i in range(keys):
        await client.write(b"k%d" % i, value)
    await client.close()


def test_a_snapshot_that_was_asked_for_is_durable_when_it_is_answered(nodes: Nodes) -> None:
    async def read_back() -> None:
        client = await nodes.client()
        for i in range(20):
            assert (await client.read(b"k%d" % i)).value == b"v"
        await client.close()

    for n in nodes.ids:         # nothing of the log is kept before a snapshot
        nodes.configure(n, wal={"segment_bytes": 4 << 20, "keep_bytes": 0})
    nodes.start()
    run_async(write(nodes, 20))
    before = status(nodes, 2)
    assert (before["snapshot_index"], before["snapshots_made"], before["first_index"]) == (0, 0, 1)
    (taken,) = asked(nodes, "--config", nodes.folder / "node2.yml")
    assert taken["node"] == 2
    assert taken["index"] >= 20
    assert taken["address"] == nodes.members[2]
    assert re.fullmatch("[0-9a-f]{16}", taken["hash"])
    assert taken["hash"] != "0" * 16
    assert taken["first_index"] == taken["index"] + 1
    assert status(nodes, 1)["snapshot_index"] == 0      # each for itself
    nodes.kill(2)               # at once: what was answered is on its disk
    nodes.start(2)
    nodes.started(2, 2)
    found = until("node 2 follows", lambda: status(nodes, 2).get("leader") and status(nodes, 2))
    assert (found["snapshot_index"], found["snapshot_bytes"]) == (taken["index"], taken["bytes"])
    run_async(read_back())


def test_all_members_take_one_and_equal_states_hash_the_same(nodes: Nodes) -> None:
    nodes.start()
    run_async(write(nodes, 5))
    taken = asked(nodes, "--all", "--key", nodes.folder / "admin.key", "--cluster", CLUSTER,
                  "--address", nodes.members[1])
    assert [found["node"] for found in taken] == [1, 2, 3]
    hashes = {(found["index"], found["hash"], found["bytes"]) for found in taken}
    assert len(hashes) == len({found["index"] for found in taken})
    text = nodes.command("snapshot", "--config", nodes.folder / "node3.yml").stdout
    assert re.fullmatch(r"node 3: snapshot at entry \d+ of term \d+, \d+ bytes, state [0-9a-f]{16};"
                        r" log from 1\n", text)
    shown = nodes.command("status", "--config", nodes.folder / "node3.yml").stdout
    assert re.search(r"^snapshot at entry \d+, \d+ bytes, for \d+ s$", shown, re.MULTILINE)
    page = urllib.request.urlopen(f"http://127.0.0.1:{nodes.metrics[3]}/metrics").read().decode()
    metrics = dict(line.rsplit(" ", 1) for line in page.splitlines() if line[0] != "#")
    assert float(metrics["seatrial_snapshots_made_total"]) >= 1
    assert float(metrics["seatrial_snapshot_index"]) >= taken[2]["index"]
    assert float(metrics["seatrial_snapshot_bytes"]) > 0
    assert float(metrics["seatrial_snapshot_written_bytes"]) == 0


def test_a_node_that_can_not_answer_is_named_and_the_others_are_asked(nodes: Nodes) -> None:
    nodes.start()
    run_async(write(nodes, 1))
    (port,) = free_ports(1)
    done = nodes.command(
        "snapshot", "--key", nodes.folder / "admin.key", "--cluster", CLUSTER, "--json",
        "--timeout", "5", "--address", f"127.0.0.1:{port}", "--address", nodes.members[2])
    assert done.returncode == 255
    assert done.stderr == f"seatrial: can't reach 127.0.0.1:{port}: Connection refused\n"
    assert [found["node"] for found in json.loads(done.stdout)] == [2]
    done = nodes.command("snapshot", "--address", nodes.members[2])
    assert (done.returncode, done.stderr) == (
        254, "seatrial: this needs --config, or --address, --key and --cluster\n")
    done = nodes.command(
        "snapshot", "--key", nodes.folder / "client.key", "--cluster", CLUSTER,
        "--address", nodes.members[2])
    assert done.returncode == 255
    assert "does not hold the key" in done.stderr


def test_a_node_that_has_applied_nothing_has_nothing_to_take(nodes: Nodes) -> None:
    nodes.start(1)              # alone of three: it never leads
    nodes.started(1)
    done = nodes.command("snapshot", "--config", nodes.folder / "node1.yml", "--timeout", "0.5")
    assert done.returncode == 255
    assert done.stderr == (f"seatrial: {nodes.members[1]}: not done within 0.5 s:"
                           " nothing is applied yet\n")
