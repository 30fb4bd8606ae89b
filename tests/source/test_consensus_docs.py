"""docs/consensus.md names a test for every rule: each of them exists."""
from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_test_that_the_page_names_exists() -> None:
    page = (ROOT / "docs" / "consensus.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", page))
    there = {name for file in (ROOT / "tests" / "core").glob("test_*.py")
             for name in re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.M)}
    assert len(named) > 30
    assert named <= there, sorted(named - there)
