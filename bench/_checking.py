"""What is measured of a line of the checker's table. Each line runs in processes of its own.

======== =====================================================================================
Check    the engines alone, on a history that is in memory, its answers matched with what was
         asked (operations.py); beside porcupine on the same operations
EndToEnd a file, from opening it to the verdict, in a process that has read none before
Online   ``seatrial generate | seatrial check -``, from the start of both to the verdict
======== =====================================================================================

What counts for ours is all that is done with those operations: asking a monitor, sorting them by
key, tables, search. What counts for porcupine is what its worker does with the same columns, key
by key: making them its own operations, and its check (porcupine_worker.py). Neither has in it
that a process starts, or what is sent to it.

A check's memory is the most that its process held while it went on (VmHWM) beyond what it held
before; that of the other lines is all that the process held.
"""
from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import IO, Any

import pyarrow as pa

from seatrial.checker import History, check_linearizable, porcupine_engine, readers
from seatrial.checker.generate import Recipe, batches, write
from seatrial.checker.linearizable import put_together
from seatrial.checker.operations import Operations

SHORT_S, TIMES = 0.010, 7           # what takes less is measured so often; the median counts
CORPUS = Path(__file__).resolve().parents[2] / "shared" / "corpus"
TYPES = ("invoke", "ok", "fail", "info")

Found = dict[str, Any]


@dataclass(frozen=True)
class Limits:
    """For porcupine: seconds; for each engine: bytes."""

    seconds: float
    memory: int


@dataclass(frozen=True)
class Goal:
    """What a line must reach, of the numbers that were found; ``of``: the line to compare with."""

    number: str
    bound: float
    least: bool = False             # at least that, else at most
    of: str | None = None


@dataclass(frozen=True)
class Check:
    """Engines on histories that are made, or on others' files."""

    name: str
    model: str
    recipe: Recipe | None = None
    files: str = ""
    goals: tuple[Goal, ...] = ()
    beside_porcupine: bool = True

    def prepare(self, folder: Path) -> None:
        """Nothing to do."""

    def measure(self, folder: Path, limits: Limits) -> Found:
        """Judge by our engines and by porcupine."""
        found: Found = {"files": 0, "operations": 0, "check_s": 0.0, "memory": 0,
                        "verdict": "", "porcupine": "", "porcupine_s": 0.0}
        for history in self._histories():
            operations = put_together(history, self.model, "observe")
            del history
            found["files"] += 1
            found["operations"] += len(operations)
            before = forget_peak()
            found["verdict"], seconds = ours(operations, limits.memory)
            found["memory"] = max(found["memory"], peak() - before)
            found["check_s"] += often(seconds, lambda of=operations: ours(of, limits.memory)[1])
            if not porcupine_engine.available():
                found["porcupine"] = "absent"
            elif self.beside_porcupine and found["porcupine"] in ("", "ok"):
                found["porcupine"], seconds = porcupine(operations, limits)
                found["porcupine_s"] += often(
                    seconds, lambda of=operations: porcupine(of, limits)[1])
        if found["operations"]:
            found["ns_each"] = found["check_s"] / found["operations"] * 1e9
            found["bytes_each"] = found["memory"] / found["operations"]
        if found["porcupine"] == "ok":
            found["times_as_fast"] = found["porcupine_s"] / found["check_s"]
        return found

    def _histories(self) -> Iterator[History]:
        if self.recipe is not None:
            made = list(batches(self.recipe))
            yield History(pa.Table.from_batches(made, schema=self.recipe.schema))
        for path in sorted((CORPUS / "porcupine").glob(self.files)) if self.files else ():
            yield readers.read(path)[0]


@dataclass(frozen=True)
class EndToEnd:
    """Our engines on a file: reading (up to operations) and check apart."""

    name: str
    model: str
    recipe: Recipe
    format: str
    goals: tuple[Goal, ...] = ()

    def prepare(self, folder: Path) -> None:
        """Write the file."""
        with (folder / "history").open("wb") as file:
            if self.format == "arrow":
                write(self.recipe, file)
            else:
                write_edn(self.recipe, file)

    def measure(self, folder: Path, limits: Limits) -> Found:
        """Read it and judge it."""
        began = time.perf_counter()
        history = readers.read(folder / "history", self.format)[0]
        operations = put_together(history, self.model)
        read = time.perf_counter()
        verdict, seconds = ours(operations, limits.memory)
        return {"files": 1, "operations": len(operations), "verdict": verdict,
                "read_s": read - began, "check_s": seconds,
                "read_rate": len(operations) / (read - began), "memory": peak()}


@dataclass(frozen=True)
class Online:
    """The two commands in a pipe, judged while it arrives."""

    name: str
    recipe: Recipe
    goals: tuple[Goal, ...] = ()

    def prepare(self, folder: Path) -> None:
        """Nothing to do."""

    def measure(self, folder: Path, limits: Limits) -> Found:
        """Run both, and say what the second one took."""
        command = [sys.executable, "-m", "seatrial.harness"]
        asked = {"--ops": "operations", "--model": "model", "--clients": "clients",
                 "--keys": "keys", "--pending": "pending"}
        options = [f"{option}={getattr(self.recipe, name)}" for option, name in asked.items()]
        began = time.perf_counter()
        maker = subprocess.Popen([*command, "generate", *options], stdout=subprocess.PIPE)
        judge = subprocess.Popen([*command, "check", "-", "--online"], stdin=maker.stdout,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert maker.stdout is not None
        maker.stdout.close()
        _, status, usage = os.wait4(judge.pid, 0)
        seconds = time.perf_counter() - began
        judge.returncode = os.waitstatus_to_exitcode(status)
        maker.wait()
        return {"files": 1, "operations": self.recipe.operations, "check_s": seconds,
                "verdict": "pass" if judge.returncode == 0 else f"exit {judge.returncode}",
                "rate": self.recipe.operations / seconds, "memory": usage.ru_maxrss << 10}


def often(seconds: float, measure: Any) -> float:
    """A first measurement; where it is short the median of it and more."""
    more = TIMES - 1 if seconds < SHORT_S else 0
    return float(median([seconds, *(measure() for _ in range(more))]))


def ours(operations: Operations, memory: int) -> tuple[str, float]:
    """Our verdict, and the time of the engines that found it: a monitor, and where it is not made
    for a key, the search."""
    verdict, seconds = "", 0.0
    for engine in ("monitor", "search"):
        check = check_linearizable(operations, engine=engine, memory_limit_bytes=memory, jobs=1)
        judged = check.evidence["engines"][engine]
        verdict, seconds = check.verdict.label, seconds + judged["elapsed_s"]
        if "undecided" not in judged["keys"]:
            break
    return verdict, seconds


def porcupine(operations: Operations, limits: Limits) -> tuple[str, float]:
    """``ok`` or why porcupine has no verdict, and the time of its check."""
    judged = check_linearizable(
        operations, engine="porcupine", time_limit_s=limits.seconds,
        memory_limit_bytes=limits.memory).evidence["engines"]["porcupine"]
    undecided = [why for why in judged["keys"] if why not in ("ok", "violation")]
    return (undecided[0] if undecided else "ok"), float(judged["check_s"])


def forget_peak() -> int:
    """Give back what is free, let the kernel forget the most that this process held, and return
    the bytes that it holds now."""
    pa.default_memory_pool().release_unused()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return held("VmRSS")


def peak() -> int:
    """The most bytes that this process held since."""
    return held("VmHWM")


def held(name: str) -> int:
    """A number of bytes that the kernel knows of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    raise KeyError(name)


def write_edn(recipe: Recipe, file: IO[bytes]) -> None:
    """Write a history as Jepsen does."""
    for batch in batches(recipe):
        names = ("process", "type", "f", "key", "value", "time", "index")
        for process, kind, f, key, value, at, index in zip(
                *(batch.column(name).to_pylist() for name in names), strict=True):
            file.write(b"{:process %d, :type :%b, :f :%b, :key \"%b\", :value %b, :time %d, "
                       b":index %d}\n" % (process, TYPES[kind].encode(), f.encode(), key,
                                          b"nil" if value is None else b"%d" % value, at, index))
