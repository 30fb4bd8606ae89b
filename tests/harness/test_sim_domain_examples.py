"""The examples of trees of domains, in simulation: a few seeds of each, and those that found a bug.

``SEATRIAL_SIM_SEEDS`` says how many; ``make nightly`` runs a thousand of each by the command.
"""
from __future__ import annotations

import os
from pathlib import Path

import pytest

from seatrial.harness.launch import SIM, Request, plan
from seatrial.harness.sim.run import run

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SEEDS = min(int(os.environ.get("SEATRIAL_SIM_SEEDS", "2")), 100)
FIRST = int(os.environ.get("SEATRIAL_SEED", "1"))
FOUND = {
    ("domains-layers", 3): "two domains' old trees went round in a circle",
    ("domains-layers", 5): "a domain was said to have confirmed a write that had been excluded",
    ("domains-layers", 192): "a child was sent a snapshot of what it held already, for ever",
    ("domains-sync", 10): "an answer named another entry than that which it showed",
    ("domains-async", 48): "one snapshot followed another: an answer named no entry at all",
    ("domains-block", 6): "members with older trees than their leader were told nothing",
    ("domains-block", 25): "who led no longer named nobody who had confirmed a write",
}


def verdict(example: str, seed: int, store: Path) -> str:
    """Run a seed; return its verdict, and why."""
    found = run(plan(Request(EXAMPLES / f"{example}.yml", store, SIM).seeded(seed)))
    return f"{found.verdict}: {found.summary}"


@pytest.mark.randomised
@pytest.mark.parametrize("example", [
    "domains-sync", "domains-async", "domains-layers", "domains-block"])
def test_a_few_seeds_of_each_example_hold(example: str, tmp_path: Path) -> None:
    passed = 0
    for seed in range(FIRST, FIRST + SEEDS):
        found = verdict(example, seed, tmp_path)
        assert found.startswith(("pass", "no-coverage")), f"{example}, seed {seed}: {found}"
        passed += found.startswith("pass")
    assert passed >= SEEDS // 2


@pytest.mark.parametrize(("example", "seed"), FOUND)
def test_what_was_found_is_not_found_again(example: str, seed: int, tmp_path: Path) -> None:
    assert verdict(example, seed, tmp_path).startswith("pass")
