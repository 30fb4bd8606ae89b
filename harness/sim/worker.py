"""A process that runs seeds of one test, one after the other, for a parent that has many of them.

::

    parent                                     python -m seatrial.harness.sim.worker
    Setup      -- a line of JSON -- stdin -->  imports everything once
    Task       -- a line each ------------->   runs the seed
    Reply      <-- a line each -- stdout ---   how it ended
    closes stdin, or dies ------------------>  ends after the seed it is at

The child is a fresh interpreter, because what it imports may differ: its path may begin with the
node's build that holds planted bugs. Whatever is printed in it goes to stderr. In a batch it
is in a process group of its own, so that a ^C reaches the parent alone.
"""
from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import traceback
from collections import deque
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from ..errors import BadInput, HarnessFailure, SeatrialError
from ..launch import SIM, Request, plan
from ..results import COMMIT, commit
from .answer import Answer, answer
from .run import run
from .simulation import Simulation

END_S = 5.0             # how long a child may take to end before it is killed
READ_BYTES = 1 << 16


class Setup(msgspec.Struct, frozen=True):
    """What all tasks of a worker have in common. overrides: option -> (the key's path, value).

    alone: it is the only worker, shows its progress and hears ^C.
    """

    file: str
    store: str
    overrides: dict[str, tuple[list[str | int], Any]]
    alone: bool

    @classmethod
    def of(cls, request: Request, *, alone: bool) -> Setup:
        """Return what a worker must know of a request."""
        overrides = {option: (list(at), value)
                     for option, (at, value) in request.overrides.items()}
        return cls(str(request.file), str(request.store), overrides, alone)

    def request(self) -> Request:
        """Return the request."""
        overrides = {option: (tuple(at), value) for option, (at, value) in self.overrides.items()}
        return Request(Path(self.file), Path(self.store), world=SIM, overrides=overrides)


class Task(msgspec.Struct, frozen=True):
    """One seed. keep: with a folder of its own."""

    seed: int
    keep: bool = False


class Reply(msgspec.Struct, omit_defaults=True):
    """An answer; or why there is none, and whether that is the fault of what the user gave."""

    answer: Answer | None = None
    refusal: str = ""
    bad_input: bool = False


# ---- the parent's side


class Ended(Exception):
    """A worker's process is gone: how."""


class Worker:
    """A worker, as its parent sees it. tasks: those without an answer, oldest first."""

    def __init__(self, request: Request, python_path: Path | None, *, alone: bool = False) -> None:
        first = [] if python_path is None else [str(python_path)]
        path = os.pathsep.join([*first, *filter(None, sys.path)])
        self.tasks: deque[Task] = deque()
        self._input = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path, COMMIT: commit()}, bufsize=0,
            process_group=None if alone else 0)                 # where no ^C reaches it
        self._send(Setup.of(request, alone=alone))

    def fileno(self) -> int:
        """Return what becomes readable when there is an answer."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def give(self, task: Task) -> None:
        """Hand it a task; it does one after the other."""
        self.tasks.append(task)
        self._send(task)

    def answers(self) -> list[tuple[Task, Answer]]:
        """Wait for something to read; return the answers that are whole now.

        Raises Ended when there will be no more, BadInput or HarnessFailure when it refuses.
        """
        data = os.read(self.fileno(), READ_BYTES)
        if not data:
            raise Ended(how_ended(self._process.wait()))
        *lines, self._input = (self._input + data).split(b"\n")
        found = []
        for line in lines:
            said = msgspec.json.decode(line, type=Reply)
            if said.answer is None:
                raise (BadInput if said.bad_input else HarnessFailure)(said.refusal)
            found.append((self.tasks.popleft(), said.answer))
        return found

    def end(self) -> None:
        """End it, whatever it does."""
        self._process.terminate()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, message: Setup | Task) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(message) + b"\n")
        except BrokenPipeError:
            return                  # it is gone: whoever reads hears of it


def how_ended(code: int) -> str:
    """Return a process's end in words."""
    return f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"


def run_in_child(request: Request, seed: int, python_path: Path, *, keep: bool = True) -> Answer:
    """Run one seed in a process that imports from there first. keep: with a folder."""
    worker = Worker(request, python_path, alone=True)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)       # the child hears it, too
    try:
        worker.give(Task(seed, keep=keep))
        while not (found := worker.answers()):
            pass
        return found[0][1]
    except Ended as ended:
        raise HarnessFailure(f"the process that ran seed {seed} {ended}") from None
    finally:
        signal.signal(signal.SIGINT, before)
        worker.end()


# ---- the child's side


def main() -> None:
    """Do tasks until stdin ends."""
    with os.fdopen(os.dup(1), "wb", buffering=0) as said:
        os.dup2(2, 1)                                           # prints are no answers
        setup = msgspec.json.decode(sys.stdin.buffer.readline(), type=Setup)
        request = setup.request()
        gc.freeze()                                             # what was imported stays
        for line in sys.stdin.buffer:
            task = msgspec.json.decode(line, type=Task)
            reply = attempt(request, task, alone=setup.alone)
            try:
                said.write(msgspec.json.encode(reply) + b"\n")
            except BrokenPipeError:
                return                      # the parent was killed: nobody wants to know
            gc.collect()


def attempt(request: Request, task: Task, *, alone: bool) -> Reply:
    """Do a task; never raise."""
    try:
        chosen = plan(request.seeded(task.seed))
        if task.keep:
            return Reply(run(chosen, console=None if alone else Console(quiet=True)))
        return Reply(answer(Simulation(chosen).run()))
    except SeatrialError as error:
        return Reply(None, str(error), isinstance(error, BadInput))
    except KeyboardInterrupt:
        return Reply(None, "interrupted")
    except Exception as error:
        traceback.print_exc()
        return Reply(None, f"internal error: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
