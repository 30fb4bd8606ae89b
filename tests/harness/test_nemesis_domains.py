"""Faults of domains: whom they aim at, and where they are impossible."""
from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seatrial.harness.nemesis import domains, grudge, pools
from seatrial.harness.nemesis.catalogue import HOST_KINDS, MACHINES_ONLY
from seatrial.harness.nemesis.fault import Fault, FaultError
from seatrial.harness.nemesis.grudge import pairs
from seatrial.harness.nemesis.heal import Healed
from seatrial.harness.nemesis.scene import Scene
from seatrial.harness.rng import Rng
from seatrial.workloads.systems.domains import stretched

from .sim_stage import tree_of

NAMES = tuple(kind.name for kind in domains.KINDS)
A, B, C = ["n1", "n2", "n3"], ["n4", "n5"], ["n6"]
seeds = st.integers(0, 2**63 - 1)


class Still(Scene):
    """A scene in which nothing happens: A of three nodes, B of two under it, C of one under B."""

    def __init__(self, leaders: Iterable[str] = ("n5", "n2", "n6"),
                 sizes: Iterable[int] = (3, 2, 1)) -> None:
        tree = tree_of(list(sizes))
        nodes = [SimpleNamespace(name=node.name) for node in tree.nodes]

        async def primaries(test: Any) -> list[Any]:
            return [node for name in leaders for node in nodes if node.name == name]

        test: Any = SimpleNamespace(
            nodes=nodes, system=SimpleNamespace(primaries=primaries),
            pools={"east": ("10.0.0.1", None), "west": ("10.0.0.2", None)},
            spec=SimpleNamespace(topology=SimpleNamespace(tree=lambda: tree)))
        super().__init__(test, ("one",), prove_s=0.0)

    async def open(self, names: Iterable[str]) -> None:
        raise NotImplementedError

    async def calm(self) -> None:
        raise NotImplementedError

    async def close(self) -> list[Healed]:
        raise NotImplementedError


def aimed(name: str, seed: int, scene: Scene | None = None) -> Fault:
    fault = Fault("0", name, "omission")
    asyncio.run(HOST_KINDS[name].aim(scene or Still(), fault, Rng(seed)))
    return fault


def sides(fault: Fault) -> set[frozenset[str]]:
    """Return the two groups that a cut keeps apart, which it must do both ways."""
    found = pairs(fault.grudge)
    assert found == {(b, a) for a, b in found}
    return {frozenset(dropped) for dropped in fault.grudge.values()}


@given(st.sets(st.sampled_from("abcd"), min_size=1), st.sets(st.sampled_from("wxyz"), min_size=1))
def test_a_cut_between_two_groups_is_mutual_and_cuts_nothing_else(
    some: set[str], others: set[str],
) -> None:
    assert pairs(grudge.between(some, others)) == {
        pair for a in some for b in others for pair in ((a, b), (b, a))}


@given(seeds)
def test_a_domain_cut_lies_between_a_parent_and_its_child(seed: int) -> None:
    fault = aimed("domain-cut", seed)
    links = {tuple(B): (A, B), tuple(C): (B, C)}
    assert sides(fault) == {frozenset(side) for side in links[tuple(fault.targets)]}


@given(seeds)
def test_a_link_cut_lies_between_two_leaders_alone(seed: int) -> None:
    fault = aimed("link-cut", seed)
    assert fault.targets in (["n2", "n5"], ["n5", "n6"])
    assert sides(fault) == {frozenset([name]) for name in fault.targets}


@given(seeds)
def test_an_island_hears_itself_and_nobody_else(seed: int) -> None:
    fault = aimed("domain-island", seed)
    assert fault.targets in (A, B, C)
    assert sides(fault) == {frozenset(fault.targets), frozenset([*A, *B, *C]) - {*fault.targets}}


@given(seeds)
def test_a_whole_domain_a_child_s_leader_or_two_leaders_are_killed(seed: int) -> None:
    assert aimed("domain-kill", seed).targets in (A, B, C)
    assert aimed("child-leader-kill", seed).targets in (["n5"], ["n6"])
    assert aimed("both-leaders-kill", seed).targets in (["n2", "n5"], ["n5", "n6"])


@pytest.mark.parametrize("name", NAMES)
def test_every_link_and_domain_has_its_turn(name: str) -> None:
    aims = {tuple(aimed(name, seed).targets) for seed in range(40)}
    assert len(aims) == (2 if "cut" in name or "leader" in name else 3)


@pytest.mark.parametrize("name", NAMES)
def test_without_a_child_there_is_nothing_to_hit(name: str) -> None:
    alone = Still(sizes=[5])
    why = "needs a domain with a parent (topology.domains)"
    assert domains.no_children(alone) == why
    assert HOST_KINDS[name].impossible(alone) == why        # before any agent is asked
    with pytest.raises(FaultError, match="needs a domain with a parent"):
        aimed(name, 1, alone)


@pytest.mark.parametrize("name", ["link-cut", "both-leaders-kill", "child-leader-kill"])
def test_a_domain_that_nobody_leads_is_named(name: str) -> None:
    with pytest.raises(FaultError, match="nobody leads domain B"):
        aimed(name, 1, Still(leaders=["n1"], sizes=[2, 2]))


def test_of_two_that_say_they_lead_a_domain_the_newer_is_hit() -> None:
    scene = Still(leaders=["n4", "n1", "n5"], sizes=[3, 2])
    assert aimed("both-leaders-kill", 1, scene).targets == ["n1", "n4"]


def test_who_is_hit_already_is_not_hit_again() -> None:
    scene = Still(sizes=[3, 2])
    scene.active["1"] = Fault("1", "pause", "timing", targets=["n5"])
    with pytest.raises(FaultError, match=r"^not all can be hit, n5 already is$"):
        aimed("both-leaders-kill", 1, scene)
    with pytest.raises(FaultError, match=r"^not all can be hit, n5 already is$"):
        aimed("child-leader-kill", 1, scene)


# ---- pools


def test_a_pool_is_cut_off_once_at_a_time() -> None:
    scene = Still()
    assert {aimed("pool-cut", seed, scene).targets[0] for seed in range(20)} == {
        "pool:east", "pool:west"}
    scene.active["1"] = Fault("1", "pool-cut", "omission", targets=["pool:east"])
    assert aimed("pool-cut", 1, scene).targets == ["pool:west"]
    scene.active["2"] = Fault("2", "pool-cut", "omission", targets=["pool:west"])
    with pytest.raises(FaultError, match="every pool of clients is cut off already"):
        aimed("pool-cut", 1, scene)


def test_a_world_without_pools_says_so() -> None:
    scene = Still()
    scene.test.pools.clear()                                # type: ignore[attr-defined]
    assert pools.no_pools(scene) == "this world has no client pools"


@given(seeds)
def test_power_is_lost_by_all_hosts_of_one_domain(seed: int) -> None:
    assert aimed("domain-power-loss", seed).targets in (A, B, C)


def test_where_hosts_can_not_be_switched_off_a_domain_can_not_either() -> None:
    scene = Still()
    scene.test.world = SimpleNamespace(name="local")
    kind = HOST_KINDS["domain-power-loss"]
    assert "can't be switched off" in str(kind.impossible(scene))
    assert "domain-power-loss" in MACHINES_ONLY


def test_timers_of_a_tree_are_stretched_on_slow_hosts_and_stay_in_order() -> None:
    tree = tree_of([3, 3])
    slow = stretched(tree, 5.0)
    assert slow.timers.lease == 5 * tree.timers.lease
    assert slow.timers.exclude_after == 5 * tree.timers.exclude_after
    assert slow.domains == tree.domains
