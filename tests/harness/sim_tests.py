"""Small test files for the simulated world, and workloads that misbehave in it."""
from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from seatrial.harness.launch import SIM, Plan, Request, plan

SMALL = """\
name: small
topology: {nodes: 3}
system: {name: node, options: {heartbeat_ms: 50, election_ms: 300}}
workload: {name: register, options: {keys_at_a_time: 2, ops_per_key: 40}}
clients: 4
rate: 100
op_timeout: 1
time_limit: 4
faults: {names: [kill, partition-one], duration: 0.5, gap: 0.3}
coverage: {min_ok: 100, min_faults: 1}
"""

FAULTS = "faults: {names: [kill, partition-one], duration: 0.5, gap: 0.3}\n"
CALM = SMALL.replace(FAULTS, "").replace(", min_faults: 1", "")


def with_workload(text: str, module: str) -> str:
    """Return a test file with ``Workload`` of a module instead of the register."""
    line = next(line for line in text.splitlines() if line.startswith("workload:"))
    return text.replace(line, f"workload: {{name: '{module}:Workload'}}")


def written(folder: Path, text: str) -> Path:
    """Write a test file."""
    path = folder / "test.yml"
    path.write_text(text)
    return path


def request(folder: Path, text: str, **overrides: Any) -> Request:
    """Return a request to simulate a test file that is written there."""
    return Request(written(folder, text), folder / "store", world=SIM, overrides=overrides)


def planned(folder: Path, text: str, seed: int = 1) -> Plan:
    """Return the plan of a seed."""
    return plan(request(folder, text).seeded(seed))


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a process that imports what this one does."""
    path = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path if entry)
    return {**os.environ, "PYTHONPATH": path, **more}


MODULE = '''\
"""A register workload with a twist."""
import asyncio
import os
import signal
import time

from seatrial.checker import CheckResult, Verdict
from seatrial.core.errors import InvariantViolation
from seatrial.harness.sim.hosts import world_of
from seatrial.workloads.register import RegisterOptions, RegisterWorkload


class Client:
    def __init__(self, inner):
        self.inner = inner

    async def open(self, test, node, process):
        return Client(await self.inner.open(test, node, process))

    async def invoke(self, test, op):
        await twist(test, op)
        return await self.inner.invoke(test, op)

    async def close(self):
        await self.inner.close()


class Workload(RegisterWorkload):
    Options = RegisterOptions

    def __init__(self, options):
        super().__init__(RegisterOptions(keys_at_a_time=2, ops_per_key=40))

    def client(self, test):
        return Client(super().client(test))


%s
'''


def module(folder: Path, monkeypatch: Any, name: str, twist: str) -> str:
    """Write a module with a workload whose clients first do ``twist(test, op)``; return its name.

    Worker processes find it, too: they get the path of this process.
    """
    (folder / f"{name}.py").write_text(MODULE % twist)
    monkeypatch.syspath_prepend(str(folder))
    return name
