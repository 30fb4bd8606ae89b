"""The tree of domains: what can't be, changes, who gates, and bytes."""
from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seatrial.core.tree import ALL, NONE, ON_LAG, BadTree, Domain, Tree

MS = 1_000_000


def nodes(*ids: int) -> tuple[tuple[int, str], ...]:
    return tuple((node, f"10.0.0.{node}:7000") for node in ids)


A = Domain("a", nodes=nodes(1, 2, 3))
B = Domain("b", parent=1, sync=True, included=True, include_rindex=5, nodes=nodes(4, 5))
C = Domain("c", parent=2, sync=True, included=True, include_rindex=9, nodes=nodes(6))
D = Domain("d", parent=1, nodes=nodes(7), max_lag_entries=100, max_lag_ns=MS, on_lag="throttle")
FOUR = Tree({1: A, 2: B, 3: C, 4: D}, 1)


@st.composite
def domains(draw: st.DrawFn, id: int, parents: list[int]) -> Domain:
    """Draw one domain that can stand in a tree."""
    root = not parents
    sync = not root and draw(st.booleans())
    included = sync and draw(st.booleans())
    lag = draw(st.sampled_from(ON_LAG))
    return Domain(
        f"d{id}", 0 if root else draw(st.sampled_from(parents)), sync, included,
        draw(st.integers(0, 1 << 40)) if included else 0, not root and draw(st.booleans()),
        draw(st.sampled_from([ALL, NONE])), draw(st.integers(409 * MS, 1 << 50)),
        draw(st.integers(1 if lag != "none" else 0, 1 << 40)), draw(st.integers(0, 1 << 40)),
        lag, tuple((id * 100 + i, draw(st.sampled_from(["", "h:1", "[fd00::é]:7"])))
                   for i in range(draw(st.integers(1, 3)))),
        draw(st.integers(0, 1 << 40)), sync and not included and draw(st.booleans()),
        not root and draw(st.booleans()))


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """Draw a tree of up to six domains, the root's id any of them."""
    ids = draw(st.lists(st.integers(1, 600), min_size=1, max_size=6, unique=True))
    found: dict[int, Domain] = {}
    for id in ids:
        found[id] = draw(domains(id, list(found)))
    return Tree(found, ids[0], draw(st.integers(1, (1 << 48) - 1)),
                draw(st.integers(1, 300 * MS)))


def gating(tree: Tree) -> set[int]:
    """Say who gates, slowly, from the definition."""
    def gates(id: int) -> bool:
        domain = tree.domains[id]
        return (domain.sync and domain.included and tree.domains[domain.parent].any_k == ALL
                and (domain.parent == tree.root or gates(domain.parent)))

    return {id for id in tree.domains if id != tree.root and gates(id)}


@given(trees())
def test_what_is_encoded_is_read_back(tree: Tree) -> None:
    again = Tree.decode(tree.encode())
    assert again == tree
    assert hash(again) == hash(tree)
    assert again.encode() == tree.encode()
    assert all(isinstance(again.domains[id], Domain) for id in again.domains)


@given(trees(), st.data())
def test_altered_bytes_are_another_tree_or_refused(tree: Tree, data: st.DataObject) -> None:
    good = tree.encode()
    at = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[at] ^= data.draw(st.integers(1, 255))
    for payload in (bytes(bad), good[:at], good + bytes(bad[at:])):
        try:
            again = Tree.decode(payload)
        except BadTree:
            continue
        assert again != tree
        assert again.encode() == payload, "two encodings of one tree"


@given(st.binary(max_size=400) | st.builds(
    lambda head, rest: b"\1\0" + head + rest, st.binary(min_size=22, max_size=22),
    st.binary(max_size=300)))
def test_any_bytes_are_a_tree_or_refused(payload: bytes) -> None:
    try:
        tree = Tree.decode(payload)
    except BadTree:
        return
    assert tree.encode() == payload


@given(trees())
def test_a_domain_gates_when_its_whole_way_to_the_root_is_sync_and_included(tree: Tree) -> None:
    assert tree.gating() == gating(tree)


def test_those_that_gate_change_with_any_flag_on_the_way() -> None:
    assert FOUR.gating() == {2, 3}
    assert FOUR.exclude(3).gating() == {2}
    assert FOUR.exclude(2).gating() == set()
    assert FOUR.exclude(2).domains[3].included
    assert FOUR.exclude(2).readmit(2, 20).gating() == {2, 3}
    assert FOUR.mode(2, False).gating() == set()
    assert FOUR.policy(1, 1).gating() == set()
    assert FOUR.policy(2, NONE).gating() == {2}
    assert FOUR.reparent(3, 1).gating() == {2}


def test_a_domain_that_becomes_sync_or_moves_starts_excluded() -> None:
    assert FOUR.mode(4, True).domains[4] == D._replace(sync=True)
    assert FOUR.reparent(3, 1).domains[3] == C._replace(
        parent=1, included=False, include_rindex=0)
    grown = FOUR.add(9, C._replace(name="e", nodes=nodes(9)))
    assert (grown.domains[9].sync, grown.domains[9].included) == (True, False)
    included = FOUR.mode(4, True).readmit(4, 77)
    assert included.domains[4] == D._replace(sync=True, included=True, include_rindex=77)
    assert included.mode(4, False) == FOUR
    assert included.exclude(4) == FOUR.mode(4, True)


def test_what_is_done_already_is_no_error() -> None:
    assert FOUR.mode(2, True) == FOUR
    assert FOUR.reparent(3, 2) == FOUR
    assert FOUR.block(2, False) == FOUR
    assert FOUR.policy(1, ALL) == FOUR
    assert FOUR.exclude(2).exclude(2) == FOUR.exclude(2)
    assert FOUR.exclude(2, held=True).exclude(2) == FOUR.exclude(2, held=True)
    assert FOUR.exclude(2, held=True).release(2) == FOUR.exclude(2) == FOUR.exclude(2).release(2)
    assert FOUR.exclude(2, held=True).mode(2, False).mode(2, True) == FOUR.exclude(2)
    assert FOUR.exclude(3, held=True).reparent(3, 1).domains[3].held
    assert FOUR.relocate(2, reversed(B.nodes)) == FOUR


def test_the_other_changes_change_one_domain() -> None:
    assert FOUR.block(2, True).domains == {**FOUR.domains, 2: B._replace(block=True)}
    assert FOUR.remove(4).domains == {1: A, 2: B, 3: C}
    assert FOUR.relocate(3, nodes(8)).domains[3].nodes == nodes(8)
    assert (FOUR.epoch, FOUR.remove(4).lease_ns) == (1, 300 * MS)


def test_a_tree_can_be_asked_for_paths_children_and_names() -> None:
    assert FOUR.children(1) == [2, 4]
    assert FOUR.path(3) == [3, 2, 1]
    assert FOUR.called("d") == 4
    with pytest.raises(TypeError):
        FOUR.domains[9] = A  # type: ignore[index]


def line(make: Callable[[], object]) -> str:
    """Return the one line of a refusal."""
    with pytest.raises(BadTree) as refusal:
        make()
    text = str(refusal.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(("change", "text"), [
    (lambda: FOUR.add(2, D), "domain 2 (b) is in the tree already"),
    (lambda: FOUR.add(5, D), "domains 4 and 5 are both called d"),
    (lambda: FOUR.add(5, D._replace(name="e")),
     "node 7 is in domain 4 (d) and domain 5 (e): a node is in one domain"),
    (lambda: FOUR.add(5, Domain("e", parent=6)), "domain 5 (e): its parent 6 is not in the tree"),
    (lambda: FOUR.add(5, Domain("e", parent=5)),
     "domain 5 (e) is its own ancestor: 5 under 5"),
    (lambda: FOUR.add(5, Domain("e")),
     "domain 1 (a) and domain 5 (e) have no parent: there is one root"),
    (lambda: FOUR.add(70_000, Domain("e", parent=1)), "domain id 70000: expected 1 to 65535"),
    (lambda: FOUR.remove(9), "there is no domain 9: 1, 2, 3, 4"),
    (lambda: FOUR.remove(1), "domain 1 (a) is the root: it can't be removed"),
    (lambda: FOUR.remove(2), "domain 2 (b) can't be removed: it has the children domain 3 (c)"),
    (lambda: FOUR.mode(1, True), "domain 1 (a) is the root: it has no mode"),
    (lambda: FOUR.policy(1, 2),
     "domain 1 (a): policy any 2 could never be met by 1 sync children"),
    (lambda: FOUR.policy(1, 100), "domain 1 (a): policy any 100: expected 1 to 63"),
    (lambda: FOUR.policy(2, 1).mode(3, False),
     "domain 2 (b): policy any 1 could never be met by 0 sync children"),
    (lambda: FOUR.policy(8, 1), "there is no domain 8: 1, 2, 3, 4"),
    (lambda: FOUR.block(1, True), "domain 1 (a) is the root: it is never excluded"),
    (lambda: FOUR.reparent(1, 2), "domain 1 (a) is the root: it has no parent"),
    (lambda: FOUR.reparent(2, 3),
     "domain 3 (c) can't be the parent of domain 2 (b): it is below it"),
    (lambda: FOUR.reparent(2, 2),
     "domain 2 (b) can't be the parent of domain 2 (b): it is the same"),
    (lambda: FOUR.reparent(2, 7), "there is no domain 7: 1, 2, 3, 4"),
    (lambda: FOUR.relocate(2, []),
     "domain 3 (c) could never be reached: its parent domain 2 (b) has no nodes"),
    (lambda: FOUR.relocate(2, [(1, "x:1")]),
     "node 1 is in domain 1 (a) and domain 2 (b): a node is in one domain"),
    (lambda: FOUR.exclude(4), "domain 4 (d) is async: it never counts"),
    (lambda: FOUR.exclude(1), "domain 1 (a) is the root: it is never excluded nor included"),
    (lambda: FOUR.readmit(2, 7), "domain 2 (b) is included already, since rindex 5"),
    (lambda: FOUR.exclude(2, held=True).readmit(2, 7),
     "domain 2 (b) was excluded by an operator, who must release it"),
    (lambda: FOUR.release(4), "domain 4 (d) is async: it never counts"),
    (lambda: FOUR.readmit(4, 7), "domain 4 (d) is async: it never counts"),
    (lambda: FOUR.called("x"), "there is no domain called 'x': a, b, c, d"),
])
def test_a_change_that_may_not_be_made_says_why(
    change: Callable[[], object], text: str
) -> None:
    assert line(change) == text


def one(**fields: object) -> Callable[[], object]:
    return lambda: Tree({1: A, 2: B._replace(**fields)}, 1)


@pytest.mark.parametrize(("make", "text"), [
    (lambda: Tree({}, 1), "0 domains: expected 1 to 64"),
    (lambda: Tree({i: Domain(f"d{i}", parent=int(i > 1)) for i in range(1, 66)}, 1),
     "65 domains: expected 1 to 64"),
    (lambda: Tree({1: A}, 1, epoch=0), "epoch 0: expected 1 to 281474976710655"),
    (lambda: Tree({1: A}, 1, lease_ns=0), "a lease of 0 ns: expected 1 to 4611686018427387903"),
    (lambda: Tree({1: A}, 2), "the root is 2, but domain 1 (a) has no parent"),
    (lambda: Tree({2: B, 3: C._replace(parent=2), 1: A._replace(parent=3)}, 1),
     "every domain has a parent: there is no root"),
    (lambda: Tree({1: A, 2: B._replace(parent=3), 3: C}, 1),
     "domain 2 (b) is its own ancestor: 2 under 3 under 2"),
    (lambda: Tree({1: A._replace(sync=True)}, 1),
     "domain 1 (a) is the root: mode and block are those of a link to a parent"),
    (lambda: Tree({1: A, 2: B, 3: C, 4: D._replace(on_lag="sink")}, 1),
     "domain 4 (d): on_lag 'sink': expected none, throttle, exclude, stall"),
    (one(on_lag="stall"),
     "domain 2 (b): on_lag stall needs a lag bound, in entries, bytes or time"),
    (one(held=True), "domain 2 (b) is held, but not a sync domain that is excluded"),
    (one(max_lag_bytes=1 << 48),
     "domain 2 (b): max_lag_bytes 281474976710656: expected 0 to 281474976710655"),
    (one(name=""), "domain 2: its name '': expected 1 to 32 of A-Z, a-z, 0-9, and, but not "
                   "first, _.'-"),
    (one(name="-b"), "domain 2: its name '-b': expected 1 to 32 of A-Z, a-z, 0-9, and, but not "
                     "first, _.'-"),
    (one(sync=False), "domain 2 (b) is included, but not sync"),
    (one(included=False), "domain 2 (b) is not included, but at rindex 5"),
    (one(exclude_after_ns=345 * MS),
     "domain 2 (b): excluded after 345000000 ns: expected more than a lease, by clocks that differ "
     "by 36 %, 408000000 ns"),
    (one(max_lag_ns=-1), "domain 2 (b): max_lag_ns -1: expected 0 to 4611686018427387903"),
    (one(any_k=64), "domain 2 (b): policy any 64: expected 1 to 63"),
    (one(nodes=nodes(4, 4)), "domain 2 (b): node 4 is named twice"),
    (one(nodes=((0, "x:1"),)), "domain 2 (b): node id 0: expected 1 to 65535"),
    (one(nodes=((9, "x" * 256),)), "domain 2 (b): node 9: an address of 256 bytes: at most 255"),
    (one(nodes=tuple((n, "") for n in range(10, 43))), "domain 2 (b): 33 nodes: at most 32"),
])
def test_a_tree_that_can_not_be_says_why(make: Callable[[], object], text: str) -> None:
    assert line(make) == text


def test_a_silent_domain_may_be_blocked_on_for_ever() -> None:
    assert Tree({1: A, 2: B._replace(block=True, exclude_after_ns=0)}, 1).gating() == {2}


def test_a_tree_of_the_most_domains_is_read_back() -> None:
    tree = Tree({1: A} | {i: Domain(f"d{i}", parent=1 if i < 9 else i - 7, sync=True,
                                    included=True, nodes=((i * 10, "h:1"),))
                          for i in range(2, 65)}, 1)
    assert Tree.decode(tree.encode()) == tree
    assert len(tree.gating()) == 63


def test_a_tree_of_too_many_bytes_is_refused() -> None:
    huge = {i: Domain(f"d{i}", parent=int(i > 1), nodes=tuple(
        (i * 100 + k, "x" * 255) for k in range(32))) for i in range(1, 10)}
    assert "bytes: at most 65536" in line(Tree(huge, 1).encode)


HEADER = bytes([1, 0, 1, 0, 7, 0, 0, 0]) + (1).to_bytes(8, "little") * 2
ROOT = bytes([7, 0, 0, 0, 0, 0, 0, 1, 1, 0]) + bytes(38) + b"r" + bytes([9, 0, 1, 0, 65])


@pytest.mark.parametrize(("at", "value", "what"), [
    (0, 2, "another version"),
    (1, 1, "flags of the tree"),
    (2, 0, "no domains"),
    (2, 2, "cut off: a second domain"),
    (2, 65, "too many domains"),
    (4, 8, "a root that is not there"),
    (6, 1, "reserved"),
    (8, 0, "no epoch"),
    (16, 0, "no lease"),
    (24, 0, "id 0 and no root"),
    (26, 7, "a root with a parent"),
    (28, 8, "held, but not sync"),
    (28, 32, "flags"),
    (28, 2, "included, but not sync"),
    (29, 64, "policy"),
    (30, 4, "on lag"),
    (31, 0, "no name"),
    (31, 33, "a long name"),
    (32, 2, "cut off: a second node"),
    (32, 33, "too many nodes"),
    (72, 200, "a name that is not ASCII"),
    (73, 0, "node 0"),
    (75, 2, "cut off within an address"),
    (77, 200, "an address that is not UTF-8"),
])
def test_bytes_that_are_no_tree_are_refused(at: int, value: int, what: str) -> None:
    good = HEADER + ROOT
    assert Tree.decode(good).domains == {7: Domain("r", exclude_after_ns=0, nodes=((9, "A"),))}
    bad = bytearray(good)
    bad[at] = value
    with pytest.raises(BadTree):
        Tree.decode(bytes(bad))


@pytest.mark.parametrize("parents", [(0, 0), (2, 1), (0, 2), (0, 3)])
def test_bytes_with_two_roots_cycles_or_unknown_parents_are_refused(
    parents: tuple[int, int]
) -> None:
    def domain(id: int, parent: int) -> bytes:
        return bytes([id, 0, parent, 0, 0, 0, 0, 1, 1, 0]) + bytes(38) + (
            bytes([96 + id, id, 0, 0, 0]))

    header = bytes([1, 0, 2, 0, 1]) + HEADER[5:]
    good = header + domain(1, 0) + domain(2, 1)
    assert Tree.decode(good).path(2) == [2, 1]
    with pytest.raises(BadTree, match="are no tree of domains"):
        Tree.decode(header + domain(1, parents[0]) + domain(2, parents[1]))
