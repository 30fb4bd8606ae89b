"""Our own node as a system under test: installed, started, killed and asked like any other.

Everything on a host goes through ``Host`` (deploy.py); clients talk to the nodes over the
network with ``seatrial.core.client``, as any user would. Keys are drawn for each run and never
enter the store.
"""
from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import Field

from seatrial.core.client import Client
from seatrial.harness.control import on_nodes
from seatrial.harness.errors import BadInput, HarnessFailure
from seatrial.harness.protocols import Host
from seatrial.harness.test import Test
from seatrial.harness.testfile import Spec
from seatrial.harness.topology import Domain, Tree
from seatrial.harness.topology.seats import seat_of
from seatrial.harness.yamlfile import Section

from ..keyvalue import Connection
from . import domains
from .administration import NEWEST_PROTOCOL, NodeAdministration
from .connection import PATIENCE, NodeConnection
from .deploy import Deployment
from .numbers import STEP, position
from .planted import must_be_known
from .watch import Watch
from .wheelhouse import wheelhouse

if TYPE_CHECKING:
    from .simulated import SimulatedNode

ROLES = ("client", "peer", "admin")
POLL_S = 0.1
HANDSHAKE_MS = 2000


def stretch(test: Test) -> float:
    """How many times longer than usual everything may take on these hosts."""
    return float(getattr(test, "stretch", 1.0))


class NodeOptions(Section):
    """How the node is configured. home: its folder on the host, on a real disk.

    protocol: the highest one that nodes speak with each other at first; None: the newest.
    snapshot_bytes, keep_bytes: of log until the next snapshot, and kept before one (``wal``).
    leases: leaders answer reads by them; in simulation its own environment says so.
    """

    heartbeat_ms: Annotated[int, Field(ge=5, le=10_000)] = 50
    election_ms: Annotated[int, Field(ge=20, le=60_000)] = 400
    port: Annotated[int, Field(ge=1024, le=65535)] = 7400
    ip: Literal[4, 6] = 4
    home: Annotated[str, Field(pattern=r"^/[A-Za-z0-9._/-]+$")] = "/data/seatrial"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    start_timeout: Annotated[float, Field(gt=0, le=600)] = 30.0
    protocol: Annotated[int, Field(ge=1, le=NEWEST_PROTOCOL)] | None = None
    snapshot_bytes: Annotated[int, Field(gt=0)] | None = None
    keep_bytes: Annotated[int, Field(ge=0)] | None = None
    leases: bool = False
    mutant: str | None = None


class NodeSystem:
    """The system ``node``."""

    name = "node"
    weak_reads = True
    Options = NodeOptions

    def __init__(self, options: NodeOptions) -> None:
        self.options = options
        self.cluster = f"run-{secrets.token_hex(4)}"
        self.keys = {role: _secret() for role in ROLES}
        self.links: dict[int, bytes] = {}       # secrets of links, by their domain's id
        self._deployment: Deployment | None = None
        self._watch: Watch | None = None
        self.administration = NodeAdministration(self, options.protocol or NEWEST_PROTOCOL)

    def simulated(self) -> SimulatedNode:
        """Return this system as the simulated world runs it."""
        from .simulated import SimulatedNode

        return SimulatedNode(self.options)

    def validate(self, spec: Spec, system: Any) -> None:
        """Raise ValueError when the options contradict each other."""
        options = self.options
        if options.election_ms < 2 * options.heartbeat_ms:
            raise ValueError(f"election_ms: expected at least twice heartbeat_ms "
                             f"({options.heartbeat_ms}), got {options.election_ms}")

    # Installation

    def prepare(self) -> None:
        """Make the wheels before there are hosts: they may not build, or lack the bug."""
        if self.options.mutant is not None:
            must_be_known(self.options.mutant)
        wheelhouse(mutants=self.options.mutant is not None)

    def preinstalled_key(self) -> str:
        """The wheels' digest."""
        return wheelhouse(mutants=self.options.mutant is not None).digest

    async def preinstall(self, host: Host) -> None:
        """Install and compile the wheels."""
        house = await asyncio.to_thread(wheelhouse, mutants=self.options.mutant is not None)
        await Deployment(self.options.home, house).install(host, compiled=True)

    async def setup(self, test: Test) -> None:
        """Install the node on all hosts, start it on all but spares; return when these serve."""
        house = await asyncio.to_thread(wheelhouse, mutants=self.options.mutant is not None)
        self._deployment = node = Deployment(self.options.home, house)
        self._watch = Watch(lambda at: self._client(
            test, None, members={0: self._address(test.nodes[at])}))    # 0: whoever is there
        founders = self.members(test)

        async def bring(host: Host) -> None:
            await node.install(host)
            founds = host.index + 1 in founders
            await node.configure(host, self.config(test, host) if founds else None,
                                 self._secrets(test, host))
            if founds:
                await node.start(host)

        await on_nodes(test.nodes, bring)
        await self._await_serving(test)

    async def teardown(self, test: Test) -> None:
        """Stop the node everywhere and remove its data."""
        if self._watch is not None:
            await self._watch.close()
        if self._deployment is not None:
            await on_nodes(test.nodes, self._deployment.remove)

    def members(self, test: Test) -> dict[int, str]:
        """Return node id -> address of the first members, of all domains; ids count from 1."""
        founders = test.nodes[:len(test.nodes) - test.spec.topology.spares]
        return {host.index + 1: self._address(host) for host in founders}

    def config(self, test: Test, host: Host, number: int = 0) -> str:
        """Return node.yml for a host: of one of the first members, or of a later one by number."""
        options = self.options
        config: dict[str, Any] = {
            "cluster": self.cluster,
            "node": number or host.index + 1,
            "members": dict(self.administration.addresses(self.members(test))),
            "listen": [self._address(host)],
            "advertise": self._address(host),
            "data": f"{options.home}/data",
            "keys": {role: f"{options.home}/{role}.key" for role in ROLES},
            "heartbeat_ms": int(options.heartbeat_ms * stretch(test)),
            "election_ms": int(options.election_ms * stretch(test)),
            "protocol": self.administration.protocol,
            "limits": {"handshake_ms": int(HANDSHAKE_MS * stretch(test))},
            "leases": options.leases,
            "log": {"level": options.log_level},
        }
        wal = {name: given for name in ("snapshot_bytes", "keep_bytes")
               if (given := getattr(options, name)) is not None}
        if wal:
            config["wal"] = wal
        if (tree := domains.tree_of(test)) is not None:
            told = domains.told(tree, test.nodes, host, address=self._address, home=options.home,
                                stretch=stretch(test))
            config["keys"] |= told.pop("keys")
            config |= told
        if number > STEP:
            config["join"] = True
        if options.mutant is not None:
            config["mutant"] = options.mutant
        return yaml.safe_dump(config, sort_keys=False)

    def _secrets(self, test: Test, host: Host) -> dict[str, bytes]:
        """Return all keys that a host needs, by the names of their files."""
        tree = domains.tree_of(test)
        ends = domains.ends(tree) if tree is not None else []
        return self.keys | {domains.key_name(end.number):
                            self.links.setdefault(end.number, _secret()) for end in ends}

    def _address(self, host: Host) -> str:
        if self.options.ip == 4:
            return f"{host.ipv4}:{self.options.port}"
        if host.ipv6 is None:
            raise BadInput(f"{host.name} has no IPv6 address, but system.options.ip is 6")
        return f"[{host.ipv6}]:{self.options.port}"

    def _local_address(self, test: Test, process: int = 0) -> str | None:
        """Return the address that a client connects from: its pool's."""
        pools = [test.pools[name] for name in sorted(test.pools)]
        if not pools:
            return None
        ipv4, ipv6 = pools[process % test.concurrency % len(pools)]
        return ipv4 if self.options.ip == 4 else ipv6

    async def _await_serving(self, test: Test) -> None:
        """Return when every node answers and one of them leads.

        Without one node the others would serve, and a campaign would begin on a cluster that
        is not what the test says; so a node that ends instead of starting is told.
        """
        assert self._watch is not None
        founders = [test.nodes[position(node)] for node in self.members(test)]
        limit_s = self.options.start_timeout * stretch(test)
        deadline = time.monotonic() + limit_s
        while True:
            found = await self._watch.statuses([host.index for host in founders])
            silent = [host for host in founders if host.index not in found]
            missing = self._missing(test, found)
            if not missing and not silent:
                return
            await on_nodes(silent, self._check_alive)
            if time.monotonic() > deadline:
                who = ", ".join(host.name for host in silent) or ", ".join(missing)
                raise HarnessFailure(
                    f"not serving within {limit_s:g} s of the start: {who} "
                    "(system.options.start_timeout)"
                )
            await asyncio.sleep(POLL_S)

    def _missing(self, test: Test, found: dict[int, dict[str, Any]]) -> list[str]:
        """Return what is missing, though all may answer, until clients can begin."""
        if (tree := domains.tree_of(test)) is not None:
            return domains.not_serving(tree, test.nodes, found)
        led = any(status["role"] == "leader" for status in found.values())
        return [] if led else ["no leader"]

    async def _check_alive(self, host: Host) -> None:
        """Raise the node's own last line if its process has ended."""
        node = self.deployment
        if not await node.pids(host):
            raise HarnessFailure(f"{host.name}: the node ended: "
                                 f"{await node.last_words(host)}")

    @property
    def deployment(self) -> Deployment:
        """Where the node is on its hosts; set up before anything else is asked."""
        assert self._deployment is not None
        return self._deployment

    # What a nemesis asks

    async def start(self, test: Test, host: Host) -> None:
        """Start the process on one host (no-op when it runs)."""
        await self.deployment.start(host)

    async def kill(self, test: Test, host: Host) -> None:
        """kill -9 on one host; return when the pid is gone."""
        await self.deployment.kill(host)

    async def pids(self, test: Test, host: Host) -> list[int]:
        """The node's pid on this host; empty when it is down."""
        return await self.deployment.pids(host)

    async def leaders(self, test: Test) -> list[tuple[int, Host]]:
        """Return (term, host) for each node that says it leads, newest term first; of several
        domains those of the root."""
        if (tree := domains.tree_of(test)) is not None:
            leading = domains.leaders(tree, test.nodes, await self.statuses(test))
            return [leading[tree.root.name]] if tree.root.name in leading else []
        found = [(int(status["term"]), at) for at, status in (await self.statuses(test)).items()
                 if status["role"] == "leader"]
        return [(term, test.nodes[at]) for term, at in sorted(found, reverse=True)]

    async def statuses(self, test: Test) -> dict[int, dict[str, Any]]:
        """Return what each node says, by position: members', and when none leads everybody's."""
        assert self._watch is not None
        if domains.tree_of(test) is not None:
            return await self._watch.statuses(range(len(test.nodes)))
        known = {position(node) for node in self.administration.addresses(self.members(test))}
        found = await self._watch.statuses(sorted(known))
        others = set(range(len(test.nodes))) - known
        if others and not any(status["role"] == "leader" for status in found.values()):
            found |= await self._watch.statuses(sorted(others))
        return found

    async def primaries(self, test: Test) -> list[Host]:
        """Hosts that say they lead at this moment, newest term first; of several domains one of
        each, the root's first."""
        if (tree := domains.tree_of(test)) is not None:
            leading = domains.leaders(tree, test.nodes, await self.statuses(test))
            return [leading[domain.name][1] for domain in tree.walk() if domain.name in leading]
        return [host for _, host in await self.leaders(test)]

    def ports(self, test: Test) -> Sequence[int]:
        """The one port for nodes and clients."""
        return [self.options.port]

    def log_files(self, test: Test, host: Host) -> Sequence[str]:
        """The node's log. Configuration and keys stay on the host."""
        return [self.deployment.log] if self._deployment is not None else []

    # What a workload asks

    async def connect(self, test: Test, node: int, process: int) -> Connection:
        """Return a client's connection that starts with the node of this index."""
        if (tree := domains.tree_of(test)) is not None:
            return self._connect(test, tree, process)
        members = self.administration.addresses(self.members(test))
        prefer = max((number for number in members if position(number) == node), default=None)
        return NodeConnection(self._client(test, process, prefer=prefer))

    def _connect(self, test: Test, tree: Tree, process: int) -> Connection:
        """Return a connection that writes at the root and reads where its pool says."""
        def client(domain: Domain) -> Client:
            addresses = {node.number: self._address(test.nodes[position(node.number)])
                         for node in domain.members}
            return self._client(test, process, members=addresses)

        reads = seat_of(tree, process % test.concurrency).domain
        root = client(tree.root)
        return NodeConnection(root, None if reads is tree.root else client(reads),
                              domains.names(tree))

    def _client(self, test: Test, process: int | None, prefer: int | None = None,
                members: Mapping[int, str] | None = None) -> Client:
        """Return a client that connects when it is first used; process: None for the controller
        itself, which asks from its own address, as a pool of clients may be cut off."""
        return Client(
            members or self.administration.addresses(self.members(test)),
            cluster=self.cluster, key=self.keys["client"], prefer=prefer,
            local_addr=None if process is None else self._local_address(test, process),
            timeout_s=PATIENCE * test.op_timeout_ns / 1e9,
        )


def _secret() -> bytes:
    return secrets.token_hex(32).encode()
