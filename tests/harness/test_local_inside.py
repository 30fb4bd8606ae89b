"""run_inside: a child in the lab's network, its parent outside."""
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

from seatrial.harness.errors import BadInput, HarnessFailure
from seatrial.harness.hosts import Lab, LocalWorld, kernel, run_inside, state
from seatrial.harness.hosts.state import Condition

pytestmark = [pytest.mark.netns, pytest.mark.cluster, pytest.mark.timeout(60)]

CHILD = '''
import asyncio, os, socket, sys, time
from pathlib import Path
from seatrial.harness.errors import BadInput
from seatrial.harness.hosts import LocalWorld

def banner(address):
    with socket.create_connection((address, 22), 10) as connection:
        return connection.recv(4)

def refuse(word):
    raise BadInput(f"{word}: expected another word")

def stumble():
    raise ZeroDivisionError("a bug")

def vanish():
    os.kill(os.getpid(), 9)

def group():
    return Path("/proc/self/cgroup").read_text()

def hostname(lab):
    async def ask():
        await world.up()
        return (await world.hosts[1].run(["hostname"])).stdout
    world = LocalWorld.view(lab)
    try:
        return asyncio.run(ask())
    finally:
        world.close()

def wait_for_interrupt(folder):
    Path(folder, "waiting").write_text(str(os.getpid()))
    try:
        while True:
            time.sleep(60)
    except KeyboardInterrupt:
        Path(folder, "healing").touch()
        while not Path(folder, "go on").exists():
            time.sleep(0.01)
        Path(folder, "healed").touch()
    return "healed"
'''
PARENT = """
import sys
from seatrial.harness.hosts import Lab, run_inside
lab = Lab.attach(sys.argv[1])
print(run_inside(lab, "inside_child:wait_for_interrupt", sys.argv[2]), flush=True)
lab.release()
"""


@pytest.fixture(autouse=True, scope="module")
def _child_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A module that only child processes import."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "inside_child.py").write_text(CHILD)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield


def wait_until(path: Path) -> None:
    """Wait for a file."""
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.01)


def test_a_function_inside_reaches_hosts_by_their_addresses(world: LocalWorld) -> None:
    assert run_inside(world.lab, "inside_child:banner", world.hosts[0].ipv4) == b"SSH-"


def test_a_view_of_the_world_works_inside(world: LocalWorld) -> None:
    assert run_inside(world.lab, "inside_child:hostname", world.plan.lab) == "n2\n"


def test_a_function_can_be_passed_as_itself(world: LocalWorld) -> None:
    assert run_inside(world.lab, os.path.join, "a", "b") == "a/b"
    assert run_inside(world.lab, os.getpid) != os.getpid()


def test_errors_come_out_as_what_they_are(
    world: LocalWorld, capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(BadInput, match=r"^salt: expected another word$"):
        run_inside(world.lab, "inside_child:refuse", "salt")
    assert capfd.readouterr().err == ""
    with pytest.raises(HarnessFailure, match="internal error: ZeroDivisionError: a bug"):
        run_inside(world.lab, "inside_child:stumble")
    assert "Traceback" in capfd.readouterr().err
    with pytest.raises(HarnessFailure, match="ended by signal 9"):
        run_inside(world.lab, "inside_child:vanish")


def test_the_child_belongs_to_the_labs_control_group(world: LocalWorld) -> None:
    assert f"/seatrial/{world.plan.lab}/inside" in run_inside(world.lab, "inside_child:group")


@pytest.fixture
def parent(world: LocalWorld, tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Another lab, and a process that owns it and runs a function in it; the function waits."""
    made = LocalWorld.create(1, lab=f"{world.plan.lab}-b")
    made.make()
    made.keep()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen([sys.executable, "-c", PARENT, made.plan.lab, str(tmp_path)],
                               env=environment, stdout=subprocess.PIPE, text=True)
    wait_until(tmp_path / "waiting")
    yield made.plan.lab, process
    (tmp_path / "go on").touch()
    process.kill()
    process.communicate()
    if made.plan.lab in state.names():
        Lab.reclaim(made.plan.lab).destroy()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_parent_lets_the_child_heal(
    parent: tuple[str, subprocess.Popen[str]], tmp_path: Path, number: signal.Signals,
) -> None:
    _, process = parent
    process.send_signal(number)
    wait_until(tmp_path / "healing")
    (tmp_path / "go on").touch()
    stdout, _ = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (0, "healed\n")


def test_when_the_parent_is_killed_the_child_heals_before_the_lab_goes(
    parent: tuple[str, subprocess.Popen[str]], tmp_path: Path,
) -> None:
    lab, process = parent
    process.kill()
    wait_until(tmp_path / "healing")
    assert state.condition(lab) is Condition.IN_USE
    assert state.owner_died(lab)
    down = threading.Thread(target=lambda: Lab.reclaim(lab).destroy())
    down.start()
    (tmp_path / "go on").touch()
    down.join(30)
    assert (tmp_path / "healed").exists()
    assert lab not in state.names()


def test_a_child_that_does_not_end_is_killed_when_patience_ends(
    parent: tuple[str, subprocess.Popen[str]], tmp_path: Path,
) -> None:
    lab, process = parent
    process.kill()
    wait_until(tmp_path / "healing")
    child = int((tmp_path / "waiting").read_text())
    Lab.reclaim(lab, patience_s=0.1).destroy()
    assert kernel.start_time(child) is None
    assert not (tmp_path / "healed").exists()
