"""Monitors beyond what small random histories show: long ones, and who is blamed."""
from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from seatrial.checker import CheckerError, History, Verdict, check_linearizable, monitors
from seatrial.checker.element_operations import element_operations
from seatrial.checker.generate import Recipe, batches
from seatrial.checker.models import MODELS, Family
from seatrial.checker.operations import NIL, operations_of

LONG = 30_000               # on one key: more than other engines are asked for


def generated(**recipe: Any) -> History:
    made = Recipe(**recipe)
    return History(pa.Table.from_batches(list(batches(made)), schema=made.schema))


def watched(history: History, model: str) -> tuple[list[str], list[list[str]]]:
    """The verdicts, and the operations that a monitor blames, by key."""
    of = operations_of if MODELS[model].family == Family.VALUE else element_operations
    operations = of(history, MODELS[model])
    keys = np.unique(operations.key).tolist()
    found = monitors.judge(operations, keys, NIL)
    return found.verdicts, [[operations.describe(i) for i in guilty]
                            for guilty in found.guilty.values()]


def sequential(*rows: tuple[str, Any, Any], process: int = 0) -> History:
    """One client after the other: (f, asked, answered)."""
    events = []
    for f, asked, answered in rows:
        events += [("invoke", f, asked), ("ok", f, answered)]
    return History.from_rows([
        {"index": i, "time": i, "process": process, "type": type_, "f": f, "value": value,
         "key": "k"} for i, (type_, f, value) in enumerate(events)])


BLAMED = {
    "a stale read": ("register", [("write", 1, 1), ("write", 2, 2), ("write", 3, 3),
                                  ("read", None, 1)], {"write 1", "write 2", "read -> 1"}),
    "a value that nobody wrote": ("register", [("write", 1, 1), ("read", None, 7)], {"read -> 7"}),
    "one value left twice": ("cas-register", [
        ("write", 1, 1), ("cas", [1, 2], [1, 2]), ("cas", [1, 3], [1, 3])],
        {"write 1", "cas 1 -> 2", "cas 1 -> 3"}),
    "a read from before a cas": ("cas-register", [
        ("write", 1, 1), ("cas", [1, 2], [1, 2]), ("read", None, 1)],
        {"write 1", "cas 1 -> 2", "read -> 1"}),
    "an element taken twice": ("unordered-queue", [
        ("enqueue", 1, 1), ("dequeue", None, 1), ("dequeue", None, 1)],
        {"enqueue 1", "dequeue -> 1"}),
    "elements out of order": ("fifo-queue", [
        ("enqueue", 1, 1), ("enqueue", 2, 2), ("dequeue", None, 2)],
        {"enqueue 1", "enqueue 2", "dequeue -> 2"}),
    "empty while an element was in": ("fifo-queue", [
        ("enqueue", 1, 1), ("dequeue", None, None), ("dequeue", None, 1)],
        {"enqueue 1", "dequeue -> empty", "dequeue -> 1"}),
    "two at the head of a queue by turns": ("fifo-queue", [
        ("enqueue", 1, 1), ("enqueue", 2, 2), ("peek", None, 1), ("peek", None, 2),
        ("dequeue", None, 1)],
        {"enqueue 1", "enqueue 2", "peek -> 1", "peek -> 2", "dequeue -> 1"}),
    "not the largest": ("priority-queue", [
        ("insert", 5, 5), ("insert", 7, 7), ("insert", 1, 1), ("peek", None, 5),
        ("poll", None, 7)], {"insert 5", "insert 7", "peek -> 5", "poll -> 7"}),
    "empty although something was in": ("priority-queue", [
        ("insert", 5, 5), ("poll", None, 5), ("insert", 3, 3), ("poll", None, None)],
        {"insert 3", "poll -> empty"}),
    "a stack taken from below": ("stack", [
        ("push", 1, 1), ("push", 2, 2), ("pop", None, 1), ("pop", None, 2)],
        {"push 1", "push 2", "pop -> 1", "pop -> 2"}),
    "a stack looked at from below": ("stack", [
        ("push", 1, 1), ("push", 2, 2), ("peek", None, 1), ("pop", None, 2), ("pop", None, 1)],
        {"push 1", "push 2", "peek -> 1", "pop -> 2", "pop -> 1"}),
    "a key that went back": ("kv", [("put", 1, 1), ("put", 2, 2), ("get", None, 1)],
                             {"write 1", "write 2", "read -> 1"}),
    "an element that nobody added": ("unordered-queue", [("enqueue", 1, 1), ("dequeue", None, 2)],
                                     {"dequeue -> 2"}),
    "an element that came back": ("set", [
        ("add", 2, 2), ("add", 1, 1), ("remove", 1, 1), ("contains", [1, True], [1, True])],
        {"add 1", "remove 1", "contains 1"}),
    "a lease that two had": ("lease", [("acquire", 10, 10), ("acquire", 9, 9)],
                             {"acquire for 10 ms", "acquire for 9 ms"}),
    "a set that lost an element": ("set", [
        ("add", 1, 1), ("read", None, [1]), ("read", None, [])], {"add 1", "read -> []"}),
    "a log that changed": ("append", [
        ("append", 1, 1), ("append", 2, 2), ("read", None, [1, 2]), ("read", None, [2, 1])],
        {"read -> [1, 2]", "read -> [2, 1]"}),
    "a log read too short": ("append", [
        ("append", 1, 1), ("append", 2, 2), ("read", None, [1])], {"append 2", "read -> [1]"}),
}


@pytest.mark.parametrize("fault", BLAMED)
def test_a_monitor_blames_those_that_contradict_each_other(fault: str) -> None:
    model, rows, guilty = BLAMED[fault]
    verdicts, blamed = watched(sequential(*rows), model)
    assert verdicts == ["violation"]
    assert set(blamed[0]) == guilty
    found = check_linearizable(sequential(*rows), model)        # and all engines see it
    assert found.verdict == Verdict.VIOLATION
    assert not found.also


def test_two_holders_of_a_lock_are_blamed() -> None:
    events = [(0, "invoke", "acquire"), (0, "ok", "acquire"), (1, "invoke", "acquire"),
              (1, "ok", "acquire"), (0, "invoke", "release"), (0, "ok", "release")]
    history = History.from_rows([
        {"index": i, "time": i, "process": process, "type": type_, "f": f, "value": None}
        for i, (process, type_, f) in enumerate(events)])
    verdicts, blamed = watched(history, "owned-mutex")
    assert verdicts == ["violation"]
    assert set(blamed[0]) == {"acquire", "release"}


@pytest.mark.parametrize(("model", "violation"), [
    ("register", "stale-read"), ("register", "never-written"), ("cas-register", "lost-update"),
    ("fifo-queue", "reordered"), ("fifo-queue", "duplicate"), ("fifo-queue", "lost"),
    ("stack", "reordered"), ("stack", "duplicate"),
    ("priority-queue", "reordered"), ("priority-queue", "duplicate"),
])
def test_one_violation_in_a_long_history_is_found_and_explained(
    model: str, violation: str,
) -> None:
    recipe = {"model": model, "operations": LONG, "clients": 8, "pending": 20}
    good = check_linearizable(generated(**recipe), model, engine="monitor")
    assert good.verdict == Verdict.PASS
    found = check_linearizable(generated(**recipe, violation=violation), model)
    assert found.verdict == Verdict.VIOLATION
    (example,) = found.evidence["counterexamples"]
    assert len(example["core"]) <= 6
    assert found.evidence["engines"]["monitor"]["keys"] == {"violation": 1}


@pytest.mark.parametrize(("model", "violation", "engine"), [
    ("fifo-queue", "reordered", "auto"), ("stack", "duplicate", "monitor")])
def test_what_the_search_can_not_confirm_is_explained_by_those_that_the_monitor_blames(
    model: str, violation: str, engine: str,
) -> None:
    """Ten clients on one key, and no larger than moderate: the search gives up."""
    history = generated(model=model, operations=400, clients=10, violation=violation)
    found = check_linearizable(history, model, engine=engine)
    (example,) = found.evidence["counterexamples"]
    assert len(example["core"]) <= 6
    assert "can't be placed" in found.summary


def test_pending_writes_cost_a_monitor_nothing() -> None:
    recipe = {"model": "register", "operations": LONG, "clients": 50, "pending": 2000}
    assert watched(generated(**recipe), "register")[0] == ["ok"]
    assert watched(generated(**recipe, violation="stale-read"), "register")[0] == ["violation"]


def test_what_no_monitor_is_made_for_is_left_to_the_search() -> None:
    twice = sequential(("write", 1, 1), ("write", 1, 1), ("read", None, 1))
    assert watched(twice, "register")[0] == ["undecided"]
    assert check_linearizable(twice, "register", engine="auto").verdict == Verdict.PASS
    asked = check_linearizable(twice, "register", engine="monitor")
    assert asked.verdict == Verdict.INCONCLUSIVE
    assert "monitor is not made for this key" in asked.summary
    different = sequential(("add", 1, 1), ("add", 2, 2), ("read", None, 3))
    assert watched(different, "counter")[0] == ["undecided"]
    with pytest.raises(CheckerError, match="no monitor judges user"):
        check_linearizable(different, Dial(), engine="monitor")


class Dial:
    """A user's model that allows everything."""

    name = "dial"
    initial = 0

    def step(self, state: int, f: str, argument: Any, answer: Any) -> int:
        return state


def test_a_read_of_a_counter_that_is_too_small_is_found_among_many() -> None:
    recipe = {"model": "counter", "operations": LONG, "clients": 8, "pending": 200}
    assert watched(generated(**recipe), "counter")[0] == ["ok"]
    assert watched(generated(**recipe, violation="stale-read"), "counter")[0] == ["violation"]


def test_a_stack_is_looked_at_on_its_way_up_and_down() -> None:
    rows: list[tuple[str, Any, Any]] = []
    for i in range(200):
        rows += [("push", i, i), ("peek", None, i)]
    for i in reversed(range(200)):
        rows += [("peek", None, i), ("pop", None, i)]
    assert watched(sequential(*rows), "stack")[0] == ["ok"]
    rows[300] = ("push", 150, 150)
    rows[301] = ("peek", None, 149)
    verdicts, blamed = watched(sequential(*rows), "stack")
    assert verdicts == ["violation"]
    assert {"push 149", "push 150", "peek -> 149"} <= set(blamed[0])


def test_different_additions_bound_what_a_counter_can_show() -> None:
    """The search would have to try all choices of the 60 that crashed."""
    crashed = [{"process": 10 + i, "type": "invoke", "f": "add", "value": 1000 + i}
               for i in range(60)]
    done = [{"process": 0, "type": type_, "f": "add", "value": value}
            for value in (5, -3) for type_ in ("invoke", "ok")]
    most = 2 + sum(range(1000, 1060))
    for saw, verdict in ((1, "violation"), (2, "undecided"), (most, "undecided"),
                         (most + 1, "violation")):
        read = [{"process": 1, "type": "invoke", "f": "read", "value": None},
                {"process": 1, "type": "ok", "f": "read", "value": saw}]
        assert watched(History.from_rows(crashed + done + read), "counter")[0] == [verdict]


@pytest.mark.parametrize(("reads", "verdict"), [
    ((4,), "ok"), ((7,), "ok"), ((4, 7, 10), "ok"), ((5,), "violation"), ((13,), "violation"),
    ((1,), "violation"), ((7, 4), "violation"), ((10, 10), "ok")])
def test_a_counter_starts_where_it_is_said_to_and_goes_on_in_steps(
    reads: tuple[int, ...], verdict: str,
) -> None:
    """One addition of 3 has ended, two more have crashed; it began with 1."""
    events = [(0, "invoke", "add", 3), (0, "ok", "add", 3), (1, "invoke", "add", 3),
              (2, "invoke", "add", 3)]
    for read in reads:
        events += [(3, "invoke", "read", None), (3, "ok", "read", read)]
    history = History.from_rows([
        {"index": i, "time": i, "process": process, "type": type_, "f": f, "value": value}
        for i, (process, type_, f, value) in enumerate(events)])
    operations = element_operations(history, MODELS["counter"])
    assert monitors.judge(operations, [0], 1).verdicts == [verdict]
