"""Trees of domains: what is accepted, what is refused in which words, what nodes are told."""
from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from seatrial.core import tree as core
from seatrial.harness import topology
from seatrial.harness.cli import main
from seatrial.harness.errors import BadInput
from seatrial.harness.shrink.cuts import only_nodes
from seatrial.harness.shrink.save import as_file
from seatrial.harness.testfile import Spec, validated
from seatrial.harness.topology import Tree
from seatrial.harness.topology.runnable import elsewhere, missing
from seatrial.harness.yamlfile import Document

LAYERS = Path(__file__).resolve().parents[2] / "examples/topologies/layers.yml"
TEST = "name: t\nworkload: {name: register}\n"

TWO = """
domains:
  A: {nodes: 3}
  B: {nodes: 3, parent: A, mode: sync}
"""


def tree(text: str) -> Tree:
    return topology.tree_of(Document.parse("t.yml", text))


def spec(text: str, name: str = "t.yml") -> Spec:
    return validated(Document.parse(name, text))[1]


def complaint(text: str) -> str:
    with pytest.raises(BadInput) as caught:
        tree(text)
    message = str(caught.value)
    assert "\n" not in message
    return message


def of_domains(*lines: str, more: str = "") -> str:
    return "domains:\n" + "".join(f"  {line}\n" for line in lines) + more


def test_layers_of_five_domains_are_read() -> None:
    layers = topology.load(LAYERS)
    assert [domain.name for domain in layers.walk()] == ["A", "B", "C", "D", "E"]
    assert [len(domain.nodes) for domain in layers.walk()] == [5, 3, 3, 3, 1]
    assert (layers.root.name, layers.levels, len(layers.nodes)) == ("A", 3, 15)
    assert [child.name for child in layers.children("C")] == ["D", "E"]
    assert [domain.name for domain in layers.path("D")] == ["D", "C", "A"]
    assert [name for name in "ABCDE" if layers.is_sync(name)] == ["A", "B", "C", "D"]
    assert str(layers.root.policy) == "any 1 of [B, C]"
    assert [domain.name for domain in layers.domains_on("n12")] == ["D"]


def test_hosts_are_numbered_through_all_domains_and_spares_are_the_last_of_each() -> None:
    found = tree(of_domains("A: {nodes: 3, spares: 1}", "B: {nodes: 2, parent: A, mode: async}"))
    assert [(node.name, node.number, node.spare) for node in found.nodes] == [
        ("n1", 1, False), ("n2", 2, False), ("n3", 3, True), ("n4", 4, False), ("n5", 5, False)]
    assert [node.name for node in found.root.members] == ["n1", "n2"]


def test_ids_are_given_or_the_lowest_that_are_free() -> None:
    found = tree(of_domains("A: {nodes: 1}", "B: {nodes: 1, id: 1, parent: A, mode: sync}",
                            "C: {nodes: 1, parent: A, mode: sync}"))
    assert {domain.name: domain.number for domain in found.domains} == {"A": 2, "B": 1, "C": 3}


def test_hosts_can_be_shared_where_that_is_said() -> None:
    found = tree(of_domains("A: {nodes: [a, b]}", "B: {nodes: [b, c], parent: A, mode: async}",
                            more="shared_hosts: true\n"))
    assert [(node.name, node.number) for node in found.nodes] == [
        ("a", 1), ("b", 2), ("b", 3), ("c", 4)]
    assert [domain.name for domain in found.domains_on("b")] == ["A", "B"]


@pytest.mark.parametrize(("given", "said"), [
    ("all", "all"), ("none", "none"), ('"any 1 of [B]"', "any 1 of [B]"),
    ('" any  1 of [ B ] "', "any 1 of [B]"),
])
def test_policies(given: str, said: str) -> None:
    found = tree(of_domains(f"A: {{nodes: 1, policy: {given}}}",
                            "B: {nodes: 1, parent: A, mode: sync}"))
    assert str(found.root.policy) == said


A, B, C = "A: {nodes: 1}", "B: {nodes: 1, parent: A, mode: sync}", \
    "C: {nodes: 1, parent: B, mode: sync}"


WRONG = [
    # the shape of the tree
    ([A, "B: {nodes: 1, parent: X, mode: sync}"],
     "3: domains.B.parent: unknown domain 'X'; (known: A, B)"),
    ([A, "Bay: {nodes: 1, parent: A, mode: sync}", "C: {nodes: 1, parent: Bai, mode: sync}"],
     "4: domains.C.parent: unknown domain 'Bai'; did you mean 'Bay'? (known: A, Bay, C)"),
    ([A, "B: {nodes: 1, parent: B, mode: sync}"],
     "3: domains.B.parent: a domain can't be its own parent"),
    ([A, "B: {nodes: 1, parent: D, mode: sync}", C, "D: {nodes: 1, parent: C, mode: sync}"],
     "3: domains.B.parent: a cycle: B -> D -> C -> B"),
    (["A: {nodes: 1, parent: B, mode: sync}", B],
     "2: domains.A.parent: a cycle: A -> B -> A, so there is no root"),
    ([A, B, "C: {nodes: 1}"],
     "4: domains.C.parent: missing, and A has none either: expected one root"),
    # ids and hosts
    (["A: {nodes: 1, id: 7}", "B: {nodes: 1, id: 7, parent: A, mode: sync}"],
     "3: domains.B.id: 7 is the id of A already"),
    ([A, A], "3: key 'A' is given twice"),
    (["A: {nodes: [a, b]}", "B: {nodes: [b], parent: A, mode: sync}"],
     "3: domains.B.nodes: b is in A already; expected a host of its own, or shared_hosts: true"),
    (["A: {nodes: [a, a]}"], "2: domains.A.nodes: a is named twice"),
    (["A: {nodes: [a]}", B], "3: domains.B.nodes: expected nodes to be named as those of A are"),
    ([A, "B: {nodes: [a], parent: A, mode: sync}"],
     "3: domains.B.nodes: expected nodes to be counted as those of A are"),
    (["A: {nodes: 2, spares: 2}"], "2: domains.A.spares: spares is 2 of 2 nodes: expected fewer, "
     "so that there is a member"),
    (["A: {nodes: 0}"], "2: domains.A.nodes: expected 1 to 9 nodes, got 0"),
    (["A: {nodes: []}"], "2: domains.A.nodes: expected 1 to 9 nodes, got 0"),
    (["A: {nodes: true}"], "2: domains.A.nodes: expected a number of nodes, a list of hosts, or "
     "a mapping of hosts to HOST:PORT, got True"),
    (["A: {nodes: [7]}"], "2: domains.A.nodes: expected names of hosts, of lower-case letters, "
     "digits, '.' and '-', got 7"),
    (["A: {nodes: {a: here}}"], "2: domains.A.nodes: a: expected HOST:PORT or [ADDRESS]:PORT, "
     "got 'here'"),
    (['A: {nodes: {a: "[::z]:1"}}'], "2: domains.A.nodes: a: expected HOST:PORT or "
     "[ADDRESS]:PORT, got '[::z]:1'"),
    (["A: {}"], "2: domains.A.nodes: missing; this key is required"),
    # links
    ([A, "B: {nodes: 1, parent: A}"],
     "3: domains.B.mode: missing; expected 'sync' or 'async', as it has a parent"),
    (["A: {nodes: 1, mode: sync}"], "2: domains.A.mode: A is the root: only a child has one"),
    (["A: {nodes: 1, key: a.key}"], "2: domains.A.key: A is the root: only a child has one"),
    (["A: {nodes: 1, max_lag: {time: 1}}"],
     "2: domains.A.max_lag: A is the root: only a child has one"),
    ([A, "B: {nodes: 1, parent: A, mode: async, exclusion: block}"],
     "3: domains.B.exclusion: only with mode: sync: nobody waits for an async domain"),
    ([A, "B: {nodes: 1, parent: A, mode: async}", C],
     "4: domains.C.mode: sync can't be reached: B above it is async, so no write waits for C; "
     "expected C to be async, or B sync"),
    ([A, "B: {nodes: 1, parent: A, mode: async}", "C: {nodes: 1, parent: D, mode: sync}",
      "D: {nodes: 1, parent: B, mode: sync}"],
     "4: domains.C.mode: sync can't be reached: B above it is async, so no write waits for C; "
     "expected C to be async, or B sync"),
    ([A, "B: {nodes: 1, parent: A, mode: sync, key: k}",
      "C: {nodes: 1, parent: A, mode: sync, key: k}"],
     "4: domains.C.key: k is the key of B already: expected a file of its own"),
    ([A, "B: {nodes: 1, parent: A, mode: sync, promotion: automatic}"],
     "3: domains.B.promotion: automatic promotion and automatic exclusion of one domain need an "
     "observer, which there is not yet: expected promotion: manual, or exclusion: block"),
    # lag
    ([A, "B: {nodes: 1, parent: A, mode: sync, max_lag: {then: stall}}"],
     "3: domains.B.max_lag: expected entries, bytes or time"),
    ([A, "B: {nodes: 1, parent: A, mode: async, max_lag: {time: 1, then: exclude}}"],
     "3: domains.B.max_lag.then: an async domain can't be excluded, nobody waits for it: "
     "expected 'throttle' or 'stall'"),
    ([A, "B: {nodes: 1, parent: A, mode: sync, exclusion: block, "
      "max_lag: {time: 1, then: exclude}}"],
     "3: domains.B.max_lag.then: exclusion is block: expected 'throttle' or 'stall'"),
    ([A, "B: {nodes: 1, parent: A, mode: sync, max_lag: {entries: 0}}"],
     "3: domains.B.max_lag.entries: expected at least 1, got 0"),
    ([A, "B: {nodes: 1, parent: A, mode: async, readmit_throttle: true}"],
     "3: domains.B.readmit_throttle: only where a domain can be excluded: expected mode: sync, "
     "and not exclusion: block"),
    (["A: {nodes: 1, readmit_throttle: true}"],
     "2: domains.A.readmit_throttle: A is the root: only a child has one"),
    # policies
    (["A: {nodes: 1, policy: some}", B],
     "2: domains.A.policy: expected all, none, or any K of [DOMAIN, ...], got 'some'"),
    (['A: {nodes: 1, policy: "any 2 of [B]"}', B],
     "2: domains.A.policy: any 2 of [B]: has 1 to choose from, so expected any 1 to any 1"),
    (['A: {nodes: 1, policy: "any 0 of [B]"}', B],
     "2: domains.A.policy: any 0 of [B]: has 1 to choose from, so expected any 1 to any 1"),
    (['A: {nodes: 1, policy: "any 1 of []"}'],
     "2: domains.A.policy: any 1 of []: has 0 to choose from, so expected any 1 to any 1"),
    (['A: {nodes: 1, policy: "any 1 of [X]"}', B],
     "2: domains.A.policy: unknown domain 'X'; (known: B)"),
    (['A: {nodes: 1, policy: "any 1 of [C]"}', B, C],
     "2: domains.A.policy: C is no child of A; (known: B)"),
    (['A: {nodes: 1, policy: "any 1 of [B, B]"}', B],
     "2: domains.A.policy: B is named twice"),
    (['A: {nodes: 1, policy: "any 1 of [B]"}', "B: {nodes: 1, parent: A, mode: async}"],
     "2: domains.A.policy: B is async: expected sync children, which writes can wait for"),
    (['A: {nodes: 1, policy: "any 1 of [B]"}', B, "C: {nodes: 1, parent: A, mode: sync}"],
     "2: domains.A.policy: C is sync, but no write would ever wait for it: expected it in the "
     "list, or async"),
    # keys and types
    (["A: {nodes: 1, polcy: all}"], "2: domains.A.polcy: unknown key; did you mean 'policy'? "
     "(known: exclusion, id, key, max_lag, mode, nodes, parent, policy, promotion, "
     "readmit_throttle, spares)"),
    ([A, "B: {nodes: 1, parent: A, mode: sync, max_lag: {entrys: 1}}"],
     "3: domains.B.max_lag.entrys: unknown key; did you mean 'entries'? (known: bytes, entries, "
     "settle, then, time)"),
    (["A: {nodes: 1, id: many}"], "2: domains.A.id: expected a whole number, got 'many'"),
    (["A: {nodes: 1, id: 65536}"], "2: domains.A.id: expected at most 65535, got 65536"),
    ([A, "B: {nodes: 1, parent: A, mode: syn}"],
     "3: domains.B.mode: expected 'sync' or 'async', got 'syn'"),
    ([A, "B: {nodes: 1, parent: [A], mode: sync}"],
     "3: domains.B.parent: expected text, got a list"),
    (["A: 5"], "2: domains.A: expected a mapping, got 5"),
    (["1st: {nodes: 1}"], "2: domains.1st: expected text that matches "
     "^[A-Za-z][A-Za-z0-9_.-]{0,29}'{0,2}$, got '1st'"),
]


@pytest.mark.parametrize(("lines", "message"), WRONG)
def test_a_wrong_tree_is_refused_by_the_key_that_is_to_be_changed(
    lines: list[str], message: str,
) -> None:
    assert complaint(of_domains(*lines)) == f"t.yml:{message}"


WRONG_BESIDE = [
    ("domain: {}", "t.yml:5: domain: unknown key; did you mean 'domains'? (known: domains, "
     "observer, pools, shared_hosts, timers)"),
    ("observer: {nodes: 3}", "t.yml:5: observer: there is no observer yet: leave it out"),
    ("shared_hosts: true", "t.yml:5: shared_hosts: expected nodes to be named: nodes that are "
     "counted share nothing"),
    ("timers: {lease: 1, promise: 1, exclude_after: 2.15}",
     "t.yml:5: timers.exclude_after: expected more than lease x (1 + drift) / (1 - drift) + "
     "promise = 2.35294, got 2.15"),
    ("timers: {lease: 1, promise: 0.5}", "t.yml:5: timers.exclude_after: expected more than lease "
     "x (1 + drift) / (1 - drift) + promise = 1.85294, got 1"),
    ("timers: {lease: 0}", "t.yml:5: timers.lease: expected more than 0, got 0"),
    ("timers: {drift: 1}", "t.yml:5: timers.drift: expected less than 1, got 1"),
    ("pools: {p: {domain: X}}", "t.yml:5: pools.p.domain: unknown domain 'X'; (known: A, B)"),
    ("pools: {p: {}}", "t.yml:5: pools.p.domain: missing; this key is required"),
    ("pools: {p: {domain: B, does: writes}}", "t.yml:5: pools.p.does: B takes no writes: expected "
     "'reads', or the root as domain"),
    ("pools: {p: {domain: A, addresses: [here]}}",
     "t.yml:5: pools.p.addresses: expected IP addresses, got 'here'"),
    ('pools: {p: {domain: A, addresses: ["1.2.3.4"]}, q: {domain: A, addresses: ["1.2.3.4"]}}',
     "t.yml:5: pools.q.addresses: 1.2.3.4 is in pool p already"),
    ("pools: {P: {domain: A}}", "t.yml:5: pools.P: expected text that matches "
     "^[a-z][a-z0-9-]{0,30}$, got 'P'"),
]


@pytest.mark.parametrize(("more", "message"), WRONG_BESIDE)
def test_what_is_wrong_beside_the_domains(more: str, message: str) -> None:
    assert complaint(TWO + more + "\n") == message


def test_timers_that_just_fit_are_accepted() -> None:
    found = tree(TWO + "timers: {lease: 1, promise: 1, exclude_after: 2.353}\n")
    assert found.timers.silence == pytest.approx(1.15 / 0.85 + 1)


def test_an_empty_tree_is_refused() -> None:
    assert complaint("domains: {}\n") == "t.yml:1: domains: expected at least 1 of them, got a " \
                                         "mapping"


def test_what_the_document_says_is_refused_is_refused_in_these_words() -> None:
    text = (LAYERS.parents[2] / "docs/topology.md").read_text(encoding="utf-8")
    section = text.split("\n## What is refused\n")[1].split("\n## ")[0]
    said = re.findall(r"^\| [^|`]+ \| `([^|]*)` \|", section, re.M)
    known = {message.partition(": ")[2] for _, message in [*WRONG, *WRONG_BESIDE]}
    assert len(said) == section.count("\n| ") - 1 > 10
    assert {re.sub(r"^t.yml:\d+: topology\.", "", line) for line in said} <= known


# ---- in a test file


def test_a_test_file_may_say_its_domains() -> None:
    found = spec(TEST + "topology:" + TWO.replace("\n", "\n  ")).topology
    assert (found.nodes, found.spares, len(found.tree().domains)) == (6, 0, 2)


def test_hosts_that_are_only_counted_are_one_domain() -> None:
    found = spec(TEST + "topology: {nodes: 4, spares: 1}\n").topology.tree()
    assert [(domain.name, len(domain.nodes), len(domain.members)) for domain in found.domains] \
        == [("A", 4, 3)]


def test_one_domain_with_spares_is_as_if_hosts_were_counted() -> None:
    found = spec(TEST + "topology: {domains: {A: {nodes: 6, spares: 1}}}\n").topology
    assert (found.nodes, found.spares) == (6, 1)


@pytest.mark.parametrize(("section", "message"), [
    ("{nodes: 5, domains: {A: {nodes: 3}}}", "t.yml:3: topology: nodes: expected only where there "
     "are no domains, which say it themselves"),
    ("{pools: {p: {domain: A}}}", "t.yml:3: topology: pools: expected only beside domains"),
    ("{timers: {lease: 0.2}}", "t.yml:3: topology: timers: expected only beside domains"),
    ("{domains: {A: {nodes: 1}, B: {nodes: 1}}}", "t.yml:3: topology.domains.B.parent: missing, "
     "and A has none either: expected one root"),
    ("{file: 7}", "t.yml:3: topology.file: expected text, got 7"),
])
def test_a_topology_of_a_test_is_refused_by_its_own_keys(section: str, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        spec(f"{TEST}topology: {section}\n")
    assert str(caught.value) == message


def test_what_a_run_keeps_of_its_test_is_whole_and_is_read_again() -> None:
    first = spec(f"{TEST}topology: {{file: {LAYERS}}}\n")
    kept = first.model_dump(mode="json", by_alias=True)
    again = Document.parse("kept.yml", TEST)
    again.data = kept
    assert validated(again)[1] == first
    assert first.topology.tree() == topology.load(LAYERS)


def test_a_file_is_found_beside_the_test_and_its_errors_bear_its_own_name(tmp_path: Path) -> None:
    inner = tmp_path / "tree.yml"
    inner.write_text("domains:\n  A: {nodes: 3}\n")
    text = TEST + "topology: {file: tree.yml}\n"
    outer = str(tmp_path / "t.yml")
    assert spec(text, outer).topology.nodes == 3
    inner.write_text("domains:\n  A: {nodes: 3, parent: B}\n")
    with pytest.raises(BadInput, match=rf"^{inner}:2: domains\.A\.parent: unknown domain 'B'; "):
        spec(text, outer)
    inner.unlink()
    with pytest.raises(BadInput, match=rf"^{outer}:3: topology\.file: {inner}: no such file$"):
        spec(text, outer)
    with pytest.raises(BadInput, match=r"^t.yml:3: topology.nodes: expected nothing beside topolo"):
        spec(TEST + "topology: {file: tree.yml, nodes: 3}\n")


@pytest.mark.parametrize(("text", "code"), [
    (TWO, 0), (TEST, 0), (TEST + "topology:" + TWO.replace("\n", "\n  "), 0),
    ("domains: {A: {nodes: 1, parent: A}}\n", 254), ("{}\n", 254), (TEST + "x: 1\n", 254),
])
def test_the_command_draws_test_files_and_topologies(
    text: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "x.yml"
    path.write_text(text)
    assert main(["domains", str(path)]) == code
    said = capsys.readouterr()
    if code:
        assert (said.out, said.err.count("\n")) == ("", 1)
    else:
        assert said.out.startswith("A(")


@pytest.mark.parametrize("nodes", ["5", "[n1, n2, n3, n4, n5]"])
def test_a_test_that_is_made_smaller_says_so_in_its_domain(nodes: str) -> None:
    first = spec(f"{TEST}topology: {{domains: {{A: {{nodes: {nodes}, spares: 1}}}}, "
                 "pools: {p: {domain: A}}}\nschedule: {}\n")
    small = only_nodes(first, ["n2", "n4", "n5"])
    assert [(node.name, node.spare) for node in small.topology.tree().nodes] == [
        ("n1", False), ("n2", False), ("n3", True)]
    assert spec(as_file(small)) == small


# ---- what nodes are told


ADDRESSED = """
domains:
  A:
    nodes: {a1: "10.0.0.1:7000", a2: "[fd00::2]:7000"}
    policy: any 1 of [B]
  B: {nodes: {b1: "10.0.1.1:7000"}, id: 9, parent: A, mode: sync, exclusion: block, key: keys/b}
  C: {nodes: {c1: "10.0.2.1:7000"}, parent: B, mode: async,
      max_lag: {entries: 10, bytes: 900, time: 1.5, then: stall}}
"""


def test_a_child_is_told_who_it_is_where_its_parent_is_and_the_keys_of_its_links() -> None:
    found = tree(ADDRESSED)
    b, c = found.by_name["B"], found.by_name["C"]
    assert topology.node_config(found, b, b.nodes[0]) == {
        "node": 3, "members": {3: "10.0.1.1:7000"},
        "keys": {"links": {9: "keys/b", 2: "link-2.key"}},
        "domain": {"id": 9, "name": "B",
                   "parent": {"nodes": {1: "10.0.0.1:7000", 2: "[fd00::2]:7000"}}}}
    assert topology.node_config(found, c, c.nodes[0])["keys"] == {"links": {2: "link-2.key"}}


def test_the_root_is_told_the_tree_with_which_its_log_begins() -> None:
    found = tree(ADDRESSED)
    assert topology.node_config(found, found.root, found.root.nodes[1]) == {
        "node": 2, "members": {1: "10.0.0.1:7000", 2: "[fd00::2]:7000"},
        "keys": {"links": {9: "keys/b"}},
        "domain": {"id": 1, "name": "A", "lease_ms": 300, "policy": "any 1", "tree": {
            9: {"name": "B", "parent": "A", "nodes": {3: "10.0.1.1:7000"}, "mode": "sync",
                "policy": "all", "exclusion": "block", "exclude_after_ms": 1000},
            2: {"name": "C", "parent": "B", "nodes": {4: "10.0.2.1:7000"}, "mode": "async",
                "policy": "all", "exclusion": "exclude", "exclude_after_ms": 1000,
                "max_lag": {"entries": 10, "bytes": 900, "ms": 1500, "then": "stall"}}}}}


def test_a_domain_that_is_alone_has_no_keys_of_links() -> None:
    alone = tree(of_domains("A: {nodes: {a: 'h:1'}}"))
    assert topology.node_config(alone, alone.root, alone.root.nodes[0])["keys"] == {}


def test_the_core_understands_the_whole_tree() -> None:
    values = topology.tree_values(tree(ADDRESSED))
    made = core.Tree({id: core.Domain(**fields) for id, fields in values["domains"].items()},
                     values["root"], lease_ns=values["lease_ns"])
    assert core.Tree.decode(made.encode()) == made
    assert (made.root, made.lease_ns, made.path(2)) == (1, 300_000_000, [2, 9, 1])
    assert made.domains[1] == core.Domain(
        "A", any_k=1, nodes=((1, "10.0.0.1:7000"), (2, "[fd00::2]:7000")))
    assert made.domains[9] == core.Domain("B", parent=1, sync=True, block=True,
                                          nodes=((3, "10.0.1.1:7000"),))
    assert made.domains[2] == core.Domain(
        "C", parent=9, max_lag_entries=10, max_lag_bytes=900, max_lag_ns=1_500_000_000,
        on_lag="stall",
        nodes=((4, "10.0.2.1:7000"),))


ODD = st.sampled_from([None, True, -1, 1.5, float("inf"), "", "X", [], {}, ["n1", 3],
                       {"n1": "h:1"}])


LAGS = ({"entries": 9}, {"time": 0.5, "then": "exclude"}, {"time": 0.5, "then": "stall"},
        {"bytes": 9}, {"then": "stall"})


def any_tree(one_of: Callable[..., st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """Return files of up to three domains; one_of: how values are drawn of those that may be."""
    policy = one_of("all", "none", "any 1 of [B]", "any 1 of [B, C]", "any 2 of [B, C]")
    root = st.fixed_dictionaries({"nodes": one_of(1, 2)}, optional={"policy": policy})
    child = st.fixed_dictionaries(
        {"nodes": one_of(1, 2), "parent": one_of("A", "A", "B", "C"),
         "mode": one_of("sync", "async")},
        optional={"id": one_of(1, 2, 3), "max_lag": one_of(*LAGS), "policy": one_of("all", "none"),
                  "exclusion": one_of("block", "exclude")})
    timers = one_of({"lease": 0.6}, {"lease": 0.9, "promise": 0.05})
    return st.fixed_dictionaries(
        {"domains": st.fixed_dictionaries({"A": root}, optional={"B": child, "C": child | root})},
        optional={"timers": timers})


PLAUSIBLE = any_tree(lambda *values: st.sampled_from(values))
STRANGE = any_tree(lambda *values: st.sampled_from(values) | ODD)


def read(text: str) -> Tree | str:
    """Return a tree, or why there is none."""
    try:
        return tree(text)
    except BadInput as refused:
        return str(refused)


@given(PLAUSIBLE | STRANGE)
@settings(max_examples=500, deadline=None)
def test_whatever_is_written_is_refused_in_one_line_or_understood_by_the_core(data: Any) -> None:
    found = read(yaml.safe_dump(data))
    if isinstance(found, str):
        assert found.startswith("t.yml:")
        assert "\n" not in found
        return
    assert topology.draw(found).startswith("A(")
    if missing(found, shared_hosts=data.get("shared_hosts") is True) is None:
        values = topology.tree_values(found, address=lambda *_: "h:1")
        assert len(values["domains"]) == len(found.domains)
        core.Tree({id: core.Domain(**fields) for id, fields in values["domains"].items()},
                  values["root"], lease_ns=values["lease_ns"])


@pytest.mark.parametrize(("policy", "number"), [("all", core.ALL), ("none", core.NONE)])
def test_policies_are_the_core_s_numbers(policy: str, number: int) -> None:
    found = tree(of_domains(f"A: {{nodes: 1, policy: {policy}}}"))
    values = topology.tree_values(found, address=lambda *_: "")
    assert values["domains"][1]["any_k"] == number


def test_spares_are_neither_members_nor_asked_by_a_child() -> None:
    found = tree(of_domains("A: {nodes: 2, spares: 1}", "B: {nodes: 1, parent: A, mode: async}"))
    b = found.by_name["B"]
    told = topology.node_config(found, b, b.nodes[0], address=lambda _, node: f"{node.name}:1",
                                keys=lambda domain: f"/keys/{domain.name}")
    assert told["domain"]["parent"] == {"nodes": {1: "n1:1"}}
    assert told["members"] == {3: "n3:1"}
    assert told["keys"] == {"links": {2: "/keys/B"}}


@pytest.mark.parametrize(("text", "at", "why"), [
    (of_domains(A, B, "C: {nodes: 1, parent: B, mode: async, promotion: automatic}"),
     ("domains", "C", "promotion"), "expected 'manual': nothing is promoted by itself yet"),
    (of_domains(A, B, more="timers: {drift: 0.1}\n"), ("timers", "drift"),
     "expected 0.15: our node reckons with that"),
    (of_domains("A: {nodes: [n1]}", "B: {nodes: [n3], parent: A, mode: async}"),
     ("domains", "B", "nodes"), "expected the hosts n2: world 'sim' calls them so"),
    (of_domains(A, "B: {nodes: 1, parent: A, mode: async, key: k}"),
     ("domains", "B", "key"), "expected none: world 'sim' draws keys for each run"),
])
def test_what_will_not_be_run_of_a_tree_once_trees_can(
    text: str, at: tuple[str, ...], why: str,
) -> None:
    found = tree(text)
    assert (missing(found, shared_hosts=False) or elsewhere(found, "sim")) == (at, why)


def test_layers_could_be_run() -> None:
    layers = topology.load(LAYERS)
    assert missing(layers, shared_hosts=True) == (
        ("shared_hosts",), "domains that share hosts can't be run yet")
    assert missing(layers, shared_hosts=False) is None
    assert elsewhere(layers, "local") is None


def test_without_an_address_a_node_can_not_be_told_anything() -> None:
    found = tree(TWO)
    with pytest.raises(ValueError, match="A: no address is known of n1"):
        topology.node_config(found, found.root, found.root.nodes[0])
