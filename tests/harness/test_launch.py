"""What is found wrong before there is a host: one line, the right exit code, nothing left."""
from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from seatrial.harness import launch as launching
from seatrial.harness.cli import main
from seatrial.harness.errors import BadInput, HarnessFailure
from seatrial.harness.launch import LOCAL, Done, Request, launch, plan
from seatrial.harness.testfile import load

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SMALL = "name: small\nworkload: {name: register}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yml"
    path.write_text(SMALL)
    return path


@pytest.fixture
def no_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to make a host fails the test."""
    def refuse(*args: Any, **options: Any) -> None:
        pytest.fail("a host was made")

    monkeypatch.setattr(launching.LocalWorld, "create", refuse)
    monkeypatch.setattr(launching, "attach", refuse)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yml")), ids=lambda path: path.name)
def test_every_example_is_valid(path: Path, tmp_path: Path) -> None:
    spec = load(path)[1]
    assert spec.coverage.min_ok > 0
    request = Request(path, tmp_path, overrides={"--seed": (("seed",), 7)}, world=LOCAL)
    assert plan(request).seed == 7


@pytest.mark.usefixtures("no_hosts")
@pytest.mark.parametrize(
    ("text", "options", "line"),
    [
        ("name: x\n", [], "{file}: workload: missing; this key is required"),
        ("name: [\n", [], "{file}:2:1: malformed YAML: "),
        (SMALL + "systm: {}\n", [], "{file}:3: systm: unknown key; did you mean 'system'? "),
        (SMALL + "system: {name: nod}\n", [],
         "{file}:3: system.name: unknown system 'nod'; did you mean 'node'? (known: node"),
        (SMALL + "faults: {names: [kil]}\n", [],
         "{file}:3: faults.names.0: unknown fault 'kil'; did you mean 'kill'? (known: "),
        (SMALL + "faults: {names: [kill], parameters: {pause: {}}}\n", [],
         "{file}:3: faults.parameters.pause: expected one of faults.names: kill"),
        (SMALL + "faults: {names: [clock-drift], parameters: {clock-drift: {fast: 1}}}\n", [],
         "{file}:3: faults.parameters.clock-drift: fault 'clock-drift' has no parameter 'fast'; "
         "expected rate_ppm, slow, apart"),
        (SMALL + "faults: {names: [clock-drift], parameters: {clock-drift: {slow: -1}}}\n", [],
         "{file}:3: faults.parameters.clock-drift.slow: "),
        (SMALL + "topology: {domains: {A: {nodes: [n2, n1]}}}\n", [],
         "{file}:3: topology.domains.A.nodes: expected the hosts n1, n2: world 'local' calls"),
        (SMALL + 'topology: {domains: {A: {nodes: {n1: "h:1"}}}}\n', [],
         "{file}:3: topology.domains.A.nodes: expected hosts without addresses: world 'local' "),
        ("name: x\nworkload: {name: counter}\n"
         "topology: {domains: {A: {nodes: 1}}, pools: {p: {domain: A, does: reads}}}\n",
         ["--on", "sim"], "{file}:3: topology.pools.p.does: expected 'all': the workload 'count"),
        (SMALL + 'topology: {domains: {A: {nodes: 1}}, pools: {p: {domain: A, '
         'addresses: ["10.0.0.1"]}}}\n', ["--on", "sim"],
         "{file}:3: topology.pools.p.addresses: expected none: world 'sim' gives pools their add"),
        (SMALL + "clients: 7\n", [], "{file}:2: workload.options: keys_at_a_time: expected a div"),
        (SMALL + "system: {name: node, options: {election_ms: 50}}\n", [],
         "{file}:3: system.options: election_ms: expected at least twice heartbeat_ms (50), got"),
        (SMALL, ["--seed", "-1"], "--seed: expected at least 0, got -1"),
        (SMALL, ["--time-limit", "0"], "--time-limit: expected more than 0, got 0.0"),
        (SMALL, ["--time-limit", "soon"], "Invalid value for '--time-limit': 'soon' is not a "),
        (SMALL, ["--on", "moon"], "Invalid value for '--on': 'moon' is not "),
        (SMALL, ["--sed", "1"], "No such option"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_254(
    text: str, options: list[str], line: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(text)
    store = file.parent / "store"
    assert main(["run", str(file), "--store", str(store), *options]) == 254
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("seatrial: " + line.format(file=file))
    assert said.err.count("\n") == 1
    assert not store.exists()


@pytest.mark.usefixtures("no_hosts")
def test_a_missing_file_is_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(tmp_path / "none.yml")]) == 254
    assert capsys.readouterr().err == f"seatrial: {tmp_path}/none.yml: no such file or directory\n"


@pytest.mark.usefixtures("no_hosts")
def test_wheels_that_can_not_be_made_end_a_run_before_it_has_hosts(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seatrial.workloads.systems.node import NodeSystem

    def prepare(self: Any) -> None:
        raise HarnessFailure("the build failed")

    monkeypatch.setattr(NodeSystem, "prepare", prepare)
    with pytest.raises(HarnessFailure, match="the build failed"):
        launch(Request(file, file.parent / "store"))


class PretendedLocal:
    """A world that only notes what is done to it."""

    name = "local"

    def __init__(self, hosts: int = 5) -> None:
        self.hosts = [None] * hosts
        self.lab: Any = self
        self.plan: Any = self
        self.done: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda: self.done.append(name)


def pretend(monkeypatch: pytest.MonkeyPatch, inside: Any, hosts: int = 5) -> PretendedLocal:
    """Replace the world, the child process and the wheels; return the world."""
    world = PretendedLocal(hosts)
    monkeypatch.setattr(launching.LocalWorld, "create", lambda *args, **options: world)
    monkeypatch.setattr(launching, "attach", lambda lab: world)
    monkeypatch.setattr(launching, "run_inside", inside)
    monkeypatch.setattr("seatrial.workloads.systems.node.NodeSystem.prepare", lambda self: None)
    return world


def ended(violated: bool) -> Any:
    verdict = ("violation", 1) if violated else ("pass", 0)
    return lambda lab, function, request, name: Done(
        *verdict, "", Path("folder"), request.command, violated)


@pytest.mark.parametrize(
    ("violated", "keep", "lab", "did"),
    [
        (False, False, None, ["make", "destroy"]),
        (False, True, None, ["make", "destroy"]),
        (True, False, None, ["make", "destroy"]),
        (True, True, None, ["make", "keep"]),
        (False, False, "mine", ["keep"]),
    ],
)
def test_hosts_are_removed_unless_they_were_there_or_are_worth_a_look(
    file: Path, monkeypatch: pytest.MonkeyPatch, violated: bool, keep: bool, lab: str | None,
    did: list[str],
) -> None:
    world = pretend(monkeypatch, ended(violated))
    launch(Request(file, file.parent, keep=keep, lab=lab))
    assert world.done == did


@pytest.mark.parametrize("error", [HarnessFailure("it broke"), KeyboardInterrupt()])
def test_hosts_are_removed_when_the_run_breaks(
    file: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def inside(*args: Any) -> Done:
        raise error

    world = pretend(monkeypatch, inside)
    with pytest.raises(type(error)):
        launch(Request(file, file.parent, keep=True))
    assert world.done == ["make", "destroy"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_hosts_are_removed_when_the_harness_is_asked_to_end(
    file: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    world = pretend(monkeypatch, lambda *args: os.kill(os.getpid(), number))
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        launch(Request(file, file.parent))
    assert world.done == ["make", "destroy"]
    assert signal.getsignal(number) is before


def test_a_lab_of_another_size_is_refused_and_left_alone(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = pretend(monkeypatch, ended(False), hosts=3)
    with pytest.raises(BadInput, match=r"--lab mine: has 3 hosts, but .* asks for 5"):
        launch(Request(file, file.parent, lab="mine"))
    assert world.done == ["keep"]


def test_the_seed_that_was_drawn_is_in_the_command_that_runs_it_again(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, ended(False))
    first = launch(Request(file, file.parent, overrides={"--time-limit": (("time_limit",), 5.0)}))
    assert first.command[:5] == ["seatrial", "run", str(file), "--on", "local"]
    seed = first.command[first.command.index("--seed") + 1]
    assert 0 <= int(seed) < 1 << 32
    assert first.command[-4:] == ["--time-limit", "5", "--store", str(file.parent)]
    file.write_text(SMALL + "seed: 11\n")
    assert "--seed" not in launch(Request(file, file.parent)).command
