"""The node's configuration file: read strictly, checked whole, told in one line when wrong.

Unknown keys, wrong types and impossible values are refused with the file's and the key's
name, because a setting that is silently ignored is worse than none. Paths are relative to
the file's own folder. Example:

    cluster: lab
    node: 1
    members: {1: "198.18.0.1:7000", 2: "198.18.0.2:7000", 3: "[fd00::3]:7000"}
    listen: ["198.18.0.1:7000", "[fd00::1]:7000"]
    data: /var/lib/seatrial
    keys: {client: client.key, peer: peer.key, admin: admin.key}
    metrics: "198.18.0.1:7001"

A node of a cluster of several domains has a section ``domain`` (domain_config.py).
"""
from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec
import yaml
from msgspec import Meta

from seatrial.core.domain_config import DomainId, DomainSection, check_section, initial_tree
from seatrial.core.errors import ConfigError, NodeError
from seatrial.core.handshake import PROTOCOL_MAX, PROTOCOL_MIN
from seatrial.core.mutants import NAMES as MUTANTS
from seatrial.core.tree import Tree
from seatrial.core.wal import DEFAULT_SEGMENT_BYTES

MAX_FILE_BYTES = 64 * 1024
MAX_KEY_FILE_BYTES = 4096
MIN_KEY_BYTES = 16
MAX_MEMBERS = 32
GROUP_WRITE_BYTES = 1089 << 10  # what the machine hands out at a time: entries, a chunk

Positive = Annotated[int, Meta(gt=0)]
NodeId = Annotated[int, Meta(ge=1, le=65535)]
Priority = Annotated[int, Meta(ge=0, le=255)]


class Address(NamedTuple):
    """A host (name or literal address) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Strict(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A part of the file; what is not named here may not be there."""


class Keys(Strict, frozen=True):
    """Files with the shared secret of each role; ``links``: of a domain, instead of ``link``."""

    client: str
    peer: str
    admin: str
    link: str | None = None
    links: dict[DomainId, str] = {}


class Log(Strict, frozen=True):
    """Where the structured log goes; standard error unless a file is named."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    file: str | None = None


class Limits(Strict, frozen=True):
    """What one node takes on, so that nobody can make it take on more."""

    max_connections: Positive = 4096
    max_key_bytes: Positive = 4096
    max_value_bytes: Annotated[int, Meta(gt=0, le=16 << 20)] = 1 << 20
    max_sessions: Positive = 100_000
    session_ttl_s: Annotated[int, Meta(ge=0, le=1 << 30)] = 3600    # of log time; 0: for ever
    max_batch_bytes: Annotated[int, Meta(gt=0, le=16 << 20)] = 256 * 1024
    max_inflight_bytes: Positive = 4 << 20
    max_uncommitted_bytes: Positive = 64 << 20
    max_unsent_bytes: Positive = 16 << 20       # answers that a client does not fetch
    handshake_ms: Positive = 2000


class WalSettings(Strict, frozen=True):
    """The write-ahead log's files, and when the event loop itself waits for the disk.

    A follower, or an only member, syncs group writes of up to ``inline_bytes`` of records in
    its event loop; 0 leaves all that carry records to the writer thread. Measured with three
    nodes on one disk: for a lone client inline saves two thread hops but no time (median
    0.41 ms both ways), and costs 15 to 30 % of the rate when the disk is shared with others,
    because a slow sync then holds up everything; from four clients on it is slower always.
    """

    segment_bytes: Annotated[int, Meta(le=1 << 30)] = DEFAULT_SEGMENT_BYTES
    inline_bytes: Annotated[int, Meta(ge=0)] = 0
    snapshot_bytes: Positive = 64 << 20         # of log, until the next snapshot
    keep_bytes: Annotated[int, Meta(ge=0)] = 16 << 20   # of log kept before it, for the slow


class NodeConfig(Strict, frozen=True):
    """Everything a node is told at its start."""

    cluster: Annotated[str, Meta(min_length=1, max_length=63)]
    node: NodeId
    members: Annotated[dict[NodeId, str], Meta(min_length=1, max_length=MAX_MEMBERS)]
    listen: Annotated[list[str], Meta(min_length=1, max_length=16)]
    data: str
    keys: Keys
    join: bool = False              # a member is to be made of it; `members` are others
    advertise: str | None = None    # where others reach it; its entry in `members`, or `listen`
    priorities: dict[NodeId, Priority] = {}
    metrics: str | None = None
    heartbeat_ms: Positive = 100
    election_ms: Positive = 1000
    leases: bool = False
    protocol: Annotated[int, Meta(ge=PROTOCOL_MIN, le=PROTOCOL_MAX)] = PROTOCOL_MAX
    log: Log = Log()
    limits: Limits = Limits()
    wal: WalSettings = WalSettings()
    mutant: str | None = None
    domain: DomainSection | None = None


def parse_address(text: str) -> Address:
    """Return the Address that ``host:port`` or ``[v6]:port`` names; ValueError if none."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
        ipaddress.IPv6Address(host.partition("%")[0])
    if not colon or not host or (":" in host and not bracketed):
        raise ValueError(f"{text!r} is not host:port or [address]:port")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{text!r} does not end in a port from 1 to 65535")
    return Address(host, int(port))


def clean_key(key: bytes) -> bytes:
    """Return a secret without the white space that editors leave around it."""
    return key.strip()


def read_key(path: Path) -> bytes:
    """Return the secret in a key file."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_KEY_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"can't read key file {path}: {error.strerror}") from None
    key = clean_key(data)
    if not MIN_KEY_BYTES <= len(key) <= MAX_KEY_FILE_BYTES:
        raise ConfigError(
            f"key file {path} holds {len(key)} bytes,"
            f" expected {MIN_KEY_BYTES} to {MAX_KEY_FILE_BYTES}")
    return key


class Settings:
    """A configuration that was checked: addresses parsed, paths resolved, keys read."""

    def __init__(self, config: NodeConfig, folder: Path) -> None:
        self.config = config
        self.node = config.node
        self.cluster = config.cluster
        self.members = {node: address(f"members.{node}", text)
                        for node, text in sorted(config.members.items())}
        self.listen = [address(f"listen[{i}]", text) for i, text in enumerate(config.listen)]
        self.address = self._address(config)
        if config.join:                 # who joins has no vote before it is a member
            self.members.pop(self.node, None)
            if self.address.host in ("0.0.0.0", "::"):
                raise ConfigError(
                    f"advertise: others can't reach {self.address}: say where they can")
        self.metrics = address("metrics", config.metrics) if config.metrics is not None else None
        self.data = folder / config.data
        self.log_file = folder / config.log.file if config.log.file is not None else None
        check(config)
        self._place(config)
        self.keys = {role: read_key(folder / file) for role, file in key_files(config.keys)}

    def _place(self, config: NodeConfig) -> None:
        """Say where in the tree of domains this node is: all of it is in domain 1 without one."""
        section = config.domain
        self.domain = section.id if section is not None else 1
        self.parent: dict[int, Address] = {}        # of a child: its parent's nodes
        self.tree: Tree | None = None               # of the root: the tree before its log's
        if section is None:
            return
        check_section(section, config.members)
        if section.parent is not None:
            self.parent = {node: address(f"domain.parent.nodes.{node}", text)
                           for node, text in section.parent.nodes.items()}
            return
        self.tree = initial_tree(section, {n: str(where) for n, where in self.members.items()})
        for id, member in section.tree.items():
            for node, text in member.nodes.items():
                address(f"domain.tree.{id}.nodes.{node}", text)

    def _address(self, config: NodeConfig) -> Address:
        """Return where others reach this node."""
        if config.advertise is not None:
            return address("advertise", config.advertise)
        return self.members.get(self.node, self.listen[0])


def address(key: str, text: str) -> Address:
    """Parse an address; when it is none, name the key it stands under."""
    try:
        return parse_address(text)
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from None


def key_files(keys: Keys) -> list[tuple[str, str]]:
    """Return each role with its file; of links by their domain's id (handshake.key_of)."""
    return [("client", keys.client), ("peer", keys.peer), ("admin", keys.admin),
            *([("link", keys.link)] if keys.link is not None else []),
            *((f"link {domain}", file) for domain, file in keys.links.items())]


def check(config: NodeConfig) -> None:
    """Refuse combinations that can't work."""
    largest = 4096 + config.limits.max_key_bytes + 2 * config.limits.max_value_bytes
    if config.node not in config.members and not config.join:
        raise ConfigError(
            f"node: {config.node} is not among members {sorted(config.members)}"
            " (a node that is to become a member says join: true)")
    if config.join and set(config.members) <= {config.node}:
        raise ConfigError("members: a node that joins must know another one")
    for node in config.priorities:
        if node not in config.members:
            raise ConfigError(
                f"priorities: {node} is not among members {sorted(config.members)}")
    domain, keys = config.domain, config.keys
    if domain is None and (keys.link is not None or keys.links):
        raise ConfigError("keys.link, keys.links: a node without a section `domain` has no links")
    if domain is not None and keys.link is None:
        lacks = domain.id not in keys.links if domain.parent is not None else (
            domain.tree and not keys.links)
        if lacks:
            raise ConfigError("keys.link: expected the file with the secret of links, or"
                              f" keys.links.{domain.id if domain.parent is not None else 'ID'}")
    if config.election_ms < 2 * config.heartbeat_ms:
        raise ConfigError(
            f"election_ms: {config.election_ms} must be at least"
            f" twice heartbeat_ms ({config.heartbeat_ms})")
    if config.wal.segment_bytes < GROUP_WRITE_BYTES + largest:
        raise ConfigError(
            f"wal.segment_bytes: {config.wal.segment_bytes} must be at least"
            f" {GROUP_WRITE_BYTES + largest} to hold a group write with the largest values")
    if config.mutant is not None and config.mutant not in MUTANTS:
        known = ", ".join(MUTANTS) or "none: this is the normal build"
        raise ConfigError(f"mutant: {config.mutant!r} is not known; this build has {known}")


def load(path: Path) -> Settings:
    """Read and check a configuration file."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"can't read configuration {path}: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"configuration {path} is larger than {MAX_FILE_BYTES} bytes")
    try:
        tree = yaml.safe_load(data.decode())
        return Settings(msgspec.convert(tree, NodeConfig), path.parent)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())
        raise ConfigError(f"configuration {path} is not YAML: {line}") from None
    except (msgspec.ValidationError, NodeError) as error:
        raise ConfigError(f"configuration {path}: {error}") from None
