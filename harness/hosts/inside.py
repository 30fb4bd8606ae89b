"""Running a function inside a lab: in a child process that entered the control namespace.

Clients must send from the lab's network, and a namespace can't be entered by a process that
has threads already; so the parent stays outside, small and in charge, and ``run_inside``
starts a fresh interpreter that enters first and imports afterwards:

    parent                                   child (``python -m`` this module)
    holds the lab's lock                     inherits the lock: in use until both are gone
    pickles (function, arguments) --pipe-->  enters, imports, calls
    waits                       <--pipe----  pickled result, or the exception
    ^C, SIGTERM, SIGHUP --SIGINT-->          KeyboardInterrupt, or asyncio's cancellation
    killed, even by -9  --SIGINT-->          the same (PR_SET_PDEATHSIG)

The child is in a process group of its own, so that a ^C at the terminal reaches it through the
parent only: one SIGINT for each ^C, and the function decides what the first and the second
mean. The function is named (``package.module:function``) rather than passed where its
module is expensive to import: then only the child pays.

The parent removes the lab after the child ended, whatever way it ended.
"""
from __future__ import annotations

import importlib
import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from ..errors import BadInput, HarnessFailure, SeatrialError
from . import kernel, state
from .cgroup import Cgroup
from .lab import Lab

RELAYED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_inside(lab: Lab, function: str | Callable[..., Any], *args: Any) -> Any:
    """Call ``function(*args)`` in a child inside the lab; return its result, raise its error.

    function: ``package.module:name``, or a function that can be pickled by reference.
    args and the result must be picklable. The lab must be running. Main thread only.
    """
    message = pickle.dumps((function, args))
    request_end, request = os.pipe()
    reply, reply_end = os.pipe()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    child = subprocess.Popen(
        [sys.executable, "-m", "seatrial.harness.hosts.inside", lab.name, str(os.getpid()),
         str(request_end), str(reply_end)],
        env=environment, stdin=subprocess.DEVNULL, process_group=0,
        pass_fds=(request_end, reply_end, lab.lock))
    os.close(request_end)
    os.close(reply_end)

    def relay(number: int, frame: FrameType | None) -> None:
        child.send_signal(signal.SIGINT)

    before = {number: signal.signal(number, relay) for number in RELAYED}
    try:
        with suppress(BrokenPipeError), os.fdopen(request, "wb") as sink:
            sink.write(message)
        with os.fdopen(reply, "rb") as source:
            answer = source.read()
        code = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if not answer:
        raise HarnessFailure(f"lab {lab.name}: the process inside ended "
                             + (f"by signal {-code}" if code < 0 else f"with exit code {code}"))
    ok, value = pickle.loads(answer)
    if not ok:
        raise value
    return value


def main(lab: str, parent: int, request: int, reply: int) -> None:
    """The child. It joins the lab's control group, so that ``down`` can end it too."""
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != parent:
        sys.exit(1)  # it died before it could be watched
    signal.signal(signal.SIGINT, signal.default_int_handler)
    Cgroup.of_lab(lab).child("inside").join()
    kernel.setns(state.control(lab), kernel.CLONE_NEWNET)
    with os.fdopen(request, "rb") as pipe:
        function, args = pickle.load(pipe)
    try:
        if isinstance(function, str):
            module, _, name = function.partition(":")
            function = getattr(importlib.import_module(module), name)
        answer = (True, function(*args))
    except KeyboardInterrupt:
        answer = (False, HarnessFailure("interrupted"))
    except SeatrialError as error:  # as its base class, which certainly can be pickled
        kind = BadInput if isinstance(error, BadInput) else HarnessFailure
        answer = (False, kind(str(error)))
    except Exception as error:
        traceback.print_exc()
        answer = (False, HarnessFailure(f"internal error: {type(error).__name__}: {error}"))
    with os.fdopen(reply, "wb") as pipe:
        pickle.dump(answer, pipe)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
