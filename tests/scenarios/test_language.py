"""The language of the stories: what is wrong is told with its place, what is seen can be kept."""
from __future__ import annotations

import re
from pathlib import Path

import pytest

from .commands import COMMANDS, CONDITIONS, Story
from .language import Mismatch, StoryError, play, rewritten

STORY = """# Two domains.

tree A(1) -> B(1) sync
write x=1 at A
"""
STORIES = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize(("line", "told"), [
    ("wriet x=2 at A",
     "unknown command 'wriet x=2 at A'; did you mean 'write KEY=VALUE at PLACE'?"),
    ("write x at A", "command 'write x at A': expected 'write KEY=VALUE at PLACE' or 'write N times"
                     " at DOMAIN'"),
    ("write x=2 at D", "unknown domain 'D'; expected one of A, B"),
    ("kill B2", "unknown node 'B2'; expected B1 to B1"),
    ("kill everybody", "expected a domain, a node, or 'leader of DOMAIN', got 'everybody'"),
    ("wait until B is happy", "unknown condition 'B is happy'; did you mean 'DOMAIN is async'?"),
    ("read x at A quickly", "expected 'prefix', 'session' or 'bounded 2 s', got 'quickly'"),
    ("wait until x=7 is answered", "nobody waits for an answer to x=7"),
    ("wait until all agree within a moment", "expected 'within 2 s', got 'a moment'"),
    ("heal A-B", "'A-B' is not cut; cut are: none"),
    ("mode B quick", "expected sync, async, block or exclude, got 'quick'"),
    ("seed 2", "'seed' after the tree"),
])
def test_what_is_not_understood_is_told_in_one_line(line: str, told: str) -> None:
    text = play(STORY, "two.txt", Story(), rewrite=True)
    with pytest.raises(StoryError) as raised:
        play(text + line + "\n", "two.txt", Story())
    assert str(raised.value) == f"two.txt:{len(text.splitlines()) + 1}: {told}"


@pytest.mark.parametrize(("text", "told"), [
    ("", "s.txt:1: expected at least one command"),
    ("    A: A1 leads\n", "s.txt:1: expected a command before 'A: A1 leads'"),
    ("write x=1 at A\n", "s.txt:1: expected 'tree ...' before anything else happens"),
    ("tree A\n", "s.txt:1: A: expected 1 to 9 nodes, as in A(3)"),
    ("tree A(1); B(1)\n", "s.txt:1: B has no parent: there is a root already"),
    ("tree A(1) -> B(1); A -> B(1)\n", "s.txt:1: B was declared already"),
    ("tree A(1) -> B(1) quick\n", "s.txt:1: B: unknown word 'quick'; expected sync, async, block, "
                                  "exclude, excluded, any K, all, none, lag N, outside or down"),
    ("tree A(1) -> B(1) lag 5\n", "s.txt:1: B: expected 'lag N' and one of throttle, stall, drop"),
    ("tree A(1) any 2 -> B(1) sync\n", "s.txt:1: domain 1 (A): policy any 2 could never be met"),
    ("seed x\n", "s.txt:1: expected 'seed N', got 'seed x'"),
    ("\ngiven leases=yes\n", "s.txt:2: expected 'given FIELD=NUMBER', got 'leases=yes'"),
    ("given speed=9\n", "s.txt:1: unknown key 'speed'"),
])
def test_what_can_not_begin_is_told_in_one_line(text: str, told: str) -> None:
    with pytest.raises(StoryError) as raised:
        play(text, "s.txt", Story())
    assert str(raised.value).startswith(told)
    assert "\n" not in str(raised.value)


def test_a_difference_is_told_in_the_words_of_the_story() -> None:
    text = play(STORY, "two.txt", Story(), rewrite=True)
    wrong = text.replace("x=1: ok 4@1, confirmed by B\n", "x=1: ok 4@1\n")
    assert wrong != text
    with pytest.raises(Mismatch) as raised:
        play(wrong, "two.txt", Story())
    told = str(raised.value).splitlines()
    assert told[:2] == ["two.txt:6: write x=1 at A", "  (- expected, + seen)"]
    assert [line for line in told if line[2] in "+-"] == [
        "  - x=1: ok 4@1", "  + x=1: ok 4@1, confirmed by B"]


def test_a_story_is_rewritten_to_what_is_seen_and_keeps_its_prose(tmp_path: Path) -> None:
    path = tmp_path / "two.txt"
    path.write_text(STORY.replace("at A\n", "at A\n  nonsense\n# the end\n"), encoding="utf-8")
    rewritten(path, Story())
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# Two domains.\n\ntree A(1) -> B(1) sync\n    A: A1 leads")
    assert text.endswith("\n# the end\n")
    assert "nonsense" not in text
    assert play(text, path.name, Story()) == text


def test_the_same_story_is_the_same_run() -> None:
    def digest(seed: int) -> str:
        story = Story()
        play(f"seed {seed}\n{STORY}", "two.txt", story, rewrite=True)
        assert story.stage is not None
        return story.stage.world.digest()

    assert digest(1) == digest(1) != digest(2)


def test_all_that_can_be_said_is_said_somewhere_and_documented() -> None:
    told = "\n".join(path.read_text(encoding="utf-8") for path in STORIES)
    page = (Path(__file__).parents[2] / "docs/simulation.md").read_text(encoding="utf-8")
    for form, pattern, _ in COMMANDS:
        assert re.search(rf"^{pattern.pattern}$", told, re.M), f"no story says {form!r}"
        assert f"`{form}`" in page, form
    for form, _, _ in CONDITIONS:
        assert f"`{form}`" in page, form
