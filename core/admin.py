"""Asking one node about itself over a plain blocking socket: what ``status`` does."""
from __future__ import annotations

import os
import socket
import time
from typing import Any

import msgspec

from seatrial.core.codec import OPS, decode_response, encode_request, split_frames
from seatrial.core.config import Address
from seatrial.core.errors import HandshakeRefused, NodeError, ProtocolError
from seatrial.core.handshake import NONCE_BYTES, ConnectorHandshake

READ_BYTES = 1 << 16
MAX_ANSWER_BYTES = 1 << 20


def fetch_status(address: Address, cluster: str, key: bytes, timeout_s: float) -> dict[str, Any]:
    """Return what the node says of itself. Raises NodeError naming the address."""
    deadline = time.monotonic() + timeout_s
    try:
        with socket.create_connection(address, timeout_s) as sock:
            return _ask(sock, cluster, key, deadline)
    except HandshakeRefused as refusal:
        raise HandshakeRefused(f"{address}: {refusal}") from None
    except TimeoutError:
        raise NodeError(f"{address}: no answer within {timeout_s:g} s") from None
    except OSError as error:
        raise NodeError(f"can't reach {address}: {error.strerror}") from None
    except (ProtocolError, msgspec.DecodeError) as error:
        raise NodeError(f"{address}: {error}") from None


def _ask(sock: socket.socket, cluster: str, key: bytes, deadline: float) -> dict[str, Any]:
    handshake = ConnectorHandshake(cluster, "admin", key, os.urandom(NONCE_BYTES))
    sock.sendall(handshake.hello())
    while not handshake.done:
        sock.sendall(handshake.receive(_read(sock, deadline)))
    sock.sendall(encode_request(1, 0, 0, OPS["status"]))
    data = bytearray(handshake.leftover())
    while not (frames := split_frames(data)):
        if len(data) > MAX_ANSWER_BYTES:
            raise ProtocolError(f"an answer of more than {MAX_ANSWER_BYTES} bytes")
        data += _read(sock, deadline)
    value = decode_response(frames[0])[2]
    return msgspec.json.decode(value or b"{}", type=dict[str, Any])


def _read(sock: socket.socket, deadline: float) -> bytes:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    sock.settimeout(left)
    data = sock.recv(READ_BYTES)
    if not data:
        raise NodeError("the node closed the connection")
    return data


def render_status(status: dict[str, Any]) -> str:
    """Return the status as a person reads it."""
    lines = [
        f"node {status['node']} of {status['cluster']}: {status['role']} in term"
        f" {status['term']}, leader {status['leader'] or 'unknown'}",
        f"log {status['first_index']}..{status['last_index']}, durable"
        f" {status['durable_index']}, committed {status['commit']}, applied {status['applied']}",
        f"up {status['uptime_s']:.0f} s, sessions {status['sessions']}, connections "
        + ", ".join(f"{role} {n}" for role, n in status["connections"].items()),
    ]
    for peer, seen in status["peers"].items():
        up = "connected" if seen["connected"] else "not connected"
        lines.append(
            f"  member {peer} at {status['members'].get(str(peer), '?')}: {up},"
            f" {seen['state']}, match {seen['match_index']}, next {seen['next_index']}")
    if status["mutant"]:
        lines.append(f"PLANTED BUG in force: {status['mutant']}")
    return "\n".join(lines)
