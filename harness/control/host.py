"""``Host`` over SSH: the async face of a pool of blocking connections.

SSH runs in a thread pool, because paramiko blocks; a cancelled call leaves its command running
on the host until the command's own time limit (closing the host ends all at once).

Files travel through ``cat`` in an ordinary command, not SFTP: it works under sudo, needs no
second channel, and is one round trip. An upload is written beside its target, compared by
size (a lost connection looks like end of file to ``cat``), then renamed.
"""
from __future__ import annotations

import asyncio
import io
import secrets
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import BinaryIO, TypeVar

from ..errors import HarnessFailure
from ..protocols import Host, Result
from . import sudo as by_sudo
from .pool import Pool
from .quoting import shorten
from .session import Session
from .target import Target

FILE_TIMEOUT_S = 600.0
UPLOAD = """\
umask 077
trap 'rm -f -- "$2"' EXIT
cat > "$2" || exit
if [ "$(wc -c < "$2")" -ne "$3" ]; then
  echo "upload of $1 was cut short" >&2
  exit 1
fi
chmod -- "$4" "$2" && mv -fT -- "$2" "$1"
"""

H = TypeVar("H", bound=Host)
R = TypeVar("R")


class SshHost:
    """A ``protocols.Host``. threads: where its blocking calls run (shared among hosts).

    patience: how many times longer than usual a command may take, because the host is slow.
    """

    def __init__(
        self, target: Target, threads: Executor, *, index: int = 0, ipv4: str = "",
        ipv6: str | None = None, controller: tuple[str, ...] = (), patience: float = 1.0,
    ) -> None:
        self.target = target
        self.name = target.name
        self.index = index
        self.ipv4 = ipv4 or target.address
        self.ipv6 = ipv6
        self.controller = controller
        self._threads = threads
        self.patience = patience
        self._pool = Pool(target)

    def __repr__(self) -> str:
        return f"<host {self.target.where}>"

    async def run(
        self, argv: Sequence[str], *, sudo: bool = True, check: bool = True,
        stdin: bytes | None = None, timeout_s: float = 60.0,
    ) -> Result:
        """Run one command (see ``protocols.Host``)."""
        out = bytearray()
        code, stderr = await self._execute(argv, sudo, io.BytesIO(stdin or b""), out.extend,
                                           timeout_s)
        result = Result(tuple(argv), code, out.decode("utf-8", "replace"), stderr)
        if check:
            self._expect_success(result)
        return result

    async def put(self, data: bytes | Path, remote: str, *, mode: int = 0o644,
                  sudo: bool = True) -> None:
        """Write a file on the host: whole, then renamed."""
        part = f"{remote}.{secrets.token_hex(4)}.part"
        with io.BytesIO(data) if isinstance(data, bytes) else data.open("rb") as source:
            size = source.seek(0, io.SEEK_END)
            source.seek(0)
            argv = ["sh", "-c", UPLOAD, "sh", remote, part, str(size), f"{mode:o}"]
            code, stderr = await self._execute(argv, sudo, source, _nothing, FILE_TIMEOUT_S)
        self._expect_success(Result(("put", remote), code, "", stderr))

    async def get(self, remote: str, local: Path, *, sudo: bool = True) -> None:
        """Fetch a file: whole, then renamed."""
        part = local.with_name(f"{local.name}.{secrets.token_hex(4)}.part")
        try:
            with part.open("wb") as sink:
                await self._cat(remote, sink.write, sudo)
            part.rename(local)
        finally:
            part.unlink(missing_ok=True)

    async def read(self, remote: str, *, sudo: bool = True) -> bytes:
        """Return a file's content."""
        out = bytearray()
        await self._cat(remote, out.extend, sudo)
        return bytes(out)

    def hang_up(self) -> None:
        """End its connections, as before its power goes; the next command makes a new one."""
        self._pool.hang_up()

    def close(self) -> None:
        """End its connections."""
        self._pool.close()

    async def _cat(self, remote: str, sink: Callable[[bytes], object], sudo: bool) -> None:
        argv = ["cat", "--", remote]
        code, stderr = await self._execute(argv, sudo, io.BytesIO(), sink, FILE_TIMEOUT_S)
        self._expect_success(Result(("get", remote), code, "", stderr))

    async def _execute(
        self, argv: Sequence[str], sudo: bool, stdin: BinaryIO,
        stdout: Callable[[bytes], object], timeout_s: float,
    ) -> tuple[int, str]:
        """Run in a thread; return exit code and stderr."""
        timeout_s *= self.patience
        def body(session: Session) -> tuple[int, bytes]:
            stdin.seek(0)  # this may be the second connection that is tried
            if not sudo or session.user == "root":
                return session.execute(argv, stdin=stdin, stdout=stdout, timeout_s=timeout_s)
            password = self.target.sudo_password
            command, first = by_sudo.wrap(argv, password)
            source = io.BytesIO(first + stdin.read()) if first else stdin
            code, raw = session.execute(command, stdin=source, stdout=stdout,
                                        timeout_s=timeout_s)
            said, stderr = by_sudo.split_stderr(raw)
            if stderr is None:
                raise HarnessFailure(
                    f"{self.target.where}: sudo refused user {session.user}: expected "
                    f"{'the right password' if password else 'sudo without a password'} "
                    f"({_last_line(said.decode('utf-8', 'replace'))})")
            return code, stderr

        loop = asyncio.get_running_loop()
        code, stderr = await loop.run_in_executor(self._threads,
                                                  lambda: self._pool.use(body, timeout_s))
        return code, stderr.decode("utf-8", "replace")

    def _expect_success(self, result: Result) -> None:
        if result.code != 0:
            raise HarnessFailure(f"{self.target.where}: '{shorten(result.argv)}' ended with "
                                 f"{result.code}: {_last_line(result.stderr) or 'no message'}")


async def on_nodes(
    hosts: Sequence[H], body: Callable[[H], Awaitable[R]],
) -> dict[str, R]:
    """Call ``body`` on all hosts at once; return host name -> result.

    All are waited for, so that nothing runs on unseen after a failure; then the first failure
    is raised.
    """
    results = await asyncio.gather(*map(body, hosts), return_exceptions=True)
    found = {}
    for host, result in zip(hosts, results, strict=True):
        if isinstance(result, BaseException):
            raise result
        found[host.name] = result
    return found


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""


def _nothing(_: bytes) -> None:
    """Output nobody asked for."""
