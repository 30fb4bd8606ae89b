"""One SSH connection: set up with checked keys, then commands in channels. Blocking.

fabric reads ssh_config (user, port, keys, jump hosts) and makes the connection; its default of
trusting unknown host keys is replaced by refusal. Commands use paramiko's channels directly:
fabric's own ``run`` polls and starts three threads for each command, which costs ten times the
round trip. TCP_NODELAY is set on the socket, without which an exec waits 40 ms for an ACK.
"""
from __future__ import annotations

import base64
import hashlib
import logging
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import paramiko
from fabric import Config, Connection

from ..errors import BadInput, HarnessFailure
from .quoting import command_line, shorten
from .target import Target

CHUNK = 1 << 16
KEEPALIVE_S = 15
RETRY_S = 0.02
GRACE_S = 3.0
LOOK_AGAIN_S = 0.2  # paramiko's signal that there is output gets lost at times (_drain)
KILLED = 128
"""Exit code of a command that a signal ended: SSH tells which one, paramiko does not."""


# What goes wrong comes to the user as an exception; tracebacks of paramiko's threads don't.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class Lost(HarnessFailure):
    """The connection broke. started: whether the command may have run."""

    def __init__(self, message: str, *, started: bool) -> None:
        super().__init__(message)
        self.started = started


class Session:
    """A connection to ``target``, with any number of commands at a time."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.channels = 0  # in use; counted by the pool
        self._connection = _connect(target)
        transport = self._connection.transport
        transport.set_keepalive(KEEPALIVE_S)
        self._transport: paramiko.Transport = transport

    @property
    def usable(self) -> bool:
        """Whether the connection still stands."""
        return self._transport.is_active()

    @property
    def user(self) -> str:
        """Whom we logged in as."""
        return str(self._connection.user)

    def close(self) -> None:
        """End the connection and whatever runs in it."""
        self._connection.close()

    def execute(
        self, argv: Sequence[str], *, stdin: BinaryIO, stdout: Callable[[bytes], object],
        timeout_s: float,
    ) -> tuple[int, bytes]:
        """Run one command; its output goes to ``stdout``. Return exit code and stderr."""
        first = stdin.read(CHUNK)
        line = command_line(argv, stdin=bool(first))
        deadline = time.monotonic() + timeout_s
        # paramiko waits without limit in places (exec's answer, a full socket). A host that
        # stands still there costs the whole connection, a little after the command's time.
        watchdog = threading.Timer(timeout_s + GRACE_S, self._transport.close)
        watchdog.daemon = True
        watchdog.start()
        try:
            with _channel(self._transport, self.target, timeout_s) as channel:
                try:
                    channel.exec_command(line)
                except (paramiko.SSHException, OSError, EOFError) as error:
                    raise Lost(f"{self.target.where}: '{shorten(argv)}' was not started "
                               f"({_reason(error)})", started=True) from error
                with _fed(channel, first, stdin):
                    stderr = _drain(channel, stdout, deadline)
                    if stderr is None or not channel.status_event.wait(
                            max(0.0, deadline - time.monotonic())):
                        raise HarnessFailure(f"{self.target.where}: '{shorten(argv)}' did not "
                                             f"end within {timeout_s:g} s")
                    code = channel.recv_exit_status()
                    ended_well = channel.eof_received and self.usable
        finally:
            watchdog.cancel()
        if code < 0 and not ended_well:  # paramiko closes channels before it says it is inactive
            raise Lost(f"{self.target.where}: connection lost during '{shorten(argv)}'",
                       started=True)
        return code if code >= 0 else KILLED, stderr


@contextmanager
def _channel(
    transport: paramiko.Transport, target: Target, timeout_s: float,
) -> Iterator[paramiko.Channel]:
    """A channel for one command, closed at the end of the with block."""
    try:
        channel = transport.open_session(timeout=timeout_s)
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise Lost(f"{target.where}: did not accept a command within {timeout_s:g} s "
                   f"({_reason(error)})", started=False) from error
    try:
        yield channel
    finally:
        channel.close()


@contextmanager
def _fed(channel: paramiko.Channel, first: bytes, stdin: BinaryIO) -> Iterator[None]:
    """Send stdin to the command; a long one by a thread, beside the with block that drains
    the outputs, because either may block the other.

    Nothing to send: nothing is sent. An end-of-file that crosses the end of a quick command
    reaches sshd after the channel is gone, which it punishes by ending the whole connection
    (paramiko sends it outside of the lock under which it answers a close). A command that
    reads its input to the end can't end before it came.
    """
    if not first:
        yield
        return
    if len(first) < CHUNK:
        _feed(channel, first, stdin)
        yield
        return
    feeder = threading.Thread(target=_feed, args=(channel, first, stdin), daemon=True)
    feeder.start()
    try:
        yield
    finally:
        channel.close()  # ends the feeder where the command ended without reading all
        feeder.join()


def _feed(channel: paramiko.Channel, data: bytes, rest: BinaryIO) -> None:
    """Send all of stdin. That a command ends without reading it is its own business."""
    with suppress(OSError, paramiko.SSHException):
        while data:
            channel.sendall(data)
            data = rest.read(CHUNK)
        channel.shutdown_write()


def _drain(
    channel: paramiko.Channel, stdout: Callable[[bytes], object], deadline: float,
) -> bytes | None:
    """Read both outputs to their end; return stderr, or None when time was over first.

    Both outputs share one pipe that says "look here", and paramiko sets and clears it for each
    under a different lock: when one output runs dry just as the other gets its first byte, the
    signal is cleared and the byte stays. So buffers are looked at now and then without one.
    """
    stderr = bytearray()
    poller = select.poll()
    poller.register(channel.fileno(), select.POLLIN)
    ended = False
    while not ended:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return None
        poller.poll(min(left_s, LOOK_AGAIN_S) * 1000)
        ended = bool(channel.eof_received or channel.closed)  # before reading: nothing comes after
        while channel.recv_ready():
            stdout(channel.recv(CHUNK))
        while channel.recv_stderr_ready():
            stderr += channel.recv_stderr(CHUNK)
    return bytes(stderr)


# Connecting


class _UnknownHostKey(paramiko.SSHException):
    """The host's key is in no known_hosts file."""


class _Refuse(paramiko.MissingHostKeyPolicy):
    """Unknown host keys are never trusted."""

    def missing_host_key(
        self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey,
    ) -> None:
        raise _UnknownHostKey(fingerprint(key))


def fingerprint(key: paramiko.PKey) -> str:
    """A key as ssh-keygen -l shows it."""
    digest = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
    return f"{key.get_name()} SHA256:{digest}"


def _connect(target: Target) -> Connection:
    """Connect; try again what may pass (refused, no answer) until the time is over."""
    deadline = time.monotonic() + target.connect_timeout_s
    while True:
        connection = _prepare(target)
        try:
            _open(connection, target, max(0.1, deadline - time.monotonic()))
            return connection
        except (OSError, EOFError, paramiko.SSHException) as error:
            refusal = _refusal(error, connection, target)
            connection.close()
            if refusal is not None:
                raise HarnessFailure(f"{target.where}: {refusal}") from error
            if time.monotonic() >= deadline:
                raise HarnessFailure(
                    f"{target.where}: no SSH within {target.connect_timeout_s:g} s: expected a "
                    f"running sshd ({_reason(error)})") from error
            time.sleep(RETRY_S)


def _refusal(error: Exception, connection: Connection, target: Target) -> str | None:
    """Why there is no use in trying again, or None where there is."""
    known = target.known_hosts or "~/.ssh/known_hosts"
    if isinstance(error, paramiko.BadHostKeyException):
        return (f"host key changed: expected {fingerprint(error.expected_key)} ({known}), "
                f"got {fingerprint(error.key)}")
    if isinstance(error, _UnknownHostKey):
        return f"unknown host key {error}: expected it in {known}"
    if isinstance(error, paramiko.AuthenticationException):
        transport = connection.client.get_transport()
        if transport is None or not transport.is_active():
            return None  # sshd hung up, which it does under load too
        return (f"refused user {connection.user}: expected "
                f"{target.key or 'a key of ssh_config or the agent'} to be accepted ({error})")
    return None


def _prepare(target: Target) -> Connection:
    """A fabric connection, not yet open, that trusts only the keys it should."""
    config = Config(overrides={"load_ssh_configs": target.ssh_config})
    connection = Connection(target.address, user=target.user, port=target.port, config=config)
    kwargs = connection.connect_kwargs
    if target.key is not None:
        kwargs["pkey"] = _load_key(target.name, target.key)
    kwargs["allow_agent"] = kwargs["look_for_keys"] = target.ssh_config and target.key is None
    hop = connection
    while isinstance(hop, Connection):  # jump hosts are checked like the host itself
        _trust(hop.client, target)
        hop = hop.gateway
    return connection


def _trust(client: paramiko.SSHClient, target: Target) -> None:
    """Accept the host keys of known_hosts and no others."""
    client.set_missing_host_key_policy(_Refuse())
    if target.known_hosts is not None:
        try:
            client.load_system_host_keys(str(target.known_hosts))
        except OSError as error:
            raise BadInput(f"{target.name}: known_hosts {target.known_hosts}: "
                           f"{error.strerror}") from error
        return
    client.load_system_host_keys()
    with suppress(OSError):
        client.load_system_host_keys("/etc/ssh/ssh_known_hosts")


def _load_key(name: str, path: Path) -> paramiko.PKey:
    """Read a private key; any that paramiko knows."""
    try:
        return paramiko.PKey.from_path(path)
    except (OSError, ValueError, TypeError, paramiko.SSHException) as error:
        raise BadInput(f"{name}: key {path}: expected a private key file without passphrase "
                       f"({_reason(error)})") from error


def _open(connection: Connection, target: Target, timeout_s: float) -> None:
    """Open it over a socket of our own, where no jump host is between."""
    kwargs = connection.connect_kwargs
    kwargs.update(timeout=timeout_s, banner_timeout=timeout_s, auth_timeout=timeout_s)
    connection.connect_timeout = None
    if connection.gateway is not None:
        connection.open()
        return
    dial = target.dial or _dial
    with suppress(KeyError):
        del kwargs["sock"]
    sock = dial(connection.host, connection.port, timeout_s)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        kwargs["sock"] = sock
        connection.open()
    except BaseException:
        sock.close()
        raise


def _dial(address: str, port: int, timeout_s: float) -> socket.socket:
    return socket.create_connection((address, port), timeout_s)


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
