"""The frontier search and porcupine: what they hold, where they stop, how they end."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from exhaustive import Call

from seatrial.checker import porcupine_engine
from seatrial.checker.models import Role
from seatrial.checker.operations import NIL, from_intervals
from seatrial.checker.search import STATUSES, Search

needs_porcupine = pytest.mark.skipif(not porcupine_engine.available(),
                                     reason="built without Go: no porcupine engine")


def search(calls: list[Call], *, memory: int = 1 << 28, effort: int = 1 << 62,
           limit_s: float = 60.0) -> str:
    operations = from_intervals([call.row() for call in calls])
    return STATUSES[Search(operations).run(
        [0], NIL, deadline_ns=time.monotonic_ns() + int(limit_s * 1e9), memory=memory,
        effort=effort)[0][0]]


def overlapping(n: int, role: Role = Role.WRITE) -> list[Call]:
    return [Call(i, role, i, None, i, 1000 + i) for i in range(n)]


@pytest.mark.parametrize("n", [63, 64, 65, 129, 200])
def test_more_operations_than_a_mask_word_holds_may_be_in_flight(n: int) -> None:
    writes = overlapping(n)
    for seen, verdict in ((n - 1, "ok"), (0, "ok"), (n + 5, "violation")):
        read = Call(n, Role.READ, seen, None, 2000, 2001)
        assert search([*writes, read]) == verdict


@pytest.mark.parametrize("n", [1, 64, 65, 300])
def test_crashed_writes_may_take_effect_at_any_later_time_but_only_once(n: int) -> None:
    crashed = [Call(i, Role.WRITE, i, None, i, None) for i in range(n)]
    reads = [Call(n, Role.READ, i, None, 1000 + 2 * i, 1001 + 2 * i) for i in range(n)]
    assert search(crashed + reads) == "ok"
    again = Call(n, Role.READ, 0, None, 9000, 9001)
    assert search([*crashed, *reads, again]) == ("ok" if n == 1 else "violation")


def test_pending_writes_that_nobody_sees_do_not_slow_a_violation_down() -> None:
    crashed = [Call(i, Role.WRITE, 100 + i, None, i, None) for i in range(40)]
    body = [Call(50, Role.WRITE, i, None, 100 + 2 * i, 101 + 2 * i) for i in range(500)]
    stale = Call(50, Role.READ, 3, None, 5000, 5001)
    assert search([*crashed, *body, stale], effort=2000) == "violation"


def test_appends_are_placed_as_the_next_read_shows_them() -> None:
    """Forty appends at once have 40! orders; the read that follows names the one."""
    appends = overlapping(40, Role.APPEND)
    order = [(7 * i) % 40 for i in range(40)]
    read = Call(99, Role.READ, order, None, 2000, 2001)
    assert search([*appends, read], effort=100_000) == "ok"
    wrong = Call(99, Role.READ, [*order[:-1], order[0]], None, 2000, 2001)
    assert search([*appends, wrong], effort=100_000) == "violation"


def hard(n: int) -> list[Call]:
    """n CAS in flight, the edges of a complete graph, walked in countless ways; then a read that
    none of them explains."""
    edges = [(a, b) for a in range(7) for b in range(7) if a != b][:n]
    calls = [Call(i, Role.CAS, a, b, i, 1000 + i) for i, (a, b) in enumerate(edges)]
    return [Call(n, Role.WRITE, 0, None, -2, -1), *calls,
            Call(n, Role.READ, 99, None, 2000, 2001)]


def test_a_search_that_meets_its_caps_says_which() -> None:
    assert search(hard(30), memory=1 << 20) == "memory"
    assert search(hard(30), effort=5000) == "effort"
    assert search(hard(30), limit_s=0.0) == "time"


def test_a_search_ends_at_a_signal() -> None:
    class EnoughError(Exception):
        pass

    def stop(*_: object) -> None:
        raise EnoughError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(EnoughError):
            search(hard(42), limit_s=600.0, memory=1 << 40)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


@needs_porcupine
def test_porcupine_out_of_memory_leaves_a_key_undecided_and_goes_on() -> None:
    easy = [Call(0, Role.WRITE, 1, None, 0, 1), Call(0, Role.READ, 1, None, 2, 3)]
    rows = [Call(c.process, c.role, c.a, c.b, c.inv + 10, (c.ret or 0) + 10, key).row()
            for key, calls in (("a", easy), ("hard", hard(40)), ("z", easy)) for c in calls]
    operations = from_intervals(rows)
    with porcupine_engine.Porcupine(memory_limit_bytes=300 << 20) as engine:
        engine.start(operations, [0, 1, 2], NIL, 60.0)
        assert engine.finish().verdicts == ["ok", "memory", "ok"]
        engine.start(operations, [0, 2], NIL, 60.0)          # the new worker serves on
        assert engine.finish().verdicts == ["ok", "ok"]


@needs_porcupine
def test_a_worker_that_begins_when_the_time_of_the_last_one_is_over_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a slow machine; it was ended before it had said hello, and nobody could be asked."""
    timers: list[Any] = []

    class Late(threading.Timer):
        def start(self) -> None:
            timers.append(self)

    monkeypatch.setattr(porcupine_engine.threading, "Timer", Late)
    receive = porcupine_engine.receive

    def hello(stream: Any) -> Any:
        for timer in timers:
            timer.function()                    # of the worker before
        return receive(stream)

    rows = [Call(c.process, c.role, c.a, c.b, c.inv + 10, (c.ret or 0) + 10, key).row()
            for key, calls in (("hard", hard(40)), ("z", hard(1)[:2])) for c in calls]
    with porcupine_engine.Porcupine(memory_limit_bytes=300 << 20) as engine:
        engine.start(from_intervals(rows), [0, 1], NIL, 60.0)
        spawn = engine._spawn

        def spawn_late() -> None:
            monkeypatch.setattr(porcupine_engine, "receive", hello)
            spawn()
            timers.clear()
            monkeypatch.setattr(porcupine_engine, "receive", receive)

        monkeypatch.setattr(engine, "_spawn", spawn_late)
        assert engine.finish().verdicts == ["memory", "ok"]


@needs_porcupine
def test_porcupine_out_of_time_leaves_a_key_undecided_and_goes_on() -> None:
    rows = [Call(c.process, c.role, c.a, c.b, c.inv + 10, (c.ret or 0) + 10, key).row()
            for key, calls in (("hard", hard(40)), ("z", hard(1)[:2])) for c in calls]
    with porcupine_engine.Porcupine(memory_limit_bytes=4 << 30) as engine:
        engine.start(from_intervals(rows), [0, 1], NIL, 0.5)
        assert engine.finish().verdicts == ["time", "ok"]


@needs_porcupine
def test_a_worker_that_never_read_its_job_is_closed_without_an_error() -> None:
    """What is still on its way, in a buffer or in the sender's hands, is dropped."""
    for size, sign in ((1, signal.SIGKILL), (20_000, signal.SIGSTOP)):      # a pipe holds 64 KiB
        engine = porcupine_engine.Porcupine(memory_limit_bytes=1 << 30)
        os.kill(engine._process.pid, sign)
        if sign == signal.SIGKILL:
            engine._process.wait()
        calls = [call.row() for call in overlapping(size)]
        engine.start(from_intervals(calls), [0], NIL, 60.0)
        engine.close()


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@needs_porcupine
def test_a_worker_does_not_outlive_who_started_it() -> None:
    """A harness that is killed leaves no process behind, even one in the middle of a hard job."""
    script = """
import os, sys
sys.path.insert(0, sys.argv[1])
from test_engines import *
engine = porcupine_engine.Porcupine(memory_limit_bytes=8 << 30)
engine.start(from_intervals([call.row() for call in hard(42)]), [0], NIL, 600.0)
engine._sender.join()
print(engine._process.pid, flush=True)
os._exit(0)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parent)], check=True, text=True,
        stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    pid = int(done.stdout)
    deadline = time.monotonic() + 30.0
    while running(pid):
        assert time.monotonic() < deadline, "the worker still runs"
        time.sleep(0.01)


@needs_porcupine
def test_the_linked_porcupine_tells_its_version() -> None:
    assert porcupine_engine.version() == "v1.3.1"
