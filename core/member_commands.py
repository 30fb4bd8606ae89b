"""``member ...`` and ``transfer`` of ``python -m seatrial.core``: what to ask of a Cluster."""
from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import msgspec

from seatrial.core.admin import Cluster, Status, render_members, role_of
from seatrial.core.config import Address, load, parse_address, read_key
from seatrial.core.errors import ConfigError

Members = dict[str, Any]


def cluster(options: argparse.Namespace) -> Cluster:
    """Return the cluster that the options name."""
    if options.config is not None:
        settings = load(options.config)
        return Cluster([settings.address, *settings.members.values()], settings.cluster,
                       settings.keys["admin"], options.timeout)
    if not (options.address and options.key and options.cluster):
        raise ConfigError("this needs --config, or --address, --key and --cluster")
    return Cluster([_address("--address", text) for text in options.address], options.cluster,
                   read_key(options.key), options.timeout)


def _address(what: str, text: str) -> Address:
    try:
        return parse_address(text)
    except ValueError as error:
        raise ConfigError(f"{what}: {error}") from None


def show(options: argparse.Namespace, status: Status) -> None:
    """Print the members."""
    print(msgspec.json.encode(status["membership"] | {"leader": status["node"]}).decode()
          if options.json else render_members(status))


def _demand(members: Members, node: int, *roles: str) -> None:
    """Refuse a node that has none of these roles ("": is no member)."""
    role = role_of(members, node)
    if role not in roles:
        raise ConfigError(
            f"node {node} is " + (f"a {role} already" if role else "not a member"))


def _demand_new(members: Members, node: int, address: str, *, learner_too: bool) -> None:
    """Refuse a member; not a learner that an earlier attempt, which was interrupted, made of it."""
    if not (learner_too and role_of(members, node) == "learner"
            and members["addresses"].get(str(node)) == address):
        _demand(members, node, "")


def _settled(found: Cluster) -> Members:
    """Return the members once no change is under way."""
    members: Members = found.change([], lambda _: True)["membership"]
    return members


# -- the commands ---------------------------------------------------------------------------------


def list_members(options: argparse.Namespace) -> None:
    """Print who takes part."""
    show(options, cluster(options).status())


def _has_role(node: int, role: str) -> Any:
    return lambda members: role_of(members, node) == role


def add_member(options: argparse.Namespace) -> None:
    """Make a node a learner, and when it has caught up a voter."""
    found, node = cluster(options), options.node
    _address("ADDRESS", options.where)
    _demand_new(_settled(found), node, options.where, learner_too=not options.learner)
    wish = {"node": node, "address": options.where, "priority": options.priority}
    if not options.learner and options.force:
        show(options, found.change([wish | {"kind": "voter"}], _has_role(node, "voter"),
                                   force=True, wait=not options.no_wait))
        return
    status = found.change([wish | {"kind": "learner"}], _has_role(node, "learner"))
    if not options.learner and not options.no_wait:
        found.caught_up(node)
        status = found.change([{"kind": "voter", "node": node}], _has_role(node, "voter"))
    show(options, status)


def remove_member(options: argparse.Namespace) -> None:
    """Take a node out."""
    _step(options, {"kind": "remove"}, "", "voter", "learner")


def promote_member(options: argparse.Namespace) -> None:
    """Make a learner a voter."""
    _step(options, {"kind": "voter"}, "voter", "learner")


def demote_member(options: argparse.Namespace) -> None:
    """Make a voter a learner."""
    _step(options, {"kind": "learner"}, "learner", "voter")


def _step(options: argparse.Namespace, wish: dict[str, Any], role: str, *before: str) -> None:
    found = cluster(options)
    _demand(_settled(found), options.node, *before)
    show(options, found.change(
        [wish | {"node": options.node}], _has_role(options.node, role), force=options.force,
        wait=not options.no_wait))


def replace_member(options: argparse.Namespace) -> None:
    """Put a new node in another's place: a learner until it has caught up, then both at once."""
    found, old, new = cluster(options), options.old, options.new
    _address("ADDRESS", options.where)
    members = _settled(found)
    _demand(members, old, "voter", "learner")
    _demand_new(members, new, options.where, learner_too=True)
    role = role_of(members, old)
    priority = members["priorities"][str(old)]
    found.change([{"kind": "learner", "node": new, "address": options.where,
                   "priority": priority}], _has_role(new, "learner"))
    if not options.force:
        found.caught_up(new)
    show(options, found.change(
        [{"kind": role, "node": new}, {"kind": "remove", "node": old}],
        lambda members: role_of(members, new) == role and not role_of(members, old),
        force=options.force, wait=not options.no_wait))


def set_priority(options: argparse.Namespace) -> None:
    """Say who should rather lead."""
    found, node, priority = cluster(options), str(options.node), options.priority
    _demand(_settled(found), options.node, "voter", "learner")
    show(options, found.change(
        [{"kind": "update", "node": options.node, "priority": priority}],
        lambda members: members["priorities"].get(node) == priority, wait=not options.no_wait))


def set_address(options: argparse.Namespace) -> None:
    """Say where a member is now."""
    found, node, where = cluster(options), str(options.node), options.where
    _address("ADDRESS", where)
    _demand(_settled(found), options.node, "voter", "learner")
    show(options, found.change(
        [{"kind": "update", "node": options.node, "address": where}],
        lambda members: members["addresses"].get(node) == where, wait=not options.no_wait))


def transfer(options: argparse.Namespace) -> None:
    """Have another node lead."""
    status = cluster(options).transfer(options.node)
    print(msgspec.json.encode({"leader": status["node"], "term": status["term"]}).decode()
          if options.json else f"node {status['node']} leads in term {status['term']}")


# -- their grammar ---------------------------------------------------------------------------------


def node_id(text: str) -> int:
    """Parse a node's number."""
    return _number(text, 1, 65535)


def priority(text: str) -> int:
    """Parse a priority."""
    return _number(text, 0, 255)


def _number(text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low} to {high}")
    return int(text)


def seconds(text: str) -> float:
    """Parse a time."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time in seconds")
    return value


def where(sub: argparse.ArgumentParser) -> None:
    """Add the options that say whom to ask, and how."""
    sub.add_argument("--config", type=Path, metavar="FILE", help="the configuration of any node")
    sub.add_argument("--address", metavar="HOST:PORT", action="append", help="any node; repeatable")
    sub.add_argument("--key", type=Path, metavar="FILE", help="the admin key")
    sub.add_argument("--cluster", metavar="NAME")
    sub.add_argument("--timeout", type=seconds, default=60.0, metavar="SECONDS")
    sub.add_argument("--json", action="store_true")


def add(commands: Any) -> None:
    """Add the commands to a parser's."""
    top = commands.add_parser("member", help="show and change the members")
    members = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str, *arguments: tuple[str, Any]) -> Any:
        sub = members.add_parser(name, help=text)
        for argument, kind in arguments:
            sub.add_argument(argument.lower() if argument != "ADDRESS" else "where", type=kind,
                             metavar=argument)
        where(sub)
        sub.set_defaults(run=run)
        if name != "list":
            sub.add_argument("--wait", action="store_true",
                             help="return when all is in force and not joint any more (default)")
            sub.add_argument("--no-wait", action="store_true", help="return when it is committed")
            sub.add_argument("--force", action="store_true",
                             help="even when that can cost the majority")
        return sub

    command("list", list_members, "who takes part, and how far they are")
    sub = command("add", add_member, "make a node a member", ("NODE", node_id), ("ADDRESS", str))
    sub.add_argument("--learner", action="store_true", help="without a vote")
    sub.add_argument("--priority", type=priority, metavar="N")
    command("remove", remove_member, "take a node out", ("NODE", node_id))
    command("promote", promote_member, "make a learner a voter", ("NODE", node_id))
    command("demote", demote_member, "make a voter a learner", ("NODE", node_id))
    command("replace", replace_member, "put a new node in another's place",
            ("OLD", node_id), ("NEW", node_id), ("ADDRESS", str))
    command("priority", set_priority, "say who should rather lead",
            ("NODE", node_id), ("PRIORITY", priority))
    command("address", set_address, "say where a member is now",
            ("NODE", node_id), ("ADDRESS", str))

    sub = commands.add_parser("transfer", help="have another node lead")
    sub.add_argument("node", type=node_id, nargs="?", default=0, metavar="NODE",
                     help="whoever has most of the log, if none is named")
    where(sub)
    sub.set_defaults(run=transfer)
