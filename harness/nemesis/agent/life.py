"""The resident's lock: whoever can't take it knows that the dead-man lives."""
from __future__ import annotations

import fcntl
import time
from typing import IO

from . import paths
from .errors import AgentError
from .files import Json

RESIDENT_WAIT_S = 30.0


def take_life_lock() -> IO[str]:
    """Wait until no resident lives (it looks for its run at every beat); return its lock.

    A resident inherits the open file, and with it the lock, from ``install``: there is no
    moment in which it runs without.
    """
    life = paths.LIFE.open("a")
    deadline = time.monotonic() + RESIDENT_WAIT_S
    while True:
        try:
            fcntl.flock(life, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return life
        except BlockingIOError:
            if time.monotonic() > deadline:
                life.close()
                raise AgentError("the old dead-man process doesn't end") from None
            time.sleep(0.01)


def resident_lives() -> bool:
    """Tell whether the resident holds its lock. Asked with a shared lock: askers don't clash."""
    with paths.LIFE.open("a") as life:
        try:
            fcntl.flock(life, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def must_be_guarded() -> None:
    """Refuse to start a fault that no dead-man would undo."""
    if not paths.RUN.exists() or not resident_lives():
        raise AgentError("the dead-man process doesn't run here (its deadline passed, or it was "
                         "killed); no fault starts without it")


def is_overdue(run: Json) -> bool:
    """Tell whether nobody has touched ``alive`` for the run's deadline, by the host's clock."""
    return time.time() - paths.ALIVE.stat().st_mtime > float(run["deadline_s"])
