"""The linearizable register: reads, writes and compare-and-sets on many independent keys.

Every key is a register of its own, so a history is judged key by key; a key lives for a
limited number of operations, by a group of clients of its own, which keeps each judgement
small. All values written in a run differ, so that a read tells which write it saw.

A compare-and-set expects the last value that an answer showed for its key: most of them
succeed, and one that doesn't says what it found, which the checker uses like a read.

Values travel as decimal text, keys as ``r0``, ``r1``...: a dumped log can be read.

In a tree of several domains clients do what their pools do, and read in every way that there is
(reads.py).
"""
from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from seatrial.checker import (
    CheckResult,
    History,
    Verdict,
    check_linearizable,
    check_stats,
    check_unhandled_exceptions,
    porcupine_engine,
)
from seatrial.checker.durability import check_durability
from seatrial.checker.models import Role, model_named
from seatrial.checker.operations import Operations, operations_of
from seatrial.harness import generator as gen
from seatrial.harness.generator import NOTHING, PENDING, Answer, Context, Generator
from seatrial.harness.generator.lift import fill
from seatrial.harness.op import FAIL, INFO, OK, Op
from seatrial.harness.rng import Rng
from seatrial.harness.test import Test
from seatrial.harness.testfile import Spec
from seatrial.harness.yamlfile import Section, suggestion

from . import reads
from .keyvalue import (
    Connection,
    DidNotHappen,
    KeyValueSystem,
    MayHaveHappened,
    Mismatch,
    WeaklyRead,
    WeakReads,
)
from .reads import Kinds, Seating, Token, Weight

VALUE_BITS = 24  # value = key's number << VALUE_BITS | operations the key had left
Bound = Annotated[float, Field(ge=0.001, le=3600)]


class Mix(Section):
    """Relative frequencies."""

    read: Weight = 50
    write: Weight = 30
    cas: Weight = 20


class RegisterOptions(Section):
    """keys: how many in all (null: as many as there is time for). reads, bounds (in seconds, of
    bounded reads): in a tree of several domains."""

    keys: Annotated[int, Field(ge=1, le=1 << 30)] | None = None
    keys_at_a_time: Annotated[int, Field(ge=1, le=20)] = 10
    ops_per_key: Annotated[int, Field(ge=1, le=1 << 20)] = 300
    mix: Mix = Mix()
    reads: Kinds = Kinds()
    bounds: Annotated[list[Bound], Field(max_length=16)] = Field(
        default=[0.5, 2.0])


class OneRegister(Generator, frozen=True, gc=False):
    """The operations on one key. ``seen`` is the last value that an answer showed; ``seating`` says
    who does what where there are several domains."""

    hears = True

    number: int
    mix: Mix
    left: int
    state: int
    seen: int | None = None
    seating: Seating | None = None

    def op(self, test: Any, ctx: Context) -> Answer:
        if not ctx.free:
            return PENDING
        rng = Rng(self.state)
        op = fill(Op(self._draw(rng)), ctx)
        if op is None:
            return PENDING
        if self.seating is not None:
            op.f = self.seating.fitting(op.f, op.process, rng)
            if op.f == reads.BOUNDED:
                op.value = self.seating.bound_ms(op.process, rng)
        if op.f in ("write", "cas"):
            op.value = self.number << VALUE_BITS | self.left
            if op.f == "cas":
                op.value = [self.seen, op.value]
        left = self.left - 1
        return op, self._with(left=left, state=rng.state) if left else NOTHING

    def _with(self, **changes: Any) -> OneRegister:
        return OneRegister(self.number, self.mix, changes.get("left", self.left),
                           changes.get("state", self.state), changes.get("seen", self.seen),
                           self.seating)

    def _draw(self, rng: Rng) -> str:
        mix = self.mix
        at = rng.below(mix.read + mix.write + mix.cas)
        return "read" if at < mix.read else "write" if at < mix.read + mix.write else "cas"

    def update(self, test: Any, ctx: Context, event: Op) -> Generator:
        seen = shown(event)
        if seen is None or seen == self.seen:
            return self
        return self._with(seen=seen)

    def seeded(self, seed: int) -> Generator:
        return self._with(state=seed)


WEAK = (reads.BOUNDED, reads.PREFIX)


def shown(event: Op) -> int | None:
    """Return the value that a completion shows its register to have, None if it shows none. What
    may be old says nothing."""
    value = event.value
    if event.type == OK and event.f not in WEAK:
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
    """Does operations over one connection, and notes which keys were used, and what it has seen."""

    def __init__(self, used: dict[bytes, None], seating: Seating | None = None,
                 connection: Connection | None = None) -> None:
        self.used = used
        self.seating = seating
        self.connection = connection
        self.token: Token | None = None

    async def open(self, test: Test, node: int, process: int) -> RegisterClient:
        system = test.system
        assert isinstance(system, KeyValueSystem)  # RegisterWorkload.validate
        return RegisterClient(self.used, self.seating, await system.connect(test, node, process))

    def address(self, test: Test, op: Op) -> None:
        """Say where it goes, and of a read that may be old how far it must reach."""
        if self.seating is not None:
            reads.addressed(op, self.seating, self.token)

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
            return op.completed(FAIL if op.f.startswith("read") else INFO, op.value, str(error))

    async def _invoke(self, connection: Connection, op: Op, key: bytes) -> Op:
        value = op.value
        if op.f == "read":
            answer = await connection.read(key)
            done = op.completed(OK, decoded(answer.value))
        elif op.f in WEAK:
            assert isinstance(connection, WeaklyRead)   # whose system says so
            token = reads.token_of(op)
            answer = await (connection.read_prefix(key, token) if op.f == reads.PREFIX
                            else connection.read_bounded(key, token, value))
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
        if self.seating is not None and (seen := reads.token_of(done)) is not None:
            self.token = seen if self.token is None else max(self.token, seen)
            self.seating.saw(seen)
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
    "read-prefix": ("none", lambda value: value is None),
    "read-bounded": ("a bound in ms, or none for the domain's own",
                     lambda value: value is None or (is_number(value) and value > 0)),
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
    heeds_pools = True
    Options = RegisterOptions

    def __init__(self, options: RegisterOptions) -> None:
        self.options = options
        self.used: dict[bytes, None] = {}
        self._seating: Seating | None = None

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
        tree = reads.seated(spec)
        if tree is not None and spec.schedule is None and (wrong := reads.unfit(
                tree, spec.clients, at_a_time, mix.model_dump(), self.kinds(system),
                self.options.bounds)):
            raise ValueError(wrong)

    def kinds(self, system: Any) -> Kinds:
        """Return the kinds of reads that are asked for, of a system that has them."""
        return self.options.reads if isinstance(system, WeakReads) else Kinds(bounded=0, prefix=0)

    def seating(self, test: Test) -> Seating | None:
        """Return who does what in a tree of several domains, None elsewhere."""
        tree = reads.seated(test.spec)
        if tree is None:
            return None
        if self._seating is None:
            self._seating = Seating(
                tree, test.concurrency, self.kinds(test.system),
                [round(1000 * bound) for bound in self.options.bounds],
                self.options.mix.model_dump())
        return self._seating

    def refusal(self, f: str, key: str | None, value: Any) -> str | None:
        """Return why an operation of a schedule can't be done, None when it can."""
        if f not in VALUES:
            return f"f: unknown operation {f!r}; {suggestion(f, VALUES)}"
        if key is None:
            return "key: missing; each operation is on one key"
        expected, fits = VALUES[f]
        return None if fits(value) else f"value: expected {expected}, got {value!r:.100}"

    def client(self, test: Test) -> RegisterClient:
        return RegisterClient(self.used, self.seating(test))

    def generator(self, test: Test) -> Any:
        options, seating = self.options, self.seating(test)
        numbers: Iterator[int] = (
            itertools.count() if options.keys is None else iter(range(options.keys))
        )
        return gen.concurrent_generator(
            test.concurrency // options.keys_at_a_time, map(key_name, numbers),
            lambda key: OneRegister(int(key[1:]), options.mix, options.ops_per_key, 0,
                                    seating=seating),
        )

    def final_generator(self, test: Test) -> Any:
        """Read every key that was used, by a group of readers each, until one gets an answer."""
        seating = self.seating(test)
        read = gen.until_ok(gen.repeat({"f": "read"}))
        if seating is not None:
            read = gen.on_threads(seating.readers(), read)
        return gen.concurrent_generator(
            test.concurrency // self.options.keys_at_a_time, iter(list(self.used)),
            lambda key: read,
        )

    @staticmethod
    def _judged(history: History) -> History | Operations:
        """What must be linearizable; reads that need not be are for the checks of domains."""
        codes = [history.fs.index(f) for f in WEAK if f in history.fs]
        if not codes:
            return history
        model = model_named("cas-register")
        known = replace(model, roles={**model.roles, **dict.fromkeys(WEAK, Role.READ)})
        found = operations_of(history, known)
        return found.select(~np.isin(history.f[found.row], codes))

    def check(self, test: Test, history: History) -> list[CheckResult]:
        """Judge each key: is there one order of its operations that explains every answer?"""
        checks = test.spec.checks
        found = check_linearizable(
            self._judged(history), "cas-register", engine=checks.engine,
            time_limit_s=checks.time_limit, memory_limit_bytes=checks.memory_mb << 20,
        )
        return [found, *found.also, *self._durable(history), check_stats(history),
                check_unhandled_exceptions(history)]

    @staticmethod
    def _durable(history: History) -> list[CheckResult]:
        """What became of each write, by the final reads; nothing where there are none, as in a
        schedule. Trees of domains have checks of their own."""
        if any(f in history.fs for f in WEAK):
            return []
        found = check_durability(history)
        return [] if found.verdict is Verdict.NO_COVERAGE else [found]
