"""The wall clock moved, once or to and fro, and all clocks made to drift.

Only where ``install`` was told that the clock is the host's own. It is put right by the raw
monotonic one, which nothing here moves.
"""
from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path

from . import paths
from .errors import AgentError
from .files import Json, locked, read_json
from .journal import begin, boot_id, entry_path

READINGS, NEAR_NS = 9, 2_000_000
ADJ_TICK, TICK_US, CAP_SYS_TIME = 0x4000, 10_000, 25


def clock(request: Json) -> Json:
    """Move the wall clock, or let it drift (and the monotonic one, which follows it)."""
    if no_clock(read_json(paths.RUN)):
        raise AgentError("the clock of this host may not be moved")
    with locked():
        wall, raw = wall_and_raw()
        begin(request, "clock", wall=wall, raw=raw)
        if "rate_ppm" in request:
            set_tick(TICK_US + request["rate_ppm"] * TICK_US // 1_000_000)
        elif "strobe_ms" in request:
            words = [request["id"], str(request["strobe_ms"]), str(request["period_ms"])]
            subprocess.Popen([sys.executable, "-I", "-S", str(paths.ARCHIVE), "strobe",
                              *words], start_new_session=True, cwd="/", stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        else:
            time.clock_settime_ns(time.CLOCK_REALTIME,
                                  time.time_ns() + request["bump_ms"] * 1_000_000)
    return {}


def strobe(fault: str, strobe_ms: int, period_ms: int) -> None:
    """Move the wall clock ahead and back, a step each period, while the fault is journalled.

    Under the lock under which it is undone: nothing is moved any more once it was put right.
    """
    ahead = False
    while True:
        ahead = not ahead
        with locked():
            entry = read_json(entry_path(fault))
            if entry is None or entry["boot"] != boot_id():
                return
            time.clock_settime_ns(time.CLOCK_REALTIME,
                                  where_it_would_be(entry) + ahead * strobe_ms * 1_000_000)
        time.sleep(period_ms / 1000)


def where_it_would_be(entry: Json) -> int:
    """Return what the wall clock would show without the fault."""
    return int(entry["wall"]) + raw_ns() - int(entry["raw"])


def restore_clock(entry: Json) -> None:
    """Put the clock where it would be; another fault's bump goes with it."""
    if entry["boot"] == boot_id():          # else it was set when the host booted
        set_tick(TICK_US)
        for _ in range(READINGS):           # again where it was interrupted in between
            time.clock_settime_ns(time.CLOCK_REALTIME, where_it_would_be(entry))
            wall, raw = wall_and_raw()
            if abs(wall - raw - int(entry["wall"]) + int(entry["raw"])) < NEAR_NS:
                break


def clocks(request: Json) -> Json:
    """Return the clocks, read together, and how far the wall clock was ahead of the raw one, at
    least and at most, in a while."""
    wall, raw = wall_and_raw()
    seen = {"wall": wall, "monotonic": time.monotonic_ns() + raw - raw_ns(), "raw": raw}
    least = most = wall - raw
    while raw_ns() < seen["raw"] + request.get("watch_ms", 0) * 1_000_000:
        off = time.time_ns() - raw_ns()
        least, most = min(least, off), max(most, off)
        time.sleep(0.001)
    return {**seen, "least": least, "most": most}


def no_clock(request: Json) -> str | None:
    """Return why this host's clock can't be moved."""
    if not request.get("clocks"):
        return "the clock is not the host's own"
    effective = next(line for line in Path("/proc/self/status").read_text().splitlines()
                     if line.startswith("CapEff:"))
    return None if int(effective.split()[1], 16) >> CAP_SYS_TIME & 1 else "no CAP_SYS_TIME"


def wall_and_raw() -> tuple[int, int]:
    """Read both clocks at one moment: of some tries the one that was interrupted least."""
    tries = []
    for _ in range(READINGS):
        before, wall, after = raw_ns(), time.time_ns(), raw_ns()
        tries.append((after - before, wall, (before + after) // 2))
    _, wall, raw = min(tries)
    return wall, raw


def raw_ns() -> int:
    """Return a clock that nobody can move."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)


class Timex(ctypes.Structure):
    """struct timex of adjtimex(2), as far as it matters here."""

    _fields_ = (("modes", ctypes.c_uint), ("offset", ctypes.c_long), ("freq", ctypes.c_long),
                ("maxerror", ctypes.c_long), ("esterror", ctypes.c_long),
                ("status", ctypes.c_int), ("constant", ctypes.c_long),
                ("precision", ctypes.c_long), ("tolerance", ctypes.c_long),
                ("time", ctypes.c_long * 2), ("tick", ctypes.c_long), ("rest", ctypes.c_char * 128))


def set_tick(tick_us: int) -> None:
    """Say how far clocks go in what should be 10,000 us (adjtimex(2): 9,000 to 11,000)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.adjtimex(ctypes.byref(Timex(modes=ADJ_TICK, tick=tick_us))) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "adjtimex")
