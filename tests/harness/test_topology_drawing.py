"""The tree as text: what is drawn, that nothing of the tree is lost, and the running tree."""
from __future__ import annotations

import re
from pathlib import Path

import yaml
from hypothesis import given
from hypothesis import strategies as st

from seatrial.harness import topology
from seatrial.harness.topology import (
    LINK_STATES,
    Domain,
    DomainStatus,
    Lag,
    Node,
    NodeStatus,
    Policy,
    Tree,
    draw,
)
from seatrial.harness.topology.drawing import notation
from seatrial.harness.yamlfile import Document

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LAYERS = topology.load(EXAMPLES / "topologies/layers.yml")
LINE = re.compile(
    r"(?P<twig>(?:│  |   )*(?:├─ |└─ )?)(?P<name>[A-Za-z][\w.'-]*)"
    r"\((?P<nodes>\d+)(?:/(?P<children>\d+))?\) +(?P<mode>root|sync, block|sync|async)")


def test_layers_are_drawn() -> None:
    assert draw(LAYERS) == """\
A(5/2)      root         n1 to n5    policy any 1 of [B, C]
├─ B(3)     sync         n6 to n8    at most 5 s behind, else throttle; settles in 15 s
└─ C(3/2)   sync         n9 to n11   at most 5 s behind, else throttle; settles in 15 s
   ├─ D(3)  sync, block  n12 to n14
   └─ E(1)  async        n15         at most 10,000 entries or 10 s behind, else throttle; settles \
in 15 s
pool near-a -> A
pool near-b -> B
pool near-c -> C
pool near-d -> D
pool near-e -> E
lease 0.3 s, promise 0.3 s, excluded after 1.5 s of silence, clocks drift by at most 15 %"""


def test_a_running_tree_is_drawn_with_leaders_links_and_lags() -> None:
    status = {
        "A": DomainStatus(5, "n2", 7, 12_004),
        "B": DomainStatus(3, "n6", 3, 12_004, "streaming", Lag(0, 0, 0.01), 0.1, True),
        "C": DomainStatus(2, None, None, None, "detached", included=False),
        "D": DomainStatus(3, "n12", 1, 9_000, "catching-up", Lag(entries=3_004), 4.0),
    }
    assert draw(LAYERS, status).splitlines() == [
        "A(5/2)      root, policy any 1 of [B, C]  leader n2, term 7, 5 of 5 up   "
        "applied 12,004",
        "├─ B(3)     sync, included                leader n6, term 3, 3 of 3 up   "
        "streaming, applied 12,004, 0 entries, 0 bytes, 0.01 s behind",
        "└─ C(3/2)   sync, excluded                no leader, 2 of 3 up           detached",
        "   ├─ D(3)  sync, block                   leader n12, term 1, 3 of 3 up  "
        "catching-up, applied 9,000, 3,004 entries behind, parent silent for 4 s",
        "   └─ E(1)  async                         not known",
    ]


def test_nodes_that_are_no_row_are_named_one_by_one() -> None:
    assert draw(Tree((Domain("A", 1, (Node("a", 1), Node("n3", 2), Node("n2", 3, spare=True))),))) \
        == "A(3)  root  a n3 n2 (1 spare)"
    assert draw(Tree((Domain("A", 1, (Node("n08", 1), Node("n09", 2), Node("n10", 3))),))) \
        == "A(3)  root  n08 n09 n10"


def test_the_notation_is_nodes_slash_direct_children() -> None:
    assert [notation(5, 2), notation(3, 0)] == ["5/2", "3"]


# ---- what nodes say


def test_of_two_that_say_they_lead_the_newer_term_is_believed() -> None:
    said = {"n6": NodeStatus(True, 3, 10, "streaming"), "n7": NodeStatus(True, 4, 12, "snapshot"),
            "n8": None}
    found = topology.gather(LAYERS, lambda _, node: said.get(node.name))
    assert found["B"] == DomainStatus(2, "n7", 4, 12, "snapshot")
    assert found["A"] == DomainStatus(0)
    assert found["C"] == DomainStatus(0, link="detached")


def test_a_leader_of_a_child_that_tells_of_no_link_is_detached_and_a_root_has_none() -> None:
    found = topology.gather(LAYERS, lambda _, node: NodeStatus(node.name in ("n1", "n9"), 1))
    assert (found["A"].leader, found["A"].link) == ("n1", None)
    assert (found["C"].leader, found["C"].link) == ("n9", "detached")
    assert set(LINK_STATES) == {
        "detached", "attaching", "snapshot", "catching-up", "streaming", "excluded"}


def test_that_a_child_is_excluded_is_the_parent_s_word() -> None:
    def ask(domain: Domain, node: Node) -> NodeStatus:
        return NodeStatus(node is domain.nodes[0], 1, None, "streaming",
                          excluded=frozenset({2}) if domain.name == "A" else frozenset())

    assert {name: found.link for name, found in topology.gather(LAYERS, ask).items()} == {
        "A": None, "B": "excluded", "C": "streaming", "D": "streaming", "E": "streaming"}


def test_what_our_own_node_says() -> None:
    assert topology.said({"role": "follower", "term": 3}) == NodeStatus(False, 3)
    assert topology.said({"role": "leader", "term": 4, "domain": {
        "applied_rindex": 17, "age_ns": 1_500_000_000,
        "children": {2: {"state": "excluded"}, "3": {"state": "streaming"}},
        "uplink": {"state": "catching-up", "lag_entries": 9, "told_ns": 250_000_000},
    }}) == NodeStatus(True, 4, 17, "catching-up", Lag(9, None, 1.5), frozenset({2}), 0.25)
    assert topology.said({"role": "leader", "term": 4, "domain": {"uplink": None}}).link is None


# ---- nothing is lost


@st.composite
def trees(draw_: st.DrawFn) -> Tree:
    """Valid trees of any shape, in any order of the file."""
    count = draw_(st.integers(1, 8))
    names = draw_(st.permutations([f"D{i}" for i in range(count)]))
    sizes = draw_(st.lists(st.integers(1, 9), min_size=count, max_size=count))
    found: dict[str, Domain] = {}
    number = 0
    for at, name in enumerate(names):
        nodes = tuple(Node(f"n{number + i}", number + i) for i in range(1, sizes[at] + 1))
        number += sizes[at]
        if not found:
            found[name] = Domain(name, 1, nodes)
            continue
        parent = draw_(st.sampled_from(list(found)))
        may_be_sync = found[parent].mode != "async"
        mode = draw_(st.sampled_from(["sync", "async"])) if may_be_sync else "async"
        block = mode == "sync" and draw_(st.booleans())
        found[name] = Domain(name, at + 1, nodes, parent, "sync" if mode == "sync" else "async",
                             exclusion="block" if block else "exclude")
    for name, domain in found.items():
        waited = tuple(each.name for each in found.values()
                       if each.parent == name and each.mode == "sync")
        if waited and draw_(st.booleans()):
            policy = Policy("any", draw_(st.integers(1, len(waited))), waited)
            found[name] = Domain(domain.name, domain.number, domain.nodes, domain.parent,
                                 domain.mode, policy, domain.exclusion)
    return Tree(tuple(found.values()))


def as_yaml(tree: Tree) -> str:
    """Return the file that describes a tree."""
    domains = {}
    for domain in tree.domains:
        said = {"nodes": len(domain.nodes), "policy": str(domain.policy)}
        if domain.parent is not None:
            said |= {"parent": domain.parent, "mode": domain.mode}
        if domain.exclusion == "block":
            said["exclusion"] = "block"
        domains[domain.name] = said
    return yaml.safe_dump({"domains": domains}, sort_keys=False)


def read_back(drawing: str) -> list[tuple[str, int, str | None, str, int]]:
    """Return (name, nodes, parent, mode, children) of each line of a drawing."""
    above: list[str] = []
    found = []
    for line in drawing.splitlines():
        if line.startswith("lease"):
            break
        match = LINE.match(line)
        assert match is not None, line
        depth = len(match["twig"]) // 3
        above[depth:] = [match["name"]]
        found.append((match["name"], int(match["nodes"]), above[depth - 1] if depth else None,
                      match["mode"], int(match["children"] or 0)))
    return found


@given(trees())
def test_a_tree_is_read_back_from_its_drawing(tree: Tree) -> None:
    assert read_back(draw(tree)) == [
        (domain.name, len(domain.nodes), domain.parent,
         "root" if domain.mode is None else
         f"{domain.mode}, block" if domain.exclusion == "block" else domain.mode,
         len(tree.children(domain.name))) for domain in tree.walk()]


@given(trees())
def test_a_tree_is_read_back_from_its_file(tree: Tree) -> None:
    assert topology.tree_of(Document.parse("t.yml", as_yaml(tree))) == tree


@given(trees())
def test_a_drawing_is_a_line_a_domain_and_its_columns_begin_together(tree: Tree) -> None:
    lines = draw(tree, {}).splitlines()
    assert len(lines) == len(tree.domains)
    assert len({line.index("  not known") for line in lines}) == 1
