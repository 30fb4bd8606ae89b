"""Locks: clients acquire them for a while, write under their token, and release them.

Leases end by somebody's clock, so no lock alone excludes two holders while clocks go wrong or
processes sleep; what must hold at all times, under every fault, is what its tokens say:

* one token is never given to two holders;
* an acquisition that begins after another ended answers no lower token;
* a write under a token is not accepted once one under a newer token was.

A client goes on writing under the token that it got last, long after the lock's time is over: what
a client does that was paused.
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

from .keyvalue import Connection, DidNotHappen, KeyValueSystem, Locking, MayHaveHappened
from .operations import Operation, ended, events


class LockOptions(Section):
    """How many locks are in use at once, how long each is used, and for how long it is taken."""

    locks_at_a_time: Annotated[int, Field(ge=1, le=20)] = 5
    ops_per_lock: Annotated[int, Field(ge=1, le=1 << 20)] = 300
    ttl_s: Annotated[float, Field(gt=0, le=3600)] = 1.5


class LockClient:
    """Does operations over one connection. tokens: lock -> the newest that it got."""

    def __init__(
        self, ttl_s: float, process: int = 0, connection: Connection | None = None
    ) -> None:
        self.ttl_s = ttl_s
        self.process = process
        self.connection = connection
        self.tokens: dict[bytes, int] = {}

    async def open(self, test: Test, node: int, process: int) -> LockClient:
        system = test.system
        assert isinstance(system, KeyValueSystem)  # LockWorkload.validate
        return LockClient(self.ttl_s, process, await system.connect(test, node, process))

    async def invoke(self, test: Test, op: Op) -> Op:
        assert isinstance(self.connection, Locking)
        assert op.key is not None
        token = self.tokens.get(op.key, 0)
        if op.f != "acquire" and not token:
            return op.completed(FAIL, None, "no token yet")
        try:
            if op.f == "acquire":
                found = await self.connection.acquire(op.key, b"%d" % self.process, self.ttl_s)
                token = self.tokens[op.key] = int(found.value or b"")
            elif op.f == "release":
                await self.connection.release(op.key, token)
            else:
                await self.connection.write_if_token(b"under " + op.key, b"%d" % token, token)
        except DidNotHappen as error:
            return op.completed(FAIL, token or None, str(error))
        except MayHaveHappened as error:
            return op.completed(INFO, token or None, str(error))
        return op.completed(OK, token)

    async def close(self) -> None:
        if self.connection is not None:
            await self.connection.close()


class LockWorkload:
    """The workload ``lock``."""

    name = "lock"
    Options = LockOptions

    def __init__(self, options: LockOptions) -> None:
        self.options = options

    def validate(self, spec: Spec, system: Any) -> None:
        """Raise ValueError when the rest of the test file does not fit."""
        at_a_time = self.options.locks_at_a_time
        if spec.schedule is not None:
            raise ValueError("lock: its operations can't be written down (schedule)")
        if spec.clients % at_a_time:
            raise ValueError(f"locks_at_a_time: expected a divisor of clients ({spec.clients}), "
                             f"so that each lock has a group of clients, got {at_a_time}")
        if not isinstance(system, KeyValueSystem):
            raise ValueError("needs a system with a key-value client (connect)")

    def refusal(self, f: str, key: str | None, value: Any) -> str | None:
        """Return why an operation of a schedule can't be done."""
        return "lock: its operations can't be written down"

    def client(self, test: Test) -> LockClient:
        return LockClient(self.options.ttl_s)

    def generator(self, test: Test) -> Any:
        return gen.concurrent_generator(
            test.concurrency // self.options.locks_at_a_time,
            (b"l%d" % number for number in itertools.count()),
            lambda key: gen.limit(self.options.ops_per_lock, gen.mix(
                *(gen.repeat({"f": f}) for f in ("acquire", "write", "release")))),
        )

    def final_generator(self, test: Test) -> Any:
        """Nothing: what tokens were given is known."""
        return None

    def check(self, test: Test, history: History) -> list[CheckResult]:
        """Judge the tokens of each lock."""
        return [check_tokens(history), check_stats(history), check_unhandled_exceptions(history)]


def check_tokens(history: History) -> CheckResult:
    """Judge each lock by the rules in the module's docstring."""
    by_lock = events(history)
    wrong = [{"lock": key.decode(), "why": why} for key, mine in by_lock.items()
             for why in (*shared(mine), *backwards(mine, "acquire"), *backwards(mine, "write"))]
    if wrong:
        return CheckResult(
            "lock", Verdict.VIOLATION, f"{wrong[0]['lock']}: {wrong[0]['why']}",
            text="\n".join(f"{each['lock']}: {each['why']}" for each in wrong[:20]),
            evidence={"wrong": wrong[:100]})
    return CheckResult("lock", Verdict.PASS, f"{len(by_lock)} locks")


def shared(mine: list[tuple[bool, Operation]]) -> list[str]:
    """Tokens that two processes got."""
    holders: dict[int, int] = {}
    return [f"token {op.answer} was given to process {holders[op.answer]} and to {op.process}"
            for op in ended(mine) if op.f == "acquire"
            and holders.setdefault(op.answer, op.process) != op.process]


def backwards(mine: list[tuple[bool, Operation]], f: str) -> list[str]:
    """Operations of a kind under a token older than that of one which was over before."""
    wrong = []
    newest = 0
    floors: dict[int, int] = {}
    for begins, op in mine:
        if op.f != f:
            continue
        if begins:
            floors[op.begin] = newest
        elif op.outcome == OK:
            if op.answer < floors[op.begin]:
                wrong.append(f"{f} of process {op.process} under token {op.answer}, after one "
                             f"under {floors[op.begin]} had ended")
            newest = max(newest, op.answer)
    return wrong
