"""Labs: made, kept, in use, dead, removed; and nothing is left of them."""
from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from seatrial.harness.errors import BadInput, HarnessFailure
from seatrial.harness.hosts import Lab, LocalWorld, cgroup, keeper, kernel, state
from seatrial.harness.hosts.cgroup import Cgroup, Hierarchy, hierarchies
from seatrial.harness.hosts.plan import plan
from seatrial.harness.hosts.state import DISK, RUN, Condition

from .machine import assert_as_before, machine_state

pytestmark = [pytest.mark.netns, pytest.mark.cluster, pytest.mark.timeout(60)]

OWNER = """
import asyncio, sys, time
from seatrial.harness.hosts import LocalWorld
world = LocalWorld.create(3, lab=sys.argv[1])
print("claimed", flush=True)
world.make()
print("made", flush=True)
asyncio.run(world.up())
print("up", flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("local hosts need root")


@pytest.fixture
def lab() -> Iterator[str]:
    """A lab's name; whatever has that name at the end is removed, and nothing is left."""
    name = f"test-{os.getpid()}-{time.monotonic_ns() % 10**6}"
    before = machine_state([name])
    yield name
    if name in state.names():
        Lab.reclaim(name).destroy()
    assert_as_before(before, [name])


def owner(name: str) -> subprocess.Popen[str]:
    """A process that makes and owns the lab until it is killed."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen([sys.executable, "-c", OWNER, name], stdout=subprocess.PIPE,
                            text=True, env=environment)


def wait_for(process: subprocess.Popen[str], word: str) -> None:
    """Read the owner's output up to that line."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == word:
            return
    pytest.fail(f"the owner ended before {word!r}")


def kill(process: subprocess.Popen[str]) -> None:
    """kill -9."""
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def seatrial(*argv: str) -> subprocess.CompletedProcess[str]:
    """The command line, in a process of its own."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run([sys.executable, "-m", "seatrial.harness", *argv], check=False,
                          capture_output=True, text=True, env=environment, timeout=120)


def test_a_lab_goes_up_and_down_without_a_trace(lab: str) -> None:
    before = machine_state([lab])
    world = LocalWorld.create(3, lab=lab)
    asyncio.run(world.up())
    during = machine_state([lab])
    seen = {what for what in before if during[what] != before[what]}
    assert seen >= {"processes", "namespaces", "control groups", "folders"}
    assert not seen & {"mounts", "links", "routes", "named namespaces", "iptables"}
    world.destroy()
    assert_as_before(before, [lab])


@pytest.mark.parametrize("where", hierarchies(), ids=lambda where: f"v{where.version}")
def test_a_lab_works_on_each_version_of_control_groups(
    lab: str, where: Hierarchy, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cgroup, "hierarchy", lambda: where)
    world = LocalWorld.create(2, lab=lab)
    try:
        asyncio.run(world.up())
        assert world.lab.cgroup.path.is_relative_to(where.mount)
        world.freeze("n1")  # a frozen host must not keep the lab from going down
    finally:
        world.destroy()


def test_two_labs_live_side_by_side_on_the_same_addresses(lab: str) -> None:
    before = machine_state([lab, f"{lab}-b"])
    worlds = [LocalWorld.create(2, lab=name) for name in (lab, f"{lab}-b")]
    try:
        for world in worlds:
            asyncio.run(world.up())
            asyncio.run(world.hosts[0].run(["sh", "-c", f"echo {world.plan.lab} > /data/lab"]))
        for world in worlds:
            read = asyncio.run(world.hosts[0].read("/data/lab"))
            assert read.decode().strip() == world.plan.lab
        assert worlds[0].hosts[0].ipv4 == worlds[1].hosts[0].ipv4
        worlds[0].destroy()
        assert asyncio.run(worlds[1].hosts[1].run(["echo", "alive"])).stdout == "alive\n"
    finally:
        for world in worlds:
            if world.plan.lab in state.names():
                world.destroy()
    assert_as_before(before, [lab, f"{lab}-b"])


@pytest.mark.parametrize("moment", ["claimed", "made", "up"])
def test_down_removes_what_a_killed_owner_left(lab: str, moment: str) -> None:
    before = machine_state([lab])
    process = owner(lab)
    wait_for(process, moment)
    assert state.condition(lab) is Condition.IN_USE
    kill(process)
    deadline = time.monotonic() + 10
    while state.condition(lab) is not Condition.DEAD:  # a child about to exec holds the lock too
        assert time.monotonic() < deadline
    done = seatrial("down", "--lab", lab)
    assert (done.returncode, done.stdout) == (0, f"lab {lab}: removed (dead)\n"), done.stderr
    assert_as_before(before, [lab])


@pytest.mark.parametrize("delay_ms", [0, 20, 60, 120, 200])
def test_a_lab_killed_while_it_is_made_is_removed_whole(lab: str, delay_ms: int) -> None:
    process = owner(lab)
    wait_for(process, "claimed")
    time.sleep(delay_ms / 1000)  # not to wait for something: to be killed somewhere in between
    kill(process)
    Lab.reclaim(lab).destroy()
    assert lab not in state.names()


def test_a_lab_in_use_is_left_alone(lab: str) -> None:
    process = owner(lab)
    try:
        wait_for(process, "up")
        assert f"lab {lab}: in use, left alone" in seatrial("down").stdout
        refused = seatrial("down", "--lab", lab)
        assert (refused.returncode, refused.stderr) == (
            255, f"seatrial: lab {lab}: in use by process {process.pid}\n")
        with pytest.raises(HarnessFailure, match=f"in use by process {process.pid}"):
            Lab.attach(lab)
    finally:
        kill(process)


def test_up_ssh_down(lab: str) -> None:
    up = seatrial("up", "-n", "2", "--lab", lab)
    assert up.returncode == 0, up.stderr
    assert "198.18.1.2" in up.stdout
    assert state.condition(lab) is Condition.KEPT
    awkward = "two  words; $HOME 'x' \"y\" *"
    there = seatrial("ssh", "n2", "--lab", lab, "--", "printf", "%s", awkward)
    assert (there.returncode, there.stdout) == (0, awkward), there.stderr
    assert seatrial("ssh", "n1", "--lab", lab, "--", "sh", "-c", "exit 7").returncode == 7
    nobody = seatrial("ssh", "n9", "--lab", lab)
    assert (nobody.returncode, nobody.stderr) == (
        254, f"seatrial: host 'n9': lab {lab} has n1, n2\n")
    again = seatrial("up", "--lab", lab)
    assert (again.returncode, again.stderr) == (
        255, f"seatrial: lab {lab}: exists already (seatrial down --lab {lab})\n")
    assert f"lab {lab}: kept" in seatrial("down").stdout
    down = seatrial("down", "--lab", lab)
    assert (down.returncode, down.stdout) == (0, f"lab {lab}: removed (kept)\n")


def test_a_kept_lab_can_be_attached_and_used_again(lab: str) -> None:
    world = LocalWorld.create(1, lab=lab)
    asyncio.run(world.up())
    world.keep()
    again = LocalWorld.attach(lab)
    try:
        assert state.condition(lab) is Condition.IN_USE
        assert asyncio.run(again.hosts[0].run(["hostname"])).stdout == "n1\n"
    finally:
        again.keep()
    assert state.condition(lab) is Condition.KEPT


def test_a_lab_whose_hosts_died_is_dead(lab: str) -> None:
    world = LocalWorld.create(1, lab=lab)
    world.make()
    world.keep()
    world.lab.cgroup.kill()
    assert state.condition(lab) is Condition.DEAD
    with pytest.raises(HarnessFailure, match=f"lab {lab}: is dead"):
        Lab.attach(lab)
    with pytest.raises(HarnessFailure, match=f"lab {lab}: is not up"):
        LocalWorld.view(lab)


def test_a_lab_that_lost_its_folder_is_found_by_its_disk(lab: str) -> None:
    world = LocalWorld.create(1, lab=lab)
    world.make()
    world.keep()
    for path in sorted((RUN / lab).iterdir()):
        path.unlink()
    (RUN / lab).rmdir()
    assert lab in state.names()
    Lab.reclaim(lab).destroy()


def test_an_unborn_lab_is_removed(lab: str) -> None:
    young = RUN / f".{lab}.1"
    young.mkdir(parents=True)
    (young / "id_ed25519").touch()
    state.remove_unborn()
    assert not young.exists()


def test_a_host_that_cannot_be_made_is_named(
    lab: str, monkeypatch: pytest.MonkeyPatch,
) -> None:
    make = Cgroup.make

    def sabotaged(group: Cgroup) -> None:
        make(group)
        if group.path.name == "n2":
            (DISK / lab / "n2" / "upper").mkdir()  # where the host's own is to be made

    monkeypatch.setattr(Cgroup, "make", sabotaged)
    world = LocalWorld.create(3, lab=lab)
    try:
        with pytest.raises(HarnessFailure, match=rf"^lab {lab}: n2: .*File exists.*upper"):
            world.make()
    finally:
        world.destroy()


def test_a_host_whose_sshd_ends_is_named_with_its_last_words(
    lab: str, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(LocalWorld, "answer_timeout_s", 1.0)
    world = LocalWorld.create(1, lab=lab)       # no second host, which might be slow to answer
    try:
        (world.lab.folder / "n1.key").write_text("no key\n")
        with pytest.raises(HarnessFailure, match=r"^n1 \(198\.18\.1\.1:22\): it ended: "
                           "sshd: no hostkeys available"):
            asyncio.run(world.up())
    finally:
        world.destroy()


def test_a_full_disk_is_told_in_one_line(lab: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(group: Cgroup) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(group.path))

    world = LocalWorld.create(1, lab=lab)
    try:
        monkeypatch.setattr(Cgroup, "make", full)
        with pytest.raises(HarnessFailure, match=rf"^lab {lab}: .*/n1: No space left on device$"):
            world.make()
    finally:
        world.destroy()


def test_a_missing_tool_is_named_before_anything_is_made(
    lab: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:
    monkeypatch.setitem(keeper.ENVIRONMENT, "PATH", str(tmp_path))
    with pytest.raises(HarnessFailure,
                       match=r"world 'local' need ip: .*apt-get install iproute2"):
        LocalWorld.create(1, lab=lab)
    assert lab not in state.names()


def test_bad_requests_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("", "../x", "A", "x" * 40, "-x", "a b"):
        with pytest.raises(BadInput, match="expected a name of"):
            Lab.claim(name)
    with pytest.raises(BadInput, match="nodes: 0: a lab has 1 to 99 hosts"):
        plan("x", 0, ())
    with pytest.raises(HarnessFailure, match="there is no such lab"):
        Lab.claim("never-made")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(HarnessFailure, match="hosts of our own need root"):
        LocalWorld.create(1, lab="never-made")


def listen() -> None:
    """Hear ^C, even where the tests run in a shell's background, which ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_signal_while_hosts_are_made_leaves_nothing(lab: str) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-m", "seatrial.harness", "up", "-n", "20", "--lab", lab],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            preexec_fn=listen)
        while not Cgroup.of_lab(lab).child("keeper").path.exists() and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
        if process.returncode:
            break
        Lab.reclaim(lab).destroy()      # (on a busy machine we may see it too late)
    assert (process.returncode, stderr.strip()) == (255, "interrupted")
    assert lab not in state.names()


def test_start_time_tells_a_process_from_a_later_one_with_its_pid() -> None:
    own = state.Process.of(os.getpid())
    assert own.alive
    assert not state.Process(own.pid, own.started - 1).alive
    assert kernel.start_time(2**22 + 1) is None


def test_a_process_whose_first_thread_has_ended_is_alive_while_another_runs() -> None:
    work = ("import ctypes, sys, threading\n"
            "threading.Thread(target=sys.stdin.read).start()\n"
            "print(flush=True)\n"
            "ctypes.CDLL(None).pthread_exit(None)\n")
    with subprocess.Popen([sys.executable, "-c", work], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        stat = Path(f"/proc/{process.pid}/stat")
        deadline = time.monotonic() + 30
        while stat.read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert kernel.start_time(process.pid) is not None
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert kernel.start_time(process.pid) is None
