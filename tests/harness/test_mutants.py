"""The catalogue of planted bugs says of each what there is to say, and knows all."""
from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from seatrial.harness import detection
from seatrial.harness.cli import main
from seatrial.harness.detection import Matrix, Row, share
from seatrial.harness.domain_mutants import LAYERS, SYNC
from seatrial.harness.launch import SIM, Request
from seatrial.harness.mutants import ELSEWHERE, MUTANTS, PARTS, PROPERTIES, SWARM
from seatrial.harness.report.matrix import found, linked
from seatrial.harness.sim.answer import Answer
from seatrial.workloads.systems.wheels import mutant_names


def test_the_catalogue_holds_the_planted_bugs_of_the_sources() -> None:
    assert sorted(mutant.name for mutant in (*MUTANTS, *ELSEWHERE)) == sorted(mutant_names())


def test_each_part_of_the_node_has_planted_bugs() -> None:
    parts = Counter(mutant.part for mutant in (*MUTANTS, *ELSEWHERE))
    assert set(parts) == set(PARTS)
    assert parts.total() >= 18


def test_each_planted_bug_has_a_source_and_a_property_that_it_breaks() -> None:
    for mutant in (*MUTANTS, *ELSEWHERE):
        assert mutant.breaks
        assert set(mutant.breaks) <= set(PROPERTIES), mutant.name
        assert re.search(r"paper|thesis|#\d|(19|20)\d\d", mutant.source), mutant.name
        assert mutant.what[0].islower(), mutant.name
        assert not mutant.what.endswith("."), mutant.name


def ended(seed: int, *, by: str | None = None) -> Answer:
    """How a seed ended: it broke an invariant, or passed."""
    return Answer(seed=seed, verdict="violation" if by else "pass", summary=f"invariants: {by}: x",
                  checks={"invariants": "violation"} if by else {})


def test_the_first_find_is_known_when_all_seeds_before_it_are_over() -> None:
    row = Row(MUTANTS[0])
    row.add(ended(3, by="durability"))
    assert not row.is_first_known()
    row.add(ended(1))
    assert not row.is_first_known()
    row.add(ended(2, by="log matching"))
    assert row.is_first_known()
    assert row.first() == 2


def test_first_finds_are_written_as_a_table() -> None:
    first, second = Row(MUTANTS[0], Path("a.yml")), Row(MUTANTS[1])
    first.add(ended(7, by="durability"))
    second.add(ended(7))
    assert found(Matrix([first, second], [])) == (
        f"bug\tfile\tseed\tproperty\n{MUTANTS[0].name}\ta.yml\t7\tdurability\n")


@pytest.mark.parametrize(("options", "line"), [
    (["--first", "--write", "README.md"], "--write: not with --first"),
    (["--found", "found.tsv", "--only", "vote-twice"], "--found: not with --only"),
])
def test_options_of_the_command_that_contradict_each_other_are_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, options: list[str],
    line: str,
) -> None:
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    assert main(["mutants", *options]) == 254
    assert capsys.readouterr().err.startswith(f"seatrial: {line}")


def test_the_document_lists_the_planted_bugs_of_domains() -> None:
    document = (Path(__file__).resolve().parents[2] / "docs" / "mutants.md").read_text("utf-8")
    for mutant in (*MUTANTS, *ELSEWHERE):
        if mutant.part == "domains":
            assert f"| `{mutant.name}` | {mutant.what} | {linked(mutant)} |" in document


def test_each_bug_is_given_the_test_that_it_names_or_all_the_one_that_is_asked_for() -> None:
    asked = Request(Path("a.yml"), Path("store"), world=SIM)
    own = detection.tests_of(asked, MUTANTS, own=True)
    assert {str(file) for file in own} == {SWARM, SYNC, LAYERS}
    assert list(detection.tests_of(asked, MUTANTS, own=False)) == [asked.file]
    assert [share(Path(file), 150) for file in (SWARM, SYNC)] == [150, 15]
