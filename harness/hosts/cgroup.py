"""Control groups of a lab: who belongs to it, how it is frozen and how all of it is killed.

Layout: ``seatrial/<lab>/keeper`` and ``seatrial/<lab>/hosts/<host>``. A process can leave its
session, its parent and its namespaces, but not its control group unless root moves it: that
makes the group the one reliable answer to "what is left of this lab?".

Version 2 is used wherever it is mounted, also where version 1 holds the controllers beside it:
freezing and killing are part of version 2 itself and need no controller. Else version 1's
freezer. A group is thawed before it is killed: version 1's frozen processes ignore SIGKILL.
"""
from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import HarnessFailure

TOP = "seatrial"


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Where control groups are: mount point and version (2, or 1 for the freezer)."""

    mount: Path
    version: int


def hierarchies() -> list[Hierarchy]:
    """Every hierarchy this machine can freeze with, the preferred first."""
    found = []
    for line in Path("/proc/self/mounts").read_text("utf-8", "surrogateescape").splitlines():
        _, target, kind, options, *_ = line.split()
        if kind == "cgroup2":
            found.append(Hierarchy(Path(target), 2))
        elif kind == "cgroup" and "freezer" in options.split(","):
            found.append(Hierarchy(Path(target), 1))
    return sorted(dict.fromkeys(found), key=lambda h: -h.version)


def hierarchy() -> Hierarchy:
    """The hierarchy labs are made in."""
    for found in hierarchies():
        return found
    raise HarnessFailure("no control groups: expected cgroup2 (or the version 1 freezer) "
                         "mounted, usually at /sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Cgroup:
    """One control group, which may not exist."""

    path: Path
    version: int

    @classmethod
    def of_lab(cls, lab: str, where: Hierarchy | None = None) -> Cgroup:
        """The group that everything of a lab is in."""
        where = where or hierarchy()
        return cls(where.mount / TOP / lab, where.version)

    def child(self, *names: str) -> Cgroup:
        """The group below this one."""
        return Cgroup(self.path.joinpath(*names), self.version)

    def make(self) -> None:
        """Create it and those above it."""
        for _ in range(100):  # another lab's end may remove the folders above at any time
            try:
                self.path.mkdir(parents=True, exist_ok=True)
            except FileNotFoundError:
                continue
            return
        raise HarnessFailure(f"{self.path}: could not be created")

    def join(self) -> None:
        """Move the calling process into it."""
        (self.path / "cgroup.procs").write_text("0")

    def tree(self) -> Iterator[Cgroup]:
        """This group and all below it, from the top."""
        for folder, _, _ in os.walk(self.path):
            yield Cgroup(Path(folder), self.version)

    def pids(self) -> list[int]:
        """All processes in it and below it; 0 stands for one outside our pid namespace."""
        found: list[int] = []
        for group in self.tree():
            try:
                found += map(int, (group.path / "cgroup.procs").read_text().split())
            except OSError:  # removed meanwhile, by its own owner
                continue
        return found

    def freeze(self) -> None:
        """Stop every process in it; return when they stand still."""
        self._set_frozen(True)

    def thaw(self) -> None:
        """Let every process in it go on."""
        self._set_frozen(False)

    def kill(self, timeout_s: float = 10.0) -> None:
        """Thaw, kill and wait until no process is left."""
        deadline = time.monotonic() + timeout_s
        while self.path.exists():
            for group in self.tree():
                group._request_frozen(False)
            if not (pids := self.pids()):
                return
            try:
                (self.path / "cgroup.kill").write_text("1")
            except OSError:  # version 1, or a kernel before 5.14
                for pid in filter(None, pids):  # kill(0) would hit our own process group
                    with suppress(OSError):
                        os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise HarnessFailure(f"{self.path}: processes {pids} survive SIGKILL")
            time.sleep(0.002)

    def remove(self, timeout_s: float = 10.0) -> None:
        """Remove the folders of it and of all below it (it must be empty)."""
        deadline = time.monotonic() + timeout_s
        for group in reversed(list(self.tree())):
            while group.path.exists():
                try:
                    group.path.rmdir()
                except OSError as error:  # busy until the last zombie is reaped
                    if time.monotonic() > deadline:
                        raise HarnessFailure(f"{group.path}: {error.strerror}") from error
                    time.sleep(0.002)
        with suppress(OSError):
            self.path.parent.rmdir()  # the last lab takes ``seatrial`` with it

    def _set_frozen(self, frozen: bool, timeout_s: float = 10.0) -> None:
        self._request_frozen(frozen)
        deadline = time.monotonic() + timeout_s
        while self._frozen() != frozen:
            if time.monotonic() > deadline:
                raise HarnessFailure(f"{self.path}: did not {'freeze' if frozen else 'thaw'}")
            time.sleep(0.001)

    def _request_frozen(self, frozen: bool) -> None:
        name, value = (("cgroup.freeze", str(int(frozen))) if self.version == 2
                       else ("freezer.state", "FROZEN" if frozen else "THAWED"))
        with suppress(OSError):
            (self.path / name).write_text(value)

    def _frozen(self) -> bool:
        if self.version == 2:
            return "frozen 1" in (self.path / "cgroup.events").read_text()
        return (self.path / "freezer.state").read_text().strip() == "FROZEN"


def leftovers() -> list[str]:
    """Names of labs that have control groups, in any hierarchy."""
    return sorted({folder.name for where in hierarchies()
                   for folder in (where.mount / TOP).glob("*") if folder.is_dir()})
