"""``seatrial domains`` of a tree that runs: what nodes say is drawn, who can't be asked named."""
from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from seatrial.harness import node_words
from seatrial.harness.cli import main
from seatrial.harness.commands import domains as command
from seatrial.harness.errors import HarnessFailure
from seatrial.harness.protocols import Result
from seatrial.harness.topology import Heard, draw, running

TREE = {"root": 1, "epoch": 1, "lease_ms": 300.0, "gating": [2], "domains": {
    "1": {"name": "a", "policy": "any 1", "nodes": {"1": "10.0.0.1:7", "2": "10.0.0.2:7"}},
    "2": {"name": "b", "policy": "all", "nodes": {"11": "10.0.1.1:7"}, "parent": 1,
          "mode": "sync", "included": True, "include_rindex": 9, "exclusion": "exclude",
          "exclude_after_ms": 1000.0, "max_lag": None},
    "3": {"name": "c", "policy": "all", "nodes": {"21": "10.0.2.1:7"}, "parent": 2,
          "mode": "async", "included": False, "include_rindex": 0, "exclusion": "exclude",
          "exclude_after_ms": 1000.0, "max_lag": {"entries": 50, "ms": 0.0, "then": "stall"}}}}
S = 1_000_000_000


def status(node: int, domain: int, role: str = "leader", *, tree: Any = TREE, term: int = 3,
           applied: int = 100, link: str = "streaming", lag: int | None = 0,
           told_ns: int | None = 0, **more: Any) -> dict[str, Any]:
    """Return what a node says."""
    return {"node": node, "cluster": "harbour", "role": role, "term": term, "leader": node,
            "members": {str(node): f"10.0.0.{node}:7"}, "tree": tree, "domain": {
                "id": domain, "root": domain == 1, "mirror_end": applied, "committed": applied,
                "applied_rindex": applied, "age_ns": S // 4, "children": {},
                "uplink": {"state": link, "node": 1, "lag_entries": lag, "told_ns": told_ns},
                **more}}


def heard(*said: dict[str, Any], **silent: str) -> Heard:
    """Return these words; hosts are called h1, h2 ..."""
    return Heard({one["node"]: one for one in said},
                 {one["node"]: f"h{one['node']}" for one in said} | {"10.0.0.2": "h2"}, silent)


def drawing(of: Heard) -> list[str]:
    """Return the lines."""
    found = running(of)
    assert found is not None
    return draw(*found).splitlines()


def test_a_running_tree_is_drawn() -> None:
    assert drawing(heard(status(1, 1), status(2, 1, "follower"), status(11, 2, term=2),
                         status(21, 3, applied=60, link="catching-up", lag=40))) == [
        "a(2/1)      root, policy any 1 of [b]  leader h1, term 3, 2 of 2 up   applied 100",
        "└─ b(1/1)   sync, included             leader h11, term 2, 1 of 1 up  "
        "streaming, applied 100, 0 entries, 0.25 s behind",
        "   └─ c(1)  async                      leader h21, term 3, 1 of 1 up  "
        "catching-up, applied 60, 40 entries, 0.25 s behind",
    ]


def test_an_excluded_domain_and_silent_nodes_are_seen() -> None:
    shown = {**TREE, "domains": {**TREE["domains"], "2": {
        **TREE["domains"]["2"], "included": False, "include_rindex": 0}}}
    lines = drawing(heard(status(1, 1, tree=shown, children={"2": {"state": "excluded"}}),
                          h2="no answer", h11="gone"))
    assert "1 of 2 up" in lines[0]
    assert "sync, excluded" in lines[1]
    assert "no leader, 0 of 1 up" in lines[1]
    assert lines[1].split("up")[1].split() == ["excluded"]


def test_why_a_domain_stays_excluded_is_seen() -> None:
    for held, stuck, words in ((True, False, "sync, excluded by an operator"),
                               (False, True, "can't be readmitted: it does not catch up")):
        shown = {**TREE, "domains": {**TREE["domains"], "2": {
            **TREE["domains"]["2"], "included": False, "include_rindex": 0, "held": held}}}
        child = {"state": "excluded", "cannot_readmit": stuck, "lag_bytes": 9000}
        line = drawing(heard(status(1, 1, tree=shown, children={"2": child}),
                             status(11, 2, lag=700)))[1]
        assert words in line
        assert ("can't be" in line) is stuck
        assert "700 entries, 9,000 bytes, 0.25 s behind" in line


def test_the_newest_leader_of_the_root_says_which_tree_it_is() -> None:
    older = {**TREE, "domains": {id: TREE["domains"][id] for id in ("1", "2")}}
    assert len(drawing(heard(status(1, 1, tree=older, term=3, applied=500),
                             status(2, 1, term=4), status(11, 2)))) == 3
    assert len(drawing(heard(status(1, 1, "follower", tree=older, applied=90),
                             status(11, 2)))) == 3          # whoever has most of the log


def test_lag_is_that_of_the_root_s_word_while_a_link_above_is_down() -> None:
    up = status(1, 1, applied=1000)
    for told_ns in (None, 60 * S):
        lines = drawing(heard(up, status(11, 2, applied=400, lag=3, told_ns=told_ns,
                                         link="detached"), status(21, 3, applied=390, lag=10)))
        assert "600 entries, 0.25 s behind" in lines[1]
        assert "610 entries" in lines[2], "its own link is up, but not that above it"
        assert ("parent silent for 60 s" in lines[1]) == (told_ns is not None)
    lines = drawing(heard(status(11, 2, applied=400, lag=3, told_ns=None, link="detached")))
    assert "entries" not in lines[1], "nobody can know"


def test_a_cluster_of_one_domain_is_one_line() -> None:
    one = status(1, 1, tree=None) | {"domain": None, "members": {
        "1": "10.0.0.1:7", "2": "10.0.0.2:7", "3": "10.0.0.3:7"}}
    assert drawing(heard(one)) == ["harbour(3)  root  leader h1, term 3, 1 of 3 up"]


def test_nobody_who_knows_a_tree() -> None:
    assert running(heard()) is None
    assert running(heard(status(11, 2, tree=None))) is None


# ---- asking


class FakeHost:
    """A host that says these lines, or can't be reached."""

    def __init__(self, name: str, said: Sequence[str] | str) -> None:
        self.name, self.ipv4, self.ipv6, self.said = name, f"10.9.9.{name[1:]}", None, said

    async def run(self, argv: Sequence[str], **options: Any) -> Result:
        if isinstance(self.said, str):
            raise HarnessFailure(self.said)
        return Result(tuple(argv), 0, "".join(f"{line}\n" for line in self.said), "")


def test_each_host_s_words_and_the_reason_of_each_that_says_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    hosts: list[Any] = [
        FakeHost("n1", [json.dumps(status(1, 1)), json.dumps(status(21, 3))]),
        FakeHost("n2", ["seatrial: 10.0.0.2:7: no answer within 3 s"]),
        FakeHost("n3", []),
        FakeHost("n4", "n4 (10.9.9.4:22): no SSH within 3 s")]

    class Asked:
        def __enter__(self) -> list[Any]:
            return hosts

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(command, "_world", lambda lab, world: None)
    monkeypatch.setattr(node_words, "impatient", lambda world, timeout_s: Asked())
    assert main(["domains", "--lab", "x"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 6
    assert "leader n1, term 3, 1 of 2 up" in out[0]
    assert "leader n1, term 3, 1 of 1 up" in out[2]
    assert out[3:] == ["n2: 10.0.0.2:7: no answer within 3 s", "n3: no node runs there",
                       "n4 (10.9.9.4:22): no SSH within 3 s"]
    del hosts[0]
    assert main(["domains", "--lab", "x"]) == 255
    assert capsys.readouterr().err.startswith("seatrial: no node told of a tree: n2: ")


def test_watching_draws_it_again_until_interrupted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(node_words, "over_network",
                        lambda config, timeout_s: heard(status(1, 1)))
    monkeypatch.setattr(command.time, "sleep", sleep)
    assert main(["domains", "--node", "node.yml", "--watch", "2"]) == 255
    assert waits == [2, 2, 2]
    assert capsys.readouterr().out.count("leader h1") == 3


@pytest.mark.parametrize(("arguments", "line"), [
    (["f.yml", "--lab", "x"], "FILE and --lab: expected one of them"),
    (["--lab", "x", "--node", "node.yml"], "--lab and --node: expected one of them"),
    (["--node", "missing.yml"], "can't read configuration missing.yml"),
    (["f.yml", "--watch", "1"], "--watch: a file does not change by itself"),
])
def test_what_can_t_be_is_one_line(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["domains", *arguments]) == 254
    err = capsys.readouterr().err
    assert line in err
    assert len(err.splitlines()) == 1


def test_without_a_lab_it_says_what_to_give(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command.state, "require_root", lambda: None)
    monkeypatch.setattr(command.state, "names", lambda: ["one", "two"])
    assert main(["domains"]) == 254
    assert "the labs are one, two" in capsys.readouterr().err


def test_a_line_of_a_program_is_kept_as_it_is() -> None:
    assert node_words.parsed('{"node": 1}') == {"node": 1}
    assert node_words.parsed("[1]") == "[1]"
