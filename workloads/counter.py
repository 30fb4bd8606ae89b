"""Counters: additions that answer the sum, and reads, on many independent keys.

Judged by bounds that every linearizable counter keeps, where all that is added is positive:

* no two additions answer the same: the steps up to their answers don't overlap;
* an answer is at least what was certainly added, and the highest that was seen, before it began;
* and at most what may have been added when it ended.

An addition that was executed twice, lost, or answered from an old state breaks one of them. They
are necessary, not sufficient: a stricter search would need a model of its own.
"""
from __future__ import annotations

import itertools
from typing import Annotated, Any

from pydantic import Field

from seatrial.checker import (
    CheckResult,
    History,
    Verdict,
    check_stats,
    check_unhandled_exceptions,
)
from seatrial.harness import generator as gen
from seatrial.harness.op import FAIL, INFO, OK, Op
from seatrial.harness.test import Test
from seatrial.harness.testfile import Spec
from seatrial.harness.yamlfile import Section

from .keyvalue import Connection, Counting, DidNotHappen, KeyValueSystem, MayHaveHappened
from .operations import Operation, ended, events

DELTAS = (1, 2, 3, 5)


class CounterOptions(Section):
    """How many counters are in use at once, and how long each lives."""

    keys_at_a_time: Annotated[int, Field(ge=1, le=20)] = 5
    ops_per_key: Annotated[int, Field(ge=1, le=1 << 20)] = 500


class CounterClient:
    """Does operations over one connection."""

    def __init__(self, connection: Connection | None = None) -> None:
        self.connection = connection

    async def open(self, test: Test, node: int, process: int) -> CounterClient:
        system = test.system
        assert isinstance(system, KeyValueSystem)  # CounterWorkload.validate
        return CounterClient(await system.connect(test, node, process))

    async def invoke(self, test: Test, op: Op) -> Op:
        assert self.connection is not None
        assert op.key is not None
        try:
            if op.f == "read":
                value = (await self.connection.read(op.key)).value
                return op.completed(OK, decoded(value))
            assert isinstance(self.connection, Counting)
            value = (await self.connection.add(op.key, op.value)).value
            return op.completed(OK, [op.value, int(value or b"")])
        except DidNotHappen as error:
            return op.completed(FAIL, op.value, str(error))
        except MayHaveHappened as error:
            return op.completed(FAIL if op.f == "read" else INFO, op.value, str(error))

    async def close(self) -> None:
        if self.connection is not None:
            await self.connection.close()


def decoded(value: bytes | None) -> int:
    """Return a counter as the node stores it: 8 bytes, absent is 0."""
    return int.from_bytes(value or b"", "little", signed=True)


class CounterWorkload:
    """The workload ``counter``."""

    name = "counter"
    Options = CounterOptions

    def __init__(self, options: CounterOptions) -> None:
        self.options = options

    def validate(self, spec: Spec, system: Any) -> None:
        """Raise ValueError when the rest of the test file does not fit."""
        at_a_time = self.options.keys_at_a_time
        if spec.schedule is not None:
            raise ValueError("counter: its operations can't be written down (schedule)")
        if spec.clients % at_a_time:
            raise ValueError(f"keys_at_a_time: expected a divisor of clients ({spec.clients}), "
                             f"so that each key has a group of clients, got {at_a_time}")
        if not isinstance(system, KeyValueSystem):
            raise ValueError("needs a system with a key-value client (connect)")

    def refusal(self, f: str, key: str | None, value: Any) -> str | None:
        """Return why an operation of a schedule can't be done."""
        return "counter: its operations can't be written down"

    def client(self, test: Test) -> CounterClient:
        return CounterClient()

    def generator(self, test: Test) -> Any:
        adds = [gen.repeat({"f": "add", "value": delta}) for delta in DELTAS]
        return gen.concurrent_generator(
            test.concurrency // self.options.keys_at_a_time,
            (b"c%d" % number for number in itertools.count()),
            lambda key: gen.limit(
                self.options.ops_per_key, gen.mix(*adds, gen.repeat({"f": "read"}))),
        )

    def final_generator(self, test: Test) -> Any:
        """Nothing: each answer of an addition has told the sum already."""
        return None

    def check(self, test: Test, history: History) -> list[CheckResult]:
        """Judge each counter."""
        return [check_counters(history), check_stats(history), check_unhandled_exceptions(history)]


def check_counters(history: History) -> CheckResult:
    """Judge each counter by the bounds in the module's docstring."""
    by_key = events(history)
    wrong = [{"key": key.decode(), "why": why} for key, mine in by_key.items()
             for why in (*overlaps(mine), *beyond(mine))]
    if wrong:
        return CheckResult(
            "counter", Verdict.VIOLATION, f"{wrong[0]['key']}: {wrong[0]['why']}",
            text="\n".join(f"{each['key']}: {each['why']}" for each in wrong[:20]),
            evidence={"wrong": wrong[:100]})
    return CheckResult("counter", Verdict.PASS, f"{len(by_key)} counters")


def overlaps(mine: list[tuple[bool, Operation]]) -> list[str]:
    """Additions whose steps (from before to after) overlap: one was lost, or answered wrongly."""
    steps = sorted((op.answer[1], op.answer[0]) for op in ended(mine) if op.f == "add")
    return [f"additions of {b} up to {after} and of {a} up to {before} overlap"
            for (before, a), (after, b) in itertools.pairwise(steps) if after - b < before]


def beyond(mine: list[tuple[bool, Operation]]) -> list[str]:
    """Answers that are lower, or higher, than can be."""
    wrong = []
    least = most = highest = 0
    floors: dict[int, int] = {}         # beginning -> the least that it may answer
    for begins, op in mine:
        delta = op.asked if op.f == "add" else 0
        if begins:
            floors[op.begin] = max(least, highest) + delta
            most += delta if op.outcome != FAIL else 0
        elif op.outcome == OK:
            value = op.answer[1] if op.f == "add" else op.answer
            if not floors[op.begin] <= value <= most:
                wrong.append(f"{op.f} of process {op.process} answered {value}, expected "
                             f"{floors[op.begin]} to {most}")
            least += delta
            highest = max(highest, value)
    return wrong
