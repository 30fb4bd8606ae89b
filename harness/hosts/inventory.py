"""World of an inventory: hosts that exist already, as an Ansible inventory in YAML names them.

    all:
      vars: {ansible_user: admin}
      hosts:
        a.example: {}
        b: {ansible_host: 10.0.0.2, ansible_port: 2222, seatrial_ipv6: "fd00::2"}

What Ansible's own names say counts here too (``UNDERSTOOD``), and for what is left out the user's
ssh_config, agent, default keys and known_hosts: a jump host is written there. Hosts are made ready
by ansible/site.yml; nothing is installed here. Some names are ours:

| name | says |
|---|---|
| `seatrial_ipv4`, `seatrial_ipv6` | the addresses that nodes use, where they are others |
| `seatrial_clocks` | true: this host's clock may be moved; else clock faults are impossible |
| `seatrial_data_disk` | [device mapper's name, mount point] of a disk that may be made to fail |
| `seatrial_patience` | how many times longer than usual all timeouts are: slow hosts |
| `seatrial_known_hosts` | the file of the only accepted host keys |
| `seatrial_network` | a network namespace to work from: `seatrial up` writes it for its labs |

A sudo password comes from SEATRIAL_SUDO_PASSWORD or `ansible_become_password`.
"""
from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from ..control import SshHost, Target, on_nodes
from ..errors import BadInput, HarnessFailure
from . import kernel
from .keys import CLIENT_KEY, KNOWN_HOSTS
from .labs import LabWorld

UNDERSTOOD = {
    "ansible_host", "ansible_port", "ansible_user", "ansible_ssh_private_key_file",
    "ansible_become_password", "ansible_become", "ansible_python_interpreter", "seatrial_ipv4",
    "seatrial_ipv6", "seatrial_clocks", "seatrial_data_disk", "seatrial_network",
    "seatrial_known_hosts", "seatrial_patience",
}
GROUP_KEYS = {"hosts", "children", "vars"}
SUDO_PASSWORD = "SEATRIAL_SUDO_PASSWORD"
Variables = dict[str, Any]


def is_inventory(world: str) -> bool:
    """Whether ``--on`` names a file rather than a world of ours."""
    return world.endswith((".yml", ".yaml"))


def read(path: Path) -> dict[str, Variables]:
    """Return host name -> variables, in the file's order; BadInput for what can't be understood."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such inventory") from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: {str(error).splitlines()[0]}") from None
    if not isinstance(data, dict) or not data:
        raise BadInput(f"{path}: expected groups of hosts, as in 'all: {{hosts: {{n1: {{}}}}}}'")
    found: dict[str, Variables] = {}
    for name, group in data.items():
        for host, variables in _hosts(path, str(name), group, {}):
            found[host] = {**found.get(host, {}), **variables}
    if not found:
        raise BadInput(f"{path}: no hosts in it")
    for host, variables in found.items():
        for key in sorted(variables.keys() - UNDERSTOOD):
            if key.startswith("seatrial_"):
                raise BadInput(f"{path}: {host}: unknown {key}; expected one of "
                               + ", ".join(sorted(k for k in UNDERSTOOD if k.startswith("sea"))))
    return found


def _hosts(path: Path, name: str, group: Any, above: Variables) -> Iterator[tuple[str, Variables]]:
    """Yield a group's hosts and those of its children, with what their groups say."""
    if group is None:
        return
    if not isinstance(group, dict) or group.keys() - GROUP_KEYS:
        raise BadInput(f"{path}: {name}: expected {', '.join(sorted(GROUP_KEYS))}")
    for key in GROUP_KEYS:
        if not isinstance(group.get(key) or {}, dict):
            raise BadInput(f"{path}: {name}.{key}: expected a mapping")
    here = {**above, **(group.get("vars") or {})}
    for host, variables in (group.get("hosts") or {}).items():
        if variables is not None and not isinstance(variables, dict):
            raise BadInput(f"{path}: {name}.hosts.{host}: expected variables, got {variables!r}")
        yield str(host), {**here, **(variables or {})}
    for child, below in (group.get("children") or {}).items():
        yield from _hosts(path, f"{name}.{child}", below, here)


class InventoryWorld:
    """A ``protocols.World`` of hosts that exist already: the first ``nodes`` of an inventory."""

    name = "inventory"

    def __init__(self, path: Path, nodes: int | None = None) -> None:
        found = read(path)
        if nodes is not None and len(found) < nodes:
            raise BadInput(f"{path}: has {len(found)} hosts, but the test asks for {nodes} "
                           "(topology.nodes)")
        chosen = dict(list(found.items())[:nodes])
        self.stretch = max(_patience(path, name, of) for name, of in chosen.items())
        self._threads = ThreadPoolExecutor(4 * len(chosen), "ssh")
        self.hosts: Sequence[SshHost] = [
            self._host(path, index, name, of) for index, (name, of) in enumerate(chosen.items())]
        self.pools: Mapping[str, tuple[str, str | None]] = {}
        self.clocks = all(of.get("seatrial_clocks") is True for of in chosen.values())
        disks = [of.get("seatrial_data_disk") for of in chosen.values()]
        self.disk = tuple(disks[0]) if disks[0] and disks.count(disks[0]) == len(disks) else None

    @staticmethod
    def enter(path: Path) -> None:
        """Move this process to the network that the inventory is reached from, if it names one.
        It must have no other threads yet."""
        for variables in read(path).values():
            if network := variables.get("seatrial_network"):
                try:
                    kernel.setns(network, kernel.CLONE_NEWNET)
                except OSError as error:
                    raise HarnessFailure(f"{path}: seatrial_network {network}: {error.strerror}; "
                                         "is its lab still up?") from error
                return

    async def up(self) -> None:
        """Return when each host answers, as root, and it is known where it sees us."""
        await on_nodes(self.hosts, self._meet)

    async def down(self) -> None:
        """Hang up: the hosts are not ours."""
        self.close()

    def close(self) -> None:
        """End the connections and the threads that serve them."""
        for host in self.hosts:
            host.close()
        self._threads.shutdown()

    async def _meet(self, host: SshHost) -> None:
        seen = await host.run(["sh", "-c", "echo $SSH_CONNECTION"], sudo=False)
        host.controller = tuple(seen.stdout.split()[:1])
        await host.run(["true"])

    def _host(self, path: Path, index: int, name: str, of: Variables) -> SshHost:
        address = str(of.get("ansible_host", name))
        key, known = of.get("ansible_ssh_private_key_file"), of.get("seatrial_known_hosts")
        try:
            port = int(of["ansible_port"]) if "ansible_port" in of else None
        except (TypeError, ValueError):
            raise BadInput(f"{path}: {name}: ansible_port: expected a number, "
                           f"got {of['ansible_port']!r}") from None
        target = Target(
            name=name, address=address, port=port, user=of.get("ansible_user"),
            key=Path(key).expanduser() if key else None,
            known_hosts=Path(known).expanduser() if known else None,
            ssh_config=not known,
            sudo_password=os.environ.get(SUDO_PASSWORD) or of.get("ansible_become_password"))
        return SshHost(target, self._threads, index=index, patience=self.stretch,
                       ipv4=self._ipv4(path, name, of, address), ipv6=_ipv6(path, name, of))

    @staticmethod
    def _ipv4(path: Path, name: str, of: Variables, address: str) -> str:
        """Return the host's IPv4 address: given, or what its name means here."""
        given = str(of.get("seatrial_ipv4", address))
        try:
            return str(ipaddress.IPv4Address(given))
        except ValueError:
            pass
        try:
            return str(socket.getaddrinfo(given, None, socket.AF_INET)[0][4][0])
        except OSError:
            raise BadInput(f"{path}: {name}: {given!r} has no IPv4 address; give "
                           "seatrial_ipv4") from None


def _ipv6(path: Path, name: str, of: Variables) -> str | None:
    if of.get("seatrial_ipv6") is None:
        return None
    try:
        return str(ipaddress.IPv6Address(str(of["seatrial_ipv6"])))
    except ValueError:
        raise BadInput(f"{path}: {name}: seatrial_ipv6: expected an IPv6 address, "
                       f"got {of['seatrial_ipv6']!r}") from None


def _patience(path: Path, name: str, of: Variables) -> float:
    given = of.get("seatrial_patience", 1.0)
    if isinstance(given, bool) or not isinstance(given, int | float) or not 1 <= given <= 100:
        raise BadInput(f"{path}: {name}: seatrial_patience: expected a number from 1 to 100, "
                       f"got {given!r}")
    return float(given)


def write(path: Path, hosts: Sequence[Any], **variables: Any) -> None:
    """Write an inventory of hosts of ours, for Ansible and for ``--on``."""
    data = {"all": {"vars": variables, "hosts": {
        host.name: {"ansible_host": host.ipv4, "seatrial_ipv6": host.ipv6} for host in hosts}}}
    path.write_text(yaml.safe_dump(data, sort_keys=False))


def write_lab(world: LabWorld) -> Path:
    """Write the hosts of a lab of this process beside its keys; return the file."""
    folder = world.lab.folder
    path = folder / "inventory.yml"
    own = {"seatrial_clocks": True, "seatrial_data_disk": list(world.disk),
           "seatrial_patience": world.stretch} if world.disk else {}
    write(path, world.hosts, ansible_user="root",
          ansible_ssh_private_key_file=str(folder / CLIENT_KEY),
          ansible_python_interpreter="/usr/bin/python3",
          ansible_ssh_common_args=f"-o UserKnownHostsFile={folder / KNOWN_HOSTS}",
          seatrial_known_hosts=str(folder / KNOWN_HOSTS), seatrial_network=world.lab.control,
          **own)
    return path
