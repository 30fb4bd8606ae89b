"""How many operations a second the harness itself can do, on one core.

Operations go from a generator through the scheduler and a client that answers at once into a
history file. Time is processor time of this process, so that others on the machine change
little; it has one busy thread. The peer of the whole path is what Jepsen's documentation says
of its own; that of deadlines is asyncio's own ``wait_for``, measured in turn with ours.
Results go to bench/results/harness/<time>.json and bench/results/latest.json.
"""
from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import uvloop
from _results import save

from seatrial.checker.history import History, metadata
from seatrial.harness import generator as gen
from seatrial.harness.deadline import Timer, Wheel
from seatrial.harness.generator import Context, Generator
from seatrial.harness.history import HistoryWriter
from seatrial.harness.op import OK, Op
from seatrial.harness.scheduler import Scheduler

JEPSEN = "Jepsen, as documented"
JEPSEN_OPS = 20_000
KEYS_LIFE = 200                  # operations on a key


class NoOp:
    """A client that answers at once; also a nemesis that does nothing."""

    async def open(self, test: Any, node: int, process: int) -> NoOp:
        """Return the client itself."""
        return self

    async def invoke(self, test: Any, op: Op) -> Op:
        """Succeed."""
        return op.completed(OK, op.value)

    async def close(self) -> None:
        """Do nothing."""


def read() -> dict[str, Any]:
    """Return a read."""
    return {"f": "read"}


def write(test: Any, ctx: Context) -> dict[str, Any]:
    """Return a write of a random value."""
    return {"f": "write", "value": ctx.rng.below(1000)}


def cas(test: Any, ctx: Context) -> dict[str, Any]:
    """Return a compare-and-set of random values."""
    return {"f": "cas", "value": [ctx.rng.below(1000), ctx.rng.below(1000)]}


def beside_faults(load: Any) -> Generator:
    """Return a load as a test has it: for a limited time, beside faults."""
    faults = gen.cycle([gen.sleep(0.05), {"f": "start"}, gen.sleep(0.05), {"f": "stop"}])
    return gen.shortest_any(gen.time_limit(3600, gen.clients(load)), gen.nemesis(faults))


def constant(n: int) -> Generator:
    """The same operation again and again."""
    return gen.limit(n, gen.repeat({"f": "read"}))


def mixed(n: int) -> Generator:
    """Reads, writes and compare-and-sets."""
    return gen.limit(n, gen.mix(read, write, cas))


def keyed(n: int) -> Generator:
    """The same on independent keys, two clients each, at a rate that is never reached."""
    return gen.limit(n, gen.stagger(1e-7, gen.concurrent_generator(
        2, itertools.count(), lambda key: gen.limit(KEYS_LIFE, gen.mix(read, write, cas)))))


def whole_path(load: Callable[[int], Generator], n: int, clients: int,
               run: Callable[[Any], Any] = asyncio.run) -> float:
    """Return operations a second through generator, scheduler, client and history."""
    test = SimpleNamespace(seed=1, nodes=["n1", "n2", "n3"], concurrency=clients,
                           op_timeout_ns=5_000_000_000)

    async def main() -> float:
        with HistoryWriter(path, metadata(seed=1)) as history:
            async with Scheduler(test, NoOp(), history.append, flush=history.flush,
                                 nemeses={"nemesis": NoOp()}) as scheduler:
                begin = time.process_time()
                await scheduler.run(beside_faults(load(n)))
        return time.process_time() - begin

    with tempfile.TemporaryDirectory(prefix="seatrial-bench") as folder:
        path = Path(folder) / "history.arrow"
        seconds: float = run(main())
        written = History.read(path)
        events = int((written.process >= 0).sum())
        if events != 2 * n or not written.complete:
            raise SystemExit(f"{load.__name__}: the history holds {events} events of {2 * n}")
    return n / seconds


def generator_only(load: Callable[[int], Generator], n: int, clients: int) -> float:
    """Return operations a second that a generator makes when somebody is always free."""
    tree, ctx = gen.clients(load(n)).seeded(1), Context.start(clients)
    begin = time.process_time()
    made = 0
    while isinstance(answer := tree.op(None, ctx), tuple):
        tree = answer[1]
        made += 1
    return made / (time.process_time() - begin)


def history_only(n: int) -> float:
    """Return events a second into a history file."""
    ops = [Op("write", i, b"k%d" % (i % 20), process=i % 10, time_ns=i) for i in range(1000)]
    with tempfile.TemporaryDirectory(prefix="seatrial-bench") as folder:
        begin = time.process_time()
        with HistoryWriter(Path(folder) / "history.arrow", metadata(seed=1)) as history:
            for _ in range(n // len(ops)):
                for op in ops:
                    history.append(op)
        return n / (time.process_time() - begin)


def wheel_deadlines(n: int) -> float:
    """Return operations a second that get a deadline from the wheel and are awaited."""
    async def main() -> float:
        wheel, timer, client, op = Wheel(), Timer(), NoOp(), Op("read", process=0)
        begin = time.process_time()
        for i in range(n):
            wheel.arm(timer, 5_000_000_000 + i * 1000)
            await client.invoke(None, op)
            wheel.disarm(timer)
            wheel.expire(i * 1000)
        return n / (time.process_time() - begin)
    return asyncio.run(main())


def wait_for_deadlines(n: int) -> float:
    """Return the same with asyncio.wait_for."""
    async def main() -> float:
        client, op = NoOp(), Op("read", process=0)
        begin = time.process_time()
        for _ in range(n):
            await asyncio.wait_for(client.invoke(None, op), 5.0)
        return n / (time.process_time() - begin)
    return asyncio.run(main())


def row(name: str, ours: list[float], peer: float | None, peer_name: str | None) -> dict[str, Any]:
    """Return one line of the results."""
    middle = statistics.median(ours)
    return {"name": name, "ours": round(middle), "peer": None if peer is None else round(peer),
            "peer_name": peer_name, "unit": "op/s",
            "ratio": None if peer is None else round(middle / peer, 2), "repeats": len(ours),
            "spread": round((max(ours) - min(ours)) / middle, 3)}


def measure(n: int, repeats: int) -> list[dict[str, Any]]:
    """Run everything, each so often."""
    rows = []
    for load, clients, run in (
        (mixed, 1, asyncio.run), (mixed, 10, asyncio.run), (mixed, 100, asyncio.run),
        (mixed, 10, uvloop.run), (keyed, 10, asyncio.run), (constant, 10, asyncio.run),
    ):
        loop = "uvloop" if run is uvloop.run else "asyncio"
        ours = [whole_path(load, n, clients, run) for _ in range(repeats)]
        rows.append(row(f"whole path, {load.__name__}, {clients} clients, {loop}", ours,
                        JEPSEN_OPS, JEPSEN))
    for load in (mixed, keyed, constant):
        ours = [generator_only(load, n, 10) for _ in range(repeats)]
        rows.append(row(f"generator alone, {load.__name__}", ours, None, None))
    rows.append(row("history alone (events)", [history_only(n) for _ in range(repeats)], None,
                    None))
    pairs = [(wheel_deadlines(n), wait_for_deadlines(n)) for _ in range(repeats)]
    rows.append(row("deadline for each operation", [ours for ours, _ in pairs],
                    statistics.median(peer for _, peer in pairs), "asyncio.wait_for"))
    return rows


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--operations", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dry", action="store_true", help="print, but write no results")
    options = parser.parse_args()
    rows = measure(options.operations, options.repeats)
    for line in rows:
        ratio = "" if line["ratio"] is None else f"{line['ratio']:6.1f} x {line['peer_name']}"
        print(f"{line['name']:<48}{line['ours']:>12,} {line['unit']}{ratio}", flush=True)
    if not options.dry:
        print(save("harness", rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
