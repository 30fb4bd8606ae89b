"""The lines of the checker's table, and their goals: those of the design."""
from __future__ import annotations

from collections.abc import Iterator

from _checking import Check, EndToEnd, Goal, Online

from seatrial.checker.generate import Recipe

MB = 1_000_000
Row = Check | EndToEnd | Online


def kv(operations: int) -> Recipe:
    """A key-value store of 1,000 keys, with 50 clients and 200 operations that never end."""
    return Recipe(model="kv", operations=operations, clients=50, keys=1000, pending=200)


def rows(scale: float) -> Iterator[Row]:
    """All lines; ``scale`` is for the sizes of the long ones."""
    million = int(1_000_000 * scale)
    yield from beside_porcupine()
    yield from long_ones(million, scale)
    yield from growing(million)
    yield from end_to_end(million)


def beside_porcupine() -> Iterator[Row]:
    """Histories that porcupine judges, or that are small and hard."""
    yield Check("porcupine's etcd logs, sum", "cas-register", files="etcd_*.log",
                goals=(Goal("check_s", 0.010),))
    for clients in ("01", "10", "50"):
        for verdict in ("ok", "bad"):
            name = f"kv-c{clients}-{verdict}.txt"
            yield Check(f"porcupine's {name}", "kv", files=name,
                        goals=(Goal("times_as_fast", 20.0, least=True),))
    for verdict, violation in (("ok", None), ("violating", "stale-read")):
        yield Check(f"300 operations of 30 clients, repeated values, {verdict}", "register",
                    Recipe(model="register", operations=300, clients=30, values=20,
                           violation=violation), goals=(Goal("check_s", 0.5),))
    yield Check("1,000 operations, 30 pending writes, violating", "register",
                Recipe(model="register", operations=1000, clients=5, pending=30,
                       violation="stale-read"), goals=(Goal("check_s", 0.005),))


def long_ones(million: int, scale: float) -> Iterator[Row]:
    """Histories that porcupine has no time or memory for."""
    for clients, pending in ((10, 0), (50, 0), (50, 200)):
        yield Check(f"one register, {million:,} operations, {clients} clients, {pending} pending",
                    "register", Recipe(model="register", operations=million, clients=clients,
                                       pending=pending),
                    goals=(Goal("check_s", 0.2 * scale), Goal("memory", 200 * MB)))
    yield Check(f"kv, 1,000 keys, {10 * million:,} operations", "kv",
                kv(10 * million),
                goals=(Goal("check_s", 3.0 * scale), Goal("memory", 1000 * MB)))
    yield Check(f"one register, repeated values, 10 clients, {million:,} operations", "register",
                Recipe(model="register", operations=million, values=100),
                goals=(Goal("check_s", 2.0 * scale), Goal("memory", 100 * MB)))
    yield Check(f"fifo queue, {million:,} operations", "fifo-queue",
                Recipe(model="fifo-queue", operations=million),
                goals=(Goal("check_s", 0.5 * scale),))


def growing(million: int) -> Iterator[Row]:
    """From 10^4 to 10^7 operations: near-linear is at most twice the time of an operation, and
    twice its memory, however much longer than the shortest a history is."""
    shortest = None
    for operations in (million // 100, million // 10, million, million * 10):
        name = f"growth: kv, 1,000 keys, {operations:,} operations"
        goals = () if shortest is None else (
            Goal("ns_each", 2.0, of=shortest), Goal("bytes_each", 2.0, of=shortest))
        yield Check(name, "kv", kv(operations), goals=goals,
                    beside_porcupine=False)
        shortest = shortest or name


def end_to_end(million: int) -> Iterator[Row]:
    """From a file, and from a stream."""
    for format, rate in (("arrow", 2_000_000), ("edn", 300_000)):
        yield EndToEnd(f"end-to-end kv, 1,000 keys, {million:,} operations, "
                       f"{'Arrow' if format == 'arrow' else 'EDN'}", "kv",
                       kv(million), format,
                       goals=(Goal("read_rate", rate, least=True),))
    short = f"online: kv, 1,000 keys, {million:,} operations"
    long = f"online: kv, 1,000 keys, {10 * million:,} operations"
    fast = Goal("rate", 200_000, least=True)
    yield Online(short, kv(million), goals=(fast,))
    yield Online(long, kv(10 * million),
                 goals=(fast, Goal("memory", 1.2, of=short)))
