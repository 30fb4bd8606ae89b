"""Each file of this folder is a story of a tree of domains: it must happen as it is told.

``SEATRIAL_REWRITE=1`` rewrites what the stories expect to what is seen: read the difference before
you keep it.
"""
from __future__ import annotations

import os
from pathlib import Path

import pytest

from .commands import Story
from .language import play, rewritten

STORIES = sorted(Path(__file__).parent.glob("*.txt"))
REWRITE = os.environ.get("SEATRIAL_REWRITE", "") not in ("", "0")


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_it_happens_as_it_is_told(path: Path) -> None:
    if REWRITE:
        rewritten(path, Story())
    else:
        play(path.read_text(encoding="utf-8"), path.name, Story())
