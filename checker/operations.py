"""Operations: a history's invocations and completions put together, as columns for the engines.

====== ======= =======================================================================
column type    meaning
====== ======= =======================================================================
key    int32   code of the key; keys are judged one by one (locality)
kind   int8    Role
a, b   int64   tokens: what was read, written, expected; b only what a CAS put
inv    int64   position of the invocation
ret    int64   position of the return; INF when it may take effect at any later time
row    int64   row of the invocation in the history
done   int64   row of the completion; NONE when it never ended, or nobody knows how
====== ======= =======================================================================

Positions order all events and are all different. A *token* stands for a value: an integer for
itself, NIL for nil, OBJECTS + i for ``objects[i]``. For operations that append, a list is a
path of tokens and a string a path of bytes; ``path_start`` and ``symbols`` hold those paths.

Left out: what certainly did not happen (fail), reads that say nothing (info, fail), and a
failed CAS that does not say what it saw, unless ``cas_fail="observe"`` makes it an observation
"not the expected value", as porcupine's model of etcd does.
"""
from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from .history import FAIL, INFO, NONE, OK, History, Ints
from .models import UNKNOWN, Family, Model, Role, UserModel

INF = (1 << 63) - 1
NIL = -(1 << 63)
OBJECTS = 1 << 62           # the first token that stands for an object
BYTES = -(1 << 62)          # symbols of text are BYTES + byte
IMPOSSIBLE = NIL + 1        # a token that no operation writes
UNKNOWN_ELEMENT = NIL + 2   # what a crashed operation took out, if anything
SCALAR, LIST, TEXT = 0, 1, 2
PLAIN, APPENDS_ELEMENTS, APPENDS_TEXT = 0, 1, 2


NAMES = {                   # what people call ADD, TAKE and PEEK
    Family.FIFO: ("enqueue", "dequeue", "peek"), Family.BAG: ("enqueue", "dequeue", "peek"),
    Family.STACK: ("push", "pop", "peek"), Family.PRIORITY: ("insert", "poll", "peek"),
}
COLUMNS = ("key", "kind", "a", "b", "inv", "ret", "process", "row", "done")


class Values:
    """Tokens for values. Equal values have equal tokens; integers need no table.

    ``empty_is_nil``: where values are appended to, nothing, the empty list and the empty
    string are one and the same.
    """

    def __init__(self, *, empty_is_nil: bool = False) -> None:
        self.empty_is_nil = empty_is_nil
        self.objects: list[Any] = []
        self._tokens: dict[bytes, int] = {}
        self._encode = msgspec.msgpack.Encoder(order="deterministic").encode

    def token(self, value: Any) -> int:
        """Return the token of a value."""
        if value is None or (self.empty_is_nil and value in ("", [], b"")):
            return NIL
        if type(value) is int and -OBJECTS < value < OBJECTS:
            return value
        try:
            packed = self._encode(value)
        except TypeError:                       # maps whose keys are no strings
            packed = b"\xc1" + self._encode(_ordered(value, self._encode))
        token = self._tokens.get(packed)
        if token is None:
            token = self._tokens[packed] = self._keep(packed, value)
        return token

    def _keep(self, packed: bytes, value: Any) -> int:
        """Keep a value that is not known yet, and return its token."""
        self.objects.append(value)
        return OBJECTS + len(self.objects) - 1

    def value(self, token: int) -> Any:
        """Return the value that a token stands for."""
        if token == NIL:
            return None
        return self.objects[token - OBJECTS] if token >= OBJECTS else token

    def paths(self) -> tuple[npt.NDArray[np.int8], Ints, Ints]:
        """Return shape, path_start and symbols of the objects."""
        shapes: list[int] = []
        starts, symbols = [0], list[int]()
        i = 0
        while i < len(self.objects):        # elements may be objects that come to the table now
            value = self.objects[i]
            if isinstance(value, list | tuple):
                shapes.append(LIST)
                symbols.extend(map(self.token, value))
            elif isinstance(value, str | bytes):
                shapes.append(TEXT)
                data = value.encode() if isinstance(value, str) else value
                symbols.extend(BYTES + byte for byte in data)
            else:
                shapes.append(SCALAR)
            starts.append(len(symbols))
            i += 1
        return (np.array(shapes, dtype=np.int8), np.array(starts, dtype=np.int64),
                np.array(symbols, dtype=np.int64))


def _ordered(value: Any, encode: Callable[[Any], bytes]) -> Any:
    """A value with each map as its items in one order."""
    if isinstance(value, dict):
        items = [[_ordered(key, encode), _ordered(one, encode)] for key, one in value.items()]
        return {"": sorted(items, key=encode)}
    if isinstance(value, list | tuple):
        return [_ordered(one, encode) for one in value]
    return value


@dataclass(slots=True)
class Operations:
    """The operations of a history under a model, ready for any engine."""

    key: npt.NDArray[np.int32]
    kind: npt.NDArray[np.int8]
    a: Ints
    b: Ints
    inv: Ints
    ret: Ints
    process: Ints
    row: Ints
    done: Ints
    positions: int                          # all positions are below this
    keys: Sequence[Any]                     # code -> the key as the history names it
    values: Values
    family: Family = Family.VALUE
    user: UserModel | None = None           # the model, where a user wrote it
    modes: npt.NDArray[np.uint8] = field(init=False)        # by key: how it is appended to
    shape: npt.NDArray[np.int8] = field(init=False)
    path_start: Ints = field(init=False)
    symbols: Ints = field(init=False)

    def __post_init__(self) -> None:
        self.modes = np.zeros(len(self.keys), dtype=np.uint8)
        appends = self.kind == Role.APPEND
        self._take_apart()
        if appends.any():
            self._find_modes(appends)

    def _take_apart(self) -> None:
        """Fill the paths of values; empty where no value is ever taken apart."""
        if self.family in (Family.SET, Family.LEASE) or (self.kind == Role.APPEND).any():
            self.shape, self.path_start, self.symbols = self.values.paths()
        else:
            self.shape = np.zeros(len(self.values.objects), dtype=np.int8)
            self.path_start = np.zeros(len(self.shape) + 1, dtype=np.int64)
            self.symbols = np.zeros(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.kind)

    def _find_modes(self, appends: npt.NDArray[np.bool_]) -> None:
        """A key is text when strings are appended to it and no list is ever seen there."""
        shape = np.full(len(self), SCALAR, dtype=np.int8)
        objects = self.a >= OBJECTS
        shape[objects] = self.shape[self.a[objects] - OBJECTS]
        self.modes[self.key[appends]] = APPENDS_ELEMENTS
        text = np.zeros(len(self.keys), dtype=bool)
        text[self.key[appends & (shape == TEXT)]] = True
        text[self.key[(shape == LIST) | (appends & (shape == SCALAR))]] = False
        self.modes[text] = APPENDS_TEXT

    def token(self, value: Any) -> int:
        """Return the token of a value that may be new, such as the one at the start."""
        token = self.values.token(value)
        if len(self.values.objects) > len(self.shape):
            self._take_apart()
        return token

    def select(self, chosen: Ints | npt.NDArray[np.bool_]) -> Operations:
        """Return some of the operations, under the same keys, values and positions."""
        part = copy.copy(self)
        for name in COLUMNS:
            setattr(part, name, getattr(self, name)[chosen])
        return part

    def compact(self) -> Operations:
        """Return the same operations with positions numbered without gaps."""
        whole = copy.copy(self)
        ended = self.ret != INF
        order = np.argsort(np.concatenate([self.inv, self.ret[ended]]), kind="stable")
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        whole.inv = rank[:len(self)]
        whole.ret = np.full(len(self), INF, dtype=np.int64)
        whole.ret[ended] = rank[len(self):]
        whole.positions = len(order)
        return whole

    def describe(self, i: int) -> str:
        """Return an operation as a person writes it: ``read -> 3``, ``cas 1 -> 2``."""
        a, b = self.values.value(int(self.a[i])), self.values.value(int(self.b[i]))
        match Role(int(self.kind[i])):
            case Role.READ if self.a[i] == IMPOSSIBLE:
                return "cas failed although it saw what it expected"
            case Role.READ:
                return f"read -> {show(a)}"
            case Role.NOT:
                return f"cas from {show(a)} failed"
            case Role.WRITE:
                return "delete" if a is None else f"write {show(a)}"
            case Role.CAS:
                return f"cas {show(a)} -> {show(b)}"
            case Role.APPEND:
                return f"append {show(a)}"
            case Role.USER:
                f, asked, *answer = a
                return " -> ".join([f if asked is None else f"{f} {show(asked)}",
                                    *map(show, answer)])
            case _ if self.family == Family.LEASE:
                f = Role(int(self.kind[i])).name.lower()
                return f if not a[1] else f"{f} for {a[1] / 1e6:g} ms"
            case _:
                return self._describe_element(i, a)

    def _describe_element(self, i: int, a: Any) -> str:
        taken = "?" if self.a[i] == UNKNOWN_ELEMENT else "empty" if a is None else show(a)
        add, take, peek = NAMES.get(self.family, ("add", "take", "peek"))
        return {
            Role.ADD: f"{add} {taken}", Role.TAKE: f"{take} -> {taken}",
            Role.PEEK: f"{peek} -> {taken}", Role.REMOVE: f"remove {taken}",
            Role.HAS: f"contains {taken}", Role.LACKS: f"does not contain {taken}",
            Role.ALL: f"read -> {show(a)}", Role.ACQUIRE: "acquire", Role.RELEASE: "release",
            Role.INCREASE: f"add {taken}", Role.COUNT: f"read -> {taken}",
        }[Role(int(self.kind[i]))]


def show(value: Any) -> str:
    """Return a value for a person, shortened in the middle where it is long."""
    text = "nil" if value is None else value if isinstance(value, str) and value else repr(value)
    return text if len(text) <= 40 else f"{text[:18]} ... {text[-18:]}"


def operations_of(history: History, model: Model, *, cas_fail: str = "drop") -> Operations:
    """Put a history's clients' events together under a model.

    cas_fail: ``drop`` or ``observe`` a failed CAS that does not say what it saw.
    """
    invocation, completion = history.pairs
    role = roles_of(history, model, invocation)
    outcome = np.where(completion == NONE, INFO, history.type[completion])
    matters = np.flatnonzero(((outcome != FAIL) | (role == Role.CAS))
                             & ((role != Role.READ) | (outcome == OK)))
    invocation, completion, kind, outcome = (
        column[matters] for column in (invocation, completion, role, outcome))
    values = Values(empty_is_nil=Role.APPEND in model.roles.values())
    value = value_tokens(history, values)
    a, b = value[invocation], np.full(len(invocation), NIL, dtype=np.int64)
    keep = outcome != FAIL
    ret = np.where(outcome == OK, completion, INF)
    reads = np.flatnonzero(kind == Role.READ)
    a[reads] = value[completion[reads]]
    if "delete" in history.fs:
        a[history.f[invocation] == list(history.fs).index("delete")] = NIL
    for i in np.flatnonzero(kind == Role.CAS).tolist():
        done = int(completion[i]) if outcome[i] == FAIL else NONE
        found = _cas(history, values, int(invocation[i]), done, cas_fail)
        if outcome[i] != FAIL:
            a[i], b[i] = values.token(found[0]), values.token(found[1])
        elif len(found) == 3:
            same = values.token(found[0]) == values.token(found[2])
            kind[i], a[i] = Role.READ, IMPOSSIBLE if same else values.token(found[2])
            keep[i], ret[i] = True, done
        elif cas_fail == "observe":
            kind[i], a[i] = Role.NOT, values.token(found[0])
            keep[i], ret[i] = True, done
    key = history.key[invocation]
    keys: list[Any] = list(history.keys)
    if (key == NONE).any():                         # events without a key are one key more
        key = np.where(key == NONE, len(keys), key)
        keys.append(None)
    operations = Operations(
        key=key.astype(np.int32, copy=False), kind=kind, a=a, b=b, inv=invocation, ret=ret,
        process=history.process[invocation], row=invocation,
        done=np.where(ret == INF, NONE, completion), positions=len(history), keys=keys,
        values=values)
    return operations if keep.all() else operations.select(keep)


def roles_of(history: History, model: Model, invocation: Ints) -> Ints:
    """Return the role of each invocation; an error names the first that the model doesn't know."""
    table = np.full(len(history.fs) + 1, -1, dtype=np.int8)
    for code, f in enumerate(history.fs):
        table[code] = model.roles.get(f, -1)
    role = table[history.f[invocation]]
    if (role < 0).any():
        row = int(invocation[np.flatnonzero(role < 0)[0]])
        raise history.bad(f"the {model.name} model does not know {history.fs[history.f[row]]!r}; "
                          f"it knows {', '.join(sorted(model.roles))}", row)
    return role


def value_tokens(history: History, values: Values) -> Ints:
    """Return the token of each row's value; NIL for what a compare-and-set has."""
    ints, is_int, rest = history.values
    tokens = np.where(is_int, ints, NIL)
    for row in np.flatnonzero(is_int & ((ints >= OBJECTS) | (ints <= -OBJECTS))).tolist():
        tokens[row] = values.token(int(ints[row]))
    cas = {code for code, f in enumerate(history.fs) if f == "cas"}
    for row, value in rest.items():
        if history.f[row] not in cas:
            tokens[row] = values.token(value)
    return tokens


def _cas(history: History, values: Values, invocation: int, completion: int, cas_fail: str) -> Any:
    """Return ``[old, new]``, or ``[old, new, seen]`` from a completion that says what it saw."""
    rest = history.values[2]
    asked = rest.get(invocation)
    if not isinstance(asked, list) or len(asked) != 2:
        raise history.bad(f"cas has the value {show(history.value(invocation))}; expected "
                          "[old, new]", invocation)
    answered = rest.get(completion)
    return answered if isinstance(answered, list) and len(answered) == 3 else asked


def from_intervals(
    rows: Iterable[tuple[int, Any, Role, Any, Any, int, int | None]],
    family: Family = Family.VALUE,
) -> Operations:
    """Build operations from (process, key, role, a, b, call time, return time or None).

    Times may tie: then operations are concurrent, so calls are ordered before returns.
    """
    rows = list(rows)
    values = Values(empty_is_nil=family == Family.VALUE)
    keys = list(dict.fromkeys(row[1] for row in rows))
    code = {key: i for i, key in enumerate(keys)}
    events = [(row[5], 0, i) for i, row in enumerate(rows)]
    events += [(row[6], 1, i) for i, row in enumerate(rows) if row[6] is not None]
    inv = np.zeros(len(rows), dtype=np.int64)
    ret = np.full(len(rows), INF, dtype=np.int64)
    for position, (_, returns, i) in enumerate(sorted(events)):
        (ret if returns else inv)[i] = position
    return Operations(
        key=np.array([code[row[1]] for row in rows], dtype=np.int32),
        kind=np.array([row[2] for row in rows], dtype=np.int8),
        a=np.array([UNKNOWN_ELEMENT if row[3] is UNKNOWN else values.token(row[3])
                    for row in rows], dtype=np.int64),
        b=np.array([values.token(row[4]) for row in rows], dtype=np.int64),
        inv=inv, ret=ret, process=np.array([row[0] for row in rows], dtype=np.int64),
        row=inv, done=np.where(ret == INF, NONE, ret), positions=len(events), keys=keys,
        values=values, family=family)
