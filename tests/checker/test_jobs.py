"""What is found does not depend on how many threads share the keys."""
from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from exhaustive import Call
from histories import random_calls, random_chain

from seatrial.checker import (
    CheckerError,
    CheckResult,
    History,
    Verdict,
    check_linearizable,
    monitors,
)
from seatrial.checker.models import Role
from seatrial.checker.operations import NIL, Operations, from_intervals

JOBS = (2, 3, 8, 1000)


def many_keys(seed: int, n: int, draw: Any) -> Operations:
    """Small histories, each of a key of its own, one of them much larger than the others."""
    rng = random.Random(seed)
    calls = [call for i in range(n) for call in draw(seed + i, f"k{i}")]
    calls += [Call(0, Role.WRITE, i, None, 10 * i, 10 * i + 5, "large") for i in range(2000)]
    rng.shuffle(calls)
    return from_intervals([call.row() for call in sorted(calls, key=lambda call: call.inv)])


@pytest.mark.parametrize("jobs", JOBS)
@pytest.mark.parametrize("draw", [random_calls, random_chain])
def test_monitors_find_the_same(draw: Any, jobs: int) -> None:
    operations = many_keys(7, 400, draw)
    keys = list(range(len(operations.keys)))
    one = monitors.judge(operations, keys, NIL)
    assert {"ok", "violation"} <= set(one.verdicts)
    assert one.guilty
    many = monitors.judge(operations, keys, NIL, jobs=jobs)
    assert (many.verdicts, many.guilty) == (one.verdicts, one.guilty)
    some = keys[::-3]                           # not all keys, and in another order
    assert monitors.judge(operations, some, NIL, jobs=jobs).verdicts == [
        one.verdicts[key] for key in some]


def same(found: CheckResult) -> dict[str, Any]:
    """What must not depend on the number of threads."""
    evidence = {name: value for name, value in found.evidence.items() if name != "engines"}
    return evidence | {"verdict": found.verdict, "summary": found.summary, "text": found.text}


@pytest.mark.parametrize("jobs", JOBS)
def test_searches_find_the_same(jobs: int) -> None:
    operations = many_keys(3, 200, random_calls)
    one, many = (check_linearizable(operations, engine="search", jobs=n) for n in (1, jobs))
    assert one.verdict is Verdict.VIOLATION
    assert same(many) == same(one)
    assert many.evidence["engines"]["search"]["keys"] == one.evidence["engines"]["search"]["keys"]


@pytest.mark.parametrize("jobs", [1, 4])
def test_what_is_undecided_names_the_same_operations(jobs: int) -> None:
    edges = [(a, b) for a in range(7) for b in range(7) if a != b][:40]
    rows = []
    for key in ("hard", "harder"):
        calls = [Call(0, Role.WRITE, 0, None, -2, -1, key),
                 *(Call(i, Role.CAS, a, b, i, 1000 + i, key) for i, (a, b) in enumerate(edges)),
                 Call(0, Role.READ, 99, None, 2000, 2001, key)]
        rows += [call.row() for call in calls]
    easy = [Call(0, Role.WRITE, 1, None, 0, 1, f"k{i}").row() for i in range(20)]
    found = check_linearizable(from_intervals([*easy, *rows]), engine="search", jobs=jobs,
                               memory_limit_bytes=4 << 20)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert [one["key"] for one in found.evidence["undecided"]] == ["hard", "harder"]
    assert all("search out of memory" in one["reason"] and one["in_flight"] > 20
               for one in found.evidence["undecided"])


def test_a_user_model_that_fails_does_so_in_any_case() -> None:
    class Broken:
        name, initial = "broken", 0

        def step(self, state: int, f: str, argument: Any, answer: Any) -> int:
            raise ZeroDivisionError("oh")

    history = History.from_rows([
        {"process": 0, "type": type_, "f": "add", "key": f"k{i}", "value": 1}
        for i in range(8) for type_ in ("invoke", "ok")])
    with pytest.raises(CheckerError, match="the model broken failed: ZeroDivisionError"):
        check_linearizable(history, Broken(), jobs=4)


def test_an_error_in_a_thread_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    operations = many_keys(1, 10, random_calls)
    monkeypatch.setattr("seatrial.checker.linearizable.Search", None)
    with pytest.raises(TypeError):
        check_linearizable(operations, engine="search", jobs=2)
    with pytest.raises(IndexError):
        monitors.judge(operations, np.array([10_000]).tolist(), NIL, jobs=2)
