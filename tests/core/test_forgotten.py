"""A member that lost its disk and comes back under its number is stopped before it says a word."""
from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seatrial.core.stores import Stores

from .nodes import Nodes, run_async, until


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    """Three nodes, not yet started; none is left running."""
    cluster = Nodes(tmp_path / "nodes")
    yield cluster
    cluster.stop()


def status(nodes: Nodes, n: int) -> dict[str, Any]:
    done = nodes.command("status", "--config", nodes.folder / f"node{n}.yml", "--json")
    found: dict[str, Any] = json.loads(done.stdout or "{}")
    return found


def remembered(nodes: Nodes, n: int) -> dict[str, str]:
    path = nodes.folder / f"data{n}" / "members.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    return {node: known["store"] for node, known in found.items()}


async def write(nodes: Nodes, keys: int) -> None:
    client = await nodes.client()
    for i in range(keys):
        await client.write(b"k%d" % i, b"v")
    await client.close()


def test_a_wiped_member_stops_and_may_be_added_again_as_one_that_holds_nothing(
    nodes: Nodes,
) -> None:
    nodes.start()
    run_async(write(nodes, 10))
    for n in nodes.ids:
        until(f"node {n} remembers the others",
              lambda n=n: set(remembered(nodes, n)) == {str(m) for m in nodes.ids} - {str(n)})
    nodes.kill()
    shutil.rmtree(nodes.folder / "data3")
    nodes.start(1, 3)               # with the wiped one it would be a majority
    code, errors = nodes.ended(3)
    assert code == 255
    assert "node 1 knows this node with other data" in errors
    assert status(nodes, 1)["role"] != "leader"
    nodes.start(2)
    run_async(write(nodes, 10))
    nodes.start(3)                  # nor later, under a leader
    assert nodes.ended(3)[0] == 255
    config = nodes.folder / "node1.yml"
    assert nodes.command("member", "remove", "3", "--force", "--config", config).returncode == 0
    until("it is forgotten", lambda: all("3" not in remembered(nodes, n) for n in (1, 2)))
    shutil.rmtree(nodes.folder / "data3")
    nodes.configure(3, join=True)
    nodes.start(3)
    done = nodes.command("member", "add", "3", nodes.members[3], "--config", config)
    assert done.returncode == 0, done.stderr
    assert "node 3 at" in done.stdout
    until("node 3 follows", lambda: status(nodes, 3).get("leader"))


def test_who_was_away_while_a_member_came_back_as_a_new_one_learns_of_that(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path / "nodes", count=5)
    config = nodes.folder / "node1.yml"
    try:
        nodes.start()
        run_async(write(nodes, 5))
        until("node 2 remembers all", lambda: len(remembered(nodes, 2)) == 4)
        old = remembered(nodes, 2)["3"]
        nodes.kill(2, 3)
        assert nodes.command("member", "remove", "3", "--config", config).returncode == 0
        shutil.rmtree(nodes.folder / "data3")
        nodes.configure(3, join=True)
        nodes.start(3)
        done = nodes.command("member", "add", "3", nodes.members[3], "--config", config)
        assert done.returncode == 0, done.stderr
        nodes.start(2)                  # what it remembers of node 3 is out of date
        until("node 2 knows better", lambda: remembered(nodes, 2).get("3") not in (None, old))
        until("node 2 follows", lambda: status(nodes, 2).get("config_index", 0) > 0)
        run_async(write(nodes, 5))
        assert nodes.events(2, "fatal") + nodes.events(3, "fatal") == []
    finally:
        nodes.stop()


def test_a_member_that_comes_back_with_its_data_is_welcome(nodes: Nodes) -> None:
    nodes.start()
    run_async(write(nodes, 3))
    until("all are remembered", lambda: len(remembered(nodes, 1)) == 2)
    nodes.kill(3)
    nodes.start(3)
    nodes.started(3, 2)
    until("node 3 follows", lambda: status(nodes, 3).get("leader"))
    assert nodes.events(3, "fatal") == []


def test_what_is_remembered_is_durable_and_goes_with_the_membership(tmp_path: Path) -> None:
    stores = Stores(tmp_path)
    assert stores.of(2).store == ""
    assert stores.heard(2, "a", theirs=0, ours=5)
    assert stores.heard(2, "a", theirs=0, ours=5)
    assert stores.heard(3, "", theirs=0, ours=5)              # a build that says nothing of it
    assert stores.heard(4, "b", theirs=0, ours=5)
    stores = Stores(tmp_path)
    assert [stores.of(n).store for n in (2, 3, 4)] == ["a", "", "b"]
    assert not stores.heard(2, "c", theirs=5, ours=9)
    assert stores.of(2).store == "a"
    assert stores.heard(4, "d", theirs=6, ours=5)
    assert stores.of(4).store == "d"
    stores.keep({4})
    assert Stores(tmp_path).of(2).store == ""
    assert Stores(tmp_path).heard(2, "c", theirs=0, ours=9)
