"""Events as a reader collects them, and the history that they make."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pyarrow import ArrowException

from ..errors import BadHistory
from ..history import INT64_MAX, INT64_MIN, NEMESIS, History, pack
from .source import Source

MOST_PROCESSES = 1 << 31


@dataclass(slots=True)
class Events:
    """Columns, one cell for each event. A process is a number, a name such as ``nemesis``, or
    None: events of a history that names no processes are those of one process.
    """

    type: list[int] = field(default_factory=list)
    process: list[Any] = field(default_factory=list)
    f: list[str] = field(default_factory=list)
    value: list[Any] = field(default_factory=list)
    key: Sequence[Any] | None = None
    time: Sequence[int | None] | None = None
    line: list[int] = field(default_factory=list)

    def add(self, type: int, process: int | str, f: str, value: Any, line: int) -> None:
        """Add an event."""
        self.type.append(type)
        self.process.append(process)
        self.f.append(f)
        self.value.append(value)
        self.line.append(line)

    def history(self, source: Source) -> History:
        """Return these events as a history."""
        if not self.type:
            raise source.bad("no events in it")
        try:
            known = {key: _key(key) for key in set(self.key)} if self.key else {}
            return History.from_columns(
                type=self.type, process=_numbered(self.process), f=self.f, value=self.value,
                key=[known[key] for key in self.key] if self.key else None,
                time=[time or 0 for time in self.time] if self.time else None,
                lines=self.line, where=source.name)
        except (TypeError, OverflowError, ArrowException) as error:
            raise self._culprit(source, error) from error

    def _culprit(self, source: Source, error: Exception) -> BadHistory:
        """The error that names the first cell that a history can't hold."""
        for row, line in enumerate(self.line):
            try:
                pack(self.value[row])
            except (TypeError, OverflowError):
                return source.bad(f"the value {show(self.value[row])}: {error}; expected text, "
                                  "numbers of at most 64 bits, lists and maps of these", line)
            process = self.process[row]
            if type(process) is int and not -1 <= process < MOST_PROCESSES:
                return source.bad(f"the process {process}; expected at most {MOST_PROCESSES - 1}",
                                  line)
            time = self.time[row] if self.time else None
            if not (time is None or (type(time) is int and INT64_MIN <= time <= INT64_MAX)):
                return source.bad(f"the time {show(time)}; expected nanoseconds", line)
            if self.key and isinstance(self.key[row], list | dict):
                return source.bad(f"the key {show(self.key[row])}; expected text or a number",
                                  line)
        return source.bad(f"it holds what a history can't: {error}")


def _numbered(processes: Sequence[Any]) -> list[int]:
    """Numbers for processes: names are the nemesis's, nobody's are those of one more process."""
    if all(type(process) is int for process in set(processes)):
        return list(processes)
    nobody = max((p for p in processes if type(p) is int), default=-1) + 1
    return [process if type(process) is int else nobody if process is None else NEMESIS
            for process in processes]


def _key(key: Any) -> bytes | None:
    if key is None:
        return None
    return key.encode() if isinstance(key, str) else str(key).encode()


def show(value: Any) -> str:
    """Return a value for a message, shortened where it is long."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:18]} ... {text[-18:]}"
