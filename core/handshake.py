"""The first bytes on a connection: who is there, and do they hold the role's key?

Sans-I/O. The one who connected speaks first:

====================== ============================================================
connector -> listener  hello
listener -> connector  hello, HMAC-SHA256(key, "server" + both hellos)
connector -> listener  HMAC-SHA256(key, "client" + both hellos)
listener -> connector  verdict
====================== ============================================================

A listener that will not go on says why in a verdict, at whatever point it finds out. Both
sides prove that they hold the key of the connector's role before either takes a byte of
payload; fresh nonces make an old proof worthless, and the labels one side's proof useless to
the other. After the verdict the connection carries frames of the chosen protocol.

====== ============= ===========================================================
offset field         of a hello: 112 bytes, little-endian
====== ============= ===========================================================
0      4s  magic     "STRL"
4      u16 min, max  protocols spoken
8      u8  role      1 client, 2 peer, 3 link, 4 admin (the listener repeats it)
9      u8  life      how often the cluster was recovered from the loss of its majority
10     u16 mark      of that recovery; both 0 before the first, and for clients
12     u32 node      of a link the domain; 0 for a client
16     32s nonce     random
48     64s cluster   UTF-8, zeros to the end
====== ============= ===========================================================

A verdict has 8 bytes: magic "STRV", u8 code (0: come in), u8 0, u16 protocol.

The listener chooses the highest protocol that both speak. Whoever holds the key of role peer may
come in whatever its number: a node that lags behind does not know all members by name. But a member
of another life of the cluster (quorum_recovery.py) is refused, after both have proved who they are.

The leader of a domain comes to its parent in role link, with its domain's id for a number. A domain
may have a key of its own; one that the listener's newest tree does not know is refused, once it has
proved its key.

======== ======================================================================
protocol what it adds
======== ======================================================================
1        requests, consensus
2        notices between the shells of members (notice.py)
======== ======================================================================
"""
from __future__ import annotations

import hmac
import struct
from collections.abc import Collection, Mapping
from typing import NamedTuple

from seatrial.core.errors import HandshakeRefused, OtherLife, WrongNode

PROTOCOL_MIN = 1
PROTOCOL_MAX = 2
HELLO = struct.Struct("<4sHHBBHI32s64s")
VERDICT = struct.Struct("<4sBxH")
MAX_NODE = 65535
PROOF_BYTES = 32
NONCE_BYTES = 32
HELLO_MAGIC = b"STRL"
VERDICT_MAGIC = b"STRV"
ROLES = {"client": 1, "peer": 2, "link": 3, "admin": 4}
ROLE_NAMES = {number: name for name, number in ROLES.items()}

(WELCOME, WRONG_CLUSTER, NO_PROTOCOL, BAD_KEY, TOO_MANY, UNKNOWN_ROLE, BAD_NODE,
 OTHER_LIFE, UNKNOWN_DOMAIN) = range(9)
REASONS = {
    WRONG_CLUSTER: "it belongs to another cluster",
    NO_PROTOCOL: f"no common protocol (this build speaks {PROTOCOL_MIN} to {PROTOCOL_MAX})",
    BAD_KEY: "the key is not the right one",
    TOO_MANY: "it has too many connections already",
    UNKNOWN_ROLE: "it does not serve this role",
    BAD_NODE: "this number is its own, or none that a member can have",
    OTHER_LIFE: "the cluster was recovered without one of the two",
    UNKNOWN_DOMAIN: "its tree has no such domain below another one",
}


class Life(NamedTuple):
    """Which life of a cluster a member belongs to: a recovery from the loss of its majority begins
    the next one."""

    number: int = 0
    mark: int = 0               # of the recovery: two that knew nothing of each other differ


FIRST_LIFE = Life()


class Hello(NamedTuple):
    """A hello, parsed."""

    protocol_min: int
    protocol_max: int
    role: int
    node: int
    cluster: str
    life: Life


def encode_hello(
    cluster: str, role: int, node: int, nonce: bytes, protocol_max: int, life: Life = FIRST_LIFE,
) -> bytes:
    """Return the 112 bytes."""
    return HELLO.pack(
        HELLO_MAGIC, PROTOCOL_MIN, protocol_max, role, *life, node, nonce, cluster.encode())


def decode_hello(data: bytes) -> Hello:
    """Parse the 112 bytes; HandshakeRefused when they are no hello."""
    magic, low, high, role, number, mark, node, _, cluster = HELLO.unpack(data)
    if magic != HELLO_MAGIC:
        raise HandshakeRefused("what it sent is not a hello of this protocol")
    try:
        return Hello(low, high, role, node, cluster.rstrip(b"\0").decode(), Life(number, mark))
    except UnicodeDecodeError:
        raise HandshakeRefused("the cluster's name in its hello is not UTF-8") from None


def key_of(keys: Mapping[str, bytes], role: str, number: int = 0) -> bytes | None:
    """Return the secret of a role; of a link the domain's own, if it has one; None: not served."""
    return (keys.get(f"link {number}") if role == "link" else None) or keys.get(role)


def proof(key: bytes, label: bytes, connector: bytes, listener: bytes) -> bytes:
    """Return what only a holder of the key can say about these two hellos."""
    return hmac.digest(key, label + connector + listener, "sha256")


class ListenerHandshake:
    """The listener's side: feed bytes, send what comes back, until ``done``."""

    def __init__(
        self, cluster: str, node: int, keys: Mapping[str, bytes], nonce: bytes, *,
        full: bool = False, protocol_max: int = PROTOCOL_MAX, life: Life = FIRST_LIFE,
        domains: Collection[int] = (),
    ) -> None:
        self.cluster = cluster
        self.node = node
        self.keys = keys
        self.domains = domains      # those that may come in role link
        self.nonce = nonce
        self.full = full
        self.protocol_max = protocol_max
        self.life = life
        self.done = False
        self.role = ""              # known after the connector's hello
        self.peer = 0               # the member's number, for role peer
        self.domain = 0             # of role link
        self.protocol = 0
        self.farewell = b""         # on HandshakeRefused: to be sent before closing
        self._input = bytearray()
        self._theirs = b""
        self._ours = b""
        self._key = b""

    def receive(self, data: bytes) -> bytes:
        """Take bytes; return bytes to send. Raises HandshakeRefused."""
        self._input += data
        out = b""
        if not self._theirs and len(self._input) >= HELLO.size:
            self._theirs = self._take(HELLO.size)
            out = self._answer(decode_hello(self._theirs))
        if self._theirs and not self.done and len(self._input) >= PROOF_BYTES:
            if not hmac.compare_digest(
                    self._take(PROOF_BYTES),
                    proof(self._key, b"client", self._theirs, self._ours)):
                raise self._refusal(BAD_KEY)
            if self.role == "link" and self.domain not in self.domains:
                raise self._refusal(UNKNOWN_DOMAIN)
            theirs = decode_hello(self._theirs).life
            if self.role == "peer" and theirs != self.life:
                self._refusal(OTHER_LIFE)
                raise OtherLife(REASONS[OTHER_LIFE], theirs)
            self.done = True
            out += VERDICT.pack(VERDICT_MAGIC, WELCOME, self.protocol)
        return out

    def leftover(self) -> bytes:
        """Return what came after the handshake in the same read."""
        return self._take(len(self._input))

    def _take(self, n: int) -> bytes:
        taken = bytes(self._input[:n])
        del self._input[:n]
        return taken

    def _answer(self, hello: Hello) -> bytes:
        self.role = ROLE_NAMES.get(hello.role, "")
        if self.full and self.role not in ("peer", "link"):     # clients must not keep them out
            raise self._refusal(TOO_MANY)
        if hello.cluster != self.cluster:
            raise self._refusal(WRONG_CLUSTER)
        self.protocol = min(self.protocol_max, hello.protocol_max)
        if self.protocol < max(PROTOCOL_MIN, hello.protocol_min):
            raise self._refusal(NO_PROTOCOL)
        key = key_of(self.keys, self.role, hello.node)
        if key is None:
            raise self._refusal(UNKNOWN_ROLE)
        self._key = key
        if self.role == "link":
            self.domain = hello.node
        if self.role == "peer":
            if not 0 < hello.node <= MAX_NODE or hello.node == self.node:
                raise self._refusal(BAD_NODE)
            self.peer = hello.node
        self._ours = encode_hello(
            self.cluster, hello.role, self.node, self.nonce, self.protocol_max, self.life)
        return self._ours + proof(key, b"server", self._theirs, self._ours)

    def _refusal(self, code: int) -> HandshakeRefused:
        self.farewell = VERDICT.pack(VERDICT_MAGIC, code, 0)
        return HandshakeRefused(REASONS[code])


class ConnectorHandshake:
    """The connector's side: send ``hello()``, feed bytes, send what comes back."""

    def __init__(
        self, cluster: str, role: str, key: bytes, nonce: bytes, *, node: int = 0,
        expect: int = 0, protocol_max: int = PROTOCOL_MAX, life: Life = FIRST_LIFE,
    ) -> None:
        self.key = key
        self.expect = expect        # the node that must be there; 0 for any
        self.cluster = cluster
        self.done = False
        self.node = 0               # who is there
        self.protocol = 0
        self._input = bytearray()
        self._protocol_max = protocol_max
        self._life = life if role == "peer" else None
        self._ours = encode_hello(cluster, ROLES[role], node, nonce, protocol_max, life)
        self._proved = False

    def hello(self) -> bytes:
        """Return the first bytes of the connection."""
        return self._ours

    def receive(self, data: bytes) -> bytes:
        """Take bytes; return bytes to send. Raises HandshakeRefused."""
        self._input += data
        if self._input[:4] == VERDICT_MAGIC:
            self._judge()
            return b""
        if len(self._input) < HELLO.size + PROOF_BYTES:
            if len(self._input) >= 4 and self._input[:4] != HELLO_MAGIC:
                raise HandshakeRefused("who answers does not speak this protocol")
            return b""
        if self._proved:
            raise HandshakeRefused("it sent a second hello")
        return self._check_listener()

    def leftover(self) -> bytes:
        """Return what came after the handshake in the same read."""
        rest = bytes(self._input)
        self._input.clear()
        return rest

    def _check_listener(self) -> bytes:
        theirs = bytes(self._input[:HELLO.size])
        given = bytes(self._input[HELLO.size:HELLO.size + PROOF_BYTES])
        del self._input[:HELLO.size + PROOF_BYTES]
        hello = decode_hello(theirs)
        if hello.cluster != self.cluster:
            raise HandshakeRefused(f"it belongs to cluster {hello.cluster!r}")
        if not hmac.compare_digest(given, proof(self.key, b"server", self._ours, theirs)):
            raise HandshakeRefused("it does not hold the key that was given here")
        if self.expect and hello.node != self.expect:
            raise WrongNode(hello.node, self.expect)
        if self._life is not None and hello.life != self._life:
            raise OtherLife(REASONS[OTHER_LIFE], hello.life)
        self.node = hello.node
        self._proved = True
        return proof(self.key, b"client", self._ours, theirs)

    def _judge(self) -> None:
        if len(self._input) < VERDICT.size:
            return
        _, code, self.protocol = VERDICT.unpack_from(self._input)
        del self._input[:VERDICT.size]
        if code != WELCOME:
            raise HandshakeRefused(REASONS.get(code, f"it refused with code {code}"))
        if not self._proved:
            raise HandshakeRefused("it let us in without proving that it holds the key")
        if not PROTOCOL_MIN <= self.protocol <= self._protocol_max:
            raise HandshakeRefused(f"it chose protocol {self.protocol}, which was not offered")
        self.done = True
