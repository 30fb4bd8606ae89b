"""Writes a run's history while it goes on, so that it survives whatever happens to the run.

The format belongs to the checker (checker/history.py). Events are taken as rows, which copies
them: who made an operation may change it afterwards. A batch is turned into columns, compressed
and written by a single write, so that a writer that is killed leaves whole batches and at
most one torn one behind them; after a write that failed for want of space the file is cut back
to its last whole batch. The text of ``f`` and ``error`` is stored once: dictionaries grow, and
each batch carries only what is new in them.
"""
from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec
import pyarrow as pa

from seatrial.checker.history import DOMAINS_SCHEMA, SCHEMA, History, pack

from .errors import HarnessFailure
from .op import TYPES, Op

BATCH_ROWS = 4096
MAX_ERROR = 300                  # characters of an error that are kept
MAX_ERRORS = 10_000              # different errors; the index type ends at 32,767
TOO_MANY = "(more different errors than a history holds: see the log)"
TYPE_CODES = {name: code for code, name in enumerate(TYPES)}

_lines = msgspec.json.Encoder().encode_lines


class Words:
    """The growing dictionary of a column: text -> code."""

    __slots__ = ("codes", "texts")

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}
        self.texts: list[str] = []

    def code(self, text: str) -> int:
        """Return the code of a text, a new one if it is new."""
        code = self.codes.get(text)
        if code is None:
            code = self.codes[text] = len(self.texts)
            self.texts.append(text)
        return code

    def column(self, codes: list[int | None]) -> pa.DictionaryArray:
        """Return a dictionary column with these codes."""
        return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int16()),
                                              pa.array(self.texts, pa.string()))


class File:
    """What Arrow writes to: collects, until ``commit`` writes all of it at once."""

    closed = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self._parts: list[bytes] = []
        self._whole = 0                          # bytes of the file up to its last whole batch
        self._failed: HarnessFailure | None = None
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise self._failure(error) from error

    def write(self, data: Any) -> int:
        """Collect."""
        part = bytes(data)
        self._parts.append(part)
        return len(part)

    def flush(self) -> None:
        """Do nothing: only whole batches are written."""

    def commit(self) -> None:
        """Write what was collected. After a failure never again: later batches build on it."""
        if self._failed is not None:
            raise self._failed
        left = memoryview(b"".join(self._parts))
        self._parts.clear()
        size = len(left)
        try:
            while left:
                left = left[os.write(self._fd, left):]
        except OSError as error:
            os.ftruncate(self._fd, self._whole)
            self._failed = self._failure(error)
            raise self._failed from error
        self._whole += size

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _failure(self, error: OSError) -> HarnessFailure:
        return HarnessFailure(f"{self.path}: can't write the history: {error.strerror}")


class Hash(Protocol):
    """What can take a history's text: any of hashlib's."""

    def update(self, data: bytes, /) -> None:
        """Take more."""


class Recorder:
    """Takes events as rows, and makes batches of columns of them; ``append`` gives each its index.

    where: the history's name in messages. digest: takes all rows as text, a line of JSON each,
    and at the end what their codes of ``f`` and ``error`` stand for. domains: whether there are
    several, so that events have the column ``confirmed``.
    """

    def __init__(self, where: str, digest: Hash | None = None, *, domains: bool = False) -> None:
        self.where = where
        self.schema = DOMAINS_SCHEMA if domains else SCHEMA
        self.count = 0
        self._rows: list[tuple[Any, ...]] = []
        self._fs = Words()
        self._errors = Words()
        self._confirmed = Words() if domains else None
        self._digest = digest

    def append(self, op: Op) -> None:
        """Add an event."""
        op.index = index = self.count
        self.count = index + 1
        value, ext, error = op.value, None, op.error
        if value is not None and (type(value) is not int or not -1 << 63 <= value < 1 << 63):
            try:
                value, ext = pack(value)
            except (TypeError, OverflowError) as why:
                raise HarnessFailure(
                    f"{self.where}: can't store the value of {op.f!r}, {op.value!r:.100}: {why}; "
                    "expected what msgpack knows: text, bytes, numbers, lists, maps") from why
        row: tuple[Any, ...] = (
            index, op.time_ns, op.process, TYPE_CODES[op.type], self._fs.code(op.f), op.key, value,
            ext, op.node, op.domain, op.rindex, op.epoch, op.term,
            None if error is None else self._error(error))
        if self._confirmed is not None:
            said = op.confirmed
            row = (*row, None if said is None else self._confirmed.code(said))
        self._rows.append(row)

    def flush(self) -> None:
        """Write what was appended, where something is written."""

    def history(self) -> History:
        """End it, and return all of it."""
        raise NotImplementedError

    def _take_batch(self) -> pa.RecordBatch:
        """Return the rows so far, and forget them."""
        rows, self._rows = self._rows, []
        if self._digest is not None:
            self._digest.update(_lines(rows))
        columns: list[Any] = list(zip(*rows, strict=True)) or [()] * len(self.schema)
        arrays = [
            words.column(cells) if (words := self._words(field.name)) else pa.array(
                cells, field.type)
            for field, cells in zip(self.schema, columns, strict=True)
        ]
        return pa.record_batch(arrays, schema=self.schema)

    def _close_digest(self) -> None:
        if self._digest is not None:
            words = [self._fs, self._errors, *([self._confirmed] if self._confirmed else [])]
            self._digest.update(_lines([each.texts for each in words]))

    def _words(self, column: str) -> Words | None:
        return {"f": self._fs, "error": self._errors, "confirmed": self._confirmed}.get(column)

    def _error(self, error: str) -> int:
        text = error[:MAX_ERROR]
        if text not in self._errors.codes and len(self._errors.texts) >= MAX_ERRORS:
            text = TOO_MANY
        return self._errors.code(text)


class HistoryInMemory(Recorder):
    """A history for a run that leaves no folder behind."""

    def history(self) -> History:
        """End it, and return all of it."""
        table = pa.Table.from_batches([self._take_batch()], schema=self.schema)
        self._close_digest()
        return History(table, where=self.where)


class HistoryWriter(Recorder):
    """Appends events to a history file. A context manager.

    metadata: the schema's, from checker.history.metadata(seed, test, domains). on_batch: told of
    each batch once it is written.
    """

    def __init__(self, path: Path, metadata: Mapping[bytes, bytes], *,
                 digest: Hash | None = None,
                 on_batch: Callable[[pa.RecordBatch], None] | None = None) -> None:
        super().__init__(str(path), digest, domains=b"seatrial.domains" in metadata)
        self._on_batch = on_batch
        self.path = path
        self._closed = False
        self._file = File(path)
        self._stream = pa.ipc.new_stream(
            pa.PythonFile(self._file, mode="w"), self.schema.with_metadata(dict(metadata)),
            options=pa.ipc.IpcWriteOptions(compression="zstd", emit_dictionary_deltas=True))
        self._write()                            # Arrow writes its header with the first batch

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def append(self, op: Op) -> None:
        """Add an event. It is on its way to disk after 4,096 events, or the next ``flush``."""
        super().append(op)
        if len(self._rows) >= BATCH_ROWS:
            self._write()

    def flush(self) -> None:
        """Write what was appended, as a batch."""
        if self._rows:
            self._write()

    def close(self) -> None:
        """Write the rest and the end of the stream; may be called twice."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._rows:
                self._write()
            self._close_digest()
            self._stream.close()
            self._file.commit()
        finally:
            self._file.close()

    def history(self) -> History:
        """End it, and return what can be read of it."""
        self.close()
        return History.read(self.path)

    def _write(self) -> None:
        batch = self._take_batch()
        self._stream.write_batch(batch)
        self._file.commit()
        if self._on_batch is not None:
            self._on_batch(batch)
