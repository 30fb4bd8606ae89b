"""What running nodes say of themselves: asked on their hosts, or over the network.

On a host every process that serves is found by its command line, and asked there by its own
program with its own configuration: keys stay where they are, and nodes that are cut off from each
other are heard all the same. Each question has its time; what did not answer is told in one line.
"""
from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from .control import SshHost
from .errors import BadInput, HarnessFailure
from .protocols import Host
from .topology import Heard

START_S = 10.0                  # to log in and start a program, beside what the node takes
NOBODY = "no node runs there"
# $1: for how many seconds to ask each node
ASK = """
set -u
grep -lzx seatrial.core /proc/[0-9]*/cmdline 2>/dev/null | while read -r file; do
    at=${file%/cmdline}
    words=$(tr '\\0' '\\n' <"$file" 2>/dev/null) || continue
    printf '%s\\n' "$words" | grep -qx serve || continue
    config=$(printf '%s\\n' "$words" | sed -n '/^--config$/{n;p;}')
    python=$(printf '%s\\n' "$words" | head -n 1)
    site=$(tr '\\0' '\\n' <"$at/environ" | sed -n 's/^PYTHONPATH=//p')
    cd "$at/cwd" || continue
    said=$(PYTHONPATH=$site "$python" -s -m seatrial.core status --json --timeout "$1" \\
        --config "$config" 2>&1 </dev/null)
    printf '%s\\n' "$said" | tail -n 1
done
"""


class Hosts(Protocol):
    """A world's hosts, as far as they are logged in to here."""

    hosts: Sequence[SshHost]

    def close(self) -> None:
        """Hang up."""


@contextmanager
def impatient(world: Hosts, timeout_s: float) -> Iterator[list[SshHost]]:
    """Log in to a world's hosts as its own connections do, but don't wait long for one that is
    gone."""
    threads = ThreadPoolExecutor(4 * len(world.hosts), "ask")
    hosts = [SshHost(replace(host.target, connect_timeout_s=timeout_s), threads,
                     index=host.index, ipv4=host.ipv4, ipv6=host.ipv6) for host in world.hosts]
    try:
        yield hosts
    finally:
        for host in hosts:
            host.close()
        threads.shutdown()
        world.close()


async def on_hosts(hosts: Sequence[Host], timeout_s: float) -> Heard:
    """Ask all nodes on these hosts."""
    heard = await asyncio.gather(*(_on_host(host, timeout_s) for host in hosts))
    words: dict[int, Any] = {}
    names: dict[int | str, str] = {}
    silent: dict[str, str] = {}
    for host, said in zip(hosts, heard, strict=True):
        names |= {where: host.name for where in (host.ipv4, host.ipv6) if where}
        for one in said:
            if isinstance(one, str):
                silent[host.name] = one
            else:
                words[int(one["node"])] = one
                names[int(one["node"])] = host.name
    return Heard(words, names, silent)


async def _on_host(host: Host, timeout_s: float) -> list[dict[str, Any] | str]:
    """Return what each node on a host says, or why it does not."""
    try:
        done = await host.run(["sh", "-c", ASK, "seatrial", f"{timeout_s:g}"], check=False,
                              timeout_s=timeout_s + START_S)
    except HarnessFailure as failure:
        return [str(failure)]
    return [parsed(line) for line in done.stdout.splitlines()] or [NOBODY]


def parsed(line: str) -> dict[str, Any] | str:
    """Return a status, or the line that a program said instead of it."""
    try:
        found = json.loads(line)
    except ValueError:
        return line.removeprefix("seatrial: ")
    return found if isinstance(found, dict) and "node" in found else line


def over_network(config: Path, timeout_s: float) -> Heard:
    """Ask every node of the tree that some node's configuration leads to, at its address."""
    done = subprocess.run(
        [sys.executable, "-m", "seatrial.core", "domain", "nodes", "--json", "--config",
         str(config), "--timeout", f"{timeout_s:g}"],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        line = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        failure = BadInput if done.returncode == BadInput.exit_code else HarnessFailure
        raise failure(line.removeprefix("seatrial: "))
    found = json.loads(done.stdout)
    return Heard({int(node): words for node, words in found["nodes"].items()}, {}, found["silent"])
