"""The linearizable register: reads, writes and compare-and-sets on many independent keys.

Every key is a register of its own, so a history is judged key by key; a key lives for a
limited number of operations, by a group of clients of its own, which keeps each judgement
small. All values written in a run differ, so that a read tells which write it saw.

A compare-and-set expects the last value that an answer showed for its key: most of them
succeed, and one that doesn't says what it found, which the checker uses like a read.

Values travel as decimal text, keys as ``r0``, ``r1``...: a dumped log can be read.
"""
from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Annotated, Any

from pydantic import Field

from seatrial.checker import (
    CheckResult,
    History,
    check_linearizable,
    check_stats,
    check_unhandled_exceptions,
    porcupine_engine,
)
from seatrial.harness import generator as gen
from seatrial.harness.generator import NOTHING, PENDING, Answer, Context, Generator
from seatrial.harness.generator.lift import fill
from seatrial.harness.op import FAIL, INFO, OK, Op
from seatrial.harness.rng import Rng
from seatrial.harness.test import Test
from seatrial.harness.testfile import Spec
from seatrial.harness.yamlfile import Section, suggestion

from .keyvalue import Connection, DidNotHappen, KeyValueSystem, MayHaveHappened, Mismatch

VALUE_BITS = 24  # value = key's number << VALUE_BITS | operations the key had left
Weight = Annotated[int, Field(ge=0, le=1000)]


class Mix(Section):
    """Relative frequencies."""

    read: Weight = 50
    write: Weight = 30
    cas: Weight = 20


class RegisterOptions(Section):
    """keys: how many in all (null: as many as there is time for)."""

    keys: Annotated[int, Field(ge=1, le=1 << 30)] | None = None
    keys_at_a_time: Annotated[int, Field(ge=1, le=20)] = 10
    ops_per_key: Annotated[int, Field(ge=1, le=1 << 20)] = 300
    mix: Mix = Mix()


class OneRegister(Generator, frozen=True, gc=False):
    """The operations on one key. ``seen`` is the last value that an answer showed."""

    hears = True

    number: int
    mix: Mix
    left: int
    state: int
    seen: int | None = None

    def op(self, test: Any, ctx: Context) -> Answer:
        if not ctx.free:
            return PENDING
        rng = Rng(self.state)
        f = self._draw(rng)
        value: Any = None
        if f != "read":
            value = self.number << VALUE_BITS | self.left
            if f == "cas":
                value = [self.seen, value]
        op = fill(Op(f, value), ctx)
        if op is None:
            return PENDING
        left = self.left - 1
        rest = OneRegister(self.number, self.mix, left, rng.state, self.seen)
        return op, rest if left else NOTHING

    def _draw(self, rng: Rng) -> str:
        mix = self.mix
        at = rng.below(mix.read + mix.write + mix.cas)
        return "read" if at < mix.read else "write" if at < mix.read + mix.write else "cas"

    def update(self, test: Any, ctx: Context, event: Op) -> Generator:
        seen = shown(event)
        if seen is None or seen == self.seen:
            return self
        return OneRegister(self.number, self.mix, self.left, self.state, seen)

    def seeded(self, seed: int) -> Generator:
        return OneRegister(self.number, self.mix, self.left, seed, self.seen)


def shown(event: Op) -> int | None:
    """Return the value that a completion shows its register to have, None if it shows none."""
    value = event.value
    if event.type == OK:
        value = value[1] if event.f == "cas" else value
    elif event.type == FAIL and event.f == "cas" and len(value) == 3:
        value = value[2]
    else:
        return None
    return value if isinstance(value, int) else None


def key_name(number: int) -> bytes:
    """Return the key with this number."""
    return b"r%d" % number


class RegisterClient:
    """Does operations over one connection, and notes which keys were used."""

    def __init__(self, used: dict[bytes, None], connection: Connection | None = None) -> None:
        self.used = used
        self.connection = connection

    async def open(self, test: Test, node: int, process: int) -> RegisterClient:
        system = test.system
        assert isinstance(system, KeyValueSystem)  # RegisterWorkload.validate
        return RegisterClient(self.used, await system.connect(test, node, process))

    async def invoke(self, test: Test, op: Op) -> Op:
        assert self.connection is not None
        assert op.key is not None
        self.used[op.key] = None
        try:
            return await self._invoke(self.connection, op, op.key)
        except DidNotHappen as error:
            return op.completed(FAIL, op.value, str(error))
        except MayHaveHappened as error:
            # a read without an answer changed nothing and showed nothing, whatever happened
            return op.completed(FAIL if op.f == "read" else INFO, op.value, str(error))

    async def _invoke(self, connection: Connection, op: Op, key: bytes) -> Op:
        value = op.value
        if op.f == "read":
            answer = await connection.read(key)
            done = op.completed(OK, decoded(answer.value))
        elif op.f == "write":
            answer = await connection.write(key, encoded(value))
            done = op.completed(OK, value)
        else:
            old, new = value
            try:
                answer = await connection.cas(key, old if old is None else encoded(old),
                                              encoded(new))
                done = op.completed(OK, value)
            except Mismatch as mismatch:
                answer = mismatch.answer
                done = op.completed(FAIL, [old, new, decoded(answer.value)], "mismatch")
        done.node, done.term = answer.node, answer.term
        done.rindex, done.epoch = answer.rindex, answer.epoch
        done.domain, done.confirmed = answer.domain, answer.confirmed
        return done

    async def close(self) -> None:
        if self.connection is not None:
            await self.connection.close()


def encoded(value: int) -> bytes:
    """Return a value as it is stored."""
    return b"%d" % value


def decoded(value: bytes | None) -> int | None:
    """Return a stored value as the history has it. What is no number raises: nobody wrote it."""
    return None if value is None else int(value)


def is_number(value: Any) -> bool:
    """Return whether this is a value that a register may hold."""
    return type(value) is int


VALUES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "read": ("none", lambda value: value is None),
    "write": ("a whole number", is_number),
    "cas": ("two whole numbers, the old one or null first",
            lambda value: isinstance(value, list) and len(value) == 2 and is_number(value[1])
            and (value[0] is None or is_number(value[0]))),
}
"""What an operation of a schedule has as its value."""


class RegisterWorkload:
    """The workload ``register``."""

    name = "register"
    online_model = "cas-register"
    Options = RegisterOptions

    def __init__(self, options: RegisterOptions) -> None:
        self.options = options
        self.used: dict[bytes, None] = {}

    def validate(self, spec: Spec, system: Any) -> None:
        """Raise ValueError when the rest of the test file does not fit."""
        at_a_time = self.options.keys_at_a_time
        if spec.schedule is None and spec.clients % at_a_time:
            raise ValueError(f"keys_at_a_time: expected a divisor of clients ({spec.clients}), "
                             f"so that each key has a group of clients, got {at_a_time}")
        mix = self.options.mix
        if mix.read + mix.write + mix.cas == 0:
            raise ValueError("mix: expected at least one weight above 0")
        engine = spec.checks.engine
        if engine in ("porcupine", "both") and not porcupine_engine.available():
            raise ValueError(f"checks.engine is {engine}, but {porcupine_engine.ABSENT}")
        if not isinstance(system, KeyValueSystem):
            raise ValueError("needs a system with a key-value client (connect)")

    def refusal(self, f: str, key: str | None, value: Any) -> str | None:
        """Return why an operation of a schedule can't be done, None when it can."""
        if f not in VALUES:
            return f"f: unknown operation {f!r}; {suggestion(f, VALUES)}"
        if key is None:
            return "key: missing; each operation is on one key"
        expected, fits = VALUES[f]
        return None if fits(value) else f"value: expected {expected}, got {value!r:.100}"

    def client(self, test: Test) -> RegisterClient:
        return RegisterClient(self.used)

    def generator(self, test: Test) -> Any:
        options = self.options
        numbers: Iterator[int] = (
            itertools.count() if options.keys is None else iter(range(options.keys))
        )
        return gen.concurrent_generator(
            test.concurrency // options.keys_at_a_time, map(key_name, numbers),
            lambda key: OneRegister(int(key[1:]), options.mix, options.ops_per_key, 0),
        )

    def final_generator(self, test: Test) -> Any:
        """Read every key that was used, by a group of readers each, until one gets an answer."""
        return gen.concurrent_generator(
            test.concurrency // self.options.keys_at_a_time, iter(list(self.used)),
            lambda key: gen.until_ok(gen.repeat({"f": "read"})),
        )

    def check(self, test: Test, history: History) -> list[CheckResult]:
        """Judge each key: is there one order of its operations that explains every answer?"""
        checks = test.spec.checks
        found = check_linearizable(
            history, "cas-register", engine=checks.engine, time_limit_s=checks.time_limit,
            memory_limit_bytes=checks.memory_mb << 20,
        )
        return [found, *found.also, check_stats(history), check_unhandled_exceptions(history)]
