"""The on-host agent's own parts: processes that are what they were, ids, rules."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from seatrial.harness.nemesis.agent import (
    administration,
    clock,
    cuts,
    disk,
    life,
    paths,
    processes,
    undoing,
)
from seatrial.harness.nemesis.agent import journal as faults
from seatrial.harness.nemesis.agent.errors import AgentError


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()


def wait_for(condition: object) -> None:
    deadline = time.monotonic() + 30
    while not condition():          # type: ignore[operator]
        assert time.monotonic() < deadline, "never came true"
        time.sleep(0.005)


def test_a_process_is_stopped_and_continued_by_pid_and_start_time(
    sleeper: subprocess.Popen[bytes],
) -> None:
    ((pid, start),) = processes.identify([sleeper.pid])
    assert processes.send_signal(pid, start, signal.SIGSTOP)
    wait_for(lambda: processes.is_stopped(pid, start))
    assert processes.send_signal(pid, start, signal.SIGCONT)
    wait_for(lambda: not processes.is_stopped(pid, start))


def test_a_pid_that_was_given_to_another_process_is_never_signalled(
    sleeper: subprocess.Popen[bytes],
) -> None:
    ((pid, start),) = processes.identify([sleeper.pid])
    assert not processes.send_signal(pid, start - 1, signal.SIGKILL)
    assert processes.start_time(pid) == start


def test_a_dead_process_is_neither_signalled_nor_stopped(
    sleeper: subprocess.Popen[bytes],
) -> None:
    ((pid, start),) = processes.identify([sleeper.pid])
    sleeper.kill()
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)     # dead, and still a zombie
    assert not processes.send_signal(pid, start, signal.SIGSTOP)
    assert not processes.is_stopped(pid, start)
    assert processes.identify([pid]) == []
    sleeper.wait()
    assert not processes.send_signal(pid, start, signal.SIGSTOP)


def test_a_process_with_one_running_thread_is_not_stopped() -> None:
    """Each thread counts: the kernel stops them one by one."""
    states = {"1": ["T"], "2": ["S"]}
    start = ["S", *["0"] * 18, "77"]

    def stat_fields(path: str) -> list[str]:
        task = path.split("/")[-2]
        return states[task] if "/task/" in path else start

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "stat_fields", stat_fields)
        patch.setattr(processes.os, "listdir", lambda path: list(states))
        assert not processes.is_stopped(1, 77)
        states["2"] = ["T"]
        assert processes.is_stopped(1, 77)


def test_no_fault_starts_where_no_dead_man_lives_or_its_run_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second is what a command that comes too late meets: the resident is about to go."""
    monkeypatch.setattr(paths, "RUN", tmp_path / "run.json")
    monkeypatch.setattr(paths, "LIFE", tmp_path / "resident.lock")
    paths.RUN.touch()
    with pytest.raises(AgentError, match="dead-man process doesn't run"):
        life.must_be_guarded()
    with life.take_life_lock():
        life.must_be_guarded()
        paths.RUN.unlink()
        with pytest.raises(AgentError, match="dead-man process doesn't run"):
            life.must_be_guarded()


@pytest.mark.parametrize("id", ["", "../x", "a/b", "a b", "a\n"])
def test_an_id_that_would_leave_the_journal_is_refused(id: str) -> None:
    with pytest.raises(AgentError, match="expected letters"):
        faults.entry_path(id)


@pytest.mark.parametrize("source", ["n1", "1.2.3", "-j ACCEPT", "1.2.3.4 -j ACCEPT"])
def test_only_addresses_become_rules(source: str) -> None:
    with pytest.raises(AgentError, match="expected an IP address"):
        cuts.chain_rules(4, [], [source])


def test_the_controller_and_neighbour_discovery_come_before_every_drop() -> None:
    rules = cuts.chain_rules(6, ["fd::9", "10.0.0.9"], ["fd::2", "10.0.0.2"])
    assert rules == [
        "-A SEATRIAL-IN -s fd::9 -j RETURN",
        "-A SEATRIAL-IN -p ipv6-icmp --icmpv6-type 135 -j RETURN",
        "-A SEATRIAL-IN -p ipv6-icmp --icmpv6-type 136 -j RETURN",
        "-A SEATRIAL-IN -s fd::2 -j DROP"]
    assert cuts.chain_rules(4, ["fd::9", "10.0.0.9"], ["fd::2", "10.0.0.2"]) == [
        "-A SEATRIAL-IN -s 10.0.0.9 -j RETURN", "-A SEATRIAL-IN -s 10.0.0.2 -j DROP"]


def test_the_agent_needs_nothing_but_the_standard_library_of_python_3_9() -> None:
    """It runs on hosts where nothing of ours is installed."""
    import ast

    files = sorted(Path(paths.__file__).parent.glob("*.py"))
    assert len(files) > 10
    for file in files:
        tree = ast.parse(file.read_text(), feature_version=(3, 9))
        modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import)
                   for alias in node.names}
        modules |= {node.module or "." for node in ast.walk(tree)
                    if isinstance(node, ast.ImportFrom) and node.level == 0}
        assert {name.split(".")[0] for name in modules} <= set(sys.stdlib_module_names), file
        assert {node.level for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)} <= {0, 1}


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An agent's folder of its own, in which a run goes on."""
    for name, file in (("STATE", ""), ("JOURNAL", "journal"), ("RUN", "run.json"),
                       ("LIFE", "resident.lock")):
        monkeypatch.setattr(paths, name, tmp_path / file)
    monkeypatch.setattr(cuts, "apply_cuts", lambda entries: None)
    paths.JOURNAL.mkdir()
    paths.RUN.touch()
    with life.take_life_lock():
        yield paths.JOURNAL


def administered(fault: str, *undo: str) -> None:
    administration.administer({"id": fault, "name": "member-add", "undo": list(undo)})


def test_what_an_administrator_does_is_undone_by_the_command_that_was_journalled_before(
    journal: Path, tmp_path: Path,
) -> None:
    mark = tmp_path / "undone"
    administered("0-1", "touch", str(mark))
    administered("0-2")                         # nothing to be brought back
    assert len(list(journal.iterdir())) == 2
    assert not mark.exists()
    assert [entry["id"] for entry in undoing.stop({"id": "0-1"})["undone"]] == ["0-1"]
    assert mark.exists()
    assert undoing.stop({"id": "0-1"}) == {"undone": []}
    assert [entry["id"] for entry in undoing.heal()] == ["0-2"]
    assert list(journal.iterdir()) == []


def test_an_undoing_that_fails_stays_journalled_for_the_run_and_is_told_by_who_heals_without_it(
    journal: Path,
) -> None:
    administered("0-1", "sh", "-c", "echo no leader was found >&2; exit 1")
    for _ in range(2):
        with pytest.raises(AgentError, match="sh: exit code 1: no leader was found"):
            undoing.stop({"id": "0-1"})
    assert len(list(journal.iterdir())) == 1
    (entry,) = undoing.heal()
    assert entry["failed"] == "sh: exit code 1: no leader was found"
    assert list(journal.iterdir()) == []


def test_while_something_is_brought_back_others_can_end_the_fault_that_is_in_its_way(
    journal: Path, tmp_path: Path,
) -> None:
    """The command waits until another fault of the host has been ended."""
    gate = tmp_path / "gate"
    administered("0-1", "sh", "-c", f"while [ ! -e {gate} ]; do sleep 0.01; done")
    administered("0-2", "touch", str(gate))
    stopping = threading.Thread(target=undoing.stop, args=({"id": "0-1"},))
    stopping.start()
    undoing.stop({"id": "0-2"})
    stopping.join(30)
    assert not stopping.is_alive()
    assert list(journal.iterdir()) == []


def test_a_repair_of_the_data_disk_begins_where_an_earlier_one_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mounted, done, trouble = {"/data"}, [], ["busy", "no repair", "no repair"]

    def command(argv: list[str], **_: object) -> str:
        done.append(argv[0])
        if trouble and argv[0] == {"busy": "umount", "no repair": "e2fsck"}[trouble[0]]:
            raise AgentError(trouble.pop(0))
        if argv[0] == "umount":
            mounted.remove(argv[1])
        return ""

    monkeypatch.setattr(disk, "command", command)
    monkeypatch.setattr(disk.os.path, "ismount", lambda path: path in mounted)
    with pytest.raises(AgentError, match="no repair"):
        disk.mount_anew("/dev/mapper/data", "/data")
    assert done == ["umount", "umount", "e2fsck", "e2fsck"]
    disk.mount_anew("/dev/mapper/data", "/data")
    assert done[4:] == ["e2fsck", "mount"]


def test_a_clock_is_put_right_though_the_agent_is_interrupted_while_it_does_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ms = 1_000_000
    now, off, steps = [0], [500 * ms], iter([80 * ms] * 6)

    def raw() -> int:
        now[0] += 1000
        return now[0]

    def set_wall(_: int, wall_ns: int) -> None:
        now[0] += next(steps, 0)            # somebody else had the processor
        off[0] = wall_ns - now[0]

    def wall() -> int:
        now[0] += next(steps, 0)
        return now[0] + off[0]

    monkeypatch.setattr(clock, "raw_ns", raw)
    monkeypatch.setattr(clock.time, "time_ns", wall)
    monkeypatch.setattr(clock.time, "clock_settime_ns", set_wall)
    monkeypatch.setattr(clock, "set_tick", lambda _: None)
    clock.restore_clock({"boot": faults.boot_id(), "wall": 7000 * ms, "raw": 0})
    assert abs(off[0] - 7000 * ms) < clock.NEAR_NS
    seen = clock.clocks({})
    assert abs(seen["wall"] - seen["raw"] - 7000 * ms) < clock.NEAR_NS
