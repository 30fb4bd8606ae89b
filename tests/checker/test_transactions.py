"""Transactions: each anomaly by its name, the guilty ones named; and the levels that it breaks."""
from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from seatrial.checker import BadHistory, CheckerError, History, Verdict
from seatrial.checker.judge import Question, judge
from seatrial.checker.transactions import check_transactions, implied
from seatrial.checker.transactions.clocks import Clocks, Cyclic
from seatrial.checker.transactions.cycles import CYCLES
from seatrial.checker.transactions.graph import PROCESS, REALTIME, RW, WR, WW, Graph
from seatrial.checker.transactions.levels import FORBIDS, Order, all_levels, level_named
from seatrial.checker.transactions.limits import OutOfLimits

Txn = tuple[int, str, list[list[Any]]]


def sequence(*transactions: Txn) -> History:
    """Transactions one after the other: process, outcome, operations."""
    rows = []
    for process, outcome, operations in transactions:
        asked = [[f, key, None if f == "r" else value] for f, key, value in operations]
        rows.append({"process": process, "type": "invoke", "f": "txn", "value": asked})
        rows.append({"process": process, "type": outcome, "f": "txn", "value": operations})
    return History.from_rows(rows)


def together(*transactions: Txn) -> History:
    """The same, all at the same time: real time says nothing."""
    history = list(sequence(*transactions).rows())
    rows = history[::2] + history[1::2]
    assert len({process for process, _, _ in transactions}) == len(transactions)
    return History.from_rows({name: row[name] for name in ("process", "type", "f", "value")}
                             for row in rows)


def interleaved(order: list[int], *transactions: Txn) -> History:
    """The same: the first time that one is named in the order it begins, the second it ends."""
    rows = list(sequence(*transactions).rows())
    at = [rows[2 * one + (one in order[:i])] for i, one in enumerate(order)]
    return History.from_rows({name: row[name] for name in ("process", "type", "f", "value")}
                             for row in at)


def ok(process: int, *operations: list[Any]) -> Txn:
    return process, "ok", list(operations)


LISTS = "list-append"
REGISTERS = "rw-register"
# name, model, history, the weakest level that is broken, one that still holds, who is guilty
ANOMALIES: list[tuple[str, str, History, str, str | None, set[int]]] = [
    ("G0", LISTS, together(
        ok(0, ["append", "x", 1], ["append", "y", 1]),
        ok(1, ["append", "x", 2], ["append", "y", 2]),
        ok(2, ["r", "x", [1, 2]], ["r", "y", [2, 1]])),
     "read-uncommitted", None, {0, 1}),
    ("G1a", LISTS, sequence(
        (0, "fail", [["append", "x", 1]]), ok(1, ["r", "x", [1]])),
     "read-committed", "read-uncommitted", {0, 1}),
    ("G1b", LISTS, together(
        ok(0, ["append", "x", 1], ["append", "x", 2]), ok(1, ["r", "x", [1]]),
        ok(2, ["r", "x", [1, 2]])), "read-committed", "read-uncommitted", {0, 1}),
    ("G1c", LISTS, together(
        ok(0, ["append", "x", 1], ["r", "y", [1]]), ok(1, ["append", "y", 1], ["r", "x", [1]])),
     "read-committed", "read-uncommitted", {0, 1}),
    ("unwritten-read", LISTS, sequence(ok(0, ["r", "x", [9]])),
     "read-committed", "read-uncommitted", {0}),
    ("duplicate-elements", LISTS, sequence(ok(0, ["append", "x", 1]), ok(1, ["r", "x", [1, 1]])),
     "read-uncommitted", None, {1}),
    ("incompatible-order", LISTS, together(
        ok(0, ["append", "x", 1]), ok(1, ["append", "x", 2]), ok(2, ["r", "x", [1, 2]]),
        ok(3, ["r", "x", [2]])), "read-uncommitted", None, {2, 3}),
    ("internal", LISTS, sequence(ok(0, ["append", "x", 1], ["r", "x", []])),
     "read-atomic", "read-committed", {0}),
    ("fractured-read", LISTS, together(
        ok(0, ["append", "x", 1], ["append", "y", 1]), ok(1, ["r", "x", [1]], ["r", "y", []]),
        ok(2, ["r", "y", [1]])), "read-atomic", "read-committed", {0, 1}),
    ("lost-update", LISTS, together(
        ok(0, ["r", "x", []], ["append", "x", 1]), ok(1, ["r", "x", []], ["append", "x", 2]),
        ok(2, ["r", "x", [1, 2]])), "snapshot-isolation", "causal", {0, 1}),
    ("G-single", LISTS, together(
        ok(0, ["r", "x", []], ["r", "y", [1]]), ok(1, ["append", "x", 1]),
        ok(2, ["r", "x", [1]], ["append", "y", 1])),
     "snapshot-isolation", "read-atomic", {0, 1, 2}),
    ("G2", LISTS, together(
        ok(0, ["r", "x", []], ["append", "y", 1]), ok(1, ["r", "y", []], ["append", "x", 1])),
     "serializable", "snapshot-isolation", {0, 1}),
    ("G-nonadjacent", LISTS, together(      # long fork
        ok(0, ["append", "x", 1]), ok(1, ["append", "y", 1]),
        ok(2, ["r", "x", [1]], ["r", "y", []]), ok(3, ["r", "x", []], ["r", "y", [1]])),
     "snapshot-isolation", "causal", {0, 1, 2, 3}),
    ("G-single-process", LISTS, sequence(
        ok(0, ["append", "x", 1]), ok(0, ["r", "x", []])),
     "strong-session-snapshot-isolation", "serializable", {0}),
    ("G-single-realtime", LISTS, sequence(
        ok(0, ["append", "x", 1]), ok(1, ["r", "x", []])),
     "strong-snapshot-isolation", "strong-session-serializable", {0, 1}),
    ("G1a", REGISTERS, sequence((0, "fail", [["w", "x", 1]]), ok(1, ["r", "x", 1])),
     "read-committed", "read-uncommitted", {0, 1}),
    ("G1b", REGISTERS, together(ok(0, ["w", "x", 1], ["w", "x", 2]), ok(1, ["r", "x", 1])),
     "read-committed", "read-uncommitted", {0, 1}),
    ("G1c", REGISTERS, together(
        ok(0, ["w", "x", 1], ["r", "y", 1]), ok(1, ["w", "y", 1], ["r", "x", 1])),
     "read-committed", "read-uncommitted", {0, 1}),
    ("unwritten-read", REGISTERS, sequence(ok(0, ["r", "x", 9])),
     "read-committed", "read-uncommitted", {0}),
    ("internal", REGISTERS, sequence(ok(0, ["w", "x", 1], ["r", "x", 2])),
     "read-atomic", "read-committed", {0}),
    ("fractured-read", REGISTERS, together(
        ok(0, ["w", "x", 1], ["w", "y", 1]), ok(1, ["r", "x", 1], ["w", "x", 2], ["w", "y", 2]),
        ok(2, ["r", "x", 2], ["r", "y", 1])), "read-atomic", "read-committed", {0, 1}),
    ("causality", REGISTERS, together(
        ok(0, ["w", "x", 1]), ok(1, ["r", "x", 1], ["w", "x", 2], ["w", "y", 1]),
        ok(2, ["r", "y", 1], ["w", "z", 1]), ok(3, ["r", "z", 1], ["r", "x", 1])),
     "causal", "read-atomic", {0, 1}),
    ("lost-update", REGISTERS, together(
        ok(0, ["r", "x", None], ["w", "x", 1]), ok(1, ["r", "x", None], ["w", "x", 2])),
     "snapshot-isolation", "causal", {0, 1}),
    ("G2", REGISTERS, together(
        ok(0, ["r", "x", None], ["w", "y", 1]), ok(1, ["r", "y", None], ["w", "x", 1])),
     "serializable", "snapshot-isolation", {0, 1}),
    ("causality-realtime", REGISTERS, sequence(
        ok(0, ["w", "x", 1]), ok(1, ["w", "x", 2]), ok(2, ["r", "x", 1])),
     "strong-causal", "strong-session-serializable", {1, 2}),
    ("G0-process", LISTS, sequence(
        ok(0, ["append", "x", 1]), ok(0, ["append", "x", 2]), ok(1, ["r", "x", [2, 1]])),
     "strong-session-read-uncommitted", "serializable", {0}),
    ("G0-realtime", LISTS, sequence(
        ok(0, ["append", "x", 1]), ok(1, ["append", "x", 2]), ok(2, ["r", "x", [2, 1]])),
     "strong-read-uncommitted", "strong-session-serializable", {0, 1}),
    ("G1c-process", LISTS, sequence(ok(0, ["r", "x", [1]]), ok(0, ["append", "x", 1])),
     "strong-session-read-committed", "serializable", {0}),
    ("G1c-realtime", REGISTERS, sequence(ok(0, ["r", "x", 1]), ok(1, ["w", "x", 1])),
     "strong-read-committed", "strong-session-serializable", {0, 1}),
    ("fractured-read-process", REGISTERS, sequence(
        ok(0, ["w", "y", 1]), ok(0, ["w", "x", 2], ["w", "y", 2]),
        ok(1, ["r", "x", 2], ["r", "y", 1])),
     "strong-session-read-atomic", "serializable", {0, 1}),
    ("fractured-read-realtime", REGISTERS, sequence(
        ok(0, ["w", "y", 1]), ok(1, ["w", "x", 2], ["w", "y", 2]),
        ok(2, ["r", "x", 2], ["r", "y", 1])),
     "strong-read-atomic", "strong-session-serializable", {0, 1, 2}),
    ("causality", LISTS, together(
        ok(0, ["append", "x", 1]), ok(1, ["r", "x", [1]], ["append", "y", 1]),
        ok(2, ["r", "y", [1]], ["append", "z", 1]), ok(3, ["r", "z", [1]], ["r", "x", []])),
     "causal", "read-atomic", {0, 3}),
    ("causality-process", REGISTERS, sequence(
        ok(0, ["w", "x", 1]), ok(1, ["r", "x", 1], ["w", "x", 2]), ok(1, ["w", "y", 1]),
        ok(2, ["r", "y", 1]), ok(2, ["r", "x", 1])), "causal", "serializable", {0, 1, 2}),
    ("G-nonadjacent-process", LISTS, sequence(
        ok(0, ["append", "x", 1]), ok(0, ["r", "y", []]), ok(1, ["append", "y", 1]),
        ok(1, ["r", "x", []])), "strong-session-snapshot-isolation", "serializable", {0, 1}),
    ("G-nonadjacent-realtime", LISTS, interleaved(
        [2, 1, 3, 3, 0, 0, 1, 2], ok(0, ["r", "x", []]), ok(1, ["append", "x", 1]),
        ok(2, ["r", "x", [1]], ["r", "y", []]), ok(3, ["append", "y", 1])),
     "strong-snapshot-isolation", "strong-session-serializable", {0, 1, 2, 3}),
    ("G2-process", LISTS, sequence(
        ok(0, ["append", "x", 1]), ok(0, ["r", "y", []]),
        ok(1, ["r", "x", []], ["append", "y", 1])),
     "strong-session-serializable", "strong-session-snapshot-isolation", {0, 1}),
    ("G2-realtime", LISTS, interleaved(
        [2, 0, 0, 1, 1, 2], ok(0, ["append", "x", 1]), ok(1, ["r", "y", []]),
        ok(2, ["r", "x", []], ["append", "y", 1])),
     "strict-serializable", "strong-session-serializable", {0, 1, 2}),
]


def test_each_anomaly_and_each_level_is_among_them() -> None:
    plain = {name for name, *_ in ANOMALIES if not name.endswith(("-process", "-realtime"))}
    assert plain == {name for level in FORBIDS.values() for name in level}
    cycles = {f"{name}-{order}" for name in CYCLES for order in ("process", "realtime")}
    assert cycles == {name for name, *_ in ANOMALIES} - plain
    assert {level.name for level in all_levels(Order.REAL_TIME)} == {
        level_named(broken).name for _, _, _, broken, _, _ in ANOMALIES}


@pytest.mark.parametrize(("name", "model", "history", "broken", "held", "guilty"), ANOMALIES,
                         ids=[f"{model}-{name}" for name, model, *_ in ANOMALIES])
def test_an_anomaly_is_named_with_the_guilty_and_breaks_its_level(
    name: str, model: str, history: History, broken: str, held: str | None, guilty: set[int],
) -> None:
    result = check_transactions(history, model, broken)
    assert result.verdict == Verdict.VIOLATION
    assert name in result.evidence["anomalies"]
    found = result.evidence["anomalies"][name][0]
    assert guilty <= {transaction["process"] for transaction in found["transactions"]}
    rows = [(transaction["invoked_row"], transaction["completed_row"])
            for transaction in found["transactions"]]
    assert all(f"(rows {begun}-{ended})" in result.text for begun, ended in rows)
    assert f"{name}: " in result.text
    assert check_transactions(history, model).verdict == Verdict.VIOLATION
    if held is not None:
        assert check_transactions(history, model, held).verdict == Verdict.PASS


def test_a_clean_history_holds_every_level() -> None:
    lists = sequence(ok(0, ["append", "x", 1], ["r", "x", [1]]), ok(1, ["r", "x", [1]]),
                     (2, "info", [["append", "x", 2], ["r", "x", None]]), ok(1, ["r", "x", [1, 2]]))
    registers = sequence(ok(0, ["w", "x", 1], ["r", "x", 1]),
                         ok(1, ["r", "x", 1], ["r", "y", None]), (2, "info", [["w", "x", 2]]),
                         ok(1, ["r", "x", 2]), ok(0, ["r", "x", 2]))
    for history, model in ((lists, LISTS), (registers, REGISTERS)):
        result = check_transactions(history, model)
        assert result.verdict == Verdict.PASS
        assert set(result.evidence["levels"].values()) == {"pass"}
        assert result.evidence["anomalies"] == {}


def test_without_times_only_sessions_count() -> None:
    history = sequence(ok(0, ["w", "x", 1]), ok(1, ["w", "x", 2]), ok(2, ["r", "x", 1]))
    assert check_transactions(history, REGISTERS).verdict == Verdict.VIOLATION
    history.timed = False
    assert check_transactions(history, REGISTERS).verdict == Verdict.PASS
    with pytest.raises(CheckerError, match="strict-serializable needs to know what ended before"):
        check_transactions(history, REGISTERS, "strict-serializable")


@pytest.mark.parametrize(("operations", "message"), [
    (7, "history:2: 'txn' has the value 7; expected a transaction: a list of"),
    ([["x", 1, 2]], "['x', 1, 2] in a transaction; expected [f, key, value], f one of r, append"),
    ([["append", 1, 2], ["append", 1, 2]], "2 is appended to 1 a second time; expected elements"),
])
def test_what_is_no_transaction_is_refused(operations: Any, message: str) -> None:
    rows = [{"process": 0, "type": type, "f": "txn", "value": operations}
            for type in ("invoke", "ok")]
    with pytest.raises(BadHistory) as caught:
        check_transactions(History.from_rows(rows), LISTS)
    assert message in str(caught.value)


def test_a_write_of_nil_is_refused_as_it_can_not_be_told_from_the_start() -> None:
    history = sequence(ok(0, ["r", "x", None]), ok(1, ["w", "x", None]), ok(2, ["r", "x", None]))
    with pytest.raises(BadHistory, match="history:3: nil is written to x; expected another value"):
        check_transactions(history, REGISTERS)


def test_who_reads_two_versions_of_one_writer_loses_no_update() -> None:
    history = together(
        ok(0, ["append", "x", 1], ["append", "x", 2]),
        ok(1, ["r", "x", [1]], ["append", "x", 3]), ok(2, ["r", "x", [1, 2]], ["append", "x", 4]))
    found = check_transactions(history, LISTS).evidence["anomalies"]
    assert "G1b" in found
    assert "lost-update" not in found


def test_keys_and_values_may_be_lists_and_maps() -> None:
    history = sequence(ok(0, ["w", ["a", 1], {"b": [1, 2]}]), ok(1, ["r", ["a", 1], {"b": [1, 2]}]),
                       ok(2, ["r", ["a", 1], {"b": [1]}]))
    assert check_transactions(history, REGISTERS).evidence["anomalies"].keys() == {
        "unwritten-read"}


def test_levels_are_known_by_name() -> None:
    assert [level.name for level in all_levels(Order.SESSION)][:3] == [
        "read-uncommitted", "strong-session-read-uncommitted", "read-committed"]
    assert level_named("strong-serializable").name == "strict-serializable"
    assert level_named("causal").order == Order.SESSION
    with pytest.raises(CheckerError, match="unknown level 'linear'; expected strict-serializable"):
        level_named("linear")


def slow_components(n: int, edges: list[tuple[int, int]]) -> list[set[int]]:
    reach = [[a == b for b in range(n)] for a in range(n)]
    for a, b in edges:
        reach[a][b] = True
    for k, a, b in itertools.product(range(n), repeat=3):
        reach[a][b] = reach[a][b] or (reach[a][k] and reach[k][b])
    return [{b for b in range(n) if reach[a][b] and reach[b][a]} for a in range(n)]


def test_components_and_cycles_agree_with_the_closure() -> None:
    rng = random.Random(5)
    found = 0
    for _ in range(200):
        n = rng.randint(1, 8)
        edges = list({(a, b) for a, b in ((rng.randrange(n), rng.randrange(n))
                                          for _ in range(rng.randint(0, 14))) if a != b})
        kinds = [rng.choice((WW, WR, RW)) for _ in edges]
        graph = Graph(n, [a for a, _ in edges], [b for _, b in edges], kinds)
        number = graph.components(WW | WR | RW)
        assert [{b for b in range(n) if number[a] == number[b]} for a in range(n)] == (
            slow_components(n, edges))
        assert all(number[a] >= number[b] for a, b in edges)
        rest = [edge for edge, kind in zip(edges, kinds, strict=True) if kind != RW]
        back = slow_components(n, [])
        for a in range(n):
            back[a] = {b for b in range(n) if b in reached(n, rest, a)}
        truth = any(a in back[b] for (a, b), kind in zip(edges, kinds, strict=True) if kind == RW)
        cycle = graph.cycle(RW, WW | WR)
        assert (cycle is not None) == truth
        for apart in (False, True):
            cycle = graph.cycle(RW, WW | WR | RW, apart=apart)
            if cycle is None:
                assert not truth            # that one would do, too
                continue
            found += 1
            assert [edges[i][1] for i in cycle] == [edges[i][0] for i in cycle[1:] + cycle[:1]]
            assert kinds[cycle[0]] == RW
            if apart:
                assert not any(kinds[i] == kinds[j] == RW
                               for i, j in zip(cycle, cycle[1:] + cycle[:1], strict=True))
    assert found > 50


def reached(n: int, edges: list[tuple[int, int]], start: int) -> set[int]:
    seen = {start}
    while more := {b for a, b in edges if a in seen} - seen:
        seen |= more
    return seen


def test_a_search_that_takes_too_long_says_so() -> None:
    n = 50
    edges = [(a, b) for a in range(n) for b in range(n) if a != b]
    graph = Graph(n, [a for a, _ in edges], [b for _, b in edges], [RW] * len(edges))
    with pytest.raises(TimeoutError):
        graph.cycle(RW, RW, apart=True, budget=100)


def test_what_was_not_looked_for_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    lists = sequence(ok(0, ["append", "x", 1]), ok(1, ["r", "x", [1]]))
    registers = sequence(ok(0, ["w", "x", 1]), ok(1, ["r", "x", 1]))

    def full(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(implied, "Clocks", full)
    for level, on_lists, on_registers in (
            ("read-atomic", Verdict.PASS, Verdict.PASS),
            ("causal", Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE),
            ("strict-serializable", Verdict.PASS, Verdict.INCONCLUSIVE)):
        assert check_transactions(lists, LISTS, level).verdict == on_lists
        assert check_transactions(registers, REGISTERS, level).verdict == on_registers


def test_limits_of_time_and_memory_end_the_check() -> None:
    history = sequence(*(ok(i % 3, ["append", "x", i]) for i in range(5)), ok(0, ["r", "x", [9]]))
    for limits, said in (({"time_limit_s": 0.0}, "took too long"),
                         ({"memory_limit_bytes": -(1 << 50)}, "needs more memory")):
        result = check_transactions(history, LISTS, **limits)
        assert result.verdict == Verdict.INCONCLUSIVE
        assert result.summary.startswith("strict-serializable undecided: the search for G0, ")
        assert result.summary.endswith(said)
        assert set(result.evidence["levels"].values()) == {"inconclusive"}


def test_what_was_found_before_a_limit_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    history = sequence(ok(0, ["append", "x", 1]), ok(0, ["r", "x", [9]]))

    def stop(*_: Any, **__: Any) -> None:
        raise OutOfLimits("memory")

    monkeypatch.setattr("seatrial.checker.transactions.find", stop)
    result = check_transactions(history, LISTS)
    assert result.summary == "not strict-serializable: unwritten-read"
    assert result.evidence["levels"]["read-uncommitted"] == "inconclusive"


def reachable(n: int, edges: list[tuple[int, int]]) -> list[set[int]]:
    """What comes before each node, by closure."""
    before: list[set[int]] = [set() for _ in range(n)]
    for _ in range(n):
        for a, b in edges:
            before[b] |= {a} | before[a]
    return before


def test_clocks_agree_with_the_closure() -> None:
    rng = random.Random(11)
    shared = cyclic = 0
    for _ in range(300):
        n = rng.randint(1, 12)
        edges = list({(a, b) for a, b in ((rng.randrange(n), rng.randrange(n)) for _ in range(
            rng.randint(0, 20))) if a < b or (a != b and rng.random() < 0.1)})
        kinds = [rng.choice((WR, PROCESS, RW)) for _ in edges]
        graph = Graph(n, [a for a, _ in edges], [b for _, b in edges], kinds)
        before = reachable(n, [edge for edge, kind in zip(edges, kinds, strict=True)
                               if kind != RW])
        if any(node in before[node] for node in range(n)):
            cyclic += 1
            with pytest.raises(Cyclic):
                Clocks(graph, WR | PROCESS, PROCESS, 1 << 20)
            continue
        clocks = Clocks(graph, WR | PROCESS, PROCESS, 1 << 20)
        for a, b in itertools.product(range(n), range(n)):
            assert clocks.before(a, b) == (a in before[b])
        shared += clocks.chains < sum(any(node in some for some in before) for node in range(n))
    assert shared > 50
    assert cyclic > 10


def test_clocks_need_as_many_chains_as_there_are_clients_though_processes_crash() -> None:
    n, clients = 600, 3
    edges = [(i, j, REALTIME) for i in range(n) for j in range(i + clients, i + 2 * clients)
             if j < n]
    graph = Graph(n, *(list(column) for column in zip(*edges, strict=True)))
    assert Clocks(graph, REALTIME, PROCESS, 1 << 30).chains == clients
    with pytest.raises(MemoryError):
        Clocks(graph, REALTIME, PROCESS, 1 << 10)


# Put into the midst of transactions of 6 clients that ran one after the other.
MANY = 21_000
STALE: dict[str, list[Txn]] = {
    LISTS: [ok(0, ["append", "odd", 1]), ok(1, ["r", "odd", [1]], ["append", "even", 1]),
            ok(2, ["r", "even", [1]], ["append", "third", 1]),
            ok(3, ["r", "third", [1]], ["r", "odd", []])],
    REGISTERS: [ok(0, ["w", "odd", 1]), ok(1, ["r", "odd", 1], ["w", "odd", 2], ["w", "even", 1]),
                ok(2, ["r", "even", 1], ["w", "third", 1]),
                ok(3, ["r", "third", 1], ["r", "odd", 1])],
}


def many(model: str) -> list[Txn]:
    """Transactions on keys of 16 versions each, every read of which is right."""
    found, written = [], list[int]()
    for i in range(MANY):
        key = f"k{i // 32}"
        if i % 32 == 0:
            written = []
        seen: Any = list(written) if model == LISTS else written[-1] if written else None
        change: list[Any] = ["append" if model == LISTS else "w", key, i]
        found.append(ok(i % 6, ["r", key, seen], change) if i % 2 else ok(i % 6, ["r", key, seen]))
        if i % 2:
            written.append(i)
    return found


@pytest.mark.parametrize("model", [LISTS, REGISTERS])
def test_among_many_transactions_the_guilty_are_named_and_drawn(model: str) -> None:
    clean = many(model)
    result = check_transactions(sequence(*clean[:2000]), model, "causal")
    assert result.verdict == Verdict.PASS
    assert set(result.evidence["levels"].values()) == {"pass"}
    at = MANY // 2
    rows = {2 * (at + i) for i in range(4)}
    result = check_transactions(sequence(*clean[:at], *STALE[model], *clean[at:]), model, "causal")
    assert result.verdict == Verdict.VIOLATION
    assert result.evidence["levels"]["strong-session-read-atomic"] == "pass"
    found = result.evidence["anomalies"]
    name = next(name for name in found if name.startswith("causality"))
    guilty = {transaction["invoked_row"] for transaction in found[name][0]["transactions"]}
    assert {min(rows), max(rows)} <= guilty <= rows
    assert "odd" in result.text
    assert "not causal" in result.summary


def test_edges_that_lead_nowhere_are_refused() -> None:
    for sources, targets in (([0], [5]), ([1], [1]), ([0, 1], [1])):
        with pytest.raises(ValueError, match=r"an edge|columns of different"):
            Graph(2, sources, targets, [WW] * len(sources))


BANK = [{"process": 0, "type": type, "f": "read", "value": value} for type, value in (
    ("invoke", None), ("ok", {"a": 5, "b": 5}), ("invoke", None), ("ok", {"a": 4, "b": 6}))]


def test_a_bank_keeps_its_total_and_nobody_owes() -> None:
    def verdict(*values: Any) -> Any:
        rows = [*BANK, *({"process": 1, "type": type, "f": "read", "value": value}
                         for value in values for type in ("invoke", "ok"))]
        return judge(History.from_rows(rows), "bank", Question())
    assert verdict().verdict == Verdict.PASS
    result = verdict({"a": 4, "b": 5})
    assert result.verdict == Verdict.VIOLATION
    assert "row 5: a total of 9; expected 10" in result.summary
    assert result.evidence["examples"][0]["process"] == 1
    assert "account b is negative" in verdict({"a": 11, "b": -1}).summary
    with pytest.raises(BadHistory, match="history:6: a read answered 7; expected a map"):
        verdict(7)
    assert judge(History.from_rows(BANK[:1]), "bank", Question()).verdict == Verdict.NO_COVERAGE


def test_a_long_fork_names_both_reads() -> None:
    def verdict(second: list[Any]) -> Any:
        rows = [{"process": process, "type": type, "f": "read", "value": value}
                for process, value in enumerate(([["r", "x", 1], ["r", "y", None]], second))
                for type in ("invoke", "ok")]
        return judge(History.from_rows(rows), "long-fork", Question())
    assert verdict([["r", "x", 1], ["r", "y", 1]]).verdict == Verdict.PASS
    result = verdict([["r", "x", None], ["r", "y", 1]])
    assert result.verdict == Verdict.VIOLATION
    assert result.evidence["forks"][0]["rows"] == [1, 3]
    assert "the reads of rows 1 and 3 saw two writes in opposite orders" in result.summary
    with pytest.raises(CheckerError, match="a read of 1 keys; expected groups of 2"):
        verdict([["r", "x", None]])


def test_a_history_of_transactions_needs_no_model_to_be_named() -> None:
    for history, said in ((sequence(ok(0, ["append", "x", 1])), "strict-serializable"),
                          (sequence(ok(0, ["w", "x", 1])), "nothing found that strict")):
        assert said in judge(history, None, Question()).summary
    with pytest.raises(CheckerError, match="a level of isolation is asked of transactions"):
        judge(History.from_rows(BANK), "bank", Question(level="serializable"))
