"""Random schedules of crashes, cuts and clients: every Raft property after every step.

The simulated world does far more of that (tests/harness/test_sim_*.py), but through the replica's
entry points for C, and with packets that hold whole messages. Here it is driven as the real node
drives it, from Python, and what arrives may end anywhere in a message; test_invariants.py
compares both ways to check invariants on these clusters.
"""
from __future__ import annotations

import pytest

from .chaos import SEEDS, chaos


@pytest.mark.randomised
@pytest.mark.parametrize("first", range(0, SEEDS, 10))
def test_random_schedules_keep_every_invariant_and_stay_linearizable(first: int) -> None:
    """Seeds are the parameters: ``chaos(seed, nodes=...)`` replays one exactly."""
    committed = conflicts = terms = 0
    for seed in range(first, first + 10):
        cluster = chaos(seed, nodes=3 + 2 * (seed % 2))
        committed += cluster.invariants.committed_count
        terms += cluster.invariants.terms_led
        conflicts += sum(r.raft.conflicts for r in cluster.replicas.values() if r is not None)
    assert committed > 3000
    assert terms > 30


def test_the_same_seed_gives_the_same_run() -> None:
    one, two = chaos(7), chaos(7)
    assert one.now == two.now
    assert [r.status() for r in one.replicas.values() if r] == [
        r.status() for r in two.replicas.values() if r]
