"""The checks of domains in a run: what its topology promised, and what came of it.

The checker knows no topology; it is told what each domain promised (checker/domains/guarantee.py).
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seatrial.checker import CheckResult, History
from seatrial.checker.domains import Guarantee, Guarantees, check_domains

from .testfile import Spec
from .topology.tree import Domain, Tree


def guarantees(tree: Tree) -> Guarantees:
    """Return what the domains of a tree promise, in the order of the file."""
    return Guarantees([_guarantee(domain, tree) for domain in tree.domains])


def _guarantee(domain: Domain, tree: Tree) -> Guarantee:
    lag = domain.max_lag
    timers = tree.timers
    settle = {"settle_ns": int(lag.settle * 1e9)} if lag is not None else {}
    return Guarantee(
        domain.name, domain.parent, domain.mode or "", str(domain.policy), domain.exclusion,
        int(lag.time * 1e9) if lag is not None and lag.time is not None else None,
        lag.entries if lag is not None else None, **settle,
        fence_ns=int(timers.longest_lease * 1e9),
        nodes=tuple(node.name for node in domain.nodes), drift=timers.drift)


def carried(spec: Spec) -> Sequence[Mapping[str, Any]] | None:
    """Return what a history is to carry of the domains, None where there is one only."""
    tree = spec.topology.tree()
    return guarantees(tree).plain() if len(tree.domains) > 1 else None


def domain_checks(spec: Spec, history: History) -> list[CheckResult]:
    """Judge what the domains of a test promised; nothing where it is not asked for."""
    tree = spec.topology.tree()
    if not (len(tree.domains) > 1 if spec.checks.domains is None else spec.checks.domains):
        return []
    checks = spec.checks
    return [one for result in check_domains(
        history, guarantees(tree), engine=checks.engine, time_limit_s=checks.time_limit,
        memory_limit_bytes=checks.memory_mb << 20) for one in result.all()]
