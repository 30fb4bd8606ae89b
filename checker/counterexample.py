"""Why a key is not linearizable, in as few operations as possible.

The core comes from shrinking.py. What is reported of it is the operation that can't be placed,
what it answered, which values were possible at that moment, and one order that explains
everything before it.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .models import Family, Role
from .operations import IMPOSSIBLE, INF, PLAIN, Operations, show
from .order import UNKNOWN, explain_before, value_of
from .shrinking import FREE, Budget, Prober, cut, reduce, window
from .timeline import draw

STATES = {
    Family.FIFO: "the queue could only hold ", Family.BAG: "the queue could only hold ",
    Family.STACK: "the stack could only hold ", Family.SET: "the set could only hold ",
    Family.PRIORITY: "the queue could only hold ",
    Family.MUTEX: "the lock could only be held by ",
    Family.OWNED_MUTEX: "the lock could only be held by process ",
    Family.USER: "the state could only be ",
}
START = {
    Family.FIFO: "The queue is empty at the start.", Family.BAG: "The queue is empty at the start.",
    Family.STACK: "The stack is empty at the start.", Family.SET: "The set is empty at the start.",
    Family.PRIORITY: "The queue is empty at the start.",
    Family.MUTEX: "The lock is free at the start.",
    Family.OWNED_MUTEX: "The lock is free at the start.",
    Family.LEASE: "Nobody has the lease at the start.",
    Family.COUNTER: "The counter starts at its initial value.",
    Family.USER: "The start is the model's initial state.",
}
MOST_SHOWN = 8              # values or operations in a sentence


@dataclass(slots=True)
class Counterexample:
    """A key's contradiction; ``core`` are operations, ``culprit`` the position of one of them."""

    key: Any
    initial: Any
    core: Operations
    culprit: int
    reason: str
    explained: int | None                   # operations of the key that ended before that moment;
                                            # None: nobody looked for the first contradiction
    from_start: bool = True                 # the core counts on the initial value
    possible: tuple[Any, ...] = ()          # values at that moment, where they are known
    free: tuple[int, ...] = ()              # rows of changes whose times don't matter
    source: str = ""                        # who wrote what the culprit saw, where not in the core
    order: list[int] | None = None          # positions that explain all before

    def evidence(self) -> dict[str, Any]:
        """Return it as JSON-able data; an operation is named by the rows of its events."""
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
            "whenever_rows": list(self.free),
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
        few = "operations that no order explains"
        if not self.from_start:
            few += ", whatever value was there before"
        if self.free:
            others = "1 other change" if len(self.free) == 1 else f"{len(self.free)} other changes"
            few += f" and whenever {others} took effect"
        lines = [f"key {show(plain(self.key))}: {self.reason}", "",
                 f"The smallest set of {few}:", ""]
        lines += ["  " + line for line in
                  draw(self.core, {self.culprit: "can't be placed"}).splitlines()]
        lines.append("")
        if self.from_start:
            lines.append(f"The value at the start is {show(self.initial)}."
                         if self.core.family == Family.VALUE else START[self.core.family])
        if self.source:
            lines.append(self.source)
        if self.explained is None:
            lines.append("Whatever else happened on this key, no order explains these.")
        else:
            lines.append(f"Everything on this key that ended before {where} ({self.explained} "
                         "operations) can be explained" + self._in_order())
        return "\n".join(lines)

    def _in_order(self) -> str:
        if not self.order:
            return "."
        said = [f"p{self.core.process[i]} {self.core.describe(i)}" for i in self.order]
        shown = said if len(said) <= MOST_SHOWN else ["...", *said[-MOST_SHOWN:]]
        return "; those drawn in the order: " + ", then ".join(shown) + "."


def explain(operations: Operations, key: int, initial: int, budget: Budget,
            guilty: list[int] | None = None) -> Counterexample:
    """Explain why a key that an engine found not linearizable is not.

    ``guilty``: operations that a monitor found to have no order, whatever else happened. When our
    own search can't confirm a violation within the budget, the key's operations are returned as
    they are, with that as the reason.
    """
    prober = Prober(key, initial, budget)
    confirmed = False
    if guilty is not None:
        ops = operations.select(np.array(guilty, dtype=np.int64)).compact()
        confirmed, failed, _ = prober.probe(ops)
    if not confirmed:
        guilty = None
        ops = operations.select(operations.key == key).compact()
        confirmed, failed, _ = prober.probe(ops)
    if confirmed:
        ops = cut(ops, failed, prober)
        confirmed, failed, states = prober.probe(ops, exact=True)
    name, start = operations.keys[key], ops.values.value(initial)
    if not confirmed:
        last = int(np.argmax(np.where(ops.ret == INF, -1, ops.ret)))
        return Counterexample(name, start, ops, last, "not linearizable, but the search could "
                              "not confirm that in its time", int((ops.ret != INF).sum()))
    explained = None if guilty is not None else int((ops.ret < ops.ret[failed]).sum())
    reason = _never_written(ops, failed, initial)
    if reason:
        return Counterexample(name, start, ops.select(np.array([failed])), 0, reason, explained,
                              order=[])
    core, anywhere = window(ops, prober)
    core = reduce(core, anywhere, prober)
    confirmed, culprit, _ = prober.probe(core, anywhere=anywhere, exact=True)
    if not confirmed:                       # out of time: what was certain at the cut still is
        culprit = int(np.flatnonzero(core.row == ops.row[failed])[0])
    possible: tuple[Any, ...] = ()
    source = ""
    if core.row[culprit] == ops.row[failed]:
        possible = tuple(value_of(ops, key, state) for state in states)
        if core.family == Family.LEASE or (
                core.family != Family.VALUE and len(core) < len(ops)):
            possible = ()                   # times; elements that were taken out would be named
        if UNKNOWN in possible:             # there may be more than those that are known
            possible = ()
        source = _source(ops, core, culprit)
    free = core.done == FREE
    order = None if free.any() else explain_before(
        core, key, culprit, None if anywhere else initial)
    return Counterexample(
        name, start, core.select(~free), int((~free[:culprit]).sum()),
        _reason(core, culprit, possible), explained, not anywhere, possible,
        tuple(core.row[free].tolist()), source, order)


def _never_written(ops: Operations, i: int, initial: int) -> str:
    """Why an answer is impossible all by itself, or an empty string."""
    role, seen = Role(int(ops.kind[i])), int(ops.a[i])
    if seen == IMPOSSIBLE:
        return f"p{ops.process[i]}'s cas failed although it saw the value that it expected"
    if role not in (Role.READ, Role.CAS) or (ops.modes[ops.key] != PLAIN).any() or seen == initial:
        return ""
    if len(_writers(ops, seen, but=i)):
        return ""
    return (f"p{ops.process[i]}'s {ops.describe(i)}, but nobody had written "
            f"{show(ops.values.value(seen))}")


def _writers(ops: Operations, token: int, but: int) -> list[int]:
    result = np.where(ops.kind == Role.CAS, ops.b, ops.a)
    changes = (ops.kind == Role.WRITE) | (ops.kind == Role.CAS)
    return [i for i in np.flatnonzero(changes & (result == token)).tolist() if i != but]


def _reason(ops: Operations, i: int, possible: tuple[Any, ...]) -> str:
    said = f"p{ops.process[i]}'s {ops.describe(i)} can't be placed"
    if not possible:
        return said
    shown = [show(value) for value in possible[:MOST_SHOWN]]
    if len(possible) > MOST_SHOWN:
        shown.append(f"{len(possible) - MOST_SHOWN} other values")
    state = STATES.get(ops.family, "the value could only be ")
    return f"{said}: {state}" + " or ".join(shown)


def _source(ops: Operations, core: Operations, culprit: int) -> str:
    """Who wrote the value that the culprit saw, when its core does without that."""
    seen = int(core.a[culprit])
    if ((ops.modes[ops.key] != PLAIN).any()
            or core.kind[culprit] not in (Role.READ, Role.CAS)):
        return ""
    writers = _writers(ops, seen, but=-1)
    if not writers or np.isin(ops.row[writers], core.row).any():
        return ""
    last = writers[-1]
    times = f", the last of {len(writers)} that wrote it" if len(writers) > 1 else ""
    return (f"{show(ops.values.value(seen))} came from p{ops.process[last]}'s "
            f"{ops.describe(last)} (row {ops.row[last]}{times}), and was replaced since.")


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: bytes become text."""
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
