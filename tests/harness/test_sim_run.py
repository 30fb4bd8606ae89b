"""One seed in the simulated world: what decides it, what ends it, what it leaves behind."""
from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from seatrial.checker import Verdict
from seatrial.checker.history import NONE, History
from seatrial.harness.cli import main
from seatrial.harness.errors import BadInput, HarnessFailure
from seatrial.harness.launch import plan
from seatrial.harness.sim.hosts import SimHost
from seatrial.harness.sim.simulation import Outcome, Simulation

from .sim_tests import CALM, SMALL, environment, module, planned, request, with_workload, written

DIGEST = """
import sys
from pathlib import Path
from seatrial.harness.launch import Request, plan
from seatrial.harness.sim.simulation import Simulation
request = Request(Path(sys.argv[1]), Path("store"), world="sim").seeded(7)
print(Simulation(plan(request)).run().digest)
"""


def simulated(folder: Path, text: str, seed: int = 1) -> Outcome:
    return Simulation(planned(folder, text, seed)).run()


def checks(outcome: Outcome) -> dict[str, Verdict]:
    return {check.name: check.verdict for check in outcome.checks}


def command(folder: Path, text: str, *options: str) -> int:
    return main(["run", str(written(folder, text)), "--on", "sim", "--seed", "1",
                 "--store", str(folder / "store"), *options])


class TestDeterminism:
    def digest(self, file: Path, python: str = sys.executable, **variables: str) -> str:
        return subprocess.run(
            [python, "-c", DIGEST, str(file)], env=environment(**variables), check=True,
            capture_output=True, text=True, timeout=120).stdout.strip()

    def test_a_seed_has_one_digest_in_every_process(self, tmp_path: Path) -> None:
        """Found once: what a fault told of a partition was in the order of hashes."""
        file = written(tmp_path, SMALL)
        here = simulated(tmp_path, SMALL, 7).digest
        assert self.digest(file, PYTHONHASHSEED="1") == here
        assert self.digest(file, PYTHONHASHSEED="2") == here

    def test_a_run_after_another_one_in_a_process_is_the_same(self, tmp_path: Path) -> None:
        first, other, again = (simulated(tmp_path, SMALL, seed) for seed in (1, 2, 1))
        assert first.digest == again.digest != other.digest
        assert first.events == again.events
        assert list(map(dict, first.history.rows())) == list(again.history.rows())  # type: ignore[union-attr]

    def test_what_the_clients_did_is_part_of_the_digest(self, tmp_path: Path) -> None:
        assert simulated(tmp_path, SMALL).digest != simulated(
            tmp_path, SMALL.replace("rate: 100", "rate: 101")).digest

    def test_a_folder_does_not_change_the_run(self, tmp_path: Path) -> None:
        assert command(tmp_path, SMALL) == 0
        results = json.loads((tmp_path / "store" / "latest" / "results.json").read_text())
        assert results["trace_digest"] == simulated(tmp_path, SMALL).digest


class TestFolder:
    def test_a_run_leaves_what_runs_on_real_hosts_leave(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    ) -> None:
        assert command(tmp_path, SMALL) == 0
        folder = (tmp_path / "store" / "latest").resolve()
        results = json.loads((folder / "results.json").read_text())
        assert (results["verdict"], results["world"], results["seed"]) == ("pass", "sim", 1)
        assert results["environment"]["latency_ns"] > 0
        assert results["events"] > 1000
        assert len(results["faults"]) >= 1
        assert results["checks"]["linearizable"]["evidence"]["engines"]["porcupine"] == {
            "skipped": "not asked for"}
        history = History.read(folder / "history.arrow")
        assert history.complete
        assert 4e9 < results["duration_ns"] < 20e9
        assert (folder / "report.html").stat().st_size > 0
        assert json.loads((folder / "test.json").read_text())["checks"]["engine"] == "auto"
        said = capsys.readouterr().out.splitlines()
        assert said[0] == "verdict: pass"
        assert said[1].startswith(f"digest:  {results['trace_digest']} (commit ")
        assert re.fullmatch(r"time:    .* virtual seconds in .* faster than the clock; [\d,]+ "
                            r"events", said[2])
        assert said[3:] == [
            f"report:  {folder}/report.html",
            f"again:   seatrial run {tmp_path}/test.yml --on sim --seed 1 --store "
            f"{tmp_path}/store"]

    def test_the_command_that_runs_it_again_gives_the_same_run(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    ) -> None:
        file = str(written(tmp_path, SMALL))
        assert main(["run", file, "--on", "sim", "--store", str(tmp_path / "store")]) == 0
        said = capsys.readouterr().out.splitlines()
        again = said[-1].removeprefix("again:   seatrial ").split()
        assert main(again) == 0
        assert capsys.readouterr().out.splitlines()[1] == said[1]

    def test_it_needs_no_root(self, tmp_path: Path) -> None:
        if os.geteuid() != 0:
            pytest.skip("this is not root anyway")
        store = tmp_path / "store"
        store.mkdir()
        os.chown(store, 65534, 65534)
        for folder in (tmp_path, *tmp_path.parents[:2]):
            folder.chmod(0o755)
        # files below /root must be readable for nobody, too, and that is all that it may do
        ran = subprocess.run(
            ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups",
             "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", sys.executable,
             "-m", "seatrial.harness", "run", str(written(tmp_path, CALM)), "--on", "sim",
             "--seed", "1", "--store", str(store)],
            env=environment(), check=False, cwd="/", capture_output=True, text=True, timeout=120)
        assert ran.stdout.startswith("verdict: pass\n"), ran.stderr


class TestViolations:
    def test_a_broken_invariant_ends_the_run_at_once_and_nothing_is_left_open(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    ) -> None:
        name = module(tmp_path, monkeypatch, "breaks_an_invariant", """
def break_it():
    raise InvariantViolation("two leaders in term 3")

async def twist(test, op):
    if test.now_ns() > 1_000_000_000:
        world_of(test).call_at(0, break_it)
""")
        with caplog.at_level(logging.WARNING):
            outcome = simulated(tmp_path, with_workload(CALM, name))
        assert outcome.verdict is Verdict.VIOLATION
        assert outcome.summary.startswith("invariants: two leaders in term 3 (event ")
        assert outcome.virtual_ns < 3e9
        assert caplog.messages == []
        history = outcome.history
        assert history is not None
        _, completed = history.pairs
        assert (completed != NONE).all()
        last = [history.errors[code] for code in history.error[-2:] if code != NONE]
        assert "the run ended before this operation did" in last

    def test_a_cluster_that_does_not_come_together_again_violates_liveness(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        name = module(tmp_path, monkeypatch, "kills_behind_everybodys_back", """
async def twist(test, op):
    if test.now_ns() > 3_900_000_000:
        world_of(test).kill(2)
""")
        text = with_workload(CALM, name) + "faults: {settle: 0}\n"
        assert checks(simulated(tmp_path, text))["liveness"] is Verdict.PASS
        chosen = planned(tmp_path, text)
        system: Any = chosen.system
        system.recovers_within_ns = 1_000_000
        outcome = Simulation(chosen).run()
        assert outcome.verdict is Verdict.VIOLATION
        assert re.match(r"liveness: 0\.001 s after all faults had ended the nodes still don't "
                        r"agree: n\d ", outcome.summary)

    def test_nodes_that_are_gone_without_damage_are_found_even_if_they_are_a_majority(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        name = module(tmp_path, monkeypatch, "breaks_disks_behind_everybodys_back", """
async def twist(test, op):
    if test.now_ns() > 3_900_000_000:
        for host in (1, 2):
            world_of(test).disk(host).fail()
""")
        outcome = simulated(tmp_path, with_workload(CALM, name))
        assert outcome.verdict is Verdict.VIOLATION
        assert outcome.summary.startswith("recovery: n2 is gone, though its disk is sound: can't ")

    def test_a_node_whose_log_changed_a_bit_is_rightly_gone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        name = module(tmp_path, monkeypatch, "flips_bits_behind_everybodys_back", """
async def twist(test, op):
    world = world_of(test)
    if test.now_ns() > 3_000_000_000 and not world.disk(2).counters()["flips"]:
        world.power_loss(2)
        while world.state(2) != "broken":
            world.power_loss(2)
            assert world.disk(2).flip(test.now_ns() + world.disk(2).counters()["flips"])
            world.start(2)
""")
        found = checks(simulated(tmp_path, with_workload(CALM, name)))
        assert set(found.values()) == {Verdict.PASS}, found

    def test_all_checks_of_a_pass_are_there(self, tmp_path: Path) -> None:
        found = checks(simulated(tmp_path, SMALL))
        assert set(found.values()) == {Verdict.PASS}
        assert {"invariants", "liveness", "linearizable", "coverage", "stats"} <= set(found)


class TestWhatIsNotThere:
    def test_a_client_that_awaits_a_socket_ends_the_run_and_the_line_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        name = module(tmp_path, monkeypatch, "awaits_a_socket", """
async def twist(test, op):
    await asyncio.open_connection("127.0.0.1", 1)
""")
        assert command(tmp_path, with_workload(CALM, name)) == 255
        said = capsys.readouterr().out.splitlines()[0]
        number = 1 + (tmp_path / f"{name}.py").read_text().splitlines().index(
            '    await asyncio.open_connection("127.0.0.1", 1)')
        assert said.startswith(f"verdict: harness-failure ({tmp_path}/{name}.py:{number} (twist): "
                               "create_connection is no part of the simulated world")

    def test_a_system_that_is_not_simulated_is_refused(self, tmp_path: Path) -> None:
        text = CALM.replace("{name: node, options: {heartbeat_ms: 50, election_ms: 300}}",
                            "{name: 'lazykv:LazySystem'}")
        path = Path(__file__).resolve().parents[2] / "examples" / "lazykv"
        sys.path.append(str(path))
        try:
            with pytest.raises(BadInput, match=r"test.yml:3: system.name: --on sim exists for our "
                                               r"own node, .* 'lazykv' can only run on real"):
                plan(request(tmp_path, text).seeded(1))
        finally:
            sys.path.remove(str(path))

    def test_a_simulated_host_has_no_commands_and_no_files(self, tmp_path: Path) -> None:
        host = SimHost(2)
        for attempt in (host.run(["ls"]), host.put(b"", "/x"), host.get("/x", tmp_path),
                        host.read("/x")):
            with pytest.raises(HarnessFailure, match=r"^n3 is simulated, with no commands and no"):
                asyncio.run(attempt)

    @pytest.mark.parametrize(("options", "line"), [
        (["--lab", "x"], "--lab: not with --on sim, which has no hosts to keep"),
        (["--keep"], "--keep: not with --on sim, which has no hosts to keep"),
        (["--jobs", "2"], "--jobs: only with --seeds"),
        (["--resume"], "--resume: only with --seeds"),
        (["--seeds", "3"], "--seeds: expected without --seed: it names the seeds itself"),
        (["--mutant", "aply-twice"], "system.options.mutant: no planted bug is called "
                                     "'aply-twice'; did you mean 'apply-twice'?"),
    ])
    def test_options_that_make_no_sense_are_refused(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], line: str,
    ) -> None:
        assert command(tmp_path, CALM, *options) == 254
        assert capsys.readouterr().err.startswith(f"seatrial: {line}")
        assert not (tmp_path / "store").exists()


def test_interrupted_once_a_run_ends_early_and_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = module(tmp_path, monkeypatch, "presses_once", """
pressed = []

async def twist(test, op):
    if test.now_ns() > 1_000_000_000 and not pressed:
        pressed.append(1)
        os.kill(os.getpid(), signal.SIGINT)
""")
    before = signal.getsignal(signal.SIGINT)
    text = with_workload(SMALL, name).replace("time_limit: 4", "time_limit: 600")
    assert command(tmp_path, text) == 3
    folder = tmp_path / "store" / "latest"
    results = json.loads((folder / "results.json").read_text())
    assert results["checks"]["interrupted"]["summary"] == "the run was ended by ^C"
    assert "liveness" not in results["checks"]
    assert results["duration_ns"] < 5e9
    assert signal.getsignal(signal.SIGINT) is before


def test_interrupted_twice_a_run_ends_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    name = module(tmp_path, monkeypatch, "presses_twice", """
async def twist(test, op):
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
""")
    assert command(tmp_path, with_workload(SMALL, name)) == 255
    assert re.match(r"seatrial: interrupted while running; what was recorded is in ",
                    capsys.readouterr().err.splitlines()[-1])
