"""Our node as a system under test: what it is told, and what is made of its answers."""
from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

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
from seatrial.harness.testfile import validated
from seatrial.harness.yamlfile import Document
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


def test_the_controller_asks_from_no_pool_s_address_as_that_may_be_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(system_module, "Client",
                        lambda *_, local_addr, **options: asked.append(local_addr))
    monkeypatch.setattr(system_module, "wheelhouse",
                        lambda mutants: SimpleNamespace(digest="d"))
    monkeypatch.setattr(system_module, "Watch", lambda make: make(1))

    async def stop_here(*_: Any) -> None:
        raise HarnessFailure("far enough")

    monkeypatch.setattr(system_module, "on_nodes", stop_here)
    with pytest.raises(HarnessFailure, match="far enough"):
        asyncio.run(system().setup(a_test()))
    asyncio.run(system().connect(a_test(), 0, 0))
    assert asked == [None, "198.18.2.1"]


# ---- several domains


TREE = """
topology:
  domains:
    A: {nodes: 2, policy: none}
    B: {nodes: 2, parent: A, mode: sync}
    C: {nodes: 1, parent: B, mode: async}
  pools: {clients: {domain: C}, other: {domain: A}}
"""


def of_domains() -> Any:
    document = Document.parse("t.yml", "name: t\nworkload: {name: register}\n" + TREE)
    return a_test(nodes=hosts(5), spec=validated(document)[1])


def test_each_domain_is_a_group_of_its_own_and_knows_its_links_and_their_keys() -> None:
    test, node = of_domains(), system()
    told = [yaml.safe_load(node.config(test, host)) for host in test.nodes]
    assert [sorted(config["members"]) for config in told] == [[1, 2], [1, 2], [3, 4], [3, 4], [5]]
    assert [config["node"] for config in told] == [1, 2, 3, 4, 5]
    assert [config["domain"]["name"] for config in told] == ["A", "A", "B", "B", "C"]
    assert told[4]["domain"]["parent"] == {
        "nodes": {3: "198.18.1.3:7400", 4: "198.18.1.4:7400"}}
    assert told[0]["domain"]["policy"] == "none"
    assert set(told[0]["domain"]["tree"]) == {2, 3}
    secrets = [node._secrets(test, host) for host in test.nodes]
    for config, held in zip(told, secrets, strict=True):
        files = {Path(file).stem for file in config["keys"].pop("links").values()}
        assert set(held) == {*ROLES, *files}
        assert {Path(file).stem for file in config["keys"].values()} == set(ROLES)
    # (whose child C is may change)
    assert all(set(held) - set(ROLES) == {"link-2", "link-3"} for held in secrets)
    assert secrets[0]["link-2"] == secrets[3]["link-2"] != secrets[4]["link-3"]


class PretendedDomains(PretendedWatch):
    """Leaders of children also say how their link is, that of the root that B is included."""

    def __init__(self, roles: dict[int, tuple[str, int]], links: dict[int, str]) -> None:
        super().__init__(roles)
        self.links = links

    async def statuses(self, hosts: Collection[int]) -> dict[int, dict[str, Any]]:
        found = await super().statuses(hosts)
        for node, state in self.links.items():
            found[node - 1]["domain"] = {"uplink": {"state": state}}
        found[0] |= {"domain": {"committed": 9}, "tree": {
            "domains": {"2": {"included": True, "include_rindex": 9}}}}
        return found


LED = {1: ("leader", 9), 2: ("follower", 9), 3: ("leader", 2), 4: ("leader", 3), 5: ("leader", 1)}


def in_domains(roles: dict[int, tuple[str, int]], links: dict[int, str]) -> NodeSystem:
    node = with_pretended(roles, start_timeout=0.05)
    watch: Any = PretendedDomains(roles, links)
    node._watch = watch
    return node


def test_the_leader_is_the_root_s_and_every_domain_has_a_primary() -> None:
    node = in_domains(LED, {})
    assert [(term, host.name) for term, host in asyncio.run(node.leaders(of_domains()))] == [
        (9, "n1")]
    assert [host.name for host in asyncio.run(node.primaries(of_domains()))] == ["n1", "n4", "n5"]
    unled = in_domains(LED | {1: ("follower", 9)}, {})
    assert asyncio.run(unled.leaders(of_domains())) == []
    assert [host.name for host in asyncio.run(unled.primaries(of_domains()))] == ["n4", "n5"]


def test_domains_serve_when_all_are_led_and_linked() -> None:
    asyncio.run(in_domains(LED, {4: "streaming", 5: "streaming"})._await_serving(of_domains()))


@pytest.mark.parametrize(("roles", "links", "complaint"), [
    (LED, {4: "streaming", 5: "attaching"}, "C is attaching"),
    (LED, {3: "streaming", 5: "streaming"}, "B is detached"),
    (LED | {5: ("follower", 1)}, {4: "snapshot"}, "B is snapshot, nobody leads C"),
])
def test_domains_that_do_not_come_up_are_named(
    roles: dict[int, tuple[str, int]], links: dict[int, str], complaint: str,
) -> None:
    with pytest.raises(HarnessFailure, match=rf"^not serving within .*: {complaint} \("):
        asyncio.run(in_domains(roles, links)._await_serving(of_domains()))


def test_clients_write_at_the_root_and_read_in_the_domain_of_their_pool(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(system_module, "Client",
                        lambda members, *, local_addr, **options: (sorted(members), local_addr))
    node, test = system(), of_domains()
    found: list[Any] = [asyncio.run(node.connect(test, 0, process)) for process in (0, 1, 7)]
    assert [(made._client, made._reader) for made in found] == [
        (([1, 2], "198.18.2.1"), ([5], "198.18.2.1")),
        (([1, 2], "198.18.2.2"), ([1, 2], "198.18.2.2")),
        (([1, 2], "198.18.2.2"), ([1, 2], "198.18.2.2"))]
