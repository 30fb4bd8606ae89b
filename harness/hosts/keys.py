"""SSH keys of a lab: one for the harness, one for each host, all made anew for every lab.

Because the lab makes the hosts' keys itself, it can write its known_hosts before any host has
started: nothing is ever trusted on first use.
"""
from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from .plan import Plan

CLIENT_KEY = "id_ed25519"
KNOWN_HOSTS = "known_hosts"


def write_keys(folder: Path, plan: Plan) -> None:
    """Write the client's key pair, every host's private key and known_hosts to ``folder``."""
    _write_pair(folder / CLIENT_KEY)
    lines = []
    for host in plan.hosts:
        public = _write_pair(folder / f"{host.name}.key")
        names = ",".join(filter(None, (host.name, host.ipv4, host.ipv6)))
        lines.append(f"{names} {public}\n")
    (folder / KNOWN_HOSTS).write_text("".join(lines), "ascii")


def _write_pair(path: Path) -> str:
    """Make an ed25519 key pair; return the public half as OpenSSH writes it."""
    key = Ed25519PrivateKey.generate()
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    path.with_name(path.name + ".pub").write_text(public + "\n", "ascii")
    return public
