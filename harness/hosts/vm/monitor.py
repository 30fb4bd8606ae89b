"""Talking to QEMU (QMP) and to the agent inside a guest (QGA): JSON, one line each way.

Both are UNIX sockets in the machine's folder, which take one peer at a time: each conversation
connects, says what it has to say and hangs up. Blocking, every step with a time limit.
"""
from __future__ import annotations

import base64
import json
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...errors import HarnessFailure

ANSWER_S = 30.0
POLL_S = 0.05


class Talk:
    """A conversation. who: whom messages blame."""

    def __init__(self, sock: socket.socket, who: str) -> None:
        self._sock = sock
        self._who = who
        self._rest = b""

    def read(self) -> dict[str, Any]:
        """Return the next message."""
        while b"\n" not in self._rest:
            more = self._sock.recv(1 << 16)
            if not more:
                raise HarnessFailure(f"{self._who}: hung up")
            self._rest += more
        line, self._rest = self._rest.split(b"\n", 1)
        found = json.loads(line.lstrip(b"\xff"))
        assert isinstance(found, dict)
        return found

    def call(self, command: str, **arguments: Any) -> Any:
        """Run a command; return its answer. Events that come in between are passed over."""
        message = {"execute": command} | ({"arguments": arguments} if arguments else {})
        self._sock.sendall(json.dumps(message).encode() + b"\n")
        while True:
            answer = self.read()
            if "error" in answer:
                raise HarnessFailure(f"{self._who}: {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]


@contextmanager
def monitor(path: Path, limit_s: float = ANSWER_S) -> Iterator[Talk]:
    """Talk to QEMU itself."""
    with _connected(path, f"{path.parent.name}: QEMU's monitor", limit_s) as talk:
        talk.read()                                             # its greeting
        talk.call("qmp_capabilities")
        yield talk


@contextmanager
def agent(path: Path, limit_s: float) -> Iterator[Talk]:
    """Talk to the agent inside; what an earlier conversation left unread is skipped."""
    with _connected(path, f"{path.parent.name}: the guest's agent", limit_s) as talk:
        token = secrets.randbelow(1 << 31)
        talk._sock.sendall(b"\xff" + json.dumps(
            {"execute": "guest-sync", "arguments": {"id": token}}).encode() + b"\n")
        while talk.read().get("return") != token:
            pass
        yield talk


def run_inside_guest(path: Path, script: str, limit_s: float) -> str:
    """Run a shell script in the guest as root; return its output, raise its complaint."""
    deadline = time.monotonic() + limit_s
    with agent(path, limit_s) as talk:
        pid = talk.call("guest-exec", path="/bin/sh", arg=["-s"],
                        **{"input-data": base64.b64encode(script.encode()).decode(),
                           "capture-output": True})["pid"]
        while not (state := talk.call("guest-exec-status", pid=pid))["exited"]:
            if time.monotonic() > deadline:
                raise HarnessFailure(f"{path.parent.name}: a script in the guest did not end "
                                     f"within {limit_s:g} s")
            time.sleep(POLL_S)
    out, err = (base64.b64decode(state.get(name, "")).decode("utf-8", "replace")
                for name in ("out-data", "err-data"))
    if state.get("exitcode", 1) != 0:
        lines = err.strip().splitlines() or ["no message"]
        raise HarnessFailure(f"{path.parent.name}: a script in the guest failed: {lines[-1]}")
    return out


@contextmanager
def _connected(path: Path, who: str, limit_s: float) -> Iterator[Talk]:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(limit_s)
    with sock:
        try:
            sock.connect(str(path))
            yield Talk(sock, who)
        except TimeoutError as error:
            raise HarnessFailure(f"{who}: no answer within {limit_s:g} s") from error
        except OSError as error:
            raise HarnessFailure(f"{who}: {error.strerror or error}") from error
