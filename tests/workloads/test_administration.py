"""An administrator's scripts on a host: what they leave there, however far they had come before."""
from __future__ import annotations

import asyncio
import re
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from seatrial.core import config as core_config
from seatrial.harness.administration import Administered, Life, Members
from seatrial.harness.errors import HarnessFailure
from seatrial.workloads.systems import deploy
from seatrial.workloads.systems.deploy import Deployment
from seatrial.workloads.systems.node import ROLES, NodeOptions, NodeSystem
from seatrial.workloads.systems.numbers import STEP, position
from seatrial.workloads.systems.wheelhouse import Wheelhouse

from .shell_host import ShellHost

# serves for ever; notes every other command, and refuses it in the words of the file "refusal"
CORE = """
import pathlib, sys, time
if sys.argv[1] == "serve":
    time.sleep(600)
home = pathlib.Path(sys.argv[sys.argv.index("--config") + 1]).parent
with (home / "asked").open("a") as file:
    print(*sys.argv[1:sys.argv.index("--config")], file=file)
refusal = home / "refusal"
if refusal.exists():
    sys.exit(f"seatrial: {refusal.read_text()}")
"""


class Stage:
    """A host with a home for a node, and the system that administers it."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "ho me"
        self.host = ShellHost()
        wheel, archive = folder / "core.whl", folder / "wheels.tar"
        with zipfile.ZipFile(wheel, "w") as packed:
            packed.writestr("seatrial/core/__init__.py", "")
            packed.writestr("seatrial/core/__main__.py", CORE)
        with tarfile.open(archive, "w") as wheels:
            wheels.add(wheel, "seatrial-1-py3-none-any.whl")
        probe = asyncio.run(self.host.run([deploy.PYTHON, "-c", deploy.PROBE])).stdout.split()
        house = Wheelhouse(archive, "d1", ".".join(probe[:2]), probe[2])
        self.deployment = Deployment(str(self.home), house)
        # a pattern in the options forbids the space that the scripts must cope with
        options = NodeOptions().model_copy(update={"home": str(self.home)})
        self.system = NodeSystem(options)
        self.system._deployment = self.deployment
        self.tools = self.system.administration
        names: Any = [SimpleNamespace(name=f"n{i + 1}", index=i, ipv4=f"127.0.0.{i + 1}", ipv6=None)
                      for i in range(4)]
        self.test: Any = SimpleNamespace(
            nodes=names, spec=SimpleNamespace(topology=SimpleNamespace(spares=1)))

    def do(self, command: Any) -> None:
        asyncio.run(self.host.run(list(command)))

    def pids(self) -> list[int]:
        return asyncio.run(self.deployment.pids(self.host))

    def asked(self) -> list[str]:
        """Return the commands so far, and forget them."""
        path = self.home / "asked"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def refuse(self, line: str | None) -> None:
        path = self.home / "refusal"
        path.unlink(missing_ok=True)
        if line is not None:
            path.write_text(line)

    def config(self) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load((self.home / "node.yml").read_text())
        return found

    def join(self, at: int = 3, **options: bool) -> None:
        self.do(self.tools.joining(self.test, self.test.nodes[at], **options))

    def leave(self, at: int = 3) -> None:
        self.do(self.tools.leaving(self.test, self.test.nodes[at]))


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr(deploy, "SITES", str(tmp_path / "opt"))
    made = Stage(tmp_path)
    asyncio.run(made.deployment.install(made.host))
    asyncio.run(made.deployment.configure(made.host, None, {"peer": b"secret"}))
    yield made
    asyncio.run(made.deployment.remove(made.host))


def test_a_spare_has_keys_and_no_node(stage: Stage) -> None:
    assert [path.name for path in stage.home.iterdir()] == ["peer.key"]
    stage.do(stage.tools.starting(stage.test, stage.test.nodes[3]))
    assert stage.pids() == []
    assert isinstance(stage.system, Administered)


def test_who_joins_is_new_to_the_cluster_and_asks_to_be_added(stage: Stage) -> None:
    stage.join(learner=True)
    (pid,) = stage.pids()
    assert stage.config()["node"] == STEP + 4
    assert stage.config()["join"]
    assert stage.config()["members"] == {i: f"127.0.0.{i}:7400" for i in (1, 2, 3)}
    assert stage.asked() == [f"member add {STEP + 4} 127.0.0.4:7400 --learner"]
    stage.join()                                # again, now for a vote: it is still the same node
    assert stage.pids() == [pid]
    assert stage.config()["node"] == STEP + 4
    assert stage.asked() == [f"member add {STEP + 4} 127.0.0.4:7400"]


def test_an_ipv6_address_is_given_as_the_configuration_means_it(stage: Stage) -> None:
    stage.system.options = stage.system.options.model_copy(update={"ip": 6})
    for host in stage.test.nodes:
        host.ipv6 = f"fd00::{host.index + 1}"
    stage.join()
    assert stage.asked() == [f"member add {STEP + 4} [fd00::4]:7400"]


def test_the_node_accepts_the_configuration_of_one_that_joins(stage: Stage) -> None:
    stage.join()
    for role in ROLES:
        (stage.home / f"{role}.key").write_bytes(stage.system.keys[role])
    settings = core_config.load(stage.home / "node.yml")
    assert (settings.node, settings.config.join) == (STEP + 4, True)
    assert str(settings.address) == "127.0.0.4:7400"


def test_what_is_true_already_is_no_error(stage: Stage) -> None:
    stage.join()
    stage.refuse(f"node {STEP + 4} is a voter already")
    stage.join()
    stage.refuse(f"node {STEP + 4} is not a member")
    stage.leave()
    assert stage.pids() == []


def test_who_leaves_keeps_keys_and_log_and_comes_back_as_another_node(stage: Stage) -> None:
    stage.join()
    (stage.home / "data").mkdir()
    stage.asked()
    stage.leave()
    assert stage.pids() == []
    assert stage.asked() == [f"member remove {STEP + 4}"]
    assert {path.name for path in stage.home.iterdir()} == {"peer.key", "node.log"}
    stage.leave()
    assert stage.asked() == []                  # it was out
    stage.join()
    assert stage.config()["node"] > STEP + 4
    assert position(stage.config()["node"]) == 3


def test_nothing_is_removed_before_the_cluster_has_agreed(stage: Stage) -> None:
    stage.join()
    (stage.home / "data").mkdir()
    (pid,) = stage.pids()
    stage.refuse("not done within 15 s: no leader was found")
    with pytest.raises(HarnessFailure, match="no leader was found"):
        stage.leave()
    assert stage.pids() == [pid]
    assert (stage.home / "data").exists()


def test_one_that_takes_another_ones_place_names_it_by_its_newest_number(stage: Stage) -> None:
    stage.tools._addresses = {1: "127.0.0.1:7400", 2 * STEP + 2: "127.0.0.2:7400"}
    old, new = stage.test.nodes[1], stage.test.nodes[3]
    stage.do(stage.tools.replacing(stage.test, old, new))
    assert stage.asked() == [f"member replace {2 * STEP + 2} {STEP + 4} 127.0.0.4:7400"]
    stage.do(stage.tools.handing_over(stage.test, new, old))
    stage.do(stage.tools.handing_over(stage.test, new))
    stage.do(stage.tools.demoting(stage.test, new))
    stage.do(stage.tools.taking_snapshot(stage.test, new))
    assert stage.asked() == [f"transfer {2 * STEP + 2}", "transfer", f"member demote {STEP + 4}",
                             "snapshot"]


def test_a_restart_is_another_process_and_an_upgrade_too_with_another_protocol(
    stage: Stage,
) -> None:
    host = stage.test.nodes[3]
    stage.join()
    seen = [stage.pids()]
    stage.do(stage.tools.restarting(stage.test, host))
    seen.append(stage.pids())
    stage.do(stage.tools.speaking(stage.test, host, 1))
    seen.append(stage.pids())
    assert stage.config()["protocol"] == 1
    stage.do(stage.tools.speaking(stage.test, host, 1))     # it does already
    assert stage.pids() == seen[-1]
    assert len({tuple(pids) for pids in seen}) == 3
    assert all(len(pids) == 1 for pids in seen)


STATUS: dict[str, Any] = {
    "role": "leader", "term": 4, "node": 1, "commit": 90, "pid": 7, "protocol": 2,
    "snapshot_index": 60,
    "peers": {"2": {"match_index": 80, "connected": True},
              "203": {"match_index": 99, "connected": True},
              "104": {"match_index": 0, "connected": False}},
    "membership": {"committed": True, "joint": True, "voters": [1, 203, 104], "outgoing": [1, 2],
                   "learners": [], "learners_next": [2],
                   "addresses": {"1": "a:1", "2": "a:2", "203": "a:3", "104": "a:4"}}}


def test_members_are_told_by_the_newest_leader_and_named_by_their_hosts(stage: Stage) -> None:
    async def statuses(test: Any) -> dict[int, Any]:
        return {0: STATUS, 1: STATUS | {"term": 3}, 2: {"role": "follower", "pid": 9,
                                                        "protocol": 1}}

    stage.system.statuses = statuses            # type: ignore[method-assign]
    assert asyncio.run(stage.tools.members(stage.test)) == Members(
        "n1", 4, settled=False, voters=frozenset({"n1", "n2", "n3", "n4"}),
        behind={"n2": 10, "n3": 0})
    assert asyncio.run(stage.tools.lives(stage.test))["n3"] == Life(9, 1, 0)
    assert stage.tools.addresses({}) == {1: "a:1", 2: "a:2", 203: "a:3", 104: "a:4"}


def test_the_newest_protocol_is_the_nodes_own() -> None:
    from seatrial.core.handshake import PROTOCOL_MAX
    from seatrial.workloads.systems.administration import NEWEST_PROTOCOL

    assert NEWEST_PROTOCOL == PROTOCOL_MAX
    assert NodeSystem(NodeOptions()).administration.newer_protocol is None
    assert NodeSystem(NodeOptions(protocol=1)).administration.newer_protocol == PROTOCOL_MAX
    assert re.search(r"^protocol: 1$", NodeSystem(NodeOptions(protocol=1)).config(
        SimpleNamespace(nodes=[SimpleNamespace(index=0, ipv4="1.1.1.1")],
                        spec=SimpleNamespace(topology=SimpleNamespace(spares=0))),   # type: ignore[arg-type]
        SimpleNamespace(index=0, ipv4="1.1.1.1")), re.M)                # type: ignore[arg-type]
