"""The store: one folder for each run, kept for ever, newest linked as ``store/latest``.

::

    store/
      latest -> register/20251121T224913.123456Z
      register/                        one folder for each test name
        20251121T224913.123456Z/       start in UTC: names sort as the runs started
          test.json                    the test as it ran (secrets removed)
          history.arrow                every event (checker/history.py)
          results.json                 the verdict and all numbers (docs/results.md)
          report.html                  self-contained, made from the other files
          nodes/n1/node.log ...        what was fetched from the hosts
          faults.jsonl                 every fault's life, a line a phase
          sequence.svg, sequence.txt   who said what to whom (simulated, shrunk runs)

A file appears whole or not at all: it is written beside its place, synced and renamed, so
that a reader (or a report made later) never meets half a file. The history is the one
exception, because it must be readable while it grows. A store that can't be written ends
the run with one line that names the path.
"""
from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from .errors import BadInput, HarnessFailure
from .redact import redacted

LATEST = "latest"
MAX_NAME = 100
TIME_FORMAT = "%Y%m%dT%H%M%S.%fZ"
TIME_PATTERN = re.compile(r"\d{8}T\d{6}\.\d{6}Z")


def safe_name(name: str) -> str:
    """Return ``name`` as one path component: unusual characters become ``-``.

    Never empty, hidden, longer than MAX_NAME, or the name of the ``latest`` link.
    """
    safe = re.sub(r"[^A-Za-z0-9._+-]+", "-", name).strip(".-")[:MAX_NAME]
    if not safe:
        raise BadInput(f"test name {name!r}: expected at least one letter or digit")
    return f"{safe}-test" if safe == LATEST else safe


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn an operating system's refusal into one line that names the path."""
    try:
        yield
    except OSError as error:
        raise HarnessFailure(f"{path}: can't write to the store: {error.strerror}") from error


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that its name shows all of ``data`` or, after any crash, what was before."""
    with _writing(path):
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    """Make a rename in this folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run's folder, new or old. Knows where each file is and how to write it."""

    path: Path

    @property
    def test_name(self) -> str:
        """The test's name, made safe."""
        return self.path.parent.name

    @property
    def test(self) -> Path:
        """The test as it ran."""
        return self.path / "test.json"

    @property
    def history(self) -> Path:
        """The stream of events."""
        return self.path / "history.arrow"

    @property
    def results(self) -> Path:
        """The verdict and all numbers."""
        return self.path / "results.json"

    @property
    def report(self) -> Path:
        """The report for a person."""
        return self.path / "report.html"

    @property
    def journal(self) -> Path:
        """The life of every fault, a line for each phase as it came."""
        return self.path / "faults.jsonl"

    @property
    def sequence(self) -> Path:
        """The drawing of who said what to whom, of a shrunk run."""
        return self.path / "sequence.svg"

    @property
    def nodes(self) -> Path:
        """What was fetched from the hosts, a folder for each."""
        return self.path / "nodes"

    def node(self, name: str) -> Path:
        """Return the folder for what is fetched from one host, and make it if it is missing."""
        path = self.nodes / safe_name(name)
        with _writing(path):
            path.mkdir(parents=True, exist_ok=True)
        return path

    def write(self, name: str, data: bytes | str) -> Path:
        """Write one file, whole. ``name`` is a plain file name."""
        path = self.path / safe_name(name)
        write_whole(path, data.encode() if isinstance(data, str) else data)
        return path

    def note_fault(self, phase: Any) -> None:
        """Add a line to the fault journal: there at once, whatever becomes of the run."""
        with _writing(self.journal), self.journal.open("ab", buffering=0) as file:
            file.write(msgspec.json.encode(redacted(phase)) + b"\n")

    def write_json(self, name: str, value: Any) -> Path:
        """Write a value as indented JSON, without secrets."""
        text = msgspec.json.format(msgspec.json.encode(redacted(value)), indent=2)
        return self.write(name, text + b"\n")


class Store:
    """All runs under one root folder."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def begin(self, test_name: str) -> RunFolder:
        """Make the folder of a run that starts now, and let ``latest`` name it."""
        tests = self.root / safe_name(test_name)
        with _writing(tests):
            tests.mkdir(parents=True, exist_ok=True)
        while True:
            path = tests / datetime.now(UTC).strftime(TIME_FORMAT)
            with _writing(path):
                try:
                    path.mkdir()
                except FileExistsError:   # two runs in the same microsecond: take the next one
                    continue
            break
        self._link_latest(path)
        return RunFolder(path)

    def runs(self, test_name: str | None = None) -> list[RunFolder]:
        """Return the runs of one test, or of all, oldest first."""
        pattern = f"{'*' if test_name is None else safe_name(test_name)}/*"
        found = [path for path in self.root.glob(pattern)
                 if TIME_PATTERN.fullmatch(path.name) and not path.parent.is_symlink()]
        return [RunFolder(path) for path in sorted(found, key=lambda path: path.name)]

    def latest(self) -> RunFolder | None:
        """Return the newest run that was begun, or None in an empty store."""
        link = self.root / LATEST
        return RunFolder(link.resolve()) if link.is_dir() else None

    def _link_latest(self, path: Path) -> None:
        """Point ``latest`` at a run by a rename, so that it never dangles in between."""
        link = self.root / LATEST
        part = self.root / f".{LATEST}.{path.name}.part"
        with _writing(link):
            part.symlink_to(path.relative_to(self.root), target_is_directory=True)
            try:
                part.replace(link)
            except OSError:
                part.unlink()
                raise
