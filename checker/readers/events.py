"""Events as a reader collects them, and the history that they make."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pyarrow import ArrowException

from ..errors import BadHistory
from ..history import INT64_MAX, INT64_MIN, INVOKE, NEMESIS, History, pack
from .source import Source, Undecided

MOST_PROCESSES = 1 << 31
FAULTS = "nemesis"
ASK_NOTHING = frozenset({"read", "get", "dequeue", "deq", "pop", "poll", "peek", "top"})


@dataclass(slots=True)
class Events:
    """Columns, one cell for each event. A process is a number, a name, or None: events of a history
    that names no processes are those of one process.
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
            process = self._numbered(source)
            self._take_tuples_apart(source, process)
            return History.from_columns(
                type=self.type, process=process, f=self.f, value=self.value,
                key=self._keys(source), lines=self.line, where=source.name,
                time=[-1 if time is None else time for time in self.time] if self.time else None)
        except (TypeError, OverflowError, UnicodeEncodeError, ArrowException) as error:
            raise self._culprit(source, error) from error

    def _numbered(self, source: Source) -> list[int]:
        """Numbers for processes: those that only tell (info), and the nemesis, are the nemesis;
        other names, and nobody, get numbers that are free."""
        kinds = set(self.process)
        if all(type(process) is int for process in kinds) and not source.numbers:
            source.most = max(source.most, *kinds)
            return list(self.process)
        known, clients = source.numbers, dict[Any, None]()
        for process, kind in zip(self.process, self.type, strict=True):
            if process is None or (type(process) is not int and process != FAULTS and kind < 3):
                clients[process] = None
        numbers = {process for process in kinds if type(process) is int}
        if (taken := numbers & set(known.values())):
            raise source.bad(f"the process {min(taken)} comes after a process without a number was "
                             "given this one; expected numbers from the beginning on")
        source.most = max(source.most, *numbers, -1)
        for process in clients:
            if process not in known:
                source.most += 1
                known[process] = source.most
        return [process if type(process) is int else known.get(process, NEMESIS)
                for process in self.process]

    def _take_tuples_apart(self, source: Source, process: Sequence[int]) -> None:
        """Jepsen's independent keys: every value is ``[key value]``, that of a read ``[key nil]``.

        A read that asks for something means nothing else, so this can be told from them.
        """
        if self.key is not None and any(key is not None for key in self.key):
            source.tuples = False
        if source.tuples is None:
            source.tuples = self._are_tuples(source, process)
        if not source.tuples:
            return
        keys: list[Any] = [None] * len(self.type)
        for row, value in enumerate(self.value):
            if process[row] == NEMESIS:
                continue
            if _is_tuple(value):
                keys[row], self.value[row] = value
            elif self.type[row] == INVOKE:
                raise source.bad(f"the value {show(value)}; expected [key value], as others have",
                                 self.line[row])
        self.key = keys

    def _are_tuples(self, source: Source, process: Sequence[int]) -> bool:
        sure = False
        for row, value in enumerate(self.value):
            if self.type[row] != INVOKE or process[row] == NEMESIS:
                continue
            if not _is_tuple(value) or (self.f[row] == "cas" and not isinstance(value[1], list)):
                return False
            sure = sure or (value[1] is None and self.f[row] in ASK_NOTHING)
        if not sure and not source.whole:
            raise Undecided
        return sure

    def _keys(self, source: Source) -> list[bytes | None] | None:
        """Keys as a history has them: text. A number's is what it is written as."""
        if not self.key:
            return None
        if len(set(map(type, self.key))) == 1:
            known = {key: _key(key) for key in set(self.key)}
            return [known[key] for key in self.key]
        typed = {(type(key), key): _key(key) for key in self.key}   # for 1 == 1.0 == True
        if len(set(typed.values())) < len(typed):
            seen = dict[bytes | None, Any]()
            for (_, key), text in typed.items():
                if text in seen:
                    raise source.bad(f"the keys {show(seen[text])} and {show(key)} are written the "
                                     "same; expected keys of one type")
                seen[text] = key
        return [typed[type(key), key] for key in self.key]

    def _culprit(self, source: Source, error: Exception) -> BadHistory:
        """The error that names the first cell that a history can't hold."""
        for row, line in enumerate(self.line):
            try:
                pack(self.value[row])
            except (TypeError, OverflowError, UnicodeEncodeError) as why:
                return source.bad(f"the value {show(self.value[row])}: {why}; expected text in "
                                  "UTF-8, numbers of at most 64 bits, lists and maps of these",
                                  line)
            process = self.process[row]
            if type(process) is int and not -1 <= process < MOST_PROCESSES:
                return source.bad(f"the process {process}; expected at most {MOST_PROCESSES - 1}",
                                  line)
            if isinstance(process, list | dict):
                return source.bad(f"the process {show(process)}; expected a number or a name",
                                  line)
            time = self.time[row] if self.time else None
            if not (time is None or (type(time) is int and INT64_MIN <= time <= INT64_MAX)):
                return source.bad(f"the time {show(time)}; expected nanoseconds", line)
            if self.key and isinstance(self.key[row], list | dict):
                return source.bad(f"the key {show(self.key[row])}; expected text or a number",
                                  line)
        return source.bad(f"it holds what a history can't: {error}")


def _is_tuple(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and not isinstance(value[0], list | dict)


def _key(key: Any) -> bytes | None:
    if key is None:
        return None
    return key.encode() if isinstance(key, str) else str(key).encode()


def show(value: Any) -> str:
    """Return a value for a message, shortened where it is long."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:18]} ... {text[-18:]}"
