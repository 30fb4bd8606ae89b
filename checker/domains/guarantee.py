"""What each domain promised: all that the checks need to know beside the history.

A history may carry it (``seatrial.domains`` in its metadata), so that it can be judged alone.
"""
from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

from ..errors import CheckerError

ROOT, SYNC, ASYNC = "", "sync", "async"
BLOCK, EXCLUDE = "block", "exclude"
ANY = re.compile(r"any\s+(\d+)\s+of\s+\[([^\[\]]*)\]")


@dataclass(frozen=True, slots=True)
class Guarantee:
    """One domain. Its place in the list of all is its number in the history's column ``domain``.

    parent, mode, exclusion: of the link to its parent; the root has none, and mode ``""``.
    policy: which of its own sync children confirm its writes: ``all``, ``none``, ``any K of [..]``.
    max_lag_ns, max_lag_entries: how far behind its reads may be, once it had ``settle_ns`` without
    a fault. fence_ns: how long after it was cut off it may still answer linearizable reads.
    nodes: names of its members, by which a fault's targets are told to be its own.
    drift: by what share the clocks by which it judges the age of what it has may be too slow.
    """

    name: str
    parent: str | None = None
    mode: str = ROOT
    policy: str = "all"
    exclusion: str = EXCLUDE
    max_lag_ns: int | None = None
    max_lag_entries: int | None = None
    settle_ns: int = 5_000_000_000
    fence_ns: int = 1_000_000_000
    nodes: tuple[str, ...] = ()
    drift: float = 0.0

    @property
    def any_of(self) -> tuple[int, frozenset[str]] | None:
        """How many of which children must confirm, where the policy is ``any``."""
        found = ANY.fullmatch(self.policy.strip())
        if found is None:
            return None
        return int(found[1]), frozenset(name.strip() for name in found[2].split(","))


class Guarantees:
    """All domains of a tree, in the order of their numbers."""

    def __init__(self, domains: Iterable[Guarantee]) -> None:
        self.domains = tuple(domains)
        self.by_name = {domain.name: domain for domain in self.domains}
        self._validate()

    def __len__(self) -> int:
        return len(self.domains)

    def _validate(self) -> None:
        if len(self.by_name) != len(self.domains):
            raise CheckerError("domains: a name occurs twice; expected each once")
        roots = [domain.name for domain in self.domains if domain.parent is None]
        if len(roots) != 1:
            raise CheckerError(f"domains: {len(roots)} without a parent; expected one, the root")
        for domain in self.domains:
            if domain.parent is not None and domain.parent not in self.by_name:
                raise CheckerError(f"domains.{domain.name}.parent: no domain is called "
                                   f"{domain.parent!r}")
            if domain.parent is not None and domain.mode not in (SYNC, ASYNC):
                raise CheckerError(f"domains.{domain.name}.mode: expected sync or async, "
                                   f"got {domain.mode!r}")
            if domain.policy.strip() not in ("all", "none") and domain.any_of is None:
                raise CheckerError(f"domains.{domain.name}.policy: expected all, none or any K of "
                                   f"[DOMAIN, ...], got {domain.policy!r}")
            seen = [domain.name]
            while (parent := self.by_name[seen[-1]].parent) is not None:
                if parent in seen:
                    raise CheckerError(f"domains.{domain.name}.parent: a circle, "
                                       f"{' -> '.join([*seen, parent])}")
                seen.append(parent)

    @cached_property
    def root(self) -> Guarantee:
        """The domain that takes writes."""
        return next(domain for domain in self.domains if domain.parent is None)

    def path(self, name: str) -> tuple[Guarantee, ...]:
        """Return a domain, its parent, and so on up to the root."""
        found = [self.by_name[name]]
        while (parent := found[-1].parent) is not None:
            found.append(self.by_name[parent])
        return tuple(found)

    def gates(self, name: str) -> bool:
        """Whether every write waits for a domain while nothing is excluded."""
        path = self.path(name)
        return len(path) > 1 and all(
            child.mode == SYNC and parent.policy.strip() == "all"
            for child, parent in itertools.pairwise(path))

    def describe(self, name: str) -> str:
        """Return a domain's name and what it is: ``C (sync child of A)``."""
        domain = self.by_name[name]
        what = "the root" if domain.parent is None else f"{domain.mode} child of {domain.parent}"
        return f"{name} ({what})"

    def plain(self) -> list[dict[str, Any]]:
        """Return it as JSON can hold it."""
        return [asdict(domain) for domain in self.domains]


def from_plain(data: Any, where: str) -> Guarantees:
    """Return what ``plain`` made."""
    names = {field.name for field in fields(Guarantee)}
    if not isinstance(data, list) or not data:
        raise CheckerError(f"{where}: seatrial.domains: expected a list of domains")
    domains = []
    for number, one in enumerate(data):
        if not isinstance(one, Mapping) or not isinstance(one.get("name"), str):
            raise CheckerError(f"{where}: seatrial.domains[{number}]: expected a mapping with "
                               "a name")
        if unknown := sorted(one.keys() - names):
            raise CheckerError(f"{where}: seatrial.domains[{number}].{unknown[0]}: unknown; "
                               f"expected one of {', '.join(sorted(names))}")
        domains.append(Guarantee(**{**one, "nodes": tuple(one.get("nodes") or ())}))
    return Guarantees(domains)
