"""The parts of virtual machines that can be looked at without one."""
from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from seatrial.harness.errors import BadInput, HarnessFailure
from seatrial.harness.hosts import VirtualWorld, keeper, state
from seatrial.harness.hosts.keys import write_keys
from seatrial.harness.hosts.plan import Plan, plan
from seatrial.harness.hosts.state import Process, State
from seatrial.harness.hosts.vm import accelerator, guest, image, qemu
from seatrial.harness.hosts.vm.machine import KVM, TCG, Machine
from seatrial.harness.hosts.vm.monitor import monitor, run_inside_guest
from seatrial.harness.test import Test
from seatrial.harness.testfile import Spec

DISKS = {"root": Path("/r.qcow2"), "data": Path("/d.qcow2")}


@pytest.fixture
def shape() -> Plan:
    """Two machines."""
    return plan("x", 2, ["clients"], Machine(image="abc"))


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Put a shell script first in the path of programs under a name."""
    monkeypatch.setitem(keeper.ENVIRONMENT, "PATH", f"{tmp_path}/bin:{os.defpath}:/usr/sbin")

    def put(name: str, script: str) -> None:
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return put


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for images."""
    monkeypatch.setattr(image, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


# What a machine is

@pytest.mark.parametrize(("machine", "complaint"), [
    (Machine(memory_mb=16), "memory: 16 MB: a virtual machine has 256 to 65536 MB"),
    (Machine(cpus=99), "cpus: 99: a virtual machine has 1 to 16"),
    (Machine(data_mb=1), "data disk: 1 MB"),
])
def test_a_machine_that_cannot_be_is_refused(machine: Machine, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        machine.checked()


def test_a_machine_has_no_way_out_but_its_tap(shape: Plan, tmp_path: Path) -> None:
    place = qemu.Place(tmp_path / "n1", "/procs", "/net", "n1")
    line = qemu.command(Machine(), place, Path("/image"), DISKS, number=1)
    assert [line[at + 1] for at, word in enumerate(line) if word in ("-netdev", "-nic", "-net")] \
        == ["tap,id=net,ifname=n1,script=no,downscript=no"]
    assert {"-nodefaults", "-no-user-config"} <= set(line)
    assert line[line.index("-accel") + 1].startswith("tcg")
    assert all(f"if=none,id={name},file={path},format=qcow2,cache=writeback" in line
               for name, path in DISKS.items()), "a flush must reach the file"


def test_a_guest_is_told_who_it_is_and_gets_entropy_of_its_own(
    shape: Plan, tmp_path: Path,
) -> None:
    write_keys(tmp_path, shape)
    one, two = (guest.introduction(shape, host, tmp_path) for host in shape.hosts)
    assert (tmp_path / "n1.key").read_text() in one
    assert (tmp_path / "n1.key").read_text() not in two
    assert "hostname n2" in two
    assert "198.18.1.2/15" in two
    assert guest.link_address(2) in two
    entropy = {text.split('print R "')[1].split('"')[0] for text in (one, two)}
    assert len(entropy) == 2
    for text in (one, two):
        assert subprocess.run(["sh", "-n"], input=text, text=True, check=False).returncode == 0
        assert text.index("ioctl") < text.index("kill -HUP"), "sshd reads keys after that"


# Timeouts on slow hosts

@pytest.mark.parametrize(("slowness", "stretch"), [(1.0, 1.0), (1.9, 1.0), (25.0, 5.0)])
def test_timeouts_are_stretched_on_slow_hosts(
    slowness: float, stretch: float, shape: Plan, monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = State(shape, Process.of(os.getpid()), slowness=slowness)
    monkeypatch.setattr(state, "read", lambda name: known)
    world: Any = VirtualWorld(shape, None)
    world.close()
    spec = Spec.model_validate({"name": "x", "workload": {"name": "register"}, "op_timeout": 2})
    test = Test(spec, 1, world, None, None)  # type: ignore[arg-type]
    assert test.stretch == stretch
    assert test.op_timeout_ns == 2_000_000_000 * stretch


# The image

def test_a_missing_builder_is_told_with_its_package(
    program: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:
    monkeypatch.setitem(keeper.ENVIRONMENT, "PATH", str(tmp_path))
    with pytest.raises(HarnessFailure, match=r"needs mmdebstrap: .*apt-get install mmdebstrap"):
        image.must_be_possible()


def test_too_little_space_is_told_before_anything_is_built(
    program: Callable[[str, str], None], cache: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    for tool in image.TOOLS:
        program(tool, "exit 9")
    monkeypatch.setattr(image, "NEEDS_BYTES", 1 << 60)
    with pytest.raises(HarnessFailure, match=r"GiB free, but the image .* needs 1073741824 GiB"):
        image.ensure(print)
    assert not cache.exists()


def test_a_build_without_network_says_so_and_leaves_nothing(
    program: Callable[[str, str], None], cache: Path,
) -> None:
    program("mmdebstrap", 'echo "I: downloading" >&2; echo "E: mirror: unreachable" >&2; exit 1')
    program("mke2fs", "exit 9")
    said: list[str] = []
    with pytest.raises(HarnessFailure, match=r"image .*: mmdebstrap: E: mirror: unreachable$"):
        image.ensure(said.append)
    assert len(said) == 1
    assert [path.name for path in cache.iterdir()] == ["lock"]


def test_what_a_killed_builder_left_is_removed_by_the_next(cache: Path) -> None:
    (cache / ".young-image-old").mkdir(parents=True)
    with image.building(cache / "image-x") as young:
        assert young is not None
        (young / "root.img").write_text("whole")
    assert sorted(path.name for path in cache.iterdir()) == ["image-x", "lock"]
    with image.building(cache / "image-x") as again:
        assert again is None, "it is there already"


def test_the_mirror_is_the_settings_or_else_the_machines_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SEATRIAL_MIRROR", "http://mirror.example/debian")
    assert image.mirrors() == ["http://mirror.example/debian"]
    monkeypatch.delenv("SEATRIAL_MIRROR")
    assert all(path.startswith("/etc/apt/sources.list") for path in image.mirrors())


def test_another_recipe_is_another_image(monkeypatch: pytest.MonkeyPatch) -> None:
    before = image.digest()
    monkeypatch.setattr(guest, "PACKAGES", (*guest.PACKAGES, "vim"))
    assert image.digest() != before


# The accelerator

def test_kvm_that_hangs_is_not_chosen(program: Callable[[str, str], None]) -> None:
    program(qemu.PROGRAM, "echo Linux version; exec sleep 60")
    assert not accelerator.boots(Path("/kernel"), KVM, limit_s=0.3)


def test_kvm_that_boots_a_kernel_is_chosen(program: Callable[[str, str], None]) -> None:
    program(qemu.PROGRAM, f'echo "{accelerator.END_OF_BOOT} on unknown-block"')
    assert accelerator.boots(Path("/kernel"), KVM, limit_s=30)


def test_without_the_device_it_is_emulation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:
    monkeypatch.delenv(accelerator.SETTING, raising=False)
    monkeypatch.setattr(accelerator, "DEVICE", tmp_path / "kvm")
    assert accelerator.chosen(print) == TCG
    monkeypatch.setenv(accelerator.SETTING, "xen")
    with pytest.raises(HarnessFailure, match="SEATRIAL_ACCELERATOR=xen: expected kvm or tcg"):
        accelerator.chosen(print)


# What is said to QEMU and to the guest

class Peer:
    """Somebody at the other end of a socket that answers each line with what it is told to."""

    def __init__(self, path: Path, greeting: bytes, answer: Callable[[Any], list[Any]]) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._greeting, self._answer = greeting, answer
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        sock, _ = self._listener.accept()
        with self._listener, sock, sock.makefile("rwb") as stream:
            stream.write(self._greeting)
            stream.flush()
            for line in stream:
                for answer in self._answer(json.loads(line.lstrip(b"\xff"))):
                    stream.write(json.dumps(answer).encode() + b"\n")
                stream.flush()


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Start a peer; return where its socket is."""
    started: list[Peer] = []

    def start(answer: Callable[[Any], list[Any]], greeting: bytes = b'{"QMP": {}}\n') -> Path:
        (tmp_path / "n1").mkdir()
        started.append(Peer(tmp_path / "n1/sock", greeting, answer))
        return tmp_path / "n1/sock"

    yield start
    for one in started:
        one.thread.join(10)
        assert not one.thread.is_alive()


def test_events_between_a_command_and_its_answer_are_passed_over(
    peer: Callable[..., Path],
) -> None:
    path = peer(lambda said: [{"event": "STOP"}, {"return": {"did": said["execute"]}}])
    with monitor(path) as talk:
        assert talk.call("stop") == {"did": "stop"}


def test_a_refusal_names_the_machine_the_command_and_the_reason(
    peer: Callable[..., Path],
) -> None:
    path = peer(lambda said: [{"return": {}} if said["execute"] == "qmp_capabilities" else
                              {"error": {"class": "GenericError", "desc": "no such device"}}])
    with pytest.raises(HarnessFailure, match=r"^n1: QEMU's monitor: eject: no such device$"), \
            monitor(path) as talk:
        talk.call("eject")


def test_a_monitor_that_says_nothing_is_given_up(peer: Callable[..., Path]) -> None:
    path = peer(lambda said: [], greeting=b"")
    with pytest.raises(HarnessFailure, match="n1: QEMU's monitor: no answer within"), \
            monitor(path, 0.2):
        pass


def test_a_script_in_the_guest_that_fails_is_told_by_its_last_line(
    peer: Callable[..., Path],
) -> None:
    def answer(said: Any) -> list[Any]:
        match said["execute"]:
            case "guest-sync":
                return [{"return": 7}, {"return": said["arguments"]["id"]}]   # 7: somebody else's
            case "guest-exec":
                return [{"return": {"pid": 1}}]
        return [{"return": {"exited": True, "exitcode": 2, "err-data": "d29yc2UKYmFkCg=="}}]

    path = peer(answer, greeting=b"")
    with pytest.raises(HarnessFailure, match=r"^n1: a script in the guest failed: bad$"):
        run_inside_guest(path, "false", 10)
