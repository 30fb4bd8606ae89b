"""Running ``seatrial`` as a user does, and seeing that it leaves nothing behind."""
from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seatrial.checker import CheckerError, History
from seatrial.harness.hosts import state
from seatrial.harness.hosts.state import Condition

from ..harness.machine import assert_as_before, machine_state

COMMAND = [sys.executable, "-m", "seatrial.harness"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
PATIENCE_S = 120.0
SMALL = """\
name: small
system: {name: node, options: {heartbeat_ms: 60, election_ms: 300}}
topology: {nodes: 3}
workload:
  name: register
  options: {keys_at_a_time: 3, ops_per_key: 100}
clients: 6
rate: 200
op_timeout: 2
time_limit: 10
faults: {names: [kill, partition-leader], duration: 1.5, gap: 0.7, targets: [one]}
coverage: {min_ok: 300, min_faults: 2}
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line on stderr that is not progress; a second one fails the test."""
        lines = [line for line in self.err.splitlines() if line.startswith("seatrial: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err, self.err
        return lines[0]


def seatrial(*arguments: str | Path, before: Sequence[str] = (), limit_s: float = PATIENCE_S * 2,
             **options: Any) -> Ended:
    """Run a command to its end. ``before``: a command that becomes it."""
    done = subprocess.run([*before, *COMMAND, *map(str, arguments)], env=ENVIRONMENT,
                          capture_output=True, text=True, check=False, timeout=limit_s, **options)
    return Ended(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Going:
    """A command that runs."""

    process: subprocess.Popen[str]

    def lab(self) -> str:
        """Return the lab that it owns, once it has one."""
        self.wait_for(lambda: bool(self._labs()))
        return self._labs()[0]

    def _labs(self) -> list[str]:
        known = [(name, state.read(name)) for name in state.names()]
        return [name for name, lab in known if lab and lab.owner.pid == self.process.pid]

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Return once a condition holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, "the condition never held"
            time.sleep(0.05)

    def end(self) -> Ended:
        """Wait for its end."""
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return Ended(self.process.returncode, out, err)


@contextmanager
def going(*arguments: str | Path) -> Iterator[Going]:
    """Start a command; kill it at the end if it still runs."""
    process = subprocess.Popen([*COMMAND, *map(str, arguments)], env=ENVIRONMENT, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield Going(process)
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=PATIENCE_S)
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()


@contextmanager
def nothing_left(*labs: str) -> Iterator[None]:
    """Fail if something is left on the machine: of these labs, or of any that is dead."""
    before, known = machine_state(labs), set(state.names())
    yield
    assert_as_before(before, labs)
    dead = [name for name in set(state.names()) - known
            if state.condition(name) is Condition.DEAD]
    assert dead == []


def results(store: Path) -> dict[str, Any]:
    """Return the newest run's results."""
    path = store / "latest" / "results.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def recorded(store: Path) -> History | None:
    """Return what the newest run has recorded so far."""
    path = store / "latest" / "history.arrow"
    try:
        return History.read(path)
    except CheckerError:
        return None


def in_force(store: Path) -> bool:
    """Return whether the newest run has a fault in force."""
    history = recorded(store)
    if history is None:
        return False
    phases = [value["phase"] for value in map(history.value, range(len(history)))
              if isinstance(value, dict) and "phase" in value]
    return phases[-1:] == ["effective"]
