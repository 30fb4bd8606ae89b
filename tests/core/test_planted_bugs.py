"""The log's many lives find the bugs planted in it: else their silence says nothing.

Built with the bugs, the same seeds run with each of them and with none. What must be found is
what the bug loses, not just anything. The bugs in the rest of the node, and these once more, are
found by simulation: tests/harness/test_sim_found_seeds.py.
"""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from seatrial.workloads.systems.planted import mutants_folder

SEEDS = tuple(map(str, range(1, 101)))
FOUND = {
    "write-not-synced": "lost what was promised",
    "torn-frame-accepted": "not what was written",
    "truncation-forgotten": "not what was written",
    "corruption-cut": "a flipped bit was not told",
    "recovered-not-synced": "lost what was read",
    # Where a log holds snapshots, which simulated clusters do not write yet:
    # the log's beginning went before the snapshot that replaces it was whole (camunda/camunda#6894)
    "segment-freed-early": "is missing, and no later one holds a snapshot in its place",
    # a snapshot that a crash cut short is loaded (JDRaftKeeper/RaftKeeper#240)
    "incomplete-snapshot-taken": "not what was written",
    # a chunk is taken wherever it belongs in the snapshot (camunda/camunda#4346)
    "chunk-at-wrong-offset": "a chunk was taken that goes on with nothing",
    # what a recycled segment holds of its earlier life is replayed (cockroachdb/pebble#567,
    # facebook/rocksdb#881)
    "stale-frames-replayed": "refused",
}


@pytest.fixture(scope="module")
def mutants() -> Path:
    """A folder with ``seatrial.core`` as the build with the planted bugs holds it."""
    return mutants_folder()


def judgements(core: Path, *arguments: str, until: str = "") -> dict[str, str]:
    """Run seeds in a process of its own; return seed -> judgement, the last being ``until``."""
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(core), *(entry or str(root) for entry in sys.path)])
    found = {}
    with subprocess.Popen(
            [sys.executable, "-m", "tests.core.wal_lives", *arguments], cwd=root, text=True,
            stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": path}) as process:
        assert process.stdout is not None
        for line in process.stdout:
            seed, _, what = line.rstrip("\n").partition("\t")
            found[seed] = what
            if until and until in what:
                process.terminate()
                return found
    assert process.returncode == 0
    return found


@pytest.mark.slow
@pytest.mark.randomised
def test_with_no_bug_active_the_same_seeds_find_nothing(mutants: Path) -> None:
    assert judgements(mutants, *SEEDS) == dict.fromkeys(SEEDS, "clean")


@pytest.mark.slow
@pytest.mark.randomised
@pytest.mark.parametrize("mutant", FOUND)
def test_a_bug_planted_in_the_log_is_found_by_what_it_loses(mutants: Path, mutant: str) -> None:
    wrong = FOUND[mutant]
    found = judgements(mutants, "--mutant", mutant, *SEEDS, until=wrong)
    assert any(wrong in what for what in found.values()), found
