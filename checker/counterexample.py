"""Why a key is not linearizable, in as few operations as possible.

1. The search says at which return the contradiction is certain; later events are cut off, and
   what was then in flight counts as pending.
2. The window: the latest point from which the rest can't be explained *whatever* value was
   there. Older operations are dropped.
3. The core: operations are taken out as long as what remains can't be explained. Only those
   whose removal proves something are tried: answers that say what they saw, and changes that no
   remaining answer shows (leaving either out of an explainable history keeps it explainable).
   So a core that can't be explained proves that the whole can't.

What is reported of the core is the operation that can't be placed, what it answered, which
values were possible at that moment, and one order that explains everything before it.
"""
from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .history import Ints
from .models import Role
from .operations import (
    APPENDS_TEXT,
    BYTES,
    IMPOSSIBLE,
    INF,
    NIL,
    OBJECTS,
    PLAIN,
    Operations,
    show,
)
from .search import Search
from .timeline import draw

OBSERVATIONS = (Role.READ, Role.NOT)
LEAST_WINDOW = 16           # operations in the first window that is tried
MOST_ORDER_STEPS = 20_000
MOST_SHOWN = 8              # values or operations in a sentence


@dataclass(slots=True)
class Counterexample:
    """A key's contradiction; ``core`` are operations, ``culprit`` the position of one of them."""

    key: Any
    core: Operations
    culprit: int
    possible: list[Any]                     # values at that moment; empty when not known
    explained: int                          # operations of the key that ended before that moment
    from_start: bool                        # the core counts on the initial value
    initial: Any
    reason: str
    source: str                             # who wrote what the culprit saw, where not in the core
    order: list[int] | None = field(default=None)       # positions that explain all before

    def evidence(self) -> dict[str, Any]:
        """Return it as JSON-able data."""
        return {
            "key": plain(self.key),
            "reason": self.reason,
            "operation": self._operation(self.culprit),
            "possible": [plain(value) for value in self.possible],
            "explained_operations": self.explained,
            "counts_on_initial_value": self.from_start,
            "window": {"first_row": int(self.core.row.min()),
                       "last_row": int(self.core.done[self.culprit])},
            "core": [self._operation(i) for i in range(len(self.core))],
            "order_before": None if self.order is None else [
                int(self.core.row[i]) for i in self.order],
        }

    def _operation(self, i: int) -> dict[str, Any]:
        core = self.core
        return {
            "process": int(core.process[i]),
            "operation": core.describe(i),
            "role": Role(int(core.kind[i])).name.lower(),
            "invoked_row": int(core.row[i]),
            "completed_row": int(core.done[i]) if core.ret[i] != INF else None,
        }

    def text(self) -> str:
        """Return it for a person, drawn."""
        where = f"row {self.core.done[self.culprit]}"
        lines = [f"key {show(plain(self.key))}: {self.reason}", ""]
        few = "operations that no order explains"
        if not self.from_start:
            few += ", whatever value was there before"
        lines += [f"The smallest set of {few}:", ""]
        lines += ["  " + line for line in
                  draw(self.core, {self.culprit: "can't be placed"}).splitlines()]
        lines.append("")
        if self.from_start:
            lines.append(f"The value at the start is {show(self.initial)}.")
        if self.source:
            lines.append(self.source)
        lines.append(f"Everything on this key that ended before {where} ({self.explained} "
                     "operations) can be explained" + self._in_order())
        return "\n".join(lines)

    def _in_order(self) -> str:
        if not self.order:
            return "."
        said = [f"p{self.core.process[i]} {self.core.describe(i)}" for i in self.order]
        shown = said if len(said) <= MOST_SHOWN else ["...", *said[-MOST_SHOWN:]]
        return "; those drawn in the order: " + ", then ".join(shown) + "."


@dataclass(slots=True)
class Budget:
    """Limits on explaining: a short time altogether, a bounded search for each attempt."""

    deadline_ns: int
    memory: int
    effort: int = 200_000

    @classmethod
    def of(cls, seconds: float, memory: int) -> Budget:
        """Return a budget that ends some seconds from now."""
        return cls(time.monotonic_ns() + int(seconds * 1e9), memory)

    def left(self) -> bool:
        """Return whether there is time left."""
        return time.monotonic_ns() < self.deadline_ns


def explain(operations: Operations, key: int, initial: int, budget: Budget) -> Counterexample:
    """Explain why a key that an engine found not linearizable is not.

    When our own search can't confirm it within the budget, the key's operations are returned
    as they are, with that as the reason.
    """
    ops = operations.select(operations.key == key).compact()
    name = operations.keys[key]
    first = ops.values.value(initial)
    status, failed, _ = _probe(ops, key, initial, budget)
    if status != "violation":
        return Counterexample(name, ops, len(ops) - 1, [], len(ops), True, first,
                              f"not linearizable, but the search could not say why ({status})", "")
    cut = _truncate(ops, key, initial, failed, budget)
    _, failed, states = _probe(cut, key, initial, budget, look_ahead=False)
    explained = int((cut.ret < cut.ret[failed]).sum())
    possible = [value for value in (_value(cut, key, state) for state in states)
                if value is not UNKNOWN]
    never = _never_written(cut, failed, initial)
    if never:
        core, from_start = cut.select(np.array([failed])), True
    else:
        core, from_start = _window(cut, key, initial, failed, budget)
        core = _reduce(core.compact(), key, initial, not from_start, budget)
    _, culprit, _ = _probe(core, key, initial, budget, anywhere=not from_start, look_ahead=False)
    if int(core.row[culprit]) != int(cut.row[failed]):
        possible = []                   # those were the values at another operation
    found = Counterexample(name, core, culprit, possible, explained, from_start, first,
                           never or _reason(core, culprit, possible),
                           _source(cut, failed, core, culprit))
    found.order = _order(core, key, culprit, initial if from_start else None)
    return found


def _probe(ops: Operations, key: int, initial: int, budget: Budget, *, anywhere: bool = False,
           look_ahead: bool = True) -> tuple[str, int, list[tuple[int, ...]]]:
    """Search, and if looking ahead was switched off and that was too slow, with it."""
    search = Search(ops)
    answer = search.probe(key, initial, anywhere=anywhere, look_ahead=look_ahead,
                          deadline_ns=budget.deadline_ns, memory=budget.memory,
                          effort=budget.effort if not look_ahead else 1 << 62)
    if answer[0] in ("effort", "time", "memory") and not look_ahead:
        answer = search.probe(key, initial, anywhere=anywhere, look_ahead=True,
                              deadline_ns=budget.deadline_ns, memory=budget.memory,
                              effort=1 << 62)
    return answer


def _until(ops: Operations, end: int) -> Operations:
    """What was known right after position ``end``: what had not ended is pending."""
    begun = ops.select(ops.inv <= end)
    begun.ret[begun.ret > end] = INF
    return begun.select((begun.ret != INF) | ~np.isin(begun.kind, OBSERVATIONS))


def _truncate(ops: Operations, key: int, initial: int, failed: int, budget: Budget) -> Operations:
    """Cut at the first return that makes the contradiction certain.

    That is the return the search failed at, unless it foresaw the contradiction; then it is a
    later one, found by bisection (what is certain stays certain).
    """
    ends = np.sort(ops.ret[(ops.ret >= ops.ret[failed]) & (ops.ret != INF)])
    low, high = 0, len(ends) - 1
    step = 1
    while low < high:
        middle = min(low + step - 1, (low + high) // 2)
        if _probe(_until(ops, int(ends[middle])), key, initial, budget)[0] == "violation":
            high = middle
        else:
            low, step = middle + 1, step * 2
    return _until(ops, int(ends[high]))


def _window(ops: Operations, key: int, initial: int, failed: int,
            budget: Budget) -> tuple[Operations, bool]:
    """The shortest end of the history (by doubling) that no starting value explains."""
    end = int(ops.ret[failed])
    ends = np.sort(ops.ret[ops.ret <= end])
    size = LEAST_WINDOW
    while size < len(ends) and budget.left():
        late = ops.select(ops.ret >= ends[len(ends) - size])
        if _probe(late, key, initial, budget, anywhere=True)[0] == "violation":
            return late, False
        size *= 2
    anywhere = _probe(ops, key, initial, budget, anywhere=True)[0] == "violation"
    return ops, not anywhere


def _reduce(ops: Operations, key: int, initial: int, anywhere: bool, budget: Budget) -> Operations:
    """Take out operations, many at once and then fewer, while no order explains the rest."""
    def unexplained(rest: Operations) -> bool:
        return _probe(rest, key, initial, budget, anywhere=anywhere)[0] == "violation"

    changed = True
    while changed and budget.left():
        before = len(ops)
        for removable in (_observations, _unseen_changes):
            ops = _without(ops, removable, unexplained, budget)
        changed = len(ops) < before
    return ops


def _without(ops: Operations, removable: Callable[[Operations], Ints],
             unexplained: Callable[[Operations], bool], budget: Budget) -> Operations:
    chunk = max(len(removable(ops)) // 2, 1)
    while chunk:
        start = 0
        while budget.left() and start < len(candidates := removable(ops)):
            keep = np.ones(len(ops), dtype=bool)
            keep[candidates[start:start + chunk]] = False
            rest = ops.select(keep)
            if unexplained(rest):
                ops = rest
            else:
                start += chunk
        chunk //= 2
    return ops


def _observations(ops: Operations) -> Ints:
    return np.flatnonzero(np.isin(ops.kind, OBSERVATIONS))


def _unseen_changes(ops: Operations) -> Ints:
    """Changes that no answer shows: only where values are plain is that easily told."""
    if (ops.kind == Role.NOT).any() or (ops.modes[ops.key] != PLAIN).any():
        return np.zeros(0, dtype=np.int64)
    seen = ops.a[(ops.kind == Role.READ) | (ops.kind == Role.CAS)]
    result = np.where(ops.kind == Role.CAS, ops.b, ops.a)
    changes = (ops.kind == Role.WRITE) | (ops.kind == Role.CAS)
    return np.flatnonzero(changes & ~np.isin(result, seen))


def _never_written(ops: Operations, i: int, initial: int) -> str:
    """Why an answer is impossible all by itself, or an empty string."""
    role, seen = Role(int(ops.kind[i])), int(ops.a[i])
    if seen == IMPOSSIBLE:
        return f"p{ops.process[i]}'s cas failed although it saw the value that it expected"
    if role not in (Role.READ, Role.CAS) or (ops.modes[ops.key] != PLAIN).any() or seen == initial:
        return ""
    others = np.arange(len(ops)) != i
    result = np.where(ops.kind == Role.CAS, ops.b, ops.a)
    changes = (ops.kind == Role.WRITE) | (ops.kind == Role.CAS)
    if (others & changes & (result == seen)).any():
        return ""
    return (f"p{ops.process[i]}'s {ops.describe(i)}, but nobody had written "
            f"{show(ops.values.value(seen))}")


def _reason(ops: Operations, i: int, possible: list[Any]) -> str:
    said = f"p{ops.process[i]}'s {ops.describe(i)} can't be placed"
    if not possible:
        return said
    shown = [show(value) for value in possible[:MOST_SHOWN]]
    if len(possible) > MOST_SHOWN:
        shown.append(f"{len(possible) - MOST_SHOWN} other values")
    return f"{said}: the value could only be " + " or ".join(shown)


def _source(ops: Operations, failed: int, core: Operations, culprit: int) -> str:
    """Who wrote the value that the culprit saw, when its core does without that."""
    seen = int(core.a[culprit])
    if (int(core.row[culprit]) != int(ops.row[failed]) or (ops.modes[ops.key] != PLAIN).any()
            or core.kind[culprit] not in (Role.READ, Role.CAS)):
        return ""
    result = np.where(ops.kind == Role.CAS, ops.b, ops.a)
    changes = (ops.kind == Role.WRITE) | (ops.kind == Role.CAS)
    writers = np.flatnonzero(changes & (result == seen))
    if len(writers) == 0 or np.isin(ops.row[writers], core.row).any():
        return ""
    last = int(writers[-1])
    times = f", the last of {len(writers)} that wrote it" if len(writers) > 1 else ""
    return (f"{show(ops.values.value(seen))} came from p{ops.process[last]}'s "
            f"{ops.describe(last)} (row {ops.row[last]}{times}), and was replaced since.")


class _Unknown:
    """A value that the history does not mention."""


UNKNOWN = _Unknown()


def _value(ops: Operations, key: int, state: Iterable[int]) -> Any:
    """Return the value of a state: a path of symbols."""
    symbols = list(state)
    if NIL in symbols:
        return UNKNOWN
    if ops.modes[key] == PLAIN:
        return ops.values.value(symbols[0]) if symbols else None
    if symbols and all(BYTES <= symbol < BYTES + 256 for symbol in symbols):
        return bytes(symbol - BYTES for symbol in symbols).decode(errors="replace")
    return [ops.values.value(symbol) for symbol in symbols]


def _order(ops: Operations, key: int, culprit: int, initial: int | None) -> list[int] | None:
    """One order of the operations that ended before the culprit's return, by depth-first search.

    ``initial`` None: any value may be there at the start. None when it takes too many steps.
    """
    end = ops.ret[culprit]
    must = [i for i in range(len(ops)) if ops.ret[i] < end]
    may = [i for i in range(len(ops))
           if i != culprit and ops.ret[i] >= end and ops.kind[i] not in OBSERVATIONS]
    starts: list[tuple[int, ...]] = [_path(ops, key, initial)] if initial is not None else [
        (), *{_path(ops, key, int(a)) for a in ops.a}]
    steps = MOST_ORDER_STEPS
    for start in starts:
        stack: list[tuple[tuple[int, ...], tuple[int, ...]]] = [((), start)]
        seen: set[tuple[frozenset[int], tuple[int, ...]]] = set()
        while stack and steps:
            steps -= 1
            placed, state = stack.pop()
            left = [i for i in must if i not in placed]
            if not left:
                return list(placed)
            first = min(int(ops.ret[i]) for i in left)
            for i in [*(j for j in may if j not in placed), *reversed(left)]:
                if ops.inv[i] < first and (after := _step(ops, key, i, state)) is not None:
                    found = (frozenset((*placed, i)), after)
                    if found not in seen:
                        seen.add(found)
                        stack.append(((*placed, i), after))
    return None


def _path(ops: Operations, key: int, token: int) -> tuple[int, ...]:
    if token == NIL:
        return ()
    i, mode = token - OBJECTS, ops.modes[key]
    if i >= 0 and mode != PLAIN and isinstance(value := ops.values.objects[i], list | tuple):
        return tuple(map(ops.values.token, value))
    if i >= 0 and mode == APPENDS_TEXT and isinstance(value, str | bytes):
        data = value.encode() if isinstance(value, str) else value
        return tuple(BYTES + byte for byte in data)
    return (token,)


def _step(ops: Operations, key: int, i: int, state: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the state after an operation, or None when it can't have answered so."""
    a = _path(ops, key, int(ops.a[i]))
    match Role(int(ops.kind[i])):
        case Role.READ:
            return state if state == a else None
        case Role.NOT:
            return state if state != a else None
        case Role.WRITE:
            return a
        case Role.CAS:
            return _path(ops, key, int(ops.b[i])) if state == a else None
        case _:
            return state + a


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: bytes become text."""
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
