"""A run's beginning and end on a host, and what the host is fit for."""
from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time

from . import paths
from .addresses import version_of
from .clock import no_clock
from .cuts import LOCK_WAIT_S, TOOLS
from .disk import no_disk
from .errors import AgentError
from .files import Json, read_json, write_json
from .life import is_overdue, resident_lives, take_life_lock
from .shaping import no_shaping
from .tools import command
from .undoing import disband

START_S = 15.0          # that the resident's start may take; less than the controller waits


def install(request: Json) -> Json:
    """Heal what an earlier run left, then start this run's resident.

    Hosts that another living run holds are refused: two nemeses on one host would each prove
    the other's faults.
    """
    old = read_json(paths.RUN)
    held = old is not None and old["run"] != request["run"] and resident_lives()
    if held and not is_overdue(old):
        raise AgentError(f"run {old['run']} is at work on this host; if it is dead, heal first")
    healed = disband()
    with take_life_lock() as life, (paths.STATE / "resident.log").open("ab") as log:
        paths.JOURNAL.mkdir(exist_ok=True)
        paths.PEERS.unlink(missing_ok=True)
        paths.VIEW.unlink(missing_ok=True)      # of a resident that was killed
        paths.ALIVE.touch()
        write_json(paths.RUN, request)
        sockets = [beacon_socket(address) for address in request["addresses"]]
        fds = [beacon.fileno() for beacon in sockets]
        resident = subprocess.Popen(
            [sys.executable, "-I", "-S", str(paths.ARCHIVE), "resident",
             *map(str, fds)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[life.fileno(), *fds],
            start_new_session=True, cwd="/",
        )
    wait_for(resident)
    return {"healed": healed, "cannot": abilities(request),
            "ports": [s.getsockname()[1] for s in sockets]}


def wait_for(resident: subprocess.Popen[bytes]) -> None:
    """Wait until it has shown what it sees: faults can be proved from then on."""
    deadline = time.monotonic() + START_S
    while not paths.VIEW.exists():
        if resident.poll() is not None or time.monotonic() > deadline:
            raise AgentError("the dead-man process did not get to work: see "
                             f"{paths.STATE / 'resident.log'}")
        time.sleep(0.01)


def beacon_socket(address: str) -> socket.socket:
    """Return a socket bound to the very address that peers' rules would drop."""
    family = socket.AF_INET6 if version_of(address) == 6 else socket.AF_INET
    beacon = socket.socket(family, socket.SOCK_DGRAM)
    try:
        beacon.bind((address, 0))
    except OSError as error:
        raise AgentError(f"{address}: not an address of this host ({error.strerror})") from error
    return beacon


def abilities(request: Json) -> Json:
    """Return the kinds of fault that can't work here, with the reason."""
    addresses = request["addresses"]
    cannot = {kind: why for kind, why in (
        ("shape", no_shaping()), ("clock", no_clock(request)), ("disk", no_disk(request)))
        if why is not None}
    try:
        for version in sorted({version_of(address) for address in addresses}):
            if shutil.which(TOOLS[version]) is None:
                raise AgentError(f"{TOOLS[version]} isn't installed")
            command([TOOLS[version], "-w", LOCK_WAIT_S, "-S", "INPUT"])
    except AgentError as error:
        cannot["cut"] = str(error)
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        cannot["pause"] = "pidfd_open needs Linux 5.3 and Python 3.9"
    return cannot


def examine(request: Json) -> Json:
    """Return what this host is and what can't work on it, without an installation."""
    return {"cannot": abilities(request), "python": ".".join(map(str, sys.version_info[:3])),
            "system": " ".join((os.uname().sysname, os.uname().release))}


def remove(_request: Json) -> Json:
    """Heal and leave nothing behind. The resident notices, and is waited for."""
    undone = disband()
    take_life_lock().close()
    shutil.rmtree(paths.STATE, ignore_errors=True)    # two may heal at once
    paths.VIEW.unlink(missing_ok=True)
    return {"undone": undone}
