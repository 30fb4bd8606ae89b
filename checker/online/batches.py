"""Batches of events as they come: an Arrow stream, or lines of text with an event on each.

A file that still grows is waited for (``Growing``) until ``ended`` says that nothing comes any
more. The last batch of a stream that was cut is left out, as history.py does.
"""
from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

import pyarrow as pa

from ..errors import BadHistory, CheckerError
from ..history import DOMAINS_SCHEMA, SCHEMA, History, refuse_other_types
from ..readers import guess_stream
from ..readers.jepsen import read_edn, read_text
from ..readers.json_events import read_json
from ..readers.source import HEAD, MARK, Source, Undecided

POLL_S = 0.05
CHUNK = 1 << 20             # bytes of text in a batch
MOST_HELD = 1 << 16         # bytes that wait until it is clear how values are to be read
LINES: Mapping[str, Callable[[Source], History]] = {
    "edn": read_edn, "jepsen-text": read_text, "json": read_json}
FORMATS = ("arrow", *LINES)


class Growing(io.RawIOBase):
    """A file that somebody else still writes: at its end, reading waits for more."""

    def __init__(self, file: BinaryIO, ended: Callable[[], bool]) -> None:
        self._file = file
        self._ended = ended

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what there is; nothing only at the end of all."""
        while True:
            over = self._ended()                    # asked first: what came before it is read
            n = self._file.readinto(buffer)         # type: ignore[attr-defined]
            if n or over:
                return int(n)
            time.sleep(POLL_S)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


class Batches:
    """The batches of one source, and what is known of it before the first one.

    A context manager, which closes the file, but for one that was lent (standard input).
    """

    def __init__(self, file: BinaryIO, where: str, format: str | None = None, *,
                 lent: bool = False) -> None:
        self._lent = lent
        self.where = where
        self.complete = False           # whether the end of a stream was seen
        self._file = (file if isinstance(file, io.BufferedReader)
                      else io.BufferedReader(cast(io.RawIOBase, file), CHUNK))
        self.format = format or guess_stream(self._file.peek(HEAD), Source(where, None))
        if self.format not in FORMATS:
            self.__exit__()
            raise CheckerError(f"{where}: {self.format} can't be read while it arrives; expected "
                               f"one of {', '.join(FORMATS)}")

    @classmethod
    def of(cls, path: Path | str, format: str | None = None,
           ended: Callable[[], bool] = lambda: True) -> Batches:
        """Open a file, a run's folder, or standard input (``-``)."""
        source = Source.of(path)
        if source.path is None:
            stdin = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
            return cls(stdin, source.name, format, lent=True)
        try:
            file = source.path.open("rb", buffering=0)
        except OSError as error:
            raise source.bad(f"can't read it: {error.strerror}") from error
        return cls(cast(BinaryIO, Growing(cast(BinaryIO, file), ended)), source.name, format)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lent:
            self._file.detach()
        else:
            self._file.close()

    def __iter__(self) -> Iterator[History]:
        if self.format == "arrow":
            return self._from_arrow()
        return self._from_lines(LINES[self.format])

    def _from_arrow(self) -> Iterator[History]:
        try:
            reader = pa.ipc.open_stream(self._file)
        except (pa.ArrowInvalid, OSError) as error:
            raise BadHistory("not an Arrow stream, or cut before its header ended",
                             where=self.where) from error
        if reader.schema.names not in (SCHEMA.names, DOMAINS_SCHEMA.names):
            raise BadHistory(f"columns are {', '.join(reader.schema.names)}; expected "
                             f"{', '.join(SCHEMA.names)}", where=self.where)
        refuse_other_types(reader.schema, self.where)
        while True:
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                self.complete = True
                if self._file.read(1):
                    raise BadHistory("more follows the end of the stream; expected one stream",
                                     where=self.where) from None
                return
            except (pa.ArrowInvalid, OSError) as error:
                if self._file.read(1):
                    raise BadHistory(f"damaged: {error}", where=self.where) from error
                return                              # torn: the writer was killed here
            if batch.num_rows:
                yield History(pa.Table.from_batches([batch]), where=self.where)

    def _from_lines(self, read: Callable[[Source], History]) -> Iterator[History]:
        """A batch is as many whole lines as there are by now; brackets around all are passed."""
        before, rest, held = 0, b"", b""
        known = Source(self.where, None, whole=False)
        while True:
            read_now = self._file.read1(CHUNK)
            rest += read_now
            whole, line_end, rest = rest.rpartition(b"\n") if read_now else (rest, b"", b"")
            text = whole + line_end
            if before == 0 and not held:
                text = _unwrapped(text.removeprefix(MARK))
            held += _bare(text)
            known.whole = not read_now or len(held) > MOST_HELD
            try:
                if held.strip():
                    yield self._read(read, known, held, before)
            except Undecided:
                continue
            before += held.count(b"\n")
            held = b""
            if not read_now:
                self.complete = True
                return

    def _read(self, read: Callable[[Source], History], source: Source, text: bytes,
              before: int) -> History:
        source.data = text
        try:
            history = read(source)
        except BadHistory as error:
            raise BadHistory(error.message, where=error.where,
                             line=error.line and error.line + before) from error
        if history.lines is not None:
            history.lines = [line + before for line in history.lines]
        return history


def _unwrapped(text: bytes) -> bytes:
    """The beginning of a text without the ``[`` that makes one array of all lines."""
    return text.replace(b"[", b" ", 1) if text.lstrip().startswith(b"[") else text


def _bare(text: bytes) -> bytes:
    """Lines without what else makes one array of them: ``,`` between, ``]`` behind."""
    text = re.sub(rb"\}[ \t\r]*,[ \t\r]*(?=\n|$)", b"}", text)
    return re.sub(rb"(\}\s*|^\s*)\]\s*$", rb"\1", text)
