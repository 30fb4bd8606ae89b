"""Faults in the simulated world: each does what it says, proves it, and leaves nothing behind."""
from __future__ import annotations

import asyncio
from typing import Any

import pytest

from seatrial.core.errors import InvariantViolation
from seatrial.harness.fault_windows import CUTS_BY_DOMAIN, KILLS, cuts_links
from seatrial.harness.nemesis.catalogue import CATALOGUE, HOST_KINDS, SIM_KINDS, kinds
from seatrial.harness.nemesis.fault import Fault
from seatrial.harness.nemesis.sim import tree
from seatrial.harness.sim.world import World

from .sim_stage import MS, Stage, Tampered

LIFE = [("requested", None), ("effective", None), ("ended", None), ("recovered", None)]
OF_DOMAINS = [*CUTS_BY_DOMAIN, *(KILLS - {"kill"})]
ENVIRONMENT: dict[str, dict[str, Any]] = {
    "disk-full": {"segment_bytes": 4096},
    "member-add": {"nodes": 6, "spares": 1}, "member-replace": {"nodes": 6, "spares": 1},
    **{name: {"domains": (3, 3, 1)} for name in OF_DOMAINS}, "pool-cut": {"pools": 2}}
OF_TREES = {kind.name for kind in tree.KINDS}        # (no data flows between domains here)
UNUSUAL = ("disk-flip", "disk-lost-writes", *OF_TREES)
USUAL = [name for name in SIM_KINDS if name not in UNUSUAL]


def nothing(*arguments: Any, **options: Any) -> int:
    return 0


def stage(name: str, **options: Any) -> Stage:
    return Stage(name, **(ENVIRONMENT.get(name, {}) | options))


def lived(made: Stage, name: str, hold_s: float = 0.5, **more: Any) -> Fault:
    """Let a fault live its life, and the cluster recover."""
    async def body(s: Stage) -> Fault:
        fault = await s.start(name, **more)
        await asyncio.sleep(hold_s)
        await s.stop(fault)
        await s.heal()
        await s.agreed()
        return fault

    return made.play(body)


@pytest.mark.parametrize("name", USUAL)
def test_every_fault_takes_effect_is_proved_and_leaves_nothing_behind(name: str) -> None:
    made = stage(name)
    fault = lived(made, name)
    assert made.told == LIFE
    assert fault.targets
    assert set(fault.parameters) == set(SIM_KINDS[name].parameters)
    assert made.states() == ["up"] * made.world.hosts
    network = made.world.network
    assert all(made.world.hears(a, b) for a in range(network.endpoints)
               for b in range(network.endpoints) if a != b)


@pytest.mark.parametrize("name", USUAL)
def test_the_same_seed_plays_the_same_fault(name: str) -> None:
    runs = []
    for _ in range(2):
        made = stage(name)
        fault = lived(made, name)
        runs.append((made.world.digest(), fault.targets, fault.grudge, fault.parameters,
                     fault.effective_ns, fault.recovered_ns))
    assert runs[0] == runs[1]


SABOTAGE: dict[str, dict[str, Any]] = {
    "kill": {"kill": nothing}, "pause": {"pause": nothing}, "power-loss": {"power_loss": nothing},
    "reboot": {"power_loss": nothing}, "crash-points": {"crash_points": nothing},
    "cpu-slow": {"slow": nothing}, "reset": {"reset": nothing},
    "clock-bump": {"clock_bump": nothing}, "clock-drift": {"clock_rate": nothing},
    "election-storm": {"leaders": lambda: []}, "election-contest": {"clock_bump": nothing},
    "figure-eight": {"crash_points": nothing},
    "split-vote": {"cut": nothing, "lift": nothing}, "late-votes": {"clock_bump": nothing},
    "stale-leader": {"leaders": lambda: []},
    "bare-majority": {"kill": nothing, "power_loss": nothing},
    "fresh-leader": {"kill": nothing, "power_loss": nothing, "clock_bump": nothing},
    "lost-answers": {"reset": nothing}, "old-requests": {"clock_bump": nothing},
    "transfer-leader": {"transfer": nothing},
    **{name: {"change": nothing} for name in SIM_KINDS if name.startswith("member-")},
    **{name: {"cut": nothing, "lift": nothing} for name in SIM_KINDS
       if cuts_links(name) or name == "pool-cut"},
    **{name: {"kill": nothing} for name in KILLS},
    **{name: {"impair": nothing, "lift": nothing}
       for name in ("loss", "delay", "reorder", "duplicate", "corrupt", "rate")},
}
IDLE_DISKS = {"disk-slow": "slow", "disk-stall": "stall", "disk-error": "fail",
              "disk-full": "fill", "disk-flip": "flip", "disk-lost-writes": "lie"}


@pytest.mark.parametrize("name", [name for name in SIM_KINDS if name not in OF_TREES])
def test_a_fault_made_ineffective_behind_its_back_is_told_as_ineffective(name: str) -> None:
    def sabotaged(world: World) -> Any:
        if name in IDLE_DISKS:
            idle = {IDLE_DISKS[name]: nothing}
            return Tampered(world, disk=lambda host: Tampered(world.disk(host), **idle))
        return Tampered(world, **SABOTAGE[name])

    made = stage(name, tamper=sabotaged)
    lived(made, name, hold_s=0.1)
    phase, error = made.told[1]
    assert phase == "ineffective"
    assert error
    assert made.nemesis.faults[0].effective_ns is None


@pytest.mark.parametrize(("name", "undo"), [("kill", "start"), ("power-loss", "start"),
                                            ("pause", "resume")])
def test_a_fault_undone_by_somebody_else_says_so(name: str, undo: str) -> None:
    made = stage(name)

    async def body(s: Stage) -> None:
        fault = await s.start(name, targets=["n2"])
        getattr(s.world, undo)(1)
        await asyncio.sleep(0.1)
        await s.stop(fault)

    made.play(body)
    assert made.told[-2] == ("ended", "had been undone early on n2")


def test_a_partition_lifted_behind_its_back_is_not_effective() -> None:
    def leaky(world: World) -> Any:
        def cut(pairs: Any) -> int:
            return world.cut(sorted(pairs)[:-1])
        return Tampered(world, cut=cut)

    made = stage("partition-halves", tamper=leaky)
    lived(made, "partition-halves")
    assert made.told[1][0] == "ineffective"
    assert "still hears" in str(made.told[1][1])


def test_the_surroundings_losses_are_not_taken_for_the_faults() -> None:
    made = stage("loss", loss_ppm=200_000, tamper=lambda world: Tampered(
        world, impair=nothing, lift=nothing))
    lived(made, "loss")
    assert made.told[1] == ("ineffective", "no packet was lost")


def test_explicit_targets_grudge_and_parameters_are_taken_as_they_are() -> None:
    made = Stage("partition-one", "delay")

    async def body(s: Stage) -> list[Fault]:
        one = await s.start("partition-one", grudge={"n1": ["n2"]})
        two = await s.start("delay", id="1", targets=["n3"],
                            parameters={"delay_us": 5000, "jitter_us": 0, "way": 2})
        assert not s.world.hears(0, 1)
        assert s.world.hears(1, 0)
        return [one, two]

    one, two = made.play(body)
    assert (one.targets, one.grudge) == (["n1", "n2"], {"n1": frozenset({"n2"})})
    assert (two.targets, two.parameters["delay_us"]) == (["n3"], 5000)
    assert [op.value["phase"] for op in made.events] == [
        "requested", "effective", "requested", "effective", "ended", "ended"]


def test_clocks_that_drift_apart_are_all_put_right() -> None:
    made = Stage("clock-drift")

    async def body(s: Stage) -> None:
        fault = await s.start("clock-drift", targets=["n2"], parameters={
            "rate_ppm": 100_000, "slow": 1, "apart": 1})
        before = [s.world.clock_ns(host) for host in range(3)]
        began_ns = s.world.now_ns
        await asyncio.sleep(1)
        passed_ns = s.world.now_ns - began_ns
        assert [round((s.world.clock_ns(host) - before[host]) / passed_ns, 2)
                for host in range(3)] == [1.1, 0.9, 1.1]
        await s.stop(fault)
        assert fault.recovered_ns is not None

    made.play(body)


@pytest.mark.parametrize(("name", "target", "error"), [
    ("pool-cut", "pool:p2", None), ("pool-cut", "pool:p3", "no pool is called 'pool:p3'"),
    ("pool-cut", "n1", "no pool is called 'n1'"),
    ("kill", "pool:p1", "no node is called 'pool:p1'"),
])
def test_a_pool_that_is_named_is_cut_off_and_no_node_is_a_pool(
    name: str, target: str, error: str | None,
) -> None:
    made = Stage(name, pools=2)

    async def body(s: Stage) -> None:
        await s.start(name, targets=[target])
        heard = [[s.world.hears(host, pool) for host in range(5)] for pool in (5, 6)]
        assert heard == [[True] * 5, [error is not None] * 5]

    made.play(body)
    assert made.told[1] == ("effective" if error is None else "ineffective", error)


def test_a_partition_with_targets_alone_says_what_is_missing() -> None:
    made = stage("partition-one")
    lived(made, "partition-one", targets=["n1"])
    assert made.told[1] == ("ineffective",
                            "targets alone don't say who hears whom: give a grudge")


def test_what_a_history_tells_replays_the_same_fault() -> None:
    """Targets, grudge and parameters of the events are what an explicit start takes."""
    for name in USUAL:
        first = stage(name)
        lived(first, name)
        told = first.events[1].value
        again = stage(name)
        lived(again, name, **{key: told[key] for key in ("targets", "grudge", "parameters")
                              if key in told})
        assert again.events[1].value == told, name
        assert again.world.digest() == first.world.digest(), name


@pytest.mark.parametrize("bit", range(1, 9))
def test_a_flipped_bit_is_found_and_the_node_repaired_or_gone_for_good(bit: int) -> None:
    made = stage("disk-flip")
    fault = lived(made, "disk-flip", targets=["n2"], parameters={"bit": bit})
    phases = [phase for phase, _ in made.told]
    if made.states()[1] == "broken":
        assert phases == ["requested", "effective", "ended", "unrecovered"]
        assert "gone for good" in str(fault.error)
    else:
        assert phases == ["requested", "effective", "ended", "recovered"]
        assert made.world.disk(1).counters()["flips"] > 0
    assert made.states()[::2] == ["up"] * 3


def test_flips_leave_room_for_one_more_failure_unless_they_are_told_whom_to_hit() -> None:
    made = stage("disk-flip", targets=("minority",))

    async def body(s: Stage) -> None:
        await s.start("disk-flip")
        assert s.states().count("broken") == 1
        second = await s.start("disk-flip", id="1")
        assert second.error == "one more node gone for good, and none could fail any more"
        at = next(n for n, state in enumerate(s.states()) if state == "up")
        third = await s.start("disk-flip", id="2", targets=[f"n{at + 1}"])
        assert third.effective_ns is not None

    made.play(body)


@pytest.mark.parametrize("name", ["disk-error", "disk-full"])
def test_a_majority_of_disks_stays_sound(name: str) -> None:
    made = stage(name, targets=("all",))

    async def body(s: Stage) -> list[Fault]:
        first = await s.start(name)
        await asyncio.sleep(0.2)
        second = await s.start(name, id="1")
        third = await s.start(name, id="2", targets=["n1", "n2", "n3"])
        assert s.states().count("broken") == 2
        return [first, second, third]

    first, second, third = made.play(body)
    assert len(first.targets) == 2
    assert second.effective_ns is third.effective_ns is None
    assert second.error == "one more node without a disk, and there would be no majority"


def test_a_disk_that_lies_breaks_the_promise_that_raft_stands_on() -> None:
    made = stage("disk-lost-writes", targets=("minority",))
    with pytest.raises(InvariantViolation, match="durability"):
        lived(made, "disk-lost-writes", hold_s=3)


def test_crash_points_of_several_faults_and_the_surroundings_add_up() -> None:
    made = Stage("crash-points", crash_points=(("vote", 10),), crash_down_ns=7 * MS)
    asked: list[Any] = []

    def tampered(world: World) -> Any:
        return Tampered(world, crash_points=lambda points, down_ns: asked.append((points, down_ns)))

    made.test.world.world = tampered(made.world)

    async def body(s: Stage) -> None:
        from seatrial.harness.nemesis.sim.scene import SimScene
        scene = SimScene(s.test, ())
        scene.set_points("a", {"vote": 5, "lead": 6}, 1)
        scene.set_points("b", {"vote": 20}, 2)
        scene.set_points("a", {}, 0)
        await scene.calm()
        scene.set_points("b", {}, 0)

    made.play(body)
    assert asked == [({"vote": 10, "lead": 6}, 1), ({"vote": 20, "lead": 6}, 2),
                     ({"vote": 20}, 2), ({}, 0)]


def test_healing_ends_what_the_surroundings_break() -> None:
    made = Stage("kill", crash_points=(("append", 200_000),), crash_down_ns=100 * MS)

    async def body(s: Stage) -> None:
        await asyncio.sleep(1)
        assert s.world.counters()["crash_points"] > 0
        await s.heal()
        assert "down" not in s.states()
        await s.agreed()

    made.play(body)


def test_one_list_of_names_serves_all_worlds() -> None:
    for world in ("local", "sim"):
        here = kinds(CATALOGUE, world)
        assert list(here) == list(CATALOGUE)
        assert all(here[name].cls == CATALOGUE[name].cls for name in here)
    assert set(HOST_KINDS) - set(SIM_KINDS) == {
        "snapshot", "rolling-restart", "rolling-upgrade", "freeze", "clock-back", "clock-strobe",
        "clock-drift-leader",
        "domain-power-loss"}
    for name in HOST_KINDS.keys() & SIM_KINDS.keys():
        assert HOST_KINDS[name].parameters == SIM_KINDS[name].parameters
    absent = kinds(["disk-flip"], "local")["disk-flip"]
    assert absent.impossible(None) == "exists only in the simulated world"


def test_patterns_say_when_a_cluster_is_too_small_for_them() -> None:
    made = Stage("figure-eight", "partition-majorities-ring", nodes=3)

    async def body(s: Stage) -> None:
        return None

    made.play(body)
    assert made.nemesis.impossible == {
        "figure-eight": "needs at least 5 nodes, there are 3",
        "partition-majorities-ring": "needs at least 4 nodes, there are 3"}


def test_a_bug_in_one_fault_keeps_no_other_from_being_healed() -> None:
    made = stage("partition-one")

    async def body(s: Stage) -> None:
        first = await s.start("partition-one")
        second = await s.start("partition-one", id="0-1")
        kind = s.nemesis.kinds["partition-one"]

        class Broken:
            """Ends any fault but the first."""

            def __getattr__(self, name: str) -> Any:
                return getattr(kind, name)

            async def stop(self, scene: Any, fault: Fault) -> None:
                if fault is first:
                    raise KeyError(2)
                await kind.stop(scene, fault)

        s.nemesis.kinds["partition-one"] = Broken()         # type: ignore[assignment]
        with pytest.raises(KeyError):
            await s.heal()
        assert second.recovered_ns
        assert not first.recovered_ns

    made.play(body)
