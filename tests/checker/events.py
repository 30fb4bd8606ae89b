"""Calls as a harness records them: an event when one is invoked, and one when it ends."""
from __future__ import annotations

from typing import Any

from exhaustive import Call

from seatrial.checker import History
from seatrial.checker.history import FAIL, INFO, INVOKE, OK
from seatrial.checker.models import MODELS, UNKNOWN, Family, Model, Role

KNOWN = MODELS["kv"]
NOBODYS = 777           # what a compare-and-set expects that failed and says what it saw
MS = 1_000_000          # a moment
Event = tuple[int, bool, int, int, str, Any, Call]      # time, ends, process, type, f, value, call


def model_of(family: Family) -> Model:
    """The model whose state is of that family; of one value the one that knows all operations."""
    if family is Family.VALUE:
        return KNOWN
    return next(model for model in MODELS.values() if model.family is family)


def history_of(calls: list[Call], family: Family) -> History:
    """The history of calls on several keys; where times tie, calls come before returns."""
    keys = {key: i for i, key in enumerate(dict.fromkeys(call.key for call in calls))}
    events: list[Event] = []
    for call in calls:
        process = 100 * keys[call.key] + call.process
        type_, f, asked, answered = told(call, family)
        events.append((call.inv, False, process, INVOKE, f, asked, call))
        if call.ret is not None:
            events.append((call.ret, True, process, type_, f, answered, call))
    events.sort(key=lambda event: event[:2])
    return History.from_columns(
        time=[event[0] * MS for event in events], process=[event[2] for event in events],
        type=[event[3] for event in events], f=[event[4] for event in events],
        value=[event[5] for event in events],
        key=[str(event[6].key).encode() for event in events])


def told(call: Call, family: Family) -> tuple[int, str, Any, Any]:
    """How a call ended, what was done, what was asked and what was answered."""
    role, a = call.role, call.a
    type_ = INFO if call.ret is None else FAIL if call.failed or role == Role.NOT else OK
    f = next((f for f, known in model_of(family).roles.items() if known == role), "cas")
    match role:
        case Role.READ if call.inv % 3 == 0:
            return FAIL, "cas", [NOBODYS, 0], [NOBODYS, 0, a]
        case Role.NOT:
            return FAIL, f, [a, NOBODYS], [a, NOBODYS]
        case Role.CAS:
            return type_, f, [a, call.b], [a, call.b]
        case Role.READ | Role.PEEK | Role.ALL | Role.COUNT:
            return type_, f, None, a
        case Role.TAKE:
            known = None if a is UNKNOWN else a
            return type_, f, (known if call.ret is None else None), known
        case Role.HAS | Role.LACKS:
            return type_, "contains", a, [a, role == Role.HAS]
        case Role.ACQUIRE | Role.RENEW if family is Family.LEASE:
            return type_, f, a, a
        case Role.ACQUIRE | Role.RELEASE:
            return type_, f, None, None
        case _:
            return type_, "delete" if role == Role.WRITE and a is None else f, a, a
