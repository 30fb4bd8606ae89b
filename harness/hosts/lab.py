"""A lab: hosts and their network under one name, from claim to removal.

**Owner.** Whoever uses a lab holds a flock on its folder in /run; the kernel drops it however
the owner ends, so ``down`` tells labs that are in use from those whose owner crashed. A new
lab's folder is made under another name, locked, then renamed: nobody ever sees a young lab
unlocked.

**Removal** starts from the name alone (state.py) and from the control group: kill everything
in it, wait until it is empty, remove its folders and the disks. Mounts, links and namespaces
exist only in the lab's processes and go with them. The folder in /run goes last, so that an
interrupted removal can be taken up again.
"""
from __future__ import annotations

import fcntl
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from ..errors import HarnessFailure
from . import state
from .cgroup import Cgroup, hierarchies
from .keeper import ENVIRONMENT, Job, Made
from .keys import write_keys
from .plan import Plan
from .state import DISK, RUN, Process, State
from .vm import qemu

START_TIMEOUT_S = 60.0
NEEDED = {"ip": "iproute2", "setpriv": "util-linux", "tini": "tini", "sshd": "openssh-server"}
NEEDED_BY_VM = {"ip": "iproute2", "tini": "tini"} | qemu.TOOLS


class Lab:
    """One lab that this process owns. lock: descriptor whose flock says so."""

    def __init__(self, name: str, lock: int, known: State | None) -> None:
        self.name = name
        self.lock = lock
        self._state = known
        self._keeper: subprocess.Popen[bytes] | None = None

    @property
    def folder(self) -> Path:
        """Keys, known_hosts and state."""
        return RUN / self.name

    @property
    def disk(self) -> Path:
        """The hosts' disks."""
        return DISK / self.name

    @property
    def state(self) -> State:
        """What is known about it; a lab that died too young has none."""
        if self._state is None:
            raise HarnessFailure(f"lab {self.name}: has no readable {self.folder}/state.json")
        return self._state

    @property
    def cgroup(self) -> Cgroup:
        """All its processes."""
        return Cgroup.of_lab(self.name)

    @property
    def alive(self) -> bool:
        """Whether its hosts are up."""
        return self._state is not None and self._state.alive

    @property
    def control(self) -> str:
        """Path that stands for its control network namespace."""
        return state.control(self.name)

    # Claiming

    @classmethod
    def create(cls, plan: Plan) -> Lab:
        """Claim a new name and write the lab's keys; no host runs yet."""
        state.check_name(plan.lab)
        state.require_root()
        needed = NEEDED if plan.machine is None else NEEDED_BY_VM
        for tool, package in needed.items():
            if shutil.which(tool, path=ENVIRONMENT["PATH"]) is None:
                raise HarnessFailure(f"hosts of the world '{plan.world}' need {tool}: install it "
                                     f"with 'apt-get install {package}'")
        known = State(plan, Process.of(os.getpid()))
        young = RUN / f".{plan.lab}.{os.getpid()}"
        young.mkdir(mode=0o700, parents=True)
        lab = cls(plan.lab, _open_folder(young), known)
        fcntl.flock(lab.lock, fcntl.LOCK_EX)
        try:
            if lab.disk.exists() or lab.cgroup.path.exists():
                raise FileExistsError(lab.name)
            write_keys(young, plan)
            state.write(young, known)
            young.rename(lab.folder)
        except BaseException as error:
            shutil.rmtree(young, ignore_errors=True)
            lab.release()
            if not isinstance(error, OSError):
                raise
            raise HarnessFailure(
                f"lab {plan.lab}: exists already (seatrial down --lab {plan.lab})"
                if plan.lab in state.names() else f"lab {plan.lab}: {error}") from error
        return lab

    @classmethod
    def attach(cls, name: str) -> Lab:
        """Become the owner of a lab whose hosts are up."""
        lab = cls.claim(name)
        if not lab.alive:
            lab.release()
            raise HarnessFailure(f"lab {name}: is dead (seatrial down --lab {name})")
        lab.state.owner = Process.of(os.getpid())
        lab.save()
        return lab

    @classmethod
    def claim(cls, name: str, *, wait_s: float = 0.0) -> Lab:
        """Lock a lab in whatever condition it is. wait_s: for its owner to let go."""
        state.check_name(name)
        state.require_root()
        deadline = time.monotonic() + wait_s
        while True:
            if name not in state.names():
                raise HarnessFailure(f"lab {name}: there is no such lab")
            (RUN / name).mkdir(mode=0o700, parents=True, exist_ok=True)  # where only pieces are
            lock = _open_folder(RUN / name)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(lock), (RUN / name).stat()):
                    return cls(name, lock, state.read(name))
            except FileNotFoundError:
                pass  # it was removed before we had the lock
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(lock)
                    raise HarnessFailure(f"lab {name}: in use by {_owner(name)}") from None
                time.sleep(0.02)
            os.close(lock)

    @classmethod
    def reclaim(cls, name: str, *, patience_s: float = 30.0) -> Lab:
        """Lock a lab to remove it. A living owner keeps it; where only the process inside is
        left over from a dead owner, it has ``patience_s`` to heal the hosts and end."""
        if state.condition(name) is state.Condition.IN_USE and state.owner_died(name):
            deadline = time.monotonic() + patience_s
            while state.locked(RUN / name) and time.monotonic() < deadline:
                time.sleep(0.05)
            Cgroup.of_lab(name).child("inside").kill()
        return cls.claim(name, wait_s=1.0)

    def save(self) -> None:
        """Write state.json."""
        state.write(self.folder, self.state)

    def release(self) -> None:
        """Give up ownership; the lab stays as it is."""
        os.close(self.lock)
        if self._keeper is not None and self._keeper.returncode is None:
            self._keeper.returncode = 0  # Popen would warn that it outlives us: it is meant to

    # Making

    def start(self, masked: Iterable[Path] = ()) -> None:
        """Make the hosts; return when each runs its sshd (which may not listen yet).

        masked: what of the machine's tree the hosts must not see.
        """
        try:
            self._make_folders()
            job = Job(self.state.plan, str(self.cgroup.path), self.cgroup.version,
                      str(self.disk), str(self.folder),
                      tuple(str(path.resolve()) for path in masked))
            with (self.folder / "keeper.log").open("wb") as log:
                self._keeper = subprocess.Popen(
                    [sys.executable, "-m", "seatrial.harness.hosts.keeper"],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                    start_new_session=True,
                    env=ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
            self.state.keeper = Process.of(self._keeper.pid)
            self.state.inits = self._ask_keeper(self._keeper, msgspec.json.encode(job))
            self.save()
        except OSError as error:  # a full disk, a read-only control group
            raise HarnessFailure(f"lab {self.name}: {error.filename or 'keeper'}: "
                                 f"{error.strerror or error}") from error

    def _make_folders(self) -> None:
        """Disks (the hosts' secrets are in there: for root only) and control groups."""
        self.disk.mkdir(mode=0o700, parents=True)
        for host in self.state.plan.hosts:
            (self.disk / host.name).mkdir()
            self.cgroup.child("hosts", host.name).make()
        for name in ("keeper", "inside"):
            self.cgroup.child(name).make()

    def _ask_keeper(self, keeper: subprocess.Popen[bytes], job: bytes) -> dict[str, int]:
        """Hand the keeper its job; return the pids of the hosts' inits."""
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        with suppress(BrokenPipeError), keeper.stdin as stdin:
            stdin.write(job)
        with keeper.stdout as stdout:
            if not select.select([stdout], [], [], START_TIMEOUT_S)[0]:
                raise HarnessFailure(f"lab {self.name}: not made within {START_TIMEOUT_S:g} s")
            answer = stdout.read()
        if not answer:
            log = (self.folder / "keeper.log").read_text("utf-8", "replace").splitlines()
            raise HarnessFailure(f"lab {self.name}: its keeper ended: "
                                 f"{log[-1] if log else 'without a word'}")
        made = msgspec.json.decode(answer, type=Made)
        if made.error:
            raise HarnessFailure(f"lab {self.name}: {made.error}")
        return made.inits

    def last_words(self, host: str) -> str | None:
        """What a host's sshd said at its end; None while the host runs."""
        if Process.of(self.state.inits[host]).started != -1:
            return None
        log = self.disk / host / "sshd.log"
        lines = log.read_text("utf-8", "replace").splitlines()
        return lines[-1] if lines else "nothing"

    # Removing

    def destroy(self) -> None:
        """Kill its processes, remove everything of it. Works on half-made and dead labs."""
        # In every hierarchy: the machine may mount others now than when the lab was made.
        groups = [Cgroup.of_lab(self.name, where) for where in hierarchies()]
        for group in groups:
            group.child("hosts").kill()  # first, while the keeper still reaps the hosts' inits
            group.kill()
        if self._keeper is not None:
            self._keeper.wait()
        for group in groups:
            group.remove()
        for folder in (self.disk, self.folder):
            if folder.exists():
                shutil.rmtree(folder)
            with suppress(OSError):  # other labs are in there
                folder.parent.rmdir()
        self.release()


def _open_folder(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _owner(name: str) -> str:
    known = state.read(name)
    return f"process {known.owner.pid}" if known else "another process"
