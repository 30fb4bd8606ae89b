"""Make this checkout runnable: system packages, a virtual environment, the compiled parts.

``make`` calls it before every target that runs something, with the extras that target needs.
Each of the three steps first looks whether there is anything to do, says what it is about to
do, and leaves a note of what it did, so that a second call takes a fraction of a second:

1. *System packages* are looked for by what they bring (a command, a header), not by asking a
   package manager: a Go in /usr/local counts, and a machine without apt works when all is
   there. What is missing is installed by ``apt_install.py``, as root or through sudo.
2. *.venv* is made for the Python that was asked for; pip, as configured on this machine,
   installs what pyproject.toml names. Noted: interpreter, hash of the inputs, extras.
3. *Extensions* are compiled in place. Noted: hash of all their sources.

Standard library only: it runs on a bare system (the Makefile has looked that it is 3.11).
"""
from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from as_root import as_root

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
NOTE = VENV / "seatrial.json"          # what the steps did; gone when the environment is gone
LOGS = ROOT / "build" / "logs"
EXTRAS = {"trial": ("harness", "plots"), "test": ("harness", "plots", "ansible", "dev")}
SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"   # a plain user's PATH lacks them on Debian
SOURCES = ("*.pyx", "*.pxd", "*.pxi", "*.h", "*.go", "go.mod", "go.sum")
FOLDERS = ("core", "harness", "workloads", "checker")


class Stop(Exception):
    """Cannot go on; the message is the one line the user sees."""


def say(text: str) -> None:
    """Print one line of progress."""
    print(f"seatrial: {text}", flush=True)


# --- system packages -------------------------------------------------------------------


def command(*names: str) -> Callable[[], bool]:
    """Return a test: are all these commands there?"""
    path = os.environ.get("PATH", os.defpath) + os.pathsep + SYSTEM_PATH
    return lambda: all(shutil.which(name, path=path) for name in names)


def python_header() -> bool:
    """Return whether C code can be compiled against this Python."""
    return (Path(sysconfig.get_paths()["include"]) / "Python.h").exists()


def venv_module() -> bool:
    """Return whether this Python can make a virtual environment that has pip."""
    return importlib.util.find_spec("ensurepip") is not None


PACKAGES: dict[str, Callable[[], bool]] = {
    "python3-venv": venv_module,
    "python3-dev": python_header,
    "gcc": command("gcc"),
    "g++": command("g++"),
    "libc6-dev": lambda: Path("/usr/include/stdlib.h").exists(),
    "openssh-server": command("sshd"),
    "openssh-client": command("ssh", "ssh-keygen"),
    "tini": command("tini"),
    "iptables": command("iptables", "ip6tables"),
    "iproute2": command("ip"),
    "util-linux": command("unshare", "nsenter", "setpriv"),
    "procps": command("ps"),
    "golang-go": command("go"),
    "qemu-system-x86": command("qemu-system-x86_64"),
    "qemu-utils": command("qemu-img"),
    "mmdebstrap": command("mmdebstrap"),
    "e2fsprogs": command("mke2fs"),
}
FOR_VIRTUAL_MACHINES = ("qemu-system-x86", "qemu-utils", "mmdebstrap", "e2fsprogs")


def system_packages(go: str, target: str) -> None:
    """Install the system packages whose content is missing."""
    missing = [name for name, there in PACKAGES.items() if not there()
               and (target != "trial" or name not in FOR_VIRTUAL_MACHINES)]
    if go == "none" and "golang-go" in missing:
        missing.remove("golang-go")
        say("no Go here and GO=none: the porcupine engine will not be built")
    if not missing:
        return
    names = " ".join(missing)
    if not command("apt-get")():
        raise Stop(f"missing here: {names} (Debian's names), and there is no apt-get to "
                   "install them with: install their equivalents and call make again")
    install = as_root([sys.executable, str(ROOT / "scripts" / "apt_install.py"), *missing])
    say(f"installing with apt-get (no service will be started): {names}")
    logged("apt", install,
           "apt-get could not install them: is there a network, and do the sources in /etc/apt "
           "carry Debian 12 or newer?")
    left = [name for name in missing if not PACKAGES[name]()]
    if left:
        raise Stop(f"apt-get installed {' '.join(left)}, but what they should bring is still "
                   f"missing for {sys.executable}: with another Python give its own, "
                   "make PYTHON=/usr/bin/python3")


# --- the virtual environment -----------------------------------------------------------


def digest(paths: Iterable[Path]) -> str:
    """Return one hash over the names and contents of files."""
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(str(path.relative_to(ROOT)).encode() + b"\0")
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def read_note() -> dict[str, Any]:
    """Return what earlier calls noted in .venv, or an empty note."""
    try:
        note = json.loads(NOTE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def environment(note: dict[str, Any], extras: tuple[str, ...]) -> None:
    """Make .venv and install what pyproject.toml names, unless both are as noted."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    python = f"{os.path.realpath(sys.executable)} {sys.version}"
    if note.get("python") != python or not VENV_PYTHON.exists():
        say(f"making .venv for {sys.executable} ({sys.version.split()[0]})")
        logged("venv", [sys.executable, "-m", "venv", "--clear", str(VENV)],
               f"{sys.executable} could not make .venv")
        note.clear()
        note["python"] = python
    inputs = digest([ROOT / "pyproject.toml"])
    if note.get("requirements") != inputs:
        note["extras"] = []
    wanted = sorted({*note.get("extras", []), *extras})
    if note.get("extras") == wanted:
        return
    requirements = list(project["build-system"]["requires"])
    requirements += project["project"]["dependencies"]
    for extra in wanted:
        requirements += project["project"]["optional-dependencies"][extra]
    say(f"installing into .venv with pip: base, {', '.join(wanted)} "
        f"({len(requirements)} requirements of pyproject.toml)")
    logged("pip", [str(VENV_PYTHON), "-m", "pip", "install", "--quiet", *requirements],
           "pip could not install them: is there a network, and is the index in pip's "
           "configuration reachable?")
    note.update(requirements=inputs, extras=wanted, installed=None)
    NOTE.write_text(json.dumps(note), encoding="utf-8")


# --- compiled parts --------------------------------------------------------------------


def sources() -> list[Path]:
    """Return every file that decides what the compiled parts are."""
    found = [ROOT / name for name in ("setup.py", "pyproject.toml", "VERSION")]
    for folder in FOLDERS:
        for pattern in SOURCES:
            found += (ROOT / folder).rglob(pattern)
    return found


def compiled(pyx: Path) -> bool:
    """Return whether a .pyx has a shared object beside it that is not older."""
    return any(built.stat().st_mtime_ns >= pyx.stat().st_mtime_ns
               for built in pyx.parent.glob(f"{pyx.stem}.*.so"))


def extensions(note: dict[str, Any], go: str) -> None:
    """Compile the extensions in place and install the package into .venv, if anything changed."""
    go_there = go != "none" and shutil.which("go") is not None
    state = f"{digest(sources())} go={go_there}"
    stale = any(not compiled(pyx) for folder in FOLDERS for pyx in (ROOT / folder).rglob("*.pyx")
                if go_there or pyx.stem != "_porcupine")
    if note.get("built") != state or stale:
        say("compiling the extensions" + ("" if go_there else ", WITHOUT porcupine (no Go)"))
        jobs = str(len(os.sched_getaffinity(0)))
        logged("build", [str(VENV_PYTHON), "setup.py", "build_ext", "--inplace", "--parallel",
                         jobs], "the extensions did not compile", env={"SEATRIAL_GO": go})
        note["built"] = state
        NOTE.write_text(json.dumps(note), encoding="utf-8")
    packages = sorted(str(init.parent.relative_to(ROOT)) for folder in FOLDERS
                      for init in (ROOT / folder).rglob("__init__.py"))
    if note.get("installed") != packages:
        say("installing seatrial itself into .venv (editable: it runs from this folder)")
        logged("install", [str(VENV_PYTHON), "-m", "pip", "install", "--quiet", "--no-deps",
                           "--no-build-isolation", "--editable", str(ROOT)],
               "pip could not install this folder", env={"SEATRIAL_GO": go})
        note["installed"] = packages
        NOTE.write_text(json.dumps(note), encoding="utf-8")


def logged(name: str, argv: list[str], failure: str, env: dict[str, str] | None = None) -> None:
    """Run a command with its output in build/logs; on failure show its end and stop."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{name}.log"
    with log.open("wb") as out:
        done = subprocess.run(argv, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, check=False,
                              env={**os.environ, **(env or {})})
    if done.returncode != 0:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        print("\n".join(lines[-15:]), file=sys.stderr)
        raise Stop(f"{failure} (everything it said: {log.relative_to(ROOT)})")


def main() -> int:
    """Do the three steps for one target."""
    parser = argparse.ArgumentParser(description="Make this checkout runnable.")
    parser.add_argument("target", choices=sorted(EXTRAS))
    parser.add_argument("--go", default="", help="'none': neither install nor use Go")
    args = parser.parse_args()
    try:
        system_packages(args.go, args.target)
        note = read_note()
        environment(note, EXTRAS[args.target])
        extensions(note, args.go)
    except Stop as stop:
        print(f"seatrial: {stop}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
