"""``seatrial domains``: the tree of domains that a file describes."""
from __future__ import annotations

from pathlib import Path

import click

from .. import topology
from ..testfile import validated
from ..topology.tree import Tree
from ..yamlfile import Document

OF_A_TEST = {"name", "workload", "topology"}


@click.command("domains")
@click.argument("file", type=click.Path(path_type=Path))
def command(file: Path) -> None:
    """Draw the tree of domains in FILE: a test file, or a topology of its own.

    A line is a domain with its number of nodes, slash, of direct children: A(5/2). Nothing is
    started or asked. Exit code: 0, or 254 when the file is wrong.
    """
    click.echo(topology.draw(tree_in(Document.load(file))))


def tree_in(document: Document) -> Tree:
    """Return the tree of a test file, or of a file that holds nothing else."""
    if OF_A_TEST & set(document.data):
        return validated(document)[1].topology.tree()
    return topology.tree_of(document)
