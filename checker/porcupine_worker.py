"""The process that porcupine runs in; its argument is a number of bytes.

It limits its own memory, says which porcupine it holds, then judges jobs from standard input
until that ends. Frames in both directions: u32 length, then msgpack. Answers leave key by key,
so that what was judged before the process ran out of memory is not lost.
"""
from __future__ import annotations

import os
import resource
import sys
import threading
import time
from typing import IO

import msgspec

MAX_FRAME = (1 << 32) - 1
LOOK_S = 0.02               # how often memory is looked at
OUT_OF_MEMORY = b"out of memory\n"


class Hello(msgspec.Struct, tag=True):
    """The first frame: which porcupine this is."""

    version: str


class Job(msgspec.Struct, tag=True):
    """Keys to judge: columns of operations sorted by key (see operations.py), as raw bytes."""

    starts: list[int]           # operations of key i: [starts[i], starts[i + 1])
    modes: bytes
    kind: bytes
    a: bytes
    b: bytes
    inv: bytes
    ret: bytes
    shape: bytes
    path_start: bytes
    symbols: bytes
    initial: int
    time_limit_s: float


class Answer(msgspec.Struct, tag=True):
    """One key's verdict: ``ok``, ``violation`` or ``time``; ``key`` counts within the job."""

    key: int
    verdict: str
    elapsed_s: float


Frame = Hello | Job | Answer
_decoder = msgspec.msgpack.Decoder(Frame)
_encoder = msgspec.msgpack.Encoder()


def send(stream: IO[bytes], frame: Frame) -> None:
    """Write one frame."""
    data = _encoder.encode(frame)
    if len(data) > MAX_FRAME:
        raise OverflowError(f"a job of {len(data)} bytes is more than one frame holds")
    stream.write(len(data).to_bytes(4, "little") + data)
    stream.flush()


def receive(stream: IO[bytes]) -> Frame | None:
    """Read one frame; None when the other side is gone."""
    head = stream.read(4)
    if len(head) < 4:
        return None
    size = int.from_bytes(head, "little")
    data = stream.read(size)
    return _decoder.decode(data) if len(data) == size else None


def data_bytes() -> int:
    """Return how much writable memory this process has mapped: what RLIMIT_DATA counts."""
    with open("/proc/self/statm", "rb") as statm:           # noqa: PTH123 - asked every 20 ms
        return int(statm.read().split()[5]) * resource.getpagesize()


def limit_memory(limit: int) -> int:
    """Allow ``limit`` bytes of data beyond what this process has now; returns the sum.

    That is watched by ``Watch``. The kernel's limit lies further out, for a process that grows
    faster than it is watched: a Go runtime that meets it may die in any way.
    """
    allowed = data_bytes() + limit
    wall = allowed + limit // 4 + (256 << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (wall, wall))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))        # running out is expected: no core files
    return allowed


class Watch:
    """Ends the process when it holds too much memory, or when whom it works for is gone.

    A context manager around the work.
    """

    def __init__(self, allowed: int, parent: int) -> None:
        self._allowed = allowed
        self._parent = parent
        self._over = threading.Event()

    def __enter__(self) -> None:
        threading.Thread(target=self._look, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _look(self) -> None:
        while not self._over.wait(LOOK_S):
            if data_bytes() > self._allowed:
                os.write(2, OUT_OF_MEMORY)
                os._exit(1)
            if os.getppid() != self._parent:
                os._exit(1)


def judge(job: Job, out: IO[bytes]) -> None:
    """Answer for every key. No key may take more than half of the time that is left."""
    from ._porcupine import check_key

    kind, shape = memoryview(job.kind).cast("b"), memoryview(job.shape).cast("b")
    a, b, inv, ret, path_start, symbols = (
        memoryview(data).cast("q")
        for data in (job.a, job.b, job.inv, job.ret, job.path_start, job.symbols))
    deadline = time.monotonic() + job.time_limit_s
    for key, mode in enumerate(job.modes):
        span = slice(job.starts[key], job.starts[key + 1])
        began = time.monotonic()
        last = key + 1 == len(job.modes)
        share = (deadline - began) * (1.0 if last else 0.5)
        verdict = check_key(
            kind[span], a[span], b[span], inv[span], ret[span], mode=mode, shape=shape,
            path_start=path_start, symbols=symbols, initial=job.initial,
            timeout_ns=int(share * 1e9))
        send(out, Answer(key, verdict, time.monotonic() - began))


def main() -> None:
    """Serve until standard input ends."""
    from ._porcupine import version

    parent = os.getppid()
    allowed = limit_memory(int(sys.argv[1]))
    source, out = sys.stdin.buffer, sys.stdout.buffer
    send(out, Hello(version()))
    while isinstance(job := receive(source), Job):
        with Watch(allowed, parent):
            judge(job, out)
