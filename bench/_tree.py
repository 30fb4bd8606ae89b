"""Domains of real nodes with fsync on 127.0.0.1, in a folder of their own."""
from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from commit_path import CLUSTER, SECRET

from seatrial.core.admin import ask
from seatrial.core.config import parse_address
from seatrial.core.errors import NodeError

NODES = 3
STEP = 10                       # nodes of the second domain begin with 11
PATIENCE_S = 60
TICK = os.sysconf("SC_CLK_TCK")


class Child(NamedTuple):
    """A domain that is not the root."""

    name: str
    parent: str
    mode: str


class Domain:
    """One domain's nodes."""

    def __init__(self, folder: Path, number: int, name: str, ports: Sequence[int]) -> None:
        self.folder, self.number, self.name = folder, number, name
        self.ports = {STEP * (number - 1) + at: port for at, port in enumerate(ports, 1)}
        self.members = {node: f"127.0.0.1:{port}" for node, port in self.ports.items()}
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    def configure(self, section: dict[str, Any], settings: dict[str, Any]) -> None:
        """Write the nodes' files."""
        roles = ["client", "peer", "admin"] + ["link"] * bool(section)
        for node, address in self.members.items():
            (self.folder / f"node{node}.yml").write_text(yaml.safe_dump({
                "cluster": CLUSTER, "node": node, "members": self.members, "listen": [address],
                "data": f"node{node}",
                "keys": dict.fromkeys(roles, "key"),
                "log": {"level": "warning", "file": f"node{node}.log"},
            } | settings | ({"domain": section} if section else {})))

    def start(self) -> None:
        """Start the nodes."""
        for node in self.members:
            self.processes[node] = subprocess.Popen(
                [sys.executable, "-m", "seatrial.core", "serve", "--config",
                 str(self.folder / f"node{node}.yml")])

    def stop(self) -> None:
        """End the nodes."""
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()

    def check(self) -> None:
        """End the program when a node has ended; it has said why."""
        for node, process in self.processes.items():
            if process.poll() is not None:
                raise SystemExit(f"node {node} ended with code {process.returncode}")

    def ask(self, node: int, op: str) -> dict[str, Any]:
        """Ask a node something as administrator; {}: it does not answer."""
        try:
            status, value = ask(parse_address(self.members[node]), CLUSTER, SECRET, op, b"{}", 120)
        except NodeError:
            return {}
        return dict(json.loads(value)) if status == "ok" else {}

    def statuses(self) -> list[dict[str, Any]]:
        """What each node that answers says of itself."""
        return [found for node in self.members if (found := self.ask(node, "status"))]

    def leader(self) -> dict[str, Any]:
        """What the leader says of itself; {} while there is none."""
        led = [found for found in self.statuses() if found["role"] == "leader"]
        return max(led, key=lambda found: int(found["term"]), default={})

    def applied(self) -> int:
        """The root's newest entry that a majority of the nodes has applied."""
        found = sorted((int(status["domain"]["applied_rindex"]) for status in self.statuses()),
                       reverse=True)
        majority = len(self.members) // 2
        return found[majority] if len(found) > majority else 0

    def cpu_s(self) -> float:
        """How long all nodes have used a core, in user and kernel."""
        ticks = 0
        for process in self.processes.values():
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / TICK


class Tree:
    """A root called a, and other domains."""

    def __init__(self, folder: Path, children: Sequence[Child], settings: dict[str, Any],
                 nodes: int = NODES) -> None:
        (folder / "key").write_bytes(SECRET)
        names = ["a", *(child.name for child in children)]
        ports = iter(free_ports(nodes * len(names)))
        self.domains = {
            name: Domain(folder, number, name, [next(ports) for _ in range(nodes)])
            for number, name in enumerate(names, 1)}
        self.children = list(children)
        self.root = self.domains["a"]
        tree = {self.domains[child.name].number: {
            "name": child.name, "parent": child.parent, "mode": child.mode,
            "nodes": self.domains[child.name].members,
        } | ({"exclusion": "block"} if child.mode == "sync" else {}) for child in children}
        self.root.configure({"id": 1, "name": "a", "tree": tree} if tree else {}, settings)
        for child in children:
            domain = self.domains[child.name]
            domain.configure({"id": domain.number, "name": child.name,
                              "parent": {"nodes": self.domains[child.parent].members}}, settings)

    def start(self) -> None:
        """Start all nodes; return when every domain serves."""
        for domain in self.domains.values():
            domain.start()
        self.leader("a")
        for child in self.children:
            self.until(f"{child.name} serves", lambda one=child: self.serves(one))

    def serves(self, child: Child) -> bool:
        """Whether a child has all there is, and writes wait for it if it is sync."""
        status = self.domains[child.parent].leader()
        found = (status.get("domain") or {}).get("children", {}).get(
            str(self.domains[child.name].number), {})
        return found.get("state") == "streaming" and (
            child.mode == "async" or bool(found.get("included")))

    def until(self, what: str, condition: Any) -> Any:
        """Return what is true at last; end the program when it takes too long."""
        deadline = time.monotonic() + PATIENCE_S
        while not (found := condition()):
            for domain in self.domains.values():
                domain.check()
            if time.monotonic() > deadline:
                raise SystemExit(f"not within {PATIENCE_S} s: {what}")
            time.sleep(0.1)
        return found

    def leader(self, name: str) -> dict[str, Any]:
        """What a domain's leader says of itself, once there is one."""
        return dict(self.until(f"{name} leads", self.domains[name].leader))

    def port(self) -> int:
        """The port of the root's leader."""
        return self.root.ports[int(self.leader("a")["node"])]

    def stop(self) -> None:
        """End all nodes, children first."""
        for domain in reversed(self.domains.values()):
            domain.stop()

    def __str__(self) -> str:
        return ", ".join(f"{name}: nodes {' '.join(map(str, domain.members))}"
                         for name, domain in self.domains.items())


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on just now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(sock.getsockname()[1]) for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports
