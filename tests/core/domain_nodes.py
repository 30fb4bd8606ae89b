"""Domains of real node processes on 127.0.0.1, in one folder: the tree is that of the files."""
from __future__ import annotations

from pathlib import Path
from typing import Any

from seatrial.core.admin import Status, fetch_status
from seatrial.core.config import parse_address
from seatrial.core.errors import NodeError

from .nodes import CLUSTER, Nodes, until

STEP = 10                       # nodes of the second domain begin with 11
KEYS = {role: f"{role}.key" for role in ("client", "peer", "admin", "link")}


class DomainNodes(Nodes):
    """One domain's nodes. section: what their file says under ``domain``."""

    def __init__(self, folder: Path, number: int, name: str, count: int) -> None:
        self.number = number
        self.name = name
        self.section: dict[str, Any] = {}
        super().__init__(folder, count, first=STEP * (number - 1) + 1)

    def configure(self, n: int, **changes: Any) -> Path:
        section = {"domain": {"id": self.number, "name": self.name} | self.section,
                   "keys": KEYS} if self.section else {}
        return super().configure(n, **(section | changes))

    def status(self, n: int) -> Status:
        """Return what a node says of itself; nothing while it does not answer."""
        key = (self.folder / "admin.key").read_bytes().strip()
        try:
            return fetch_status(parse_address(self.members[n]), CLUSTER, key, 2.0)
        except NodeError:
            return {}

    def leads(self) -> int:
        """Return the node that leads, once one does."""
        def leader() -> int:
            statuses = {n: self.status(n) for n in self.processes}
            leaders = {n: found["term"] for n, found in statuses.items()
                       if found and found["role"] == "leader"}
            return max(leaders, key=lambda n: leaders[n]) if leaders else 0

        return until(f"domain {self.name} has a leader", leader)

    def link(self) -> dict[str, Any]:
        """Return what the domain's leader says of its link to the parent."""
        found = self.status(self.leads())
        return dict(found["domain"]["uplink"]) if found else {}


class World:
    """A tree of domains. ``shape``: name -> (nodes, parent's name, more of the tree's entry)."""

    def __init__(self, folder: Path, **shape: tuple[int, str, dict[str, Any]]) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        (folder / "link.key").write_text("a secret for links\n")
        self.domains = {name: DomainNodes(folder, i, name, count)
                        for i, (name, (count, _, _)) in enumerate(shape.items(), 1)}
        root, *others = shape
        self.tree = {self[name].number: {
            "name": name, "parent": shape[name][1], "nodes": self[name].members,
        } | shape[name][2] for name in others}
        self.place(root, {"tree": self.tree, "lease_ms": 200})
        for name in others:
            self.place(name, {"parent": {"nodes": self[shape[name][1]].members}})

    def __getitem__(self, name: str) -> DomainNodes:
        return self.domains[name]

    def place(self, name: str, section: dict[str, Any], **changes: Any) -> None:
        """Write the files of a domain's nodes."""
        domain = self[name]
        domain.section = section
        for n in domain.ids:
            domain.configure(n, **changes)

    def start(self, *names: str) -> None:
        """Start these domains, or all."""
        for name in names or self.domains:
            self[name].start()

    def stop(self) -> None:
        """End whatever still runs."""
        for domain in self.domains.values():
            domain.stop()

    def child(self, parent: str, name: str) -> dict[str, Any]:
        """Return what a parent's leader says of a child."""
        status = self[parent].status(self[parent].leads())
        found = status["domain"]["children"] if status else {}
        return dict(found.get(str(self[name].number), {}))

    def included(self, parent: str, name: str) -> None:
        """Wait until a sync domain counts and holds everything."""
        def streams() -> bool:
            child = self.child(parent, name)
            return bool(child) and child["included"] and child["state"] == "streaming"

        until(f"{name} is included", streams)

    def streaming(self, parent: str, name: str) -> None:
        """Wait until a domain is linked and has nothing left to catch up with."""
        until(f"{name} streams from {parent}",
              lambda: self.child(parent, name).get("link") == "streaming")

    def domain_command(self, *arguments: str) -> Any:
        """Run ``domain ...`` against some node of the last domain: any of them will do."""
        near = list(self.domains.values())[-1]
        return near.command("domain", *arguments, "--config",
                            near.folder / f"node{near.ids[0]}.yml")
