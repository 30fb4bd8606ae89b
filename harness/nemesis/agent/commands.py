"""The command line: which part of the agent has which command."""
from __future__ import annotations

import importlib
import json
import os
import sys

from .errors import AgentError, ToolTimeout

COMMANDS = {
    "administer": "administration",
    "aim": "processes",
    "check": "check",
    "clock": "clock",
    "clocks": "clock",
    "cut": "cuts",
    "disk": "disk",
    "disked": "disk",
    "examine": "install",
    "gone": "processes",
    "install": "install",
    "pause": "processes",
    "peers": "peers",
    "remove": "install",
    "shape": "shaping",
    "shaped": "shaping",
    "stop": "undoing",
    "stopped": "processes",
}
"""Command, which is a function's name -> the module that has it."""


def main(argv: list[str]) -> int:
    """Run one command."""
    if argv[0] == "resident":
        from .resident import Resident
        Resident([int(fd) for fd in argv[1:]]).live()
        return 0
    if argv[0] == "strobe":
        from .clock import strobe
        strobe(argv[1], int(argv[2]), int(argv[3]))
        return 0
    os.environ["PATH"] += ":/usr/sbin:/sbin"    # where sshd may not look for iptables
    function = getattr(importlib.import_module(f".{COMMANDS[argv[0]]}", __package__), argv[0])
    try:
        print(json.dumps(function(json.load(sys.stdin))))
    except (AgentError, OSError, ToolTimeout) as error:
        print(f"nemesis agent: {error}", file=sys.stderr)
        return 1
    return 0
