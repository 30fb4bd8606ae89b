"""Changes of a simulated tree as faults: what they ask for, and that the tree is as before after
them."""
from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from seatrial.harness.nemesis.sim import tree as kinds
from seatrial.harness.rng import Rng

from .domain_sites import A, B, S, Site
from .test_sim_domain_availability import go
from .test_sim_domain_found import begun


def test_what_was_asked_for_last_is_undone_though_it_is_not_committed_yet(
        monkeypatch: pytest.MonkeyPatch) -> None:
    w, _, leader = begun({A: Site(1), B: Site(1, A)})
    before = w.tree()
    assert before is not None
    scene: Any = SimpleNamespace(world=w, state=w.state)

    async def sleep(s: float) -> None:
        go(w, int(s * S))

    monkeypatch.setattr(kinds.asyncio, "sleep", sleep)
    assert w.change_tree(leader, lambda tree: tree.remove(B))
    assert w.tree() == before, "the removal is on its way"
    asyncio.run(kinds.restored(scene, 10))
    go(w, 2 * S)
    assert w.tree() == before


def test_who_left_since_can_not_be_changed_and_nothing_breaks() -> None:
    w, _, leader = begun({A: Site(1), B: Site(1, A)})
    scene: Any = SimpleNamespace(world=w, state=w.state)
    before = w.tree()
    assert before is not None
    wishes = [kind.change(scene, before, Rng(seed))         # type: ignore[attr-defined]
              for kind in kinds.KINDS for seed in range(10)]
    assert w.change_tree(leader, lambda tree: tree.remove(B))       # in the log, not committed
    for wish in filter(None, wishes):
        kinds.ask(scene, wish)
    go(w, S)
    assert w.tree() == before.remove(B)


def test_a_tree_without_children_has_nothing_to_be_changed() -> None:
    w, _, leader = begun({A: Site(1), B: Site(1, A)})
    scene: Any = SimpleNamespace(world=w, state=w.state)
    alone = w.tree()
    assert alone is not None
    alone = alone.remove(B)
    for kind in kinds.KINDS:
        wish = kind.change(scene, alone, Rng(1))        # type: ignore[attr-defined]
        assert (wish is not None) == (kind.name == "domain-leave"), kind.name
    assert leader == 0
