"""What an administrator may ask of the tree: changes, refusals, what is shown, and the journal."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from seatrial.core.codec import STATUSES
from seatrial.core.domain_administration import TreeRequest, describe_tree, find, step
from seatrial.core.domain_commands import holds, nodes, render
from seatrial.core.domain_config import Member
from seatrial.core.domain_metrics import families
from seatrial.core.domain_news import DomainNews
from seatrial.core.errors import ConfigError
from seatrial.core.journal import Journal
from seatrial.core.tree import BadTree, Domain, Tree

MS = 1_000_000
A = Domain("a", nodes=((1, "h:1"), (2, "h:2")))
B = Domain("b", 1, sync=True, included=True, include_rindex=4, nodes=((11, "h:11"),))
C = Domain("c", 2, sync=True, block=True, nodes=((21, "h:21"),))
TREE = Tree({1: A, 2: B, 3: C}, 1)
NEW = Member("d", "a", {31: "h:31"}, mode="sync", policy="none", exclude_after_ms=900)


def changed(**asked: Any) -> Tree:
    return step(TreeRequest(**asked))(TREE)


@pytest.mark.parametrize(("asked", "expected"), [
    ({"change": "add", "domain": "d", "id": 4, "member": NEW},
     TREE.add(4, Domain("d", 1, sync=True, any_k=255, exclude_after_ns=900 * MS,
                        nodes=((31, "h:31"),)))),
    ({"change": "remove", "domain": "c"}, TREE.remove(3)),
    ({"change": "mode", "domain": "c", "sync": False}, TREE.mode(3, False)),
    ({"change": "policy", "domain": "1", "policy": "any 1"}, TREE.policy(1, 1)),
    ({"change": "block", "domain": "b", "block": True}, TREE.block(2, True)),
    ({"change": "reparent", "domain": "c", "parent": "a"}, TREE.reparent(3, 1)),
    ({"change": "relocate", "domain": "c", "nodes": {22: "h:22"}},
     TREE.relocate(3, ((22, "h:22"),))),
    ({"change": "exclude", "domain": "b"}, TREE.exclude(2, held=True)),
    ({"change": "readmit", "domain": "c"}, TREE),
])
def test_a_request_is_the_change_that_it_names(asked: dict[str, Any], expected: Tree) -> None:
    assert changed(**asked) == expected


def test_readmitting_lets_the_root_include_it_and_does_not_itself() -> None:
    held = TREE.exclude(2, held=True)
    after = step(TreeRequest("readmit", "b"))(held)
    assert after == TREE.exclude(2)
    assert not after.domains[2].included


@pytest.mark.parametrize(("asked", "line"), [
    ({"change": "remove", "domain": "x"}, "there is no domain called 'x': a, b, c"),
    ({"change": "remove", "domain": "9"}, "there is no domain called '9'"),
    ({"change": "mode", "domain": "b"}, "mode: `sync` is missing"),
    ({"change": "mode", "domain": "b", "sync": False},
     r"domain 3 \(c\) is sync, but could never be waited for: b above it is async"),
    ({"change": "policy", "domain": "a", "policy": "most"}, "policy 'most': expected all, none"),
    ({"change": "policy", "domain": "a", "policy": "any 2"}, "could never be met by 1"),
    ({"change": "reparent", "domain": "b", "parent": "c"}, "it is below it"),
    ({"change": "relocate", "domain": "c", "nodes": {22: "here"}},
     "node 22: 'here' is not host:port"),
    ({"change": "add", "domain": "d", "id": 4}, "add: `member` is missing"),
    ({"change": "add", "domain": "e", "id": 4, "member": NEW}, "its member is called 'd'"),
    ({"change": "add", "domain": "d", "id": 3, "member": NEW}, "is in the tree already"),
    ({"change": "add", "domain": "d", "id": 4,
      "member": msgspec.structs.replace(NEW, parent="x")}, "no domain called 'x'"),
    ({"change": "add", "domain": "d", "id": 4,
      "member": msgspec.structs.replace(NEW, policy="x")}, "policy 'x': expected"),
])
def test_a_request_that_can_not_be_is_refused(asked: dict[str, Any], line: str) -> None:
    with pytest.raises(BadTree, match=line):
        changed(**asked)


def test_what_was_wrong_before_does_not_stop_another_change() -> None:
    behind = TREE.mode(2, False)
    assert step(TreeRequest("block", "c", block=False))(behind) == behind.block(3, False)


def test_a_name_goes_before_a_number() -> None:
    odd = Tree({1: A, 2: B._replace(name="3"), 3: C}, 1)
    assert (find(odd, "3"), find(odd, "1")) == (2, 1)


@pytest.mark.parametrize("body", [
    b"{}", b'{"change": "grow", "domain": "a"}', b'{"change": "remove", "domain": "a", "x": 1}',
    b'{"change": "add", "domain": "a", "id": 0}', b"no JSON",
])
def test_a_body_that_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(body, type=TreeRequest)


SHOWN = json.loads(json.dumps(describe_tree(TREE)))
CHILD = {"state": "streaming", "lag_entries": 3, "acked": 7, "lag_ns": 0, "lease_left_ns": 9,
         "told_ns": 4, "held": False, "cannot_readmit": False}
FOUND = {"id": 1, "root": True, "committed": 9, "applied_rindex": 8, "mirror_end": 10,
         "lease_left_ns": 0, "age_ns": None, "children": {"2": CHILD},
         "uplink": {"state": "detached", "node": 0, "lag_entries": 0}}


def test_the_tree_is_shown_with_what_is_known_of_the_links() -> None:
    assert render(SHOWN, FOUND).splitlines() == [
        "tree of 3 domains, epoch 1, root 1, lease 300 ms",
        "  a (id 1) 2/1",
        "    b (id 2) 1/1, sync, included, exclude: streaming, 3 entries behind",
        "      c (id 3) 1/0, sync, EXCLUDED, block",
    ]
    assert describe_tree(None) is None


def test_why_a_domain_stays_excluded_and_how_old_a_lag_is_are_shown() -> None:
    tree = json.loads(json.dumps(describe_tree(TREE.exclude(2, held=True))))
    child = CHILD | {"state": "excluded", "told_ns": 9_000_000_000}
    assert render(tree, FOUND | {"children": {"2": child}}).splitlines()[2] == (
        "    b (id 2) 1/1, sync, EXCLUDED by an operator, exclude: excluded, 3 entries behind 9 s "
        "ago")
    child = CHILD | {"lag_entries": None, "cannot_readmit": True}
    assert render(SHOWN, FOUND | {"children": {"2": child}}).splitlines()[2].endswith(
        ": streaming, lag not known yet, CAN'T BE READMITTED: does not catch up")


def test_a_domain_that_counts_only_once_the_one_above_does_is_shown_so() -> None:
    tree = TREE.readmit(3, 9).exclude(2).policy(2, 1)
    of_c = FOUND | {"id": 3, "root": False, "children": {},
                    "uplink": {"state": "attaching", "lag_entries": 5}}
    lines = render(json.loads(json.dumps(describe_tree(tree))), of_c).splitlines()
    assert lines[2] == "    b (id 2) 1/1, sync, EXCLUDED, exclude, policy any 1"
    assert lines[3] == ("      c (id 3) 1/0, sync, included (does not gate), block: attaching, "
                        "5 entries behind")


@pytest.mark.parametrize(("name", "goal", "is_so"), [
    ("b", {"mode": "sync", "included": True}, True), ("b", {"included": False}, False),
    ("2", {"parent": "a"}, True), ("c", {"parent": "a"}, False), ("c", {}, False),
    ("x", {}, True), ("x", {"name": "x"}, False), ("a", {"policy": "all"}, True),
    ("c", {"nodes": {"21": "h:21"}}, True),
])
def test_whether_a_change_is_made_is_seen_in_the_tree(
    name: str, goal: dict[str, Any], is_so: bool
) -> None:
    assert holds(SHOWN, name, goal) is is_so


def test_nodes_are_given_with_their_addresses() -> None:
    assert nodes(["1=h:1", "2=[::1]:2"]) == {1: "h:1", 2: "[::1]:2"}
    for text in ("1", "x=h:1", "1=h", "0=h:1"):
        with pytest.raises(ConfigError, match=f"--node {text}: expected NODE=HOST:PORT"):
            nodes([text])


def test_every_change_is_a_line_in_the_journal_once(tmp_path: Path) -> None:
    journal = Journal(1, path=tmp_path / "journal")
    news = DomainNews(journal)
    news.tell_tree(None)
    news.tell_tree(Tree({1: A, 2: B}, 1))
    news.tell_tree(TREE.exclude(2))
    news.tell_tree(TREE.exclude(2).relocate(1, ((1, "h:1"),)))
    news.tell_tree(Tree({1: A._replace(nodes=((1, "h:1"),))}, 1))
    for uplink in ({"state": "streaming", "node": 5}, {"state": "streaming", "node": 5},
                   {"state": "detached", "node": 0}):
        news.tell_links({"uplink": uplink, "children": {2: CHILD}})
    stuck = FOUND | {"children": {2: CHILD | {"state": "excluded", "cannot_readmit": True}}}
    news.tell_links(stuck)
    news.tell_links(stuck)
    news.tell_links(FOUND | {"children": {}})
    journal.close()
    lines = [json.loads(line) for line in (tmp_path / "journal").read_text().splitlines()]
    for line in lines:
        for key in ("time", "level", "node"):
            del line[key]
    assert lines == [
        {"event": "domain", "domain": 1, "name": "a", "added": True, "parent": 0, "sync": False,
         "included": False},
        {"event": "domain", "domain": 2, "name": "b", "added": True, "parent": 1, "sync": True,
         "included": True},
        {"event": "domain", "domain": 2, "name": "b", "included": False, "include_rindex": 0},
        {"event": "domain", "domain": 3, "name": "c", "added": True, "parent": 2, "sync": True,
         "included": False},
        {"event": "domain", "domain": 1, "name": "a", "nodes": [[1, "h:1"]]},
        {"event": "domain", "domain": 2, "name": "b", "removed": True},
        {"event": "domain", "domain": 3, "name": "c", "removed": True},
        {"event": "uplink", "state": "streaming", "parent": 5},
        {"event": "downlink", "domain": 2, "state": "streaming"},
        {"event": "uplink", "state": "detached", "parent": 0},
        {"event": "downlink", "domain": 2, "state": "excluded"},
        {"event": "cannot-readmit", "domain": 2, "lag_entries": 3},
        {"event": "downlink", "domain": 2, "state": "gone"},
    ]


def test_every_link_has_metrics() -> None:
    found = {(family.name, *sample.labels.values()): sample.value
             for family in families(FOUND) for sample in family.samples}
    assert found["seatrial_downlink_state", "2", "streaming"] == 1
    assert found["seatrial_downlink_state", "2", "excluded"] == 0
    assert found["seatrial_downlink_lag_entries", "2"] == 3
    assert found["seatrial_downlink_told_nanoseconds", "2"] == 4
    assert found["seatrial_downlink_cannot_readmit", "2"] == 0
    assert not [key for key in found if key[0].startswith("seatrial_uplink")]
    assert found["seatrial_root_commit_rindex", "1"] == 9
    assert not [key for key in found if key[0] == "seatrial_domain_age_nanoseconds"]
    new = FOUND | {"children": {"2": CHILD | {"lag_entries": None, "lag_ns": None}}}
    told = {family.name for family in families(new) for _ in family.samples}
    assert "seatrial_downlink_lag_entries" not in told, "nobody told this leader yet"
    assert "seatrial_downlink_acked_rindex" in told
    of_a_child = FOUND | {"root": False, "children": {}, "age_ns": 5}
    found = {(family.name, *sample.labels.values()): sample.value
             for family in families(of_a_child) for sample in family.samples}
    assert found["seatrial_uplink_state", "detached"] == 1
    assert found["seatrial_domain_age_nanoseconds", "1"] == 5


def test_the_words_of_new_statuses_are_known_to_both_ends() -> None:
    assert STATUSES[14:] == ("not-root", "fenced", "too-old", "lost")
