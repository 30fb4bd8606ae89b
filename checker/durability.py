"""Durability: is any acknowledged write gone at the end, which, and how much was lost?

Registers and key-value stores: the *final reads* of a key are those that began when every write of
it that was acknowledged had ended, and every other had begun. A version was certainly there when
its writer, or somebody who saw it, had returned; whatever began later came after it. So what
was acknowledged and began after the version that a final read shows was certainly there is *lost*,
unless another final read shows something that may be newer. (Zones, as in zones.pyx; Golab, Li,
Shah, PODC 2011.) Where several wrote the value that is shown, all of them must be older.

Sets and append logs: an element is lost when the last read began after it was known and does not
show it (set_full.py).

What crashed and was seen is *found*: it happened after all. What was seen and nobody wrote, or a
write that failed, is made up. Lost and made up are violations.

How much is lost (the recovery point, RPO): the number of acknowledged writes, and the time from the
oldest lost acknowledgement to the newest: the loss happened later than that, so at least so much
was lost; and at most up to the first final read that shows it.
"""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .accesses import NOBODY, Accesses, accesses_of
from .counterexample import plain
from .folds import Done, operations
from .history import INFO, NONE, OK, History, Ints
from .operations import INF, show
from .result import CheckResult, Verdict
from .set_full import Fold

NAME = "durability"
MOST_SHOWN = 20
ELEMENTS = ("add", "append")


@dataclass(frozen=True, slots=True)
class Write:
    """An acknowledged write that is gone, or a read of what nobody wrote; ``by``: the rows of the
    read that shows it."""

    key: Any
    value: Any
    process: int
    invoked: int
    completed: int
    by: tuple[int, int] | None = None

    def evidence(self, history: History) -> dict[str, Any]:
        """Return it as JSON-able data."""
        return {"key": self.key, "value": self.value, "process": self.process,
                "invoked_row": self.invoked, "completed_row": self.completed,
                "time_ns": _time(history, self.completed),
                "read_rows": list(self.by) if self.by else None}


@dataclass(slots=True)
class Account:
    """What became of all writes."""

    acknowledged: int = 0
    lost: list[Write] = field(default_factory=list)
    made_up: list[Write] = field(default_factory=list)
    found: int = 0              # crashed, and seen
    never_seen: int = 0         # crashed, and not seen
    unknown: int = 0            # acknowledged, and nobody read the key at the end
    final_reads: int = 0

    def result(self, history: History, name: str) -> CheckResult:
        """Return it as a check's result."""
        kept = self.acknowledged - len(self.lost) - self.unknown
        evidence: dict[str, Any] = {
            "acknowledged": self.acknowledged, "lost": len(self.lost), "kept": kept,
            "found": self.found, "never_seen": self.never_seen, "unknown": self.unknown,
            "made_up": len(self.made_up), "final_reads": self.final_reads}
        told = (f"of {self.acknowledged:,} acknowledged writes {len(self.lost):,} are lost, "
                f"{self.unknown:,} unknown; {self.found:,} that crashed were found")
        self.lost.sort(key=lambda write: write.completed)
        evidence["examples"] = [write.evidence(history) for write in self.lost[:MOST_SHOWN]]
        evidence["made_up_reads"] = [write.evidence(history)
                                     for write in self.made_up[:MOST_SHOWN]]
        if self.lost:
            evidence["rpo"] = self._recovery_point(history)
        if not self.lost and not self.made_up:
            if not self.final_reads:
                return CheckResult(name, Verdict.NO_COVERAGE, "nobody read at the end: "
                                   "what became of the writes is unknown", evidence=evidence)
            return CheckResult(name, Verdict.PASS, told, evidence=evidence)
        lines = [_lost(history, write) for write in self.lost[:MOST_SHOWN]]
        if len(self.lost) > MOST_SHOWN:
            lines.append(f"and {len(self.lost) - MOST_SHOWN:,} more")
        lines += [f"made up: p{write.process} read {_of(write.key)}{show(write.value)} (rows "
                  f"{write.invoked}-{write.completed}), which nobody wrote, or a write that failed"
                  for write in self.made_up[:MOST_SHOWN]]
        if self.lost:
            lines += ["", _point(evidence["rpo"])]
        return CheckResult(name, Verdict.VIOLATION, f"{lines[0]}; {told}", "\n".join(lines),
                           evidence)

    def _recovery_point(self, history: History) -> dict[str, Any]:
        oldest, newest = (int(history.time[self.lost[i].completed]) for i in (0, -1))
        shown = min(int(history.time[write.by[0]]) for write in self.lost if write.by)
        timed = min(oldest, newest, shown) >= 0
        return {"operations": len(self.lost),
                "oldest_lost_ns": oldest if timed else None,
                "newest_lost_ns": newest if timed else None,
                "at_least_ns": newest - oldest if timed else None,
                "at_most_ns": max(shown, newest) - oldest if timed else None}


def check_durability(history: History, *, initial: Any = None, name: str = NAME) -> CheckResult:
    """Tell what became of each acknowledged write. initial: every key's first value.

    Operations: ``add`` or ``append`` and ``read`` of all elements; or those of registers and
    key-value stores (read, write, delete, cas).
    """
    rows = history.pairs[0]
    known = {history.fs[code] for code in np.unique(history.f[rows]).tolist()}
    account = _elements(history) if known & {*ELEMENTS} else _values(history, initial)
    return account.result(history, name)


def _values(history: History, initial: Any) -> Account:
    """Registers and key-value stores."""
    accesses = accesses_of(history, initial=initial)
    ops = accesses.operations
    inv, ret = ops.inv[accesses.op], ops.ret[accesses.op]
    acked, crashed = accesses.write & accesses.ends, accesses.write & ~accesses.ends
    first = _certain(accesses, ret, ops.token(initial))
    n = len(ops.keys)
    quiet = np.full(n, NONE, dtype=np.int64)            # when a key's writes had ended or begun
    np.maximum.at(quiet, accesses.key[acked], ret[acked])
    np.maximum.at(quiet, accesses.key[crashed], inv[crashed])
    last_read = ~accesses.write & (inv > quiet[accesses.key])
    newest = np.full(n, -2, dtype=np.int64)             # -2: no final read
    np.maximum.at(newest, accesses.key[last_read], first[last_read])
    shows = np.full(n, NONE, dtype=np.int64)            # the first final read to show that
    best = np.flatnonzero(last_read & (first == newest[accesses.key]))
    best = best[np.argsort(-inv[best])]
    shows[accesses.key[best]] = best
    there = newest[accesses.key] != -2
    lost = np.flatnonzero(acked & there & (inv > newest[accesses.key]))
    seen = np.zeros(len(accesses), dtype=bool)
    by = accesses.writer[~accesses.write]
    seen[by[by >= 0]] = True
    return Account(
        acknowledged=int(acked.sum()),
        lost=[_write(accesses, i, int(shows[accesses.key[i]])) for i in lost.tolist()],
        made_up=[_write(accesses, i) for i in np.flatnonzero(accesses.writer == NOBODY).tolist()],
        found=int((crashed & seen).sum()), never_seen=int((crashed & ~seen).sum()),
        unknown=int((acked & ~there).sum()), final_reads=int(last_read.sum()))


def _certain(accesses: Accesses, ret: Ints, initial: int) -> Ints:
    """By read: the position at which what it shows was certainly there; INF: never known."""
    order = np.lexsort((accesses.value, accesses.key))
    new = np.ones(len(order), dtype=bool)
    new[1:] = ((np.diff(accesses.key[order]) != 0)
               | (accesses.value[order][1:] != accesses.value[order][:-1]))
    version = np.empty(len(order), dtype=np.int64)
    version[order] = np.cumsum(new) - 1
    n = int(new.sum())
    writes = np.bincount(version[accesses.write], minlength=n)
    earliest = np.full(n, INF, dtype=np.int64)          # anybody's return
    np.minimum.at(earliest, version, ret)
    latest = np.full(n, NONE, dtype=np.int64)           # the last return of a writer
    np.maximum.at(latest, version[accesses.write], ret[accesses.write])
    at_first = np.zeros(n, dtype=bool)
    at_first[version[accesses.value == initial]] = True
    several = writes + at_first > 1
    found = np.where(several, latest, np.where(at_first, NONE, earliest))
    found[(writes == 0) & ~at_first] = INF              # made up: proves nothing lost
    return found[version]


def _write(accesses: Accesses, i: int, read: int = NONE) -> Write:
    ops, op = accesses.operations, int(accesses.op[i])
    by = None
    if read != NONE:
        by = int(ops.row[accesses.op[read]]), int(ops.done[accesses.op[read]])
    return Write(accesses.key_name(i), accesses.shown(i), int(ops.process[op]), int(ops.row[op]),
                 int(ops.done[op]), by)


def _elements(history: History) -> Account:
    """Sets and append logs: each key by itself. Several adds of an element are one write."""
    folds: dict[Any, Fold] = {}
    account = Account()
    for done in operations(history):
        if done.f in ELEMENTS:
            done = replace(done, f="add")
        folds.setdefault(done.key, Fold()).add(history, done)
    for key, fold in folds.items():
        _fold(account, key, fold)
        account.acknowledged += _acknowledged(fold, fold.elements)
        crashed = [element for element in fold.elements.values()
                   if element.add is not None and element.add.outcome == INFO]
        account.found += sum(element.seen is not None for element in crashed)
        account.never_seen += sum(element.seen is None for element in crashed)
    return account


def _fold(account: Account, key: Any, fold: Fold) -> None:
    if not fold.reads:
        account.unknown += _acknowledged(fold, fold.elements)
        return
    outcomes = fold.outcomes()
    account.final_reads += 1
    account.unknown += _acknowledged(fold, outcomes["never_read"])
    last = fold.reads[-1][0]
    for token in outcomes["lost"]:
        element = fold.elements[token]
        done = element.add
        if done is not None and done.outcome == OK:
            account.lost.append(_done(key, plain(fold.values.value(token)), done,
                                      (last.invoked, last.completed)))
    for token in outcomes["unexpected"]:
        seen = fold.elements[token].seen
        assert seen is not None
        account.made_up.append(_done(key, plain(fold.values.value(token)), seen, None))


def _acknowledged(fold: Fold, tokens: Iterable[int]) -> int:
    return sum((add := fold.elements[token].add) is not None and add.outcome == OK
               for token in tokens)


def _done(key: Any, value: Any, done: Done, by: tuple[int, int] | None) -> Write:
    return Write(key, value, done.process, done.invoked, done.completed, by)


def _time(history: History, row: int) -> int | None:
    at = int(history.time[row])
    return at if at >= 0 else None


def _of(key: Any) -> str:
    return "" if key is None else f"{show(key)} = "


def _lost(history: History, write: Write) -> str:
    at = _time(history, write.completed)
    when = "" if at is None else f", acknowledged at {at / 1e9:.3f} s"
    read = f"; rows {write.by[0]}-{write.by[1]} read an older state" if write.by else ""
    return (f"lost: p{write.process}'s write {_of(write.key)}{show(write.value)} (rows "
            f"{write.invoked}-{write.completed}{when}){read}")


def _point(rpo: dict[str, Any]) -> str:
    text = f"recovery point: {rpo['operations']:,} acknowledged writes lost"
    if rpo["at_least_ns"] is None:
        return text
    return (f"{text}, {rpo['at_least_ns'] / 1e9:.3f} s of them at least, "
            f"{rpo['at_most_ns'] / 1e9:.3f} s at most")
