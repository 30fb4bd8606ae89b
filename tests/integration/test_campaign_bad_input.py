"""What can be wrong with hosts, keys, ports and disks: one clear line, 255, nothing left behind."""
from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from seatrial.harness.hosts import LocalWorld
from seatrial.harness.hosts.state import RUN

from .campaigns import COMMAND, ENVIRONMENT, SMALL, Ended, nothing_left, seatrial

pytestmark = [pytest.mark.cluster, pytest.mark.netns]
LAB = f"bad-input-{os.getpid()}"
LISTEN = """
import socket, time
taken = socket.create_server(("", 7400))
print("listening", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[str]:
    """Three hosts that stay for all tests of this module."""
    made = seatrial("up", "--lab", LAB, "--nodes", "3")
    assert made.code == 0, made.err
    yield LAB
    assert seatrial("down", "--lab", LAB).code == 0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yml"
    path.write_text(SMALL.replace("time_limit: 10", "time_limit: 2"))
    return path


@contextmanager
def hosts_of(lab: str) -> Iterator[LocalWorld]:
    world = LocalWorld.view(lab)
    try:
        yield world
    finally:
        world.close()


def run_on(lab: str, file: Path) -> Ended:
    return seatrial("run", file, "--lab", lab, "--store", file.parent / "store")


def test_an_occupied_port_is_named_with_its_host(lab: str, file: Path) -> None:
    with hosts_of(lab) as world:
        async def occupy() -> int:
            host = world.hosts[1]
            start = 'python3 -c "$1" >/tmp/out 2>&1 </dev/null & echo $!'
            pid = int((await host.run(["sh", "-c", start, "sh", LISTEN])).stdout)
            while not (await host.run(["cat", "/tmp/out"])).stdout:
                await asyncio.sleep(0.05)
            return pid

        pid = asyncio.run(occupy())
        ended = run_on(lab, file)
        asyncio.run(world.hosts[1].run(["kill", "-9", str(pid)]))
    assert ended.code == 255, ended.err
    assert "verdict: harness-failure (n2: the node ended" in ended.out
    assert "7400" in ended.out.splitlines()[0]
    assert "in use" in ended.out.splitlines()[0].lower()


def test_a_host_that_does_not_answer_is_named(lab: str, file: Path) -> None:
    owner = LocalWorld.attach(lab)
    try:
        owner.freeze("n3")
    finally:
        owner.keep()
    try:
        ended = run_on(lab, file)
    finally:
        owner = LocalWorld.attach(lab)
        owner.thaw("n3")
        owner.keep()
    assert ended.code == 255, ended.err
    assert "n3" in ended.complaint
    assert not (file.parent / "store").exists()


def exchanged(known_hosts: str) -> str:
    """Return a known_hosts in which every host has another one's key."""
    names, keys = zip(*(line.split(" ", 1) for line in known_hosts.splitlines()), strict=True)
    return "".join(f"{name} {key}\n" for name, key in
                   zip(names, [*keys[1:], keys[0]], strict=True))


@pytest.mark.parametrize("wrong", ["id_ed25519", "known_hosts"])
def test_wrong_keys_are_named_with_their_file_and_host(
    lab: str, file: Path, wrong: str
) -> None:
    path = RUN / lab / wrong
    right = path.read_text()
    somebody_elses = (RUN / lab / "n1.key").read_text()
    path.write_text(somebody_elses if wrong == "id_ed25519" else exchanged(right))
    try:
        ended = run_on(lab, file)
    finally:
        path.write_text(right)
    assert ended.code == 255, ended.err
    assert str(path) in ended.complaint
    assert re.match(r"seatrial: n[123] ", ended.complaint)


def test_the_lab_is_as_good_as_new_after_all_that(lab: str, file: Path) -> None:
    ended = run_on(lab, file)
    assert ended.code in (0, 3), ended.err       # too short for its faults, perhaps


def test_an_unknown_lab_is_named(file: Path) -> None:
    ended = run_on("no-such-lab", file)
    assert (ended.code, ended.out) == (255, "")
    assert ended.complaint.startswith("seatrial: lab no-such-lab: ")


def test_an_unknown_planted_bug_is_told_before_there_are_hosts(file: Path) -> None:
    ended = seatrial("run", file, "--mutant", "read-unconfirmd", "--store", file.parent / "store")
    assert (ended.code, ended.out) == (254, "")
    assert "no planted bug is called 'read-unconfirmd'; did you mean 'read-unconfirmed'?" \
        in ended.complaint
    assert not (file.parent / "store").exists()


def test_without_root_a_run_says_so_and_makes_nothing(file: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    # a checkout below /root must be readable for nobody, too, and that is all that it may do
    ended = seatrial("run", file, "--store", "/nowhere/store", cwd="/", before=[
        "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups",
        "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"])
    assert (ended.code, ended.out) == (255, "")
    assert ended.complaint.startswith(
        "seatrial: hosts of our own need root: run as root or with sudo")


@pytest.mark.parametrize("size_kb", [4, 60])
def test_a_full_disk_under_the_store_ends_the_run_in_one_line(
    file: Path, size_kb: int, tmp_path: Path
) -> None:
    """4 KiB: nothing fits. 60 KiB: the history grows until it doesn't."""
    file.write_text(SMALL.replace("time_limit: 10", "time_limit: 600"))
    store = tmp_path / "small-disk"
    store.mkdir()
    script = f'mount -t tmpfs -o size={size_kb}k none "$1" && shift && exec "$@"'
    with nothing_left():
        ended = seatrial_in_mounts(script, store, "run", file, "--store", store)
    assert ended.code == 255, ended.err
    assert "no space left on device" in (ended.err + ended.out).lower()
    assert str(store) in ended.err + ended.out
    assert "Traceback" not in ended.err


def seatrial_in_mounts(script: str, folder: Path, *arguments: str | Path) -> Ended:
    """Run a command in a mount namespace of its own, after a script that mounts there."""
    argv = ["unshare", "--mount", "sh", "-c", script, "sh", str(folder), *COMMAND,
            *map(str, arguments)]
    done = subprocess.run(argv, env=ENVIRONMENT, capture_output=True, text=True, check=False,
                          timeout=300)
    return Ended(done.returncode, done.stdout, done.stderr)


