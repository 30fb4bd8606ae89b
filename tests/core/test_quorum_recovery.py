"""A majority is lost for ever: what survivors do, what they refuse, and what a crash leaves."""
from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from seatrial.core import quorum_recovery
from seatrial.core.config import load
from seatrial.core.errors import ConfigError, NodeError
from seatrial.core.handshake import Life
from seatrial.core.membership import Configuration
from seatrial.core.quorum_recovery import Survivor, make_plan

from .nodes import Nodes, run_async, until


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Any]:
    """Make clusters; none of their nodes is left running."""
    made: list[Nodes] = []

    def cluster(count: int) -> Nodes:
        made.append(Nodes(tmp_path / "nodes", count))
        return made[-1]

    yield cluster
    for nodes in made:
        nodes.stop()


def recover(nodes: Nodes, *arguments: str | Path) -> tuple[int, str, str]:
    done = nodes.command("recover", *arguments)
    return done.returncode, done.stdout, done.stderr


def collect(nodes: Nodes, *ids: int) -> list[Path]:
    """Have stopped nodes say what they hold; return the files."""
    files = []
    for n in ids:
        files.append(nodes.folder / f"survivor{n}.json")
        code, said, errors = recover(nodes, "collect", "--config", nodes.folder / f"node{n}.yml",
                                     "--out", files[-1])
        assert (code, said, errors) == (0, "", "")
    return files


def status(nodes: Nodes, n: int) -> dict[str, Any]:
    done = nodes.command("status", "--config", nodes.folder / f"node{n}.yml", "--json")
    found: dict[str, Any] = json.loads(done.stdout or "{}")
    return found


async def write(nodes: Nodes, first: int, last: int) -> None:
    client = await nodes.client()
    for i in range(first, last):
        await client.write(b"k%d" % i, b"v%d" % i)
    await client.close()


async def read(nodes: Nodes, count: int) -> list[bytes | None]:
    client = await nodes.client()
    found = [(await client.read(b"k%d" % i)).value for i in range(count)]
    await client.close()
    return found


def test_two_of_five_go_on_and_the_lost_can_never_come_back(make: Any) -> None:
    nodes = make(5)
    nodes.start()
    run_async(write(nodes, 0, 20))
    nodes.kill(5)                       # it falls behind, and will be one of the survivors
    run_async(write(nodes, 20, 40))
    nodes.kill(1, 2, 3)                 # lost; their disks are found again later
    until("node 4 holds all", lambda: status(nodes, 4)["last_index"] >= 41)
    nodes.kill(4)
    files = collect(nodes, 4, 5)
    apply = ["apply", "--config", nodes.folder / "node4.yml", *files]
    code, said, errors = recover(nodes, *apply)
    assert code == 254
    assert errors.startswith("seatrial: nothing was changed: this can lose")
    assert "begins with what node 4 holds" in said
    assert "members from then on: voters=(4 5); gone for ever: nodes [1, 2, 3]" in said
    assert "MAY BE LOST" in said
    said_before = [path.read_text() for path in files]
    assert [path.read_text() for path in collect(nodes, 4, 5)] == said_before   # as it was
    for n in (4, 5):
        code, said, errors = recover(nodes, "apply", "--config", nodes.folder / f"node{n}.yml",
                                     *files, "--accept-data-loss")
        assert (code, errors) == (0, ""), errors
    code, said, _ = recover(nodes, *apply, "--accept-data-loss")
    assert said.endswith("node 4 is of life 1 already\n")
    nodes.start(4, 5)
    leader = until("somebody leads", lambda: status(nodes, 4).get("leader"))
    assert leader == 4                  # node 5 could not: its log is older
    nodes.ids, members = [4, 5], dict(nodes.members)
    nodes.members = {n: members[n] for n in (4, 5)}
    assert run_async(read(nodes, 40)) == [b"v%d" % i for i in range(40)]
    run_async(write(nodes, 40, 60))
    assert run_async(read(nodes, 60)) == [b"v%d" % i for i in range(60)]
    found = status(nodes, 5)
    assert (found["configuration"], found["life"]) == ("voters=(4 5)", 1)
    assert found["snapshots_installed"] == 1
    assert found["last_index"] > 1 << 20 < found["term"]    # nothing of the lost comes again

    nodes.members = members
    for n in (1, 2, 3):                 # the old majority; it reaches those that went on
        nodes.start(n)
    for n in (1, 2, 3):
        code, errors = nodes.ended(n)
        assert code == 255
        assert "was recovered without this node (life 1, this data is of life 0)" in errors
    assert status(nodes, 4)["leader"] == 4
    done = nodes.command("member", "add", "1", members[1], "--config", nodes.folder / "node4.yml",
                         "--learner", "--timeout", "20")
    assert done.returncode == 0, done.stderr
    nodes.start(1)                      # with the old data it may not
    code, errors = nodes.ended(1)
    assert code == 255
    shutil.rmtree(nodes.folder / "data1")                   # as a new node it may
    nodes.configure(1, join=True)
    nodes.start(1)
    until("node 1 has it all", lambda: status(nodes, 1).get("commit", 0) >= found["last_index"])
    assert status(nodes, 1)["life"] == 1


def survivor(node: int, last_term: int, last_index: int, voters: tuple[int, ...] = (1, 2, 3, 4, 5),
             **more: Any) -> Survivor:
    members = Configuration(voters, details={n: (f"h:{n}", 0) for n in voters})
    return msgspec.structs.replace(Survivor(
        "c", node, f"s{node}", 0, 0, last_term, last_index, last_term, 0, "0", 0,
        members.encode()), **more)


def test_the_plan_is_the_same_for_all_and_takes_the_most_up_to_date() -> None:
    one, two = survivor(1, 3, 90), survivor(2, 4, 70)
    plan = make_plan([one, two])
    assert plan == make_plan([two, one])
    assert (plan.best, plan.lost) == (two, [3, 4, 5])
    assert (str(plan.configuration), plan.life.number) == ("voters=(1 2)", 1)
    assert make_plan([survivor(1, 3, 90), survivor(2, 3, 91)]).best.node == 2
    assert make_plan([survivor(2, 3, 90), survivor(1, 3, 90)]).best.node == 1
    assert plan.life != make_plan([one]).life       # two recoveries that know nothing of each other
    again = make_plan([survivor(1, 9, 99, (1, 2), life=1, mark=7)])
    assert again.life.number == 2
    assert again.life != Life(2, 7)


@pytest.mark.parametrize(("survivors", "text"), [
    ([survivor(1, 1, 9), survivor(2, 1, 9), survivor(3, 1, 9)], "are a majority of the voters"),
    ([survivor(1, 1, 9), survivor(1, 1, 9)], "given twice"),
    ([survivor(1, 1, 9), survivor(2, 1, 9, life=1, mark=4)], "node 2 is of life 1"),
    ([survivor(1, 1, 9), survivor(2, 1, 9, cluster="d")], "node 2 is of life 0 of 'd'"),
    ([survivor(1, 1, 9), survivor(6, 1, 5)], "node 6 is no member by node 1's log"),
    ([survivor(1, 2, 9), survivor(2, 1, 5, (2,))],
     r"\[2\] are a majority of the voters that node 2 knows"),
])
def test_what_may_not_be_recovered_is_refused(survivors: list[Survivor], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        make_plan(survivors)


def stopped(make: Any) -> Nodes:
    """Three nodes, written to and stopped; the third survives."""
    nodes: Nodes = make(3)
    nodes.start()
    run_async(write(nodes, 0, 10))
    until("node 3 holds all", lambda: status(nodes, 3).get("commit", 0) >= 11)
    nodes.kill()
    return nodes


def test_what_was_collected_must_still_hold_and_be_of_a_stopped_node(make: Any) -> None:
    nodes = stopped(make)
    files = collect(nodes, 3)
    nodes.start(2, 3)
    run_async(write(nodes, 10, 12))
    code, _, errors = recover(nodes, "collect", "--config", nodes.folder / "node3.yml")
    assert code == 255
    assert "is open in another process" in errors
    nodes.kill(2, 3)
    code, _, errors = recover(nodes, "apply", "--config", nodes.folder / "node3.yml", *files,
                              "--accept-data-loss")
    assert code == 254
    assert "no longer holds what was collected" in errors
    files[0].write_text("{}")
    code, _, errors = recover(nodes, "apply", "--config", nodes.folder / "node3.yml", *files)
    assert (code, errors.startswith(f"seatrial: {files[0]} is not what")) == (254, True)


class Crash(BaseException):
    """The process ends here."""


def test_a_crash_at_any_step_leaves_the_old_node_or_one_that_is_finished_by_the_same_command(
    make: Any, monkeypatch: pytest.MonkeyPatch,
) -> None:
    nodes = stopped(make)
    files = collect(nodes, 3)
    survivors = [msgspec.json.decode(path.read_bytes(), type=Survivor) for path in files]
    settings = load(nodes.folder / "node3.yml")
    shutil.copytree(settings.data, nodes.folder / "before")
    seen: list[str] = []
    rename = Path.rename
    for step in range(20):
        shutil.rmtree(settings.data)
        shutil.copytree(nodes.folder / "before", settings.data)
        left = step

        def crashing(path: Path, target: Path) -> Path:
            nonlocal left
            if left == 0:
                raise Crash
            left -= 1
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", crashing)
        try:
            quorum_recovery.apply(settings, survivors)
            crashed = False
        except Crash:
            crashed = True
        monkeypatch.undo()
        identity = json.loads((settings.data / "identity.json").read_text())
        if not crashed:
            break
        if identity["life"] == 0:
            seen.append("nothing")
            collect(nodes, 3)                                   # the old node, untouched
            assert [msgspec.json.decode(path.read_bytes(), type=Survivor)
                    for path in files] == survivors
        else:
            seen.append("begun")
            assert identity["unfinished"]
            done = nodes.command("serve", "--config", nodes.folder / "node3.yml")
            assert done.returncode == 255
            assert "was begun and not finished: give `recover apply` again" in done.stderr
        quorum_recovery.apply(settings, survivors)
        assert quorum_recovery.apply(settings, survivors) == "node 3 is of life 1 already"
    assert not crashed
    assert {"nothing", "begun"} == set(seen)
    nodes.start(3)
    until("node 3 leads", lambda: status(nodes, 3).get("role") == "leader")
    nodes.members = {3: nodes.members[3]}
    assert run_async(read(nodes, 10)) == [b"v%d" % i for i in range(10)]
    assert (settings.data / "wal.life0").is_dir()               # what was is kept


def test_damaged_data_is_not_what_a_cluster_goes_on_with(make: Any) -> None:
    nodes = stopped(make)
    settings = load(nodes.folder / "node3.yml")
    segment = sorted((settings.data / "wal").glob("*.wal"))[0]
    raw = bytearray(segment.read_bytes())
    raw[200] ^= 1
    segment.write_bytes(raw)
    with pytest.raises(NodeError, match="`verify` says it all"):
        quorum_recovery.collect(settings)
