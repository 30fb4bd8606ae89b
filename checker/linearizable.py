"""The linearizability check: which engine judges, what their verdicts add up to.

A monitor (monitors.py) judges the keys that it is made for, the frontier search the others. A
run of moderate size is judged by all three, porcupine included. They share no code beyond the
reading of the history, so where they disagree one of them is wrong, and that is an error of its
own: it is reported beside the verdict, with the operations that reproduce it. An engine that runs
out of its time or memory decides nothing; a definite answer of another stands.
"""
from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import monitors, porcupine_engine
from .counterexample import explain, plain
from .element_operations import element_operations, user_operations
from .errors import BadHistory, CheckerError, EngineAbsent
from .history import History
from .models import Family, Model, Role, UserModel, model_for, model_named
from .operations import INF, OBJECTS, Operations, operations_of, show
from .porcupine_engine import Porcupine
from .result import CheckResult, Verdict
from .search import STATUSES, Search
from .shrinking import Budget

ENGINES = ("auto", "monitor", "search", "porcupine", "both")
MODERATE_OPERATIONS = 200_000       # what auto lets all engines judge: altogether,
MODERATE_ON_ONE_KEY = 20_000        # on one key (its time grows with the square of that),
MODERATE_TIME_S = 30.0              # and for how long,
CONFIRMING_TIME_S = 3.0             # or, where a monitor has judged every key, for how long
WORTH_THREADS = 50_000              # operations
FIRST_EFFORT = 200_000              # explorations on a key before the other keys get their turn
EXPLAIN_S = 5.0
MOST_EXPLAINED = 3                  # keys with a counterexample; further ones are named
MOST_LISTED = 20
UNDECIDED = {"time": "out of time", "memory": "out of memory", "effort": "out of time",
             "undecided": "is not made for this key"}
NOT_ASKED = "not asked"
OUT_OF_EFFORT = STATUSES.index("effort")

Ended = tuple[int, int, int, int, int]      # of a key, what Search.run says


@dataclass(slots=True)
class Judgement:
    """One engine's verdict on each key: ``ok``, ``violation``, or why it is undecided.

    guilty: by key, the operations that show a violation, where the engine knows them.
    """

    verdicts: list[str]
    elapsed_s: float
    details: dict[str, Any] = field(default_factory=dict)
    stopped: dict[int, tuple[int, int]] = field(default_factory=dict)  # index -> operation, event
    guilty: dict[int, list[int]] = field(default_factory=dict)

    def evidence(self) -> dict[str, Any]:
        """Return how much this engine proved."""
        counted = Counter(said for said in self.verdicts if said != NOT_ASKED)
        return {"elapsed_s": round(self.elapsed_s, 6), "keys": dict(counted),
                **self.details}


def check_linearizable(
    history: History | Operations, model: Model | UserModel | str | None = None, *,
    engine: str = "auto", time_limit_s: float = 60.0, memory_limit_bytes: int = 1 << 30,
    initial: Any = None, cas_fail: str = "drop", porcupine: Porcupine | None = None,
    jobs: int | None = None, name: str = "linearizable",
) -> CheckResult:
    """Judge whether each key's operations have an order that explains every answer.

    model: a model, its name, or a user's own; None: the narrowest that knows the history's
    operations.
    engine: ``monitor``, ``search``, ``porcupine``, or ``both`` the last two; ``auto`` is a monitor
    and the search for what that leaves, and all three for runs of moderate size.
    initial: every key's value at the start. porcupine: a worker to use again. jobs: threads, which
    share the keys; None: one for each core where there is enough to do.
    """
    if engine not in ENGINES:
        raise CheckerError(f"unknown engine {engine!r}; expected one of {', '.join(ENGINES)}")
    operations = (history if isinstance(history, Operations)
                  else put_together(history, model, cas_fail))
    if initial is not None:
        _refuse_initial(operations, initial)
    check = _Check(operations, operations.token(initial), engine, time_limit_s,
                   memory_limit_bytes, porcupine, jobs)
    check.run()
    return check.result(name)


def put_together(
    history: History, model: Model | UserModel | str | None, cas_fail: str = "drop",
) -> Operations:
    """Match invocations with their answers, as the model has it: what all engines begin with."""
    if model is None:
        rows = history.pairs[0]
        fs = frozenset(history.fs[code] for code in np.unique(history.f[rows]))
        try:
            model = model_for(fs)
        except CheckerError as error:
            raise BadHistory(str(error), where=history.where) from error
    elif isinstance(model, str):
        model = model_named(model)
    if not isinstance(model, Model):
        return user_operations(history, model)
    if model.family != Family.VALUE:
        return element_operations(history, model)
    return operations_of(history, model, cas_fail=cas_fail)


def _refuse_initial(operations: Operations, initial: Any) -> None:
    """A value at the start is one of models that have a value."""
    if operations.family == Family.USER:
        raise CheckerError(f"the initial value {show(initial)}: a model of your own has its own, "
                           "`initial`")
    if operations.family not in (Family.VALUE, Family.COUNTER):
        raise CheckerError(f"the initial value {show(initial)}: expected none; at the start a "
                           f"{operations.family.name.lower().replace('_', '-')} is empty, or free")
    if operations.family == Family.COUNTER and not (
            type(initial) is int and -OBJECTS < initial < OBJECTS):
        raise CheckerError(f"the initial value {show(initial)}: expected an integer of less than "
                           "63 bits, as the model is a counter")


class _Check:
    """One check while it runs."""

    def __init__(self, operations: Operations, initial: int, engine: str, time_limit_s: float,
                 memory: int, porcupine: Porcupine | None, jobs: int | None) -> None:
        self.operations = operations
        self.initial = initial
        self.time_limit_s = time_limit_s
        self.memory = memory
        self.began = time.monotonic()
        sizes = np.bincount(operations.key, minlength=len(operations.keys))
        self.keys: list[int] = np.flatnonzero(sizes).tolist()
        self.skipped = ""                   # why porcupine does not judge
        self.sizes = sizes
        self.moderate = (len(operations) <= MODERATE_OPERATIONS
                         and sizes.max(initial=0) <= MODERATE_ON_ONE_KEY)
        self.uses_monitor = engine == "monitor" or (
            engine == "auto" and monitors.exists_for(operations))
        self.uses_search = engine not in ("porcupine", "monitor")
        self.uses_porcupine = engine in ("auto", "porcupine", "both")
        self.may_do_without = engine == "auto"
        if not self.uses_porcupine:
            self.skipped = "not asked for"
        elif not porcupine_engine.available():
            if engine != "auto":
                raise EngineAbsent(porcupine_engine.ABSENT)
            self.uses_porcupine, self.skipped = False, "absent: built without Go"
        elif operations.family == Family.USER:
            if engine != "auto":
                raise CheckerError("porcupine does not know models that users write")
            self.uses_porcupine, self.skipped = False, "does not know models that users write"
        elif engine == "auto" and not self.moderate:
            self.uses_porcupine, self.skipped = False, "the run is larger than moderate"
        self.porcupine_limit_s = (min(time_limit_s, MODERATE_TIME_S) if engine == "auto"
                                  else time_limit_s)
        self.lent = porcupine
        if jobs is None:
            jobs = len(os.sched_getaffinity(0)) if len(operations) > WORTH_THREADS else 1
        self.jobs = 1 if operations.family == Family.USER else min(jobs, max(len(self.keys), 1))
        self.judgements: dict[str, Judgement] = {}
        self.decided: set[int] = set()      # keys that the monitor has judged: others confirm it

    def run(self) -> None:
        """Let the engines judge, search and porcupine at the same time."""
        if self.uses_monitor:
            self.judgements["monitor"] = self._monitor()
        if self.uses_porcupine:
            try:
                self._both()
            except EngineAbsent as error:
                if not self.uses_search or not self.may_do_without:
                    raise
                self.skipped = str(error)
        if self.uses_search and "search" not in self.judgements:
            self.judgements["search"] = self._search()

    def _both(self) -> None:
        worker = self.lent or Porcupine(memory_limit_bytes=self.memory)
        limit_s = self.porcupine_limit_s
        if self.decided.issuperset(self.keys):
            limit_s = min(limit_s, CONFIRMING_TIME_S)
        try:
            worker.start(self.operations, self.keys, self.initial, limit_s)
            if self.uses_search:
                self.judgements["search"] = self._search()
            judged = worker.finish()
        finally:
            if worker is not self.lent:
                worker.close()
        self.judgements["porcupine"] = Judgement(judged.verdicts, judged.elapsed_s,
                                                 {"version": judged.version,
                                                  "check_s": round(judged.check_s, 6)})

    def _monitor(self) -> Judgement:
        began = time.monotonic()
        if not monitors.exists_for(self.operations):
            raise CheckerError(f"no monitor judges {self.operations.family.name.lower()}")
        found = monitors.judge(self.operations, self.keys, self.initial, jobs=self.jobs)
        self.decided = {key for key, said in zip(self.keys, found.verdicts, strict=True)
                        if said != "undecided"}
        return Judgement(found.verdicts, time.monotonic() - began, guilty=found.guilty)

    def _search(self) -> Judgement:
        """Where all engines judge, or no monitor does, all keys; else those that it left."""
        watched = self.judgements.get("monitor")
        if watched is None or self.moderate:
            return self._searched(self.keys)
        left = [i for i, said in enumerate(watched.verdicts) if said == "undecided"]
        part = self._searched([self.keys[i] for i in left])
        verdicts = [NOT_ASKED] * len(self.keys)
        for i, said in zip(left, part.verdicts, strict=True):
            verdicts[i] = said
        stopped = {left[i]: where for i, where in part.stopped.items()}
        return Judgement(verdicts, part.elapsed_s, part.details, stopped)

    def _searched(self, keys: list[int]) -> Judgement:
        """Share the keys among the threads, and put together what they found."""
        began = time.monotonic()
        if not keys:
            return Judgement([], 0.0, {"explored": 0, "most_configurations": 0})
        deadline = time.monotonic_ns() + int(self.time_limit_s * 1e9)
        jobs = min(self.jobs, len(keys))
        if jobs == 1:
            ended = self._searched_by_one(self.operations, keys, deadline)
        else:
            ended = self._searched_by_many(keys, jobs, deadline)
        stopped = {i: (operation, event)
                   for i, (status, operation, event, _, _) in enumerate(ended) if status}
        return Judgement([STATUSES[key[0]] for key in ended], time.monotonic() - began, {
            "explored": sum([key[3] for key in ended]),
            "most_configurations": max([key[4] for key in ended]),
        }, stopped)

    def _searched_by_many(self, keys: list[int], jobs: int, deadline: int) -> list[Ended]:
        """The largest keys first, each to the thread that has least to do."""
        loads, turns = [0] * jobs, np.zeros(len(keys), dtype=np.int64)
        for i in sorted(range(len(keys)), key=lambda i: -self.sizes[keys[i]]):
            turns[i] = loads.index(min(loads))
            loads[turns[i]] += self.sizes[keys[i]]
        found: list[list[Ended] | BaseException | None] = [None] * jobs

        def work(turn: int) -> None:
            try:
                mine = [keys[i] for i in np.flatnonzero(turns == turn).tolist()]
                rows = np.flatnonzero(np.isin(self.operations.key, mine))
                part = self._searched_by_one(self.operations.select(rows), mine, deadline)
                found[turn] = [(status, int(rows[operation]), event, explored, peak)
                               for status, operation, event, explored, peak in part]
            except BaseException as error:
                found[turn] = error

        threads = [threading.Thread(target=work, args=(turn,), daemon=True)
                   for turn in range(jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        whole = list[Ended]([(0, 0, 0, 0, 0)] * len(keys))
        for turn, part in enumerate(found):
            if not isinstance(part, list):
                raise part or RuntimeError("a thread of the search found nothing")
            for i, ended in zip(np.flatnonzero(turns == turn).tolist(), part, strict=True):
                whole[i] = ended
        return whole

    def _searched_by_one(
        self, operations: Operations, keys: list[int], deadline: int,
    ) -> list[Ended]:
        """All keys with a bounded effort, then the hard ones with the time that is left."""
        search = Search(operations)
        memory = self.memory // self.jobs
        ended = search.run(keys, self.initial, deadline_ns=deadline, memory=memory,
                           effort=FIRST_EFFORT)
        hard = [i for i, (status, *_) in enumerate(ended)
                if status == OUT_OF_EFFORT and keys[i] not in self.decided]
        for done, i in enumerate(hard):
            now = time.monotonic_ns()
            share = now + (deadline - now) // (len(hard) - done)
            ended[i], = search.run([keys[i]], self.initial, deadline_ns=share, memory=memory,
                                   effort=1 << 62)
        return ended

    def result(self, name: str) -> CheckResult:
        """Add the engines' verdicts up."""
        by_key = list(zip(*(j.verdicts for j in self.judgements.values()), strict=True))
        bad = [key for key, said in zip(self.keys, by_key, strict=True) if "violation" in said]
        disputed = [key for key, said in zip(self.keys, by_key, strict=True)
                    if {"violation", "ok"} <= set(said)]
        open_ = [i for i, said in enumerate(by_key) if not {"violation", "ok"} & set(said)]
        found = [explain(self.operations, key, self.initial, Budget.of(EXPLAIN_S, self.memory),
                         self._guilty(key)) for key in bad[:MOST_EXPLAINED]]
        undecided = [self._undecided(i) for i in open_]
        evidence: dict[str, Any] = {
            "keys": len(self.keys),
            "operations": len(self.operations),
            "crashed_operations": int((self.operations.ret == INF).sum()),
            "engines": {engine: j.evidence() for engine, j in self.judgements.items()},
        }
        if self.skipped:
            evidence["engines"]["porcupine"] = {"skipped": self.skipped}
        if bad:
            evidence["violating_keys"] = [plain(self.operations.keys[key]) for key in bad]
            evidence["counterexamples"] = [example.evidence() for example in found]
        if undecided:
            evidence["undecided"] = undecided
        verdict = Verdict.VIOLATION if bad else Verdict.INCONCLUSIVE if open_ else Verdict.PASS
        also = [self._disagreement(disputed, by_key)] if disputed else []
        return CheckResult(
            name, verdict, self._summary(bad, undecided, [example.reason for example in found]),
            text="\n\n".join(example.text() for example in found), evidence=evidence, also=also)

    def _summary(self, bad: Sequence[int], undecided: Sequence[dict[str, Any]],
                 reasons: Sequence[str]) -> str:
        size = f"{len(self.operations)} operations on {len(self.keys)} keys"
        if bad:
            key = show(plain(self.operations.keys[bad[0]]))
            more = f"; {len(bad)} keys in all" if len(bad) > 1 else ""
            return f"not linearizable: key {key}: {reasons[0]}{more}"
        if undecided:
            first = undecided[0]
            return (f"{len(undecided)} of {len(self.keys)} keys undecided: key {show(first['key'])}"
                    f" {first['reason']}")
        engines = " and ".join(engine for engine, j in self.judgements.items()
                               if "ok" in j.verdicts)
        return f"{size} linearizable ({engines})"

    def _guilty(self, key: int) -> list[int] | None:
        """What the monitor knows of a key, unless the search can explain it from its beginning:
        it saw the violation itself, or was not asked and the key is a small one of values."""
        watched, searched = self.judgements.get("monitor"), self.judgements.get("search")
        said = searched.verdicts[self.keys.index(key)] if searched is not None else NOT_ASKED
        small = (self.operations.family == Family.VALUE
                 and self.sizes[key] <= MODERATE_ON_ONE_KEY)
        if watched is None or said == "violation" or (said == NOT_ASKED and small):
            return None
        return watched.guilty.get(key)

    def _undecided(self, i: int) -> dict[str, Any]:
        """Name the key, why, the segment that was being judged, and what was pending there."""
        key = self.keys[i]
        why = {engine: UNDECIDED[j.verdicts[i]] for engine, j in self.judgements.items()
               if engine != "monitor" or len(self.judgements) == 1}
        gave_up = ", ".join(f"{engine} {reason}" for engine, reason in why.items())
        answer: dict[str, Any] = {"key": plain(self.operations.keys[key]), "reason": gave_up}
        stopped = self.judgements["search"].stopped.get(i) if self.uses_search else None
        if stopped is None:
            return answer
        ops = self.operations.select(self.operations.key == key)
        at = self._position(key, stopped)
        flying = np.flatnonzero((ops.inv <= at) & (ops.ret >= at))
        crashed = int((ops.ret[flying] == INF).sum())
        rows = [int(ops.row[flying].min(initial=at)), int(at)]
        answer |= {
            "segment": {"first_row": rows[0], "last_row": rows[1]},
            "in_flight": len(flying), "crashed": crashed,
            "pending": [f"p{ops.process[j]} {ops.describe(j)} (row {ops.row[j]})"
                        for j in flying[:MOST_LISTED].tolist()],
        }
        answer["reason"] += (f" at rows {rows[0]}-{rows[1]}, with {len(flying)} operations in "
                             f"flight ({crashed} crashed)")
        return answer

    def _position(self, key: int, stopped: tuple[int, int]) -> int:
        """Position in the history of a key's event (they are numbered key by key)."""
        mine = self.operations.key == key
        positions = np.concatenate([self.operations.inv[mine], self.operations.ret[mine]])
        return int(np.sort(positions)[stopped[1]])

    def _disagreement(self, disputed: Sequence[int],
                      by_key: Sequence[tuple[str, ...]]) -> CheckResult:
        cases = []
        for key in disputed[:MOST_EXPLAINED]:
            ops = self.operations.select(self.operations.key == key)
            said = dict(zip(self.judgements, by_key[self.keys.index(key)], strict=True))
            cases.append({
                "key": plain(self.operations.keys[key]), "verdicts": said,
                "initial": plain(self.operations.values.value(self.initial)),
                "operations": [_as_json(ops, i) for i in range(len(ops))],
            })
        return CheckResult(
            "engines-disagree", Verdict.HARNESS_FAILURE,
            f"the engines disagree on {len(disputed)} keys, first {show(cases[0]['key'])}: "
            + ", ".join(f"{engine} says {verdict}" for engine, verdict in said.items())
            + " (one of them is wrong: please report it)",
            evidence={"cases": cases})


def _as_json(ops: Operations, i: int) -> dict[str, Any]:
    return {
        "process": int(ops.process[i]), "role": Role(int(ops.kind[i])).name.lower(),
        "a": plain(ops.values.value(int(ops.a[i]))), "b": plain(ops.values.value(int(ops.b[i]))),
        "invoked": int(ops.inv[i]), "returned": int(ops.ret[i]) if ops.ret[i] != INF else None,
    }
