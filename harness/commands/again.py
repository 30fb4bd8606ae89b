"""The same command once more, in a process that imports another build of the node."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import click

from ..results import COMMIT, commit


def again_with(folder: Path) -> int:
    """Run this command in a process that imports from a folder first; return its exit code."""
    context = click.get_current_context()
    path = os.pathsep.join([str(folder), *filter(None, sys.path)])
    child = subprocess.Popen(
        [sys.executable, "-m", "seatrial.harness", str(context.info_name), *words(context)],
        env=os.environ | {"PYTHONPATH": path, COMMIT: commit()})
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)       # the child hears it, too
    try:
        return child.wait()
    finally:
        signal.signal(signal.SIGINT, before)


def words(context: click.Context) -> list[str]:
    """Return the words of a command line that means what this one meant."""
    options: list[str] = []
    arguments: list[str] = []
    for parameter in context.command.params:
        value = context.params[str(parameter.name)]
        if isinstance(parameter, click.Argument):
            arguments.append(str(value))
        elif isinstance(parameter, click.Option) and parameter.is_flag:
            options += [parameter.opts[0]] if value else []
        elif value is not None:
            options += [parameter.opts[0], str(value)]
    return [*options, "--", *arguments]
