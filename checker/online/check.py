"""An online check: batches of events go in, and the verdict up to now is there at any time.

Whatever it says of a prefix is what the offline check says of it: an operation that has not ended
may have happened or not. A violation stays one, whatever comes after.
"""
from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..counterexample import explain, plain
from ..errors import BadHistory, CheckerError
from ..history import FAIL, INVOKE, NEMESIS, NONE, OK, History, Ints
from ..models import MODELS, Family, Model, Role, model_for
from ..operations import IMPOSSIBLE, NIL, Operations, show, value_tokens
from ..result import CheckResult, Verdict
from ..shrinking import Budget
from .kept import Kept, operations_from
from .passing import PassingValues
from .registers import ANY_KEY, Registers

EXPLAIN_S = 5.0
MOST_EXPLAINED = 3


@dataclass(frozen=True, slots=True)
class Violation:
    """Where a key's history became one that no order explains: the event's row, and why."""

    key: Any
    row: int
    reason: str


class OnlineCheck:
    """The check of registers and key-value stores (models of one value).

    model: None: the narrowest that knows the operations up to now. stop: take nothing
    that comes after the first violation.
    """

    def __init__(self, model: Model | None = None, *, initial: Any = None, cas_fail: str = "drop",
                 stop: bool = False, time_limit_s: float = 60.0,
                 memory_limit_bytes: int = 1 << 30, name: str = "linearizable") -> None:
        self.model = model
        self.name = name
        self.stop = stop
        self.initial = initial
        self.violations: list[Violation] = []
        self.elapsed_s = 0.0
        self.answered = 0                   # operations that say something
        self._cas_fail = cas_fail
        self._memory = memory_limit_bytes
        self._names: list[Any] = []
        self._codes: dict[Any, int] = {}
        self._explained: list[tuple[dict[str, Any], str]] = []
        self._told = 0
        self._time_limit_s = time_limit_s
        self._widens = model is None
        if model is not None:
            self._begin(model)

    def _begin(self, model: Model) -> None:
        if model.family != Family.VALUE:
            raise CheckerError(f"no online monitor judges a {model.name}")
        self.model = model
        self._values = PassingValues(empty_is_nil=Role.APPEND in model.roles.values())
        self._engine = Registers(self._values.token(self.initial),
                                 observes=self._cas_fail == "observe")
        self._kept = Kept(self.initial, self._values, self._names,
                          time_limit_s=self._time_limit_s, memory=self._memory)

    @property
    def operations(self) -> int:
        """How many were invoked up to now."""
        return self._engine.operations if self.model else 0

    @property
    def events(self) -> int:
        """How many events were taken."""
        return self._engine.events if self.model else 0

    @property
    def stopped(self) -> bool:
        """Whether it wants no more events."""
        return self.stop and bool(self.violations)

    def summary(self) -> str:
        """Return the verdict up to now, in a few words."""
        if self.violations:
            first = self.violations[0]
            return f"not linearizable since row {first.row}: key {show(plain(first.key))}"
        return f"{self.operations:,} operations, no violation"

    def feed(self, history: History) -> list[Violation]:
        """Take a batch of events, which follow those before; returns the violations in them."""
        if self.stopped or not len(history):
            return []
        began = time.monotonic()
        before = len(self.violations)
        self._take(history)
        self._look()
        if self._values.are_many():
            self._values.forget_all_but(self._engine.values_alive() + self._kept.tokens()
                                        + [self._values.token(self.initial)])
        self.elapsed_s += time.monotonic() - began
        return self.violations[before:]

    def _take(self, history: History) -> None:
        client = history.process != NEMESIS
        opens = client & (history.type == INVOKE)
        if self.model is None:
            self._begin(model_for(frozenset(
                history.fs[code] for code in np.unique(history.f[opens]).tolist())))
        first = self.events
        roles = self._roles(history, opens)
        a, b = self._tokens(history, roles, opens)
        self._count_answers(history, roles, b, client)
        columns = (history.process.astype(np.int32), history.type.astype(np.int8),
                   roles.astype(np.int8), self._keys(history, client, opens), a, b)
        try:
            self._engine.feed(*map(np.ascontiguousarray, columns), stop=self.stop)
        except ValueError as error:
            row = self._engine.event - first
            raise self._bad(history, f"process {history.process[row]} {error}", row, first
                            ) from None

    def _count_answers(self, history: History, roles: Ints, b: Ints,
                       client: npt.NDArray[np.bool_]) -> None:
        observed = (history.type == FAIL) & (roles == Role.CAS)
        if self._cas_fail != "observe":
            observed &= b == 1
        self.answered += int((client & ((history.type == OK) | observed)).sum())

    def _roles(self, history: History, opens: npt.NDArray[np.bool_]) -> Ints:
        """The role of each event; operations that only a wider model knows make it that."""
        assert self.model is not None
        fs = {history.fs[code] for code in np.unique(history.f[opens]).tolist()}
        if self._widens and not fs <= self.model.roles.keys() and fs <= MODELS["kv"].roles.keys():
            self.model = MODELS["kv"]
        table = np.array([self.model.roles.get(f, NONE) for f in history.fs] + [NONE])
        roles = table[history.f]
        if (roles[opens] < 0).any():
            row = int(np.flatnonzero(opens & (roles < 0))[0])
            raise self._bad(history, f"the {self.model.name} model does not know "
                            f"{history.fs[history.f[row]]!r}; it knows "
                            f"{', '.join(sorted(self.model.roles))}", row, self.events)
        return roles

    def _tokens(self, history: History, roles: Ints, opens: npt.NDArray[np.bool_],
                ) -> tuple[Ints, Ints]:
        """What each event says: registers.pyx, ``feed``."""
        a = value_tokens(history, self._values)
        b = np.full(len(a), NIL, dtype=np.int64)
        deletes = [code for code, f in enumerate(history.fs) if f == "delete"]
        if deletes:
            a[opens & np.isin(history.f, deletes)] = NIL
        cas = roles == Role.CAS
        if not cas.any():
            return a, b
        token, rest = self._values.token, history.values[2]
        for row in np.flatnonzero(cas & opens).tolist():
            asked = rest.get(row)
            if not isinstance(asked, list) or len(asked) != 2:
                raise self._bad(history, f"cas has the value {show(history.value(row))}; expected "
                                "[old, new]", row, self.events)
            a[row], b[row] = token(asked[0]), token(asked[1])
        b[cas & ~opens] = 0
        for row in np.flatnonzero(cas & (history.type == FAIL)).tolist():
            answered = rest.get(row)
            if isinstance(answered, list) and len(answered) == 3:
                seen = token(answered[2])
                a[row], b[row] = IMPOSSIBLE if seen == token(answered[0]) else seen, 1
        return a, b

    def _keys(self, history: History, client: npt.NDArray[np.bool_],
              opens: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
        """The number of each event's key among all keys up to now; a completion may name none."""
        def code(name: Any) -> int:
            if name not in self._codes:
                self._codes[name] = len(self._names)
                self._names.append(name)
            return self._codes[name]

        named = opens | (client & (history.key != NONE))
        used = np.unique(history.key[named]).tolist()
        table = np.zeros(len(history.keys) + 1, dtype=np.int32)     # the last: no key
        for key in used:
            table[key] = code(None if key == NONE else history.keys[key])
        return np.where(named, table[history.key], ANY_KEY).astype(np.int32)

    def _look(self) -> None:
        """See what the monitor found, and judge keys that it handed on."""
        self._kept.add(self._engine.take_kept())
        for key, row, reason, rows in self._engine.found(self._told):
            self._told += 1
            self._violated(key, row, reason, operations_from(rows, self._names[key], self._values))
        due = self._kept.due()
        if due:
            self._judge_kept(due)

    def _judge_kept(self, keys: list[int]) -> None:
        pending = self._engine.pending()
        for key in keys:
            if self.stopped:
                return
            found = self._kept.judge(key, pending[pending["key"] == key],
                                     quiet=self._engine.quiet(key), events=self.events)
            if found is not None:
                example = found.evidence["counterexamples"][0]
                self.violations.append(Violation(
                    self._names[key], example["window"]["last_row"], example["reason"]))
                self._explained.append((example, found.text))

    def _violated(self, key: int, row: int, reason: str, operations: Operations) -> None:
        """Remember a violation that the monitor found, and explain the first ones."""
        name = self._names[key]
        if len(self._explained) < MOST_EXPLAINED:
            example = explain(operations, 0, operations.token(self.initial),
                              Budget.of(EXPLAIN_S, self._memory))
            if example.explained is not None and "could not confirm" not in example.reason:
                example.explained = None        # there were others, that are forgotten
                self._explained.append((example.evidence(), example.text()))
                reason = example.reason
            else:
                last = len(operations) - 1
                reason = f"p{operations.process[last]}'s {operations.describe(last)}: {reason}"
        self.violations.append(Violation(name, row, reason))

    def _bad(self, history: History, message: str, row: int, first: int) -> BadHistory:
        line = first + row + 1 if history.lines is None else history.lines[row]
        return BadHistory(message, where=history.where, line=line)

    def finish(self) -> CheckResult:
        """Judge what was kept with what is still in flight; return the result."""
        if self.model is None:
            self._begin(MODELS["register"])
        if not self.stopped:
            self._judge_kept(list(self._kept.keys))
        undecided = {key: kept.undecided for key, kept in self._kept.keys.items()
                     if kept.undecided}
        verdict = (Verdict.VIOLATION if self.violations
                   else Verdict.INCONCLUSIVE if undecided else Verdict.PASS)
        return CheckResult(self.name, verdict, self._summary(undecided),
                           text="\n\n".join(text for _, text in self._explained),
                           evidence=self._evidence(undecided))

    def _summary(self, undecided: dict[int, str]) -> str:
        if self.violations:
            first = self.violations[0]
            more = f"; {len(self.violations)} keys in all" if len(self.violations) > 1 else ""
            return f"not linearizable: key {show(plain(first.key))}: {first.reason}{more}"
        if undecided:
            key, reason = next(iter(undecided.items()))
            return (f"{len(undecided)} of {len(self._names)} keys undecided: key "
                    f"{show(plain(self._names[key]))} search {reason}")
        return (f"{self.operations} operations on {len(self._names)} keys linearizable (online)")

    def _evidence(self, undecided: dict[int, str]) -> dict[str, Any]:
        watched, kept, broken = self._engine.statuses()
        evidence: dict[str, Any] = {
            "keys": len(self._names),
            "operations": self.operations,
            "engines": {"online": {
                "elapsed_s": round(self.elapsed_s, 6), "events": self.events,
                "remembered": self._engine.remembered, "kept_operations": self._kept.operations,
                "keys": {"monitor": watched, "search": kept, "violation": broken}}},
        }
        if self.violations:
            evidence["violating_keys"] = [plain(v.key) for v in self.violations]
            evidence["first_violation"] = {"key": plain(self.violations[0].key),
                                           "row": self.violations[0].row,
                                           "reason": self.violations[0].reason}
            evidence["counterexamples"] = [example for example, _ in self._explained]
        if undecided:
            evidence["undecided"] = [{"key": plain(self._names[key]), "reason": reason}
                                     for key, reason in undecided.items()]
        return evidence
