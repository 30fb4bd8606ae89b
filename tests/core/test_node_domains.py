"""Domains of real nodes: they attach, are redirected, lose their leaders, and come back."""
from __future__ import annotations

import asyncio
import json
import os
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from seatrial.core.client import Client
from seatrial.core.config import parse_address
from seatrial.core.errors import DomainFenced, NotRoot, TooOld
from seatrial.core.handshake import ConnectorHandshake

from .domain_nodes import KEYS, World
from .nodes import CLUSTER, run_async, until

SYNC = {"mode": "sync", "exclude_after_ms": 1500}
ASYNC = {"mode": "async"}


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Make worlds whose processes are gone at the end."""
    made: list[World] = []

    def make(**shape: tuple[int, str, dict[str, Any]]) -> World:
        made.append(World(tmp_path / f"world{len(made)}", **shape))
        return made[-1]

    yield make
    for world in made:
        world.stop()


async def put(client: Client, value: bytes) -> tuple[int, ...]:
    """Write; return the domains that confirmed it."""
    return (await client.write(b"key", value)).confirmed


async def reads(client: Client, value: bytes, **how: Any) -> None:
    """See the value, or fail."""
    assert (await client.read(b"key", **how)).value == value


def reasons(world: World, name: str, event: str) -> set[str]:
    """Return the reasons that a domain's nodes have logged for an event."""
    domain = world[name]
    return {line["reason"] for n in domain.ids for line in domain.events(n, event)}


def test_a_sync_child_confirms_writes_and_reads_them_at_once(worlds: Any) -> None:
    world = worlds(a=(3, "", {}), b=(3, "a", SYNC))
    world.start()
    world.included("a", "b")

    async def story() -> None:
        near, far = await world["a"].client(), await world["b"].client()
        assert await put(near, b"one") == (2,)
        await reads(far, b"one")
        await put(near, b"two")
        far.token = near.token
        await reads(far, b"two", reads="prefix", any_node=True)
        await reads(far, b"two", reads="bounded", max_lag_s=60)
        answer = await far.read(b"key")
        assert (answer.domain, answer.node in world["b"].ids) == (2, True)
        with pytest.raises(NotRoot) as refusal:
            await far.write(b"key", b"three")
        assert refusal.value.root == 1
        assert set(refusal.value.addresses) == set(world["a"].members.values())
        await near.close()
        await far.close()

    run_async(story())


def test_three_levels_carry_the_log_to_the_last_one(worlds: Any) -> None:
    world = worlds(a=(1, "", {}), b=(1, "a", SYNC), c=(1, "b", SYNC))
    world.start()
    world.included("a", "b")
    until("c is included", lambda: world.child("b", "c").get("included"))

    async def story() -> None:
        near, far = await world["a"].client(), await world["c"].client()
        assert 2 in await put(near, b"one")
        await reads(far, b"one")
        far.token = near.token
        await reads(far, b"one", reads="prefix")
        await near.close()
        await far.close()

    run_async(story())
    shown = world.domain_command("list")
    assert shown.returncode == 0, shown.stderr
    assert [line.split(":")[0] for line in shown.stdout.splitlines()[1:]] == [
        "  a (id 1) 1/1", "    b (id 2) 1/1, sync, included, exclude",
        "      c (id 3) 1/0, sync, included, exclude"]
    asked = json.loads(world.domain_command("nodes", "--json").stdout)
    assert {node: said["domain"]["id"] for node, said in asked["nodes"].items()} == {
        "1": 1, "11": 2, "21": 3}
    assert asked["silent"] == {}
    world["b"].kill(11)
    shown = world.domain_command("nodes", "--timeout", "5")
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("node 1: domain 1, leader in term ")
    assert lines[1].startswith("node 21: domain 3, leader in term ")
    assert lines[2] == f"can't reach {world['b'].members[11]}: Connection refused"
    world["a"].kill(1)
    world["c"].kill(21)
    none = world.domain_command("nodes", "--timeout", "5")
    assert (none.returncode, none.stdout) == (255, "")
    assert "no node answers: can't reach " in none.stderr


def test_a_child_that_knows_one_follower_only_is_sent_on_to_the_leader(worlds: Any) -> None:
    world = worlds(a=(3, "", {}), b=(1, "a", ASYNC))
    world.start("a")
    follower = next(n for n in world["a"].ids if n != world["a"].leads())
    world.place("b", {"parent": {"nodes": {follower: world["a"].members[follower]}}})
    world.start("b")
    world.streaming("a", "b")
    assert world["b"].link()["node"] != follower
    ups = world["b"].events(world["b"].ids[0], "uplink-up")
    assert ups[0]["parent"] == follower


@pytest.mark.parametrize("who", [("a",), ("b",), ("a", "b")])
def test_the_link_comes_back_whichever_leader_is_killed(
    worlds: Any, who: tuple[str, ...]
) -> None:
    world = worlds(a=(3, "", {}), b=(3, "a", SYNC))
    world.start()
    world.included("a", "b")

    async def story() -> None:
        near, far = await world["a"].client(), await world["b"].client()
        await put(near, b"before")
        for name in who:
            world[name].kill(world[name].leads())
        await near.write(b"key", b"after")
        world.included("a", "b")
        assert await put(near, b"last") == (2,)
        await reads(far, b"last")
        await near.close()
        await far.close()

    run_async(story())
    verified(world)


def test_a_silent_sync_child_is_excluded_and_readmitted(worlds: Any) -> None:
    world = worlds(a=(3, "", {}), b=(1, "a", SYNC))
    world.start()
    world.included("a", "b")

    async def story() -> None:
        near = await world["a"].client()
        assert await put(near, b"one") == (2,)
        world["b"].kill()
        assert await put(near, b"two") == ()        # it waited until b was excluded
        assert world.child("a", "b")["included"] is False
        world.start("b")
        world.included("a", "b")
        assert await put(near, b"three") == (2,)
        far = await world["b"].client()
        await reads(far, b"three")
        await near.close()
        await far.close()

    run_async(story())
    told = [line for line in world["a"].events(world["a"].leads(), "domain")
            if line["domain"] == 2 and "included" in line]
    assert [line["included"] for line in told][-2:] == [False, True]


def test_a_blocking_child_holds_up_writes_until_it_is_back(worlds: Any) -> None:
    world = worlds(a=(1, "", {}), b=(1, "a", SYNC | {"exclusion": "block"}))
    world.start()
    world.included("a", "b")

    async def story() -> None:
        near = await world["a"].client()
        await put(near, b"one")
        world["b"].kill()
        waiting = asyncio.ensure_future(near.write(b"key", b"two"))
        while world.child("a", "b")["lag_ns"] < 2_500_000_000:     # more than exclude_after
            await asyncio.sleep(0.01)
        assert not waiting.done()
        world.start("b")
        assert (await waiting).confirmed == (2,)
        await near.close()

    run_async(story())


def test_a_child_without_its_parent_answers_only_what_it_may(worlds: Any) -> None:
    world = worlds(a=(1, "", {}), b=(3, "a", SYNC))
    world.start()
    world.included("a", "b")

    async def story() -> None:
        near, far = await world["a"].client(), await world["b"].client()
        await put(near, b"one")
        await reads(far, b"one")
        world["a"].kill()
        until("b has no lease any more",
              lambda: not world["b"].status(world["b"].leads())["domain"]["lease"])
        with pytest.raises(DomainFenced):
            await far.read(b"key", timeout_s=8)
        await reads(far, b"one", reads="prefix")
        await reads(far, b"one", reads="bounded", max_lag_s=3600)
        with pytest.raises(TooOld):
            await far.read(b"key", reads="bounded", max_lag_s=0.001)
        far.token = far.token._replace(rindex=far.token.rindex + 1000)
        with pytest.raises(TooOld):
            await far.read(b"key", reads="prefix", timeout_s=8)
        world.start("a")
        await reads(far, b"one")
        await near.close()
        await far.close()

    run_async(story())


def test_what_an_operator_excludes_stays_so_until_it_is_readmitted(worlds: Any) -> None:
    world = worlds(a=(1, "", {}), b=(1, "a", SYNC))
    world.start()
    world.included("a", "b")
    shown = world.domain_command("exclude", "b")
    assert shown.returncode == 0, shown.stderr
    assert "b (id 2) 1/0, sync, EXCLUDED by an operator" in shown.stdout

    async def story() -> None:
        near = await world["a"].client()
        for n in range(300):                        # more than it may lack to be included
            assert await put(near, b"%d" % n) in ((), (2,)), "nobody waits for it"
        await near.close()

    run_async(story())
    until("b holds all that there is", lambda: world.child("a", "b").get("lag_entries") == 0)
    world["a"].kill()                               # a new leader knows it, too
    world.start("a")
    until("b is linked again", lambda: world.child("a", "b").get("link") == "streaming")
    child = world.child("a", "b")
    assert (child["included"], child["held"]) == (False, True)
    world["b"].kill()
    until("b is missed", lambda: world.child("a", "b").get("link") == "detached"
          and world.child("a", "b")["told_ns"] > 1e9)
    shown = world["a"].command("domain", "readmit", "b", "--timeout", "2", "--config",
                               world["a"].folder / "node1.yml")
    assert shown.returncode == 255
    assert "b may count again, but has not caught up: " in shown.stderr
    world.start("b")
    world.included("a", "b")                        # by itself, as it was told
    assert world.domain_command("exclude", "b").returncode == 0
    shown = world.domain_command("readmit", "b")
    assert shown.returncode == 0, shown.stderr
    assert "b (id 2) 1/0, sync, included" in shown.stdout


def test_what_may_not_attach_is_refused_with_one_line_on_both_sides(worlds: Any) -> None:
    world = worlds(a=(1, "", {}), b=(1, "a", ASYNC), c=(1, "a", ASYNC), d=(1, "a", ASYNC))
    (world.folder / "wrong.key").write_text("not the secret of links\n")
    parent = {"parent": {"nodes": world["a"].members}}
    world.place("b", parent, cluster="another")
    world.place("c", parent, keys=KEYS | {"link": "wrong.key"})
    del world.tree[4]
    world.place("a", {"tree": world.tree})
    world.start("a")
    world["a"].leads()
    world.start("b", "c", "d")
    expected = {"b": "it belongs to another cluster", "d": "its tree has no such domain below"
                " another one", "c": "it does not hold the key that was given here"}
    for name, line in expected.items():
        until(f"{name} is refused", lambda of=name: reasons(world, of, "uplink-refused"))
        assert reasons(world, name, "uplink-refused") == {line}
    until("a has told", lambda: len(reasons(world, "a", "connection-refused")) >= 2)
    assert {expected["b"], expected["d"]} <= reasons(world, "a", "connection-refused")
    assert world.child("a", "b")["state"] == "detached"


def test_a_domain_is_added_while_it_waits_and_removed_again(worlds: Any) -> None:
    world = worlds(a=(3, "", {}), b=(1, "a", ASYNC), c=(1, "a", ASYNC))
    del world.tree[3]
    world.place("a", {"tree": world.tree, "lease_ms": 200})
    world.start()
    until("c is refused", lambda: reasons(world, "c", "uplink-refused"))
    where = ",".join(f"{n}={address}" for n, address in world["c"].members.items())

    def run(*arguments: str) -> Any:
        return world["b"].command(
            "domain", *arguments, "--config", world.folder / f"node{world['b'].ids[0]}.yml")

    shown = run("add", "c", "--id", "3", "--parent", "b", "--sync", "--node", where)
    assert (shown.returncode, shown.stderr.strip()) == (
        254, "seatrial: domain 3 (c) is sync, but could never be waited for: b above it is async")
    shown = run("add", "c", "--id", "3", "--parent", "a", "--node", where, "--json")
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["tree"]["domains"]["3"]["parent"] == 1
    world.streaming("a", "c")
    shown = run("reparent", "c", "b")
    assert shown.returncode == 0, shown.stderr
    world.streaming("b", "c")
    shown = run("remove", "b")
    assert (shown.returncode, shown.stderr.strip()) == (
        254, "seatrial: domain 2 (b) can't be removed: it has the children domain 3 (c)")
    shown = run("mode", "b", "sync")
    assert shown.returncode == 0, shown.stderr
    world.included("a", "b")
    shown = run("remove", "c")
    assert shown.returncode == 0, shown.stderr
    assert "c (id 3)" not in shown.stdout


def test_metrics_and_status_show_every_link(worlds: Any) -> None:
    world = worlds(a=(1, "", {}), b=(1, "a", SYNC))
    world.start()
    world.included("a", "b")

    def page(name: str) -> str:
        domain = world[name]
        url = f"http://127.0.0.1:{domain.metrics[domain.ids[0]]}/metrics"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return str(answer.read().decode())

    until("b's metrics", lambda: 'seatrial_uplink_state{state="streaming"} 1.0' in page("b"))
    assert 'seatrial_uplink_parent_node 1.0' in page("b")
    assert 'seatrial_downlink_state{child="2",state="streaming"} 1.0' in page("a")
    assert 'seatrial_downlink_lag_entries{child="2"}' in page("a")
    status = world["b"].status(world["b"].ids[0])
    assert status["tree"]["gating"] == [2]
    assert status["connections"]["link"] == 0
    assert world["a"].status(1)["connections"]["link"] == 1


def test_a_child_that_is_far_behind_gets_a_snapshot_first(worlds: Any) -> None:
    world = worlds(a=(1, "", {}), b=(3, "a", ASYNC))
    wal = {"segment_bytes": 4 << 20, "snapshot_bytes": 1 << 20, "keep_bytes": 0}
    world.place("a", world["a"].section, wal=wal)
    world.start()
    world.streaming("a", "b")

    async def story() -> None:
        near = await world["a"].client()
        await put(near, b"before")
        world["b"].kill()
        for i in range(40):
            await near.write(b"fill%d" % (i % 7), bytes(1 << 17))
        until("a's log begins anew", lambda: world["a"].status(1)["first_index"] > 30)
        await put(near, b"after")
        world.start("b")
        world.streaming("a", "b")
        far = await world["b"].client()
        far.token = near.token
        for n in world["b"].ids:
            await reads(far, b"after", reads="prefix", node=n)
        await near.close()
        await far.close()

    run_async(story())
    assert any(line["state"] == "snapshot" for line in world["a"].events(1, "downlink"))
    verified(world)


def verified(world: World) -> None:
    """Stop all nodes and have ``verify`` look at their data: whole, and equal in each domain."""
    for domain in world.domains.values():
        domain.kill(*domain.processes)
        found = domain.command("verify", *(world.folder / f"data{n}" for n in domain.ids))
        assert found.returncode == 0, found.stdout + found.stderr


def test_a_whole_tree_that_lost_its_power_comes_back_by_itself(worlds: Any) -> None:
    world = worlds(a=(3, "", {}), b=(3, "a", SYNC), c=(1, "b", ASYNC))
    world.start()
    world.included("a", "b")

    async def story() -> None:
        near = await world["a"].client()
        assert await put(near, b"before") == (2,)
        for domain in world.domains.values():
            domain.kill()
        world.start()
        assert (await near.read(b"key")).value == b"before"
        world.included("a", "b")
        assert await put(near, b"after") == (2,)
        world.streaming("b", "c")
        far = await world["c"].client()
        far.token = near.token
        await reads(far, b"after", reads="prefix")
        await near.close()
        await far.close()

    run_async(story())
    verified(world)


def test_members_of_a_child_change_as_those_of_any_domain(worlds: Any) -> None:
    world = worlds(a=(1, "", {}), b=(3, "a", SYNC))
    first = {n: world["b"].members[n] for n in world["b"].ids[:2]}
    joining = world["b"].ids[2]
    world.place("b", world["b"].section, members=first)
    world["b"].configure(joining, members=first, join=True)
    world.start()
    world.included("a", "b")
    key = world.folder / f"node{world['b'].ids[0]}.yml"
    shown = world["b"].command(
        "member", "add", str(joining), world["b"].members[joining], "--config", key)
    assert shown.returncode == 0, shown.stderr

    async def story() -> None:
        near = await world["a"].client()
        leader = world["b"].leads()
        world["b"].kill(next(n for n in first if n != leader))
        await near.write(b"key", b"with the new one's vote")
        world.included("a", "b")
        assert await put(near, b"last") == (2,)
        await near.close()

    run_async(story())
    shown = world["b"].command("transfer", str(joining), "--config", key)
    assert shown.returncode == 0, shown.stderr
    until("the new one leads and is linked",
          lambda: world["b"].leads() == joining and world["b"].link()["state"] == "streaming")


def test_a_directory_of_another_domain_is_refused(worlds: Any) -> None:
    world = worlds(a=(1, "", {}), b=(1, "a", ASYNC))
    world.start("a")
    world["a"].started(1)
    world["a"].kill()
    world["a"].number = 7
    world["a"].configure(1)
    world.start("a")
    code, errors = world["a"].ended(1)
    assert (code, errors.strip().count("\n")) == (254, 0)
    assert "holds the log of domain 1, this node is of domain 7" in errors
    refused = world["a"].command("recover", "collect", "--config", world.folder / "node1.yml")
    assert (refused.returncode, refused.stderr) == (
        254, "seatrial: domain: a node of a tree of domains can't be recovered so yet\n")


def test_more_links_than_a_node_takes_are_refused_and_it_lives(worlds: Any) -> None:
    world = worlds(a=(1, "", {}), b=(1, "a", ASYNC))
    world.start("a")
    node = world["a"].leads()
    key = (world.folder / "link.key").read_bytes().strip()

    async def joined() -> asyncio.StreamWriter:
        reader, writer = await asyncio.open_connection(*parse_address(world["a"].members[node]))
        handshake = ConnectorHandshake(CLUSTER, "link", key, os.urandom(32),
                                       node=world["b"].number, expect=node)
        writer.write(handshake.hello())
        while not handshake.done:
            if answer := handshake.receive(await reader.read(4096)):
                writer.write(answer)
        return writer

    async def story() -> None:
        links = [await joined() for _ in range(131)]
        near = await world["a"].client()
        await near.write(b"key", b"still there")
        await near.close()
        for writer in links:
            writer.close()

    run_async(story())
    assert world["a"].leads() == node
