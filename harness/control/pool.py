"""A host's connections: few, kept, shared by at most a few commands each.

sshd allows ten channels a connection by default and throttles connections that come in a
crowd, so a host gets up to ``MAX_SESSIONS`` connections of ``MAX_CHANNELS`` channels; more
commands at a time wait for one to end. A broken connection is replaced when it is next needed,
and a command that had certainly not started is tried once more on the new one.
"""
from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from ..errors import HarnessFailure
from .session import Lost, Session
from .target import Target

MAX_SESSIONS = 3
MAX_CHANNELS = 5

T = TypeVar("T")


class Pool:
    """Connections to one host. Blocking, for use from threads."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._sessions: list[Session] = []
        self._free = threading.Condition()
        self._connecting = threading.Lock()
        self._closed = False

    def use(self, body: Callable[[Session], T], timeout_s: float) -> T:
        """Call ``body`` with a connection; once more where the first was found broken."""
        try:
            with self._borrowed(timeout_s) as session:
                return body(session)
        except Lost as lost:
            if lost.started or session.usable:
                raise
        with self._borrowed(timeout_s) as session:
            return body(session)

    def close(self) -> None:
        """End all connections for good; commands that run in them fail."""
        with self._free:
            self._closed = True
        self.hang_up()

    def hang_up(self) -> None:
        """End the connections there are; commands that run in them fail."""
        with self._free:
            sessions, self._sessions = self._sessions, []
            self._free.notify_all()
        for session in sessions:
            session.close()

    @contextmanager
    def _borrowed(self, timeout_s: float) -> Iterator[Session]:
        session = self._take(time.monotonic() + timeout_s)
        try:
            yield session
        finally:
            with self._free:
                session.channels -= 1
                self._free.notify()

    def _take(self, deadline: float) -> Session:
        while True:
            with self._free:
                if self._closed:
                    raise HarnessFailure(f"{self.target.where}: connections were closed")
                if session := self._least_used():
                    session.channels += 1
                    return session
                full = len(self._sessions) >= MAX_SESSIONS
                if full and not self._free.wait(max(0.0, deadline - time.monotonic())):
                    raise HarnessFailure(
                        f"{self.target.where}: busy: {MAX_SESSIONS * MAX_CHANNELS} commands "
                        "run already and none ended in time")
            if not full:
                self._connect_one_more()

    def _least_used(self) -> Session | None:
        for dead in [s for s in self._sessions if not s.usable]:
            self._sessions.remove(dead)
        free = [s for s in self._sessions if s.channels < MAX_CHANNELS]
        return min(free, key=lambda s: s.channels, default=None)

    def _connect_one_more(self) -> None:
        """Connect outside the condition, one at a time; whoever waited looks again first."""
        with self._connecting:
            with self._free:
                if self._closed or self._least_used() or len(self._sessions) >= MAX_SESSIONS:
                    return
            session = Session(self.target)
            with self._free:
                if self._closed:
                    session.close()
                    return
                self._sessions.append(session)
                self._free.notify_all()
