"""Histories made up for tests: what a run of the register workload under faults looks like.

A tiny simulation: clients take turns on a few keys at a time, an operation's answer is
decided when it completes, a node that a fault strikes answers late, and the leader moves
when it is hit. What it yields is linearizable by construction.
"""
from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seatrial.checker.history import History, metadata
from seatrial.harness.history import HistoryWriter
from seatrial.harness.op import Op
from seatrial.harness.rng import Rng

NODES = ("n1", "n2", "n3", "n4", "n5")
MS, S = 1_000_000, 1_000_000_000
Row = dict[str, Any]


@dataclass(frozen=True)
class Strike:
    """One fault to put into the history. A time of None: that step didn't happen."""

    name: str
    targets: tuple[str, ...]
    start: float
    end: float | None
    grudge: dict[str, list[str]] | None = None
    effective: bool = True
    kind: str = "crash"
    gentle: bool = False


def cut(*sides: Sequence[str]) -> dict[str, list[str]]:
    """Return the grudge in which each side hears only itself."""
    everybody = [node for side in sides for node in side]
    return {node: [other for other in everybody if other not in side]
            for side in sides for node in side}


def strike_rows(strikes: Sequence[Strike]) -> Iterator[Row]:
    """Yield the nemesis's lane."""
    for number, strike in enumerate(strikes, 1):
        steps = [("requested", strike.start)]
        if strike.effective:
            steps.append(("effective", strike.start + 0.05))
        if strike.end is not None:
            steps += [("ended", strike.end), ("recovered", strike.end + 0.3)]
        for phase, at in steps:
            value = {"id": f"f{number}", "phase": phase, "targets": list(strike.targets),
                     "class": strike.kind}
            if strike.grudge:
                value["grudge"] = strike.grudge
            if strike.gentle:
                value["gentle"] = True
            yield {"type": "info", "process": -1, "f": strike.name, "time": int(at * S),
                   "value": value}


def leader_row(at: float, leader: str, term: int) -> Row:
    """Return an observation of the leader."""
    return {"type": "info", "process": -1, "f": "leader", "time": int(at * S),
            "value": {"leader": leader, "term": term}}


def members_row(at: float, *voters: str) -> Row:
    """Return an observation of who votes."""
    return {"type": "info", "process": -1, "f": "members", "time": int(at * S),
            "value": {"voters": list(voters), "learners": []}}


@dataclass
class Campaign:
    """What to make up."""

    seconds: float = 60.0
    clients: int = 10
    keys: int = 20
    period_ms: float = 20.0
    seed: int = 1
    strikes: tuple[Strike, ...] = ()
    leaders: tuple[tuple[float, str], ...] = ((0.0, "n1"),)
    final_reads: bool = True
    rng: Rng = field(init=False)

    def rows(self) -> list[Row]:
        """Return the events in order."""
        self.rng = Rng(self.seed)
        heads = [leader_row(at, leader, term) for term, (at, leader) in enumerate(self.leaders, 1)]
        lane = sorted([*heads, *strike_rows(self.strikes)], key=lambda row: int(row["time"]))
        return list(heapq.merge(lane, self._client_rows(), key=lambda row: int(row["_at"])
                                if "_at" in row else int(row["time"])))

    def history(self) -> History:
        """Return it as a History."""
        return History.from_rows(self.rows())

    def _client_rows(self) -> Iterator[Row]:
        """Yield the clients' events in the order they happened, decided one at a time."""
        state: dict[bytes, int | None] = {}
        written = 0
        events: list[tuple[int, int, int, Row]] = []   # time, tie-break, client, row
        process = list(range(self.clients))
        serial = 0
        end = int(self.seconds * S)
        for client in range(self.clients):
            heapq.heappush(events, (self.rng.below(int(self.period_ms * MS)), client, client, {}))
        while events:
            now, _, client, row = heapq.heappop(events)
            serial += 1
            if row:                                     # a completion, decided now
                self._decide(row, state)
                yield row | {"_at": now, "time": now}
                if row["type"] == "info":
                    process[client] += self.clients
                wait = int(self.period_ms * MS * self.rng.uniform(0.5, 1.5))
                heapq.heappush(events, (now + wait, serial + self.clients, client, {}))
            elif now < end:
                key = b"k%d" % (now * self.keys // end // 4 * 4 + self.rng.below(4))
                f = ("read", "write", "cas")[self.rng.below(3)]
                written += 1
                value = {"read": None, "write": written,
                         "cas": [state.get(key), written]}[f]
                invoke = {"type": "invoke", "process": process[client], "f": f, "key": key,
                          "value": value, "node": self.rng.below(5), "time": now, "_at": now}
                yield invoke
                heapq.heappush(events, (now + self._latency(now), serial + self.clients, client,
                                        dict(invoke)))
        if self.final_reads:
            yield from self._final_reads(state, end + S, process)

    def _final_reads(
        self, state: dict[bytes, int | None], start: int, process: list[int],
    ) -> Iterator[Row]:
        for i in range(self.keys):
            key = b"k%d" % i
            row = {"process": process[i % self.clients], "f": "read", "key": key, "node": 0}
            at = start + i * MS
            yield row | {"type": "invoke", "time": at, "_at": at}
            yield row | {"type": "ok", "value": state.get(key), "time": at + MS // 2,
                         "_at": at + MS // 2}

    def _latency(self, now: int) -> int:
        base = int(MS * (1.5 + 3 * self.rng.uniform(0, 1) ** 6 * 4))
        for strike in self.strikes:
            began = int(strike.start * S)
            if strike.effective and began <= now < began + S // 2:
                return base + began + S // 2 - now      # an election: everybody waits
        return base

    def _decide(self, row: Row, state: dict[bytes, int | None]) -> None:
        """Make an invocation its completion."""
        at = row["time"]
        term, leader = max((term, leader) for term, (since, leader) in enumerate(self.leaders, 1)
                           if since * S <= at or term == 1)
        row |= {"type": "ok", "node": NODES.index(leader), "term": term}
        key, draw = row["key"], self.rng.below(1000)
        if draw < 4:
            row |= {"type": "info", "error": "timeout", "term": None}
            if draw < 2 or row["f"] == "read":
                return
        if row["f"] == "read":
            row["value"] = state.get(key)
        elif row["f"] == "write":
            state[key] = row["value"]
        elif state.get(key) == row["value"][0]:
            state[key] = row["value"][1]
        elif row["type"] == "ok":
            seen = [*row["value"], state.get(key)]
            row |= {"type": "fail", "value": seen, "error": "cas-mismatch"}


def write_history(path: Path, rows: Iterable[Row], *, seed: int = 1) -> Path:
    """Write events as the stream a run leaves behind."""
    with HistoryWriter(path, metadata(seed, {"name": "register"})) as writer:
        for row in rows:
            writer.append(Op(
                row["f"], row.get("value"), row.get("key"), row["type"], row["process"],
                row["time"], row.get("error"), row.get("node", -1), term=row.get("term")))
    return path


def voyage() -> Campaign:
    """Return a campaign that meets everything the project's trial asks of its first run."""
    a, b = ["n1", "n2"], ["n3", "n4", "n5"]
    ring = {"n1": ["n3", "n4"], "n2": ["n4", "n5"], "n3": ["n5", "n1"], "n4": ["n1", "n2"],
            "n5": ["n2", "n3"]}
    leaders = ((0.0, "n1"), (5.3, "n3"), (15.3, "n4"), (35.3, "n5"), (45.3, "n2"))
    strikes = (
        Strike("kill", ("n1",), 5, 8),
        Strike("partition-halves", tuple(a), 10, 13, cut(a, b), kind="send/receive omission"),
        Strike("pause", ("n3",), 15, 18, kind="timing"),
        Strike("partition-one", ("n1",), 20, 23, cut(["n1"], ["n2", "n3", "n4", "n5"]),
               kind="send/receive omission"),
        Strike("kill", ("n1", "n2", "n3"), 25, 26),
        Strike("partition-majorities-ring", NODES, 28, 31, ring, kind="send/receive omission"),
        Strike("partition-leader", ("n4",), 35, 38, cut(["n4"], ["n1", "n2", "n3", "n5"]),
               kind="send/receive omission"),
        Strike("pause", ("n2",), 40, 42, kind="timing"),
        Strike("kill", ("n5",), 45, 48),
        Strike("partition-one-way", ("n1",), 50, 53, {"n1": ["n2", "n3", "n4", "n5"]},
               kind="receive omission"),
        Strike("pause", ("n4",), 54, 55, effective=False, kind="timing"),
        Strike("kill", ("n3",), 56, 58),
    )
    return Campaign(seconds=60, clients=12, keys=20, period_ms=40, strikes=strikes, leaders=leaders)


def stale_read() -> list[Row]:
    """Return a few events of one key in which a read gives a value that was overwritten."""
    script = [
        (3, "write", "invoke", 7, 10.000), (3, "write", "ok", 7, 10.002),
        (5, "write", "invoke", 9, 10.0035), (4, "read", "invoke", None, 10.004),
        (5, "write", "ok", 9, 10.0052), (4, "read", "ok", 9, 10.0061),
        (8, "cas", "invoke", [9, 11], 10.0064), (6, "write", "invoke", 12, 10.0066),
        (8, "cas", "info", [9, 11], 10.010), (7, "read", "invoke", None, 10.0105),
        (7, "read", "ok", 7, 10.012),
    ]
    return [{"process": process, "f": f, "type": type, "value": value, "key": b"k3", "node": 1,
             "time": int(at * S)} for process, f, type, value, at in script]


STALE_EVIDENCE: dict[str, Any] = {
    "counterexamples": [{
        "key": "k3", "reason": "p7's read -> 7 can't be placed: the value could only be 9 or 11",
        "operation": {"invoked_row": 9, "completed_row": 10}, "possible": [9, 11, 12],
        "explained_operations": 3, "counts_on_initial_value": False, "order_before": [0, 2, 3],
        "core": [{"invoked_row": row, "completed_row": done} for row, done in (
            (0, 1), (2, 4), (3, 5), (6, None), (7, None), (9, 10))],
    }],
}
