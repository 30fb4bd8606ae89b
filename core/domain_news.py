"""Every change of a domain's or link's state, as a line in the journal; on every node that sees it.

A line ``domain`` names one domain and what changed of it in the tree (a committed entry decides;
the line may come some milliseconds before); ``uplink`` and ``downlink`` are the states of this
node's own links, as its leader knows them.
"""
from __future__ import annotations

from typing import Any

from seatrial.core.journal import Journal
from seatrial.core.tree import Domain, Tree


class DomainNews:
    """What was told last, and what is new."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._domains: dict[int, Domain] = {}
        self._uplink: tuple[str, int] = ("detached", 0)
        self._children: dict[int, str] = {}
        self._stuck: set[int] = set()

    def tell_links(self, found: dict[str, Any]) -> None:
        """Log what is new of this node's links. ``found``: status()["domain"]."""
        now = found["uplink"]["state"], found["uplink"]["node"]
        if now != self._uplink:
            self._uplink = now
            self._journal.info("uplink", state=now[0], parent=now[1])
        children = {int(id): str(child["state"]) for id, child in found["children"].items()}
        for id, state in children.items():
            if self._children.get(id, "detached") != state:
                self._journal.info("downlink", domain=id, state=state)
        for id in self._children.keys() - children.keys():
            self._journal.info("downlink", domain=id, state="gone")
        self._children = children
        stuck = {int(id): child["lag_entries"] for id, child in found["children"].items()
                 if child.get("cannot_readmit")}
        for id in stuck.keys() - self._stuck:
            self._journal.warning("cannot-readmit", domain=id, lag_entries=stuck[id])
        self._stuck = set(stuck)

    def tell_tree(self, tree: Tree | None) -> None:
        """Log what a newer tree changed, or one that was cut from the log no longer says."""
        domains = {} if tree is None else dict(tree.domains)
        for id in sorted(self._domains.keys() - domains.keys()):
            self._journal.info("domain", domain=id, name=self._domains[id].name, removed=True)
        for id, domain in domains.items():
            before = self._domains.get(id)
            if before is None:
                self._journal.info(
                    "domain", domain=id, name=domain.name, added=True, parent=domain.parent,
                    sync=domain.sync, included=domain.included)
            elif changed := differences(before, domain):
                self._journal.info("domain", domain=id, name=domain.name, **changed)
        self._domains = domains


def differences(before: Domain, after: Domain) -> dict[str, Any]:
    """Return the fields that changed, with their new values."""
    old, new = before._asdict(), after._asdict()
    return {key: value for key, value in new.items() if value != old[key] and key != "name"}
