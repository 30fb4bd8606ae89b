"""How fast histories are judged: our engines beside porcupine, same files, same machine, same run.

One thread each. A check is what engines take on operations in memory; lines that begin with
"end-to-end" and "online" have the reading in them (_checking.py says what exactly is measured).
Ours is the engine that ``auto`` would ask: a monitor where there is one for the key, else the
search. Porcupine gets --limit seconds and --memory bytes; where it has no verdict by then the table
says why. Each line has a process of its own. Results go to bench/results/checker/<time>.json and
bench/results/latest.json.
"""
from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from _checker_rows import Row, rows
from _checking import Found, Goal, Limits
from _results import save

UNITS = {"check_s": ("check", 1.0, "s"), "memory": ("memory", 1e-6, "MB"),
         "times_as_fast": ("", 1.0, "times as fast"),
         "read_rate": ("reading", 1e-6, "million a second"),
         "rate": ("", 1e-6, "million a second"),
         "ns_each": ("time of each", 1.0, "ns"), "bytes_each": ("memory of each", 1.0, "bytes")}


def measured(row: Row, limits: Limits) -> Found:
    """Prepare and measure a line, each in a new process."""
    spawn = multiprocessing.get_context("spawn")
    with (tempfile.TemporaryDirectory() as folder,
          ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as processes):
        processes.submit(row.prepare, Path(folder)).result()
        return processes.submit(row.measure, Path(folder), limits).result()


def met(goal: Goal, found: Found, others: dict[str, Found]) -> tuple[bool, str]:
    """Whether a goal is met, and in words what was found beside it."""
    what, scale, unit = UNITS[goal.number]
    if goal.number not in found:
        return False, f"{what} not known"
    value, bound = found[goal.number], goal.bound
    if goal.of is not None:
        if goal.of not in others:
            return False, f"{what or goal.number} has nothing to compare with"
        value /= others[goal.of][goal.number]
        scale, unit = 1.0, "times that of the shortest"
    reached = value >= bound if goal.least else value <= bound
    return reached, (f"{what} {value * scale:.3g} {unit} "
                     f"({'at least' if goal.least else 'at most'} {bound * scale:.3g})").strip()


def verdict_on(row: Row, found: Found, others: dict[str, Found]) -> str:
    """The last column: yes or no, and all goals."""
    if not found["files"]:
        return "no file here"
    told = [met(goal, found, others) for goal in row.goals]
    if not told:
        return "-"
    return f"{'yes' if all(reached for reached, _ in told) else 'NO'}: " + ", ".join(
        text for _, text in told)


def line(name: str, found: Found) -> str:
    """The columns before the last."""
    if not found["files"]:
        return f"{name:64} {'':>10} {'':>8} {'':>9} {'':>8} {'':>9}"
    reading = f"{found['read_s']:.3f} s" if "read_s" in found else ""
    theirs = found.get("porcupine", "")
    if theirs == "ok":
        theirs = shown(found["porcupine_s"])
    return (f"{name:64} {found['verdict']:>10} {reading:>8} {shown(found['check_s']):>9} "
            f"{found['memory'] / 1e6:5.0f} MB {theirs:>9}")


def shown(seconds: float) -> str:
    """A time, in ms where it is short."""
    return f"{seconds * 1e3:.3f} ms" if seconds < 0.1 else f"{seconds:.3f} s"


def main() -> int:
    """Measure, print the table, save it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=float, default=30.0, help="seconds for porcupine")
    parser.add_argument("--memory", type=int, default=8 << 30, help="bytes for each engine")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the long histories")
    parser.add_argument("--only", default="", help="lines whose name holds this")
    chosen = parser.parse_args()
    limits, results = Limits(chosen.limit, chosen.memory), dict[str, dict[str, Any]]()
    print(f"{'history':64} {'verdict':>10} {'reading':>8} {'check':>9} {'memory':>8} "
          f"{'porcupine':>9}  goal met")
    for row in rows(chosen.scale):
        if chosen.only not in row.name:
            continue
        found = measured(row, limits)
        found["met"] = verdict_on(row, found, results)
        results[row.name] = found
        print(f"{line(row.name, found)}  {found['met']}", flush=True)
    saved = save("checker", [{"name": name, **found} for name, found in results.items()])
    print(f"saved in {saved}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
