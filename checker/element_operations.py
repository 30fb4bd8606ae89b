"""Operations under models whose state is more than one value: queues, sets, locks, users' own.

=================== ============================= ========================================
operation           value of its invocation       value of its answer
=================== ============================= ========================================
ADD, REMOVE         the element
TAKE, PEEK          nil, or the element           the element; nil: there was none
HAS                 the element                   ``[element, true or false]``
ALL                 nil                           all elements, as a list
ACQUIRE, RELEASE    nil (of leases: see leases.py)
INCREASE, COUNT     by how much                   what it had come to
=================== ============================= ========================================

Left out: what certainly did not happen (fail), and answers that nobody heard (info) of
operations that only look.
"""
from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from . import leases
from .history import FAIL, INFO, NONE, OK, History, Ints
from .models import OBSERVATIONS, Family, Model, Role, UserModel
from .operations import INF, NIL, OBJECTS, UNKNOWN_ELEMENT, Operations, Values, roles_of, show

MOST_COUNTED = 1 << 61


def element_operations(history: History, model: Model) -> Operations:
    """Put a history's clients' events together under a model of elements."""
    invocation, completion = history.pairs
    kind = roles_of(history, model, invocation).astype(np.int8)
    outcome = np.where(completion == NONE, INFO, history.type[completion])
    looks = np.isin(kind, list(OBSERVATIONS))
    keep = (outcome != FAIL) & (~looks | (outcome == OK))
    values = Values()
    asked = _tokens(history, values, invocation)
    a = asked.copy()
    answers = (looks | (kind == Role.TAKE)) & (outcome == OK)
    a[answers] = _tokens(history, values, completion[answers])
    a[(kind == Role.TAKE) & (outcome != OK) & (asked == NIL)] = UNKNOWN_ELEMENT
    if model.family == Family.MUTEX:
        a[:] = 0
    elif model.family == Family.OWNED_MUTEX:
        a = history.process[invocation].astype(np.int64)
    elif model.family == Family.LEASE:
        a = leases.told(history, values, kind, asked, invocation, completion, outcome, keep)
    for i in np.flatnonzero(keep & (kind == Role.HAS)).tolist():
        kind[i], a[i] = _membership(history, values, int(completion[i]))
    _refuse_odd_values(history, model, values, invocation, kind, a, keep)
    if model.family == Family.COUNTER:
        _refuse_large_sums(history, invocation, kind, a, keep)
    ret = np.where(outcome == OK, completion, INF)
    return _built(history, values, keep, kind, a, invocation, ret, completion, model.family)


def user_operations(history: History, model: UserModel) -> Operations:
    """Put a history's clients' events together for a user's model: tokens of [f, asked, answered].

    What nobody answered is [f, asked].
    """
    invocation, completion = history.pairs
    outcome = np.where(completion == NONE, INFO, history.type[completion])
    keep = outcome != FAIL
    values = Values()
    a = np.full(len(invocation), NIL, dtype=np.int64)
    for i in np.flatnonzero(keep).tolist():
        told: list[Any] = [history.fs[history.f[invocation[i]]], history.value(int(invocation[i]))]
        if outcome[i] == OK:
            told.append(history.value(int(completion[i])))
        a[i] = values.token(told)
    kind = np.full(len(invocation), Role.USER, dtype=np.int8)
    ret = np.where(outcome == OK, completion, INF)
    operations = _built(history, values, keep, kind, a, invocation, ret, completion, Family.USER)
    operations.user = model
    return operations


def _built(history: History, values: Values, keep: npt.NDArray[np.bool_], kind: Any, a: Ints,
           invocation: Ints, ret: Ints, completion: Ints, family: Family) -> Operations:
    key = history.key[invocation]
    keys: list[Any] = list(history.keys)
    if (key == NONE).any():                         # events without a key are one key more
        key = np.where(key == NONE, len(keys), key)
        keys.append(None)
    return Operations(
        key=key[keep].astype(np.int32), kind=kind[keep], a=a[keep],
        b=np.full(int(keep.sum()), NIL, dtype=np.int64), inv=invocation[keep], ret=ret[keep],
        process=history.process[invocation][keep], row=invocation[keep],
        done=np.where(ret == INF, NONE, completion)[keep], positions=len(history), keys=keys,
        values=values, family=family)


def _tokens(history: History, values: Values, rows: Ints) -> Ints:
    ints, is_int, _ = history.values
    tokens = np.where(is_int[rows], ints[rows], NIL)
    odd = ~is_int[rows] | (tokens >= OBJECTS) | (tokens <= -OBJECTS)
    for i in np.flatnonzero(odd).tolist():
        tokens[i] = values.token(history.value(int(rows[i])))
    return tokens


def _refuse_large_sums(history: History, invocation: Ints, kind: Ints, a: Ints,
                       keep: npt.NDArray[np.bool_]) -> None:
    """What a counter comes to must fit into an integer of the engines, in whatever order."""
    adds = keep & (kind == Role.INCREASE)
    key = history.key[invocation[adds]] + 1
    sums = np.bincount(key, weights=np.abs(a[adds].astype(float)))
    if (sums > MOST_COUNTED).any():
        row = int(invocation[adds][np.flatnonzero(key == np.argmax(sums))[-1]])
        raise history.bad(f"the numbers added on one key come to {sums.max():.0f}; expected at "
                          f"most 2^{MOST_COUNTED.bit_length() - 1}", row)


def _membership(history: History, values: Values, row: int) -> tuple[Role, int]:
    answer = history.value(row)
    if not (isinstance(answer, list) and len(answer) == 2 and isinstance(answer[1], bool)):
        raise history.bad(f"contains has the answer {show(answer)}; expected [element, true] or "
                          "[element, false]", row)
    return (Role.HAS if answer[1] else Role.LACKS), values.token(answer[0])


def _refuse_odd_values(history: History, model: Model, values: Values, invocation: Ints,
                       kind: Ints, a: Ints, keep: npt.NDArray[np.bool_]) -> None:
    def refuse(wrong: npt.NDArray[np.bool_], expected: str) -> None:
        if (wrong & keep).any():
            i = int(np.flatnonzero(wrong & keep)[0])
            raise history.bad(f"{history.fs[history.f[invocation[i]]]} has the value "
                              f"{show(values.value(int(a[i])))}; the {model.name} model expects "
                              f"{expected}", int(invocation[i]))

    refuse(np.isin(kind, [Role.ADD, Role.REMOVE]) & (a == NIL), "an element")
    if model.family in (Family.PRIORITY, Family.COUNTER):
        refuse(a >= OBJECTS, "an integer")
    refuse(np.isin(kind, [Role.INCREASE, Role.COUNT]) & (a == NIL), "an integer")
    whole = np.isin(a, [OBJECTS + i for i, value in enumerate(values.objects)
                        if isinstance(value, list | tuple)])
    refuse((kind == Role.ALL) & ~whole, "all elements, as a list")
