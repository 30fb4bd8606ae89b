"""Large histories whose verdict is known, streamed: how much can a check take on this machine?

The events come from crowd.pyx: linearizable by construction, or with one violation in them.
"""
from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from .crowd import NAMES, Crowd
from .errors import CheckerError
from .history import SCHEMA, metadata

BATCH_ROWS = 1 << 16
LONGEST_VALUE = 28                  # bytes of a compare-and-set in msgpack
STEP_NS = 2_500                     # between two events: 200,000 operations a second
NS_PER_MS = 1_000_000
ELEMENTS = 1_000                    # of a set
LEASE_EVENTS = 100                  # of each client, while a lease lasts: a violation fits in

Step = tuple[str, int | None, int | None, int | None]      # f, a, b, what it answered

DUPLICATE: Sequence[Step] = (
    ("enqueue", 0, None, None), ("dequeue", None, None, 0), ("dequeue", None, None, 0))
TWO_HOLDERS: Sequence[Step] = (
    ("acquire", None, None, None), ("acquire", None, None, None))
STALE_READ: Sequence[Step] = (
    ("write", 0, None, None), ("write", 1, None, None), ("read", None, None, 0))
NEVER_WRITTEN: Sequence[Step] = (("read", None, None, 0),)
LOST_UPDATE: Sequence[Step] = (
    ("write", 0, None, None), ("cas", 0, 1, None), ("cas", 0, 2, None))


@dataclass(frozen=True, slots=True)
class Kind:
    """A model: what observes it, what changes it, and how it may be violated."""

    observation: str
    change: str
    violations: Mapping[str, Sequence[Step]]


KINDS: Mapping[str, Kind] = {
    "register": Kind("read", "write", {
        "stale-read": STALE_READ, "never-written": NEVER_WRITTEN}),
    "cas-register": Kind("read", "write", {
        "stale-read": STALE_READ, "never-written": NEVER_WRITTEN, "lost-update": LOST_UPDATE}),
    "kv": Kind("read", "write", {
        "stale-read": STALE_READ, "never-written": NEVER_WRITTEN, "lost-update": LOST_UPDATE}),
    "fifo-queue": Kind("dequeue", "enqueue", {
        "reordered": (("enqueue", 0, None, None), ("enqueue", 1, None, None),
                      ("dequeue", None, None, 1), ("dequeue", None, None, 0)),
        "duplicate": DUPLICATE,
        "lost": (("enqueue", 0, None, None), ("enqueue", 1, None, None),
                 ("dequeue", None, None, 1))}),
    "unordered-queue": Kind("dequeue", "enqueue", {
        "duplicate": DUPLICATE, "never-written": (("dequeue", None, None, 0),)}),
    "stack": Kind("pop", "push", {
        "reordered": (("push", 0, None, None), ("push", 1, None, None),
                      ("pop", None, None, 0), ("pop", None, None, 1)),
        "duplicate": (("push", 0, None, None), ("pop", None, None, 0), ("pop", None, None, 0))}),
    "priority-queue": Kind("poll", "insert", {
        "reordered": (("insert", 0, None, None), ("insert", 1, None, None),
                      ("poll", None, None, 0), ("poll", None, None, 1)),
        "duplicate": (("insert", 0, None, None), ("poll", None, None, 0),
                      ("poll", None, None, 0))}),
    "set": Kind("contains", "add", {
        "stale-read": (("add", 0, None, None), ("contains", 0, None, 0)),
        "never-written": (("contains", 0, None, 1),),
        "resurrected": (("add", 0, None, None), ("remove", 0, None, None),
                        ("contains", 0, None, 1))}),
    "mutex": Kind("release", "acquire", {"two-holders": TWO_HOLDERS}),
    "owned-mutex": Kind("release", "acquire", {"two-holders": TWO_HOLDERS}),
    "lease": Kind("renew", "acquire", {"two-holders": TWO_HOLDERS}),
    "counter": Kind("read", "add", {
        "stale-read": (("add", 1, None, None), ("read", None, None, 0))}),
}
MAY_REPEAT = ("register", "cas-register", "kv", "set")
VIOLATIONS = tuple(sorted({name for kind in KINDS.values() for name in kind.violations}))


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a history is to be like; ``values`` 0: no value is ever written twice (into a set: one
    of 1,000)."""

    model: str = "kv"
    operations: int = 100_000
    clients: int = 10
    keys: int = 1
    pending: int = 0
    violation: str | None = None
    at: float = 0.9                 # which part of the operations comes before the violation
    reads: float = 0.5
    cas: float = 0.0
    values: int = 0
    seed: int = 1

    def __post_init__(self) -> None:
        kind = KINDS.get(self.model)
        if kind is None:
            raise CheckerError(f"unknown model {self.model!r}; expected one of {', '.join(KINDS)}")
        if self.violation is not None and self.violation not in kind.violations:
            raise CheckerError(f"{self.model} can't be violated by {self.violation!r}; expected "
                               f"one of {', '.join(kind.violations)}")
        if self.keys > 1 and self.model != "kv":
            raise CheckerError(f"{self.keys} keys; a {self.model} has one, and kv as many as one "
                               "likes")
        if self.cas and "lost-update" not in kind.violations:
            raise CheckerError(f"a {self.model} knows no cas; expected cas-register or kv")
        if self.values and self.model not in MAY_REPEAT:
            raise CheckerError(f"repeated values in a {self.model}: a violation would not be "
                               "certain; expected values 0")
        if self.pending + len(self.script) > self.operations:
            raise CheckerError(f"{self.pending} pending and {len(self.script)} of the violation "
                               f"are more than {self.operations} operations")

    @property
    def script(self) -> Sequence[Step]:
        """The operations of the violation."""
        return KINDS[self.model].violations[self.violation] if self.violation else ()

    @property
    def schema(self) -> pa.Schema:
        """The history's schema, with this recipe in its metadata."""
        made = metadata(self.seed, {"generate": asdict(self)})
        return SCHEMA.with_metadata(made | {b"seatrial.model": json.dumps(self.model).encode()})


def batches(recipe: Recipe) -> Iterator[pa.RecordBatch]:
    """Make the history, a batch at a time."""
    kind, columns = KINDS[recipe.model], Columns(recipe)
    elements = (recipe.values or ELEMENTS) if recipe.model == "set" else 0
    lease_ms = -(-recipe.clients * LEASE_EVENTS * STEP_NS // NS_PER_MS)
    crowd = Crowd(
        observation=kind.observation, change=kind.change, operations=recipe.operations,
        clients=recipe.clients, keys=elements or recipe.keys, pending=recipe.pending,
        observe=recipe.reads, compare=recipe.cas, values=elements or recipe.values,
        seed=recipe.seed, script=list(recipe.script),
        script_at=min(int(recipe.at * recipe.operations),
                      recipe.operations - len(recipe.script)),
        unordered=recipe.model == "unordered-queue",
        lease=(lease_ms, lease_ms * NS_PER_MS // STEP_NS))
    first = 0
    while n := columns.fill(crowd):
        yield columns.batch(first, n)
        first += n


def write(recipe: Recipe, sink: Any) -> int:
    """Write the history to a binary file; returns its number of events."""
    events = 0
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, recipe.schema, options=options) as writer:
        for batch in batches(recipe):
            writer.write_batch(batch)
            events += batch.num_rows
    return events


class Columns:
    """Room for a batch, filled again and again."""

    def __init__(self, recipe: Recipe) -> None:
        n = BATCH_ROWS
        self.schema = recipe.schema
        self.key = (pa.array([b"k%d" % i for i in range(recipe.keys)], pa.binary())
                    if recipe.model == "kv" else None)
        self.names = pa.array(NAMES, pa.string())
        self.types, self.processes = np.zeros(n, np.int8), np.zeros(n, np.int32)
        self.fs, self.keys = np.zeros(n, np.int16), np.zeros(n, np.int32)
        self.numbers, self.is_number = np.zeros(n, np.int64), np.zeros(n, np.uint8)
        self.ends, self.text = np.zeros(n + 1, np.int32), np.zeros(n * LONGEST_VALUE, np.uint8)

    def fill(self, crowd: Crowd) -> int:
        """Take the next events of a crowd; returns how many."""
        return crowd.fill(self.types, self.processes, self.fs, self.keys, self.numbers,
                          self.is_number, self.ends, self.text)

    def batch(self, first: int, n: int) -> pa.RecordBatch:
        """Return the events as a batch of the format; it shares nothing with this room."""
        index = np.arange(first, first + n)
        columns = {
            "index": pa.array(index),
            "time": pa.array(index * STEP_NS),
            "process": pa.array(self.processes[:n].copy()),
            "type": pa.array(self.types[:n].copy()),
            "f": pa.DictionaryArray.from_arrays(pa.array(self.fs[:n].copy()), self.names),
            "value": pa.array(self.numbers[:n].copy(), mask=self.is_number[:n] == 0),
            "value_ext": self._texts(n),
            "node": pa.array(np.full(n, -1, np.int16)),
            "domain": pa.array(np.zeros(n, np.int16)),
        }
        if self.key is not None:
            columns["key"] = self.key.take(pa.array(self.keys[:n]))
        return pa.record_batch([columns.get(field.name, pa.nulls(n, field.type))
                                for field in self.schema], schema=self.schema)

    def _texts(self, n: int) -> pa.Array:
        """What is no number: null where there is none."""
        ends = self.ends[:n + 1].copy()
        if ends[n] == 0:
            return pa.nulls(n, pa.binary())
        valid = np.packbits(ends[1:] > ends[:-1], bitorder="little")
        return pa.Array.from_buffers(pa.binary(), n, [
            pa.py_buffer(valid), pa.py_buffer(ends), pa.py_buffer(self.text[:ends[n]].copy())])
