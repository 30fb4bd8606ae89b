"""The node on one host: files, process, and nothing that does not go through ``Host``.

::

    /opt/seatrial/<digest>/    the unpacked wheels; stays for the next run on kept hosts
    <home>/node.yml, *.key     configuration; keys readable by root alone
    <home>/data/               the log; on the host's real disk, so that fsync means something
    <home>/node.log, node.pid  what it said; which process it is

Wheels are installed by unpacking them (that is what a wheel is for): a bare Debian has
neither pip nor venv, and five hosts are ready in the time pip takes to start.

A pid file may outlive its process and the number may be given to another one, so a pid counts
only while its command line names our node.yml.
"""
from __future__ import annotations

from seatrial.harness.errors import HarnessFailure
from seatrial.harness.protocols import Host

from .wheelhouse import Wheelhouse

SITES = "/opt/seatrial"
PYTHON = "/usr/bin/python3"
START_TIMEOUT_S = 20
INSTALL_TIMEOUT_S = 300     # a virtual machine without KVM on a busy machine

PROBE = """
import platform
print(*platform.python_version_tuple()[:2], platform.machine(), sep=" ")
"""
INSTALL = """
import io, os, shutil, sys, tarfile, zipfile
archive, site = sys.argv[1:]
part = site + ".part"
shutil.rmtree(part, ignore_errors=True)
with tarfile.open(archive) as wheels:
    for member in wheels:
        zipfile.ZipFile(io.BytesIO(wheels.extractfile(member).read())).extractall(part)
os.rename(part, site)
os.unlink(archive)
"""
# $1: home. Sets pid to the node's process, empty when it does not run.
FIND = """
set -u
pid=$(cat "$1/node.pid" 2>/dev/null) || pid=
[ -n "$pid" ] && tr '\\0' '\\n' <"/proc/$pid/cmdline" 2>/dev/null |
    grep -qxF "$1/node.yml" || pid=
"""
# $1 home, $2 site, $3 python
START = FIND + """
[ -z "$pid" ] || exit 0
rm -f "$1/node.pid"
PYTHONPATH=$2 setsid sh -c 'echo $$ >"$1/node.pid"; shift; exec "$@"' sh "$1" \\
    "$3" -s -m seatrial.core serve --config "$1/node.yml" </dev/null >>"$1/node.log" 2>&1 &
while [ ! -s "$1/node.pid" ]; do sleep 0.01; done
"""
KILL = FIND + """
[ -n "$pid" ] || exit 0
kill -9 "$pid"
while kill -0 "$pid" 2>/dev/null && ! grep -q '^State:.*Z' "/proc/$pid/status" 2>/dev/null
do sleep 0.01; done
"""
PIDS = FIND + 'echo "$pid"\n'


class Deployment:
    """Where the node of one run lives on a host, and what can be done with it there."""

    def __init__(self, home: str, wheelhouse: Wheelhouse) -> None:
        self.home = home
        self.wheelhouse = wheelhouse
        self.site = f"{SITES}/{wheelhouse.digest}"

    @property
    def log(self) -> str:
        """The node's log on the host."""
        return f"{self.home}/node.log"

    async def install(self, host: Host, *, compiled: bool = False) -> None:
        """Bring the wheels to a host, unless an earlier run did. compiled: to bytecode as well, and
        started once to see that it starts."""
        found = await host.run(["test", "-d", self.site], check=False)
        if found.code == 0:
            return
        await self._check_python(host)
        archive = f"{self.site}.tar"
        await host.run(["mkdir", "-p", SITES])
        await host.put(self.wheelhouse.archive, archive)
        await host.run([PYTHON, "-c", INSTALL, archive, self.site], timeout_s=INSTALL_TIMEOUT_S)
        if compiled:
            for words in (["compileall", "-q"], ["seatrial.core", "serve", "--help"]):
                last = [self.site] if words[0] == "compileall" else []
                await host.run(["env", f"PYTHONPATH={self.site}", PYTHON, "-s", "-m", *words,
                                *last],
                               check=False, timeout_s=INSTALL_TIMEOUT_S)

    async def _check_python(self, host: Host) -> None:
        """Refuse a host that could not load the wheels, before it fails in a strange way."""
        probe = await host.run([PYTHON, "-c", PROBE], check=False)
        major, _, rest = probe.stdout.strip().partition(" ")
        wanted = f"{self.wheelhouse.python} on {self.wheelhouse.machine}"
        found = f"{major}.{rest.replace(' ', ' on ', 1)}" if probe.code == 0 else "none"
        if found != wanted:
            raise HarnessFailure(
                f"{host.name}: {PYTHON} is {found}, but the node was built for Python {wanted}: "
                "run the harness with the Python that the hosts have"
            )

    async def configure(self, host: Host, config: str | None, keys: dict[str, bytes]) -> None:
        """Stop what an earlier run left, and write configuration and keys into a new home.

        Without a configuration there is no node yet, but all that one needs.
        """
        await self.remove(host)
        await host.run(["mkdir", "-p", "-m", "0700", self.home])
        if config is not None:
            await host.put(config.encode(), f"{self.home}/node.yml", mode=0o600)
        for role, key in keys.items():
            await host.put(key, f"{self.home}/{role}.key", mode=0o600)

    async def start(self, host: Host) -> None:
        """Start the node as a daemon; no-op when it runs. It need not serve yet."""
        await self._script(host, START, self.home, self.site, PYTHON)

    async def kill(self, host: Host) -> None:
        """kill -9; return when the process is gone."""
        await self._script(host, KILL, self.home)

    async def pids(self, host: Host) -> list[int]:
        """Return the node's pid on the host; empty when it does not run."""
        answer = await self._script(host, PIDS, self.home)
        return [int(pid) for pid in answer.split()]

    async def last_words(self, host: Host) -> str:
        """Return the last line of the node's log, which says why it ended."""
        tail = await host.run(["tail", "-n", "1", self.log], check=False)
        return tail.stdout.strip() or "its log is empty"

    async def remove(self, host: Host) -> None:
        """Kill the node and remove its home."""
        await self.kill(host)
        await host.run(["rm", "-rf", "--", self.home])

    async def _script(self, host: Host, script: str, *arguments: str) -> str:
        argv = ["sh", "-c", script, "seatrial", *arguments]
        return (await host.run(argv, timeout_s=START_TIMEOUT_S)).stdout
