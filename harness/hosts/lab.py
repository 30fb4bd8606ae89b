"""A lab: namespace hosts and their network under one name, alive or left over.

Where its parts are follows from the name alone, so that whatever state a crash left it in,
``destroy`` finds all of it:

    /run/seatrial/<lab>/        mode 0700: state.json, SSH keys, known_hosts
    /var/lib/seatrial/<lab>/    the hosts' disks
    <cgroup>/seatrial/<lab>/    every process
    the keeper's namespaces     network and mounts; they end with the processes

**Owner.** Whoever uses a lab holds a flock on its /run folder; the kernel drops it however the
owner ends. A lab without owner is *dead*, unless ``up`` or ``--keep`` left it there on purpose
(``kept``). The folder is made under another name, locked, then renamed: nobody ever sees a
young lab unlocked.
"""
from __future__ import annotations

import fcntl
import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import msgspec

from ..errors import BadInput, HarnessFailure
from . import kernel
from .cgroup import Cgroup, hierarchies, leftovers
from .keeper import ENVIRONMENT, Job, Made
from .keys import write_keys
from .plan import Plan

RUN, DISK = Path("/run/seatrial"), Path("/var/lib/seatrial")
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
SEARCH = ENVIRONMENT["PATH"]
START_TIMEOUT_S = 60.0
NEEDED = {"ip": "iproute2", "setpriv": "util-linux", "tini": "tini", "sshd": "openssh-server"}


class State(msgspec.Struct):
    """state.json. owner: pid that made or last attached it; keeper, started: its keeper's pid
    and start time, 0 before it is up."""

    plan: Plan
    owner: int
    kept: bool = False
    keeper: int = 0
    started: int = 0
    pids: dict[str, int] = {}


class Lab:
    """One lab that this process owns (holds the lock of)."""

    def __init__(self, name: str, lock: int, state: State | None) -> None:
        self.name = name
        self.lock = lock
        self._state = state
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
    def plan(self) -> Plan:
        """Hosts, pools, addresses."""
        return self.state.plan

    @property
    def cgroup(self) -> Cgroup:
        """All its processes."""
        return Cgroup.of_lab(self.name)

    # Coming to be

    @classmethod
    def create(cls, plan: Plan) -> Lab:
        """Claim the name and write the lab's keys; no host runs yet."""
        check_name(plan.lab)
        require_root()
        for tool, package in NEEDED.items():
            if shutil.which(tool, path=SEARCH) is None:
                raise HarnessFailure(
                    f"local hosts need {tool}: install it with 'apt-get install {package}'")
        lab = cls(plan.lab, -1, State(plan, os.getpid()))
        young = RUN / f".{plan.lab}.{os.getpid()}"
        young.mkdir(mode=0o700, parents=True)
        lab.lock = os.open(young, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(lab.lock, fcntl.LOCK_EX)
        try:
            if lab.disk.exists() or lab.cgroup.path.exists():
                raise FileExistsError
            write_keys(young, plan)
            _write_state(young, lab.state)
            young.rename(lab.folder)
        except OSError as error:
            shutil.rmtree(young)
            os.close(lab.lock)
            raise HarnessFailure(
                f"lab {plan.lab}: exists already (seatrial down --lab {plan.lab})"
                if isinstance(error, FileExistsError) or lab.folder.exists()
                else f"lab {plan.lab}: {error}") from error
        return lab

    def start(self, masked: Iterable[Path] = ()) -> None:
        """Make the hosts; return when each runs its sshd (which may not listen yet)."""
        for host in self.plan.hosts:
            (self.disk / host.name).mkdir(parents=True)
            self.cgroup.child("hosts", host.name).make()
        self.cgroup.child("keeper").make()
        job = Job(self.plan, str(self.cgroup.path), self.cgroup.version, str(self.disk),
                  str(self.folder), tuple(str(path.resolve()) for path in masked))
        with (self.folder / "keeper.log").open("wb") as log:
            self._keeper = subprocess.Popen(
                [sys.executable, "-m", "seatrial.harness.hosts.keeper"], env=_environment(),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        self.state.keeper = self._keeper.pid
        self.state.started = kernel.start_time(self._keeper.pid) or 0
        self.state.pids = self._ask_keeper(msgspec.json.encode(job))
        self.save()

    def _ask_keeper(self, job: bytes) -> dict[str, int]:
        """Hand the keeper its job; return the pids of the hosts' inits."""
        assert self._keeper is not None
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        with self._keeper.stdin as stdin:
            stdin.write(job)
        with self._keeper.stdout as stdout:
            if not select.select([stdout], [], [], START_TIMEOUT_S)[0]:
                raise HarnessFailure(f"lab {self.name}: not made within {START_TIMEOUT_S:g} s")
            answer = stdout.read()
        if not answer:
            log = (self.folder / "keeper.log").read_text("utf-8", "replace").strip()
            raise HarnessFailure(f"lab {self.name}: its keeper ended: {log.splitlines()[-1:]}")
        made = msgspec.json.decode(answer, type=Made)
        if made.error:
            raise HarnessFailure(f"lab {self.name}: {made.error}")
        return made.pids

    @classmethod
    def attach(cls, name: str, *, wait_s: float = 0.0) -> Lab:
        """Become the owner of a lab that runs. wait_s: how long to wait for its owner to go."""
        lab = cls.claim(name, wait_s=wait_s)
        if not lab.alive:
            lab.release()
            raise HarnessFailure(f"lab {name}: is dead (seatrial down --lab {name})")
        lab.state.owner = os.getpid()
        lab.save()
        return lab

    @classmethod
    def claim(cls, name: str, *, wait_s: float = 0.0) -> Lab:
        """Lock a lab in whatever state it is."""
        check_name(name)
        require_root()
        deadline = time.monotonic() + wait_s
        while True:
            try:
                lock = os.open(RUN / name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:
                if name not in names():
                    raise HarnessFailure(f"lab {name}: there is no such lab") from None
                (RUN / name).mkdir(mode=0o700, parents=True)  # it lost its folder: to destroy it
                continue
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(lock), (RUN / name).stat()):
                    return cls(name, lock, read_state(name))
                os.close(lock)  # destroyed, and perhaps made anew, before we had the lock
            except FileNotFoundError:
                os.close(lock)
            except BlockingIOError:
                os.close(lock)
                if time.monotonic() >= deadline:
                    state = read_state(name)
                    raise HarnessFailure(f"lab {name}: in use by process "
                                         f"{state.owner if state else 'unknown'}") from None
                time.sleep(0.02)

    # Being

    @property
    def alive(self) -> bool:
        """Whether its keeper runs."""
        return is_alive(self._state)

    @property
    def control(self) -> str:
        """Path that stands for the control network namespace, for ``kernel.setns``."""
        return control_path(self.name, self.state)

    def entered(self) -> AbstractContextManager[None]:
        """The calling thread is in the control namespace inside the with block."""
        return kernel.entered(self.control)

    def enter(self) -> None:
        """Move the calling thread (and what it starts) to the control namespace for good."""
        kernel.setns(self.control, kernel.CLONE_NEWNET)

    def host_cgroup(self, host: str) -> Cgroup:
        """All processes of one host."""
        return self.cgroup.child("hosts", host)

    def save(self) -> None:
        """Write state.json."""
        _write_state(self.folder, self.state)

    def release(self) -> None:
        """Give up ownership; the lab stays as it is."""
        os.close(self.lock)

    # Ceasing to be

    def destroy(self) -> None:
        """Kill its processes, remove everything of it. Works on half-made and dead labs."""
        # In every hierarchy: the machine may mount others now than when the lab was made.
        for where in hierarchies():
            group = Cgroup.of_lab(self.name, where)
            group.child("hosts").kill()  # first, while the keeper still reaps the hosts' inits
            group.kill()
            group.remove()
        if self._keeper is not None:
            self._keeper.wait()
        for folder in (self.disk, self.folder):
            if folder.exists():
                shutil.rmtree(folder)
            with suppress(OSError):  # other labs are in there
                folder.parent.rmdir()
        os.close(self.lock)


def names() -> list[str]:
    """Every lab there is, whole or in pieces."""
    found = {path.name for top in (RUN, DISK) for path in top.glob("[a-z0-9]*") if path.is_dir()}
    return sorted(found | set(leftovers()))


def read_state(name: str) -> State | None:
    """state.json of a lab, which may be anybody's; None where there is none."""
    try:
        return msgspec.json.decode((RUN / name / "state.json").read_bytes(), type=State)
    except (OSError, msgspec.DecodeError):
        return None


def is_alive(state: State | None) -> bool:
    """Whether the keeper that ``state`` names still runs."""
    return state is not None and state.keeper > 0 \
        and kernel.start_time(state.keeper) == state.started


def in_use(name: str) -> bool:
    """Whether some process owns the lab at this moment."""
    try:
        lock = os.open(RUN / name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def control_path(name: str, state: State | None) -> str:
    """Path of a running lab's control namespace."""
    if state is None or not is_alive(state):
        raise HarnessFailure(f"lab {name}: does not run (seatrial up --lab {name})")
    return f"/proc/{state.keeper}/ns/net"


def remove_unborn() -> None:
    """Remove the folders of labs whose maker died before it gave them their name."""
    for young in RUN.glob(".*.*"):
        if not in_use(young.name):
            shutil.rmtree(young, ignore_errors=True)
    with suppress(OSError):
        RUN.rmdir()


def check_name(name: str) -> None:
    """Raise BadInput unless ``name`` can name a lab."""
    if not NAME.fullmatch(name):
        raise BadInput(f"lab {name!r}: expected a name of lower-case letters, digits and '-', "
                       "at most 31 characters")


def require_root() -> None:
    """Raise HarnessFailure unless this process is root."""
    if os.geteuid() != 0:
        raise HarnessFailure("local hosts need root: run as root or with sudo "
                             f"(this is user {os.geteuid()})")


def _write_state(folder: Path, state: State) -> None:
    """Write whole, then rename: a reader never sees half of it."""
    young = folder / "state.json.new"
    young.write_bytes(msgspec.json.encode(state) + b"\n")
    young.rename(folder / "state.json")


def _environment() -> dict[str, str]:
    """The keeper's environment: the system's programs, this process's modules, no more."""
    return {"PATH": SEARCH, "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
