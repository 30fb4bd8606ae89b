"""What operations mean: the models that a history can be judged by.

Every model speaks of one key at a time. Models of one *value* come down to five roles:

======== ==================================================================================
READ     saw this value
NOT      saw some other value (a failed CAS that does not say what it saw)
WRITE    put this value, whatever was there (a delete writes nil)
CAS      put a value because the expected one was there
APPEND   added to the end of a list or string
======== ==================================================================================

Models of *elements* and the rest have roles of their own (steps.pyx says what they do to a state):

======== ==================================================================================
ADD      put an element in
TAKE     took this element out; nil: found nothing; unknown: it crashed, who knows what it took
PEEK     saw this element as the next one (nil: found nothing)
REMOVE   made sure that an element is not in
HAS      saw that an element is in; LACKS: that it is not
ALL      saw exactly these elements
ACQUIRE  got the lock; RELEASE gave it back; RENEW got a lease for longer
INCREASE added to a counter; COUNT saw what it had come to
USER     an operation of a user's model
======== ==================================================================================
"""
from __future__ import annotations

import enum
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from .errors import CheckerError


class Role(enum.IntEnum):
    """What an operation does to its key, as the engines see it."""

    READ = 0
    NOT = 1
    WRITE = 2
    CAS = 3
    APPEND = 4
    ADD = 6             # 5 is the search's mark for an operation left out
    TAKE = 7
    PEEK = 8
    REMOVE = 9
    HAS = 10
    LACKS = 11
    ALL = 12
    ACQUIRE = 13
    RELEASE = 14
    INCREASE = 15
    COUNT = 16
    USER = 17
    RENEW = 18


OBSERVATIONS = frozenset({Role.READ, Role.NOT, Role.PEEK, Role.HAS, Role.LACKS, Role.ALL,
                          Role.COUNT})      # these only say what they saw


class Family(enum.IntEnum):
    """What the state of a key is."""

    VALUE = 0
    FIFO = 1
    BAG = 2
    STACK = 3
    PRIORITY = 4
    SET = 5
    MUTEX = 6
    OWNED_MUTEX = 7
    COUNTER = 8
    USER = 9
    LEASE = 10


@dataclass(frozen=True, slots=True)
class Model:
    """A model's name, the role of each operation that it knows, and what its state is."""

    name: str
    roles: Mapping[str, Role]
    family: Family = Family.VALUE


class Unknown:
    """What a crashed operation would have answered."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = Unknown()


class OneOf(tuple[Hashable, ...]):
    """Several states, any of which may follow: what ``step`` returns where there is a choice."""


@runtime_checkable
class UserModel(Protocol):
    """A model that a user writes, judged by the frontier search.

    ``step`` returns the state after an operation, None when it can't have answered so in this
    state, or OneOf several. States are hashable and never change. The answer of an operation
    that crashed is UNKNOWN. A model may name its ``observers``, operations that never change the
    state: the search needs not try when to place those.
    """

    name: str
    initial: Hashable                       # the state that every key has at the start

    def step(self, state: Any, f: str, argument: Any, answer: Any) -> Hashable | None:
        """Return the state after an operation, or None."""
        ...


READS = {"read": Role.READ, "get": Role.READ}
WRITES = {"write": Role.WRITE, "put": Role.WRITE, "delete": Role.WRITE}
CAS = {"cas": Role.CAS}
APPENDS = {"append": Role.APPEND}
QUEUE = {"enqueue": Role.ADD, "enq": Role.ADD, "dequeue": Role.TAKE, "deq": Role.TAKE,
         "peek": Role.PEEK}
LOCK = {"acquire": Role.ACQUIRE, "release": Role.RELEASE}

MODELS: Mapping[str, Model] = {
    model.name: model for model in (
        Model("register", {"read": Role.READ, "write": Role.WRITE}),
        Model("cas-register", {"read": Role.READ, "write": Role.WRITE} | CAS),
        Model("kv", READS | WRITES | CAS | APPENDS),
        Model("append", READS | APPENDS),
        Model("fifo-queue", QUEUE, Family.FIFO),
        Model("unordered-queue", QUEUE, Family.BAG),
        Model("stack", {"push": Role.ADD, "pop": Role.TAKE, "peek": Role.PEEK, "top": Role.PEEK},
              Family.STACK),
        Model("priority-queue", {"insert": Role.ADD, "add": Role.ADD, "offer": Role.ADD,
                                 "poll": Role.TAKE, "peek": Role.PEEK}, Family.PRIORITY),
        Model("set", {"add": Role.ADD, "remove": Role.REMOVE, "contains": Role.HAS,
                      "read": Role.ALL}, Family.SET),
        Model("mutex", LOCK, Family.MUTEX),
        Model("owned-mutex", LOCK, Family.OWNED_MUTEX),
        Model("lease", LOCK | {"renew": Role.RENEW, "keepalive": Role.RENEW}, Family.LEASE),
        Model("counter", {"add": Role.INCREASE, "read": Role.COUNT}, Family.COUNTER),
    )
}


def model_named(name: str) -> Model:
    """Return a model by name."""
    try:
        return MODELS[name]
    except KeyError:
        raise CheckerError(f"unknown model {name!r}; expected one of {', '.join(MODELS)}") from None


def model_for(fs: frozenset[str]) -> Model:
    """Return the narrowest model of one value that knows all these operations.

    Other models are asked for by name: what an ``add`` does depends on what it adds to.
    """
    for model in MODELS.values():
        if model.family == Family.VALUE and fs <= model.roles.keys():
            return model
    unknown = sorted(fs - MODELS["kv"].roles.keys())
    raise CheckerError(f"{', '.join(unknown)}: no operation of a register or a key-value store; "
                       f"expected {', '.join(sorted(MODELS['kv'].roles))}, or --model to name "
                       "what it is")
