"""Members of real nodes change: under load, with nodes killed, and between two protocols."""
from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import signal
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from seatrial.checker.linearizable import check_linearizable
from seatrial.checker.models import Role
from seatrial.checker.operations import from_intervals
from seatrial.checker.result import Verdict
from seatrial.core.admin import Status, fetch_status
from seatrial.core.client import Client
from seatrial.core.config import parse_address
from seatrial.core.errors import NodeError

from .nodes import CLUSTER, PATIENCE_S, Nodes, run_async, until


class Changing(Nodes):
    """Nodes of which the first ``initial`` found the cluster; the others join it."""

    def __init__(self, folder: Path, initial: int, count: int) -> None:
        super().__init__(folder, count)
        self.initial = self.ids[:initial]
        self.known = self.members       # to clients
        for n in self.ids:
            self.configure(n)

    def configure(self, n: int, **changes: Any) -> Path:
        initial = getattr(self, "initial", self.ids)
        first = {member: self.members[member] for member in initial}
        joining = {} if n in first else {"join": True}
        return super().configure(n, **({"members": first} | joining | changes))

    def status(self, n: int) -> Status:
        """Return what a node says of itself; nothing while it does not answer."""
        key = (self.folder / "admin.key").read_bytes().strip()
        try:
            return fetch_status(parse_address(self.members[n]), CLUSTER, key, 2.0)
        except NodeError:
            return {}

    async def client(self, **options: Any) -> Client:
        """Connect a client that knows some of the nodes."""
        key = (self.folder / "client.key").read_bytes()
        return await Client.connect(
            self.known, cluster=CLUSTER, key=key, timeout_s=PATIENCE_S, **options)

    def leads(self) -> int:
        """Return who leads, by its own word and a majority's."""
        def found() -> int:
            told = [self.status(n) for n in self.processes]
            for status in told:
                if status.get("role") == "leader" and status["membership"]["committed"] and sum(
                        other.get("leader") == status["node"] for other in told) * 2 > len(
                        status["membership"]["voters"]):
                    return int(status["node"])
            return 0
        return until("somebody leads", found)

    def do(self, *arguments: str | int, via: int | None = None, code: int = 0) -> str:
        """Run a command on a node that runs; return what it says."""
        n = via or next(iter(self.processes))
        ended = self.command(*map(str, arguments), "--config", self.folder / f"node{n}.yml")
        assert ended.returncode == code, ended.stdout + ended.stderr
        if code:
            assert re.fullmatch(r"seatrial: .*\n", ended.stderr), ended.stderr
            return ended.stderr.removeprefix("seatrial: ").rstrip()
        return ended.stdout

    def voters(self) -> list[int]:
        """Return the voters that the leader goes by."""
        found: list[int] = json.loads(self.do("member", "list", "--json"))["voters"]
        return found


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Any]:
    """Make a cluster; none of its nodes is left running."""
    made: list[Changing] = []

    def cluster(initial: int, count: int) -> Changing:
        made.append(Changing(tmp_path / "nodes", initial, count))
        return made[0]

    yield cluster
    for nodes in made:
        nodes.stop()


class Load:
    """Clients that append to a list each, one number after the other, for as long as it runs."""

    def __init__(self, nodes: Changing, clients: int = 3) -> None:
        self.nodes = nodes
        self.written = [0] * clients
        self._stop = False

    async def run(self, i: int) -> None:
        client = await self.nodes.client()
        while not self._stop:
            await client.append(b"list%d" % i, b"%d," % self.written[i])
            self.written[i] += 1
        await client.close()

    async def goes_on(self, more: int = 20) -> None:
        """Wait until every client has written so many more."""
        before = list(self.written)
        while any(now < then + more for now, then in zip(self.written, before, strict=True)):
            await asyncio.sleep(0.01)

    async def check(self) -> None:
        """Everything was done once and in order."""
        client = await self.nodes.client()
        for i, count in enumerate(self.written):
            assert (await client.read(b"list%d" % i)).value == b"".join(
                b"%d," % n for n in range(count))
        await client.close()

    @contextlib.asynccontextmanager
    async def under(self) -> AsyncIterator[None]:
        """Run the load around a story; check it afterwards."""
        async with asyncio.TaskGroup() as group:
            for i in range(len(self.written)):
                group.create_task(self.run(i))
            await self.goes_on()
            try:
                yield
                await self.goes_on()
            finally:
                self._stop = True
        await self.check()


async def aside(nodes: Changing, *arguments: str | int, **options: Any) -> str:
    """Run a command while the load goes on."""
    return await asyncio.to_thread(nodes.do, *arguments, **options)


def test_a_cluster_grows_from_one_to_three_to_five_and_the_new_can_do_without_the_old(
    make: Any,
) -> None:
    async def story() -> None:
        async with Load(nodes).under():
            for n in (2, 3):
                nodes.start(n)
                assert f"node {n} at {nodes.members[n]}: voter" in await aside(
                    nodes, "member", "add", n, nodes.members[n])
            for n in (4, 5):
                nodes.start(n)
                await aside(nodes, "member", "add", n, nodes.members[n], via=2)
            assert await asyncio.to_thread(nodes.voters) == [1, 2, 3, 4, 5]
            nodes.kill(1, 2)

    nodes = make(1, 5)
    nodes.start(1)
    run_async(story())
    nodes.start(1)          # by its file it is the only member: the log knows better
    until("node 1 follows", lambda: nodes.status(1).get("leader"))
    assert nodes.status(1)["configuration"] == "voters=(1 2 3 4 5)"
    status = nodes.status(nodes.leads())
    assert (status["membership"]["joint"], status["membership"]["learners"]) == (False, [])


def test_a_member_that_was_killed_is_replaced_under_load_and_nothing_is_lost(make: Any) -> None:
    async def story() -> None:
        async with Load(nodes).under():
            leader = await asyncio.to_thread(nodes.leads)
            dead = 1 if leader != 1 else 2
            nodes.kill(dead)
            nodes.start(4)
            told = await aside(nodes, "member", "replace", dead, 4, nodes.members[4], "--json")
            members = json.loads(told)
            assert members["voters"] == sorted({1, 2, 3, 4} - {dead})
            assert not members["joint"]
            other = ({1, 2, 3} - {leader, dead}).pop()
            nodes.kill(other)           # now nothing commits without the new one

    nodes = make(3, 4)
    nodes.start(1, 2, 3)
    run_async(story())


def test_a_leader_that_is_removed_hands_on_and_goes_quiet(make: Any) -> None:
    async def story() -> int:
        async with Load(nodes).under():
            leader = await asyncio.to_thread(nodes.leads)
            assert "not a member" in await aside(nodes, "member", "remove", 9, code=254)
            told = json.loads(await aside(nodes, "member", "remove", leader, "--json"))
            assert (told["voters"], told["leader"] == leader) == (
                sorted({1, 2, 3} - {leader}), False)
        return leader

    nodes = make(3, 3)
    nodes.start()
    gone = run_async(story())
    until("it knows", lambda: nodes.events(gone, "not-a-member"))
    until("nobody has a connection to it", lambda: nodes.status(gone)["connections"]["peer"] == 0)
    for n in {1, 2, 3} - {gone}:
        until("nor it to them", lambda n=n: nodes.status(n)["connections"]["peer"] == 1)
    assert "NO MEMBER" in nodes.do("status", via=gone)
    assert nodes.do("member", "list", via=gone)         # it still knows whom to ask


def test_a_follower_that_is_removed_is_told_even_when_it_was_away(make: Any) -> None:
    nodes = make(4, 4)
    nodes.start()
    leader = nodes.leads()
    gone = 4 if leader != 4 else 3
    nodes.kill(gone)
    nodes.do("member", "remove", gone)
    nodes.start(gone)
    until("it is told", lambda: nodes.events(gone, "not-a-member"))
    term = nodes.status(leader)["term"]
    nodes.do("member", "add", gone, nodes.members[gone])        # and it may come back
    assert nodes.voters() == [1, 2, 3, 4]
    until("it knows", lambda: not nodes.status(gone)["membership"]["outside"])
    assert nodes.status(leader)["term"] == term                 # it has unseated nobody


def test_leadership_is_handed_over_under_load(make: Any) -> None:
    async def story() -> None:
        async with Load(nodes).under() as _:
            leader = await asyncio.to_thread(nodes.leads)
            for target in (1, 2, 3, 1):
                if target != leader:
                    said = await aside(nodes, "transfer", target)
                    assert said.startswith(f"node {target} leads in term ")
                leader = target
            assert json.loads(await aside(nodes, "transfer", "--json"))["leader"] != leader

    nodes = make(3, 3)
    nodes.start()
    run_async(story())
    assert "node 7 is not a member" in nodes.do("transfer", 7, code=254)
    follower = next(n for n in nodes.ids if n != nodes.leads())
    nodes.do("member", "demote", follower)
    assert f"node {follower} is not a voter" in nodes.do("transfer", follower, code=254)


def test_who_has_the_highest_priority_comes_to_lead(make: Any) -> None:
    nodes = make(3, 3)
    nodes.start()
    for wanted in (2, 3):
        nodes.do("member", "priority", wanted, wanted * 10)
        until(f"node {wanted} leads", lambda wanted=wanted: nodes.leads() == wanted)
    assert re.search(r"node 3 at \S+: voter, priority 30, leads", nodes.do("member", "list"))


def test_priorities_of_the_first_configuration_come_from_the_file(make: Any) -> None:
    nodes = make(3, 3)
    for n in nodes.ids:
        nodes.configure(n, priorities={3: 5})
    nodes.start()
    until("node 3 leads", lambda: nodes.leads() == 3)


@pytest.mark.parametrize("before", [1, 2])
def test_nodes_are_restarted_one_by_one_under_load_from_one_protocol_to_the_next(
    make: Any, before: int
) -> None:
    """With protocol 2 all along it is any rolling restart."""
    async def story() -> None:
        async with Load(nodes).under():
            for times, protocol in ((2, 2), (3, before)):       # and back: nothing is burnt
                for n in nodes.ids:
                    nodes.signal(n, signal.SIGTERM)
                    assert await asyncio.to_thread(nodes.ended, n) == (0, "")
                    nodes.configure(n, protocol=protocol)
                    nodes.start(n)
                    await asyncio.to_thread(nodes.started, n, times)
                    leader = await asyncio.to_thread(nodes.leads)
                    commit = nodes.status(leader)["commit"]
                    while nodes.status(n).get("applied", 0) < commit:
                        await asyncio.sleep(0.01)

    nodes = make(3, 3)
    for n in nodes.ids:
        nodes.configure(n, protocol=before)
    nodes.start()
    run_async(story())


def test_members_of_two_protocols_change_their_configuration(make: Any) -> None:
    async def story() -> None:
        async with Load(nodes).under():
            nodes.start(4)
            await aside(nodes, "member", "add", 4, nodes.members[4])
            await aside(nodes, "member", "remove", 3)
            await aside(nodes, "transfer", 4)
            assert await asyncio.to_thread(nodes.voters) == [1, 2, 4]

    nodes = make(3, 4)
    nodes.configure(1, protocol=1)
    nodes.configure(4, protocol=1)
    nodes.start(1, 2, 3)
    run_async(story())


def test_a_node_with_the_wrong_key_does_not_join(make: Any) -> None:
    nodes = make(1, 2)
    (nodes.folder / "stranger.key").write_text("the key of another peer group")
    nodes.configure(2, keys={"client": "client.key", "peer": "stranger.key", "admin": "admin.key"})
    nodes.start()
    nodes.leads()
    said = nodes.do("member", "add", 2, nodes.members[2], "--timeout", 2, code=255)
    assert f"node 2 is a learner now and not connected at {nodes.members[2]}" in said
    assert any("does not hold the key" in line["reason"]
               for line in nodes.events(1, "link-refused"))
    assert "node 2 is not connected: as a voter it could cost the majority" in nodes.do(
        "member", "promote", 2, code=254)
    nodes.do("member", "remove", 2)
    assert nodes.voters() == [1]


def test_what_can_not_be_is_said_in_one_line(make: Any) -> None:
    nodes = make(3, 4)
    nodes.start(1, 2, 3)
    leader = nodes.leads()
    for arguments, line in (
        (("member", "add", 2, nodes.members[2]), "node 2 is a voter already"),
        (("member", "add", 4, "nowhere"), "ADDRESS: 'nowhere' is not host:port"),
        (("member", "promote", 2), "node 2 is a voter already"),
        (("member", "demote", 4), "node 4 is not a member"),
        (("member", "remove", 4), "node 4 is not a member"),
        (("member", "priority", 4, 1), "node 4 is not a member"),
        (("member", "replace", 4, 5, nodes.members[4]), "node 4 is not a member"),
        (("member", "replace", 1, 2, nodes.members[2]), "node 2 is a voter already"),
    ):
        assert line in nodes.do(*arguments, code=254)
    for bad in (("member", "add", 0, "h:1"), ("member", "priority", 1, 256),
                ("transfer", "me"), ("member",), ("member", "remove", 1, "--timeout", "x")):
        ended = nodes.command(*map(str, bad), "--config", nodes.folder / "node1.yml")
        assert (ended.returncode, ended.stderr.count("\n")) == (254, 1), ended.stderr
    dead = next(n for n in nodes.ids if n not in (leader, 4))
    nodes.kill(dead)
    until("it is missed", lambda: not nodes.status(leader)["peers"][str(dead)]["connected"])
    alive = next(n for n in (1, 2, 3) if n not in (leader, dead))
    assert "no majority (or force it)" in nodes.do("member", "remove", alive, code=254)
    nodes.do("member", "remove", dead)
    assert nodes.voters() == sorted({1, 2, 3} - {dead})
    nodes.kill(alive)
    until("it is missed", lambda: nodes.status(leader).get("role") != "leader")
    assert "no leader was found" in nodes.do("member", "list", "--timeout", 1, code=255)


def test_a_learner_that_lags_far_behind_is_not_promoted(make: Any) -> None:
    async def story() -> None:
        client = await nodes.client()
        for _ in range(25):
            await asyncio.gather(*(client.write(b"k", b"v") for _ in range(60)))
        await client.close()

    nodes = make(1, 2)
    nodes.start(2)
    nodes.started(2)
    nodes.start(1)
    nodes.leads()
    nodes.do("member", "add", 2, nodes.members[2], "--learner", via=1)
    nodes.signal(2, signal.SIGSTOP)
    run_async(story())
    until("it is behind", lambda: nodes.status(1)["commit"] - nodes.status(1)["peers"]["2"][
        "match_index"] > 1000)
    refusal = nodes.do("member", "promote", 2, via=1, code=254)
    assert re.search("entries behind, more than 1000|not connected", refusal)
    nodes.signal(2, signal.SIGCONT)
    until("it catches up", lambda: nodes.status(1)["peers"]["2"]["match_index"]
          == nodes.status(1)["commit"])
    assert "node 2" in nodes.do("member", "promote", 2, via=1)
    assert nodes.voters() == [1, 2]


def test_an_addition_that_was_interrupted_is_gone_on_with(make: Any) -> None:
    nodes = make(1, 3)
    nodes.start(1)
    nodes.leads()
    said = nodes.do("member", "add", 2, nodes.members[2], "--timeout", 1, code=255)
    assert "node 2 is a learner now and not connected" in said
    assert "node 2 is a learner already" in nodes.do(
        "member", "add", 2, "127.0.0.1:9", code=254)            # that is not where it is
    nodes.start(2)
    assert "node 2 at" in nodes.do("member", "add", 2, nodes.members[2], "--priority", 3)
    assert nodes.voters() == [1, 2]
    nodes.start(3)
    nodes.do("member", "add", 3, nodes.members[3], "--no-wait")
    assert nodes.voters() == [1, 2]
    nodes.do("member", "promote", 3, "--force", "--no-wait")
    assert nodes.voters() == [1, 2, 3]


def test_a_member_that_moved_is_found_again(make: Any) -> None:
    nodes = make(3, 4)
    nodes.start(1, 2, 3)
    leader = nodes.leads()
    moving = 1 if leader != 1 else 2
    nodes.signal(moving, signal.SIGTERM)
    assert nodes.ended(moving) == (0, "")
    where = nodes.members[4]
    nodes.configure(moving, listen=[where], advertise=where)
    nodes.start(moving)
    nodes.do("member", "address", moving, where, via=leader)
    nodes.members[moving] = where
    until("it is connected and has all", lambda: (
        (status := nodes.status(nodes.leads()))["node"] == moving
        or (status["peers"][str(moving)]["match_index"] == status["commit"]
        and status["peers"][str(moving)]["connected"])))
    assert f"node {moving} at {where}: voter" in nodes.do("member", "list", via=leader)


def test_only_administrators_change_the_members(make: Any) -> None:
    nodes = make(1, 1)
    nodes.start()
    nodes.leads()
    ended = nodes.command(
        "member", "remove", "1", "--address", nodes.members[1], "--cluster", CLUSTER,
        "--key", nodes.folder / "client.key")
    assert (ended.returncode, "does not hold the key" in ended.stderr) == (255, True)


@pytest.mark.parametrize("leases", [False, True])
def test_reads_at_any_node_are_linearizable_while_leadership_moves(
    make: Any, leases: bool
) -> None:
    async def write(client: Client, process: int) -> None:
        for i in range(120):
            value, called = f"{process}.{i}", time.monotonic_ns()
            await client.write(b"k", value.encode())
            rows.append((process, "k", Role.WRITE, value, None, called, time.monotonic_ns()))

    async def read(client: Client, process: int, finished: asyncio.Event) -> None:
        while not finished.is_set():
            called = time.monotonic_ns()
            answer = await client.read(b"k", any_node=True)
            answered_by.add(answer.node)
            value = None if answer.value is None else answer.value.decode()
            rows.append((process, "k", Role.READ, value, None, called, time.monotonic_ns()))
            await asyncio.sleep(0.002)

    async def story() -> None:
        clients = [await nodes.client() for _ in range(5)]
        finished = asyncio.Event()
        readers = [asyncio.create_task(read(clients[i], i, finished)) for i in (2, 3, 4)]
        await asyncio.gather(*(write(clients[i], i) for i in (0, 1)),
                             asyncio.to_thread(nodes.do, "transfer"))
        while answered_by != {1, 2, 3}:
            await asyncio.sleep(0.01)
        finished.set()
        await asyncio.gather(*readers)
        for client in clients:
            await client.close()

    rows: list[tuple[int, Any, Role, Any, Any, int, int | None]] = []
    answered_by: set[int] = set()
    nodes = make(3, 3)
    for n in nodes.ids:
        nodes.configure(n, leases=leases)
    nodes.start()
    leader = nodes.leads()
    until("the lease is as it was asked for", lambda: nodes.status(leader)["lease"] == leases
          or nodes.leads() != leader)
    run_async(story())
    assert check_linearizable(from_intervals(rows), engine="search").verdict == Verdict.PASS


def test_metrics_show_the_configuration(make: Any) -> None:
    nodes = make(1, 2)
    nodes.configure(1, leases=True)
    nodes.start()
    nodes.leads()
    nodes.do("member", "add", 2, nodes.members[2], "--learner")

    def page() -> dict[str, str]:
        with urllib.request.urlopen(
                f"http://127.0.0.1:{nodes.metrics[1]}/metrics", timeout=PATIENCE_S) as answer:
            return dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines()
                        if not line.startswith("#"))

    values = until("it holds a lease", lambda: (
        found if (found := page())["seatrial_lease"] == "1.0" else {}))
    assert (values["seatrial_voters"], values["seatrial_learners"]) == ("1.0", "1.0")
    assert float(values["seatrial_config_index"]) >= 2
    assert values["seatrial_transfer_to"] == "0.0"
    assert 'seatrial_member_match_index{member="2"}' in values
    assert "holds a lease" in nodes.do("status")


def test_clients_go_on_when_no_node_is_left_that_they_began_with(make: Any) -> None:
    """The load's clients know the founders only; those are ended when clients have gone on."""
    async def story() -> None:
        load = Load(nodes)
        async with load.under():
            for old in (1, 2, 3):
                new = old + 3
                nodes.start(new)
                await aside(nodes, "member", "replace", old, new, nodes.members[new], via=new)
                await load.goes_on()
                nodes.kill(old)
            nodes.known = nodes.members     # to whoever comes later

    nodes = make(3, 6)
    nodes.start(1, 2, 3)
    nodes.known = {n: nodes.members[n] for n in (1, 2, 3)}
    run_async(story())
    assert nodes.voters() == [4, 5, 6]


def test_clients_go_on_where_another_node_has_taken_the_address(make: Any) -> None:
    """As on a host that lost its disk: the same address, a new number."""
    async def story() -> None:
        client = await Client.connect(
            {1: nodes.members[1]}, cluster=CLUSTER, timeout_s=PATIENCE_S,
            key=(nodes.folder / "client.key").read_bytes())
        assert (await client.read(b"k")).node == 1
        nodes.kill(1)
        shutil.rmtree(nodes.folder / "data1")
        nodes.configure(1, node=4, members={4: nodes.members[1]}, cluster=CLUSTER)
        nodes.start(1)
        await client.write(b"k", b"after")
        assert (await client.read(b"k")).node == 4
        await client.close()

    nodes = make(1, 1)
    nodes.start(1)
    run_async(story())
