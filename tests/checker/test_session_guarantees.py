"""Session guarantees: stories that break one of them, and every order of a few writes tried."""
from __future__ import annotations

import itertools
import random
from collections import Counter
from typing import Any

import pytest

from seatrial.checker import CheckResult, History, Verdict
from seatrial.checker.judge import Question, judge

GUARANTEES = ("read-your-writes", "monotonic-reads", "monotonic-writes", "writes-follow-reads",
              "causal")
Op = tuple[int, str, str, Any, str]         # process, f, key, value (cas: old, new), outcome
Access = tuple[int, str, str, Any, int]     # process, r or w, key, value, number of the operation


def history(ops: list[Op]) -> History:
    """One operation after the other: what ended before what does not matter."""
    rows: list[dict[str, Any]] = []
    for process, f, key, value, outcome in ops:
        event = {"process": process, "f": f, "key": key.encode()}
        seen = f == "read" or (f == "cas" and outcome == "fail")
        asked = None if f == "read" else value[:2] if f == "cas" else value
        rows.append(event | {"type": "invoke", "value": asked})
        rows.append(event | {"type": outcome, "value": value if seen or outcome == "ok" else asked})
    return History.from_rows(rows)


def judged(ops: list[Op], **asked: Any) -> dict[str, CheckResult]:
    found = judge(history(ops), "session-guarantees", Question(**asked))
    return {one.name: one for one in found.all()}


def r(process: int, key: str, value: Any) -> Op:
    return process, "read", key, value, "ok"


def w(process: int, key: str, value: Any, outcome: str = "ok") -> Op:
    return process, "write", key, value, outcome


def broken(ops: list[Op], **asked: Any) -> set[str]:
    return {name for name, one in judged(ops, **asked).items()
            if one.verdict is Verdict.VIOLATION}


def guilty(result: CheckResult) -> set[int]:
    """The rows at which the operations of the first anomaly were invoked."""
    return {one["invoked_row"] for one in result.evidence["anomalies"][0]["transactions"]}


GOOD = [w(0, "x", 1), w(0, "y", 2), r(1, "y", 2), r(1, "x", 1), w(1, "y", 3), r(2, "y", 3)]


def test_what_a_session_wrote_it_reads() -> None:
    assert broken([*GOOD, r(0, "y", 3)]) == set()
    found = judged([*GOOD, w(3, "x", 9), r(3, "x", None)])
    assert {name for name, one in found.items() if one.verdict is Verdict.VIOLATION} == {
        "read-your-writes", "causal"}
    assert guilty(found["read-your-writes"]) == {12, 14}
    assert found["read-your-writes"].summary == (
        "no order of the writes fits the operations of rows 12, 14")


def test_own_writes_are_in_order() -> None:
    found = judged([w(0, "x", 1), w(0, "x", 2), r(0, "x", 1)])
    assert found["read-your-writes"].verdict is Verdict.VIOLATION
    assert guilty(found["read-your-writes"]) == {0, 2, 4}
    assert "older: the read of row 4 must see x = 2, and showed 1" in (
        found["read-your-writes"].text)


def test_a_session_does_not_go_back() -> None:
    story = [w(0, "x", 1), w(1, "x", 2), r(2, "x", 1), r(2, "x", 2)]
    assert broken(story) == set()
    found = judged([*story, r(2, "x", 1)])
    assert found["monotonic-reads"].verdict is Verdict.VIOLATION
    assert found["read-your-writes"].verdict is Verdict.PASS
    assert found["monotonic-writes"].verdict is Verdict.INCONCLUSIVE
    assert guilty(found["monotonic-reads"]) == {0, 2, 4, 6, 8}


def test_two_sessions_that_see_two_writes_in_opposite_orders() -> None:
    story = [w(0, "x", 1), w(1, "x", 2), r(2, "x", 1), r(2, "x", 2), r(3, "x", 2)]
    assert broken(story) == set()
    assert broken([*story, r(3, "x", 1)]) == {"monotonic-reads", "causal"}


def test_others_see_a_sessions_writes_in_its_order() -> None:
    story = [w(0, "x", 1), w(0, "y", 2), r(1, "y", 2), r(1, "x", None)]
    found = judged(story)
    assert broken(story) == {"monotonic-writes", "causal"}
    assert guilty(found["monotonic-writes"]) == {0, 6}


def test_what_a_write_follows_is_seen_with_it() -> None:
    story = [w(0, "x", 1), r(1, "x", 1), w(1, "y", 2), r(2, "y", 2), r(2, "x", None)]
    found = judged(story)
    assert broken(story) == {"writes-follow-reads", "causal"}
    assert guilty(found["writes-follow-reads"]) == {0, 2, 8}


def test_what_only_all_together_forbid_is_causal() -> None:
    """The write of y is seen with q, as its writer read it; that of x with y, its session's."""
    story = [w(0, "x", 1), w(0, "y", 2), r(1, "y", 2), w(1, "q", 4), r(2, "q", 4), r(2, "x", None)]
    assert broken(story) == {"causal"}
    assert guilty(judged(story)["causal"]) >= {0, 10}


def test_a_read_of_what_its_session_writes_later_is_a_cycle() -> None:
    found = judged([r(0, "x", 1), w(0, "x", 1)])
    assert found["writes-follow-reads"].verdict is Verdict.VIOLATION
    assert found["causal"].verdict is Verdict.VIOLATION
    assert found["read-your-writes"].verdict is Verdict.PASS
    assert "wr: wrote x = 1" in found["causal"].text


def test_what_failed_or_was_never_written_is_not_read() -> None:
    found = judged([w(0, "x", 1, "fail"), r(1, "x", 1), r(1, "x", 7)])["session-guarantees"]
    assert found.verdict is Verdict.VIOLATION
    assert found.text.splitlines() == [
        "aborted read: p1 read x = 1 (rows 2-3), which the write of row 0 wrote, that failed",
        "unwritten read: p1 read x = 7 (rows 4-5), which nobody wrote"]
    assert [one["failed_row"] for one in found.evidence["examples"]] == [0, None]


def test_what_crashed_may_have_happened_or_not() -> None:
    assert broken([w(0, "x", 1, "info"), r(1, "x", None), r(2, "x", 1)]) == set()
    assert broken([w(0, "x", 1, "info"), r(0, "x", None), r(0, "x", 1)]) == set()


def test_repeated_values_are_undecided_and_what_is_certain_is_told() -> None:
    twice = [w(0, "x", 1), w(1, "x", 1), r(2, "x", 1), w(2, "y", 5)]
    found = judged(twice)
    assert found["causal"].verdict is Verdict.INCONCLUSIVE
    assert found["session-guarantees"].evidence["undecided_keys"] == ["x"]
    assert judged([*twice, r(2, "y", None)])["read-your-writes"].verdict is Verdict.VIOLATION
    deleted = [w(0, "x", 1), (0, "delete", "x", None, "ok"), r(1, "x", None)]
    assert judged(deleted)["causal"].verdict is Verdict.INCONCLUSIVE


def test_the_initial_value_may_be_another() -> None:
    story = [r(0, "x", 0), w(0, "x", 1), r(0, "x", 0)]
    assert broken(story, initial=0) == {"read-your-writes", "causal"}
    assert broken(story) == {"session-guarantees"}


def test_nobody_read() -> None:
    assert {one.verdict for one in judged([w(0, "x", 1)]).values()} == {Verdict.NO_COVERAGE}


# The slow twin.

def accesses(ops: list[Op]) -> list[Access]:
    found: list[Access] = []
    for number, (process, f, key, value, outcome) in enumerate(ops):
        if f == "read" and outcome == "ok":
            found.append((process, "r", key, value, number))
        elif f == "cas" and outcome == "fail" and len(value) == 3:
            found.append((process, "r", key, value[2], number))
        elif f == "cas" and outcome != "fail":
            found += [(process, "r", key, value[0], number)] if outcome == "ok" else []
            found.append((process, "w", key, value[1], number))
        elif f == "write" and outcome != "fail":
            found.append((process, "w", key, value, number))
    return found


def holds(guarantee: str, ops: list[Op]) -> bool:
    """Whether some order of all writes fits the smallest sets, as the definitions say."""
    all_ = accesses(ops)
    writes = [i for i, one in enumerate(all_) if one[1] == "w"]
    reads = [i for i, one in enumerate(all_) if one[1] == "r"]
    wrote = {(all_[i][2], all_[i][3]): i for i in writes}
    shows = {i: wrote.get((all_[i][2], all_[i][3])) for i in reads}

    def session(a: int, b: int) -> bool:
        """Whether a comes before b in one session; what crashed comes before nothing."""
        return a < b and all_[a][0] == all_[b][0] and ops[all_[a][4]][4] != "info"

    def with_it(write: int) -> set[int]:
        """What is to be seen with a write, and to stand before it."""
        found: set[int | None] = set()
        if guarantee in ("monotonic-writes", "causal"):
            found |= {a for a in writes if session(a, write)}
        if guarantee in ("writes-follow-reads", "causal"):
            found |= {shows[a] for a in reads if session(a, write)}
        return {one for one in found if one is not None}

    sets: dict[int, set[int]] = {}
    for read in reads:
        must: set[int | None] = {shows[read]}
        if guarantee in ("read-your-writes", "causal"):
            must |= {a for a in writes if session(a, read)}
        if guarantee != "read-your-writes":
            must |= {shows[a] for a in reads if session(a, read)}
        whole = {one for one in must if one is not None}
        while True:
            more = {b for a in whole for b in with_it(a)} - whole
            if not more:
                break
            whole |= more
        sets[read] = whole
    before = {(a, b) for b in writes for a in with_it(b)}
    before |= {(a, b) for a in writes for b in writes
               if session(a, b) and all_[a][2] == all_[b][2]}

    def fits(order: tuple[int, ...]) -> bool:
        place = {write: at for at, write in enumerate(order)}
        if any(place[a] >= place[b] for a, b in before):
            return False
        for read in reads:
            here = [a for a in sets[read] if all_[a][2] == all_[read][2]]
            newest = max(here, key=lambda a: place[a], default=None)
            if newest != shows[read]:
                return False
        return True

    return any(fits(order) for order in itertools.permutations(writes))


def made(rng: random.Random) -> list[Op]:
    """A few operations; reads mostly show something that was written before, to their key."""
    ops: list[Op] = []
    values: dict[str, list[Any]] = {"x": [None], "y": [None]}
    keys = "x" if rng.random() < 0.2 else "xy"
    sessions = list(range(rng.randint(1, 4)))
    writes = 0
    for number in range(1, rng.randint(4, 11)):
        at = rng.randrange(len(sessions))
        process, key = sessions[at], rng.choice(keys)
        known = values[key]
        saw = known[-1] if rng.random() < 0.5 else rng.choice(known)
        kind = rng.random()
        if kind < 0.5 or writes == 5:
            ops.append(r(process, key, saw))
        elif kind < 0.55:
            ops.append((process, "cas", key, [-1, -2, saw], "fail"))
        else:
            outcome = "info" if rng.random() < 0.1 else "ok"
            writes += 1
            if kind < 0.65:
                ops.append((process, "cas", key, [saw, number], outcome))
            else:
                ops.append(w(process, key, number, outcome))
            known.append(number)
            if outcome == "info" and rng.random() < 0.7:
                sessions[at] += 10              # Jepsen's convention: a new process goes on
    if rng.random() < 0.7:                      # somebody who comes later reads every key once
        ops += [r(9, key, rng.choice(values[key])) for key in rng.sample(keys, len(keys))]
    if rng.random() < 0.1:                      # somebody sees what is written later
        at = rng.randrange(len(ops))
        process, f, key, _, outcome = ops[at]
        if f == "read":
            ops[at] = process, f, key, rng.choice(values[key]), outcome
    return ops


@pytest.mark.parametrize("seed", range(5))
def test_every_order_of_a_few_writes(seed: int) -> None:
    rng = random.Random(seed)
    counted: Counter[tuple[str, str]] = Counter()
    for n in range(240):
        ops = made(rng)
        found = judged(ops)
        if not any(one[1] == "r" for one in accesses(ops)):
            continue
        for guarantee in GUARANTEES:
            said = found[guarantee].verdict
            if said is Verdict.INCONCLUSIVE:
                assert found["monotonic-reads"].verdict is Verdict.VIOLATION
                assert not holds(guarantee, ops)
                continue
            expected = Verdict.PASS if holds(guarantee, ops) else Verdict.VIOLATION
            assert said is expected, f"{guarantee}, seed {seed}, history {n}: {ops}"
            counted[guarantee, said.label] += 1
    assert all(counted[guarantee, verdict] > 0 for guarantee in GUARANTEES
               for verdict in ("pass", "violation")), counted
