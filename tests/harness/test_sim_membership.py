"""Members that come and go in the simulated world, leadership that is handed over, leases."""
from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from seatrial.checker import Verdict
from seatrial.core.client import SessionLost
from seatrial.core.errors import InvariantViolation
from seatrial.core.membership import BadConfiguration, Change, Configuration
from seatrial.harness.errors import BadInput
from seatrial.harness.launch import SIM, Request, plan
from seatrial.harness.rng import Rng
from seatrial.harness.sim.client import SimClient
from seatrial.harness.sim.environment import LEASE_DRIFT_PPM, Environment, environment
from seatrial.harness.sim.simulation import Simulation
from seatrial.harness.sim.world import World
from seatrial.harness.testfile import validated
from seatrial.harness.yamlfile import Document

from .sim_stage import MS, Stage
from .test_sim_world import S, Writer, leader, run_until

FILE = """
name: members
topology: {nodes: 6, spares: 2}
workload: {name: register, options: {keys_at_a_time: 2}}
clients: 4
rate: 50
time_limit: 4
faults: {names: [member-replace, member-churn, transfer-leader], duration: 0.6, gap: 0.2, lanes: 2}
sim: {swarm: false}
coverage: {min_ok: 20, final_reads: false}
"""


def world(hosts: int, spares: int, **options: Any) -> World:
    made = World(1, hosts, Environment(**options))
    made.add_group(range(hosts), heartbeat_ns=50 * MS, election_ns=300 * MS,
                   voters=range(hosts - spares))
    for host in range(hosts):
        made.start(host)
    return made


def changed(w: World, *wishes: tuple[str, int]) -> Configuration:
    """Ask the leader for a change and wait for its end."""
    host = leader(w)
    assert w.change(host, [Change(kind, node) for kind, node in wishes])
    run_until(w, lambda: bool(w.leaders()) and w.settled(w.leaders()[0][1]))
    found = w.configuration(w.leaders()[0][1])
    assert found is not None
    return found


def written(w: World, host: int) -> None:
    """Have five values written."""
    writer = Writer(w, host)
    run_until(w, lambda: bool(writer.statuses))
    for _ in range(5):
        writer.write()
    run_until(w, lambda: len(writer.statuses) == 6)
    assert writer.statuses == ["ok"] * 6


# ---- the world -----------------------------------------------------------------------------------


def test_spares_run_and_take_no_part_until_they_are_asked() -> None:
    w = world(5, 2)
    host = leader(w)
    assert [w.state(h) for h in range(5)] == ["up"] * 5
    assert str(w.configuration(4)) == str(w.configuration(host)) == "voters=(1 2 3)"
    written(w, host)
    assert [(w.status(h) or {})["last_index"] for h in (3, 4)] == [0, 0]
    assert str(changed(w, ("voter", 4))) == "voters=(1 2 3 4)"
    run_until(w, lambda: w.converged() is None)
    assert (w.status(3) or {})["last_index"] == (w.status(host) or {})["last_index"]
    assert (w.status(4) or {})["last_index"] == 0


def test_a_group_has_a_voter_and_none_that_is_not_its_own() -> None:
    for voters in ([], [0, 7]):
        with pytest.raises(ValueError, match="expected at least one, and of hosts"):
            World(1, 3, Environment()).add_group(range(3), heartbeat_ns=1, election_ns=2,
                                                 voters=voters)


def test_several_change_at_once_by_way_of_a_joint_configuration() -> None:
    w = world(6, 3)
    assert str(changed(w, *(("voter", n) for n in (4, 5, 6)),
                       *(("remove", n) for n in (2, 3)))) == "voters=(1 4 5 6)"
    run_until(w, lambda: w.converged() is None)


def test_only_a_leader_changes_members_and_says_why_it_can_not() -> None:
    w = world(4, 1)
    host = leader(w)
    other = next(h for h in range(3) if h != host)
    assert not w.change(other, [Change("voter", 4)])
    with pytest.raises(BadConfiguration, match="removed all voters"):
        w.change(host, [Change("remove", n) for n in (1, 2, 3)])


def test_who_was_removed_need_not_have_everything() -> None:
    w = world(4, 0)
    host = leader(w)
    gone = next(h for h in range(4) if h != host)
    changed(w, ("remove", gone + 1))
    before = (w.status(gone) or {})["last_index"]
    written(w, w.leaders()[0][1])
    run_until(w, lambda: w.converged() is None)
    assert (w.status(gone) or {})["last_index"] <= before + 1 < (
        w.status(w.leaders()[0][1]) or {})["last_index"]


def test_a_leader_hands_over() -> None:
    w = world(3, 0)
    host = leader(w)
    to = (host + 1) % 3
    assert not w.transfer(to, host)
    assert w.transfer(host, to)
    run_until(w, lambda: leader(w) == to, S)


def test_a_node_that_is_no_voter_is_not_handed_leadership() -> None:
    w = world(4, 1)
    assert not w.transfer(leader(w), 3)


def test_a_majority_of_the_members_that_is_gone_for_good_promises_nothing() -> None:
    w = world(5, 2)
    host = leader(w)
    for h in (h for h in range(3) if h != host):
        w.disk(h).fail()
    Writer(w, host)
    run_until(w, lambda: [w.state(h) for h in range(5)].count("broken") == 2)
    assert w.converged() is None


# ---- faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["member-add", "member-remove", "member-replace", "member-churn",
                                  "member-race"])
@pytest.mark.parametrize("seed", range(3))
def test_when_a_fault_of_members_ends_as_many_vote_as_before(name: str, seed: int) -> None:
    made = Stage(name, nodes=7, spares=2, seed=seed)

    async def body(s: Stage) -> None:
        fault = await s.start(name)
        await asyncio.sleep(3)
        await s.stop(fault)
        await s.heal()
        await s.agreed()

    made.play(body)
    assert [phase for phase, _ in made.told] == ["requested", "effective", "ended", "recovered"]
    now = made.world.configuration(made.world.leaders()[0][1])
    assert now is not None
    assert (len(now.voters), now.learners, now.joint) == (5, frozenset(), False)


def test_faults_that_need_a_spare_say_so_where_there_is_none() -> None:
    made = Stage("member-add", "member-replace", nodes=5)

    async def body(s: Stage) -> None:
        await s.start("member-add")

    made.play(body)
    assert made.told[:2] == [("impossible", "needs a node that is no member at first "
                                            "(topology.spares)")] * 2


@pytest.mark.parametrize("name", ["member-remove", "member-churn", "member-race"])
def test_members_of_one_domain_among_several_stay(name: str) -> None:
    made = Stage(name, domains=(3, 3))

    async def body(s: Stage) -> None:
        await s.start(name)

    made.play(body)
    why = "members of one domain among several can't be changed yet"
    assert made.told == [("impossible", why), ("requested", None), ("ineffective", why)]


# ---- leases and reads at followers ---------------------------------------------------------------


def test_a_lease_that_outlives_an_election_ends_the_run() -> None:
    """Clocks that jump, which leases do not stand: the world sees two nodes that may answer."""
    w = world(3, 0, leases=True)
    old = leader(w)
    others = [h for h in range(3) if h != old]
    w.cut([(h, old) for h in others] + [(old, h) for h in others])
    w.clock_bump(others[0], S)
    w.clock_bump(others[1], 300 * MS)
    with pytest.raises(InvariantViolation, match=r"leader leases: node \d holds its lease of term"):
        run_until(w, lambda: False, S)


@pytest.mark.parametrize("seed", range(8))
def test_leases_stand_clocks_that_are_off_by_as_much_as_was_said(seed: int) -> None:
    w = World(seed, 3, Environment(leases=True, drift_ppm=LEASE_DRIFT_PPM))
    w.add_group(range(3), heartbeat_ns=50 * MS, election_ns=300 * MS)
    for host in range(3):
        w.start(host)
    for _ in range(5):
        old = leader(w)
        handle = w.cut([(h, old) for h in range(3) if h != old])
        run_until(w, lambda old=old: w.leaders() and w.leaders()[0][1] != old)  # type: ignore[misc]
        w.lift(handle)


def test_environments_know_how_far_clocks_may_be_off_with_leases() -> None:
    with pytest.raises(ValueError, match="with leases no clock may be off by more than 150000"):
        environment({"leases": True, "drift_ppm": LEASE_DRIFT_PPM + 1})


def test_some_reads_are_asked_of_any_node() -> None:
    made = Stage(nodes=5)
    asked: set[int] = set()

    async def body(s: Stage) -> None:
        client = SimClient(s.world, 0, 5, prefer=1, timeout_s=1, random_u64=Rng(5).next64,
                           any_node_ppm=1_000_000)
        for number in range(60):
            try:
                await client.write(b"mine", b"%d" % number)
            except SessionLost:
                continue
            answer = await client.read(b"mine")
            assert answer.value == b"%d" % number
            asked.add(answer.node)

    made.play(body)
    assert asked == {1, 2, 3, 4, 5}


# ---- test files ----------------------------------------------------------------------------------


def test_a_whole_run_with_members_that_change(tmp_path: Path) -> None:
    path = tmp_path / "t.yml"
    path.write_text(FILE)
    outcome = Simulation(plan(Request(path, tmp_path, world=SIM).seeded(3))).run()
    assert (outcome.verdict, outcome.error) == (Verdict.PASS, None), outcome.summary
    assert set(outcome.faults) == {"member-replace", "member-churn", "transfer-leader"}


BYSTANDER = """
from seatrial.harness.yamlfile import Section

class Options(Section):
    pass

class Bystander:
    name = "bystander"
    Options = Options

    def __init__(self, options):
        pass
"""


def test_spares_are_refused_where_a_system_could_not_let_them_join(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "bystander.py").write_text(BYSTANDER)
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "t.yml"
    path.write_text(FILE + "system: {name: 'bystander:Bystander'}\n")
    with pytest.raises(BadInput, match=r"topology\.spares: 'bystander:Bystander' can't be adm"):
        plan(Request(path, tmp_path, world="local").seeded(3))


def test_there_must_be_a_member() -> None:
    with pytest.raises(BadInput, match="spares is 6 of 6 nodes"):
        validated(Document.parse("t.yml", FILE.replace("spares: 2", "spares: 6")))


def test_progress_in_windows_is_asked_for_on_hosts_only_where_members_change(
    tmp_path: Path,
) -> None:
    path = tmp_path / "t.yml"
    path.write_text(FILE.replace("final_reads: false", "min_ok_per_window: 1"))
    plan(Request(path, tmp_path, world="local").seeded(3))
    with pytest.raises(BadInput, match=r"min_ok_per_window: not with topology\.spares"):
        plan(Request(path, tmp_path, world=SIM).seeded(3))
