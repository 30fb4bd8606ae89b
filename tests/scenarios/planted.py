"""Play stories with planted bugs: ``python -m tests.scenarios.planted BUG:STORY ...``.

Only a build that holds the bugs can do it (core/mutant.h), so this is a process of its own. Prints
each pair with ``as told``, or with what was otherwise. Without a bug's name (``:STORY``) none is
switched on.
"""
from __future__ import annotations

import sys
from pathlib import Path

from seatrial.core import mutants

from .commands import Story
from .language import play


def played(bug: str, story: str) -> str:
    """Return ``as told``, or the line at which a story happens otherwise with a bug."""
    path = Path(__file__).with_name(f"{story}.txt")
    mutants.activate(bug or None)
    try:
        play(path.read_text(encoding="utf-8"), path.name, Story())
    except Exception as error:      # whatever breaks: an invariant, a limit, the node itself
        return " ".join((getattr(error, "__notes__", None) or str(error).splitlines())[0].split())
    finally:
        mutants.activate(None)
    return "as told"


if __name__ == "__main__":
    for _pair in sys.argv[1:]:
        _bug, _, _story = _pair.partition(":")
        print(f"{_pair}\t{played(_bug, _story)}", flush=True)
