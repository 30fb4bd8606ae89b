"""The node on one host: installed by unpacking wheels, a daemon with a pid file that is proved."""
from __future__ import annotations

import asyncio
import os
import signal
import stat
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from seatrial.harness.errors import HarnessFailure
from seatrial.workloads.systems import deploy
from seatrial.workloads.systems.deploy import Deployment
from seatrial.workloads.systems.wheelhouse import Wheelhouse

from .shell_host import ShellHost

SLEEPER = "import sys, time; print('serving', *sys.argv[1:], flush=True); time.sleep(600)\n"
FAILING = "import sys; print('port 7400: address in use', file=sys.stderr); sys.exit(255)\n"


def make_archive(path: Path, main: str) -> Path:
    """Write a wheelhouse whose seatrial.core does what a test needs."""
    wheel = path.with_suffix(".whl")
    with zipfile.ZipFile(wheel, "w") as packed:
        packed.writestr("seatrial/core/__init__.py", "")
        packed.writestr("seatrial/core/__main__.py", main)
    with tarfile.open(path, "w") as archive:
        archive.add(wheel, "seatrial-1-py3-none-any.whl")
    return path


def probe(host: ShellHost) -> tuple[str, str]:
    result = asyncio.run(host.run([deploy.PYTHON, "-c", deploy.PROBE]))
    major, minor, machine = result.stdout.split()
    return f"{major}.{minor}", machine


@pytest.fixture
def deployed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], tuple[Deployment, ShellHost]]]:
    """Return a function that installs and configures a node that runs the given program."""
    monkeypatch.setattr(deploy, "SITES", str(tmp_path / "opt"))
    host = ShellHost()
    made: list[Deployment] = []

    def make(main: str) -> tuple[Deployment, ShellHost]:
        python, machine = probe(host)
        archive = make_archive(tmp_path / "wheels.tar", main)
        node = Deployment(str(tmp_path / "ho me"), Wheelhouse(archive, "d1", python, machine))
        made.append(node)

        async def prepare() -> None:
            await node.install(host)
            await node.configure(host, "cluster: c\n", {"peer": b"secret"})

        asyncio.run(prepare())
        return node, host

    yield make
    for node in made:
        asyncio.run(node.remove(host))


Make = Callable[[str], tuple[Deployment, ShellHost]]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.01)


def test_a_node_starts_as_a_daemon_and_dies_by_kill(deployed: Make) -> None:
    node, host = deployed(SLEEPER)
    assert asyncio.run(node.pids(host)) == []
    asyncio.run(node.start(host))
    [pid] = asyncio.run(node.pids(host))
    assert os.getsid(pid) == pid
    wait_until(lambda: "serving serve --config" in Path(node.log).read_text())
    asyncio.run(node.kill(host))
    assert asyncio.run(node.pids(host)) == []
    assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text()


def test_starting_a_running_node_and_killing_a_dead_one_do_nothing(deployed: Make) -> None:
    node, host = deployed(SLEEPER)
    asyncio.run(node.start(host))
    before = asyncio.run(node.pids(host))
    asyncio.run(node.start(host))
    assert asyncio.run(node.pids(host)) == before
    asyncio.run(node.kill(host))
    asyncio.run(node.kill(host))


def test_a_paused_node_dies_by_kill_too(deployed: Make) -> None:
    node, host = deployed(SLEEPER)
    asyncio.run(node.start(host))
    [pid] = asyncio.run(node.pids(host))
    os.kill(pid, signal.SIGSTOP)
    asyncio.run(node.kill(host))
    assert asyncio.run(node.pids(host)) == []


def test_a_pid_file_that_names_somebody_elses_process_is_not_believed(deployed: Make) -> None:
    node, host = deployed(SLEEPER)
    Path(node.home, "node.pid").write_text(f"{os.getpid()}\n")
    assert asyncio.run(node.pids(host)) == []
    asyncio.run(node.kill(host))     # or this would be this test's last act
    asyncio.run(node.start(host))
    assert len(asyncio.run(node.pids(host))) == 1


def test_a_node_that_ends_at_once_leaves_its_reason(deployed: Make) -> None:
    node, host = deployed(FAILING)
    asyncio.run(node.start(host))
    wait_until(lambda: asyncio.run(node.pids(host)) == [])
    wait_until(lambda: Path(node.log).stat().st_size > 0)
    assert asyncio.run(node.last_words(host)) == "port 7400: address in use"


def test_keys_are_readable_by_their_owner_alone(deployed: Make) -> None:
    node, _ = deployed(SLEEPER)
    assert stat.S_IMODE(Path(node.home).stat().st_mode) == 0o700
    assert stat.S_IMODE(Path(node.home, "peer.key").stat().st_mode) == 0o600


def test_a_new_configuration_ends_the_old_process_and_its_data(deployed: Make) -> None:
    node, host = deployed(SLEEPER)
    asyncio.run(node.start(host))
    [old] = asyncio.run(node.pids(host))
    (Path(node.home) / "data").mkdir()
    asyncio.run(node.configure(host, "cluster: d\n", {}))
    assert asyncio.run(node.pids(host)) == []
    assert sorted(path.name for path in Path(node.home).iterdir()) == ["node.yml"]
    assert not Path(f"/proc/{old}").exists() or "Z" in Path(f"/proc/{old}/stat").read_text()


def test_wheels_are_brought_to_a_host_once(deployed: Make) -> None:
    node, host = deployed(SLEEPER)
    host.commands.clear()
    asyncio.run(node.install(host))
    assert [command[0] for command in host.commands] == ["test"]


def test_a_host_with_another_python_is_refused_by_name(tmp_path: Path) -> None:
    node = Deployment("/nowhere", Wheelhouse(tmp_path / "wheels.tar", "d2", "2.7", "vax"))
    with pytest.raises(HarnessFailure, match=r"^n1: /usr/bin/python3 is 3\.\d+ on \w+, but .*2\.7"):
        asyncio.run(node.install(ShellHost()))
