"""Control over real SSH: commands, files, keys, sudo, and what goes wrong."""
from __future__ import annotations

import asyncio
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import paramiko
import pytest
from fabric import Connection

from seatrial.harness.control import SshHost, Target, on_nodes
from seatrial.harness.control.pool import MAX_CHANNELS, MAX_SESSIONS
from seatrial.harness.control.session import _drain
from seatrial.harness.errors import BadInput, HarnessFailure
from seatrial.harness.hosts import LocalWorld, kernel
from seatrial.harness.hosts.keys import CLIENT_KEY, KNOWN_HOSTS

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(60)]

USER, PASSWORD = "sailor", "aye aye 'captain'"


@pytest.fixture(scope="module")
def threads() -> Iterator[ThreadPoolExecutor]:
    """Where the tests' own hosts block."""
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.fixture
def connect(world: LocalWorld, threads: ThreadPoolExecutor) -> Iterator[Any]:
    """Make another ``SshHost`` for n1, with some of its target changed; closed at the end."""
    made: list[SshHost] = []

    def make(**changes: Any) -> SshHost:
        made.append(SshHost(replace(world.hosts[0].target, **changes), threads))
        return made[-1]

    yield make
    for host in made:
        host.close()


def run(host: SshHost, *argv: str, **options: Any) -> Any:
    """Run one command."""
    return asyncio.run(host.run(argv, **options))


# Commands


def test_a_result_tells_output_error_and_code(world: LocalWorld) -> None:
    result = run(world.hosts[0], "sh", "-c", "echo out; echo err >&2; exit 3", check=False)
    assert (result.code, result.stdout, result.stderr) == (3, "out\n", "err\n")
    assert result.argv[0] == "sh"


def test_a_failed_command_is_an_error_that_names_host_command_and_reason(
    world: LocalWorld,
) -> None:
    with pytest.raises(HarnessFailure) as failure:
        run(world.hosts[1], "ls", "/nowhere")
    assert str(failure.value) == (
        "n2 (198.18.1.2:22): 'ls /nowhere' ended with 2: "
        "ls: cannot access '/nowhere': No such file or directory")


def test_much_output_on_both_streams_arrives_whole(world: LocalWorld) -> None:
    program = "import sys\nfor i in range(60000):\n" \
        "  print(i, 'x' * 90)\n  print(i, 'y' * 90, file=sys.stderr)"
    result = run(world.hosts[0], "python3", "-c", program)
    assert result.stdout.count("\n") == result.stderr.count("\n") == 60000
    assert result.stdout.endswith("x\n")


def test_output_is_read_also_when_its_signal_got_lost() -> None:
    """As in paramiko, where a byte may lie in a buffer while the pipe that says so is empty."""

    class Quiet:
        eof_received = closed = False
        waiting = b"late"

        def fileno(self) -> int:
            return never

        def recv_ready(self) -> bool:
            return False

        def recv_stderr_ready(self) -> bool:
            return bool(self.waiting)

        def recv_stderr(self, size: int) -> bytes:
            data, self.waiting, self.eof_received = self.waiting, b"", True
            return data

    never, writer = os.pipe()
    try:
        channel: Any = Quiet()
        assert _drain(channel, bytes, time.monotonic() + 60) == b"late"
    finally:
        os.close(never)
        os.close(writer)


def test_a_long_stdin_goes_through_a_command_that_answers_as_much(world: LocalWorld) -> None:
    data = b"0123456789abcdef" * 400_000
    result = run(world.hosts[0], "cat", stdin=data)
    assert result.stdout.encode() == data


def test_a_command_that_ignores_its_stdin_still_succeeds(world: LocalWorld) -> None:
    assert run(world.hosts[0], "echo", "done", stdin=b"x" * 8_000_000).stdout == "done\n"


def test_output_that_is_no_text_is_shown_all_the_same(world: LocalWorld) -> None:
    assert run(world.hosts[0], "printf", r"a\377b").stdout == "a\ufffdb"


def test_a_command_ended_by_a_signal_has_failed(world: LocalWorld) -> None:
    assert run(world.hosts[0], "sh", "-c", "kill -9 $$", check=False).code == 128


def test_a_command_that_takes_too_long_is_given_up(world: LocalWorld) -> None:
    with pytest.raises(HarnessFailure, match=r"n1 .*'sleep 60' did not end within 0\.2 s"):
        run(world.hosts[0], "sleep", "60", timeout_s=0.2)
    assert run(world.hosts[0], "echo", "next").stdout == "next\n"


def test_more_commands_than_channels_wait_their_turn(connect: Any) -> None:
    host = connect()

    async def many() -> list[str]:
        results = await asyncio.gather(*(host.run(["echo", str(i)]) for i in range(60)))
        return [result.stdout.strip() for result in results]

    assert asyncio.run(many()) == [str(i) for i in range(60)]
    sessions = run(host, "sh", "-c", "ps -eo args | grep -c '^sshd: root@notty'").stdout
    assert 1 <= int(sessions) <= 2 * MAX_SESSIONS  # those of the shared host count too


def test_thousands_of_quick_commands_cost_no_connection(connect: Any) -> None:
    """An end-of-file sent as a command ends would make sshd drop the connection."""
    host = connect()

    async def many() -> None:
        for _ in range(40):
            await asyncio.gather(*(host.run(["true"]) for _ in range(60)))

    asyncio.run(many())
    assert asyncio.run(host.run(["cat"])).stdout == "", "a command without stdin meets its end"


def test_commands_that_never_end_keep_others_waiting_only_so_long(connect: Any) -> None:
    host = connect()
    host._threads = ThreadPoolExecutor(MAX_SESSIONS * MAX_CHANNELS + 1)

    async def crowd() -> None:
        sleepers = [asyncio.ensure_future(host.run(["sleep", "60"]))
                    for _ in range(MAX_SESSIONS * MAX_CHANNELS)]
        probe = 0
        while probe < len(sleepers):
            result = await other.run(["sh", "-c", "ps -eo args | grep -c '^sleep 60'"])
            probe = int(result.stdout)
        with pytest.raises(HarnessFailure, match="busy: 15 commands run already"):
            await host.run(["true"], timeout_s=0.2)
        host.close()
        ended = await asyncio.gather(*sleepers, return_exceptions=True)
        assert all(isinstance(each, HarnessFailure) for each in ended)

    other = connect()
    asyncio.run(crowd())
    host._threads.shutdown()


def test_a_broken_connection_is_replaced(connect: Any) -> None:
    host = connect()
    run(host, "true")
    host._pool._sessions[0].close()
    assert run(host, "echo", "again").stdout == "again\n"


def test_a_connection_lost_during_a_command_is_not_taken_for_its_end(connect: Any) -> None:
    host = connect()
    with pytest.raises(HarnessFailure, match=r"n1 .*connection lost during 'sh -c"):
        run(host, "sh", "-c", "kill -9 $(ps -o ppid= -p $$); sleep 60")


def test_all_hosts_at_once(world: LocalWorld) -> None:
    async def name(host: SshHost) -> str:
        return (await host.run(["hostname"])).stdout.strip()

    assert asyncio.run(on_nodes(world.hosts, name)) == {"n1": "n1", "n2": "n2", "n3": "n3"}


def test_one_hosts_failure_is_raised_after_all_have_ended(world: LocalWorld) -> None:
    ended = []

    async def fail_first(host: SshHost) -> None:
        await host.run(["false"] if host.index == 0 else ["sleep", "0.2"])
        ended.append(host.name)

    with pytest.raises(HarnessFailure, match=r"n1 .*'false' ended with 1"):
        asyncio.run(on_nodes(world.hosts, fail_first))
    assert sorted(ended) == ["n2", "n3"]


# Files


@pytest.mark.parametrize("size", [0, 1, 65536, 3_000_001])
def test_files_go_both_ways_unchanged(world: LocalWorld, tmp_path: Path, size: int) -> None:
    async def there_and_back() -> None:
        host = world.hosts[0]
        local = tmp_path / "local"
        local.write_bytes(data)
        await host.put(local, "/data/of path", mode=0o640)
        await host.put(data, "/data/of bytes")
        await host.get("/data/of path", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == data
        assert await host.read("/data/of bytes") == data
        modes = await host.run(["stat", "-c", "%a", "/data/of path", "/data/of bytes"])
        assert modes.stdout.split() == ["640", "644"]

    data = secrets.token_bytes(size)
    asyncio.run(there_and_back())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back", "local"]


def test_an_awkward_name_is_only_a_name(world: LocalWorld) -> None:
    for name in ("/data/-n", "/data/a'b\"$HOME", "/data/new\nline"):
        asyncio.run(world.hosts[0].put(b"x", name))
        assert asyncio.run(world.hosts[0].read(name)) == b"x"


def test_an_upload_that_cannot_be_says_so_and_leaves_nothing(world: LocalWorld) -> None:
    with pytest.raises(HarnessFailure, match=r"n1 .*'put /nowhere/x' ended with 2: .*nonexist"):
        asyncio.run(world.hosts[0].put(b"x", "/nowhere/x"))
    run(world.hosts[0], "mkdir", "-p", "/data/folder")
    with pytest.raises(HarnessFailure, match="cannot overwrite directory"):
        asyncio.run(world.hosts[0].put(b"x", "/data/folder"))
    assert ".part" not in run(world.hosts[0], "find", "/data").stdout


def test_a_missing_file_is_named(world: LocalWorld, tmp_path: Path) -> None:
    with pytest.raises(HarnessFailure, match=r"n1 .*'get /nowhere' ended with 1: cat: /nowhere"):
        asyncio.run(world.hosts[0].get("/nowhere", tmp_path / "x"))
    assert list(tmp_path.iterdir()) == []


# Keys and connections


def test_an_unknown_host_key_is_refused(connect: Any, tmp_path: Path) -> None:
    empty = tmp_path / "known_hosts"
    empty.touch()
    with pytest.raises(HarnessFailure, match=r"n1 \(198\.18\.1\.1:22\): unknown host key "
                       rf"ssh-ed25519 SHA256:\S+: expected it in {empty}"):
        run(connect(known_hosts=empty), "true")


def test_a_changed_host_key_is_refused(
    connect: Any, world: LocalWorld, tmp_path: Path,
) -> None:
    of_n2 = (world.lab.folder / "n2.key.pub").read_text()
    (tmp_path / "known_hosts").write_text(f"{world.hosts[0].ipv4} {of_n2}")
    with pytest.raises(HarnessFailure, match=r"n1 .*host key changed: expected ssh-ed25519 "
                       r"SHA256:.*got ssh-ed25519 SHA256:"):
        run(connect(known_hosts=tmp_path / "known_hosts"), "true")


def test_a_key_the_host_does_not_know_is_refused(
    connect: Any, world: LocalWorld, tmp_path: Path,
) -> None:
    foreign = world.lab.folder / "n2.key"
    with pytest.raises(HarnessFailure, match=rf"n1 .*refused user root: expected {foreign}"):
        run(connect(key=foreign), "true")
    with pytest.raises(BadInput, match=r"n1: key /nowhere: expected a private key file .*no such"):
        run(connect(key=Path("/nowhere")), "true")
    with pytest.raises(BadInput, match=r"n1: known_hosts /nowhere: No such file"):
        run(connect(known_hosts=Path("/nowhere")), "true")
    garbage = tmp_path / "garbage"
    garbage.write_text("no key")
    with pytest.raises(BadInput, match=rf"n1: key {garbage}: expected a private key file"):
        run(connect(key=garbage), "true")


def test_nobody_listening_is_told_with_the_address(connect: Any) -> None:
    with pytest.raises(HarnessFailure, match=r"n1 \(198\.18\.1\.1:2222\): no SSH within 0\.3 s: "
                       r"expected a running sshd \(connection refused\)"):
        run(connect(port=2222, connect_timeout_s=0.3), "true")


def test_an_address_without_a_host_is_told(connect: Any) -> None:
    with pytest.raises(HarnessFailure, match=r"n1 \(198\.18\.99\.99:22\): no SSH within 0\.3 s"):
        run(connect(address="198.18.99.99", connect_timeout_s=0.3), "true")


def test_an_sshd_that_hangs_up_is_tried_again_until_time_is_over(
    connect: Any, monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries = []

    def hang_up(connection: Connection) -> None:
        tries.append(connection)
        raise paramiko.AuthenticationException("transport shut down or saw EOF")

    monkeypatch.setattr(Connection, "open", hang_up)
    with pytest.raises(HarnessFailure, match=r"no SSH within 0\.3 s: .*saw EOF"):
        run(connect(connect_timeout_s=0.3), "true")
    assert len(tries) > 1


def test_a_port_that_speaks_no_ssh_is_told(threads: ThreadPoolExecutor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        target = Target(name="mute", address="127.0.0.1", port=server.getsockname()[1],
                        ssh_config=False, connect_timeout_s=0.5)
        with pytest.raises(HarnessFailure, match=r"mute \(127\.0\.0\.1:\d+\): no SSH within"):
            run(SshHost(target, threads), "true")


def test_set_up_is_tried_again_until_sshd_listens(
    connect: Any, world: LocalWorld, tmp_path: Path,
) -> None:
    key = (world.lab.folder / "n1.key.pub").read_text()
    (tmp_path / "known_hosts").write_text(f"[{world.hosts[0].ipv4}]:2022 {key}")
    late = connect(port=2022, known_hosts=tmp_path / "known_hosts")
    outcome: list[str] = []
    waiting = threading.Thread(target=lambda: outcome.append(run(late, "hostname").stdout))
    waiting.start()
    run(world.hosts[0], "/usr/sbin/sshd", "-p", "2022", "-o", "PidFile=/run/late.pid")
    waiting.join(30)
    assert outcome == ["n1\n"]
    run(world.hosts[0], "sh", "-c", "kill $(cat /run/late.pid)")


def test_ssh_config_is_honoured(
    world: LocalWorld, threads: ThreadPoolExecutor, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tmp_path / ".ssh"
    config.mkdir()
    (config / "config").write_text(
        f"Host harbour\n  HostName {world.hosts[0].ipv4}\n  User root\n"
        f"  IdentityFile {world.lab.folder / CLIENT_KEY}\n")
    (config / "known_hosts").write_bytes((world.lab.folder / KNOWN_HOSTS).read_bytes())
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    host = SshHost(Target(name="harbour", address="harbour", dial=world.hosts[0].target.dial),
                   threads)
    try:
        assert run(host, "hostname").stdout == "n1\n"
    finally:
        host.close()


def test_a_jump_host_is_used_and_its_key_is_checked_too(
    world: LocalWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tmp_path / ".ssh"
    config.mkdir()
    (config / "config").write_text(
        f"Host gate inner\n  User root\n  IdentityFile {world.lab.folder / CLIENT_KEY}\n"
        f"Host gate\n  HostName {world.hosts[0].ipv4}\n"
        f"Host inner\n  HostName {world.hosts[1].ipv4}\n  ProxyJump gate\n")
    known = (world.lab.folder / KNOWN_HOSTS).read_text().splitlines()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    enter = partial(kernel.setns, world.lab.control, kernel.CLONE_NEWNET)
    with ThreadPoolExecutor(1, initializer=enter) as inside:  # a jump host is dialled from here
        for trusted, outcome in ((known, "n2\n"), (known[1:], "unknown host key")):
            (config / "known_hosts").write_text("\n".join(trusted) + "\n")
            host = SshHost(Target(name="inner", address="inner"), inside)
            try:
                found = run(host, "hostname").stdout
            except HarnessFailure as failure:
                found = str(failure)
            finally:
                host.close()
            assert outcome in found


def test_the_users_ssh_config_means_nothing_to_a_labs_hosts(
    connect: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("Host *\n  Port 1\n  ProxyCommand false\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run(connect(), "hostname").stdout == "n1\n"


def test_nagle_is_off(connect: Any) -> None:
    host = connect()
    run(host, "true")
    sock = host._pool._sessions[0]._transport.sock
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_a_host_that_stands_still_costs_its_time_and_no_more(
    connect: Any, world: LocalWorld, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("seatrial.harness.control.session.GRACE_S", 0.2)
    host = connect()
    run(host, "true")
    # The channel is open and the host then freezes: paramiko waits for exec's answer for ever.
    real = paramiko.Channel.exec_command

    def freeze_first(channel: paramiko.Channel, command: bytes) -> None:
        world.freeze("n1")
        real(channel, command)

    monkeypatch.setattr(paramiko.Channel, "exec_command", freeze_first)
    try:
        with pytest.raises(HarnessFailure, match=r"n1 .*'true' was not started"):
            run(host, "true", timeout_s=0.3)
    finally:
        world.thaw("n1")


# sudo


@pytest.fixture(scope="module")
def sailor(world: LocalWorld) -> str:
    """A user on n1 who may sudo with a password."""
    if not os.access("/usr/bin/sudo", os.X_OK):
        pytest.skip("no sudo on this machine, so none on its hosts")
    host = world.hosts[0]
    run(host, "useradd", "--create-home", "--shell", "/bin/sh", USER)
    run(host, "chpasswd", stdin=f"{USER}:{PASSWORD}\n".encode())
    asyncio.run(host.put(f"{USER} ALL=(ALL) ALL\n".encode(), "/etc/sudoers.d/sailor", mode=0o440))
    return USER


def test_sudo_with_a_password_makes_root_of_a_user(connect: Any, sailor: str) -> None:
    host = connect(user=sailor, sudo_password=PASSWORD)
    assert run(host, "id", "-un").stdout == "root\n"
    assert run(host, "id", "-un", sudo=False).stdout == f"{sailor}\n"
    asyncio.run(host.put(b"by root", "/etc/by-root", mode=0o600))
    assert asyncio.run(host.read("/etc/by-root")) == b"by root"


def test_the_password_never_reaches_the_command(
    connect: Any, sailor: str, world: LocalWorld,
) -> None:
    host = connect(user=sailor, sudo_password=PASSWORD)
    assert run(host, "cat", stdin=b"input").stdout == "input"
    arguments = run(host, "ps", "-eo", "args").stdout
    assert "captain" not in arguments
    asyncio.run(world.hosts[0].put(f"{sailor} ALL=(ALL) NOPASSWD: ALL\n".encode(),
                                   "/etc/sudoers.d/zz-free", mode=0o440))
    try:
        assert run(host, "cat", stdin=b"input").stdout == "input"
        assert run(connect(user=sailor), "id", "-un").stdout == "root\n"
    finally:
        run(world.hosts[0], "rm", "/etc/sudoers.d/zz-free")


def test_a_second_try_on_a_new_connection_has_the_whole_stdin(
    connect: Any, sailor: str, monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = connect(user=sailor, sudo_password=PASSWORD)
    run(host, "true")
    real, broken = paramiko.Transport.open_session, []

    def break_once(transport: paramiko.Transport, **options: Any) -> paramiko.Channel:
        if not broken:
            broken.append(transport)
            transport.close()
        return real(transport, **options)

    monkeypatch.setattr(paramiko.Transport, "open_session", break_once)
    assert run(host, "cat", stdin=b"input").stdout == "input"
    assert broken


def test_a_refused_sudo_is_told_as_such(connect: Any, sailor: str) -> None:
    with pytest.raises(HarnessFailure, match=rf"n1 .*sudo refused user {sailor}: expected the "
                       "right password"):
        run(connect(user=sailor, sudo_password="mutiny"), "true")
    with pytest.raises(HarnessFailure, match=rf"n1 .*sudo refused user {sailor}: expected sudo "
                       "without a password"):
        run(connect(user=sailor), "true")


def test_a_failing_command_under_sudo_is_not_taken_for_a_refusal(
    connect: Any, sailor: str,
) -> None:
    host = connect(user=sailor, sudo_password=PASSWORD)
    assert run(host, "sh", "-c", "echo no >&2; exit 1", check=False).code == 1
