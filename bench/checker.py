"""How fast histories are judged: our engines beside porcupine, same files, same machine, same run.

Check time only, one thread; reading the file is not in it. Our engine is the one that ``auto``
would ask: a monitor where there is one for the key, else the search. Porcupine gets --limit
seconds and --memory bytes; where it has no verdict by then the table says why. What takes less than
10 ms is measured seven times, ours and theirs, and the median is told. The goals are those
of the design. Results go to bench/results/checker/<time>.json and bench/results/latest.json.
"""
from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
from _results import save

from seatrial.checker import History, check_linearizable, porcupine_engine, readers
from seatrial.checker.generate import Recipe, batches

SHORT_S, TIMES = 0.010, 7
CORPUS = Path(__file__).resolve().parents[2] / "shared" / "corpus"


@dataclass(frozen=True)
class Row:
    """One line of the table: what is judged, how fast it should be (seconds), or how many times
    as fast as porcupine."""

    name: str
    histories: Callable[[], Iterator[History]]
    model: str
    goal_s: float | None = None
    goal_ratio: float | None = None


def generated(**recipe: Any) -> Callable[[], Iterator[History]]:
    """A history that ``seatrial generate`` would write."""
    def make() -> Iterator[History]:
        made = Recipe(**recipe)
        yield History(pa.Table.from_batches(list(batches(made)), schema=made.schema))

    return make


def files(pattern: str) -> Callable[[], Iterator[History]]:
    """Histories of others, where they are here."""
    def read() -> Iterator[History]:
        for path in sorted((CORPUS / "porcupine").glob(pattern)):
            yield readers.read(path)[0]

    return read


def rows(scale: float) -> list[Row]:
    """All lines; ``scale`` is for the two long ones."""
    million = int(1_000_000 * scale)
    return [
        Row("porcupine's etcd logs, sum", files("etcd_*.log"), "cas-register", 0.010),
        *(Row(path.name, files(path.name), "kv", goal_ratio=20.0)
          for path in sorted((CORPUS / "porcupine").glob("kv-*.txt"))),
        *(Row(f"one register, {million} operations, {clients} clients, {pending} pending",
              generated(model="register", operations=million, clients=clients, pending=pending),
              "register", 0.2 * scale) for clients, pending in ((10, 0), (50, 0), (50, 200))),
        Row(f"kv, 1,000 keys, {10 * million} operations",
            generated(model="kv", operations=10 * million, clients=50, keys=1000, pending=200),
            "kv", 3.0 * scale),
        Row(f"one register, repeated values, 10 clients, {million} operations",
            generated(model="register", operations=million, values=100), "register", 2.0 * scale),
        *(Row(f"300 operations of 30 clients, repeated values, {name}",
              generated(model="register", operations=300, clients=30, values=20,
                        violation=violation), "register", 0.5)
          for name, violation in (("ok", None), ("violating", "stale-read"))),
        Row("1,000 operations, 30 pending writes, violating",
            generated(model="register", operations=1000, clients=5, pending=30,
                      violation="stale-read"), "register", 0.005),
        Row(f"fifo queue, {million} operations",
            generated(model="fifo-queue", operations=million), "fifo-queue", 0.5 * scale),
    ]


def measure(row: Row, limit_s: float, memory: int) -> dict[str, Any]:
    """Judge a line's histories by our engines and by porcupine."""
    found: dict[str, Any] = {"name": row.name, "files": 0, "ours_s": 0.0, "porcupine_s": 0.0,
                             "verdict": "", "porcupine": "", "end_to_end_s": 0.0}
    for history in row.histories():
        found["files"] += 1
        began = time.perf_counter()
        verdict, seconds = ours(history, row.model, memory)
        found["end_to_end_s"] += time.perf_counter() - began
        again = TIMES if seconds < SHORT_S else 1
        found["ours_s"] += median([seconds, *(
            ours(history, row.model, memory)[1] for _ in range(again - 1))])
        found["verdict"] = verdict
        if not porcupine_engine.available():
            found["porcupine"] = "absent"
        elif found["porcupine"] in ("", "ok"):
            why, seconds = porcupine(history, row.model, limit_s, memory)
            again = TIMES if seconds < SHORT_S else 1
            found["porcupine"] = why or "ok"
            found["porcupine_s"] += median([seconds, *(
                porcupine(history, row.model, limit_s, memory)[1] for _ in range(again - 1))])
    found["met"] = met(row, found)
    return found


def ours(history: History, model: str, memory: int) -> tuple[str, float]:
    """Our verdict, and the time of the engines that found it."""
    check = check_linearizable(history, model, engine="monitor", memory_limit_bytes=memory,
                               cas_fail="observe", jobs=1)
    seconds = check.evidence["engines"]["monitor"]["elapsed_s"]
    if "undecided" in check.evidence["engines"]["monitor"]["keys"]:
        check = check_linearizable(history, model, engine="search", memory_limit_bytes=memory,
                                   cas_fail="observe", jobs=1)
        seconds += check.evidence["engines"]["search"]["elapsed_s"]
    return check.verdict.label, float(seconds)


def porcupine(history: History, model: str, limit_s: float, memory: int) -> tuple[str, float]:
    """Why porcupine has no verdict (empty: it has one), and the time of its check."""
    judged = check_linearizable(
        history, model, engine="porcupine", time_limit_s=limit_s, memory_limit_bytes=memory,
        cas_fail="observe").evidence["engines"]["porcupine"]
    undecided = [why for why in judged["keys"] if why not in ("ok", "violation")]
    return (undecided[0] if undecided else ""), float(judged["check_s"])


def met(row: Row, found: dict[str, Any]) -> str:
    """Whether the goal was met."""
    if not found["files"]:
        return "no files here"
    if row.goal_s is not None:
        return "yes" if found["ours_s"] <= row.goal_s else f"no: goal {row.goal_s:g} s"
    if row.goal_ratio is not None and found["porcupine"] == "ok":
        ratio = found["porcupine_s"] / max(found["ours_s"], 1e-9)
        return f"{'yes' if ratio >= row.goal_ratio else 'no'}: {ratio:.0f} times as fast"
    return "-"


def main() -> int:
    """Measure, print the table, save it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=float, default=30.0, help="seconds for porcupine")
    parser.add_argument("--memory", type=int, default=8 << 30, help="bytes for each engine")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the long histories")
    parser.add_argument("--only", default="", help="lines whose name holds this")
    chosen = parser.parse_args()
    results = []
    print(f"{'history':62} {'verdict':>12} {'ours':>10} {'porcupine':>16}  goal met")
    for row in rows(chosen.scale):
        if chosen.only not in row.name:
            continue
        found = measure(row, chosen.limit, chosen.memory)
        results.append(found)
        theirs = (f"{found['porcupine_s']:.4f} s" if found["porcupine"] == "ok"
                  else found["porcupine"] or "-")
        print(f"{row.name:62} {found['verdict']:>12} {found['ours_s']:9.4f}s {theirs:>16}  "
              f"{found['met']}", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"peak memory of this process, histories included: {peak} MB")
    print(f"saved in {save('checker', results)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
