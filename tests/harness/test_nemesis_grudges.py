"""Grudges: who drops whose packets, as pure functions."""
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seatrial.harness.nemesis import grudge
from seatrial.harness.nemesis.grudge import pairs
from seatrial.harness.rng import Rng

FIVE = ["n1", "n2", "n3", "n4", "n5"]
names = st.integers(2, 9).map(lambda n: [f"n{i}" for i in range(1, n + 1)])
seeds = st.integers(0, 2**63 - 1)


def heard(nodes: list[str], cut: grudge.Grudge) -> dict[str, set[str]]:
    """Return whose packets each node gets, its own included."""
    return {node: set(nodes) - cut.get(node, frozenset()) for node in nodes}


def mutual(cut: grudge.Grudge) -> bool:
    return all((b, a) in pairs(cut) for a, b in pairs(cut))


def test_bisect_makes_the_first_half_the_smaller_one() -> None:
    assert grudge.bisect([]) == ([], [])
    assert grudge.bisect(["a"]) == ([], ["a"])
    assert grudge.bisect(["a", "b", "c"]) == (["a"], ["b", "c"])
    assert grudge.bisect(["a", "b", "c", "d"]) == (["a", "b"], ["c", "d"])


def test_a_complete_grudge_cuts_every_component_from_every_other() -> None:
    assert grudge.complete_grudge([["a"], ["b", "c"]]) == {
        "a": frozenset("bc"), "b": frozenset("a"), "c": frozenset("a")}


def test_halves_follow_the_order_of_the_nodes() -> None:
    assert heard(FIVE, grudge.halves(FIVE)) == {
        "n1": {"n1", "n2"}, "n2": {"n1", "n2"},
        "n3": {"n3", "n4", "n5"}, "n4": {"n3", "n4", "n5"}, "n5": {"n3", "n4", "n5"}}


@given(names, seeds)
def test_one_isolates_a_single_node_and_leaves_the_others_together(
    nodes: list[str], seed: int,
) -> None:
    cut = grudge.one(nodes, Rng(seed))
    groups = {frozenset(group) for group in heard(nodes, cut).values()}
    assert sorted(len(group) for group in groups) == [1, len(nodes) - 1]
    assert mutual(cut)


@given(names, seeds)
def test_a_random_majority_hears_itself_and_nobody_else(nodes: list[str], seed: int) -> None:
    cut = grudge.random_majority(nodes, Rng(seed))
    few, many = sorted({frozenset(group) for group in heard(nodes, cut).values()}, key=len)
    assert len(few) == len(nodes) // 2
    assert few | many == set(nodes)
    assert mutual(cut)


def test_a_random_majority_has_other_members_with_another_seed() -> None:
    assert len({tuple(sorted(pairs(grudge.random_majority(FIVE, Rng(seed)))))
                for seed in range(30)}) > 5


@given(names.filter(lambda nodes: len(nodes) >= 3), seeds)
def test_a_bridge_is_heard_by_all_and_hears_all_while_the_halves_hear_only_it(
    nodes: list[str], seed: int,
) -> None:
    cut = grudge.bridge(nodes, Rng(seed))
    hears = heard(nodes, cut)
    bridges = [node for node in nodes if hears[node] == set(nodes)]
    assert len(bridges) == 1
    assert all(bridges[0] in group for group in hears.values())
    halves = {frozenset(hears[node] - set(bridges)) for node in nodes if node not in bridges}
    assert len(halves) == 2
    assert sum(len(half) for half in halves) == len(nodes) - 1
    assert mutual(cut)


@given(names.filter(lambda nodes: len(nodes) >= 4), seeds)
def test_on_a_ring_everybody_hears_a_majority_and_no_two_the_same_one(
    nodes: list[str], seed: int,
) -> None:
    cut = grudge.majorities_ring(nodes, Rng(seed))
    hears = heard(nodes, cut)
    assert all(len(group) >= grudge.majority(len(nodes)) for group in hears.values())
    assert len({frozenset(group) for group in hears.values()}) == len(nodes)
    assert mutual(cut)


def test_on_a_ring_of_five_each_node_drops_two_others() -> None:
    assert {len(dropped) for dropped in grudge.majorities_ring(FIVE, Rng(1)).values()} == {2}


def test_three_nodes_have_no_ring_of_majorities() -> None:
    with pytest.raises(ValueError, match="at least 4 nodes, got 3"):
        grudge.majorities_ring(FIVE[:3], Rng(1))


@given(names, seeds)
def test_one_way_cuts_packets_in_one_direction_only(nodes: list[str], seed: int) -> None:
    cut = pairs(grudge.one_way(nodes, Rng(seed)))
    assert cut
    assert all((b, a) not in cut for a, b in cut)
    receivers, senders = {a for a, _ in cut}, {b for _, b in cut}
    assert not receivers & senders
    assert receivers | senders == set(nodes)
    assert len(cut) == len(receivers) * len(senders)
    assert min(len(receivers), len(senders)) <= max(1, (len(nodes) - 1) // 2)


def test_one_way_makes_some_deaf_and_others_dumb() -> None:
    receivers = {len({a for a, _ in pairs(grudge.one_way(FIVE, Rng(seed)))})
                 for seed in range(30)}
    assert receivers == {1, 2, 3, 4}


@given(names, seeds)
def test_the_same_seed_gives_the_same_grudge(nodes: list[str], seed: int) -> None:
    for shape in (grudge.one, grudge.random_majority, grudge.one_way):
        assert shape(nodes, Rng(seed)) == shape(nodes, Rng(seed))


def test_the_hardest_hit_are_the_isolated_or_the_minority_or_all() -> None:
    def hit(cut: grudge.Grudge) -> list[str]:
        return grudge.hardest_hit(FIVE, cut)

    assert hit(grudge.isolate(FIVE, ["n4"])) == ["n4"]
    assert hit(grudge.halves(FIVE)) == ["n1", "n2"]
    assert hit(grudge.majorities_ring(FIVE, Rng(3))) == FIVE
    assert len(hit(grudge.bridge(FIVE, Rng(3)))) == 4
    assert hit({}) == []


@given(names, seeds)
def test_no_node_ever_drops_its_own_packets(nodes: list[str], seed: int) -> None:
    rng = Rng(seed)
    for cut in (grudge.halves(nodes), grudge.one(nodes, rng), grudge.one_way(nodes, rng),
                grudge.random_majority(nodes, rng)):
        assert all(a != b for a, b in pairs(cut))
