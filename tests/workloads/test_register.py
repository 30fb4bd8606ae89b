"""The register workload: what it asks for, and what it makes of a system's answers."""
from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from seatrial.checker.history import History, metadata
from seatrial.harness import generator as gen
from seatrial.harness.generator.simulate import perfect
from seatrial.harness.history import HistoryWriter
from seatrial.harness.op import FAIL, INFO, OK, Op
from seatrial.harness.scheduler import Scheduler
from seatrial.harness.testfile import Spec, validated
from seatrial.harness.yamlfile import Document
from seatrial.workloads.keyvalue import DidNotHappen, MayHaveHappened
from seatrial.workloads.register import RegisterOptions, RegisterWorkload, decoded

from .memory import Memory

SPEC = "name: t\nworkload: {name: register}\nclients: 6\n"


def spec(extra: str = "") -> Spec:
    return validated(Document.parse("t.yml", SPEC + extra))[1]


def workload(**options: Any) -> RegisterWorkload:
    return RegisterWorkload(RegisterOptions.model_validate({"keys_at_a_time": 3} | options))


def a_test(system: Any, work: RegisterWorkload) -> Any:
    return SimpleNamespace(
        seed=5, nodes=[None] * 3, concurrency=6, op_timeout_ns=10**9, system=system,
        workload=work, spec=spec(),
    )


def played(test: Any, folder: Path, *phases: Callable[[], Any]) -> History:
    """Run generators against the test's system, and return the history as a checker reads it."""
    path = folder / "history.arrow"

    async def play() -> None:
        writer = HistoryWriter(path, metadata(test.seed))
        async with Scheduler(test, test.workload.client(test), writer.append,
                             flush=writer.flush) as scheduler:
            for phase in phases:
                await scheduler.run(phase())
        writer.close()

    asyncio.run(play())
    return History.read(path)


def invocations(work: RegisterWorkload) -> list[Op]:
    return perfect(work.generator(a_test(None, work)), gen.Context.start(6), max_ops=10_000)


def test_all_written_values_differ() -> None:
    ops = invocations(workload(keys=20, ops_per_key=50))
    written = [op.value if op.f == "write" else op.value[1] for op in ops if op.f != "read"]
    assert len(ops) == 1000
    assert len(set(written)) == len(written) > 300


def test_the_mix_decides_how_often_each_operation_comes() -> None:
    mix = {"read": 20, "write": 60, "cas": 20}
    count = Counter(op.f for op in invocations(workload(keys=40, ops_per_key=50, mix=mix)))
    assert 0.5 < count["write"] / count.total() < 0.7
    assert 0.1 < count["cas"] / count.total() < 0.3


def test_no_more_keys_are_worked_on_than_allowed_and_each_has_its_limit() -> None:
    ops = invocations(workload(keys=12, ops_per_key=30))
    assert set(Counter(op.key for op in ops).values()) == {30}
    last = {op.key: i for i, op in enumerate(ops)}
    first = {op.key: len(ops) - 1 - i for i, op in enumerate(reversed(ops))}
    at_once = max(sum(first[k] <= i <= last[k] for k in last) for i in range(len(ops)))
    assert at_once == 3


def test_a_cas_expects_what_an_answer_showed_last_and_mostly_succeeds(tmp_path: Path) -> None:
    work = workload(keys=9, ops_per_key=100)
    test = a_test(Memory(), work)
    history = played(test, tmp_path, lambda: work.generator(test))
    ended = Counter(row["type"] for row in history.rows() if row["f"] == "cas")
    assert ended["ok"] > 2 * ended["fail"]


def test_every_key_that_was_used_is_read_at_the_end(tmp_path: Path) -> None:
    work = workload(keys=7, ops_per_key=5)
    test = a_test(Memory(), work)
    history = played(test, tmp_path, lambda: work.generator(test),
                     lambda: work.final_generator(test))
    rows = list(history.rows())
    final = [row for row in rows[2 * 7 * 5:] if row["type"] == "ok"]
    assert {row["key"] for row in final} == {b"r%d" % n for n in range(7)}
    assert {row["f"] for row in final} == {"read"}


def test_final_reads_go_on_until_one_gets_an_answer(tmp_path: Path) -> None:
    left = {"read": 5}

    def trouble(f: str) -> Exception | None:
        left[f] = left.get(f, 0) - 1
        return DidNotHappen("not now") if left[f] >= 0 else None

    work = workload(keys=1)
    work.used[b"r0"] = None
    test = a_test(Memory(trouble), work)
    history = played(test, tmp_path, lambda: work.final_generator(test))
    ended = [row["type"] for row in history.rows() if row["type"] != "invoke"]
    assert ended[:5] == ["fail"] * 5
    assert "ok" in ended[5:]


def test_answers_carry_where_they_stand_in_the_systems_history(tmp_path: Path) -> None:
    work = workload(keys=1, ops_per_key=4)
    test = a_test(Memory(), work)
    history = played(test, tmp_path, lambda: work.generator(test))
    done = [row for row in history.rows() if row["type"] == "ok"]
    assert {row["term"] for row in done} == {7}
    assert [row["rindex"] for row in done] == [1, 2, 3, 4]


def invoked(op: Op, trouble: Exception | None = None, data: dict[bytes, bytes] | None = None) -> Op:
    """Return how one operation ends."""
    system = Memory(lambda f: trouble)
    system.data |= data or {}

    async def play() -> Op:
        test = a_test(system, workload())
        client = await workload().client(test).open(test, 0, 0)
        done = await client.invoke(test, op)
        await client.close()
        return done

    return asyncio.run(play())


def test_what_certainly_did_not_happen_is_fail_and_what_may_have_is_info() -> None:
    for f, value in (("write", 1), ("cas", [1, 2])):
        op = Op(f, value, b"r0")
        assert invoked(op, DidNotHappen("no leader")).type == FAIL
        done = invoked(op, MayHaveHappened("no answer"))
        assert (done.type, done.error, done.value) == (INFO, "no answer", value)


def test_a_read_without_an_answer_showed_nothing_and_fails() -> None:
    assert invoked(Op("read", None, b"r0"), MayHaveHappened("no answer")).type == FAIL


def test_a_failed_cas_says_what_it_saw() -> None:
    done = invoked(Op("cas", [1, 2], b"r0"), data={b"r0": b"9"})
    assert (done.type, done.value, done.error) == (FAIL, [1, 2, 9], "mismatch")
    done = invoked(Op("cas", [1, 2], b"r0"))
    assert (done.type, done.value) == (FAIL, [1, 2, None])


def test_an_absent_value_reads_as_none_and_a_cas_can_expect_it() -> None:
    assert invoked(Op("read", None, b"r0")).value is None
    assert invoked(Op("cas", [None, 2], b"r0")).type == OK


def test_a_value_that_nobody_can_have_written_is_not_hidden() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        decoded(b"\xff\x00")


@pytest.mark.parametrize(
    ("options", "extra", "complaint"),
    [
        ({"keys_at_a_time": 4}, "", "keys_at_a_time: expected a divisor of clients"),
        ({"mix": {"read": 0, "write": 0, "cas": 0}}, "", "mix: expected at least one weight"),
    ],
)
def test_options_that_do_not_fit_the_test_are_refused(
    options: dict[str, Any], extra: str, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        workload(**options).validate(spec(extra), Memory())


def test_a_system_without_a_key_value_client_is_refused() -> None:
    with pytest.raises(ValueError, match="key-value client"):
        workload().validate(spec(), object())
