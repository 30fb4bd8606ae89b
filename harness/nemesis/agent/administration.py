"""What an administrator of the cluster did, and the command that undoes it."""
from __future__ import annotations

from .errors import AgentError, ToolTimeout
from .files import Json, locked
from .journal import begin
from .tools import command

UNDO_S = 40.0                   # what a command that undoes something may take


def administer(request: Json) -> Json:
    """Journal how to undo what an administrator is about to do."""
    with locked():
        begin(request, "administer", undo=request["undo"])
    return {}


def run_back(entry: Json, *, resigned: bool) -> None:
    """Undo what an administrator did."""
    try:
        if entry["undo"]:
            command(entry["undo"], timeout_s=UNDO_S)
    except (AgentError, OSError, ToolTimeout) as error:
        if not resigned:
            raise
        entry["failed"] = str(error)
