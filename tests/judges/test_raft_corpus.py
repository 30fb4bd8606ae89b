"""Quorums, group commit and configuration changes, judged by the cases of etcd and raft-rs.

The data lies in ../shared/corpus/raft (its README says from which commits); without it these
tests are skipped.
"""
from __future__ import annotations

from pathlib import Path

import pytest

from seatrial.core.membership import BadConfiguration, Change, Configuration
from seatrial.core.quorum import committed_of, group_committed_of, vote_result_of

from .datadriven import Case, cases

CORPUS = Path(__file__).parents[3] / "shared" / "corpus" / "raft"
HOW_MANY = {"etcd-quorum": 127, "etcd-confchange": 58, "raft-rs-quorum": 14}
NO_LIMIT = (1 << 64) - 1
KINDS = {"v": "voter", "l": "learner", "r": "remove", "u": "update"}

needs_corpus = pytest.mark.skipif(not CORPUS.exists(), reason=f"no corpus at {CORPUS}")


def masks(case: Case) -> tuple[list[int], int, int]:
    """Places are given to nodes in the order in which a case names them first."""
    halves = case.numbers("cfg"), case.numbers("cfgj")
    nodes = list(dict.fromkeys(halves[0] + halves[1]))
    voters, outgoing = (sum(1 << nodes.index(node) for node in half) for half in halves)
    return nodes, voters, outgoing


def quorum_answer(case: Case) -> str:
    """What our arithmetic says to one case."""
    nodes, voters, outgoing = masks(case)
    if case.command == "vote":
        votes = case.listed("votes")
        yes, no = (sum(1 << i for i in range(len(votes)) if votes[i] == word) for word in "yn")
        return f"Vote{vote_result_of(yes, no, voters, outgoing).capitalize()}"
    reached = case.numbers("idx")
    assert len(reached) == len(nodes), case
    if case.command == "committed":
        index = committed_of(reached, voters, outgoing)
    else:
        index = group_committed_of(reached, case.numbers("gid"), voters, outgoing)
    return "∞" if index == NO_LIMIT else str(index)


@needs_corpus
@pytest.mark.parametrize("folder", ["etcd-quorum", "raft-rs-quorum"])
def test_quorums_agree_with_the_cases_of(folder: str) -> None:
    seen = 0
    for path in sorted((CORPUS / folder).glob("*.txt")):
        for case in cases(path):
            # etcd draws a picture first; the answer is what stands last
            expected = case.expected.splitlines()[-1].removeprefix("<empty majority quorum>")
            assert quorum_answer(case) == expected, case
            seen += 1
    assert seen == HOW_MANY[folder]


class Tracker:
    """etcd's harness around a configuration: it remembers in which step a node came in."""

    def __init__(self) -> None:
        self.configuration = Configuration()
        self.since: dict[int, int] = {}
        self.step = 0

    def run(self, case: Case) -> str:
        before = self.configuration
        changes = [Change(KINDS[word[0]], int(word[1:])) for word in case.input.split()]
        try:
            if case.command == "simple":
                self.configuration = before.simple(changes)
            elif case.command == "enter-joint":
                auto = case.arguments.get("autoleave") == "true"
                self.configuration = before.enter_joint(changes, auto)
            else:
                assert case.command == "leave-joint", case
                self.configuration = before.leave_joint()
        except BadConfiguration as error:
            return str(error)
        finally:
            self.step += 1
        self.since = {node: self.since.get(node, max(self.step - 1, 1))
                      for node in sorted(self.configuration.nodes)}
        learners = self.configuration.learners
        return "\n".join([str(self.configuration)] + [
            f"{node}: StateProbe match=0 next={since}{' learner' if node in learners else ''}"
            for node, since in self.since.items()])


@needs_corpus
def test_configuration_changes_agree_with_the_cases_of_etcd() -> None:
    seen = 0
    for path in sorted((CORPUS / "etcd-confchange").glob("*.txt")):
        tracker = Tracker()
        for case in cases(path):
            assert tracker.run(case) == case.expected, case
            if tracker.configuration.voters:
                again = Configuration.decode(tracker.configuration.encode())
                assert again == tracker.configuration, case
            seen += 1
    assert seen == HOW_MANY["etcd-confchange"]
