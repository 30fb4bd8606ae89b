"""The counter and lock workloads: what their judges let pass, and what they don't."""
from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from seatrial.checker.history import History, metadata
from seatrial.harness.history import HistoryWriter
from seatrial.harness.launch import SIM, Request, plan
from seatrial.harness.op import FAIL, INFO, INVOKE, OK, Op
from seatrial.harness.sim.answer import answer
from seatrial.harness.sim.simulation import Simulation
from seatrial.workloads.counter import check_counters
from seatrial.workloads.keyvalue import Answer, DidNotHappen
from seatrial.workloads.lock import LockClient, check_tokens

Event = tuple[int, str, str, Any]       # process, type, f, value


def history(folder: Path, *events: Event) -> History:
    path = folder / "history.arrow"
    writer = HistoryWriter(path, metadata(1))
    for time, (process, kind, f, value) in enumerate(events):
        writer.append(Op(f, value, b"k", kind, process, time))
    writer.close()
    return History.read(path)


def did(process: int, f: str, asked: Any, answered: Any, kind: str = OK) -> tuple[Event, Event]:
    return (process, INVOKE, f, asked), (process, kind, f, answered)


def added(process: int, delta: int, value: int) -> tuple[Event, Event]:
    return did(process, "add", delta, [delta, value])


def test_sums_that_some_order_explains_pass(tmp_path: Path) -> None:
    a, b, c = added(1, 2, 5), added(2, 3, 3), did(3, "add", 5, 5, INFO)
    found = check_counters(history(
        tmp_path, a[0], b[0], c[0], b[1], a[1], *did(4, "read", None, 10), *added(1, 1, 11)))
    assert found.verdict.label == "pass", found.text


@pytest.mark.parametrize(("events", "why"), [
    ((*added(1, 1, 1), *added(2, 1, 1)), "overlap"),
    ((*added(1, 2, 2), *added(2, 3, 3)), "overlap"),
    ((*added(1, 2, 2), *did(2, "read", None, 1)), "answered 1, expected 2 to 2"),
    ((*did(1, "add", 2, 2, INFO), *did(2, "read", None, 2), *did(2, "read", None, 0)),
     "answered 0, expected 2 to 2"),
    ((*did(1, "add", 2, 2, FAIL), *did(2, "read", None, 2)), "answered 2, expected 0 to 0"),
    ((*added(1, 1, 2),), "answered 2, expected 1 to 1"),
])
def test_sums_that_no_order_explains_are_told(
    tmp_path: Path, events: tuple[Event, ...], why: str
) -> None:
    found = check_counters(history(tmp_path, *events))
    assert found.verdict.label == "violation"
    assert why in found.text


def test_tokens_that_only_grow_pass(tmp_path: Path) -> None:
    late = did(3, "write", None, 5)
    found = check_tokens(history(
        tmp_path, *did(1, "acquire", None, 5), *did(1, "acquire", None, 5),
        late[0], *did(2, "acquire", None, 9), *did(1, "write", None, 5), late[1],
        *did(2, "write", None, 9), *did(1, "write", None, 5, FAIL)))
    assert found.verdict.label == "pass", found.text


@pytest.mark.parametrize(("events", "why"), [
    ((*did(1, "acquire", None, 5), *did(2, "acquire", None, 5)), "given to process 1 and to 2"),
    ((*did(1, "acquire", None, 5), *did(2, "acquire", None, 4)), "token 4, after one under 5"),
    ((*did(1, "write", None, 5), *did(2, "write", None, 4)), "token 4, after one under 5"),
])
def test_tokens_that_repeat_or_go_back_are_told(
    tmp_path: Path, events: tuple[Event, ...], why: str
) -> None:
    found = check_tokens(history(tmp_path, *events))
    assert found.verdict.label == "violation"
    assert why in found.text


def test_a_client_writes_under_the_token_that_it_got_last_whatever_became_of_the_lock() -> None:
    class Locks:
        held = 0

        async def acquire(self, lock: bytes, holder: bytes, ttl_s: float) -> Answer:
            if self.held:
                raise DidNotHappen("held")
            self.held = 7
            return Answer(b"7")

        async def release(self, lock: bytes, token: int) -> Answer:
            self.held = 0
            return Answer()

        async def write_if_token(self, key: bytes, value: bytes, token: int) -> Answer:
            assert (key, value) == (b"under l", b"%d" % token)
            return Answer()

    async def play() -> list[tuple[str, Any]]:
        connection: Any = Locks()
        client = LockClient(1.0, 3, connection)
        test: Any = SimpleNamespace()
        said = []
        for f in ("write", "acquire", "acquire", "release", "write"):
            done = await client.invoke(test, Op(f, key=b"l"))
            said.append((done.type, done.value))
        return said

    assert asyncio.run(play()) == [(FAIL, None), (OK, 7), (FAIL, 7), (OK, 7), (OK, 7)]


@pytest.mark.parametrize("workload", ["counter", "lock"])
def test_in_simulation_under_faults_they_pass(workload: str, tmp_path: Path) -> None:
    file = tmp_path / "t.yml"
    file.write_text(f"""
name: {workload}
system: {{name: node, options: {{heartbeat_ms: 50, election_ms: 300}}}}
workload: {{name: {workload}}}
clients: 10
rate: 150
op_timeout: 1
time_limit: 10
faults: {{names: [kill, pause, partition-halves, partition-leader], duration: 1, gap: 0.5}}
coverage: {{final_reads: false, min_ok: 200}}
""")
    for seed in range(1, 6):
        asked = Request(file, tmp_path / "store", world=SIM).seeded(seed)
        ended = answer(Simulation(plan(asked)).run())
        assert ended.verdict in ("pass", "no-coverage"), ended
