"""What ``--on`` may be given: the name of a world, or the file of an inventory."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..hosts.inventory import is_inventory

if TYPE_CHECKING:
    Type = click.ParamType[str]
else:
    Type = click.ParamType          # older versions of click have no types of parameters


class World(Type):
    """A world of ours by its name, or an inventory by its file."""

    name = "WORLD"

    def __init__(self, *worlds: str) -> None:
        self.worlds = worlds

    def convert(self, value: Any, param: click.Parameter | None,
                ctx: click.Context | None) -> str:
        """Return it, or complain."""
        if value in self.worlds or is_inventory(str(value)):
            return str(value)
        self.fail(f"{value!r} is not {', '.join(self.worlds)} or an inventory (a .yml file)",
                  param, ctx)
