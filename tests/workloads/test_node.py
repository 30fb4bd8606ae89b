"""Our node as a system under test: what it is told, and what is made of its answers."""
from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from seatrial.core import client as core_client
from seatrial.core import config as core_config
from seatrial.core.errors import (
    CasMismatch,
    HandshakeRefused,
    NotLeader,
    Refused,
    SessionLost,
    Unknown,
)
from seatrial.harness.errors import BadInput, HarnessFailure
from seatrial.workloads.keyvalue import Answer, DidNotHappen, MayHaveHappened, Mismatch
from seatrial.workloads.systems import node as system_module
from seatrial.workloads.systems import planted
from seatrial.workloads.systems.connection import translated
from seatrial.workloads.systems.node import ROLES, NodeOptions, NodeSystem


def hosts(count: int = 3, *, ipv6: bool = True) -> list[Any]:
    return [SimpleNamespace(name=f"n{i + 1}", index=i, ipv4=f"198.18.1.{i + 1}",
                            ipv6=f"fd00::1:{i + 1}" if ipv6 else None) for i in range(count)]


def a_test(**fields: Any) -> Any:
    pools = {"clients": ("198.18.2.1", "fd00::2:1"), "other": ("198.18.2.2", None)}
    return SimpleNamespace(
        **{"nodes": hosts(), "pools": pools, "concurrency": 6, "op_timeout_ns": 10**9,
           "spec": SimpleNamespace(topology=SimpleNamespace(spares=0))} | fields)


def system(**options: Any) -> NodeSystem:
    return NodeSystem(NodeOptions.model_validate(options))


@pytest.mark.parametrize(("ip", "address"), [(4, "198.18.1.2:7400"), (6, "[fd00::1:2]:7400")])
def test_the_node_accepts_its_configuration(ip: int, address: str, tmp_path: Path) -> None:
    node = system(ip=ip, heartbeat_ms=40, election_ms=200, home=str(tmp_path), keep_bytes=0)
    (tmp_path / "node.yml").write_text(node.config(a_test(), a_test().nodes[1]))
    for role in ROLES:
        (tmp_path / f"{role}.key").write_bytes(node.keys[role])
    settings = core_config.load(tmp_path / "node.yml")
    assert (settings.node, sorted(settings.members)) == (2, [1, 2, 3])
    assert [str(listening) for listening in settings.listen] == [address]
    assert settings.config.election_ms == 200
    assert settings.config.wal == core_config.WalSettings(keep_bytes=0)


def test_every_run_has_a_cluster_and_keys_of_its_own() -> None:
    first, second = system(), system()
    assert first.cluster != second.cluster
    assert len({key for node in (first, second) for key in node.keys.values()}) == 6


def test_the_configuration_holds_no_key() -> None:
    node = system()
    text = node.config(a_test(), a_test().nodes[0])
    assert not any(key.decode() in text for key in node.keys.values())


def test_a_host_without_ipv6_is_named_when_the_test_asks_for_it() -> None:
    with pytest.raises(BadInput, match="n1 has no IPv6 address"):
        system(ip=6).members(a_test(nodes=hosts(ipv6=False)))


def test_an_unknown_planted_bug_is_refused_before_anything_is_built(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system_module, "wheelhouse", lambda mutants: pytest.fail("it was built"))
    monkeypatch.setattr(planted, "mutant_names", lambda: ["apply-twice"])
    with pytest.raises(BadInput, match="did you mean 'apply-twice'"):
        system(mutant="aply-twice").prepare()


async def _raise(error: Exception) -> core_client.Answer:
    raise error


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (Refused("never sent"), DidNotHappen),
        (NotLeader(2), DidNotHappen),
        (SessionLost(), DidNotHappen),
        (Unknown("no answer"), MayHaveHappened),
        (HandshakeRefused("wrong key"), MayHaveHappened),
        (ConnectionResetError("reset"), MayHaveHappened),
    ],
)
def test_only_what_certainly_did_not_happen_is_called_so(
    error: Exception, meaning: type[Exception]
) -> None:
    with pytest.raises(meaning):
        asyncio.run(translated(_raise(error)))


def test_a_mismatch_carries_what_was_seen() -> None:
    with pytest.raises(Mismatch) as caught:
        asyncio.run(translated(_raise(CasMismatch(b"7"))))
    assert caught.value.answer.value == b"7"


def test_an_answer_names_its_node_by_position() -> None:
    async def answer() -> core_client.Answer:
        return core_client.Answer(b"7", 3, 41, 1 << 16, 5)

    assert asyncio.run(translated(answer())) == Answer(b"7", 2, 41, 1 << 16, 5)


class PretendedWatch:
    """Answers for the nodes with these roles; the others are silent."""

    def __init__(self, roles: dict[int, tuple[str, int]]) -> None:
        self.roles = roles

    async def statuses(self, hosts: Collection[int]) -> dict[int, dict[str, Any]]:
        return {node - 1: {"role": role, "term": term}
                for node, (role, term) in self.roles.items() if node - 1 in hosts}


class PretendedDeployment:
    """A node that has ended on some hosts."""

    def __init__(self, ended: Sequence[str]) -> None:
        self.ended = ended

    async def pids(self, host: Any) -> list[int]:
        return [] if host.name in self.ended else [99]

    async def last_words(self, host: Any) -> str:
        return "seatrial: can't listen on 198.18.1.2:7400: Address already in use"


def with_pretended(roles: dict[int, tuple[str, int]], ended: Sequence[str] = (),
                   **options: Any) -> NodeSystem:
    node = system(**options)
    parts: Any = PretendedWatch(roles), PretendedDeployment(ended)
    node._watch, node._deployment = parts
    return node


def test_leaders_come_newest_term_first() -> None:
    node = with_pretended({1: ("leader", 3), 2: ("follower", 4), 3: ("leader", 4)})
    found = asyncio.run(node.leaders(a_test()))
    assert [(term, host.name) for term, host in found] == [(4, "n3"), (3, "n1")]
    assert [host.name for host in asyncio.run(node.primaries(a_test()))] == ["n3", "n1"]


def test_a_cluster_serves_when_all_answer_and_one_leads() -> None:
    roles = {1: ("leader", 2), 2: ("follower", 2), 3: ("follower", 2)}
    asyncio.run(with_pretended(roles)._await_serving(a_test()))


@pytest.mark.parametrize(
    ("roles", "ended", "complaint"),
    [
        ({1: ("leader", 2), 3: ("follower", 2)}, ["n2"], r"^n2: the node ended: .*already in use$"),
        ({1: ("leader", 2), 3: ("follower", 2)}, [], r"^not serving within 0\.05 s .*: n2 \("),
        (dict.fromkeys((1, 2, 3), ("follower", 2)), [], r"^not serving within .*: no leader \("),
    ],
)
def test_a_cluster_that_does_not_come_up_says_who_is_missing_and_why(
    roles: dict[int, tuple[str, int]], ended: list[str], complaint: str
) -> None:
    node = with_pretended(roles, ended, start_timeout=0.05)
    with pytest.raises(HarnessFailure, match=complaint):
        asyncio.run(node._await_serving(a_test()))


def test_clients_are_spread_over_the_pools() -> None:
    node = system()
    found = [node._local_address(a_test(), process) for process in (0, 1, 6, 7)]
    assert found == ["198.18.2.1", "198.18.2.2"] * 2
    assert system()._local_address(a_test(pools={})) is None
