"""Batches of seeds: what they keep, what they find, and that they go on where they were."""
from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from seatrial.harness.cli import main
from seatrial.harness.errors import BadInput, HarnessFailure
from seatrial.harness.sim.batch import BatchDone, run_batch, seeds_of
from seatrial.harness.sim.batch_progress import BatchProgress
from seatrial.harness.sim.crew import crew
from seatrial.harness.sim.worker import Setup, Task

from .sim_tests import CALM, environment, module, request, with_workload, written

SHORT = CALM.replace("time_limit: 4", "time_limit: 1").replace("min_ok: 100", "min_ok: 20")


def batch(folder: Path, text: str, seeds: str, *, jobs: int = 2, resume: bool = False) -> BatchDone:
    return run_batch(request(folder, text), seeds_of(seeds), jobs=jobs, resume=resume)


def folder_of(store: Path) -> Path:
    found = sorted(store.glob("*/*-seeds"))
    return found[-1]


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "seeds.jsonl").read_text().splitlines()]


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


@pytest.mark.parametrize(("text", "seeds"), [
    ("1", [1]), ("3", [1, 2, 3]), ("7..9", [7, 8, 9]), ("0..0", [0]),
])
def test_seeds_are_a_number_or_a_range(text: str, seeds: list[int]) -> None:
    assert list(seeds_of(text)) == seeds


@pytest.mark.parametrize("text", ["0", "", "x", "-3", "3..1", "1..", "..2", "1-3"])
def test_other_seeds_are_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"^--seeds: expected a number of seeds, or FIRST\.\.LAST"):
        seeds_of(text)


def test_seeds_that_pass_leave_a_line_each_and_a_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    store = tmp_path / "store"
    file = written(tmp_path, SHORT)
    assert main(["run", str(file), "--on", "sim", "--seeds", "11..16", "--jobs", "2",
                 "--store", str(store)]) == 0
    folder = folder_of(store)
    found = sorted(lines(folder), key=lambda line: line["seed"])
    assert [line["seed"] for line in found] == list(range(11, 17))
    assert {line["verdict"] for line in found} == {"pass"}
    assert len({line["digest"] for line in found}) == 6
    assert all(line["operations"]["ok"] > 20 and line["events"] > 100 and line["wall_ns"] > 0
               for line in found)
    assert [path.name for path in store.iterdir()] == ["small"]
    assert [path.name for path in (store / "small").iterdir()] == [folder.name]
    ended = summary(folder)
    assert (ended["verdict"], ended["seeds"], ended["verdicts"]) == ("pass", 6, {"pass": 6})
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["verdict: pass", "seeds:   11..16: 6 pass"]
    assert said[-1] == f"folder:  {folder}"


def test_the_digest_of_a_batch_does_not_depend_on_how_many_work_at_it(tmp_path: Path) -> None:
    for name, jobs in (("one", 1), ("three", 3)):
        (tmp_path / name).mkdir()
        batch(tmp_path / name, SHORT, "6", jobs=jobs)
    one, three = (summary(folder_of(tmp_path / name / "store")) for name in ("one", "three"))
    assert one["digest"] == three["digest"]
    assert one["operations"] == three["operations"] > 300


def test_a_seed_that_does_not_pass_is_run_again_with_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = module(tmp_path, monkeypatch, "lies_about_two_seeds", """
async def twist(test, op):
    pass

class Lying(Workload):
    def check(self, test, history):
        bad = Verdict.VIOLATION if test.seed in (3, 5) else Verdict.PASS
        return [CheckResult("lies", bad, "as told")]
""")
    text = with_workload(SHORT, name).replace(":Workload", ":Lying")
    done = batch(tmp_path, text, "6")
    assert done.exit_code == 1
    folder = folder_of(tmp_path / "store")
    bad = [line for line in lines(folder) if line["verdict"] != "pass"]
    assert sorted(line["seed"] for line in bad) == [3, 5]
    for line in bad:
        assert line["checks"] == {"lies": "violation"}
        results = json.loads((Path(line["folder"]) / "results.json").read_text())
        assert (results["seed"], results["trace_digest"]) == (line["seed"], line["digest"])
        assert (Path(line["folder"]) / "report.html").exists()
    assert summary(folder)["verdicts"] == {"pass": 4, "violation": 2}
    said = "\n".join(done.lines)
    assert "seeds:   1..6: 4 pass, 2 violation" in said
    assert f"seed 3: violation (lies: as told)\n  again:  seatrial run {tmp_path}/test.yml " \
           f"--on sim --seed 3 --store {tmp_path}/store\n  report: " in said
    digest = next(line["digest"] for line in bad if line["seed"] == 3)
    assert f"  replay: seatrial replay {tmp_path}/test.yml --seed 3 --digest {digest} --commit " \
        in said


def test_a_batch_that_was_cut_short_goes_on_and_comes_to_the_same(tmp_path: Path) -> None:
    batch(tmp_path, SHORT, "8")
    folder = folder_of(tmp_path / "store")
    whole = summary(folder)
    (folder / "summary.json").unlink()
    kept = lines(folder)[:3]
    data = (folder / "seeds.jsonl").read_text().splitlines(keepends=True)
    (folder / "seeds.jsonl").write_text("".join(data[:3]) + data[3][:40])   # a torn line
    batch(tmp_path, SHORT, "8", resume=True)
    assert folder_of(tmp_path / "store") == folder
    assert lines(folder)[:3] == kept
    assert sorted(line["seed"] for line in lines(folder)) == list(range(1, 9))
    again = summary(folder)
    assert again["digest"] == whole["digest"]
    assert again["events"] == whole["events"]


@pytest.mark.parametrize(("change", "told"), [
    ("finished", ""),
    ("seeds", "; that in {name} has other seeds: (1, 3), not (1, 2)"),
    ("file", "; that in {name} has other file digest: "),
])
def test_what_can_not_be_gone_on_with_is_told(tmp_path: Path, change: str, told: str) -> None:
    batch(tmp_path, SHORT, "3")
    folder = folder_of(tmp_path / "store")
    text, seeds = SHORT, "3"
    if change != "finished":
        (folder / "summary.json").unlink()
    if change == "seeds":
        seeds = "2"
    if change == "file":
        text += "# changed\n"
    with pytest.raises(BadInput, match=re.escape(
            f"--resume: nothing in {tmp_path}/store/small to go on with: no unfinished batch of "
            f"seeds 1..{seeds} of this file at this commit{told.format(name=folder.name)}")):
        batch(tmp_path, text, seeds, resume=True)


def test_a_process_that_dies_costs_its_seed_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = module(tmp_path, monkeypatch, "dies_at_seed_2", """
async def twist(test, op):
    if test.seed == 2:
        os.kill(os.getpid(), signal.SIGKILL)
""")
    done = batch(tmp_path, with_workload(SHORT, name), "5")
    assert done.exit_code == 255
    found = {line["seed"]: line["verdict"] for line in lines(folder_of(tmp_path / "store"))}
    assert found == {1: "pass", 2: "harness-failure", 3: "pass", 4: "pass", 5: "pass"}
    assert any(line.startswith("seed 2: harness-failure (its process ended by signal 9)")
               for line in done.lines)


def test_a_seed_that_gives_another_run_the_second_time_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = module(tmp_path, monkeypatch, "looks_at_a_real_clock", """
async def twist(test, op):
    await asyncio.sleep(time.monotonic_ns() % 1000 / 1e9)

class Failing(Workload):
    def check(self, test, history):
        return [CheckResult("fails", Verdict.VIOLATION, "as told")]
""")
    done = batch(tmp_path, with_workload(SHORT, name).replace(":Workload", ":Failing"), "1")
    assert done.exit_code == 255
    assert "seed 1: harness-failure (not the same run twice: digest " in "\n".join(done.lines)


def test_what_a_worker_refuses_ends_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = module(tmp_path, monkeypatch, "raises_when_it_is_made", """
async def twist(test, op):
    pass

class Picky(Workload):
    def validate(self, spec, system):
        if spec.seed == 3:
            raise ValueError("seed: I don't like 3")
""")
    text = with_workload(SHORT, name).replace(":Workload", ":Picky")
    with pytest.raises(BadInput, match="seed: I don't like 3"):
        batch(tmp_path, text, "4", jobs=1)


def test_closing_a_crew_ends_its_workers(tmp_path: Path) -> None:
    answers = crew(request(tmp_path, SHORT), range(1, 100), jobs=2)
    next(answers)
    before = children()
    assert len(before) >= 2
    answers.close()
    assert children() == before - worker_pids(before)


def test_a_worker_whose_parent_was_killed_ends_without_a_word(tmp_path: Path) -> None:
    setup = Setup.of(request(tmp_path, SHORT), alone=False)
    given = b"".join(msgspec.json.encode(line) + b"\n" for line in (setup, Task(1)))
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-m", "seatrial.harness.sim.worker"], input=given,
                          stdout=writer, stderr=subprocess.PIPE, env=environment(), check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def children() -> set[int]:
    """Return the pids of this process's children."""
    text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return set(map(int, text.split()))


def worker_pids(pids: set[int]) -> set[int]:
    return {pid for pid in pids
            if not Path(f"/proc/{pid}/cmdline").exists()
            or b"sim.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()}


def test_an_interrupt_ends_a_batch_cleanly_and_says_how_to_go_on(tmp_path: Path) -> None:
    file = written(tmp_path, SHORT)
    command = [sys.executable, "-m", "seatrial.harness", "run", str(file), "--on", "sim",
               "--seeds", "400", "--jobs", "2", "--store", str(tmp_path / "store")]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, process_group=0) as process:
        until(lambda: any(path.stat().st_size for path in tmp_path.glob("store/*/*/seeds.jsonl")))
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    folder = folder_of(tmp_path / "store")
    done = len(lines(folder))
    assert (process.returncode, out) == (255, "")
    assert err.splitlines()[-1] == (
        f"seatrial: interrupted after {done} of 400 seeds, which are in {folder}; add --resume "
        "to go on from there")
    assert "Traceback" not in err
    assert not (folder / "summary.json").exists()


def until(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_progress_tells_how_far_it_is_and_who_did_not_pass() -> None:
    out = io.StringIO()
    progress = BatchProgress("small", 10, had=2, console=Console(file=out, width=200),
                             line_period_s=0)
    with progress:
        progress.show(3, "pass", 10**9, {"pass": 3})
        progress.show(7, "violation", 10**9, {"pass": 3, "violation": 1})
    assert re.match(r"small \| 3 of 10 seeds \| [\d.]+ seeds/s \| [\d,]+ times the clock \| "
                    r"[\d.]+ min left \| 3 pass\n", out.getvalue())
    assert "4 of 10 seeds" in out.getvalue()
    assert out.getvalue().rstrip().endswith("| 3 pass, 1 violation | seeds 7 violation")


@pytest.mark.parametrize("options", [["--on", "local"], []])
def test_seeds_are_for_the_simulated_world_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str],
) -> None:
    assert main(["run", str(written(tmp_path, SHORT)), "--seeds", "3", *options]) == 254
    assert capsys.readouterr().err == \
        "seatrial: --seeds: only with --on sim, where runs need no hosts of their own\n"


def test_a_store_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("not a folder")
    with pytest.raises(HarnessFailure, match="can't write to the store"):
        batch(tmp_path, SHORT, "2")
