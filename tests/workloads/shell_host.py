"""A host that is this machine's own shell: enough for what only needs commands and files."""
from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from seatrial.harness.errors import HarnessFailure
from seatrial.harness.protocols import Result


class ShellHost:
    """Runs commands here, unprivileged paths only; the tests give it folders of their own."""

    def __init__(self, name: str = "n1", index: int = 0) -> None:
        self.name = name
        self.index = index
        self.ipv4 = "127.0.0.1"
        self.ipv6: str | None = None
        self.controller = ("127.0.0.1",)
        self.commands: list[tuple[str, ...]] = []

    async def run(
        self, argv: Sequence[str], *, sudo: bool = True, check: bool = True,
        stdin: bytes | None = None, timeout_s: float = 60.0,
    ) -> Result:
        self.commands.append(tuple(argv))
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE)
        out, err = await asyncio.wait_for(process.communicate(stdin), timeout_s)
        assert process.returncode is not None
        result = Result(tuple(argv), process.returncode, out.decode(), err.decode())
        if check and result.code:
            raise HarnessFailure(f"{self.name}: {argv[0]}: exit code {result.code}: "
                                 f"{result.stderr.strip()}")
        return result

    async def put(self, data: bytes | Path, remote: str, *, mode: int = 0o644) -> None:
        path = Path(remote)
        path.write_bytes(data if isinstance(data, bytes) else data.read_bytes())
        path.chmod(mode)

    async def get(self, remote: str, local: Path) -> None:
        local.write_bytes(Path(remote).read_bytes())

    async def read(self, remote: str) -> bytes:
        return Path(remote).read_bytes()
