"""What domains below the root cost its clients, and how fast a domain catches up.

Real nodes with fsync on 127.0.0.1, three in each domain, and one load generator share this
machine's cores, so a domain costs the root what its nodes take of the cores, too. All figures of
a part come from one run:

1. commits of closed-loop clients (a session each, one 100-byte write outstanding) with no child,
   an async one, a sync one, and a sync one below that (a <- b <- c). They take turns, in another
   order each time, so that what else the machine does hits all alike. What an async child costs is
   told twice: in commits, and in what the root's own nodes take of the cores for each commit;
2. an async child is stopped, a million entries are written, it is started again: how fast it
   catches up, and what the root's clients see before and meanwhile, with what it lacks still in
   the root's logs, and with it compacted away, so that it is sent a snapshot first.

Results go to bench/results/domains/<time>.json and bench/results/latest.json.
"""
from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import uvloop
from _results import save
from _tree import Child, Tree
from commit_path import RESPONSE, TRIES, WARM_UP_S, Connection, Disturbed
from snapshots import Table, Window, Writers, in_thread

SETUPS: dict[str, tuple[Child, ...]] = {
    "no child": (),
    "1 async child": (Child("b", "a", "async"),),
    "1 sync child": (Child("b", "a", "sync"),),
    "2 levels sync": (Child("b", "a", "sync"), Child("c", "b", "sync")),
}
NONE, ASYNC, *_ = SETUPS
VALUE_BYTES = 100
KEYS = 1024
CATCH_UP_S = 900                # at most
LENGTH = struct.Struct("<I")
WAL = {"wal": {"snapshot_bytes": 1 << 40, "keep_bytes": 0}}     # snapshots only when asked for


class Figure(NamedTuple):
    """One measurement. cpu_us: of all the root's nodes for each commit."""

    window: Window
    cpu_us: float


class TreeConnection(Connection):
    """Answers name the domains that confirmed them, so their lengths differ."""

    load: TreeWriters

    def _answered(self, data: bytes) -> None:
        load = self.load
        now = time.perf_counter_ns()
        if self._rest:
            data = self._rest + data
        at, out = 0, []
        while len(data) - at >= RESPONSE.size:
            length, = LENGTH.unpack_from(data, at)
            if len(data) - at < length:
                break
            number, status = RESPONSE.unpack_from(data, at)
            if status:
                load.failed(status)
                return
            client = load.clients[number]
            if load.measuring:
                load.latencies.append(now - client.sent)
                load.confirmed = min(load.confirmed, (length - RESPONSE.size) // 2)
            out.append(client.next_write(now))
            at += length
        self._rest = data[at:]
        self.transport.write(b"".join(out))


class TreeWriters(Writers):
    """Writers at the root. confirmed: by how many domains each write was, at least."""

    connection = TreeConnection

    def __init__(self, port: int, count: int) -> None:
        super().__init__(port, count)
        self.confirmed = len(SETUPS)

    def check(self) -> None:
        """A leader that changed makes the measurement worthless."""
        if self.failure:
            raise Disturbed(self.failure)


async def under_load(tree: Tree, clients: int, seconds: float) -> Figure:
    """Measure commits at the root."""
    load = TreeWriters(await in_thread(tree.port), clients)
    await load.begin(KEYS, VALUE_BYTES)
    try:
        await asyncio.sleep(WARM_UP_S)
        before = tree.root.cpu_s()
        window = await load.window(seconds)
        used = tree.root.cpu_s() - before
    finally:
        load.stop()
    expected = sum(child.mode == "sync" for child in tree.children)
    if load.confirmed != expected:
        raise Disturbed(f"a write was confirmed by {load.confirmed} domains, not {expected}")
    return Figure(window, used / (window.rate * window.seconds) * 1e6)


@contextmanager
def running(folder: Path, children: tuple[Child, ...], settings: dict[str, Any],
            nodes: int) -> Iterator[Tree]:
    """A tree that serves, and is gone afterwards."""
    place = Path(tempfile.mkdtemp(prefix="tree", dir=folder))
    tree = Tree(place, children, settings, nodes)
    try:
        tree.start()
        yield tree
    finally:
        tree.stop()
        shutil.rmtree(place, ignore_errors=True)


def patiently(measure: Callable[[], Any]) -> Any:
    """Measure; begin again, a few times at most, when the machine disturbed it."""
    for _ in range(TRIES):
        try:
            return measure()
        except Disturbed as reason:
            print(f"again, because {reason}", flush=True)
    raise SystemExit(f"no undisturbed measurement in {TRIES} tries: is the machine busy?")


def commits_of(folder: Path, setup: str, counts: list[int], options: argparse.Namespace,
               ) -> dict[int, Figure]:
    """Start a tree, put it under load with each number of clients, stop it."""
    async def all_counts(tree: Tree) -> dict[int, Figure]:
        return {count: await under_load(tree, count, options.seconds) for count in counts}

    with running(folder, SETUPS[setup], {}, options.nodes) as tree:
        return uvloop.run(all_counts(tree))


def commits(folder: Path, options: argparse.Namespace, table: Table) -> None:
    """Latency and throughput of every setup, in turns."""
    counts = sorted({*map(int, options.clients.split(",")), options.throughput_clients})
    found: dict[str, list[dict[int, Figure]]] = {setup: [] for setup in SETUPS}
    names = list(SETUPS)
    for turn in range(options.repeats):
        for at in range(len(names)):
            setup = names[(turn + at) % len(names)]
            found[setup].append(patiently(
                lambda one=setup: commits_of(folder, one, counts, options)))

    def median(setup: str, count: int, field: str) -> float:
        return statistics.median(getattr(one[count].window, field) for one in found[setup])

    for count in counts:
        for setup in SETUPS:
            for field, label, unit in (("p50_ms", "p50", "ms"), ("p99_ms", "p99", "ms"),
                                       ("rate", "commits", "op/s")):
                table.add(f"{setup}, {count} clients: {label}", median(setup, count, field), unit,
                          None if setup == NONE else median(NONE, count, field), NONE,
                          field == "rate")
    most = options.throughput_clients
    pairs = list(zip(found[NONE], found[ASYNC], strict=True))
    table.add(f"{ASYNC}, {most} clients: costs of commits", statistics.median(
        100 * (1 - with_it[most].window.rate / without[most].window.rate)
        for without, with_it in pairs), "%")
    cpu = {setup: statistics.median(one[most].cpu_us for one in found[setup])
           for setup in (NONE, ASYNC)}
    table.add(f"{ASYNC}, {most} clients: root's cpu a commit", cpu[ASYNC], "us", cpu[NONE], NONE)


async def caught_up(tree: Tree, known: int) -> float:
    """Return when a majority of the child had applied what the root had before it was started."""
    while await in_thread(tree.domains["b"].applied) < known:
        await asyncio.sleep(0.1)
    return time.perf_counter()


async def catching_up(tree: Tree, load: TreeWriters, table: Table, by_snapshot: bool,
                      options: argparse.Namespace) -> None:
    """The child's rate, and the root's clients before and meanwhile."""
    child = tree.domains["b"]
    name = f"{options.behind:,} behind, " + ("by snapshot" if by_snapshot else "by log")
    await asyncio.sleep(WARM_UP_S)
    before = await load.window(options.seconds)         # with the child, as afterwards
    end = (await in_thread(tree.leader, "b"))["domain"]["mirror_end"]
    await in_thread(child.stop)
    await asyncio.wait_for(load.until(options.behind), CATCH_UP_S)
    if by_snapshot:
        for node in tree.root.members:
            if not await in_thread(tree.root.ask, node, "snapshot"):
                raise SystemExit(f"{name}: node {node} of the root made no snapshot")
    root = await in_thread(tree.leader, "a")
    known = root["domain"]["applied_rindex"]
    if (root["first_index"] > end + options.behind // 2) is not by_snapshot:
        raise SystemExit(f"{name}: the child lacks what is behind {end}, and the root's log begins "
                         f"with {root['first_index']}")
    start = time.perf_counter()
    child.start()
    waiting = asyncio.ensure_future(caught_up(tree, known))
    try:
        during = await load.window(CATCH_UP_S, waiting)
    except TimeoutError:
        raise SystemExit(f"{name}: not within {CATCH_UP_S} s") from None
    took, lacked = await waiting - start, known - end
    table.add(f"{name}: takes, from the start of its nodes", took, "s")
    table.add(f"{name}: it catches up", lacked / took, "entry/s")
    table.add(f"{name}: commits at the root", during.rate, "op/s", before.rate, "before", True)
    for field in ("p50_ms", "p99_ms", "max_ms"):
        table.add(f"{name}: {field[:-3]} at the root", getattr(during, field), "ms",
                  getattr(before, field), "before")


async def catch_ups(tree: Tree, options: argparse.Namespace, table: Table) -> None:
    """By log, then by snapshot, with the same clients."""
    load = TreeWriters(await in_thread(tree.port), options.catch_up_clients)
    await load.begin(options.keys, VALUE_BYTES)
    try:
        for by_snapshot in (False, True):
            await catching_up(tree, load, table, by_snapshot, options)
    finally:
        load.stop()


def catch_up(folder: Path, options: argparse.Namespace, table: Table) -> None:
    """The second part; its rows are kept only if all of it went well."""
    def whole() -> Table:
        part = Table()
        with running(folder, SETUPS[ASYNC], WAL, options.nodes) as tree:
            uvloop.run(catch_ups(tree, options, part))
        return part

    table.rows += patiently(whole).rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", default="1,64", help="of which latencies are told")
    parser.add_argument("--throughput-clients", type=int, default=256)
    parser.add_argument("--catch-up-clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each undisturbed window")
    parser.add_argument("--repeats", type=int, default=5, help="of the commits of each tree")
    parser.add_argument("--nodes", type=int, default=3, help="of each domain")
    parser.add_argument("--behind", type=int, default=1_000_000, help="entries")
    parser.add_argument("--keys", type=int, default=1_000_000, help="that these entries are of")
    parser.add_argument("--folder", type=Path, help="on the disk in question")
    parser.add_argument("--only", choices=("commits", "catch-up"), help="one part")
    parser.add_argument("--dry", action="store_true", help="print, but write no results")
    parser.add_argument("--short", action="store_true",
                        help="sizes that only show that it works; implies --dry")
    options = parser.parse_args()
    if options.folder is not None and not options.folder.is_dir():
        parser.error(f"--folder {options.folder}: expected an existing folder")
    if options.short:
        options.dry, options.repeats, options.seconds = True, 1, 0.5
        options.behind = options.keys = 4096
    print(f"{os.cpu_count()} cores for all nodes and the load generator; domains of "
          f"{options.nodes} nodes, a process each, on 127.0.0.1 and one disk", flush=True)
    for setup, children in SETUPS.items():
        tree = ", ".join(f"{child.name} below {child.parent}" for child in children)
        print(f"  {setup}: {options.nodes * (len(children) + 1)} nodes{tree and f' ({tree})'}",
              flush=True)
    table = Table()
    with tempfile.TemporaryDirectory(prefix="seatrial-bench", dir=options.folder) as name:
        if options.only != "catch-up":
            commits(Path(name), options, table)
        if options.only != "commits":
            catch_up(Path(name), options, table)
    if not options.dry:
        print(save("domains", table.rows))


if __name__ == "__main__":
    main()
