"""What is written down about labs, and what anybody may ask without owning one.

    /run/seatrial/<lab>/        mode 0700: state.json, SSH keys, known_hosts
    /var/lib/seatrial/<lab>/    the hosts' disks
    <cgroup>/seatrial/<lab>/    every process

state.json helps; where the parts of a lab are follows from its name alone, so that a lab can
be found and removed in whatever state a crash left it.
"""
from __future__ import annotations

import fcntl
import os
import re
import shutil
from contextlib import suppress
from enum import Enum
from pathlib import Path

import msgspec

from ..errors import BadInput, HarnessFailure
from . import kernel
from .cgroup import leftovers
from .plan import Plan

RUN, DISK = Path("/run/seatrial"), Path("/var/lib/seatrial")
DEFAULT = "default"  # the lab that ``up`` and ``down`` mean when none is named
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


class Process(msgspec.Struct, frozen=True):
    """A process for good: its pid and when it started, since pids are used again."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Process:
        """Identify a process that runs."""
        return cls(pid, kernel.start_time(pid) or -1)

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return kernel.start_time(self.pid) == self.started


class State(msgspec.Struct):
    """state.json. owner: who made or last attached it; kept: stays without an owner;
    keeper: holds the control namespace, None before it is made; inits: host -> pid;
    slowness: how many times longer than here a program takes on its hosts."""

    plan: Plan
    owner: Process
    kept: bool = False
    keeper: Process | None = None
    inits: dict[str, int] = {}
    slowness: float = 1.0

    @property
    def alive(self) -> bool:
        """Whether its hosts are up."""
        return self.keeper is not None and self.keeper.alive


class Condition(Enum):
    """How a lab is."""

    IN_USE = "in use"        # somebody owns it
    KEPT = "kept"            # runs without owner, on purpose
    DEAD = "dead"            # its owner, or its hosts, ended without cleaning up


def names() -> list[str]:
    """Every lab there is, whole or in pieces."""
    found = {path.name for top in (RUN, DISK) for path in top.glob("[a-z0-9]*") if path.is_dir()}
    return sorted(found | set(leftovers()))


def read(name: str) -> State | None:
    """state.json of a lab, anybody's; None where there is none."""
    try:
        return msgspec.json.decode((RUN / name / "state.json").read_bytes(), type=State)
    except (OSError, msgspec.DecodeError):
        return None


def write(folder: Path, state: State) -> None:
    """Write state.json whole, then rename: a reader never sees half of it."""
    young = folder / "state.json.new"
    young.write_bytes(msgspec.json.encode(state) + b"\n")
    young.rename(folder / "state.json")


def condition(name: str) -> Condition:
    """How the lab is at this moment. A lab in use whose owner itself has died is finishing:
    the process inside heals and then lets go."""
    if locked(RUN / name):
        return Condition.IN_USE
    state = read(name)
    return Condition.KEPT if state and state.kept and state.alive else Condition.DEAD


def owner_died(name: str) -> bool:
    """Whether the process that owned the lab is known to be gone."""
    state = read(name)
    return state is not None and not state.owner.alive


def control(name: str) -> str:
    """Path of a running lab's control namespace, for ``kernel.setns``."""
    state = read(name)
    if state is None or state.keeper is None or not state.keeper.alive:
        raise HarnessFailure(f"lab {name}: is not up (seatrial up --lab {name})")
    return f"/proc/{state.keeper.pid}/ns/net"


def locked(folder: Path) -> bool:
    """Whether some process holds the lock of a lab's folder."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def remove_unborn() -> None:
    """Remove the folders of labs whose maker died before it gave them their name."""
    for young in RUN.glob(".*.*"):
        if not locked(young):
            shutil.rmtree(young, ignore_errors=True)
    for top in (RUN, DISK):
        with suppress(OSError):
            top.rmdir()


def check_name(name: str) -> None:
    """Raise BadInput unless ``name`` can name a lab."""
    if not NAME.fullmatch(name):
        raise BadInput(f"lab {name!r}: expected a name of lower-case letters, digits and '-', "
                       "at most 31 characters")


def require_root() -> None:
    """Raise HarnessFailure unless this process is root."""
    if os.geteuid() != 0:
        raise HarnessFailure("hosts of our own need root: run as root or with sudo "
                             f"(this is user {os.geteuid()})")
