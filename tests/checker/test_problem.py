"""How a key is made ready for the search: the corners that only a second key comes into."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from seatrial.checker import History, Verdict, check_linearizable

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import time
import numpy as np
from exhaustive import Call
from seatrial.checker.models import Family, Role
from seatrial.checker.operations import NIL, from_intervals
from seatrial.checker.search import STATUSES, Search

first = int(sys.argv[2])            # operations of the first key, all of which end
def key(name, whole):
    calls = [Call(0, Role.ADD, i, None, 2 * i, 2 * i + 1, name) for i in range(whole)]
    return calls
second = key("b", 2 * first) + [Call(1, Role.TAKE, 0, None, 9000, None, "b")]
operations = from_intervals([call.row() for call in key("a", first) + second], Family.FIFO)
for _ in range(50):                 # the heap notices what was written beyond its block
    found = Search(operations).run([0, 1], NIL, memory=1 << 28, effort=1 << 62,
                                   deadline_ns=time.monotonic_ns() + 10**10)
    assert [STATUSES[status] for status, *_ in found] == ["ok", "ok"]
"""


@pytest.mark.parametrize("first", [1, 2, 3, 4, 6, 8])
def test_a_crashed_operation_that_always_matters_does_so_up_to_the_last_event(first: int) -> None:
    """It mattered one event longer, and was counted beyond the array: of a key with one event more
    than twice those of the key before, whose array it used again."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(Path(__file__).parent), str(first)], check=False,
        text=True, capture_output=True, timeout=60,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "MALLOC_CHECK_": "3",
                          "GLIBC_TUNABLES": "glibc.malloc.check=3:glibc.malloc.tcache_count=0"})
    assert done.returncode == 0, done.stderr


STEPS = (("put", "abcdef"), ("append", "gh"), ("put", "abx"), ("append", "yz"), ("put", ""),
         ("append", "abcdef"), ("append", "gh"), ("put", "abcdefgx"), ("put", "ab"),
         ("append", "x"))


@pytest.mark.parametrize("wrong", range(-1, len(STEPS)))
def test_values_that_begin_alike_are_told_apart(wrong: int) -> None:
    """Longer, shorter and other ones than the value before; each read in turn is not what was
    there, but what was there once."""
    rows, value, past = list[dict[str, Any]](), "", ["abcdefghi"]
    for number, (f, argument) in enumerate(STEPS):
        value = argument if f == "put" else value + argument
        seen = past[-1] if number == wrong else value
        past.append(value)
        for name, asked, answer in ((f, argument, argument), ("get", None, seen)):
            rows += [{"process": 0, "key": b"k", "f": name, "type": "invoke", "value": asked},
                     {"process": 0, "key": b"k", "f": name, "type": "ok", "value": answer}]
    found = check_linearizable(History.from_rows(rows), "kv", engine="search", initial="")
    assert found.verdict == (Verdict.PASS if wrong < 0 else Verdict.VIOLATION)
