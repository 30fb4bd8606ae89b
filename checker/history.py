"""The history: one row per event, columnar, streamed to disk while a run goes on.

Arrow IPC stream, zstd, a batch each 4,096 rows or 250 ms, so that it is readable up to the
last whole batch after the writer was killed. The checker owns the format because it must be
able to judge a history without the harness.

=========== ============================ ==================================================
column      type                         meaning
=========== ============================ ==================================================
index       int64                        position in the history
time        int64                        ns since the start of the run (due time of an invoke)
process     int32                        logical process; -1 is the nemesis
type        int8                         0 invoke, 1 ok, 2 fail, 3 info
f           dictionary<int16, string>    what was done
key         binary or null               independent key
value       int64 or null                the value when it is an integer
value_ext   binary or null               msgpack of the value when it is neither null nor int64
node        int16                        index of the node talked to, -1 unknown
domain      int16                        domain of that node
rindex      int64 or null                root index that the answer reflects
epoch, term int64 or null                as the answer carried them
error       dictionary<int16, string>    why it did not succeed, or null
confirmed   dictionary<int16, string>    names of the domains that confirmed it, or null
=========== ============================ ==================================================

The last column is there only where there are domains; what they make of the others, and the events
of domains, is told in docs/formats.md.

Schema metadata: ``seatrial.version`` (of this format), ``seatrial.seed``, ``seatrial.test``
(JSON of the test), ``seatrial.model`` and ``seatrial.domains`` where they are known.

Operations of the register, CAS and KV workloads, per key (values are ints or null):
``read``: invoke null, ok the value (null: absent). ``write``: the value. ``cas``:
invoke ``[old, new]``, ok ``[old, new]``, fail ``[old, new, seen]``: a failed CAS says what it
saw, so it is an observation, not a lost operation. ``append``: the element; reads then
answer a list. ``delete``: null.

The order of rows is the order in which things happened: who recorded event i before event j
saw i first. Times are for people and plots; only the verdicts on leases and on lag depend on them.
"""
from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .cells import INTEGER, OTHER, split
from .errors import BadHistory, CheckerError
from .pairing import pairs

VERSION = 1
FILE_NAME = "history.arrow"
INVOKE, OK, FAIL, INFO = 0, 1, 2, 3
TYPE_NAMES = ("invoke", "ok", "fail", "info")
NEMESIS = -1
NONE = -1          # "no such row", "no such key"
INT32_MAX = (1 << 31) - 1
MOST_PROCESSES = 1 << 20        # numbers up to here are counted as they are
INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1

Ints = npt.NDArray[Any]       # of whatever width the column has

SCHEMA = pa.schema([
    ("index", pa.int64()),
    ("time", pa.int64()),
    ("process", pa.int32()),
    ("type", pa.int8()),
    ("f", pa.dictionary(pa.int16(), pa.string())),
    ("key", pa.binary()),
    ("value", pa.int64()),
    ("value_ext", pa.binary()),
    ("node", pa.int16()),
    ("domain", pa.int16()),
    ("rindex", pa.int64()),
    ("epoch", pa.int64()),
    ("term", pa.int64()),
    ("error", pa.dictionary(pa.int16(), pa.string())),
])
CONFIRMED = pa.field("confirmed", pa.dictionary(pa.int16(), pa.string()))
DOMAINS_SCHEMA = SCHEMA.append(CONFIRMED)
DEFAULTS: dict[str, Any] = {"node": -1, "domain": 0, "time": -1}

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def pack(value: Any) -> tuple[int | None, bytes | None]:
    """Return the columns ``(value, value_ext)`` that hold a value."""
    if value is None:
        return None, None
    if type(value) is int and INT64_MIN <= value <= INT64_MAX:
        return value, None
    return None, _encode(value)


def unpack(value: int | None, value_ext: bytes | None) -> Any:
    """Return the value that ``pack`` split into two columns (a tuple comes back as a list)."""
    return value if value_ext is None else _decode(value_ext)


def metadata(
    seed: int | None = None, test: Mapping[str, Any] | None = None,
    domains: Sequence[Mapping[str, Any]] | None = None,
) -> dict[bytes, bytes]:
    """Return the schema metadata that a writer puts into the stream's header.

    domains: what each promised (domains/guarantee.py), where there are several.
    """
    found = {
        b"seatrial.version": str(VERSION).encode(),
        b"seatrial.seed": json.dumps(seed).encode(),
        b"seatrial.test": json.dumps(test, default=str).encode(),
    }
    return found if domains is None else found | {
        b"seatrial.domains": json.dumps(domains).encode()}


class History:
    """A whole history in memory: numpy columns, and the values decoded on demand.

    ``f``, ``key`` and ``error`` are codes into ``fs``, ``keys`` and ``errors``; NONE where
    the column is null. ``complete`` is False when the stream has no end: its writer was
    killed, and what follows the last whole batch is lost. ``model`` is what the file itself says
    it is a history of. ``timed`` is False when only the order within each process is known.
    """

    def __init__(self, table: pa.Table, *, complete: bool = True, where: str = "history") -> None:
        self.where = where
        self.complete = complete
        self.metadata = _metadata(table.schema.metadata, where)
        self.lines: Sequence[int] | None = None
        self.model: str | None = self.metadata["model"]
        self.timed = True
        self._table = table.unify_dictionaries()
        self._columns: dict[str, pa.Array] = {}

    def _column(self, name: str) -> pa.Array:
        """A column as one Arrow array; put together when somebody asks for it."""
        if name not in self._columns:
            column = self._table.column(name).combine_chunks()
            if isinstance(column, pa.ChunkedArray):        # as older pyarrow has it
                column = column.chunk(0) if column.num_chunks else pa.array([], column.type)
            self._columns[name] = column
        return self._columns[name]

    @property
    def table(self) -> pa.Table:
        """The events as they are stored."""
        return self._table

    @cached_property
    def index(self) -> Ints:
        """Position of each event."""
        return _numbers(self._column("index"))

    @cached_property
    def time(self) -> Ints:
        """Time of each event, ns since the start of the run; -1 unknown."""
        return _numbers(self._column("time"))

    @cached_property
    def process(self) -> Ints:
        """Process of each event; NEMESIS for faults."""
        return _numbers(self._column("process"))

    @cached_property
    def type(self) -> Ints:
        """INVOKE, OK, FAIL or INFO."""
        types = _numbers(self._column("type"))
        odd = np.flatnonzero((types < INVOKE) | (types > INFO))
        if len(odd):
            raise self.bad(f"the type {types[odd[0]]}; expected {INVOKE} to {INFO}", int(odd[0]))
        return types

    @cached_property
    def node(self) -> Ints:
        """Index of the node talked to; -1 unknown."""
        return _numbers(self._column("node"))

    @cached_property
    def domain(self) -> Ints:
        """Domain of that node."""
        return _numbers(self._column("domain"))

    @cached_property
    def _f(self) -> tuple[Ints, Sequence[str]]:
        return _codes(self._column("f"))

    @property
    def f(self) -> Ints:
        """What was done: codes into ``fs``."""
        return self._f[0]

    @property
    def fs(self) -> Sequence[str]:
        """The names of operations and faults."""
        return self._f[1]

    @cached_property
    def _key(self) -> tuple[Ints, Sequence[bytes]]:
        return _codes(self._column("key"))

    @property
    def key(self) -> Ints:
        """Independent keys: codes into ``keys``."""
        return self._key[0]

    @property
    def keys(self) -> Sequence[bytes]:
        """The keys, in order of first appearance."""
        return self._key[1]

    @cached_property
    def _error(self) -> tuple[Ints, Sequence[str]]:
        return _codes(self._column("error"))

    @property
    def error(self) -> Ints:
        """Why it did not succeed: codes into ``errors``."""
        return self._error[0]

    @property
    def errors(self) -> Sequence[str]:
        """The different errors."""
        return self._error[1]

    @cached_property
    def confirmed(self) -> tuple[Ints, Sequence[str]]:
        """The names of the domains that confirmed each event: codes, and what they stand for."""
        if CONFIRMED.name not in self._table.schema.names:
            return np.full(len(self), NONE), []
        return _codes(self._column(CONFIRMED.name))

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @classmethod
    def read(cls, path: Path | str) -> History:
        """Read a history, up to its last whole batch."""
        try:
            source = pa.memory_map(str(path))
        except OSError as error:
            raise BadHistory(f"can't read it: {error.strerror or error}", where=str(path)
                             ) from error
        return cls.of_stream(source, str(path))

    @classmethod
    def of_stream(cls, source: pa.NativeFile, where: str) -> History:
        """Read a history from an open file or buffer, and close that."""
        table, complete = _read_stream(source, where)
        return cls(table, complete=complete, where=where)

    @classmethod
    def from_rows(
        cls, rows: Iterable[Mapping[str, Any]], *, where: str = "history",
        meta: Mapping[bytes, bytes] | None = None,
    ) -> History:
        """Build a history from events as mappings: type, process, f, value, and what else is known.

        ``type`` is a name or a number; ``value`` any msgpack-able value; a missing column
        takes its default (index: the position).
        """
        rows = list(rows)
        wanted = DOMAINS_SCHEMA if any("confirmed" in row for row in rows) else SCHEMA
        columns: dict[str, list[Any]] = {name: [] for name in wanted.names}
        for i, row in enumerate(rows):
            value, ext = pack(row.get("value"))
            kind = row["type"]
            whole = DEFAULTS | dict(row) | {
                "index": i, "value": value, "value_ext": ext,
                "type": TYPE_NAMES.index(kind) if isinstance(kind, str) else kind,
            }
            for name, cells in columns.items():
                cells.append(whole.get(name))
        schema = wanted.with_metadata(dict(meta) if meta else metadata())
        return cls(pa.Table.from_pydict(columns, schema=schema), where=where)

    @classmethod
    def from_columns(
        cls, *, type: Sequence[int], process: Sequence[int], f: Sequence[str],
        value: Sequence[Any], key: Sequence[bytes | None] | None = None,
        time: Sequence[int] | None = None, lines: Sequence[int] | None = None,
        where: str = "history",
    ) -> History:
        """Build a history from columns, as readers of other formats have them.

        ``lines``: of each event in its file, for messages.
        """
        n = len(type)
        plain, rest = _split(value)
        codes = pa.array(f, pa.string()).dictionary_encode()
        columns = {
            "index": pa.array(np.arange(n)),
            "time": pa.array(time if time is not None else np.full(n, -1), pa.int64()),
            "process": pa.array(process, pa.int32()),
            "type": pa.array(type, pa.int8()),
            "f": pa.DictionaryArray.from_arrays(codes.indices.cast(pa.int16()), codes.dictionary),
            "key": pa.array(key, pa.binary()) if key else pa.nulls(n, pa.binary()),
            "value": plain,
            "value_ext": rest,
            "node": pa.array(np.full(n, -1), pa.int16()),
            "domain": pa.array(np.zeros(n), pa.int16()),
        }
        table = pa.table([columns.get(field.name, pa.nulls(n, field.type)) for field in SCHEMA],
                         schema=SCHEMA.with_metadata(metadata()))
        history = cls(table, where=where)
        history.lines = lines
        return history

    @cached_property
    def pairs(self) -> tuple[Ints, Ints]:
        """Rows of the clients' invocations, and of their completions (NONE: never completed).

        A process does one thing at a time, so an invocation's completion is the next event of
        its process. The nemesis is left out.
        """
        actor = self.process
        if len(actor) and (actor.min() < NEMESIS or actor.max() > MOST_PROCESSES):
            numbered = np.unique(actor, return_inverse=True)[1]
            actor = np.where(actor == NEMESIS, NEMESIS, numbered).astype(np.int32)
        invocation, completion, again, never = pairs(
            np.ascontiguousarray(actor, np.int32), np.ascontiguousarray(self.type, np.int8))
        if again != NONE:
            raise self._unpaired(again, "invokes again before its last operation ended")
        if never != NONE:
            raise self._unpaired(never, "completes an operation that it never invoked")
        self._refuse_strangers(invocation, completion)
        return invocation, completion

    def _refuse_strangers(self, invocation: Ints, completion: Ints) -> None:
        """An operation ends as what it began as, on the same key where its end names one."""
        ended = completion != NONE
        begin, end = invocation[ended], completion[ended]
        for codes, names, what in ((self.f, self.fs, "does"), (self.key, self.keys, "has the key")):
            before, after = codes[begin], codes[end]
            strange = np.flatnonzero((before != after) & (after != NONE))
            if len(strange):
                i = int(strange[np.argmin(end[strange])])
                is_, was = (_name(names, int(code[i])) for code in (after, before))
                raise self.bad(f"the operation that ends here {what} {is_}; expected {was}, as it "
                               "was invoked", int(end[i]))

    def _unpaired(self, row: int, what: str) -> BadHistory:
        return self.bad(f"process {self.process[row]} {what}", row)

    def bad(self, message: str, row: int) -> BadHistory:
        """Return the error that names this history and a row, or the row's line in its file."""
        line = row + 1 if self.lines is None else self.lines[row]
        return BadHistory(message, where=self.where, line=line)

    @cached_property
    def _grouped(self) -> tuple[Ints, Ints]:
        order = np.argsort(self.key, kind="stable")
        bounds = np.searchsorted(self.key[order], np.arange(-1, len(self.keys) + 1))
        return order, bounds

    def rows_of(self, key: int) -> Ints:
        """Return the rows of one key (a code; NONE: rows without a key), in order."""
        order, bounds = self._grouped
        return order[bounds[key + 1]:bounds[key + 2]]

    def value(self, row: int) -> Any:
        """Return the value of a row."""
        return unpack(self._column("value")[row].as_py(), self._column("value_ext")[row].as_py())

    @cached_property
    def values(self) -> tuple[Ints, npt.NDArray[np.bool_], Mapping[int, Any]]:
        """All values at once: the integers, where they are integers, and the rest by row.

        Rows that are in neither are null.
        """
        value, ext = self._column("value"), self._column("value_ext")
        ints = value.fill_null(0).to_numpy(zero_copy_only=False)
        is_int = value.is_valid().to_numpy(zero_copy_only=False)
        has_ext = np.flatnonzero(ext.is_valid().to_numpy(zero_copy_only=False))
        cells = ext.take(pa.array(has_ext)).to_pylist()
        return ints, is_int, dict(zip(has_ext.tolist(), map(_decode, cells), strict=True))

    def optional(self, name: str) -> pa.Array:
        """Return a nullable column (``rindex``, ``epoch``, ``term``) as an Arrow array."""
        return self._column(name)

    def row(self, row: int) -> dict[str, Any]:
        """Return one event as a mapping of all columns, with the value put together."""
        event: dict[str, Any] = {
            name: self._column(name)[row].as_py() for name in self._table.schema.names
        }
        event["value"] = unpack(event["value"], event.pop("value_ext"))
        event["type"] = TYPE_NAMES[event["type"]]
        return event

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield all events as mappings: for small histories, tests and tools."""
        return map(self.row, range(len(self)))


def refuse_other_types(schema: pa.Schema, where: str) -> None:
    """Raise where a column of a stream is not of its type."""
    for field in schema:
        expected = DOMAINS_SCHEMA.field(field.name).type
        if field.type != expected:
            raise BadHistory(f"the column {field.name} is of {field.type}; expected {expected}",
                             where=where)


def _read_stream(source: pa.NativeFile, where: str) -> tuple[pa.Table, bool]:
    with source:
        try:
            # The default pool takes large pages, whose first touch takes longer than all else.
            reader = pa.ipc.open_stream(source, memory_pool=pa.system_memory_pool())
        except (pa.ArrowInvalid, OSError) as error:
            raise BadHistory("not an Arrow stream, or cut before its header ended",
                             where=where) from error
        if reader.schema.names not in (SCHEMA.names, DOMAINS_SCHEMA.names):
            raise BadHistory(f"columns are {', '.join(reader.schema.names)}; expected "
                             f"{', '.join(SCHEMA.names)}", where=where)
        refuse_other_types(reader.schema, where)
        batches, complete = [], False
        while True:
            try:
                batches.append(reader.read_next_batch())
            except StopIteration:
                at = source.tell()
                complete = _has_end(source)
                source.seek(at)
                break
            except (pa.ArrowInvalid, OSError) as error:
                if source.tell() < source.size():
                    raise BadHistory(f"damaged before byte {source.tell()}: {error}", where=where
                                     ) from error
                break                                   # torn: the writer was killed here
        if source.tell() < source.size():
            raise BadHistory(f"the stream ends at byte {source.tell()}, and more follows; expected "
                             "one stream", where=where)
        return pa.Table.from_batches(batches, schema=reader.schema), complete


def _split(values: Sequence[Any]) -> tuple[pa.Array, pa.Array]:
    """Pack many values at once: the columns value and value_ext."""
    n = len(values)
    integers, kinds, others = split(list(values), _encode)
    ints = pa.array(integers, mask=kinds != INTEGER)
    if not others:
        return ints, pa.nulls(n, pa.binary())
    there = kinds == OTHER
    ends = np.zeros(n + 1, dtype=np.int64)
    ends[1:][there] = [len(other) for other in others]
    np.cumsum(ends, out=ends)
    if ends[n] > INT32_MAX:                         # Arrow's limit of one column in one piece
        raise CheckerError("values of more than 2 GiB in one history")
    texts = pa.Array.from_buffers(pa.binary(), n, [
        pa.py_buffer(np.packbits(there, bitorder="little")),
        pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(b"".join(others))])
    return ints, texts


def _has_end(source: pa.NativeFile) -> bool:
    """Whether the stream's end marker is there (a file cut between two batches has none)."""
    source.seek(max(0, source.size() - 8))
    return bool(source.read(8) == b"\xff\xff\xff\xff\0\0\0\0")


def _metadata(raw: Mapping[bytes, bytes] | None, where: str) -> dict[str, Any]:
    raw = raw or {}
    version = int(raw.get(b"seatrial.version", b"1"))
    if version > VERSION:
        raise BadHistory(f"format version {version}; this build reads up to {VERSION}", where=where)
    return {name: json.loads(raw.get(f"seatrial.{name}".encode(), b"null"))
            for name in ("seed", "test", "model", "domains")} | {"version": version}


def _numbers(column: pa.Array) -> Ints:
    if column.null_count:
        column = column.fill_null(NONE)
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _name(names: Sequence[Any], code: int) -> str:
    name = "nil" if code == NONE else names[code]
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)


def _codes(column: pa.Array) -> tuple[Ints, Sequence[Any]]:
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    return _numbers(column.indices), column.dictionary.to_pylist()
