"""Shrinking: a large failing test becomes a small one that fails in the same way."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from seatrial.checker.history import History
from seatrial.harness.results import Check
from seatrial.harness.rng import Rng
from seatrial.harness.schedule import planned
from seatrial.harness.shrink import Failure, Kind, NotReproduced, Shrinker, Size, Trial, cuts
from seatrial.harness.shrink.ddmin import ddmin
from seatrial.harness.shrink.trial import failures
from seatrial.harness.testfile import PlannedFault, PlannedOperation, Schedule, Spec

S = 1_000_000_000
LINEARIZABLE = Kind("linearizable")


# ---- delta debugging


def test_ddmin_finds_the_few_that_matter_wherever_they_are() -> None:
    for seed in range(200):
        rng = Rng(seed)
        items = list(range(1 + rng.below(60)))
        guilty = set(rng.shuffled(items)[:rng.below(5)])
        found = ddmin(items, lambda part, guilty=guilty: guilty <= set(part))  # type: ignore[misc]
        assert found == sorted(guilty)


def test_what_ddmin_returns_fails_and_nothing_of_it_can_be_taken_away() -> None:
    """Also where more than one part fails, and a larger one need not."""
    for seed in range(200):
        rng = Rng(seed)
        items = list(range(2 + rng.below(30)))
        wholes = [set(rng.shuffled(items)[:1 + rng.below(4)]) for _ in range(3)]

        def fails(part: list[int], wholes: list[set[int]] = wholes) -> bool:
            return any(whole <= set(part) for whole in wholes)

        found = ddmin(items, fails)
        assert fails(found)
        assert not any(fails([other for other in found if other != item]) for item in found)


def test_ddmin_of_many_takes_few_trials() -> None:
    trials = 0

    def fails(part: list[int]) -> bool:
        nonlocal trials
        trials += 1
        return {17, 401} <= set(part)

    assert ddmin(list(range(1000)), fails) == [17, 401]
    assert trials < 120


# ---- cuts


def op(at: float, client: int, f: str, value: Any = None, key: str = "r0") -> PlannedOperation:
    return PlannedOperation(at=at, client=client, f=f, key=key, value=value)


def strike(at: float, hold: float | None, name: str = "kill", **more: Any) -> PlannedFault:
    return PlannedFault.model_validate({"at": at, "for": hold, "name": name, **more})


def a_test(operations: list[PlannedOperation] = [], faults: list[PlannedFault] = [],  # noqa: B006
           **fields: Any) -> Spec:
    whole = {"name": "t", "workload": {"name": "register"}, "time_limit": 10.0, "seed": 50,
             "clients": 20} | fields
    return Spec.model_validate(whole).model_copy(update={
        "schedule": Schedule(operations=operations, faults=faults)})


def test_a_test_ends_right_after_a_moment_and_faults_that_went_on_end_with_it() -> None:
    spec = a_test([op(1, 0, "read"), op(3, 0, "read"), op(5, 0, "read")],
                  [strike(0, 2), strike(1, 8), strike(6, 1)])
    cut = cuts.ended(spec, 3 * S)
    assert cut.time_limit == 3.001
    assert [o.at for o in planned(cut).operations] == [1, 3]
    assert [(f.at, f.hold) for f in planned(cut).faults] == [(0, 2), (1, None)]
    assert cuts.ended(spec, 11 * S) == spec


def test_nothing_happens_long_before_the_first_thing() -> None:
    spec = cuts.begun_later(a_test([op(5.5, 0, "read")], [strike(4.25, 2)]))
    assert [(f.at, f.hold) for f in planned(spec).faults] == [(0.1, 2.0)]
    assert [o.at for o in planned(spec).operations] == [1.35]
    assert spec.time_limit == 5.85
    assert cuts.begun_later(spec) == spec
    assert cuts.begun_later(a_test()).time_limit < 0.11


def test_one_gap_gets_shorter_and_all_the_others_stay() -> None:
    spec = a_test([op(1, 0, "read"), op(1.3, 1, "read")], [strike(1.1, 3)])
    assert cuts.moments(spec) == [0, S, 1_100_000_000, 1_300_000_000, 4_100_000_000, 10 * S]
    shorter = next(cuts.shorter_gap(spec, 3))
    assert [o.at for o in planned(shorter).operations] == [1, 1.1]
    assert (planned(shorter).faults[0].hold, shorter.time_limit) == (2.8, 9.8)
    assert all(one.time_limit > 4.1 for one in cuts.shorter_gap(spec, 5))


def test_nodes_that_go_take_their_part_in_faults_with_them() -> None:
    spec = a_test([op(1, 0, "read"), op(1, 4, "read"), op(1, 6, "read")], [
        strike(1, 2, targets=["n2", "n4"]), strike(1, 2, targets=["n1"]),
        strike(1, 2, "partition-one", targets=["n5"], grudge={"n5": ["n1", "n2"], "n1": ["n5"]})])
    small = cuts.only_nodes(spec, ["n2", "n4", "n5"])
    assert small.topology.nodes == 3
    assert [(f.targets, f.grudge) for f in planned(small).faults] == [
        (["n1", "n2"], None), (["n3"], {"n3": ["n1"]})]
    preferred = {"n1": 0, "n2": 1, "n3": 2}
    clients = [o.client for o in planned(small).operations]
    assert len(set(clients)) == 3
    assert clients[1] % 3 == preferred["n3"], "client 4 preferred n5, which is n3 now"
    assert clients[2] % 3 == preferred["n1"], "client 6 preferred n2, which is n1 now"
    assert small.clients == max(clients) + 1


def test_nodes_that_faults_name_are_rather_kept() -> None:
    spec = a_test(faults=[strike(1, 2, targets=["n3", "n5"])])
    first = next(cuts.fewer_nodes(spec, 3))
    assert planned(first).faults[0].targets == ["n2", "n3"]


def test_clients_without_work_go_and_the_others_are_numbered_without_gaps() -> None:
    spec = a_test([op(1, 7, "read"), op(2, 16, "read"), op(3, 7, "read")])
    dense, modulo, same = cuts.fewer_clients(spec)
    assert ([o.client for o in planned(dense).operations], dense.clients) == ([0, 1, 0], 2)
    assert ([o.client for o in planned(modulo).operations], modulo.clients) == ([2, 1, 2], 3)
    assert ([o.client for o in planned(same).operations], same.clients) == ([7, 16, 7], 17)
    assert list(cuts.fewer_clients(dense)) == []


def test_names_are_plain_and_a_value_stays_the_same_wherever_it_is() -> None:
    spec = a_test([op(3, 0, "read", None, "r9"), op(1, 0, "write", 77, "r9"),
                   op(2, 0, "cas", [77, 78], "r9"), op(4, 0, "cas", [None, 5], "r2")])
    plain = cuts.plain_names(spec)
    assert [(o.f, o.key, o.value) for o in planned(plain).operations] == [
        ("write", "k0", 1), ("cas", "k0", [1, 2]), ("read", "k0", None), ("cas", "k1", [None, 3])]


def test_a_target_is_left_open_or_else_one_of_several_is_spared() -> None:
    spec = a_test(faults=[strike(1, 2, targets=["n1", "n2"], seed=9)])
    assert [f.targets for s in cuts.unaimed(spec, 0) for f in planned(s).faults] == [None] * 4
    assert [f.targets for s in cuts.fewer_targets(spec, 0) for f in planned(s).faults] == [
        ["n2"], ["n1"]]
    assert list(cuts.unaimed(next(cuts.unaimed(spec, 0)), 0)) == []


def test_the_mutant_is_no_option_that_is_taken_away() -> None:
    spec = a_test(system={"name": "node", "options": {"mutant": "apply-twice", "port": 1}},
                  workload={"name": "register", "options": {"keys": 1}})
    assert [(s.workload.options, s.system.options) for s in cuts.fewer_options(spec)] == [
        ({}, {"mutant": "apply-twice", "port": 1}), ({"keys": 1}, {"mutant": "apply-twice"})]


# ---- the search, on bugs that are only pretended


def load(seconds: float = 10.0, keys: int = 4) -> list[PlannedOperation]:
    """A write, and soon a read, of each key in turn, by client after client."""
    made = []
    for n in range(int(seconds * 40)):
        key, at = f"r{n % keys}", n / 40
        made.append(op(at, n % 20, "write", n, key) if n // keys % 2 else
                    op(at, n % 20, "read", None, key))
    return made


FAULTS = [strike(at, 1.5, name, targets=[f"n{1 + int(at) % 5}"])
          for at, name in ((0.5, "pause"), (2.5, "kill"), (4.5, "pause"), (6.5, "kill"),
                           (7.0, "pause"), (8.5, "kill"))]


def lost_write(spec: Spec, seed: int) -> Trial:
    """A write during a kill that is in force is lost; a later read of that key shows it."""
    plan = planned(spec)
    for fault in plan.faults:
        if fault.name != "kill":
            continue
        end = cuts.end_ns(fault, spec) / S
        for write in plan.operations:
            if write.f != "write" or not fault.at <= write.at < end:
                continue
            for i, read in enumerate(plan.operations):
                if read.f == "read" and read.key == write.key and read.at >= end - 0.2:
                    return failed(seed, read.at, read.key, (plan.operations.index(write), i))
    return Trial(seed, "pass", "0")


def is_no_worse(found: Spec, given: Spec) -> bool:
    """Whether a result is at most as large as what it was made from."""
    a, b = Size.of(found), Size.of(given)
    return (a.operations <= b.operations and a.faults <= b.faults and a.nodes <= b.nodes
            and a.seconds <= b.seconds)


def failed(seed: int, at: float, key: str | None = None, core: tuple[int, ...] = (),
           kind: Kind = LINEARIZABLE) -> Trial:
    keys = () if key is None else (key,)
    return Trial(seed, "violation", "d", (Failure(kind, "lost", round(at * S), keys, core),))


def shrunk(run: Callable[[Spec, int], Trial], spec: Spec, **options: Any) -> Any:
    return Shrinker(run, options.pop("kind", LINEARIZABLE), **options).shrink(spec)


def test_a_lost_write_shrinks_to_a_write_a_kill_and_a_read() -> None:
    given = a_test(load(), FAULTS)
    assert Size.of(given).operations == 400
    lines: list[str] = []
    result = shrunk(lost_write, given, told=lines.append)
    plan = planned(result.spec)
    assert [(o.f, o.key, o.client) for o in plan.operations] == [
        ("write", "k0", plan.operations[0].client), ("read", "k0", plan.operations[1].client)]
    assert [(f.name, f.targets) for f in plan.faults] == [("kill", None)]
    assert result.spec.clients <= 2
    assert result.spec.topology.nodes == 3
    assert result.spec.time_limit < 0.5
    assert result.finished
    assert is_no_worse(result.spec, given)
    assert result.trials < 300
    assert "2 operations, 1 fault" in lines[-1]


def test_an_invariant_needs_no_operations() -> None:
    kind = Kind("invariants", "one-vote-a-term")

    def two_pauses(spec: Spec, seed: int) -> Trial:
        pauses = [fault for fault in planned(spec).faults if fault.name == "pause"]
        if len(pauses) >= 2 and spec.topology.nodes >= 3:
            return failed(seed, pauses[1].at + 0.3, kind=kind)
        return Trial(seed, "pass", "0")

    result = shrunk(two_pauses, a_test(load(), FAULTS), kind=kind)
    assert planned(result.spec).operations == []
    assert [f.name for f in planned(result.spec).faults] == ["pause", "pause"]
    assert result.spec.topology.nodes == 3


def test_another_failure_than_the_one_sought_counts_for_nothing() -> None:
    def other_when_small(spec: Spec, seed: int) -> Trial:
        if len(planned(spec).operations) > 30:
            return failed(seed, 9)
        return failed(seed, 9, kind=Kind("invariants", "log-matching"))

    result = shrunk(other_when_small, a_test(load(), FAULTS))
    assert len(planned(result.spec).operations) == 31
    assert result.failure.kind == LINEARIZABLE


def test_a_candidate_that_fails_with_another_seed_only_is_taken_with_that_seed() -> None:
    def races(spec: Spec, seed: int) -> Trial:
        size = len(planned(spec).operations) + 7 * len(planned(spec).faults)
        if (seed == 50 and size == 442) or (seed + size) % 7 == 0:
            return lost_write(spec, seed)
        return Trial(seed, "pass", "0")

    result = shrunk(races, a_test(load(), FAULTS))
    assert (len(planned(result.spec).operations), len(planned(result.spec).faults)) == (2, 1)
    assert races(result.spec, result.spec.seed).failure(LINEARIZABLE) is not None
    assert result.trial.seed == result.spec.seed != 50


def test_a_surrounding_and_options_that_do_not_matter_go() -> None:
    given = a_test([op(1, 0, "read")], system={"name": "node", "options": {"port": 7401}}, sim={
        "swarm": False, "environment": {"latency_ns": 5, "frames": True, "loss_ppm": 3}})

    def needs_loss(spec: Spec, seed: int) -> Trial:
        return failed(seed, 1) if spec.sim.environment.get("loss_ppm") else Trial(seed, "pass", "")

    result = shrunk(needs_loss, given)
    assert result.spec.sim.environment == {"loss_ppm": 3}
    assert result.spec.system.options == {}


def test_when_the_time_is_up_the_best_so_far_is_the_result() -> None:
    now = 0.0

    def slow(spec: Spec, seed: int) -> Trial:
        nonlocal now
        now += 1.0
        return lost_write(spec, seed)

    given = a_test(load(), FAULTS)
    result = shrunk(slow, given, budget_s=4.0, clock=lambda: now)
    assert result.end == "the time was up (--budget 4)"
    assert not result.finished
    assert result.trials <= 6
    assert is_no_worse(result.spec, given)
    assert lost_write(result.spec, 1).failures
    assert shrunk(slow, given, budget_s=0.0, clock=lambda: now).spec == given


def test_an_interrupted_search_keeps_what_it_has_found() -> None:
    trials = 0

    def impatient(spec: Spec, seed: int) -> Trial:
        nonlocal trials
        trials += 1
        if trials == 12:
            raise KeyboardInterrupt
        return lost_write(spec, seed)

    given = a_test(load(), FAULTS)
    result = shrunk(impatient, given)
    assert (result.end, result.finished, trials) == ("interrupted", False, 12)
    assert Size.of(result.spec) != Size.of(given)
    assert lost_write(result.spec, 1).failures


def test_where_the_whole_does_not_fail_again_a_part_of_it_may() -> None:
    def shy(spec: Spec, seed: int) -> Trial:
        """The bug shows only where little else goes on."""
        busy = len(planned(spec).operations) > 100
        return Trial(seed, "pass", "0") if busy else lost_write(spec, seed)

    given = a_test(load(), FAULTS)
    seen = lost_write(given, 1).failure(LINEARIZABLE)
    with pytest.raises(NotReproduced):
        shrunk(shy, given)
    result = Shrinker(shy, LINEARIZABLE).shrink(given, seen)
    assert len(planned(result.spec).operations) == 2
    with pytest.raises(NotReproduced):
        Shrinker(lambda spec, seed: Trial(seed, "pass", "0"), LINEARIZABLE).shrink(given, seen)


def test_what_does_not_fail_again_is_said_so() -> None:
    with pytest.raises(NotReproduced, match="seed 50: written down as a schedule of 1 operation, "
                                            "0 faults, 5 nodes, 10 s it does not violate"):
        shrunk(lambda spec, seed: Trial(seed, "pass", "0"), a_test([op(1, 0, "read")]))


# ---- what a failure is about


def test_a_counterexample_names_key_moment_and_operations_of_the_schedule() -> None:
    spec = a_test([op(2, 1, "read"), op(1, 0, "write", 5), op(1.5, 1, "write", 6)], clients=2)
    rows = [
        {"type": "invoke", "process": 0, "f": "write", "value": 5, "key": b"r0", "time": 3 * S},
        {"type": "ok", "process": 0, "f": "write", "value": 5, "key": b"r0", "time": 3 * S + 1},
        {"type": "info", "process": -1, "f": "leader", "value": {}, "time": 3 * S + 2},
        {"type": "invoke", "process": 1, "f": "write", "value": 6, "key": b"r0", "time": 4 * S},
        {"type": "info", "process": 1, "f": "write", "value": 6, "key": b"r0", "time": 4 * S + 1},
        {"type": "invoke", "process": 3, "f": "read", "key": b"r0", "time": 5 * S},
        {"type": "ok", "process": 3, "f": "read", "value": None, "key": b"r0", "time": 6 * S},
    ]
    evidence = {"counterexamples": [{
        "key": "r0", "operation": {"invoked_row": 5, "completed_row": 6},
        "core": [{"invoked_row": 0, "completed_row": 1}, {"invoked_row": 5, "completed_row": 6}]}]}
    checks = {"linearizable": Check("violation", "lost", evidence), "stats": Check("pass")}
    found = failures(checks, spec, History.from_rows(rows), 2 * S, 9 * S)
    assert found == (Failure(LINEARIZABLE, "lost", 4 * S, ("r0",), (0, 1)),)


def test_a_violated_invariant_names_its_property_and_its_moment() -> None:
    checks = {"invariants": Check("violation", "two leaders", {
        "property": "election safety", "time_ns": 5 * S})}
    found = failures(checks, a_test(), None, 2 * S, 9 * S)
    assert found == (Failure(Kind("invariants", "election safety"), "two leaders", 3 * S),)
