"""Schedules: every operation and fault of a run written down, carried out, and rebuilt."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from seatrial.checker.history import History
from seatrial.harness import generator as gen
from seatrial.harness import schedule
from seatrial.harness.cli import main
from seatrial.harness.errors import BadInput
from seatrial.harness.generator import Context, simulate
from seatrial.harness.launch import Request, plan
from seatrial.harness.nemesis.lane import Lane, Rhythm
from seatrial.harness.op import INFO, NEMESIS, OK, Op
from seatrial.harness.phases import faults_of
from seatrial.harness.testfile import PlannedFault, PlannedOperation, Schedule, Spec, validated
from seatrial.harness.yamlfile import Document

from .test_run import a_run, live

S = 1_000_000_000
FILE = """\
name: planned
workload: {name: register}
clients: 3
time_limit: 4
coverage: {final_reads: false}
schedule:
  operations:
    - {at: 0.5, client: 2, f: write, key: r0, value: 5}
    - {at: 0.5, client: 0, f: read, key: r0}
    - {at: 0.6, client: 2, f: cas, key: r0, value: [5, 6]}
    - {at: 3, client: 1, f: read, key: r1}
  faults:
    - {at: 1, for: 2, name: partition-leader, seed: 7}
    - {at: 1.5, name: kill, targets: [n1, n2]}
    - {at: 1.5, for: 0.5, name: partition-one, grudge: {n1: [n2]}}
"""


def spec_of(text: str = FILE) -> Spec:
    return validated(Document.parse("t.yml", text))[1]


def carried_out(spec: Spec, took_ns: int = 0) -> list[Op]:
    """Return what a scheduler would start, and when, if every operation took so long."""
    lanes = schedule.package(spec).lanes
    ctx = Context.start(spec.clients, lanes)
    history = simulate.run(schedule.generator(spec, 0), lambda op, thread: (OK, took_ns), ctx)
    return [op for op in history if op.type == "invoke"]


def test_each_operation_is_done_when_it_is_due_by_its_own_client() -> None:
    ops = [(op.time_ns / S, op.process, op.f, op.key, op.value)
           for op in carried_out(spec_of()) if op.process >= 0]
    assert sorted(ops[:2]) == [(0.5, 0, "read", b"r0", None), (0.5, 2, "write", b"r0", 5)]
    assert ops[2:] == [(0.6, 2, "cas", b"r0", [5, 6]), (3.0, 1, "read", b"r1", None)]


def test_faults_start_and_stop_on_lanes_of_their_own_with_all_that_is_given() -> None:
    ops = [op for op in carried_out(spec_of()) if op.process < 0]
    assert [(op.time_ns / S, op.f, op.value) for op in ops] == [
        (1.0, "partition-leader", {"action": "start", "id": "0", "seed": 7}),
        (1.5, "kill", {"action": "start", "id": "1", "seed": 0, "targets": ["n1", "n2"]}),
        (1.5, "partition-one", {"action": "start", "id": "2", "seed": 0, "grudge": {"n1": ["n2"]}}),
        (2.0, "partition-one", {"action": "stop", "id": "2"}),
        (3.0, "partition-leader", {"action": "stop", "id": "0"}),
    ]
    assert len({op.process for op in ops}) == 3


def test_a_busy_client_is_late_and_nobody_else() -> None:
    ops = carried_out(spec_of(), took_ns=1 * S)
    due = [(op.time_ns / S, op.process) for op in ops if op.process >= 0]
    assert (0.6, 2) in due, "the operation keeps the time when it was due"
    order = [op.f for op in ops if op.process == 2]
    assert order == ["write", "cas"]
    starts = [op.time_ns / S for op in ops if op.process < 0 and op.value["action"] == "start"]
    assert starts == [1.0, 1.5, 1.5]


def test_times_count_from_when_clients_began() -> None:
    spec = spec_of()
    began = [simulate.run(schedule.generator(spec, began_ns), lambda op, thread: (OK, 0),
                          Context.start(3, schedule.package(spec).lanes))[0].time_ns
             for began_ns in (0, 7 * S)]
    assert began == [S // 2, S // 2 + 7 * S]


def test_operations_due_at_one_moment_start_in_the_order_in_which_they_are_written() -> None:
    at_once = [f"{{at: 1, client: {n}, f: write, key: k, value: {n}}}" for n in (2, 0, 1)]
    text = FILE[:FILE.index("  operations")] + f"  operations: [{', '.join(at_once)}]\n"
    assert [op.process for op in carried_out(spec_of(text))] == [2, 0, 1]
    busy = text.replace("[{", "[{at: 0.9, client: 0, f: read, key: k}, {", 1)
    order = [(op.time_ns / S, op.process) for op in carried_out(spec_of(busy), took_ns=S // 2)]
    assert order == [(0.9, 0), (1, 2), (1, 0), (1, 1)], "client 1 waits for its turn"


def test_a_client_goes_on_with_its_schedule_after_an_operation_nobody_knows_the_end_of() -> None:
    spec = spec_of()
    ctx = Context.start(spec.clients, schedule.package(spec).lanes)
    history = simulate.run(schedule.generator(spec, 0), lambda op, thread: (INFO, 0), ctx)
    assert [op.process for op in history if op.f == "cas" and op.type == "invoke"] == [2 + 3]


def test_the_schedule_is_all_that_happens_and_lasts_until_the_time_limit(tmp_path: Path) -> None:
    run = a_run(tmp_path, extra="time_limit: 0.5\ncoverage: {final_reads: false}\nschedule: "
                "{operations: [{at: 0.1, client: 3, f: write, key: k, value: 1}]}\n")
    done = live(run)
    assert done.verdict == "pass"
    rows = [row for row in History.read(run.folder.history).rows() if row["process"] >= 0]
    assert [(row["type"], row["f"], row["process"]) for row in rows] == [
        ("invoke", "write", 3), ("ok", "write", 3)]
    assert rows[0]["time"] / S == pytest.approx(0.1, abs=0.05)
    assert run.test.now_ns() >= 0.5 * S


def test_the_faults_of_a_test_are_those_of_its_schedule_or_those_of_its_lanes() -> None:
    assert {perf.name for perf in faults_of(spec_of()).perf} == {
        "partition-leader", "kill", "partition-one"}
    lanes = faults_of(spec_of("name: t\nworkload: {name: register}\nfaults: {names: [pause]}\n"))
    assert [perf.name for perf in lanes.perf] == ["pause"]


# ---- rebuilt


def row(at: float, process: int, type: str, f: str, **more: Any) -> dict[str, Any]:
    return {"time": round(at * S), "process": process, "type": type, "f": f, **more}


def fault(at: float, f: str, id: str, **value: Any) -> dict[str, Any]:
    return row(at, NEMESIS, "info", f, value={"id": id, **value})


ROWS = [
    row(0, NEMESIS, "info", "leader", value={"leader": "n1", "term": 2}),
    row(0.25, 1, "invoke", "write", key=b"r0", value=1),
    row(0.30, 1, "info", "write", key=b"r0", value=1),
    fault(0.5, "kill", "0-0", action="start", seed=9),
    fault(0.5, "kill", "0-0", phase="requested", targets=["n2"], **{"class": "crash"}),
    fault(0.6, "delay", "1-0", action="start", seed=3),
    fault(0.65, "delay", "1-0", phase="requested", targets=["n3"],
          grudge={"n3": ["n1", "n2"]}, parameters={"delay_us": 5}),
    fault(0.7, "pause", "2-0", action="start", seed=1),
    fault(0.7, "pause", "2-0", phase="requested", targets=[]),
    row(0.75, 4, "invoke", "cas", key=b"r0", value=[1, 2]),
    fault(1.25, "kill", "0-0", action="stop"),
    row(1.3, 4, "ok", "cas", key=b"r0", value=[1, 2]),
    row(2.25, 0, "invoke", "read", key=b"r0"),
    row(2.26, 0, "ok", "read", key=b"r0", value=2),
]
SWARM = "name: t\nworkload: {name: register}\nclients: 3\nrate: 9\nfaults: {names: [kill, pause]}\n"


def rebuilt(text: str = SWARM, **options: Any) -> Spec:
    return schedule.from_history(History.from_rows(ROWS), spec_of(text), seed=8, **options)


def test_a_schedule_is_rebuilt_from_what_a_history_tells() -> None:
    spec = rebuilt(environment={"latency_ns": 5})
    plan = schedule.planned(spec)
    assert [(o.at, o.client, o.f, o.key, o.value) for o in plan.operations] == [
        (0.0, 1, "write", "r0", 1), (0.5, 1, "cas", "r0", [1, 2]), (2.0, 0, "read", "r0", None)]
    assert [(f.at, f.hold, f.name, f.targets, f.grudge, f.parameters, f.seed)
            for f in plan.faults] == [
        (0.25, 0.75, "kill", ["n2"], None, {}, 9),
        (0.4, None, "delay", ["n3"], {"n3": ["n1", "n2"]}, {"delay_us": 5}, 3)]
    assert (spec.seed, spec.time_limit, spec.rate, spec.faults.names) == (8, 2.01, None, [])
    assert (spec.sim.swarm, spec.sim.environment) == (False, {"latency_ns": 5})


def test_an_operation_that_waited_for_its_client_has_the_time_when_it_was_started() -> None:
    """The history has the time when it was due; what came before it there tells the rest."""
    rows = [row(1, 0, "invoke", "read", key=b"k"), row(3, 0, "ok", "read", key=b"k"),
            row(2, 0, "invoke", "read", key=b"k"), row(4, 0, "ok", "read", key=b"k")]
    spec = schedule.from_history(History.from_rows(rows), spec_of(SWARM), seed=1)
    assert [operation.at for operation in schedule.planned(spec).operations] == [0, 2]


def test_a_fault_that_took_time_to_find_its_target_comes_after_one_that_began_meanwhile() -> None:
    """In a file faults are in the order of their times; another one is another run."""
    rows = [row(0, 0, "invoke", "read", key=b"k"),
            fault(1, "kill", "0-0", action="start", seed=1),
            fault(2, "pause", "1-0", action="start", seed=2),
            fault(2, "pause", "1-0", phase="requested", targets=["n1"]),
            fault(3, "kill", "0-0", phase="requested", targets=["n2"])]
    spec = schedule.from_history(History.from_rows(rows), spec_of(SWARM), seed=1)
    assert [(fault.at, fault.name) for fault in schedule.planned(spec).faults] == [
        (2, "pause"), (3, "kill")]


def test_what_was_rebuilt_is_a_valid_test_file_that_says_the_same(tmp_path: Path) -> None:
    spec = rebuilt()
    file = tmp_path / "rebuilt.yml"
    file.write_text(yaml.safe_dump(spec.model_dump(mode="json", by_alias=True)))
    assert plan(Request(file, tmp_path)).spec == spec


def test_the_run_of_a_schedule_is_rebuilt_as_that_schedule() -> None:
    spec = spec_of(FILE + "seed: 3\n")
    same = schedule.from_history(History.from_rows(ROWS), spec, seed=8)
    assert same.schedule == spec.schedule
    assert (same.seed, same.time_limit) == (8, 4)


def test_a_run_of_lanes_and_clients_is_rebuilt_to_the_nanosecond() -> None:
    """What a generator and a lane do, and what the schedule rebuilt of it does, is the same."""
    clients = [{"f": "write", "key": b"k", "value": n} for n in range(40)]
    lane = Lane(0, ("kill",), Rhythm(0.3, 0.2, 0.5, 3.0))
    first = simulate.run(
        gen.clients(gen.stagger(0.05, clients), lane),
        lambda op, thread: (INFO if op.process < 0 else OK, 20_000_000), Context.start(3))
    rows = []
    for op in first:
        if op.process >= 0 or op.type == "invoke":
            rows.append(row(op.time_ns / S, op.process, op.type if op.process >= 0 else "info",
                            op.f, value=op.value, key=op.key))
        if op.process < 0 and op.type == "invoke" and op.value["action"] == "start":
            rows.append(fault(op.time_ns / S, op.f, op.value["id"], phase="requested",
                              targets=["n1"]))
    spec = schedule.from_history(History.from_rows(rows), spec_of(SWARM), seed=1)

    def told(ops: list[Op]) -> list[Any]:
        return [(op.time_ns, op.process, op.f, op.key) for op in ops
                if op.type == "invoke" and op.process >= 0]

    def strikes(ops: list[Op]) -> list[Any]:
        return [(op.time_ns, op.f, op.value["action"]) for op in ops
                if op.type == "invoke" and op.process < 0]

    second = carried_out(spec, 20_000_000)
    assert told(second) == told(first)
    assert strikes(second) == strikes(first)
    assert len(strikes(first)) >= 6


def test_a_key_that_is_no_text_can_not_be_in_a_schedule() -> None:
    rows = [row(0, 0, "invoke", "read", key=b"\xff")]
    with pytest.raises(BadInput, match="text only"):
        schedule.from_history(History.from_rows(rows), spec_of(SWARM), seed=1)


# ---- refused


@pytest.mark.parametrize(("change", "to", "complaint"), [
    ("client: 1", "client: 3", "t.yml:11: schedule.operations.3.client: expected less than clients"
     " (3), got 3"),
    ("at: 3,", "at: 4,", "t.yml:11: schedule.operations.3.at: expected less than time_limit (4)"),
    ("at: 3,", "at: -1,", "t.yml:11: schedule.operations.3.at: expected at least 0, got -1"),
    ("f: cas", "f: cass", "t.yml:10: schedule.operations.2: f: unknown operation 'cass'; did you "
     "mean 'cas'? (known: cas, read, read-bounded, read-prefix, write)"),
    ("value: [5, 6]", "value: 5", "t.yml:10: schedule.operations.2: value: expected two whole"),
    ("value: 5}", "value: true}", "t.yml:8: schedule.operations.0: value: expected a whole number"),
    ("key: r1", "kex: r1", "t.yml:11: schedule.operations.3.kex: unknown key; did you mean 'key'?"),
    (", key: r1", "", "t.yml:11: schedule.operations.3: key: missing"),
    ("name: kill", "name: kil", "t.yml:14: schedule.faults.1.name: unknown fault 'kil'; did you "
     "mean 'kill'?"),
    ("[n1, n2]", "[n1, n9]", "t.yml:14: schedule.faults.1: unknown node 'n9', expected one of "),
    ("{n1: [n2]}", "{n1: [n7]}", "t.yml:15: schedule.faults.2: unknown node 'n7', expected one "),
    ("at: 1, for: 2", "at: 1, for: -2", "t.yml:13: schedule.faults.0.for: expected at least 0"),
    ("at: 1, for: 2", "at: 1, four: 2", "t.yml:13: schedule.faults.0.four: unknown key; did you "
     "mean 'for'?"),
    ("name: kill", "name: kill, parameters: {ms: 3}", "t.yml:14: schedule.faults.1.parameters: "
     "fault 'kill' has no parameter 'ms'; expected none"),
    ("at: 1, for", "at: 7, for", "t.yml:13: schedule.faults.0.at: expected less than time_limit"),
    ("clients: 3", "clients: 3\nrate: 5", "t.yml:4: rate: expected nothing here beside a schedule"),
    ("clients: 3", "clients: 3\nfaults: {names: [kill]}", "t.yml:4: faults: expected nothing here"),
])
def test_a_schedule_that_can_not_be_carried_out_is_refused_in_one_line(
    change: str, to: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert change in FILE
    Path("t.yml").write_text(FILE.replace(change, to))
    assert main(["run", "t.yml"]) == 254
    said = capsys.readouterr().err
    assert said.startswith("seatrial: " + complaint), said
    assert said.count("\n") == 1


def test_a_schedule_survives_the_way_into_the_store_and_back(tmp_path: Path) -> None:
    run = a_run(tmp_path, extra="schedule: {faults: []}\ntime_limit: 0.1\n")
    plain = dict(run.test.options)
    assert spec_of(yaml.safe_dump(plain)) == run.test.spec
    whole = Schedule(operations=[PlannedOperation(at=1, client=0, f="read", key="k")],
                     faults=[PlannedFault.model_validate({"at": 1, "for": 2, "name": "kill"})])
    assert whole.model_dump(by_alias=True)["faults"][0]["for"] == 2
