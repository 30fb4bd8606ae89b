"""Models of elements and of one's own: what is found, what is named, what is refused."""
from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import pytest
from exhaustive import Call

from seatrial.checker import (
    UNKNOWN,
    BadHistory,
    CheckerError,
    History,
    OneOf,
    Verdict,
    check_linearizable,
)
from seatrial.checker.models import MODELS, Family, Role
from seatrial.checker.operations import NIL, from_intervals
from seatrial.checker.search import STATUSES, Search


def history(*rows: tuple[int, str, str, Any]) -> History:
    return History.from_rows([
        {"index": i, "time": i, "process": process, "type": type_, "f": f, "value": value,
         "key": "k"} for i, (process, type_, f, value) in enumerate(rows)])


def sequential(*rows: tuple[str, Any, Any]) -> History:
    """One client after the other: (f, asked, answered)."""
    events: list[tuple[int, str, str, Any]] = []
    for f, asked, answered in rows:
        events += [(0, "invoke", f, asked), (0, "ok", f, answered)]
    return history(*events)


VIOLATIONS = {
    "fifo-queue": ([("enqueue", 1, 1), ("enqueue", 2, 2), ("dequeue", None, 2)], "dequeue -> 2"),
    "unordered-queue": ([("enqueue", 1, 1), ("dequeue", None, 1), ("dequeue", None, 1)],
                        "dequeue -> 1"),
    "stack": ([("push", 1, 1), ("push", 2, 2), ("pop", None, 1)], "pop -> 1"),
    "priority-queue": ([("insert", 1, 1), ("insert", 2, 2), ("poll", None, 1)], "poll -> 1"),
    "set": ([("add", 1, 1), ("add", 2, 2), ("read", None, [2])], "read -> [2]"),
    "mutex": ([("acquire", None, None), ("acquire", None, None)], "acquire"),
    "counter": ([("add", 2, 2), ("read", None, 3)], "read -> 3"),
    "owned-mutex": ([("acquire", None, None), ("release", None, None), ("release", None, None)],
                    "release"),
    "lease": ([("acquire", 3, 3), ("acquire", 5, 5)], "acquire for 5 ms"),
    "register": ([("write", 1, 1), ("write", 2, 2), ("read", None, 1)], "read -> 1"),
    "cas-register": ([("write", 1, 1), ("cas", [1, 2], [1, 2]), ("cas", [1, 3], [1, 3])],
                     "cas 1 -> 3"),
    "kv": ([("put", 1, 1), ("delete", None, None), ("get", None, 1)], "read -> 1"),
    "append": ([("append", 1, 1), ("append", 2, 2), ("read", None, [2])], "read -> [2]"),
}


@pytest.mark.parametrize("model", VIOLATIONS)
def test_a_violation_names_the_operation_that_cant_be_placed(model: str) -> None:
    assert VIOLATIONS.keys() == MODELS.keys()
    rows, guilty = VIOLATIONS[model]
    found = check_linearizable(sequential(*rows), model)
    assert found.verdict == Verdict.VIOLATION
    (example,) = found.evidence["counterexamples"]
    assert example["operation"]["operation"] == guilty
    last = 2 * (len(rows) - 1)
    assert (example["operation"]["invoked_row"], example["operation"]["completed_row"]) == (
        last, last + 1)
    assert guilty in found.text
    assert check_linearizable(sequential(*rows[:-1]), model).verdict == Verdict.PASS


def test_a_lock_may_be_released_only_by_who_has_it_where_the_model_says_so() -> None:
    rows = ((0, "invoke", "acquire", None), (0, "ok", "acquire", None),
            (1, "invoke", "release", None), (1, "ok", "release", None))
    assert check_linearizable(history(*rows), "mutex").verdict == Verdict.PASS
    found = check_linearizable(history(*rows), "owned-mutex")
    assert found.verdict == Verdict.VIOLATION
    assert found.evidence["counterexamples"][0]["operation"]["process"] == 1


def test_a_counterexample_leaves_out_elements_that_have_nothing_to_do_with_it() -> None:
    rows: list[tuple[str, Any, Any]] = []
    for i in range(100, 140):
        rows += [("enqueue", i, i), ("dequeue", None, i)]
    rows += [("enqueue", 1, 1), ("enqueue", 2, 2), ("enqueue", 3, 3), ("dequeue", None, 2)]
    found = check_linearizable(sequential(*rows), "fifo-queue")
    core = {cell["operation"] for cell in found.evidence["counterexamples"][0]["core"]}
    assert core == {"enqueue 1", "enqueue 2", "dequeue -> 2"}


def test_a_long_history_of_few_states_needs_little_memory() -> None:
    """States that can't come back are forgotten: each of these queues is another one."""
    calls: list[Call] = []
    for i in range(20_000):
        calls.append(Call(0, Role.ADD, i, None, 4 * i, 4 * i + 1))
        if i >= 20:
            calls.append(Call(0, Role.TAKE, i - 20, None, 4 * i + 2, 4 * i + 3))
    operations = from_intervals([call.row() for call in calls], Family.FIFO)
    assert STATUSES[Search(operations).run(
        [0], NIL, memory=4 << 20, effort=1 << 62,
        deadline_ns=time.monotonic_ns() + 60 * 10**9)[0][0]] == "ok"


@dataclass
class Turnstile:
    """A user's model: a coin opens it once; it may be stuck or not after a kick."""

    name: str = "turnstile"
    initial: str = "closed"
    observers: frozenset[str] = frozenset({"look"})

    def step(self, state: str, f: str, argument: Any, answer: Any) -> Any:
        if f == "coin":
            return "open"
        if f == "look":
            return state if answer == state else None
        if f == "kick":
            return OneOf(("open", "closed"))
        through = state == "open" and answer in (True, UNKNOWN)
        return "closed" if through else state if answer in (False, UNKNOWN) else None


def test_a_user_writes_a_model_in_a_few_lines_of_python() -> None:
    good = [("coin", None, None), ("pass", None, True), ("pass", None, False),
            ("kick", None, None), ("pass", None, True), ("look", None, "closed")]
    assert check_linearizable(sequential(*good), Turnstile()).verdict == Verdict.PASS
    bad = [*good, ("pass", None, True)]
    found = check_linearizable(sequential(*bad), Turnstile())
    assert found.verdict == Verdict.VIOLATION
    assert found.evidence["counterexamples"][0]["operation"]["operation"] == "pass -> True"


def test_a_crashed_operation_of_a_users_model_has_no_answer() -> None:
    rows = ((0, "invoke", "coin", None), (0, "info", "coin", None),
            (1, "invoke", "pass", None), (1, "ok", "pass", True))
    assert check_linearizable(history(*rows), Turnstile()).verdict == Verdict.PASS
    again = (*rows, (1, "invoke", "pass", None), (1, "ok", "pass", True))
    assert check_linearizable(history(*again), Turnstile()).verdict == Verdict.VIOLATION


def test_what_a_users_model_raises_is_reported_as_its_own() -> None:
    class Broken(Turnstile):
        def step(self, state: str, f: str, argument: Any, answer: Any) -> Any:
            raise LookupError("no such gate")

    with pytest.raises(CheckerError, match=r"the model turnstile failed: LookupError\('no such"):
        check_linearizable(sequential(("coin", None, None)), Broken())


def test_an_interrupt_in_a_users_model_stays_one() -> None:
    class Interrupted(Turnstile):
        def step(self, state: str, f: str, argument: Any, answer: Any) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_linearizable(sequential(("coin", None, None)), Interrupted())


def test_values_that_a_model_has_no_use_for_are_refused_by_row() -> None:
    with pytest.raises(CheckerError, match="insert has the value x; the priority-queue model"):
        check_linearizable(sequential(("insert", "x", "x")), "priority-queue")
    with pytest.raises(CheckerError, match="expected \\[element, true\\]"):
        check_linearizable(sequential(("contains", 1, 1)), "set")
    with pytest.raises(CheckerError, match="expects all elements, as a list"):
        check_linearizable(sequential(("read", None, 1)), "set")
    with pytest.raises(CheckerError, match="does not know 'push'"):
        check_linearizable(sequential(("push", 1, 1)), "fifo-queue")


def test_what_a_counter_comes_to_must_fit_into_an_integer() -> None:
    """Eight times 2^61 is 2^64, which the search took for 0."""
    rows = [{"process": 0, "type": type, "f": "add", "value": 1 << 61}
            for _ in range(8) for type in ("invoke", "ok")]
    rows += [{"process": 0, "type": type, "f": "read", "value": value}
             for type, value in (("invoke", None), ("ok", 0))]
    with pytest.raises(BadHistory, match=r"history:15: the numbers added on one key come to"):
        check_linearizable(History.from_rows(rows), "counter")


@pytest.mark.parametrize(("model", "initial", "message"), [
    ("fifo-queue", [1], "expected none; at the start a fifo is empty"),
    ("set", [1], "expected none"), ("mutex", True, "expected none"),
    ("counter", 1.5, "expected an integer"), ("counter", 1 << 62, "expected an integer"),
])
def test_an_initial_value_is_taken_only_where_it_counts(
    model: str, initial: object, message: str,
) -> None:
    f = {"counter": "add", "mutex": "acquire", "fifo-queue": "enqueue"}.get(model, "add")
    history = History.from_rows([{"process": 0, "type": "invoke", "f": f, "value": 1}])
    with pytest.raises(CheckerError, match=message):
        check_linearizable(history, model, initial=initial)
