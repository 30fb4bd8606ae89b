"""The process that stays: beacons to the peers, and the dead-man.

Whatever undoes faults is loaded at the start, not when it is needed: by then the archive may be
gone.
"""
from __future__ import annotations

import contextlib
import json
import socket
import time
from pathlib import Path

from . import administration, clock, cuts, disk, paths, processes, shaping  # noqa: F401
from .addresses import version_of
from .errors import AgentError, ToolTimeout
from .files import read_json
from .undoing import disband

BEAT_S = 0.05
RETRY_S = 1.0
MOST_DATAGRAMS = 1000           # a beat; whoever floods us must not keep us from beating


class Resident:
    """Beacons, and the dead-man. Time is monotonic: faults may move the wall clock.

    It wakes only to beat: what arrives in between waits in the sockets' buffers.
    """

    def __init__(self, fds: list[int]) -> None:
        self.setup = identity(paths.RUN)
        self.run = read_json(paths.RUN)
        self.sockets: dict[int, socket.socket] = {}
        for fd in fds:
            beacon = socket.socket(fileno=fd)
            beacon.setblocking(False)
            self.sockets[6 if beacon.family == socket.AF_INET6 else 4] = beacon
        self.token = self.run["run"].encode()
        self.peers: dict[str, tuple[socket.socket, int]] = {}
        self.told: tuple[int, int] | None = None
        self.number = 0
        self.sent: dict[str, int] = {}
        self.heard: dict[str, int] = {}
        self.touched: float | None = None
        self.deadline = 0.0

    def live(self) -> None:
        """Beat until the run's setup is gone or the deadline has passed."""
        while identity(paths.RUN) == self.setup:
            now = time.monotonic()
            if self.is_abandoned(now) and self.has_healed(now):
                return
            self.beat()
            time.sleep(max(0.0, now + BEAT_S - time.monotonic()))

    def is_abandoned(self, now: float) -> bool:
        """Tell whether the controller has stopped touching its file."""
        touched = paths.ALIVE.stat().st_mtime
        if touched != self.touched:
            self.touched, self.deadline = touched, now + float(self.run["deadline_s"])
        return now >= self.deadline

    def has_healed(self, now: float) -> bool:
        """Undo everything; when that fails, say why and leave it for a second later."""
        try:
            undone = disband()
        except (AgentError, OSError, ToolTimeout) as error:
            self.deadline = now + RETRY_S
            print(f"could not heal, will try again: {error}", flush=True)
            return False
        print(f"no controller for {self.run['deadline_s']} s: undid "
              + (", ".join(entry["name"] for entry in undone) or "nothing"), flush=True)
        return True

    def beat(self) -> None:
        """Show what was sent and heard, then send the next number to everybody.

        In this order, so that a number above the one shown was sent after the view was read,
        and what had arrived by now is in it.
        """
        told = identity(paths.PEERS)
        if told != self.told:                   # anew when one of them has come back
            self.told = told
            self.peers = {address: (self.sockets[version_of(address)], port)
                          for address, port in read_json(paths.PEERS) or ()}
        for beacon in self.sockets.values():
            self.receive(beacon)
        self.number += 1
        new = paths.VIEW.with_suffix(".new")
        new.write_text(json.dumps({"number": self.number, "sent": self.sent,
                                   "heard": self.heard}))
        new.rename(paths.VIEW)
        message = b"%s %d" % (self.token, self.number)
        for address, (beacon, port) in self.peers.items():
            with contextlib.suppress(OSError):  # not sent, so silence will prove nothing
                beacon.sendto(message, (address, port))
                self.sent[address] = self.number

    def receive(self, beacon: socket.socket) -> None:
        """Take in what has arrived; anything but a beacon of this run is ignored."""
        for _ in range(MOST_DATAGRAMS):
            try:
                message, (source, *_) = beacon.recvfrom(256)
            except OSError:                     # mostly: nothing more has arrived
                return
            token, _, number = message.partition(b" ")
            if token == self.token and source in self.peers and number.isdigit():
                self.heard[source] = int(number)


def identity(path: Path) -> tuple[int, int] | None:
    """Return what changes when a file is replaced, or None when there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns
