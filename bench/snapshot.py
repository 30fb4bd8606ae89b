"""A snapshot of a large state while entries are applied: how long a slice takes, and all of them.

One state machine, a million keys, no disk and no network: slices of 64 KiB are taken one after the
other, with writes between them, as a node does. Then the stream is loaded into an empty machine.
Times are of the processor, so that what else the machine does is left out.
Results go to bench/results/snapshot/<time>.json and bench/results/latest.json.
"""
from __future__ import annotations

import argparse
import os
import random
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _results import save

from seatrial.core import codec
from seatrial.core.kv import KeyValue

KIND_COMMAND, KIND_OPEN_SESSION = 1, 2
COMMAND = struct.Struct("<BBHIII")


def memory() -> int:
    """Return this process's resident memory in bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def records(keys: Iterator[int], value: bytes, first: int) -> Iterator[bytes]:
    """Make writes, entry after entry, under session 1."""
    for index, number in enumerate(keys, first):
        key = b"key%09d" % number
        command = COMMAND.pack(codec.OPS["write"], 0, len(key), len(value), 0, 0) + key + value
        yield codec.encode_record(index, 1, KIND_COMMAND, command, client=1, sequence=index,
                                  rindex=index)


def row(name: str, value: float, unit: str) -> dict[str, Any]:
    """Return one result."""
    print(f"{name:<44}{value:>12,.3f} {unit}", flush=True)
    return {"name": name, "ours": round(value, 3), "peer": None, "peer_name": None, "unit": unit,
            "ratio": None, "repeats": 1, "spread": None}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--value-bytes", type=int, default=100)
    parser.add_argument("--writes", type=int, default=50, help="between two slices")
    parser.add_argument("--dry", action="store_true", help="print, but write no results")
    options = parser.parse_args()
    rng = random.Random(1)
    before = memory()
    kv = KeyValue()
    kv.execute(codec.encode_record(
        1, 1, KIND_OPEN_SESSION, struct.pack("<QQ", 1, 0), client=9, rindex=1))
    for record in records(iter(range(options.keys)), bytes(options.value_bytes), 2):
        kv.execute(record)
    filled = memory()
    slices, chunks, kept, writes_ns, written = [], [], 0, 0, 0
    began = time.thread_time_ns()
    kv.begin_snapshot(b"")
    slices.append(time.thread_time_ns() - began)
    last = False
    while not last:
        batch = list(records((rng.randrange(options.keys) for _ in range(options.writes)),
                             bytes(options.value_bytes), kv.applied + 1))
        now = time.thread_time_ns()
        for record in batch:
            kv.execute(record)
        then = time.thread_time_ns()
        data, crc, last = kv.next_chunk(1 << 16)
        slices.append(time.thread_time_ns() - then)
        writes_ns += then - now
        written += len(batch)
        chunks.append((data, crc, last))
        kept = max(kept, kv.pre_images())
    during = memory()
    loaded = KeyValue()
    took = []
    now = time.thread_time_ns()
    loaded.load(timed(chunks, took))
    total = time.thread_time_ns() - now
    slices.sort()
    rows = [
        row("keys", options.keys, ""),
        row("memory a key", (filled - before) / options.keys, "bytes"),
        row("stream", sum(len(data) for data, _, _ in chunks) / 1e6, "MB"),
        row("slices", len(slices), ""),
        row("a slice, median", slices[len(slices) // 2] / 1e6, "ms"),
        row("a slice, p99", slices[len(slices) * 99 // 100] / 1e6, "ms"),
        row("a slice, longest", slices[-1] / 1e6, "ms"),
        row("all slices", sum(slices) / 1e9, "s"),
        row("a write between slices", writes_ns / max(1, written), "ns"),
        row("old values kept, at most", kept, ""),
        row("memory during it, without the stream",
            (during - filled - sum(len(data) for data, _, _ in chunks)) / 1e6, "MB"),
        row("load", total / 1e9, "s"),
        row("load, longest chunk", max(took) / 1e6, "ms"),
    ]
    if not options.dry:
        print(save("snapshot", rows))


def timed(chunks: list[tuple[bytes, int, bool]], took: list[int]) -> Iterator[
        tuple[bytes, int, bool]]:
    """Hand chunks out, and note how long each was worked on."""
    for chunk in chunks:
        now = time.thread_time_ns()
        yield chunk
        took.append(time.thread_time_ns() - now)


if __name__ == "__main__":
    main()
