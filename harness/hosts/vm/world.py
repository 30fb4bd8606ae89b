"""World ``vm``: a lab of virtual machines, with a kernel, a clock and disks of their own.

    world = VirtualWorld.create(3, machine=Machine(memory_mb=384))     builds the image, if need be
    world.make()                     the network, then copies of the template; each is introduced
    world.power_off("n1")            as when the plug is pulled: what it had not flushed is gone
    world.power_on("n1")             it boots from its disks
    world.freeze("n1")               its processor stands still, and with it its clocks

Machines belong to the lab's control group and network, not to a process: any view may switch
them off and on.
"""
from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import msgspec

from .. import state
from ..cgroup import Cgroup
from ..lab import Lab
from ..labs import LabWorld
from ..plan import VM, Address, Plan, plan
from ..state import DISK, RUN
from . import accelerator, guest, image, prepared, qemu, template
from .guest import DATA, DATA_NAME
from .image import Say
from .machine import Machine
from .monitor import monitor, run_inside_guest
from .prepared import Ready

INTRODUCTION_S = 600.0        # limits only: a machine that ended is noticed at once
ANSWER_S = 60.0             # without KVM a new SSH connection takes seconds on a busy machine


class VirtualWorld(LabWorld):
    """A ``protocols.World`` of virtual machines."""

    name = VM
    clocks = True                           # each has one of its own, which may be moved
    disk = (DATA_NAME, DATA)                # device mapper's name, and where it is mounted
    answer_timeout_s = ANSWER_S

    def __init__(self, plan: Plan, lab: Lab | None, ground: Path | None = None) -> None:
        super().__init__(plan, lab)
        self._ground = ground

    @classmethod
    def create(cls, nodes: int = 3, pools: Iterable[str] = ("clients",), *,
               lab: str | None = None, machine: Machine | None = None,
               ready: Ready | None = None, say: Say | None = None) -> VirtualWorld:
        """Claim a new lab of that shape; first make what its machines start from, if need be.

        ready: what is to be installed on them already (prepared.py).
        """
        state.require_root()
        say = say or _told
        wanted = (machine or Machine()).checked()
        shape = plan(lab or f"run-{secrets.token_hex(4)}", nodes, pools,
                     msgspec.structs.replace(wanted, image=image.digest(),
                                             accelerator=accelerator.chosen(say)))
        assert shape.machine is not None
        owned = Lab.create(shape)
        try:
            ground = template.ensure(shape.machine, owned.cgroup.child("template"), say)
            if ready is not None:
                ground = prepared.ensure(shape.machine, ready, say)
            owned.state.slowness = template.slowness(ground)
            owned.save()
        except BaseException:
            owned.destroy()
            raise
        return cls(shape, owned, ground)

    @property
    def machine(self) -> Machine:
        """What its hosts are."""
        assert self.plan.machine is not None
        return self.plan.machine

    def make(self) -> None:
        """Make the network and the machines; return when each knows who it is."""
        self.lab.start()
        ground = self._ground or template.folder(self.machine)
        self._everywhere(lambda host: self._make(host, ground))

    def freeze(self, host: str) -> None:
        """Stop its processors."""
        with monitor(self.place(host).monitor) as talk:
            talk.call("stop")

    def thaw(self, host: str) -> None:
        """Let them go on. Its clocks are behind by the time that it stood still."""
        with monitor(self.place(host).monitor) as talk:
            talk.call("cont")

    def is_frozen(self, host: str) -> bool:
        """Return whether its processors stand still."""
        with monitor(self.place(host).monitor) as talk:
            return bool(talk.call("query-status")["status"] == "paused")

    def power_off(self, host: str) -> None:
        """Take its power away; return when it has none. Then hang up: a connection that somebody
        made meanwhile would wait for an answer until long after it has booted."""
        qemu.kill(self.place(host))
        self._ssh(host).hang_up()

    def power_on(self, host: str) -> None:
        """Give it power; it boots from its disks. No-op while it has power."""
        place = self.place(host)
        if qemu.running(place) is None:
            qemu.start(place, self._command(host))

    def has_power(self, host: str) -> bool:
        """Return whether it is switched on."""
        return qemu.running(self.place(host)) is not None

    def reset(self, host: str) -> None:
        """Press the reset button: it loses what it held in memory and boots again."""
        with monitor(self.place(host).monitor) as talk:
            talk.call("system_reset")
        self._ssh(host).hang_up()

    def mend(self) -> list[str]:
        """Switch on what is off, thaw what is frozen; return the hosts that needed it."""
        mended = []
        for host in self.plan.hosts:
            if not self.has_power(host.name):
                self.power_on(host.name)
            elif self.is_frozen(host.name):
                self.thaw(host.name)
                self.set_clock(host.name)
            else:
                continue
            mended.append(host.name)
        return mended

    def set_clock(self, host: str) -> None:
        """Set its wall clock to this machine's."""
        run_inside_guest(self.place(host).agent, guest.clock_setting(), INTRODUCTION_S)

    def console(self, host: str) -> Path:
        """The file with what its kernel said."""
        return self.place(host).serial

    def last_words(self, host: str) -> str | None:
        """The last line of the console of a machine without power."""
        return None if self.has_power(host) else template.last_words(self.place(host))

    def place(self, host: str) -> qemu.Place:
        """Where a host's machine lives."""
        group = Cgroup.of_lab(self.plan.lab).child("hosts", host)
        return qemu.Place(DISK / self.plan.lab / host, str(group.path / "cgroup.procs"),
                          state.control(self.plan.lab), host)

    def stop_as_template(self, young: Path) -> None:
        """Stop the first machine for good and put what it is into a folder (template.py)."""
        place = self.place(self.plan.hosts[0].name)
        run_inside_guest(place.agent, guest.FORGETTING, INTRODUCTION_S)
        template.write_memory(place, young / "memory")
        qemu.kill(place)
        for name in qemu.DISKS:
            shutil.copyfile(place.folder / f"{name}.qcow2", young / f"{name}.qcow2")
        (young / "slowness").write_text(f"{self.lab.state.slowness:.1f}\n")

    def _make(self, host: Address, ground: Path) -> None:
        place = self.place(host.name)
        template.copy_disks(ground, place.folder)
        qemu.start(place, self._command(host.name, incoming=True))
        template.read_memory(place, ground / "memory")
        run_inside_guest(place.agent,
                         guest.introduction(self.plan, host, RUN / self.plan.lab), INTRODUCTION_S)

    def _command(self, host: str, *, incoming: bool = False) -> list[str]:
        place = self.place(host)
        number = 1 + [address.name for address in self.plan.hosts].index(host)
        return qemu.command(self.machine, place, image.folder(self.machine.image),
                            {name: place.folder / f"{name}.qcow2" for name in qemu.DISKS},
                            number=number, incoming=incoming)

    def _ssh(self, host: str) -> Any:
        return next(found for found in self.hosts if found.name == host)

    def _everywhere(self, work: Callable[[Address], None]) -> None:
        """Do something with all hosts at once; raise the first failure when all have ended."""
        with ThreadPoolExecutor(len(self.plan.hosts)) as threads:
            futures = [threads.submit(work, host) for host in self.plan.hosts]
        for future in futures:
            future.result()


def _told(line: str) -> None:
    click.echo(line, err=True)
