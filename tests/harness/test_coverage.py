"""Coverage: each requirement is measured from events alone, and an unmet one is named."""
from __future__ import annotations

from typing import Any

import pytest

from seatrial.checker import Verdict
from seatrial.checker.history import History
from seatrial.harness import coverage, topology
from seatrial.harness.coverage import effective_windows
from seatrial.harness.errors import BadInput
from seatrial.harness.fault_windows import (
    FaultWindow,
    fault_windows,
    majority_exists,
    majority_throughout,
)
from seatrial.harness.leadership import leadership
from seatrial.harness.voters import Voters
from seatrial.harness.yamlfile import Document

from .fabricate import (
    NODES,
    Campaign,
    Row,
    S,
    Strike,
    cut,
    leader_row,
    members_row,
    strike_rows,
    voyage,
)

TRIAL = {
    "min_ok": 10_000, "min_write_share": 0.3, "min_clients": 10, "max_keys_at_a_time": 20,
    "min_faults": 10, "min_fault_names": 4, "min_partitions": 2, "leader_hit": True,
    "min_leader_changes": 3, "min_ok_per_window": 100, "final_reads": True,
}


@pytest.fixture(scope="module")
def history() -> History:
    return voyage().history()


def measured(history: History) -> dict[str, Any]:
    table = coverage.check(history, {}, NODES).evidence["requirements"]
    return {name: entry["got"] for name, entry in table.items()}


def op(process: int, f: str, type: str, key: bytes = b"k", at: float = 0.0) -> Row:
    return {"process": process, "f": f, "type": type, "key": key, "time": int(at * S)}


def done(process: int, f: str, key: bytes = b"k", at: float = 0.0) -> list[Row]:
    return [op(process, f, "invoke", key, at), op(process, f, "ok", key, at + 0.001)]


def test_a_full_campaign_meets_all_that_the_trial_asks(history: History) -> None:
    found = coverage.check(history, TRIAL, NODES)
    assert (found.verdict, found.summary) == (Verdict.PASS, "all 11 requirements met")
    assert all(entry["met"] for entry in found.evidence["requirements"].values())


@pytest.mark.parametrize(("requirement", "needed", "said"), [
    ("min_ok", 10**6, "ok operations: 14,"),
    ("min_write_share", 0.9, "share of writes among ok operations: 0.6"),
    ("min_clients", 13, "clients at once: 12, needed 13"),
    ("max_keys_at_a_time", 3, "keys at a time: 4, at most 3"),
    ("min_faults", 12, "effective faults: 11, needed 12"),
    ("min_faults_by_name", {"kill": 4, "pause": 3}, "kill 4, partition-halves 1"),
    ("min_fault_names", 8, "different fault names: 7, needed 8"),
    ("min_partitions", 6, "different kinds of partition: 5, needed 6"),
    ("min_leader_changes", 5, "leader changes: 4, needed 5"),
    ("min_ok_per_window", 500, "fault window with a majority: 4"),
])
def test_each_unmet_requirement_is_named_with_its_numbers(
    history: History, requirement: str, needed: Any, said: str,
) -> None:
    found = coverage.check(history, {requirement: needed}, NODES)
    assert found.verdict is Verdict.NO_COVERAGE
    assert said in found.summary
    assert not found.evidence["requirements"][requirement]["met"]


def test_an_empty_history_covers_nothing() -> None:
    found = coverage.check(History.from_rows([]), TRIAL, NODES)
    assert found.verdict is Verdict.NO_COVERAGE
    unmet = [name for name, entry in found.evidence["requirements"].items() if not entry["met"]]
    assert set(unmet) == set(TRIAL) - {"max_keys_at_a_time"}


def test_an_unknown_requirement_is_refused_with_those_there_are() -> None:
    with pytest.raises(BadInput, match=r"coverage\.min_okk: unknown requirement; .*min_ok,"):
        coverage.check(History.from_rows([]), {"min_okk": 1}, NODES)


def test_a_fault_that_never_took_effect_does_not_count() -> None:
    lane = strike_rows([Strike("kill", ("n1",), 1, 2, effective=False),
                        Strike("pause", ("n1",), 3, 4)])
    found = measured(History.from_rows(lane))
    assert (found["min_faults"], found["min_faults_by_name"]) == (1, {"pause": 1})


def test_a_worker_that_goes_on_under_a_new_process_is_still_one_client() -> None:
    rows = [op(1, "write", "invoke"), op(2, "read", "invoke"), op(1, "write", "info"),
            op(11, "read", "invoke"), op(11, "read", "ok"), op(2, "read", "ok")]
    assert measured(History.from_rows(rows))["min_clients"] == 2


def test_keys_used_one_after_the_other_are_one_at_a_time() -> None:
    rows = [row for key in (b"a", b"b", b"c") for row in (*done(1, "write", key),
                                                           *done(2, "write", key))]
    assert measured(History.from_rows(rows))["max_keys_at_a_time"] == 1


def test_keys_used_in_turn_are_in_use_together_but_final_reads_do_not_count() -> None:
    rows = [row for key in (b"a", b"b", b"a") for row in done(1, "write", key)]
    rows += [row for key in (b"a", b"b", b"a", b"b") for row in done(1, "read", key)]
    assert measured(History.from_rows(rows))["max_keys_at_a_time"] == 2
    assert measured(History.from_rows(done(1, "write", b"a") + rows[-8:]))[
        "max_keys_at_a_time"] == 1


@pytest.mark.parametrize(("late", "read"), [
    (done(1, "read", b"a", 9), 1),
    (done(1, "read", b"a", 9) + done(1, "read", b"b", 9), 2),
    ([op(1, "read", "invoke", b"a"), op(1, "read", "fail", b"a")], 0),
    (done(1, "read", b"a", 9) + done(1, "write", b"b", 10), 0),
])
def test_final_reads_are_answered_and_begin_after_the_last_change(
    late: list[Row], read: int,
) -> None:
    rows = done(1, "write", b"a") + done(1, "write", b"b") + late
    assert measured(History.from_rows(rows))["final_reads"] == read
    found = coverage.check(History.from_rows(rows), {"final_reads": True}, NODES)
    assert (found.verdict is Verdict.PASS) == (read == 2)


def test_reads_under_the_last_fault_are_no_final_reads() -> None:
    lane = list(strike_rows([Strike("kill", ("n1",), 1, 5)]))
    rows = [*done(1, "write"), *lane[:2], *done(1, "read"), *lane[2:]]
    assert measured(History.from_rows(rows))["final_reads"] == 0
    assert measured(History.from_rows(rows + done(1, "read")))["final_reads"] == 1


@pytest.mark.parametrize(("strike", "alive"), [
    (Strike("kill", ("n1", "n2"), 0, 1), True),
    (Strike("kill", ("n1", "n2", "n3"), 0, 1), False),
    (Strike("pause", NODES, 0, 1), False),
    (Strike("partition-halves", (), 0, 1, cut(["n1", "n2"], ["n3", "n4", "n5"])), True),
    (Strike("partition-halves", (), 0, 1, cut(["n1"], ["n2", "n3"], ["n4", "n5"])), False),
    (Strike("partition-one-way", (), 0, 1, {n: ["n1"] for n in NODES[1:]}), True),
    (Strike("partition-one-way", (), 0, 1, {n: ["n1", "n2", "n3"] for n in NODES}), False),
    (Strike("delay", NODES, 0, 1), True),
    (Strike("partition-bridge", (), 0, 1, cut(["n1"], ["n3"]) | cut(["n2"], ["n4"])), True),
    (Strike("star", (), 0, 1, {node: [other for other in NODES if other not in ("n1", node)]
                               for node in NODES[1:]}), False),
])
def test_a_majority_needs_a_living_node_that_talks_both_ways_to_enough(
    strike: Strike, alive: bool,
) -> None:
    faults = fault_windows(History.from_rows(strike_rows([strike])))
    assert majority_exists(NODES, faults) is alive


def test_nothing_is_promised_beside_a_fault_that_merely_disturbs_or_is_not_proved_yet() -> None:
    def promised(*others: FaultWindow) -> bool:
        fault = FaultWindow("1", "kill", targets=("n1",), times={
            "requested": 10, "effective": 10, "ended": 20, "recovered": 20})
        return majority_throughout(fault, [fault, *others], Voters(NODES))

    def other(name: str, *targets: str, **times: int) -> FaultWindow:
        return FaultWindow("2", name, targets=targets, times=times)

    assert promised()
    assert not promised(other("delay", "n2", requested=15, effective=15, ended=16))
    assert promised(other("delay", "n2", requested=1, effective=2, ended=3))
    assert promised(other("delay", requested=15))                   # it found nobody to hit
    assert not promised(other("disk-full", "n2", "n3", requested=12, ended=30))
    assert promised(other("disk-full", "n2", requested=12, ended=30))
    assert promised(other("disk-flip", "n2", requested=1, effective=2, ended=3))
    assert not promised(other("disk-flip", "n2", "n3", requested=1, effective=2, ended=3))


def test_a_bridge_that_holds_alone_promises_nothing_beside_another_fault() -> None:
    times = {"requested": 10, "effective": 10, "ended": 20, "recovered": 20}
    bridge = FaultWindow("1", "partition-bridge", times=times,
                         grudge=cut(["n1"], ["n4", "n5"]) | cut(["n2"], ["n4", "n5"]))
    halves = FaultWindow("1", "partition-halves", times=times,
                         grudge=cut(["n1", "n2"], ["n3", "n4", "n5"]))
    kill = FaultWindow("2", "kill", targets=("n1",), times=times)
    assert majority_throughout(bridge, [bridge], Voters(NODES))
    assert not majority_throughout(bridge, [bridge, kill], Voters(NODES))
    assert majority_throughout(halves, [halves, kill], Voters(NODES))


def test_nothing_is_promised_where_a_deaf_node_calls_one_election_after_the_other() -> None:
    def promised(grudge: dict[str, list[str]]) -> bool:
        fault = FaultWindow("1", "partition-one-way", grudge=grudge, times={
            "requested": 10, "effective": 10, "ended": 20, "recovered": 20})
        return majority_throughout(fault, [fault], Voters(NODES))

    assert not promised({"n1": ["n2", "n3", "n4", "n5"]})           # deaf
    assert promised({node: ["n1"] for node in NODES[1:]})           # dumb
    assert promised(cut(["n1", "n2"], ["n3", "n4", "n5"]))


def test_a_fault_that_was_over_in_a_moment_need_not_show_progress() -> None:
    rows = [*strike_rows([Strike("kill", ("n1",), 1, 2), Strike("kill", ("n2",), 5, 9)])]
    for shortest_s, windows in ((0, 2), (3, 1), (10, 0)):
        found = effective_windows(History.from_rows(rows), NODES, shortest_s * 1_000_000_000)
        assert sum(window.whole for window in found) == windows


def test_a_ring_leaves_no_majority_whose_members_all_hear_each_other() -> None:
    ring = {node: [NODES[(i + 2) % 5], NODES[(i + 3) % 5]] for i, node in enumerate(NODES)}
    assert not majority_exists(NODES, [FaultWindow("1", "partition-majorities-ring", grudge=ring)])


def test_the_only_one_that_talks_to_a_majority_may_lack_the_newest_entries() -> None:
    bridge = {"n1": ["n4", "n5"], "n2": ["n4", "n5"], "n4": ["n1", "n2"], "n5": ["n1", "n2"]}
    fault = FaultWindow("1", "partition-bridge", grudge=bridge)

    def left(*stopped: str) -> bool:
        return majority_exists(NODES, [fault, FaultWindow("2", "kill", targets=stopped)])

    assert left()                       # n1, n2, n3 do, and n3, n4, n5
    assert left("n1")                   # n3, n4, n5 all hear each other
    assert left("n1", "n2")
    assert not left("n1", "n4")         # n3 hears n2 and n5, who don't hear each other
    assert not left("n3", "n1")


def test_two_faults_that_leave_no_majority_together_excuse_both_windows() -> None:
    strikes = [Strike("kill", ("n1", "n2"), 1, 9), Strike("pause", ("n3",), 4, 5),
               Strike("kill", ("n4",), 20, 21)]
    rows = sorted(strike_rows(strikes), key=lambda row: int(row["time"]))
    found = coverage.effective_windows(History.from_rows(rows), NODES)
    assert [window.majority for window in found] == [False, False, True]


def test_a_killed_node_counts_as_down_until_it_has_recovered() -> None:
    strikes = [Strike("kill", ("n1", "n2"), 1, 2), Strike("pause", ("n3",), 2.1, 3)]
    rows = sorted(strike_rows(strikes), key=lambda row: int(row["time"]))
    found = coverage.effective_windows(History.from_rows(rows), NODES)
    assert [window.majority for window in found] == [True, False]


DOMAINS = topology.tree_of(Document.parse("t.yml", """
domains:
  A: {nodes: 3}
  B: {nodes: 1, parent: A, mode: sync}
  C: {nodes: 1, parent: A, mode: async, max_lag: {time: 1, then: stall}}
  D: {nodes: 2, parent: A, mode: async, max_lag: {time: 1}}
"""))


@pytest.mark.parametrize(("strike", "promised"), [
    (Strike("kill", ("n1",), 1, 2), True),
    (Strike("kill", ("n1", "n2"), 1, 2), False),                # a majority of the root's
    (Strike("domain-kill", ("n6", "n7"), 1, 2), True),          # nobody waits for D
    (Strike("domain-kill", ("n4",), 1, 2), False),              # B is sync
    (Strike("domain-kill", ("n5",), 1, 2), False),              # writers are stalled for C
    (Strike("domain-cut", ("n6", "n7"), 1, 2, cut(["n1", "n2", "n3"], ["n6", "n7"])), True),
    (Strike("domain-cut", ("n4",), 1, 2, cut(["n1", "n2", "n3"], ["n4"])), False),
    (Strike("link-cut", ("n2", "n4"), 1, 2, cut(["n2"], ["n4"])), False),
])
def test_of_several_domains_those_that_writes_wait_for_must_be_unhurt(
    strike: Strike, promised: bool,
) -> None:
    nodes = [f"n{i}" for i in range(1, 8)]
    history = History.from_rows(strike_rows([strike]))
    (window,) = coverage.effective_windows(history, nodes, tree=DOMAINS)
    assert window.majority is promised


def test_operations_count_for_the_window_they_completed_in() -> None:
    rows = [*done(1, "write", at=1), *strike_rows([Strike("kill", ("n5",), 2, 4)])]
    rows += [*done(1, "write", at=3), *done(2, "read", at=3.5), *done(1, "read", at=5)]
    (window,) = coverage.effective_windows(History.from_rows(rows), NODES)
    assert window.ok == 2


def test_an_administrators_work_shows_progress_from_the_request_to_the_recovery() -> None:
    rows = [*strike_rows([Strike("member-add", ("n6",), 2, 4, gentle=True)])]
    for at in (1.9, 2.01, 3, 4.2, 4.4):
        rows += done(1, "write", at=at)
    rows.sort(key=lambda row: int(row["time"]))
    (window,) = coverage.effective_windows(History.from_rows(rows), NODES)
    assert (window.ok, window.majority) == (3, True)


def test_beside_an_administrators_work_nothing_is_promised() -> None:
    strikes = [Strike("rolling-restart", NODES, 2, 4, gentle=True), Strike("kill", ("n1",), 3, 5)]
    rows = sorted(strike_rows(strikes), key=lambda row: int(row["time"]))
    found = coverage.effective_windows(History.from_rows(rows), NODES)
    assert [window.majority for window in found] == [False, False]


def test_the_majority_is_one_of_those_who_vote_at_that_moment() -> None:
    """Of seven hosts five vote: three of these are more than they can lose."""
    nodes = (*NODES, "n6", "n7")
    strikes = [Strike("kill", ("n1", "n2", "n3"), at, at + 1) for at in (2, 12, 22)]
    rows = [members_row(1, *NODES), members_row(10, *NODES[2:], "n6", "n7"),
            members_row(22.5, *NODES), *strike_rows(strikes)]
    rows.sort(key=lambda row: int(row["time"]))
    found = coverage.effective_windows(History.from_rows(rows), nodes)
    assert [window.majority for window in found] == [False, True, False]


@pytest.mark.parametrize(("strike", "hit"), [
    (Strike("kill", ("n1",), 2, 3), False),
    (Strike("kill", ("n2", "n4"), 2, 3), True),
    (Strike("kill", ("n2",), 2, 3, effective=False), False),
    (Strike("partition-one", NODES, 2, 3, cut(["n2"], ["n1", "n3", "n4", "n5"])), True),
    (Strike("partition-one", NODES, 2, 3, cut(["n1"], ["n2", "n3", "n4", "n5"])), False),
    (Strike("partition-one-way", (), 2, 3, {"n2": ["n1", "n3", "n4"]}), True),
])
def test_the_leader_is_hit_when_it_is_a_target_or_loses_its_majority(
    strike: Strike, hit: bool,
) -> None:
    rows = [leader_row(0, "n1", 1), leader_row(1, "n2", 2), *strike_rows([strike]),
            leader_row(2.5, "n1", 3)]
    assert measured(History.from_rows(rows))["leader_hit"] == int(hit)


def answer(at: float, node: int, term: int) -> list[Row]:
    row = {"process": 1, "f": "read", "key": b"k", "node": node}
    return [row | {"type": "invoke", "time": int(at * S)},
            row | {"type": "ok", "time": int(at * S) + 1, "term": term}]


def test_terms_in_answers_tell_the_leader_when_one_node_gave_them_all() -> None:
    rows = answer(1, 0, 1) + answer(2, 1, 2) + answer(3, 1, 2) + answer(4, 2, 3) + answer(5, 3, 3)
    found = leadership(History.from_rows(rows), NODES)
    assert [(reign.term, reign.leader) for reign in found.reigns] == [
        (1, "n1"), (2, "n2"), (3, None)]
    assert (found.at(0), found.at(1 * S + 1), found.at(3 * S)) == (None, "n1", "n2")


def test_the_lane_names_the_leader_and_the_first_witness_gives_the_time() -> None:
    rows = answer(1, 0, 4) + answer(2, 3, 4) + [leader_row(3, "n3", 4), leader_row(9, "n5", 7)]
    found = leadership(History.from_rows(rows), NODES)
    assert [(reign.term, reign.leader, reign.since_ns) for reign in found.reigns] == [
        (4, "n3", 1 * S + 1), (7, "n5", 9 * S)]


def test_a_leader_that_follows_itself_is_no_leader_change() -> None:
    rows = [leader_row(at, leader, term) for at, leader, term in
            ((1, "n1", 1), (2, "n1", 2), (3, "n2", 3), (4, "n1", 6))]
    assert leadership(History.from_rows(rows), NODES).changes == 2


def test_coverage_of_a_made_up_campaign_does_not_depend_on_its_seed() -> None:
    for seed in (2, 3):
        campaign = Campaign(seconds=5, clients=4, seed=seed)
        assert measured(campaign.history())["min_clients"] == 4
