"""Whole campaigns on local hosts, as a user starts, stops and kills them."""
from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from seatrial.harness.hosts import state

from .campaigns import SMALL, going, in_force, nothing_left, results, seatrial

pytestmark = [pytest.mark.cluster, pytest.mark.netns]
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yml"
    path.write_text(SMALL)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def long_file(file: Path) -> Path:
    """A test that goes on until it is stopped."""
    file.write_text(SMALL.replace("time_limit: 10", "time_limit: 600"))
    return file


def test_a_campaign_passes_with_everything_in_its_folder_and_nothing_left(
    file: Path, store: Path
) -> None:
    with nothing_left():
        ended = seatrial("run", file, "--seed", "5", "--store", store)
    assert ended.code == 0, ended.err
    verdict, report, again = ended.out.splitlines()
    assert verdict == "verdict: pass"
    assert Path(report.split()[1]).stat().st_size > 0
    assert again.endswith(f"seatrial run {file} --on local --seed 5 --store {store}")
    found = results(store)
    assert found["operations"]["ok"] > 300
    assert found["leader_changes"] >= 1
    assert {"linearizable", "stats", "unhandled-exceptions", "coverage"} <= set(found["checks"])
    folder = (store / "latest").resolve()
    assert all((folder / "nodes" / name / "node.log").stat().st_size for name in ("n1", "n3"))
    journal = [json.loads(line) for line in (folder / "faults.jsonl").read_text().splitlines()]
    assert [entry["fault"] for entry in journal if entry["phase"] == "effective"] == [
        fault["name"] for fault in found["faults"] if fault["effective_ns"] is not None]
    secrets = [path for path in folder.rglob("*") if path.suffix in (".key", ".yml")]
    assert secrets == []


def test_the_same_runs_over_ipv6(file: Path, store: Path) -> None:
    file.write_text(SMALL.replace("{heartbeat_ms: 60,", "{ip: 6, heartbeat_ms: 60,"))
    ended = seatrial("run", file, "--seed", "6", "--store", store)
    assert ended.code == 0, ended.err + ended.out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["planted-bug", "planted-stale-reads", "planted-double-apply"])
def test_a_planted_bug_is_found_with_a_readable_counterexample(name: str, store: Path) -> None:
    for seed in (1, 2, 3):      # real time decides too: one short campaign may miss it
        ended = seatrial("run", EXAMPLES / f"{name}.yml", "--time-limit", "20", "--seed", str(seed),
                         "--store", store)
        if ended.code == 1:
            break
    assert ended.code == 1, ended.err + ended.out
    assert ended.out.startswith("verdict: violation (not linearizable: key r")
    found = results(store)["checks"]["linearizable"]
    assert "<- " in found["text"]
    assert found["evidence"]["counterexamples"]


def test_interrupted_once_a_campaign_heals_and_judges_what_there_is(
    long_file: Path, store: Path
) -> None:
    with nothing_left(), going("run", long_file, "--store", store) as campaign:
        campaign.wait_for(lambda: in_force(store))
        campaign.process.send_signal(signal.SIGINT)
        ended = campaign.end()
    assert ended.code == 3, ended.err
    found = results(store)
    assert found["checks"]["interrupted"]["summary"] == "the run was ended by ^C"
    assert found["checks"]["linearizable"]["verdict"] == "pass"
    assert (store / "latest" / "nodes" / "n1" / "node.log").exists()


def test_interrupted_twice_a_campaign_ends_at_once_and_its_hosts_with_it(
    long_file: Path, store: Path
) -> None:
    with nothing_left(), going("run", long_file, "--store", store) as campaign:
        campaign.wait_for(lambda: in_force(store))
        campaign.process.send_signal(signal.SIGINT)
        campaign.process.send_signal(signal.SIGINT)
        ended = campaign.end()
    assert ended.code in (3, 255), ended.err     # the second may find the first one's work done
    if ended.code == 255:
        assert "interrupted twice" in ended.complaint


def test_after_a_killed_harness_heal_and_down_leave_nothing(long_file: Path, store: Path) -> None:
    with nothing_left(), going("run", long_file, "--store", store) as campaign:
        lab = campaign.lab()
        campaign.wait_for(lambda: in_force(store))
        os.kill(campaign.process.pid, signal.SIGKILL)
        campaign.process.wait()
        assert lab in state.names()
        healed = seatrial("heal", "--lab", lab)
        assert healed.code == 0, healed.err
        removed = seatrial("down", "--lab", lab)
        assert removed.code == 0, removed.err
        assert lab not in state.names()
