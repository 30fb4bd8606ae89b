"""Durability: what was acknowledged and is gone, named; and every order of a few writes tried."""
from __future__ import annotations

import itertools
import random
from collections import Counter
from typing import Any

import pytest

from seatrial.checker import CheckResult, History, Verdict
from seatrial.checker.judge import Question, judge

Event = tuple[int, str, str, str, Any]      # process, type, f, key, value
SECOND = 1_000_000_000


def judged(*events: Event, step: int = SECOND, **asked: Any) -> CheckResult:
    return judge(History.from_rows([
        {"time": i * step, "process": process, "type": type_, "f": f, "value": value,
         "key": key.encode() if key else None}
        for i, (process, type_, f, key, value) in enumerate(events)]), "durability",
        Question(**asked))


def did(f: str, key: str, value: Any, end: str = "ok", process: int = 0) -> list[Event]:
    asked = None if f == "read" else value
    return [(process, "invoke", f, key, asked), (process, end, f, key, value)]


def lost(found: CheckResult) -> list[int]:
    return [one["invoked_row"] for one in found.evidence["examples"]]


WRITES = [*did("write", "x", 1), *did("write", "x", 2), *did("write", "y", 3),
          *did("write", "x", 4)]


def test_what_is_overwritten_is_not_lost() -> None:
    found = judged(*WRITES, *did("read", "x", 4), *did("read", "y", 3))
    assert found.verdict is Verdict.PASS
    assert found.summary == ("of 4 acknowledged writes 0 are lost, 0 unknown; "
                             "0 that crashed were found")


def test_lost_writes_are_named_with_the_recovery_point() -> None:
    found = judged(*WRITES, *did("read", "x", 1), *did("read", "y", None))
    assert found.verdict is Verdict.VIOLATION
    assert lost(found) == [2, 4, 6]
    assert found.text.splitlines()[:2] == [
        "lost: p0's write x = 2 (rows 2-3, acknowledged at 3.000 s); rows 8-9 read an older state",
        "lost: p0's write y = 3 (rows 4-5, acknowledged at 5.000 s); rows 10-11 read an older "
        "state"]
    assert found.evidence["rpo"] == {
        "operations": 3, "oldest_lost_ns": 3 * SECOND, "newest_lost_ns": 7 * SECOND,
        "at_least_ns": 4 * SECOND, "at_most_ns": 5 * SECOND}
    assert found.text.splitlines()[-1] == (
        "recovery point: 3 acknowledged writes lost, 4.000 s of them at least, 5.000 s at most")


def test_writes_that_overlap_may_have_come_in_either_order() -> None:
    overlap = [(0, "invoke", "write", "x", 1), (1, "invoke", "write", "x", 2),
               (0, "ok", "write", "x", 1), (1, "ok", "write", "x", 2)]
    assert judged(*overlap, *did("read", "x", 1)).verdict is Verdict.PASS
    assert judged(*overlap, *did("read", "x", 2)).verdict is Verdict.PASS
    assert lost(judged(*overlap, *did("read", "x", None))) == [0, 1]


def test_one_stale_read_at_the_end_proves_no_loss() -> None:
    assert judged(*WRITES, *did("read", "x", 1), *did("read", "x", 4)).verdict is Verdict.PASS


def test_what_crashed_and_appears_is_found() -> None:
    crashed = [*did("write", "x", 1), *did("write", "x", 2, "info", 1),
               *did("write", "z", 5, "info", 2)]
    found = judged(*crashed, *did("read", "x", 2))
    assert found.verdict is Verdict.PASS
    assert (found.evidence["found"], found.evidence["never_seen"]) == (1, 1)
    assert judged(*crashed, *did("read", "x", 1)).verdict is Verdict.PASS
    assert lost(judged(*crashed[2:], *did("read", "x", 2), *did("write", "x", 9),
                       *did("read", "x", 2))) == [6]        # it was there before the write of 9


def test_what_nobody_wrote_or_failed_is_made_up() -> None:
    found = judged(*did("write", "x", 1), *did("write", "x", 2, "fail"), *did("read", "x", 2),
                   *did("read", "x", 1))
    assert found.verdict is Verdict.VIOLATION
    assert found.text == ("made up: p0 read x = 2 (rows 4-5), which nobody wrote, or a write that "
                          "failed")


def test_without_reads_at_the_end_nothing_is_known() -> None:
    assert judged(*did("read", "x", None), *WRITES).verdict is Verdict.NO_COVERAGE
    found = judged(*WRITES, *did("read", "x", 4))
    assert (found.verdict, found.evidence["unknown"]) == (Verdict.PASS, 1)


def test_deletes_and_compare_and_sets_are_writes() -> None:
    deleted = [*did("write", "x", 1), *did("delete", "x", None)]
    assert judged(*deleted, *did("read", "x", None)).verdict is Verdict.PASS
    assert lost(judged(*deleted, *did("read", "x", 1))) == [2]
    assert lost(judged(*deleted, *did("write", "x", 2), *did("read", "x", None))) == [4]
    swapped = [*did("write", "x", 1), *did("cas", "x", [1, 2])]
    assert lost(judged(*swapped, *did("read", "x", 1))) == [2]
    assert judged(*swapped, (0, "invoke", "cas", "x", [7, 8]),
                  (0, "fail", "cas", "x", [7, 8, 2])).verdict is Verdict.PASS
    assert judged(*did("write", "x", 1), *did("read", "x", 0), initial=0).verdict is (
        Verdict.VIOLATION)


@pytest.mark.parametrize(("f", "key"), [("add", ""), ("append", "k")])
def test_elements_of_sets_and_logs(f: str, key: str) -> None:
    added = [*did(f, key, 1), *did(f, key, 2, process=3), *did(f, key, 3, "info", 1)]
    assert judged(*added, *did("read", key, [1, 2, 3])).evidence["found"] == 1
    found = judged(*added, *did("read", key, [1]))
    assert found.verdict is Verdict.VIOLATION
    assert lost(found) == [2]
    assert found.evidence["examples"][0]["process"] == 3
    assert found.evidence["rpo"]["operations"] == 1
    assert lost(judged(*added, *did("read", key, None))) == [0, 2]
    assert "made up: p0 read" in judged(*added, *did("read", key, [1, 2, 9])).text
    assert judged(*added).verdict is Verdict.NO_COVERAGE


# The slow twin: every order of the versions of one key that time allows.

def made(rng: random.Random) -> list[Event]:
    """Overlapping writes of one key, reads among them, and reads at the end."""
    events: list[Event] = []
    values: list[Any] = [None]
    open_: dict[int, Event] = {}
    fresh = itertools.count(1)
    repeat = rng.random() < 0.3
    for _ in range(rng.randint(4, 16)):
        process = rng.randrange(4)
        if process in open_:
            _, _, f, key, value = open_.pop(process)
            end = rng.choices(("ok", "info", "fail"), (8, 1, 1))[0]
            answer = rng.choice(values) if f == "read" else value
            events.append((process, end, f, key, answer if end == "ok" else value))
            continue
        f = "write" if rng.random() < 0.6 and len(values) < 6 else "read"
        value = None if f == "read" else rng.randint(1, 2) if repeat else next(fresh)
        values += [value] if f == "write" else []
        open_[process] = process, "invoke", f, "x", value
        events.append(open_[process])
    for process, (_, _, f, key, value) in open_.items():
        events.append((process, "info", f, key, value))
    for process in range(rng.randint(0, 2)):
        events += did("read", "x", rng.choice(values[-3:]), process=process)
    return events


def certainly_lost(events: list[Event]) -> list[int] | None:
    """The invocations of acknowledged writes that every final read is certain to be older than,
    whoever wrote what it shows and in whatever order; None: nobody read at the end."""
    opened: dict[int, int] = {}
    writes: list[tuple[int, Any, int | None]] = [(-1, None, -1)]        # from, value, until
    reads: list[tuple[int, Any, int]] = []
    for row, (process, type_, f, _, value) in enumerate(events):
        if type_ == "invoke":
            opened[process] = row
        elif f == "write" and type_ != "fail":
            writes.append((opened[process], value, row if type_ == "ok" else None))
        elif f == "read" and type_ == "ok":
            reads.append((opened[process], value, row))
    quiet = max(inv if ret is None else ret for inv, _, ret in writes)
    final = [read for read in reads if read[0] > quiet]
    if not final:
        return None
    alone = Counter(value for _, value, _ in writes)

    def since(version: tuple[int, Any, int | None]) -> float:
        known: list[float] = [version[2]] if version[2] is not None else []
        if alone[version[1]] == 1:
            known += [row for _, value, row in reads if value == version[1]]
        return min(known, default=float("inf"))

    found = []
    orders = [order for order in itertools.permutations(writes)
              if all(not since(b) < a[0] for a, b in itertools.combinations(order, 2))]
    for write in writes[1:]:
        may_be_newer = any(
            order.index(version) >= order.index(write)
            for order in orders for version in order for read in final
            if version[1] == read[1])
        unknown = any(read[1] not in alone for read in final)
        if write[2] is not None and not may_be_newer and not unknown:
            found.append(write[0])
    return sorted(found)


@pytest.mark.parametrize("seed", range(4))
def test_every_order_of_a_few_writes(seed: int) -> None:
    rng = random.Random(seed)
    counted: Counter[str] = Counter()
    for n in range(150):
        events = made(rng)
        expected, found = certainly_lost(events), judged(*events)
        said = None if not found.evidence["final_reads"] else sorted(lost(found))
        assert said == expected, f"seed {seed}, history {n}: {events}"
        counted["none" if expected is None else "lost" if expected else "kept"] += 1
    assert min(counted[what] for what in ("none", "lost", "kept")) > 5, counted


@pytest.mark.parametrize(("first", "shown", "counts"), [
    ("ok", [], {"acknowledged": 1, "lost": 1, "kept": 0, "found": 0}),
    ("info", [1], {"acknowledged": 1, "lost": 0, "kept": 1, "found": 0}),
    ("info", [], {"acknowledged": 1, "lost": 1, "kept": 0, "never_seen": 0})])
def test_an_element_that_is_added_again_is_counted_once(
        first: str, shown: list[int], counts: dict[str, int]) -> None:
    found = judged(*did("add", "s", 1, first), *did("add", "s", 1, process=1),
                   *did("read", "s", shown, process=1))
    assert {name: found.evidence[name] for name in counts} == counts
