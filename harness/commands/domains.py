"""``seatrial domains``: the tree of domains that a file describes, or one that runs.

| command              | draws                                                          |
|----------------------|----------------------------------------------------------------|
| ``domains FILE``     | the tree of a test file, or of a topology of its own           |
| ``domains --lab X``  | what runs on a lab's hosts, also while a run uses them         |
| ``domains --on F``   | what runs on the hosts of inventory F                          |
| ``domains --node F`` | the tree that F, the configuration of some node, is a part of  |
| ``domains``          | the only lab that there is                                     |

A running tree is told by its nodes. One that can't be asked is a line below the drawing; the
command ends all the same.
"""
from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from .. import node_words, topology
from ..errors import BadInput, HarnessFailure
from ..hosts import state
from ..testfile import validated
from ..topology import Heard
from ..topology.tree import Tree
from ..yamlfile import Document
from .world import World

OF_A_TEST = {"name", "workload", "topology"}
Ask = Callable[[], Heard]


@click.command("domains")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--lab", metavar="NAME", help="Draw what runs in this lab. [default: the only one]")
@click.option("--on", "world", type=World(), metavar="INVENTORY",
              help="Draw what runs on the hosts of this inventory.")
@click.option("--node", "config", type=click.Path(path_type=Path), metavar="CONFIG",
              help="Draw what runs, beginning with this node's configuration.")
@click.option("--timeout", default=3.0, show_default=True, metavar="SECONDS",
              type=click.FloatRange(min=0.1, max=60), help="How long a node has to answer.")
@click.option("--watch", metavar="SECONDS", type=click.FloatRange(min=0.1, max=3600),
              help="Draw it again, so long after each time, until interrupted.")
def command(file: Path | None, lab: str | None, world: str | None, config: Path | None,
            timeout: float, watch: float | None) -> None:
    """Draw a tree of domains: that of FILE, a test file or a topology, or one that runs.

    A line is a domain with its number of nodes, slash, of direct children: A(5/2). Of a tree that
    runs it says who leads each domain, how many of its nodes answer, whether a sync domain is
    included, how its link is, and how far behind it is. Exit code: 0; 254 when the file is wrong,
    255 when no node could be asked.
    """
    given = [name for name, value in (("FILE", file), ("--lab", lab), ("--on", world),
                                      ("--node", config)) if value is not None]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)}: expected one of them")
    if file is not None:
        if watch is not None:
            raise click.UsageError("--watch: a file does not change by itself")
        click.echo(topology.draw(tree_in(Document.load(file))))
        return
    with asking(lab, world, config, timeout) as ask:
        show(ask)
        while watch is not None:
            time.sleep(watch)
            click.echo()
            show(ask)


def tree_in(document: Document) -> Tree:
    """Return the tree of a test file, or of a file that holds nothing else."""
    if OF_A_TEST & set(document.data):
        return validated(document)[1].topology.tree()
    return topology.tree_of(document)


@contextmanager
def asking(lab: str | None, world: str | None, config: Path | None,
           timeout_s: float) -> Iterator[Ask]:
    """Yield what asks all nodes that there are."""
    if config is not None:
        where = config
        yield lambda: node_words.over_network(where, timeout_s)
        return
    with node_words.impatient(_world(lab, world), timeout_s) as hosts:
        yield lambda: asyncio.run(node_words.on_hosts(hosts, timeout_s))


def _world(lab: str | None, world: str | None) -> node_words.Hosts:
    """Log in to an inventory's or a lab's hosts."""
    if world is not None:
        from ..hosts.inventory import InventoryWorld

        InventoryWorld.enter(Path(world))
        return InventoryWorld(Path(world))
    from ..hosts.labs import view

    state.require_root()
    names = state.names()
    if lab is None and len(names) != 1:
        raise BadInput("expected a FILE, --lab, --on or --node"
                       + (f": the labs are {', '.join(names)}" if names else ": there is no lab"))
    lab = lab or names[0]
    state.check_name(lab)
    return view(lab)


def show(ask: Ask) -> None:
    """Draw what is known at this moment. Raises HarnessFailure where nobody answers."""
    heard = ask()
    found = topology.running(heard)
    silent = [why if name in why else f"{name}: {why}" for name, why in heard.silent.items()]
    if found is None:
        raise HarnessFailure("no node told of a tree: " + "; ".join(
            silent or ["those that answer know none yet"]))
    click.echo("\n".join([topology.draw(*found), *silent]))
