"""Porcupine as a second engine: an oracle that shares no code with our own search.

It runs in a spawned process with a time and a memory limit (porcupine_worker.py), because a Go
runtime does not survive a fork and porcupine's memory grows without bound. A job is sent first
and its answers gathered later, so that both engines work at the same time.
"""
from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np

from .errors import EngineAbsent
from .models import Family, Role
from .operations import INF, Operations
from .porcupine_worker import Answer, Hello, Job, receive, send

ABSENT = "this installation has no porcupine engine: it was built without Go"
CRASHED_CAS = 5             # a role that only porcupine needs, see porcupine/model.go
CRASHED = 64                # added to a role, and
ELEMENTS = 16               # to a family in place of a mode: see porcupine/elements.go
LEAST_MEMORY = 256 << 20    # a Go heap grows by arenas of 64 MB
# How Go and Python put it, in lower case; a thread's stack may be what finds no memory.
OUT_OF_MEMORY = ("out of memory", "cannot allocate memory", "memoryerror", "pthread_create failed",
                 "newosproc", "failed to create new os thread", "resource temporarily unavailable")
GRACE_S = 2.0               # beyond the time limit, before a worker that doesn't answer is ended


def available() -> bool:
    """Return whether this installation has the engine."""
    return importlib.util.find_spec(f"{__package__}._porcupine") is not None


def version() -> str:
    """Return the version of the Go module, asking a worker for it."""
    with Porcupine(memory_limit_bytes=LEAST_MEMORY) as engine:
        return engine.version


@dataclass(slots=True)
class Judged:
    """What porcupine said of each key: ``ok``, ``violation``, ``time`` or ``memory``.

    ``elapsed_s``: with sending and receiving; ``check_s``: in porcupine itself.
    """

    verdicts: list[str]
    elapsed_s: float
    version: str
    check_s: float = 0.0


class Porcupine:
    """A worker process, used again for the next job. A context manager: it ends with it."""

    def __init__(self, *, memory_limit_bytes: int) -> None:
        if not available():
            raise EngineAbsent(ABSENT)
        self._memory = max(memory_limit_bytes, LEAST_MEMORY)
        self._job: Job | None = None
        self._sender: threading.Thread | None = None
        self._watch = threading.Timer(0, lambda: None)      # ends a worker that is late
        self.version = ""
        self._spawn()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the worker."""
        process = self._process
        self._watch.cancel()
        process.kill()
        process.wait()
        if self._sender is not None:
            self._sender.join()         # its pipe is broken by now
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):      # what of a job was not read is dropped
            process.stdin.close()
        self._stdout.close()
        self._errors.close()

    def start(self, operations: Operations, keys: Sequence[int], initial: int,
              time_limit_s: float) -> None:
        """Send the keys' operations; ``finish`` gathers the verdicts."""
        self._job = _job(operations, keys, initial, time_limit_s)
        self._began = time.monotonic()
        self._sender = self._send(self._job)

    def finish(self) -> Judged:
        """Wait for all verdicts. Never longer than the time limit and a little grace.

        A key on which the worker ran out of memory is left undecided, and a new worker goes
        on with the keys after it.
        """
        job, self._job = self._job, None
        assert job is not None, "finish() without start()"
        verdicts: list[str] = []
        check_s = 0.0
        self._end_in(job.time_limit_s + GRACE_S)
        try:
            while len(verdicts) < len(job.modes):
                answer = receive(self._stdout)
                if isinstance(answer, Answer):
                    verdicts.append(answer.verdict)
                    check_s += answer.elapsed_s
                    continue
                late = time.monotonic() - self._began >= job.time_limit_s
                verdicts.append("time" if late else self._why())
                verdicts += self._go_on(job, len(verdicts), late)
        finally:
            self._watch.cancel()
            if self._sender is not None:
                self._sender.join()
        return Judged(verdicts, time.monotonic() - self._began, self.version, check_s)

    def _go_on(self, job: Job, done: int, late: bool) -> list[str]:
        """Spawn a new worker for the keys after ``done``; the verdicts it can't be asked for."""
        self.close()
        self._spawn()
        if late:
            return ["time"] * (len(job.modes) - done)
        if done < len(job.modes):
            left = max(job.time_limit_s - (time.monotonic() - self._began), 0.0)
            self._sender = self._send(_rest(job, done, left))
            self._end_in(left + GRACE_S)
        return []

    def _end_in(self, seconds: float) -> None:
        """End this worker, but none that comes after it, when its time is over."""
        self._watch = threading.Timer(seconds, self._process.kill)
        self._watch.daemon = True
        self._watch.start()

    def _spawn(self) -> None:
        self._errors = tempfile.TemporaryFile()     # noqa: SIM115 - lives as long as the worker
        env = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "GOMEMLIMIT": str(self._memory * 3 // 4),      # collect harder before the wall
            "GOTRACEBACK": "none",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {__package__}.porcupine_worker import main; main()",
             str(self._memory)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, env=env)
        assert self._process.stdout is not None
        self._stdout: Any = self._process.stdout
        hello = receive(self._stdout)
        if not isinstance(hello, Hello):
            self._process.wait()
            words = _gist(self._last_words())
            self.close()
            raise EngineAbsent(f"the porcupine worker did not start: {words}")
        self.version = hello.version

    def _send(self, job: Job) -> threading.Thread:
        """Write a job from a thread: the worker answers while a long job is still on its way."""
        stdin = self._process.stdin
        assert stdin is not None

        def write() -> None:
            try:
                send(stdin, job)
            except BrokenPipeError:
                return          # the worker ended; finish() sees its output end and says why

        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        return thread

    def _last_words(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace").strip()

    def _why(self) -> str:
        """Why the worker ended before it answered: only running out of memory is expected."""
        code = self._process.wait()
        words = self._last_words()
        if code == -signal.SIGKILL or any(
                sign in words.lower() for sign in OUT_OF_MEMORY):
            return "memory"
        raise EngineAbsent(f"the porcupine worker ended with {code}: {_gist(words)}")


def _gist(words: str) -> str:
    """The line that says why: Go's and Python's come with long traces around it."""
    lines = words.splitlines() or ["it said nothing"]
    return next((line for line in lines if line.startswith(("fatal error", "panic"))), lines[-1])


def _job(operations: Operations, keys: Sequence[int], initial: int, time_limit_s: float) -> Job:
    order = np.argsort(operations.key, kind="stable")
    bounds = np.searchsorted(operations.key[order], np.arange(len(operations.keys) + 1))
    order = np.concatenate([order[:0]] + [order[bounds[key]:bounds[key + 1]] for key in keys])
    sizes = [int(bounds[key + 1] - bounds[key]) for key in keys]
    ret, kind = operations.ret[order], operations.kind[order]
    modes = operations.modes[list(keys)]
    if operations.family == Family.VALUE:
        kind[(ret == INF) & (kind == Role.CAS)] = CRASHED_CAS
    else:
        kind[ret == INF] += CRASHED
        modes = np.full(len(modes), ELEMENTS + operations.family, dtype=np.uint8)
    return Job(
        starts=np.concatenate([[0], np.cumsum(sizes)]).astype(int).tolist(),
        modes=bytes(modes.tolist()),
        kind=kind.tobytes(),
        a=operations.a[order].tobytes(), b=operations.b[order].tobytes(),
        inv=operations.inv[order].tobytes(),
        ret=np.where(ret == INF, operations.positions, ret).tobytes(),
        shape=operations.shape.tobytes(), path_start=operations.path_start.tobytes(),
        symbols=operations.symbols.tobytes(), initial=initial, time_limit_s=time_limit_s)


def _rest(job: Job, done: int, time_limit_s: float) -> Job:
    first = job.starts[done]

    def cut(data: bytes, width: int) -> bytes:
        return data[first * width:]

    return Job(
        starts=[start - first for start in job.starts[done:]], modes=job.modes[done:],
        kind=cut(job.kind, 1), a=cut(job.a, 8), b=cut(job.b, 8), inv=cut(job.inv, 8),
        ret=cut(job.ret, 8), shape=job.shape, path_start=job.path_start, symbols=job.symbols,
        initial=job.initial, time_limit_s=time_limit_s)
