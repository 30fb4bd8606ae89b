"""A story that can't end otherwise tells nothing: with these bugs planted these stories do."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from seatrial.workloads.systems.planted import mutants_folder

FOUND = {
    "child-not-waited-for": "block",
    "degrades-silently": "block",
    "domain-majority-not-waited-for": "replication-child-leader-falls",
    "grandchild-not-waited-for": "grandchild",
    "inclusion-acts-late": "attach",
    "catching-up-gates": "attach",
    "readmit-before-caught-up": "attach",
    "child-assigns": "redirect",
    "exclusion-acts-on-older": "exclusion",
    "domain-read-without-lease": "exclusion",
    "domain-read-of-applied": "read-at-a-child",
    "domain-read-unconfirmed": "read-at-a-deposed-leader",
    "exclusion-without-waiting": "reparent",
    "lag-by-heartbeat": "exclusion-child-leader-falls",
    "lease-to-excluded": "replication-policy-changes",
    "truncates-to-mark": "replication-members-change",
    "apply-before-root-commit": "three-levels",
    "link-previous-unchecked": "three-levels",
    "adopted-at-once": "three-levels-longer",
    "tail-cut-at-parents-end": "three-levels-longer",
    "link-ack-by-rindex": "snapshot",
    "snapshot-without-tree": "snapshot",
    "token-ignored": "session",
    "age-from-arrival": "session",
    "confirmers-from-tree": "any-k",
}
ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(1800)      # the first to ask for the build waits for it


@pytest.fixture(scope="module")
def played() -> dict[str, str]:
    """How each story ended, by ``bug:story``; with no bug ``:story``."""
    pairs = [f"{bug}:{story}" for bug, story in FOUND.items()]
    path = os.pathsep.join([str(mutants_folder()), *(entry or str(ROOT) for entry in sys.path)])
    ended = subprocess.run(
        [sys.executable, "-m", "tests.scenarios.planted", *pairs,
         *sorted({f":{story}" for story in FOUND.values()})],
        cwd=ROOT, check=False, env=os.environ | {"PYTHONPATH": path}, capture_output=True,
        text=True)
    assert ended.returncode == 0, ended.stderr
    return dict(line.split("\t") for line in ended.stdout.splitlines())


@pytest.mark.parametrize("bug", FOUND)
def test_a_story_happens_otherwise_with_the_bug_that_it_is_about(
    played: dict[str, str], bug: str,
) -> None:
    assert played[f"{bug}:{FOUND[bug]}"] != "as told"


@pytest.mark.parametrize("story", sorted(set(FOUND.values())))
def test_without_it_the_story_happens_as_it_is_told(played: dict[str, str], story: str) -> None:
    assert played[f":{story}"] == "as told"
