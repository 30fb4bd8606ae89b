"""The small protocols between the harness's parts, so that each can be replaced by a user's own.

Layering: a ``World`` makes ``Host``s; a ``System`` (what is tested) is installed on hosts; a
``Workload`` brings a ``Client``, a generator and checks; a ``Nemesis`` breaks things. ``Test``
(test.py) holds them all together for one run. Everything that touches a host goes through
``Host``, which is SSH on every world: there is no shortcut through the local file system.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from .op import Op

if TYPE_CHECKING:
    from seatrial.checker import CheckResult

    from .test import Test


@dataclass(frozen=True, slots=True)
class Result:
    """What a command on a host gave: exit code and output, decoded as UTF-8 (errors replaced)."""

    argv: tuple[str, ...]
    code: int
    stdout: str
    stderr: str


@runtime_checkable
class Host(Protocol):
    """One machine under control, reached over SSH.

    name: ``n1``, unique in the test; index: its position in ``test.nodes``, from 0.
    ipv4, ipv6: its addresses on the network the nodes use (ipv6 None where it has none).
    controller: addresses that SSH to it comes from (never to be cut).
    """

    name: str
    index: int
    ipv4: str
    ipv6: str | None
    controller: tuple[str, ...]

    async def run(
        self, argv: Sequence[str], *, sudo: bool = True, check: bool = True,
        stdin: bytes | None = None, timeout_s: float = 60.0,
    ) -> Result:
        """Run one command. Arguments are escaped, so nothing in them can be injected.

        check: raise HarnessFailure(host, argv, code, last line of stderr) unless exit code 0.
        """

    async def put(self, data: bytes | Path, remote: str, *, mode: int = 0o644) -> None:
        """Write a file on the host (whole, then renamed), from bytes or a local path."""

    async def get(self, remote: str, local: Path) -> None:
        """Fetch a file from the host."""

    async def read(self, remote: str) -> bytes:
        """Return a file's content."""


@runtime_checkable
class World(Protocol):
    """Where hosts come from: ``local``, ``vm``, an inventory, ``sim``."""

    @property
    def name(self) -> str:
        """What ``--on`` calls it."""

    @property
    def hosts(self) -> Sequence[Host]:
        """Its hosts; a host's index is its position here."""

    @property
    def pools(self) -> Mapping[str, tuple[str, str | None]]:
        """Client pools: name -> (IPv4, IPv6) source addresses that clients bind to."""

    async def up(self) -> None:
        """Make the hosts; return when each answers over SSH."""

    async def down(self) -> None:
        """Remove every trace."""


@runtime_checkable
class Consoles(Protocol):
    """What a world may also have: what the kernels of its hosts said."""

    def console(self, host: str) -> Path:
        """The file, on this machine."""


@runtime_checkable
class Powered(Protocol):
    """What a world may also have: hosts that it can switch off and on."""

    def power_off(self, host: str) -> None:
        """Take its power away at once; return when it has none."""

    def power_on(self, host: str) -> None:
        """Give it power; it boots. No-op while it has power."""

    def has_power(self, host: str) -> bool:
        """Whether it is switched on."""

    def reset(self, host: str) -> None:
        """Have it lose what is in its memory and boot, without being switched off."""

    def mend(self) -> list[str]:
        """Switch on and thaw all hosts; return those that needed it, not yet booted."""


@runtime_checkable
class Freezable(Protocol):
    """What a world may also have: hosts that it can stop as they are."""

    def freeze(self, host: str) -> None:
        """Stop all of it; return when it stands still."""

    def thaw(self, host: str) -> None:
        """Let it go on."""

    def is_frozen(self, host: str) -> bool:
        """Whether it stands still."""

    def set_clock(self, host: str) -> None:
        """Set its wall clock to this machine's."""


class Client(Protocol):
    """One worker's connection to the system under test. ``open`` is called on a prototype."""

    async def open(self, test: Test, node: int, process: int) -> Client:
        """Return a client for this process, preferring the given node. May raise OSError."""

    async def invoke(self, test: Test, op: Op) -> Op:
        """Do ``op``; return its completion. Any exception counts as info."""

    async def close(self) -> None:
        """Release connections."""


@runtime_checkable
class Addressing(Protocol):
    """What a client may also do: say where an operation goes, before it is recorded."""

    def address(self, test: Test, op: Op) -> None:
        """Fill in the domain that an invocation is sent to, and its session token. Asked of the
        prototype where there is no client yet; may not fail, nor take time."""


class System(Protocol):
    """What is tested: how to install, start, stop and ask it. ``node`` args are Hosts."""

    name: str

    async def setup(self, test: Test) -> None:
        """Install and start it on all hosts; return when it serves."""

    async def teardown(self, test: Test) -> None:
        """Stop it on all hosts and remove its data."""

    async def start(self, test: Test, host: Host) -> None:
        """Start the process on one host (no-op when it runs)."""

    async def kill(self, test: Test, host: Host) -> None:
        """kill -9 on one host; return when the pid is gone."""

    async def pids(self, test: Test, host: Host) -> list[int]:
        """The pids on this host that kill and pause aim at; empty when it is down."""

    async def primaries(self, test: Test) -> list[Host]:
        """Hosts that say they lead at this moment, newest term first. Bounded by a short time."""

    def ports(self, test: Test) -> Sequence[int]:
        """TCP ports that nodes use between each other and for clients."""

    def log_files(self, test: Test, host: Host) -> Sequence[str]:
        """Paths on the host to fetch when a run ends, also when it fails."""


@runtime_checkable
class Preinstalled(Protocol):
    """What a system may also have: a part of its setup that may be done long before a run, on a
    host of which many are copies (the world ``vm``)."""

    def preinstalled_key(self) -> str:
        """A name for what ``preinstall`` does now; it changes when that does."""

    async def preinstall(self, host: Host) -> None:
        """Install what is the same on all hosts and in all runs: no configuration, no keys."""


class Workload(Protocol):
    """What clients do. ``options`` come from the test file and are validated by the workload."""

    name: str

    def client(self, test: Test) -> Client:
        """The prototype client."""

    def generator(self, test: Test) -> Any:
        """The clients' operations (see generator/)."""

    def final_generator(self, test: Test) -> Any:
        """Operations after healing (for example: read every key), or None."""

    def check(self, test: Test, history: Any) -> list[CheckResult]:
        """Judge the history (a checker.history.History)."""
