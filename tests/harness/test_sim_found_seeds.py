"""What simulation once found, it finds again: seeds and schedules with planted bugs.

``found_seeds.tsv`` has the first seed that found each bug, in ``found/`` are runs that
``seatrial shrink`` made small. With the bug planted, the property that broke must break again;
with none, nothing may be found.

A seed does not outlive a change of what draws from it; then this makes the table anew::

    seatrial mutants --first --control 0 --found tests/harness/found_seeds.tsv

A schedule draws little, and what it shows does not depend on one seed: some of ``TRIED`` will do.
"""
from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from seatrial.harness.detection import broken, planted
from seatrial.harness.launch import SIM, Request, plan
from seatrial.harness.mutants import MUTANTS, PROPERTIES
from seatrial.harness.sim.answer import Answer, answer
from seatrial.harness.sim.crew import crew
from seatrial.harness.sim.simulation import Simulation
from seatrial.workloads.systems.planted import mutants_folder

ROOT = Path(__file__).resolve().parents[2]
TABLE = Path(__file__).with_name("found_seeds.tsv")
SCHEDULES = sorted(Path(__file__).with_name("found").glob("*.yml"))
TRIED = range(1, 21)
BROKE = re.compile(r"^# It violates (?:invariants \((.+)\)|(.+)):$", re.M)
AGAIN = ("seed {seed} of {file} does not find {bug} by {property} any more, but {now}; if the "
         "node, the faults or the swarm changed on purpose, make the table anew: seatrial mutants "
         "--first --control 0 --found tests/harness/found_seeds.tsv")


class Found(NamedTuple):
    """One line of the table."""

    bug: str
    file: str
    seed: int
    property: str


def table() -> list[Found]:
    """Return all lines."""
    head, *lines = TABLE.read_text(encoding="utf-8").splitlines()
    assert head.split("\t") == list(Found._fields)
    return [Found(bug, file, int(seed), found)
            for bug, file, seed, found in (line.split("\t") for line in lines)]


FOUND = table()


def request(file: str | Path, store: Path) -> Request:
    return Request(ROOT / file, store, world=SIM)


def answers(
    asked: Request, seeds: Sequence[int], core: Path | None = None
) -> Generator[Answer, None, None]:
    """Run seeds in a process of its own. core: the build that it imports."""
    with closing(crew(asked, seeds, jobs=1, python_path=core)) as found:
        yield from found


@pytest.fixture(scope="module")
def core() -> Path:
    """The build with the planted bugs."""
    return mutants_folder()


def test_the_table_has_a_line_for_each_planted_bug() -> None:
    assert [line.bug for line in FOUND] == [mutant.name for mutant in MUTANTS]
    assert {line.property for line in FOUND} <= set(PROPERTIES)


@pytest.mark.slow
@pytest.mark.parametrize("line", FOUND, ids=[line.bug for line in FOUND])
def test_a_seed_that_found_a_bug_finds_it_again(line: Found, tmp_path: Path, core: Path) -> None:
    [ended] = answers(planted(request(line.file, tmp_path), line.bug), [line.seed], core)
    assert broken(ended) == line.property, AGAIN.format(
        **line._asdict(), now=f"{ended.verdict} ({ended.summary})")


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted({line.file for line in FOUND}))
def test_with_no_bug_planted_the_same_seeds_pass(file: str, tmp_path: Path) -> None:
    seeds = sorted({line.seed for line in FOUND if line.file == file})
    ended = {found.seed: found.verdict for found in answers(request(file, tmp_path), seeds)}
    assert ended == dict.fromkeys(seeds, "pass")


@pytest.mark.parametrize("file", SCHEDULES, ids=[file.stem for file in SCHEDULES])
class TestSchedules:
    def test_a_run_that_was_made_small_fails_in_the_same_way(
        self, file: Path, tmp_path: Path, core: Path
    ) -> None:
        said = BROKE.search(file.read_text(encoding="utf-8"))
        assert said, "expected what it violates in its first lines, as seatrial shrink writes them"
        found = answers(request(file, tmp_path), TRIED, core)
        with closing(found):
            assert (said[1] or said[2]) in map(broken, found)

    def test_with_no_bug_planted_it_finds_nothing(self, file: Path, tmp_path: Path) -> None:
        sound = planted(request(file, tmp_path), None)
        ended = [answer(Simulation(plan(sound.seeded(seed))).run()) for seed in TRIED]
        assert {found.verdict for found in ended} <= {"pass", "no-coverage"}, ended
