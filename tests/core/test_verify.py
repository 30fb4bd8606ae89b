"""``verify``: what it finds in the data of stopped nodes, and what it says of running ones."""
from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from seatrial.core import codec
from seatrial.core.recovery import Frame, recover

from .nodes import Nodes, run_async, until

FRAME_HEADER, RECORD = 56, 72


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    """Three nodes with a lock that somebody holds, so that clock entries are written; stopped."""
    cluster = Nodes(tmp_path / "nodes")
    yield cluster
    cluster.stop()


async def fill(nodes: Nodes, keys: int) -> None:
    """Write keys."""
    client = await nodes.client()
    for i in range(keys):
        await client.write(b"k%d" % i, b"value %d" % i)
    await client.close()


def data(nodes: Nodes, n: int) -> Path:
    return nodes.folder / f"data{n}"


def verified(nodes: Nodes, *paths: Path, code: int = 0) -> dict[str, Any]:
    """Run it; return what it says."""
    done = nodes.command("verify", *paths, "--json")
    assert (done.returncode, done.stderr) == (code, ""), done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def filled(nodes: Nodes) -> None:
    """Write, snapshot, write, stop."""
    nodes.start()
    run_async(fill(nodes, 20))
    assert nodes.command(
        "snapshot", "--all", "--config", nodes.folder / "node1.yml").returncode == 0
    run_async(fill(nodes, 30))
    until("clock entries after the snapshots of all", lambda: all(sum(
        int(index) > status["snapshot_index"] for index in status["state_hashes"]) > 2
        for status in map(partial(status_of, nodes), nodes.ids)))
    nodes.kill()


def status_of(nodes: Nodes, n: int) -> dict[str, Any]:
    done = nodes.command("status", "--config", nodes.folder / f"node{n}.yml", "--json")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def frames_with(path: Path, kind: str) -> list[tuple[Frame, int]]:
    """Return the frames that hold records of a kind, and each one's offset in its frame."""
    found = []

    def look(frame: Frame) -> None:
        at = 0
        for record in codec.split_records(frame.records):
            if codec.describe_record(record)["kind"] == kind:
                found.append((frame, at))
            at += len(record)
    recover(path / "wal", look)
    return found


def test_good_data_is_told_in_full_and_its_state_is_computed(nodes: Nodes) -> None:
    filled(nodes)
    found = verified(nodes, data(nodes, 1))
    assert found["problems"] == []
    assert (found["identity"]["cluster"], found["identity"]["node"]) == ("test", 1)
    assert found["snapshot"]["index"] >= 20
    assert found["state"]["index"] == found["last_index"] > found["snapshot"]["index"]
    assert found["state"]["keys"] == 30
    assert found["configurations"][0] == {
        "index": found["snapshot"]["index"], "configuration": "voters=(1 2 3)"}
    table = found["segment_table"]
    assert sum(segment["chunks"] for segment in table) == 1
    assert (table[0]["first"], table[-1]["bytes"]) == (1, 4 << 20)
    text = nodes.command("verify", data(nodes, 1)).stdout
    assert f"state after entry {found['last_index']}: 30 keys" in text
    assert text.endswith("\ngood\n")


def test_equal_members_are_found_equal_and_a_changed_one_different(nodes: Nodes) -> None:
    filled(nodes)
    paths = [data(nodes, n) for n in nodes.ids]
    compared = verified(nodes, *paths)["compared"]
    assert compared["problems"] == []
    assert compared["index"] >= 50
    assert len(set(compared["hashes"].values())) == 1
    frame, at = frames_with(paths[2], "command")[-1]        # the same entry, of other bytes
    raw = bytearray(frame.path.read_bytes())
    start = frame.offset + FRAME_HEADER + at
    length = int.from_bytes(raw[start:start + 4], "little")
    raw[start + length - 1] ^= 1
    payload = bytes(raw[start + 24:start + length])
    raw[start + 4:start + 8] = crc32c(payload).to_bytes(4, "little")
    header = bytes(raw[frame.offset:frame.offset + 52])
    crc = crc32c(header)
    at = frame.offset + FRAME_HEADER
    for record in codec.split_records(bytes(raw[at:at + len(frame.records)])):
        crc = crc32c(record[:24], crc)
    raw[frame.offset + 52:frame.offset + 56] = crc.to_bytes(4, "little")
    frame.path.write_bytes(raw)
    found = verified(nodes, *paths, code=1)
    assert found["members"][0]["problems"] == []
    assert any("but not its bytes" in problem for problem in found["compared"]["problems"])


def crc32c(data: bytes, crc: int = 0) -> int:
    from seatrial.core.crc import crc32c as compute
    return compute(data, crc)


def test_a_damaged_chunk_and_a_damaged_entry_are_named(nodes: Nodes) -> None:
    filled(nodes)
    for kind in ("snapshot", "command"):
        copy = nodes.folder / kind
        shutil.copytree(data(nodes, 1), copy)
        frame, at = frames_with(copy, kind)[-1]
        raw = bytearray(frame.path.read_bytes())
        raw[frame.offset + FRAME_HEADER + at + RECORD + 10] ^= 1
        frame.path.write_bytes(raw)
        found = verified(nodes, copy, code=1)
        assert found["problems"], kind
        assert found["problems"][0].startswith(f"{frame.path.name} @"), found["problems"]
        assert nodes.command("verify", copy).stdout.endswith("\ndamaged\n")


def test_a_state_that_is_not_the_leaders_is_found(nodes: Nodes) -> None:
    """A clock entry tells another hash than this log's entries give."""
    filled(nodes)
    path = data(nodes, 2)
    frame, at = frames_with(path, "clock")[-1]
    raw = bytearray(frame.path.read_bytes())
    start = frame.offset + FRAME_HEADER + at
    length = int.from_bytes(raw[start:start + 4], "little")
    raw[start + length - 1] ^= 1                            # of the hash
    raw[start + 4:start + 8] = crc32c(bytes(raw[start + 24:start + length])).to_bytes(4, "little")
    crc = crc32c(bytes(raw[frame.offset:frame.offset + 52]))
    first = frame.offset + FRAME_HEADER
    for record in codec.split_records(bytes(raw[first:first + len(frame.records)])):
        crc = crc32c(record[:24], crc)
    raw[frame.offset + 52:frame.offset + 56] = crc.to_bytes(4, "little")
    frame.path.write_bytes(raw)
    found = verified(nodes, path, code=1)
    assert found["damage"] == []
    assert "this state differs from the leader's" in found["problems"][0]


def test_data_in_use_is_refused_and_running_members_are_compared(nodes: Nodes) -> None:
    nodes.start()
    run_async(fill(nodes, 5))
    for n in nodes.ids:
        nodes.started(n)
    done = nodes.command("verify", data(nodes, 1))
    assert done.returncode == 255
    assert "is open in another process: stop the node first" in done.stderr
    until("clock entries at all", lambda: nodes.command(
        "verify", "--online", "--config", nodes.folder / "node2.yml").returncode == 0)
    done = nodes.command("verify", "--online", "--config", nodes.folder / "node2.yml", "--json")
    found = json.loads(done.stdout)
    assert (len(found["hashes"]), len(set(found["hashes"].values()))) == (3, 1)
    nodes.kill(3)
    done = nodes.command(
        "verify", "--online", "--config", nodes.folder / "node2.yml", "--timeout", "2")
    assert done.returncode == 1
    assert "node 3: can't reach" in done.stdout
    done = nodes.command("verify")
    assert (done.returncode, done.stderr) == (
        254, "seatrial: verify needs directories of stopped nodes, or --online\n")
