"""``seatrial generate``: what is said to be linearizable is, and each violation is one."""
from __future__ import annotations

import io
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from seatrial.checker import History, Verdict, check_linearizable
from seatrial.checker.generate import KINDS, Recipe, write
from seatrial.checker.history import INFO, INVOKE, NONE, OK
from seatrial.harness.cli import main

REGISTERS = ("register", "cas-register", "kv")
VIOLATED = [(model, violation) for model in REGISTERS for violation in KINDS[model].violations]
COLLECTIONS = ("fifo-queue", "stack", "priority-queue")


def history(**recipe: Any) -> History:
    sink = io.BytesIO()
    write(Recipe(**recipe), sink)
    return History.of_stream(pa.BufferReader(sink.getvalue()), "generated")


def test_a_history_is_as_its_recipe_asks() -> None:
    made = history(model="kv", operations=5_000, clients=7, keys=30, pending=40, cas=0.2)
    invocation, completion = made.pairs
    assert made.model == "kv"
    assert made.metadata["test"]["generate"]["pending"] == 40
    assert len(invocation) == 5_000
    assert len(made.keys) == 30
    assert (made.type == INFO).sum() == 40
    assert (completion != NONE).all()
    open_ = np.cumsum(np.where(made.type == INVOKE, 1, -1))
    assert open_.max() == 7
    assert Counter(made.fs[f] for f in made.f[invocation].tolist()).keys() == {
        "read", "write", "cas"}
    written = [int(made.values[0][row]) for row in invocation.tolist()
               if made.fs[made.f[row]] == "write"]
    assert len(set(written)) == len(written)


def test_a_seed_decides_every_byte() -> None:
    sinks = [io.BytesIO() for _ in range(3)]
    for sink, seed in zip(sinks, (1, 1, 2), strict=True):
        write(Recipe(operations=2_000, pending=10, cas=0.1, seed=seed), sink)
    same, again, other = (sink.getvalue() for sink in sinks)
    assert same == again != other


@pytest.mark.parametrize("values", [0, 3])
@pytest.mark.parametrize("model", REGISTERS)
def test_without_a_violation_a_history_is_linearizable(model: str, values: int) -> None:
    for seed in range(20):
        made = history(model=model, operations=300, clients=5, pending=seed % 4, values=values,
                       cas=0.0 if model == "register" else 0.3, seed=seed)
        assert check_linearizable(made, engine="search").verdict == Verdict.PASS


@pytest.mark.parametrize("values", [0, 3])
@pytest.mark.parametrize(("model", "violation"), VIOLATED)
def test_each_violation_is_found_and_its_read_is_named(
    model: str, violation: str, values: int,
) -> None:
    for seed in range(10):
        made = history(model=model, operations=200, clients=5, violation=violation, pending=2,
                       values=values, seed=seed, at=seed / 10)
        result = check_linearizable(made, model, engine="search")
        assert result.verdict == Verdict.VIOLATION
        guilty = result.evidence["counterexamples"][0]["operation"]["operation"]
        if values:                      # the script's values are those that nobody draws
            assert any(str(value) in guilty for value in range(values, values + 3))


def explained(made: History, model: str) -> bool:
    """The slow twin: try every order of a collection's operations, all of them ended."""
    invocation, completion = made.pairs
    adding = ("enqueue", "push", "insert")
    calls = [(made.fs[made.f[i]] in adding, int(i), int(c), made.value(int(c)))
             for i, c in zip(invocation, completion, strict=True)]

    def search(left: list[tuple[bool, int, int, Any]], items: tuple[Any, ...]) -> bool:
        end = min((ret for _, _, ret, _ in left), default=0)
        for call in left:
            adds, inv, _, value = call
            if inv > end:
                continue
            rest = [other for other in left if other is not call]
            if adds:
                if search(rest, (*items, value)):
                    return True
            elif not items:
                if value is None and search(rest, items):
                    return True
            elif model == "stack" and items[-1] == value:
                if search(rest, items[:-1]):
                    return True
            elif model == "priority-queue" and max(items) == value:
                if search(rest, tuple(item for item in items if item != value)):
                    return True
            elif model == "fifo-queue" and items[0] == value and search(rest, items[1:]):
                return True
        return not left
    return search(calls, ())


@pytest.mark.parametrize("model", COLLECTIONS)
def test_collections_are_what_they_are_said_to_be(model: str) -> None:
    for seed in range(30):
        assert explained(history(model=model, operations=12, clients=3, seed=seed), model)
        for violation in KINDS[model].violations:
            assert not explained(history(model=model, operations=12, clients=3, seed=seed,
                                         violation=violation), model)


@pytest.mark.parametrize("model", ["set", "unordered-queue", "mutex", "owned-mutex", "lease"])
def test_the_others_are_what_they_are_said_to_be(model: str) -> None:
    for seed in range(4):
        recipe = {"model": model, "operations": 120, "clients": 4, "pending": seed, "seed": seed}
        good = check_linearizable(history(**recipe), model)
        assert (good.verdict, good.also) == (Verdict.PASS, []), good.text
        for violation in KINDS[model].violations:
            found = check_linearizable(history(**recipe, violation=violation), model)
            assert (found.verdict, found.also) == (Verdict.VIOLATION, []), violation
            assert found.evidence["counterexamples"][0]["core"]


def test_locks_change_hands() -> None:
    for model, names in (("mutex", {"acquire", "release"}), ("owned-mutex", {"acquire", "release"}),
                         ("lease", {"acquire", "release", "renew"})):
        made = history(model=model, operations=2_000, clients=6, pending=20)
        assert check_linearizable(made, model, engine="monitor").verdict == Verdict.PASS
        rows, ends = made.pairs
        ok = ends[made.type[ends] == OK]
        assert {made.fs[code] for code in made.f[rows].tolist()} == names
        assert len(set(made.process[ok].tolist())) > 10
        assert len(ok) > 200, model


def test_a_set_is_asked_for_what_is_in_and_what_is_not() -> None:
    made = history(model="set", operations=3_000, clients=6, values=20)
    answers = [made.value(int(row)) for row in made.pairs[1]]
    asked = [tuple(answer) for answer in answers if isinstance(answer, list)]
    assert {x for x, _ in asked} == set(range(20))
    assert {there for _, there in asked} == {True, False}


def test_counters_are_what_they_are_said_to_be() -> None:
    for seed in range(10):
        for violation, verdict in ((None, Verdict.PASS), ("stale-read", Verdict.VIOLATION)):
            made = history(model="counter", operations=100, clients=4, pending=seed, seed=seed,
                           violation=violation)
            assert check_linearizable(made, "counter", engine="search").verdict == verdict


def test_the_heap_of_a_priority_queue_gives_back_the_largest_when_it_grows() -> None:
    made = history(model="priority-queue", operations=10_000, clients=1, reads=0.3)
    found = check_linearizable(made, "priority-queue", engine="monitor")
    assert found.verdict == Verdict.PASS
    values = [made.value(int(row)) for row in made.pairs[1]]
    assert len(set(values)) > 6_000
    assert sorted(values, key=str) != values


def test_the_ring_of_a_queue_keeps_its_order_when_it_grows() -> None:
    made = history(model="fifo-queue", operations=20_000, clients=1, reads=0.2)
    invocation, completion = made.pairs
    f = [made.fs[code] for code in made.f[invocation]]
    values = [made.value(int(row)) for row in completion]
    taken = [value for name, value in zip(f, values, strict=True)
             if name == "dequeue" and value is not None]
    put = [value for name, value in zip(f, values, strict=True) if name == "enqueue"]
    assert len(put) - len(taken) > 4_096
    assert taken == put[:len(taken)]


def test_the_command_writes_a_file_that_check_judges(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    path = str(tmp_path / "h.arrow")
    assert main(["generate", "--ops", "1000", "--keys", "5", "--violation", "stale-read",
                 "-o", path]) == 0
    assert main(["check", path, "--engine", "search"]) == 1
    assert "read -> 0 can't be placed: the value could only be" in capsys.readouterr().out
    assert main(["generate", "--ops", "1000", "--keys", "5", "-o", path]) == 0
    assert main(["check", path, "--engine", "search"]) == 0


def test_a_pipe_takes_it_to_check(
    monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    assert main(["generate", "--ops", "500", "--violation", "never-written"]) == 0
    made = capsysbinary.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(made)))
    assert main(["check", "-", "--engine", "search"]) == 1


@pytest.mark.parametrize(("arguments", "message"), [
    (["--model", "heap"], "'heap' is not one of"),
    (["--model", "register", "--keys", "2"], "2 keys; a register has one, and kv as many"),
    (["--model", "register", "--violation", "lost-update"],
     "register can't be violated by 'lost-update'; expected one of stale-read, never-written"),
    (["--model", "register", "--cas", "0.5"], "a register knows no cas"),
    (["--model", "stack", "--values", "2"], "repeated values in a stack"),
    (["--model", "counter", "--values", "2"], "repeated values in a counter"),
    (["--model", "mutex", "--values", "2"], "repeated values in a mutex"),
    (["--model", "set", "--cas", "0.5"], "a set knows no cas"),
    (["--ops", "5", "--pending", "4", "--violation", "stale-read"],
     "4 pending and 3 of the violation are more than 5 operations"),
    (["--ops", "0"], "0 is not in the range"),
    (["--ops", "5", "-o", "/nowhere/h"], "/nowhere/h: can't write it: No such file or directory"),
])
def test_bad_recipes_are_one_line_and_exit_254(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["generate", *arguments]) == 254
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
