"""What nodes came by in simulated runs: counted, told as a table, and enough of everything."""
from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from seatrial.core import marks
from seatrial.harness.launch import SIM, Request, plan
from seatrial.harness.sim.answer import Answer, answer
from seatrial.harness.sim.covered import WIDTH, Covered
from seatrial.harness.sim.simulation import Simulation

ROOT = Path(__file__).resolve().parents[2]
SEEDS = (1, 15, 25, 37, 68, 84)     # of which each has something that the others have not


def run(seed: int, store: Path) -> Answer:
    request = Request(ROOT / "examples/swarm.yml", store, world=SIM)
    return answer(Simulation(plan(request.seeded(seed))).run())


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[Answer]:
    """A few seeds that have a bit of everything."""
    return [run(seed, tmp_path_factory.mktemp("store")) for seed in SEEDS]


def test_counts_begin_with_each_run(tmp_path: Path) -> None:
    one, two = run(1, tmp_path), run(1, tmp_path)
    assert one.marks == two.marks
    assert one.marks["role_candidate_to_leader"] > 0


@pytest.mark.parametrize("mark", [
    "resigned_for_later_term", "resigned_without_quorum", "resigned_as_removed",
    "change_simple", "change_joint_entered", "change_joint_left", "change_cut_off",
    "change_from_snapshot", "transfer_done", "transfer_timed_out",
    "snapshot_taken", "snapshot_sent", "snapshot_installed_over_short_log",
    "snapshot_resumed_after_break", "snapshot_resumed_after_restart",
    "snapshot_resumed_by_later_leader", "snapshot_superseded", "snapshot_restored",
    "snapshot_restored_in_part", "compact_entries", "damaged_start", "read_by_lease",
    "read_at_follower", "session_states_compared",
])
def test_a_few_seeds_come_by_all_that_matters(answers: list[Answer], mark: str) -> None:
    assert sum(found.marks.get(mark, 0) for found in answers) > 0


def test_a_few_seeds_pass_and_never_come_by_what_can_not_be(answers: list[Answer]) -> None:
    assert {found.verdict for found in answers} == {"pass"}
    assert not marks.IMPOSSIBLE & {name for found in answers for name in found.marks}


def test_seeds_and_counts_are_added_up_and_gaps_are_named() -> None:
    covered = Covered.of([{"snapshot_taken": 3, "answer_ok": 1}, {"snapshot_taken": 4}, {}])
    assert covered.marks == {"snapshot_taken": (2, 7), "answer_ok": (1, 1)}
    assert set(covered.gaps) == (
        set(marks.NAMES) - marks.IMPOSSIBLE - {"snapshot_taken", "answer_ok"})


def test_the_table_has_a_line_for_each_group_and_one_for_the_gaps() -> None:
    told = Covered({"snapshot_taken": (2, 7000), "answer_ok": (1, 1)}, ["transfer_done"]).lines()
    assert told[0].startswith("covered: 2 of ")
    assert told[1:] == ["  snapshot  taken 2 (7,000)", "  answer    ok 1 (1)",
                        "  gaps      transfer done"]


def test_a_long_line_is_broken_between_marks() -> None:
    told = Covered({}, sorted(set(marks.NAMES) - marks.IMPOSSIBLE)).lines()
    assert max(map(len, told)) <= WIDTH
    words = Counter(", ".join(line.strip() for line in told[1:]).replace(",,", ",").split(", "))
    assert words["gaps      altered message"] == 1
    assert words["transfer done"] == 1


def test_each_mark_has_its_place_in_the_sources() -> None:
    """A mark that nothing sets could never be more than a gap."""
    files = [*(ROOT / "core").glob("*.pyx"), *(ROOT / "harness/sim").glob("*.pyx")]
    bodies = "\n".join(file.read_text(encoding="utf-8").partition("\ncdef class ")[2]
                       for file in files if file.name != "marks.pyx")
    counted = ("role_", "answer_", "sent_", "stale_", "host_struck_at_")    # by a number
    unset = [name for name in marks.NAMES
             if not name.startswith(counted) and not re.search(rf"\b{name.upper()}\b", bodies)]
    assert unset == []
