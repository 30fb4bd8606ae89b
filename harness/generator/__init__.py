"""Generators: pure values that say what is to be done next, by whom and when.

Use as ``from seatrial.harness import generator as gen``. Where a generator is expected there
may stand a mapping (that operation, once), a function (an operation for each call), a list or
iterator (one after the other), None (nothing). The names are Jepsen's.

=============================================  =================================================
order: concat, then, phases, synchronize       one after the other; waiting for what is in flight
number: once, limit, repeat, cycle, until_ok   how often
choice: mix, weighted, any, shortest_any,      which of several
flip_flop
time: stagger, delay, sleep, time_limit,       when
cycle_times
threads: clients, nemesis, on_threads,         who
each_thread, each_process, reserve,
process_limit, concurrency_limit
keys: sequential_generator,                    the same on many independent keys
concurrent_generator
other: map, f_map, filter, on_update, log,     changed, watched, checked
trace, validate
=============================================  =================================================

A typical test: reads and writes on many keys at 200 operations a second, faults beside them
for a minute, then, when all is healed, a last read of each key::

    gen.phases(
        gen.time_limit(60, gen.clients(
            gen.stagger(1 / 200, gen.concurrent_generator(2, keys, lambda key: gen.mix(r, w))),
            gen.cycle([gen.sleep(5), {"f": "start"}, gen.sleep(5), {"f": "stop"}]))),
        gen.nemesis({"f": "heal"}),
        gen.clients(final_reads))

protocol.py defines the protocol and how draws stay pure; simulate.py runs a generator without
clients, for tests.
"""
from .choice import any, flip_flop, mix, shortest_any, weighted
from .context import Context, Roster, Thread
from .independent import concurrent_generator, sequential_generator
from .lift import lift
from .protocol import LOG, NOTHING, PENDING, SLEEP, Answer, Generator, split
from .sequence import concat, cycle, limit, once, phases, repeat, synchronize, then, until_ok
from .threads import (
    clients,
    concurrency_limit,
    each_process,
    each_thread,
    nemesis,
    on_threads,
    process_limit,
    reserve,
)
from .timing import cycle_times, delay, sleep, stagger, time_limit
from .transform import InvalidOp, f_map, filter, log, map, on_update, trace, validate

__all__ = [
    "LOG", "NOTHING", "PENDING", "SLEEP", "Answer", "Context", "Generator", "InvalidOp", "Roster",
    "Thread", "any", "clients", "concat", "concurrency_limit", "concurrent_generator", "cycle",
    "cycle_times", "delay", "each_process", "each_thread", "f_map", "filter", "flip_flop", "lift",
    "limit", "log", "map", "mix", "nemesis", "on_threads", "on_update", "once", "phases",
    "process_limit", "repeat", "reserve", "sequential_generator", "shortest_any", "sleep", "split",
    "stagger", "synchronize", "then", "time_limit", "trace", "until_ok", "validate", "weighted",
]
