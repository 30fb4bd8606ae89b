"""A tiny world of domains that each hold a prefix of the root's log: histories with known verdicts.

One thing happens at a time: a client begins, its operation takes effect, or ends; a domain applies
an entry. Everything answers as it must, unless the world has a bug: then operations of one kind
answer wrongly at times, and ``bugs`` counts how often that could be seen. Times are in ns, a
millisecond between two events.
"""
from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from seatrial.checker import History
from seatrial.checker.domains import Guarantee, Guarantees

MS = 1_000_000
LAG_MS, SETTLE_MS, FENCE_MS = 40, 60, 20
KEYS = (b"x", b"y", b"z")
INITIAL = None

TREE = Guarantees([
    Guarantee("A", nodes=("a1", "a2", "a3")),
    Guarantee("B", "A", "async", max_lag_ns=LAG_MS * MS, settle_ns=SETTLE_MS * MS,
              fence_ns=FENCE_MS * MS, nodes=("b1",)),
    Guarantee("C", "A", "sync", max_lag_ns=LAG_MS * MS, settle_ns=SETTLE_MS * MS,
              fence_ns=FENCE_MS * MS, nodes=("c1", "c2")),
    Guarantee("D", "C", "sync", exclusion="block", max_lag_ns=LAG_MS * MS, max_lag_entries=1000,
              settle_ns=SETTLE_MS * MS, fence_ns=FENCE_MS * MS, nodes=("d1",)),
])
NAMES = [domain.name for domain in TREE.domains]
BUGS = {
    # bug -> the guarantees that may be found broken by it, the first of them where ``bugs`` says so
    "stale-read": ("visibility", "linearizable", "committed"),
    "old-value": ("prefix", "visibility", "linearizable", "lag", "session", "bounded"),
    "dirty-read": ("prefix", "committed", "lag", "bounded", "visibility", "session"),
    "never-written": ("prefix",),
    "slow": ("lag", "bounded"),
    "too-old": ("bounded",),
    "token-ignored": ("session",),
    "lost": ("lost",),
    "unfenced": ("fencing",),
    "unconfirmed": ("confirmation",),
    "same-rindex": ("coordinates", "prefix", "session", "lag", "bounded", "visibility"),
}


@dataclass
class Client:
    """A process, its operation, and the token of its session."""

    process: int
    sends_tokens: bool
    op: dict[str, Any] | None = None
    done: dict[str, Any] | None = None
    token: int | None = None


@dataclass
class World:
    """All of it. The log: (key, value) by rindex, from 1; None: an entry of no key."""

    seed: int
    bug: str = ""
    steps: int = 260
    clients: int = 5
    coordinates: bool = True
    faults: bool = True
    rows: list[dict[str, Any]] = field(default_factory=list)
    bugs: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(f"{self.bug}{self.seed}")
        self.log: list[tuple[bytes, Any] | None] = []
        self.committed_ms: list[int] = []
        self.applied = dict.fromkeys(NAMES, 0)
        self.now = 0
        self.cut: str | None = None
        self.cut_at = self.healed_at = -10_000
        self.value = 0
        self.shown = 0                  # the highest rindex that anybody was shown
        self.dirty: list[tuple[bytes, int]] = []

    # --- the world --------------------------------------------------------------------------------

    def run(self) -> History:
        """Let it live, and return what was seen."""
        crowd = [Client(i, self.rng.random() < 0.6) for i in range(self.clients)]
        fault = self.rng.randrange(80, 140) if self.faults else self.steps + 1
        heal = fault + self.rng.randrange(40, 90)
        for step in range(self.steps):
            self.now += 1
            if step == fault:
                self._strike()
            if step == heal:
                self._heal()
            self._apply()
            self._one(self.rng.choice(crowd), crowd)
        return History.from_rows(self.rows)

    def _row(self, **row: Any) -> None:
        self.rows.append({"time": self.now * MS, **row})

    def _strike(self) -> None:
        self.cut, self.cut_at = self.rng.choice(("B", "C")), self.now
        mine = [node for domain in TREE.domains if self._below(domain.name)
                for node in domain.nodes]
        others = [node for domain in TREE.domains for node in domain.nodes if node not in mine]
        self.grudge = dict.fromkeys(mine, others)
        for phase in ("requested", "effective"):
            self._nemesis({"id": "f", "phase": phase, "targets": mine, "grudge": self.grudge})

    def _below(self, name: str) -> bool:
        return any(one.name == self.cut for one in TREE.path(name))

    def _heal(self) -> None:
        self._nemesis({"action": "stop", "id": "f"})
        self.cut, self.healed_at = None, self.now
        self._nemesis({"id": "f", "phase": "ended"})
        self._nemesis({"id": "f", "phase": "recovered"})

    def _nemesis(self, value: dict[str, Any]) -> None:
        self._row(process=-1, type="info", f="domain-cut", value=value)

    def _apply(self) -> None:
        """Domains get on: at random, and no later than their bound asks for."""
        slack = LAG_MS - 10
        for name in NAMES:
            if self.cut is not None and self._below(name):
                continue
            if self.bug == "slow" and name == "B" and self.now > 60:
                continue
            to = len(self.log) if name == "A" else self.applied[name]
            while to < len(self.log) and (self.committed_ms[to] < self.now - slack
                                          or self.rng.random() < 0.2):
                to += 1
            self.applied[name] = to

    # --- clients ----------------------------------------------------------------------------------

    def _one(self, client: Client, crowd: list[Client]) -> None:
        if client.op is None:
            self._begin(client)
        elif client.done is None:
            self._take_effect(client)
        else:
            self._end(client, crowd)

    def _begin(self, client: Client) -> None:
        f = self.rng.choice(("write", "write", "read", "read", "read-bounded", "read-prefix",
                             "read-prefix", "cas"))
        changes = f in ("write", "cas")
        op: dict[str, Any] = {"f": f, "key": self.rng.choice(KEYS), "process": client.process,
                              "domain": 0 if changes else self.rng.randrange(len(NAMES))}
        if changes:
            self.value += 1
            op["value"] = self.value if f == "write" else [
                self._state(op["key"], len(self.log)), self.value]
        elif client.sends_tokens and client.token is not None:
            op["rindex"] = client.token
        self._row(type="invoke", **op)
        client.op = op | {"floor": self.shown}

    def _state(self, key: bytes, until: int) -> Any:
        return next((entry[1] for entry in reversed(self.log[:until])
                     if entry is not None and entry[0] == key), INITIAL)

    def _take_effect(self, client: Client) -> None:
        op = client.op
        assert op is not None
        if op["f"] in ("write", "cas"):
            client.done = self._change(op)
        elif op["f"] == "read":
            client.done = self._linearizable(op, NAMES[op["domain"]])
        else:
            client.done = self._weak(op, NAMES[op["domain"]])

    def _change(self, op: dict[str, Any]) -> dict[str, Any] | None:
        if op["f"] == "cas":
            seen = self._state(op["key"], len(self.log))
            if seen != op["value"][0]:
                return {"type": "fail", "value": [*op["value"], seen], "rindex": len(self.log),
                        "error": "mismatch"}
        new = op["value"] if op["f"] == "write" else op["value"][1]
        if self.cut is not None and self._below("D") and self.now < self.cut_at + 10:
            return None                             # C is about to be excluded, with D
        if self.bug == "dirty-read" and op["f"] == "write" and self.rng.random() < 0.4:
            self.dirty.append((op["key"], new))         # appended, shown, and never committed
            return {"type": "info", "error": "no answer"}
        if self.rng.random() < 0.2:
            self._append(None)
        self._append((op["key"], new))
        out = {name for name in NAMES if self.cut is not None and self._below(name)} | {"B"}
        confirmed = [name for name in NAMES if name not in out]
        rindex, wrong = len(self.log), False
        if self.bug == "unconfirmed" and "D" in confirmed and self.rng.random() < 0.3:
            confirmed.remove("D")
            wrong = True
        if self.bug == "same-rindex" and rindex > 1 and self.log[-2] is not None \
                and self.rng.random() < 0.3:
            rindex -= 1
        if self.rng.random() < 0.08:
            return {"type": "info", "error": "no answer"}
        return {"type": "ok", "value": op["value"], "rindex": rindex,
                "confirmed": " ".join(confirmed), "bug": wrong}

    def _append(self, entry: tuple[bytes, Any] | None) -> None:
        self.log.append(entry)
        self.committed_ms.append(self.now)
        self.applied["A"] = len(self.log)

    def _linearizable(self, op: dict[str, Any], name: str) -> dict[str, Any] | None:
        end, wrong = len(self.log), False
        if self.cut is not None and self._below(name) and self.bug != "unfenced":
            return {"type": "fail", "error": "fenced"}
        if self.bug == "stale-read" and name != "A" and self.rng.random() < 0.3 and (
                op.get("rindex") is None):
            end = max(0, end - self.rng.randrange(1, 6))
            wrong = end < op["floor"]
        return {"type": "ok", "value": self._state(op["key"], end), "rindex": end, "bug": wrong}

    def _weak(self, op: dict[str, Any], name: str) -> dict[str, Any] | None:
        to, wrong = self.applied[name], False
        token = op.get("rindex")
        if token is not None and token > to:
            if self.bug == "lost" and self.rng.random() < 0.5:
                return {"type": "fail", "error": "lost", "bug": True}
            if self.bug != "token-ignored":
                return None if self.rng.random() < 0.9 else {"type": "fail", "error": "too late"}
            wrong = True
        old_ms = self.now - self.committed_ms[to] if to < len(self.log) else 0
        if op["f"] == "read-bounded" and old_ms > LAG_MS - 8 and self.bug != "too-old":
            return {"type": "fail", "error": "too old"}
        value = self._state(op["key"], to)
        if self.bug == "old-value" and name == "B" and self.rng.random() < 0.3:
            value = self._state(op["key"], max(0, to - self.rng.randrange(1, 8)))
        mine = [new for key, new in self.dirty if key == op["key"]]
        if self.bug == "dirty-read" and name == "C" and mine:
            value = mine[-1]
        if self.bug == "never-written" and self.rng.random() < 0.1:
            value, wrong = 1_000_000 + self.now, True
        return {"type": "ok", "value": value, "rindex": to, "bug": wrong}

    def _end(self, client: Client, crowd: list[Client]) -> None:
        op, done = client.op, client.done
        assert op is not None
        assert done is not None
        self.bugs += bool(done.pop("bug", False))
        if not self.coordinates:
            done.pop("rindex", None)
        row = {"f": op["f"], "key": op["key"], "process": op["process"], "domain": op["domain"],
               "value": op.get("value")} | done
        self._row(**row)
        rindex = done.get("rindex")
        if rindex is not None:
            client.token = max(client.token or 0, rindex)
            self.shown = max(self.shown, rindex)
        client.op = client.done = None
        if done["type"] == "info":
            client.process += self.clients
            client.token = None
