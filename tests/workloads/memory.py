"""A key-value system in memory, for tests of workloads: linearizable, and it does as it is told."""
from __future__ import annotations

from collections.abc import Callable

from seatrial.workloads.keyvalue import Answer, Mismatch

Trouble = Callable[[str], Exception | None]


class Memory:
    """The system. trouble: asked before each operation for an exception to raise."""

    name = "memory"

    def __init__(self, trouble: Trouble = lambda f: None) -> None:
        self.data: dict[bytes, bytes] = {}
        self.trouble = trouble
        self.rindex = 0

    async def connect(self, test: object, node: int, process: int) -> Connected:
        return Connected(self, node)


class Connected:
    """A connection."""

    def __init__(self, system: Memory, node: int) -> None:
        self.system = system
        self.node = node
        self.closed = False

    def _answer(self, f: str, value: bytes | None = None) -> Answer:
        error = self.system.trouble(f)
        if error is not None:
            raise error
        self.system.rindex += 1
        return Answer(value, self.node, self.system.rindex, 0, 7)

    async def read(self, key: bytes) -> Answer:
        return self._answer("read", self.system.data.get(key))

    async def write(self, key: bytes, value: bytes) -> Answer:
        answer = self._answer("write")
        self.system.data[key] = value
        return answer

    async def cas(self, key: bytes, expected: bytes | None, value: bytes) -> Answer:
        answer = self._answer("cas", self.system.data.get(key))
        if answer.value != expected:
            raise Mismatch(answer)
        self.system.data[key] = value
        return Answer(None, answer.node, answer.rindex, answer.epoch, answer.term)

    async def close(self) -> None:
        self.closed = True


