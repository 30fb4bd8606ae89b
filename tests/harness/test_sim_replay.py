"""The commands ``shrink`` and ``replay``: from a failing simulated run to a file, and back."""
from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from seatrial.checker import CheckResult, Verdict
from seatrial.harness import replay as replaying
from seatrial.harness.cli import main
from seatrial.harness.commands.again import words
from seatrial.harness.commands.shrink import command as shrink_command
from seatrial.harness.launch import Done, Plan, Request, plan
from seatrial.harness.replay import Tries, check_to_see, stretched
from seatrial.harness.results import build, write_results
from seatrial.harness.schedule import planned
from seatrial.harness.shrink import simulated
from seatrial.harness.shrink.save import as_file
from seatrial.harness.shrink.work import planner
from seatrial.harness.store import RunFolder, Store
from seatrial.harness.testfile import validated
from seatrial.harness.yamlfile import Document

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
# Disks that lie break what Raft needs, so this fails without any bug.
LYING = """\
name: lying-disks
workload: {name: register, options: {keys_at_a_time: 3, ops_per_key: 60}}
clients: 6
rate: 200
time_limit: 4
op_timeout: 1
faults: {names: [disk-lost-writes], duration: 1, gap: 0.3, targets: [majority, all]}
sim: {swarm: false}
coverage: {final_reads: false}
seed: 3
"""
SOUND = """\
name: sound
workload: {name: register}
clients: 2
time_limit: 1
coverage: {final_reads: false}
seed: 4
schedule:
  operations:
    - {at: 0.1, client: 0, f: write, key: k0, value: 1}
    - {at: 0.2, client: 1, f: read, key: k0}
  faults:
    - {at: 0.3, for: 0.1, name: kill, targets: [n1]}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def file(name: str, text: str) -> str:
    Path(name).write_text(text)
    return name


def seatrial(argv: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    path = os.pathsep.join(filter(None, sys.path))
    return subprocess.run(
        [sys.executable, "-m", "seatrial.harness", *argv], cwd=folder, capture_output=True,
        text=True, timeout=120, check=False,
        env=os.environ | {"PYTHONPATH": path} | environment)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


# ---- replay


def test_a_run_is_the_same_again_byte_for_byte(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", file("sound.yml", SOUND), "--on", "sim"]) == 0
    digest = re.findall(r"digest: +(\w+)", said(capsys))[0]
    assert main(["replay", "store/latest"]) == 0
    again = said(capsys)
    assert "the same, byte for byte" in again
    assert digest in again
    assert main(["replay", "sound.yml", "--seed", "4", "--digest", digest]) == 0
    assert "the same, byte for byte" in said(capsys)


def test_a_failing_run_prints_the_command_that_proves_it_the_same_anywhere(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In another process, with another order of sets and dictionaries."""
    assert main(["run", file("lying.yml", LYING), "--on", "sim", "--time-limit", "3.5"]) == 1
    found = dict(re.findall(r"^(\w+): +(.*)$", said(capsys), re.M))
    argv = shlex.split(found["replay"])
    assert argv[:3] == ["seatrial", "replay", "lying.yml"]
    assert {"--seed", "--time-limit", "--digest", "--commit"} <= set(argv)
    child = seatrial(argv[1:], here, PYTHONHASHSEED="77")
    assert child.returncode == 0, child.stderr
    assert "the same, byte for byte" in child.stdout
    assert shlex.split(found["shrink"])[:2] == ["seatrial", "shrink"]


def test_another_digest_is_no_replay_and_a_bug_unless_the_commit_is_another_one(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["replay", file("sound.yml", SOUND), "--digest", "00ff"]
    assert main(asked) == 255
    told = capsys.readouterr()
    assert re.search(r"sound.yml, seed 4: the digest was 00ff, and is \w{32}$", told.err.strip())
    assert "commit:" not in told.out
    assert main([*asked, "--commit", "abc"]) == 255
    assert "recorded was abc, another one: nothing follows from another digest" in said(capsys)


def test_another_verdict_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", file("sound.yml", SOUND), "--on", "sim"])
    results = Path("store/latest/results.json")
    results.write_text(results.read_text().replace('"verdict": "pass"', '"verdict": "violation"',
                                                   1))
    assert main(["replay", "store/latest"]) == 255
    assert "the verdict was violation, and is pass" in capsys.readouterr().err


@pytest.mark.parametrize(("argv", "line"), [
    (["replay", "none.yml"], "none.yml: no such file or directory"),
    (["replay", "plain.yml"], "plain.yml: has no seed of its own: say which with --seed"),
    (["replay", "sound.yml", "--tries", "3"], "--tries: only with --on local"),
    (["replay", "sound.yml", "--lab", "x"], "--lab: only with --on local"),
    (["replay", "plain.yml", "--seed", "1", "--on", "local", "--check", "x"],
     "plain.yml: has no schedule; expected a test file that 'seatrial shrink' made"),
    (["replay", "folder"], "folder/results.json: can't read: No such file or directory"),
    (["replay", "folder", "--seed", "3"], "--seed: only with a test file; folder is the folder"),
    (["shrink", "folder", "--mutant", "x"], "--mutant: only with a test file; folder is the fold"),
    (["shrink", "plain.yml"], "plain.yml: has no seed of its own: say which with --seed"),
    (["shrink", "sound.yml"], "sound.yml, seed 4: pass: expected a run with a violation: there is"),
    (["shrink", "lying.yml", "--check", "stats"], "--check stats: violated are only invariants"),
    (["shrink", "sound.yml", "--budget", "-1"], "Invalid value for '--budget'"),
    (["shrink", "system.yml", "--seed", "1", "--mutant", "nonsense"],
     "system.options.mutant: no planted bug is called 'nonsense'; "),
])
def test_bad_input_is_one_line_and_exit_code_254(
    here: Path, argv: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file("sound.yml", SOUND), file("lying.yml", LYING)
    file("plain.yml", "name: plain\nworkload: {name: register}\n")
    file("system.yml", "name: plain\nworkload: {name: register}\nsystem: {name: node}\n")
    Path("folder").mkdir()
    assert main(argv) == 254
    err = capsys.readouterr().err.replace(str(here) + "/", "")
    assert err.startswith("seatrial: " + line), err
    assert err.count("\n") == 1


# ---- shrink


@pytest.mark.parametrize("seed", [3, 5])
def test_a_run_written_down_as_a_schedule_is_the_same_run(seed: int, tmp_path: Path) -> None:
    """Every event in every node, until the schedule is over: no final reads, another healing."""
    request = Request(EXAMPLES / "swarm.yml", tmp_path, "sim").seeded(seed)
    chosen = plan(request)
    first = simulated.run(chosen, record=True)
    spec = simulated.written_down(first, chosen.spec)
    assert len(planned(spec).operations) > 500
    assert len(planned(spec).faults) > 5
    second = simulated.run(planner(request)(spec, seed), record=True)
    end_ns = first.origin_ns + int(chosen.spec.time_limit * 1e9)
    events = [[event for event in ran.outcome.trace if event[0] < end_ns]
              for ran in (first, second)]
    assert len(events[0]) > 10_000
    assert events[0] == events[1]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a failing run made small: ``small.yml``, its store, ``said``."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "lying.yml").write_text(LYING)
    done = seatrial(["shrink", "lying.yml", "--output", "small.yml", "--budget", "60"], folder)
    assert done.returncode == 0, done.stderr
    (folder / "said").write_text(done.stdout)
    return folder


def test_shrinking_leaves_a_test_file_that_fails_in_the_same_way(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(small)
    told = (small / "said").read_text()
    assert "lying.yml, seed 3 violates invariants (durability)" in told
    text = (small / "small.yml").read_text()
    spec = validated(Document.load(small / "small.yml"))[1]
    assert len(planned(spec).operations) <= 3
    assert [fault.name for fault in planned(spec).faults] == ["disk-lost-writes"]
    assert spec.topology.nodes == 3
    assert "# Made from lying.yml, seed 3: " in text
    assert "# It violates invariants (durability):" in text
    assert "--on local" not in text, "real hosts don't have this fault"
    command = re.findall(r"# +seatrial (replay small.yml --digest .*)", text)[0]
    assert main(shlex.split(command)) == 0
    assert "the same, byte for byte" in said(capsys)


def test_shrinking_leaves_a_folder_with_a_drawing_in_its_report(small: Path) -> None:
    folder = RunFolder((small / "store/latest").resolve())
    assert folder.test_name == "lying-disks-shrunk"
    assert json.loads(folder.results.read_text())["verdict"] == "violation"
    report = folder.report.read_text()
    assert "Who said what to whom" in report
    assert 'class="drawing sequence"' in report
    assert folder.sequence.read_text().startswith("<svg xmlns=")
    story = (folder.path / "sequence.txt").read_text()
    assert "disk-lost-writes" in story
    assert "VIOLATION: invariants: durability" in story
    assert story.splitlines()[-1] in (small / "said").read_text()


def test_what_was_made_small_can_be_made_small_again(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(small)
    assert main(["shrink", "store/latest", "--budget", "20", "--output", "again.yml"]) == 0
    assert "/latest violates invariants" in said(capsys)
    first, second = (validated(Document.load(Path(name)))[1] for name in ("small.yml", "again.yml"))
    assert first.name == second.name == "lying-disks-shrunk"
    assert len(planned(second).operations) <= len(planned(first).operations)


TOUCHY = """
from seatrial.checker import CheckResult, Verdict
from seatrial.checker.history import INFO
from seatrial.workloads.register import RegisterWorkload


class Touchy(RegisterWorkload):
    \"\"\"Can't stand that nobody knows how an operation ended.\"\"\"

    def check(self, test, history):
        cases = [{"key": history.keys[history.key[row]].decode(),
                  "operation": {"invoked_row": row, "completed_row": done},
                  "core": [{"invoked_row": row, "completed_row": done}]}
                 for row, done in zip(*(rows.tolist() for rows in history.pairs))
                 if history.type[done] == INFO]
        bad = Verdict.VIOLATION if cases else Verdict.PASS
        return [CheckResult("touchy", bad, f"{len(cases)} of them",
                            evidence={"counterexamples": cases})]
"""


def test_a_run_on_real_hosts_is_looked_for_in_simulation_by_its_history(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pretended: it was simulated, but its results say it was not."""
    Path("touchy_workload.py").write_text(TOUCHY)
    monkeypatch.syspath_prepend(str(here))
    file("touchy.yml", LYING.replace("name: register", "name: 'touchy_workload:Touchy'")
         .replace("disk-lost-writes", "kill, pause"))
    assert main(["run", "touchy.yml", "--on", "sim"]) == 1
    results = Path("store/latest/results.json")
    results.write_text(results.read_text().replace('"world": "sim"', '"world": "local"', 1))
    assert main(["replay", "store/latest"]) == 254
    assert "a run on local can't be repeated; 'seatrial shrink store/latest' looks for it in sim" \
        in capsys.readouterr().err
    assert main(["shrink", "store/latest", "--output", "small.yml", "--budget", "30"]) == 0
    assert "store/latest violates touchy" in said(capsys)
    spec = validated(Document.load(Path("small.yml")))[1]
    assert [o.f for o in planned(spec).operations if o.f != "read"], "a read would not do"
    assert (len(planned(spec).operations), len(planned(spec).faults)) == (2, 1)
    assert "replay small.yml --on local" in Path("small.yml").read_text()


def test_a_budget_of_nothing_still_leaves_a_file_that_fails(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["shrink", file("lying.yml", LYING), "--budget", "0"]) == 0
    assert "the time was up (--budget 0)" in said(capsys)
    assert main(["run", "lying-disks-shrunk.yml", "--on", "sim"]) == 1


def test_a_file_says_only_what_is_not_the_default(tmp_path: Path) -> None:
    spec = validated(Document.parse("t.yml", SOUND))[1]
    text = as_file(spec, ["A remark.", ""])
    assert text.startswith("# A remark.\n#\n\nname: sound\nworkload: {name: register}\n")
    assert text.splitlines()[-1] == "    - {at: 0.3, for: 0.1, name: kill, targets: [n1]}"
    assert "checks" not in text
    assert validated(Document.parse("t.yml", text))[1] == spec


def test_the_command_line_is_repeated_word_by_word() -> None:
    argv = ["lying.yml", "--seed", "3", "--budget", "7.5", "--check", "stats", "--store", "s"]
    context = shrink_command.make_context("shrink", list(argv))
    again = shrink_command.make_context("shrink", words(context))
    assert again.params == context.params


# ---- on real hosts


def test_a_schedule_is_tried_on_real_hosts_and_k_of_n_is_told(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The hosts are pretended; every third run on them fails."""
    tried: list[Plan] = []
    monkeypatch.setattr(replaying, "require_root", lambda: None)
    monkeypatch.setattr(replaying, "prepare", lambda chosen: None)

    @contextmanager
    def hosts(chosen: Plan) -> Iterator[Callable[[], Done]]:
        def run() -> Done:
            tried.append(chosen)
            verdict = Verdict.VIOLATION if len(tried) % 3 == 0 else Verdict.PASS
            folder = Store(chosen.request.store).begin(chosen.spec.name)
            checks = [CheckResult("linearizable", verdict, "so it is")]
            write_results(folder, build(None, checks, test="t", world="local", seed=1, nodes=[]))
            return Done(verdict.label, 0, "so it is", folder.path, [], violated=False)

        yield run

    monkeypatch.setattr(replaying, "hosts_for", hosts)
    file("sound.yml", SOUND.replace("name: kill", "name: power-loss"))
    assert main(["replay", "sound.yml", "--on", "local", "--tries", "7", "--stretch", "2",
                 "--check", "linearizable"]) == 0
    out = said(capsys)
    assert "try 3 of 7: violation (so it is)" in out
    assert "reproduced in 2 of 7 tries (linearizable violated)" in out
    assert "power-loss: does not exist on local hosts, and is left out here" in out
    where = re.findall(r"told in: (.*)", out)[0]
    told = json.loads(Path(where).read_text())
    assert (told["reproduced"], told["tries"], told["stretch"]) == (2, 7, 2.0)
    assert [run["reproduced"] for run in told["runs"]] == [n % 3 == 0 for n in range(1, 8)]
    assert all(Path(run["folder"]).is_dir() for run in told["runs"])
    plan_of_first = planned(tried[0].spec)
    assert [operation.at for operation in plan_of_first.operations] == [0.2, 0.4]
    assert (plan_of_first.faults[0].at, plan_of_first.faults[0].hold) == (0.6, 0.2)
    assert tried[0].spec.time_limit == 2


def test_everything_takes_longer_in_proportion() -> None:
    spec = validated(Document.parse("t.yml", SOUND))[1]
    longer = stretched(spec, 2.5)
    assert [operation.at for operation in planned(longer).operations] == [0.25, 0.5]
    assert longer.op_timeout == 2.5 * spec.op_timeout


def test_what_only_the_simulated_world_sees_is_not_looked_for_on_hosts() -> None:
    assert check_to_see({"invariants": "violation", "linearizable": "violation"}) == "linearizable"
    assert check_to_see({"invariants": "violation", "stats": "no-coverage"}) == ""


def test_the_check_to_see_is_the_one_that_simulation_violates(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def tries(run: Any, store: Path, *, check: str, **options: Any) -> tuple[Tries, RunFolder]:
        seen.append(check)
        return Tries("t", 0, 0, check, 1.0, "local", "", "", [], []), RunFolder(here)

    monkeypatch.setattr(replaying, "try_locally", tries)
    file("lying.yml", LYING), file("sound.yml", SOUND)
    assert main(["replay", "lying.yml", "--on", "local"]) == 0
    assert main(["replay", "sound.yml", "--on", "local"]) == 0
    assert seen == ["", ""]


def test_the_plan_of_a_saved_file_is_the_plan_of_what_was_saved(tmp_path: Path) -> None:
    spec = validated(Document.parse("t.yml", SOUND))[1]
    path = tmp_path / "t.yml"
    path.write_text(as_file(spec))
    assert plan(Request(path, tmp_path, "sim")).spec == spec
