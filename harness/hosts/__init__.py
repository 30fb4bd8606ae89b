"""Worlds: where hosts come from. ``local`` makes them on this machine out of namespaces, ``vm``
as virtual machines.

What is public is imported on demand: the processes that make hosts and enter labs import this
package too, and must neither wait for the SSH libraries nor have any threads yet.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .inside import run_inside
    from .lab import Lab
    from .labs import LabWorld
    from .local import LocalWorld
    from .vm.world import VirtualWorld

__all__ = ["Lab", "LabWorld", "LocalWorld", "VirtualWorld", "run_inside"]
_HOMES = {"Lab": "lab", "LabWorld": "labs", "LocalWorld": "local", "VirtualWorld": "vm.world",
          "run_inside": "inside"}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for (PEP 562)."""
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
