"""What operations mean: the models that a history can be judged by.

Every model here speaks of one key at a time, and its operations come down to five roles, which
are all that the engines know:

======== ==================================================================================
READ     saw this value
NOT      saw some other value (a failed CAS that does not say what it saw)
WRITE    put this value, whatever was there (a delete writes nil)
CAS      put a value because the expected one was there
APPEND   added to the end of a list or string
======== ==================================================================================
"""
from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import CheckerError


class Role(enum.IntEnum):
    """What an operation does to its key, as the engines see it."""

    READ = 0
    NOT = 1
    WRITE = 2
    CAS = 3
    APPEND = 4


@dataclass(frozen=True, slots=True)
class Model:
    """A model's name, and the role of each operation that it knows."""

    name: str
    roles: Mapping[str, Role]


READS = {"read": Role.READ, "get": Role.READ}
WRITES = {"write": Role.WRITE, "put": Role.WRITE, "delete": Role.WRITE}
CAS = {"cas": Role.CAS}
APPENDS = {"append": Role.APPEND}

MODELS: Mapping[str, Model] = {
    model.name: model for model in (
        Model("register", {"read": Role.READ, "write": Role.WRITE}),
        Model("cas-register", {"read": Role.READ, "write": Role.WRITE} | CAS),
        Model("kv", READS | WRITES | CAS | APPENDS),
        Model("append", READS | APPENDS),
    )
}


def model_named(name: str) -> Model:
    """Return a model by name."""
    try:
        return MODELS[name]
    except KeyError:
        raise CheckerError(f"unknown model {name!r}; expected one of {', '.join(MODELS)}") from None


def model_for(fs: frozenset[str]) -> Model:
    """Return the narrowest model that knows all these operations."""
    for model in MODELS.values():
        if fs <= model.roles.keys():
            return model
    unknown = sorted(fs - MODELS["kv"].roles.keys())
    raise CheckerError(f"no model knows {', '.join(unknown)}; known are "
                       f"{', '.join(sorted(MODELS['kv'].roles))}")
