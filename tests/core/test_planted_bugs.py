"""The small cluster, and the log's many lives, find planted bugs: else their silence says nothing.

Built with the bugs, the same seeds run with each of them and with none. What must be found is
the property that the bug breaks, not just anything.
"""
from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from seatrial.workloads.systems.planted import mutants_folder

SEEDS = ("0", "1", "2", "3", "4", "5")
FOUND = {
    "answer-before-commit": "not linearizable",
    "vote-not-persisted": "one vote a term",
    "read-unconfirmed": "not linearizable",
    "apply-twice": "not linearizable",
    "truncate-without-conflict": "commits beyond the log",
}
LOG_SEEDS = tuple(map(str, range(1, 101)))
FOUND_IN_THE_LOG = {
    "write-not-synced": "lost what was promised",
    "torn-frame-accepted": "not what was written",
    "truncation-forgotten": "not what was written",
    "corruption-cut": "a flipped bit was not refused",
    "recovered-not-synced": "lost what was read",
}


@pytest.fixture(scope="module")
def mutants() -> Path:
    """A folder with ``seatrial.core`` as the build with the planted bugs holds it."""
    return mutants_folder()


def judgements(
    core: Path, module: str, *arguments: str, until: str = ""
) -> dict[str, str]:
    """Run seeds in a process of its own; return seed -> judgement, the last being ``until``."""
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(core), *(entry or str(root) for entry in sys.path)])
    found = {}
    with subprocess.Popen(
            [sys.executable, "-m", f"tests.core.{module}", *arguments], cwd=root, text=True,
            stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": path}) as process:
        assert process.stdout is not None
        for line in process.stdout:
            seed, _, what = line.rstrip("\n").partition("\t")
            found[seed] = what
            if until and re.search(until, what):
                process.terminate()
                return found
    assert process.returncode == 0
    return found


@pytest.mark.slow
@pytest.mark.randomised
@pytest.mark.parametrize("mutant", FOUND)
def test_a_planted_bug_is_found_by_the_property_it_breaks(mutants: Path, mutant: str) -> None:
    found = judgements(mutants, "chaos", "--mutant", mutant, *SEEDS, until=FOUND[mutant])
    assert any(FOUND[mutant] in what for what in found.values()), found


@pytest.mark.slow
@pytest.mark.randomised
def test_with_no_bug_active_the_same_seeds_find_nothing(mutants: Path) -> None:
    assert judgements(mutants, "chaos", *SEEDS) == dict.fromkeys(SEEDS, "clean")
    assert judgements(mutants, "wal_lives", *LOG_SEEDS) == dict.fromkeys(LOG_SEEDS, "clean")


@pytest.mark.slow
@pytest.mark.randomised
@pytest.mark.parametrize("mutant", FOUND_IN_THE_LOG)
def test_a_bug_planted_in_the_log_is_found_by_what_it_loses(mutants: Path, mutant: str) -> None:
    wrong = FOUND_IN_THE_LOG[mutant]
    found = judgements(mutants, "wal_lives", "--mutant", mutant, *LOG_SEEDS, until=wrong)
    assert any(wrong in what for what in found.values()), found
