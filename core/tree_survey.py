"""Asking all nodes of a tree of domains at once: what each says of itself, and who does not answer.

Some nodes lead to the others: each names the members of its own domain, and all nodes of the newest
tree that it holds. One that does not answer costs its time once, whoever else names it.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from seatrial.core.admin import Status, fetch_status
from seatrial.core.config import Address, parse_address
from seatrial.core.errors import NodeError


class Survey(NamedTuple):
    """Each node's status, by number; by address, why one said nothing."""

    nodes: dict[int, Status]
    silent: dict[str, str]


def survey(seeds: Iterable[Address], cluster: str, key: bytes, timeout_s: float) -> Survey:
    """Ask these nodes, and those that they know."""
    found = Survey({}, {})

    def ask(address: Address) -> Status | NodeError:
        try:
            return fetch_status(address, cluster, key, timeout_s)
        except NodeError as error:
            return error

    asked: set[Address] = set()
    known = set(seeds)
    while new := sorted(known - asked):
        asked |= known
        with ThreadPoolExecutor(len(new), "ask") as threads:
            for address, said in zip(new, threads.map(ask, new), strict=True):
                if isinstance(said, NodeError):
                    found.silent[str(address)] = str(said)
                else:
                    found.nodes[said["node"]] = said
                    known |= set(named(said))
    return found


def named(status: Status) -> Iterator[Address]:
    """Yield the addresses that a node names."""
    texts = list(status["members"].values())
    for domain in (status["tree"] or {"domains": {}})["domains"].values():
        texts += domain["nodes"].values()
    for text in texts:
        try:
            yield parse_address(text)
        except ValueError:
            continue


def render(found: Survey) -> str:
    """Return a line for each node."""
    lines = [f"node {node}: {line(status)}" for node, status in sorted(found.nodes.items())]
    return "\n".join([*lines, *found.silent.values()])


def line(status: Status) -> str:
    """Return what a person wants to know of one node."""
    domain = status["domain"]
    words = f"{status['role']} in term {status['term']}"
    if domain is None:
        return f"{words}, applied {status['applied']}"
    words = f"domain {domain['id']}, {words}, applied root entry {domain['applied_rindex']}"
    if status["role"] == "leader" and not domain["root"]:
        words += f", link to the parent {domain['uplink']['state']}"
    return words
