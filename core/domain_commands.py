"""``domain ...`` of ``python -m seatrial.core``: show the tree of domains, and change it.

Any node of any domain can be named: the tree that it holds says where the root is. A change whose
answer was lost is looked for in the root's tree before it is asked for again, so it is never made
twice.
"""
from __future__ import annotations

import argparse
import time
from typing import Any

import msgspec

from seatrial.core.admin import PAUSE_S, Cluster, Status, fetch_status
from seatrial.core.config import load, parse_address
from seatrial.core.domain_config import parse_policy
from seatrial.core.errors import ConfigError, NodeError
from seatrial.core.member_commands import cluster, node_id, where
from seatrial.core.tree_survey import render as render_survey
from seatrial.core.tree_survey import survey

NS = 1_000_000_000
OLD_S = 2                       # what was told so long ago is said to be old
Shown = dict[str, Any]          # domain_administration.describe_tree


def root_cluster(options: argparse.Namespace) -> Cluster:
    """Return the root's domain, as an administrator sees it."""
    near = cluster(options)
    deadline = time.monotonic() + options.timeout
    while True:
        complaints: list[NodeError] = []
        for address in near.known:
            try:
                found = fetch_status(address, near.cluster, near.key, options.timeout)
            except NodeError as error:
                complaints.append(error)
                continue
            if "domain" not in found or found["domain"] is None:
                raise ConfigError(f"{address}: this cluster has no tree of domains")
            if (tree := found["tree"]) is not None:
                nodes = tree["domains"][str(tree["root"])]["nodes"]
                left = max(0.01, deadline - time.monotonic())
                return Cluster([parse_address(text) for text in nodes.values()], near.cluster,
                               near.key, left)
        if time.monotonic() >= deadline:
            raise complaints[0] if complaints else NodeError(
                f"not done within {options.timeout:g} s: no node knows the tree yet")
        time.sleep(PAUSE_S)


def change(options: argparse.Namespace, body: dict[str, Any], goal: dict[str, Any]) -> None:
    """Ask the root for a change, and show the tree with it. ``goal``: what it makes true."""
    found = root_cluster(options)
    body = {key: value for key, value in body.items() if value is not None}
    print_tree(options, found.change_tree(
        body | {"domain": options.domain}, lambda tree: holds(tree, options.domain, goal)))


def holds(tree: Shown, name: str, goal: dict[str, Any]) -> bool:
    """Return whether a domain is as it was to become ({}: is gone)."""
    domain = find(tree, name)
    if not goal or domain is None:
        return not goal and domain is None
    parent = tree["domains"].get(str(domain.get("parent")))
    shown = domain | ({"parent": parent["name"]} if parent else {})
    return all(shown.get(key) == value for key, value in goal.items())


def find(tree: Shown, text: str) -> Shown | None:
    """Return the domain of this name, else of this id."""
    for domain in tree["domains"].values():
        if domain["name"] == text:
            return dict(domain)
    found = tree["domains"].get(text)
    return dict(found) if found is not None else None


# -- what is shown --------------------------------------------------------------------------------


def print_tree(options: argparse.Namespace, status: Status) -> None:
    """Print the tree, and what the node that was asked knows of the links."""
    print(msgspec.json.encode({"tree": status["tree"], "domain": status["domain"]}).decode()
          if options.json else render(status["tree"], status["domain"]))


def render(tree: Shown, found: dict[str, Any]) -> str:
    """Return the tree as a person reads it: ``5/2`` is 5 nodes, 2 domains directly below."""
    domains = {int(id): domain for id, domain in tree["domains"].items()}
    lines = [f"tree of {len(domains)} domains, epoch {tree['epoch']}, root {tree['root']},"
             f" lease {tree['lease_ms']:g} ms"]

    def below(id: int, depth: int) -> None:
        children = [child for child, domain in domains.items() if domain.get("parent") == id]
        lines.append("  " * (depth + 1) + describe(id, domains[id], len(children), tree, found))
        for child in children:
            below(child, depth + 1)

    below(tree["root"], 0)
    return "\n".join(lines)


def describe(id: int, domain: Shown, children: int, tree: Shown, found: dict[str, Any]) -> str:
    """Return one domain's line."""
    line = f"{domain['name']} (id {id}) {len(domain['nodes'])}/{children}"
    if "mode" in domain:
        line += f", {domain['mode']}"
        if domain["mode"] == "sync":
            line += (", included" if domain["included"] else
                     ", EXCLUDED by an operator" if domain.get("held") else ", EXCLUDED")
            line += "" if id in tree["gating"] or not domain["included"] else " (does not gate)"
            line += f", {domain['exclusion']}"
    if domain["policy"] != "all":
        line += f", policy {domain['policy']}"
    child = found["children"].get(str(id))
    if child is not None:
        line += f": {child['state']}, {behind(child)}"
        line += ", CAN'T BE READMITTED: does not catch up" if child.get("cannot_readmit") else ""
    if id == found["id"] and not found["root"]:
        line += f": {found['uplink']['state']}, {behind(found['uplink'])}"
    return line


def behind(link: Shown) -> str:
    """Return a lag, and how old this knowledge is when it may have grown since."""
    if link.get("lag_entries") is None:
        return "lag not known yet"
    told_s = (link.get("told_ns") or 0) / NS
    return f"{link['lag_entries']} entries behind" + (
        f" {told_s:.0f} s ago" if told_s >= OLD_S else "")


# -- the commands ---------------------------------------------------------------------------------


def list_domains(options: argparse.Namespace) -> None:
    """Print the tree as the root's leader knows it."""
    print_tree(options, root_cluster(options).status())


def list_nodes(options: argparse.Namespace) -> None:
    """Print what each node of each domain says of itself."""
    near = cluster(options)
    seeds = list(near.known)
    if options.config is not None:
        seeds += load(options.config).parent.values()
    found = survey(seeds, near.cluster, near.key, options.timeout)
    if not found.nodes:
        raise NodeError("no node answers: " + "; ".join(found.silent.values()))
    print(msgspec.json.encode({"nodes": found.nodes, "silent": found.silent}).decode()
          if options.json else render_survey(found))


def add_domain(options: argparse.Namespace) -> None:
    """Put a domain into the tree."""
    lag = {"entries": options.max_lag_entries, "bytes": options.max_lag_bytes,
           "ms": options.max_lag_ms, "then": options.on_lag}
    lag = {key: value for key, value in lag.items() if value is not None}
    member = {
        "name": options.domain, "parent": options.parent, "nodes": nodes(options.node),
        "mode": "sync" if options.sync else "async", "policy": options.policy,
        "exclusion": "block" if options.block else "exclude",
        "exclude_after_ms": options.exclude_after, "max_lag": lag or None,
        "readmit_throttle": options.readmit_throttle}
    member = {key: value for key, value in member.items() if value is not None}
    change(options, {"change": "add", "id": options.id, "member": member}, {"name": options.domain})


def remove_domain(options: argparse.Namespace) -> None:
    """Take a domain without children out of the tree."""
    change(options, {"change": "remove"}, {})


def set_mode(options: argparse.Namespace) -> None:
    """Make a domain sync or async."""
    change(options, {"change": "mode", "sync": options.mode == "sync"}, {"mode": options.mode})


def set_policy(options: argparse.Namespace) -> None:
    """Say which sync children a domain waits for."""
    text = " ".join(options.policy)
    try:
        parse_policy(text)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    change(options, {"change": "policy", "policy": text}, {"policy": text})


def set_block(options: argparse.Namespace) -> None:
    """Say whether a silent domain is waited for for ever."""
    block = options.block == "on"
    change(options, {"change": "block", "block": block},
           {"exclusion": "block" if block else "exclude"})


def reparent(options: argparse.Namespace) -> None:
    """Have a domain replicate from another one."""
    change(options, {"change": "reparent", "parent": options.parent}, {"parent": options.parent})


def relocate(options: argparse.Namespace) -> None:
    """Say where a domain's nodes are now."""
    found = nodes(options.node)
    change(options, {"change": "relocate", "nodes": found},
           {"nodes": {str(node): text for node, text in found.items()}})


def exclude(options: argparse.Namespace) -> None:
    """Let a sync domain not count, until it is readmitted."""
    change(options, {"change": "exclude"}, {"included": False, "held": True})


def readmit(options: argparse.Namespace) -> None:
    """Let an excluded domain count again, as soon as it has caught up; wait until it does."""
    name = options.domain
    found = root_cluster(options)
    found.change_tree({"change": "readmit", "domain": name},
                      lambda tree: holds(tree, name, {"held": False}))
    print_tree(options, found.until_tree(
        lambda tree: holds(tree, name, {"included": True}),
        lambda status: f"{name} may count again, but has not caught up: "
                       + distance(status, name)))


def distance(status: Status, name: str) -> str:
    """Say how far behind a domain is, as far as the root's leader knows."""
    for id, child in status["domain"]["children"].items():
        if status["tree"]["domains"][id]["name"] == name or id == name:
            return f"{child['state']}, {behind(child)}"
    return "its parent's leader knows more"


def nodes(given: list[str]) -> dict[int, str]:
    """Parse ``NODE=HOST:PORT``, again and again."""
    found = {}
    for text in given:
        number, _, address = text.partition("=")
        try:
            parse_address(address)
            found[node_id(number)] = address
        except (ValueError, argparse.ArgumentTypeError) as error:
            raise ConfigError(f"--node {text}: expected NODE=HOST:PORT: {error}") from None
    return found


# -- their grammar ---------------------------------------------------------------------------------


def add(commands: Any) -> None:
    """Add the commands to a parser's."""
    top = commands.add_parser("domain", help="show and change the tree of domains")
    domains = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = domains.add_parser(name, help=text)
        if name not in ("list", "nodes"):
            sub.add_argument("domain", metavar="DOMAIN", help="its name, or its id")
        where(sub)
        sub.set_defaults(run=run)
        return sub

    command("list", list_domains, "the tree, and how far its domains are")
    command("nodes", list_nodes, "what each node of each domain says of itself")
    sub = command("add", add_domain, "put a domain below another one")
    sub.add_argument("--id", type=node_id, required=True, metavar="N")
    sub.add_argument("--parent", required=True, metavar="DOMAIN")
    _nodes(sub)
    sub.add_argument("--sync", action="store_true", help="writes wait for it once it has caught up")
    sub.add_argument("--policy", metavar="POLICY", help="all (default), none or 'any K'")
    sub.add_argument("--block", action="store_true", help="never exclude it")
    sub.add_argument("--exclude-after", type=_count, metavar="MS", help="of silence (1000)")
    sub.add_argument("--max-lag-entries", type=_count, metavar="N")
    sub.add_argument("--max-lag-bytes", type=_count, metavar="N")
    sub.add_argument("--max-lag-ms", type=_count, metavar="MS")
    sub.add_argument("--on-lag", choices=("none", "throttle", "exclude", "stall"),
                     help="what happens beyond the lag bound (throttle)")
    sub.add_argument("--readmit-throttle", action="store_true",
                     help="slow writers down when it can't catch up otherwise")
    command("remove", remove_domain, "take a domain without children out of the tree")
    sub = command("mode", set_mode, "make a domain sync or async")
    sub.add_argument("mode", choices=("sync", "async"))
    sub = command("policy", set_policy, "which sync children a domain waits for")
    sub.add_argument("policy", nargs="+", metavar="POLICY", help="all, none or any K")
    sub = command("block", set_block, "whether a silent domain is waited for for ever")
    sub.add_argument("block", choices=("on", "off"))
    sub = command("reparent", reparent, "have a domain replicate from another one")
    sub.add_argument("parent", metavar="PARENT")
    _nodes(command("relocate", relocate, "say where a domain's nodes are now"))
    command("exclude", exclude, "let a sync domain not count until it is readmitted")
    command("readmit", readmit, "let an excluded domain count again once it has caught up")


def _nodes(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--node", action="append", required=True, metavar="NODE=HOST:PORT",
                     help="one of its nodes; repeatable")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)
