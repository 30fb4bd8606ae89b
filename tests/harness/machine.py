"""What labs could leave behind on the machine, as a value to compare: before = after.

Other labs may live on this machine at the same time (tests run in parallel), so processes,
namespaces, control groups and folders count by the lab they belong to, all else as it is on the
whole machine. What a neighbour does for a moment passes: the comparison is made again until it
holds or time is over.
"""
from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from seatrial.harness.hosts.cgroup import hierarchies

PATIENCE_S = 20.0
IN_LAB = re.compile(r"/seatrial/([^/\n]+)")
State = dict[str, frozenset[str]]


def machine_state(labs: Iterable[str]) -> State:
    """Everything that ``labs`` could leave on the machine."""
    mine = set(labs)
    processes, namespaces = _processes(mine)
    return {
        "processes": processes,
        "namespaces": namespaces,
        "mounts": _lines("cat", "/proc/self/mountinfo"),
        "links": _lines("ip", "-o", "link", fields=2),
        "routes": _lines("ip", "route"),
        "named namespaces": _lines("ip", "netns", "list"),
        "iptables": _lines("iptables", "-S"),
        "ip6tables": _lines("ip6tables", "-S"),
        "loop devices": _lines("losetup", "-l", "-n", "-O", "NAME,BACK-FILE"),
        "control groups": frozenset(
            str(path) for where in hierarchies()
            for path in (where.mount / "seatrial").rglob("*")
            if path.is_dir() and path.relative_to(where.mount / "seatrial").parts[0] in mine),
        "folders": frozenset(
            str(path) for top in ("/run/seatrial", "/var/lib/seatrial")
            for path in Path(top).glob("*") if path.name.strip(".").split(".")[0] in mine),
        "shared memory": frozenset(map(str, Path("/dev/shm").iterdir())),
    }


def assert_as_before(before: State, labs: Iterable[str]) -> None:
    """Assert that nothing is on the machine that was not there before."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        now = machine_state(labs)
        left = {what: sorted(now[what] - before[what]) for what in now if now[what] - before[what]}
        if not left:
            return
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.1)


def _processes(mine: set[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Processes of our labs, found by control group or by what they see mounted, and their
    namespaces beyond the machine's own."""
    own = _namespaces(Path("/proc/self"))
    processes, namespaces = set(), set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            groups = set(IN_LAB.findall((folder / "cgroup").read_text()))
            mounts = set(IN_LAB.findall((folder / "mountinfo").read_text()))
            found = _namespaces(folder)
            command = (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:  # it ended meanwhile, or is a zombie without namespaces
            continue
        if mine & (groups | mounts):
            processes.add(f"{folder.name} {command}")
            namespaces |= found - own
    return frozenset(processes), frozenset(namespaces)


def _namespaces(folder: Path) -> set[str]:
    return {str(link.readlink()) for link in (folder / "ns").iterdir()}


def _lines(*argv: str, fields: int | None = None) -> frozenset[str]:
    """What a system tool prints, as a set of lines (their first ``fields`` words)."""
    output = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    return frozenset(" ".join(line.split()[:fields]) for line in output.splitlines())
